"""Code around every route, one idea a file; `stack` has the order."""
