"""Tables of any origin: reading, normalising, joining, labels."""
