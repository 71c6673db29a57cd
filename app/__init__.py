"""The HTTP face of Radiata: routes, page and command line; it never loads torch."""
