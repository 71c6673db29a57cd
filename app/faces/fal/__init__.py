"""fal's API, under `/fal/run` and `/fal/queue`."""
