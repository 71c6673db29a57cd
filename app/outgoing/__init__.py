"""What this process asks of other hosts, beside answering requests."""
