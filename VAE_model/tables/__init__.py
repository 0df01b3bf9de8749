"""Tables of others and of our own: reading, normalising, joining, labels."""
