"""A1111's API, under `/sdapi/v1` and `/controlnet`, as its clients speak it."""
