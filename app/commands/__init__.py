"""What `radiata …` does: a file for each noun of the command line, and what they share."""
