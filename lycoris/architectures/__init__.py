"""Which architecture a model or an adapter is of, with the evidence."""
