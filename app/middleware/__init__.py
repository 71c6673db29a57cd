"""What stands before and behind every route, one idea a file; `stack` says in what order."""
