"""The cost of a swap: against copying the same weights once, and against what people use today."""
