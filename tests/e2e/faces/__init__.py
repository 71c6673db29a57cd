"""The common script's clients of other APIs, a file for each face; `face` says what each must be able to do."""
