"""Training of adapters on a model: what may be asked for, how factors begin, the forward that trains, and the file."""
