"""What a swap costs: against copying the same weights once, and against what people use today."""
