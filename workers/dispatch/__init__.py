"""From the queue to an engine process: which job a worker takes, and how its engine is kept alive."""
