"""Image prompts, judged and applied."""
