"""How the bundled model and its adapters were made; trains an adapter of any algorithm on a folder of pictures."""
