"""What users of adapters do with files: merge, convert, resize, extract, anatomy. Wearing one needs nothing of it."""
