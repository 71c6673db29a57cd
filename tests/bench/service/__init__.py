"""What the whole service does in a second: pictures under a mix of adapters, and requests of the API alone."""
