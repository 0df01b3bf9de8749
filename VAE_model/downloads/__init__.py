"""Downloads from public services: rate-limited requests, each file checked before it is kept.

client.py is one connection with time limits and back-off; cutout_service.py builds the requests of
the Legacy Surveys' cutout service and checks the images; fetching.py runs several connections;
verdicts.py distinguishes a position that the service cannot cut from a service that is down;
manifest.py records the outcome of each request, resuming.py finds the remaining work;
service_check.py compares the service with the behaviour that the code expects; catalogue.py
downloads the Galaxy Zoo DECaLS catalogue.
"""
