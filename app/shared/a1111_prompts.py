"""Prompts as A1111 reads them, brought to `prompt_syntax`: brackets that weigh, and `\\(` for one that is one.

Ours weighs round brackets alone, so `\\[` is a bracket in both; and a plain prompt has no escapes.
"""

import re

from app.shared.wire.generation import PromptSyntax

ESCAPED = re.compile(r"\\([()\[\]\\])")
SQUARE = re.compile(r"\\\\|\\([\[\]])")  # of a pair of backslashes, the second escapes nothing
WEIGHS = re.compile(r"[()]")
UNREAD = re.compile(r"\[|\bAND\b|\bBREAK\b|<hypernet:", re.ASCII)


def unread(prompt: str) -> str:
    """Return the first word of a prompt that is syntax of A1111 alone, or nothing."""
    found = UNREAD.search(ESCAPED.sub("", prompt))
    return found[0] if found else ""


def syntax_of(*prompts: str) -> tuple[PromptSyntax, list[str]]:
    """Return how these prompts, together those of one request, are read here, and what each is then."""
    if any(WEIGHS.search(ESCAPED.sub("", one)) for one in prompts):
        return "weighted", [SQUARE.sub(lambda found: found[1] or found[0], one) for one in prompts]
    return "plain", [ESCAPED.sub(r"\1", one) for one in prompts]
