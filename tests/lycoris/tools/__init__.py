"""The tools on small models that are folders, against the patcher on the same models live."""
