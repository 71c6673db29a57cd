"""The tests, a mirror of the tree: one folder for each package, laws before examples."""
