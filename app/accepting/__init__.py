"""What a request must pass before it is work: filled in, judged, accepted."""
