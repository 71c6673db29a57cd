"""Other APIs, each a thin translation to the same acceptance and back."""
