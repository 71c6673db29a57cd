"""What crosses HTTP, the queue and storage, by noun."""
