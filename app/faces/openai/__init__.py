"""The OpenAI Images API, under `/openai/v1`."""
