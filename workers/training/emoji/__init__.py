"""How the bundled model emoji-64 was made; nothing else needs it."""
