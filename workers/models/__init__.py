"""Base models: how they are loaded, their samplers, and the bundled one."""
