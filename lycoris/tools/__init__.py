"""Files made of files: merge, convert, resize, extract, anatomy. Nothing here is needed to apply an adapter."""
