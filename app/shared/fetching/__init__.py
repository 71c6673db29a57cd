"""Everything that the service asks of other hosts goes through here: guarded, bounded, and never where it may not."""
