"""Image prompts (IP-Adapter): judged by names and shapes, built once, and put into attention for one generation."""
