"""Every family of base models: each built tiny with random weights, and one suite that serves all of them."""
