"""HTTP as this service speaks it, whatever is drawn: requests read strictly, answers, errors, files in and out."""
