"""What the HTTP side and the device side both use, and nothing else."""
