"""Real data from public services, asked politely and believed only after a look.

client.py is one polite connection; cutout_service.py spells the requests of the Legacy Surveys'
cutout service and checks what comes back; fetching.py keeps several connections busy; verdicts.py
tells a position that the service cannot cut from a service that is down; manifest.py remembers
what became of each request, resuming.py finds out what is left to do; service_check.py compares
the service with what is believed of it; catalogue.py brings the Galaxy Zoo DECaLS catalogue.
"""
