"""Words that a tokenizer is taught for one generation: triggers of embeddings, each of which stands for many vectors.

The engine draws with a tokenizer that was taught so, and acceptance counts with one.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import cast

from tokenizers import AddedToken, Regex, Tokenizer, normalizers

BLANKS = " \u2581"  # a space, and what tokenizers of pieces write in its place
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")  # no spaces
FIRST_MARK = 0x100000  # of a private plane of Unicode, where no prompt has anything to say


def teach(tokenizer: Tokenizer, lengths: Mapping[str, int]) -> int:
    """Have a tokenizer read n new tokens for each word, numbered on and on; return the first number."""
    own = [tokenizer.normalizer] if tokenizer.normalizer else []
    seen = normalizers.Sequence(own)  # as the tokenizer sees a word once it has had its own way with the text
    marks: dict[str, str] = {}
    for word, length in lengths.items():
        begin = FIRST_MARK + sum(map(len, marks.values()))
        marks[seen.normalize_str(word).strip(BLANKS)] = "".join(map(chr, range(begin, begin + length)))
    rules = [
        normalizers.Replace(Regex(_whole(word)), marks[word])
        for word in sorted(marks, key=len, reverse=True)  # "red car" before "red"
    ]
    tokenizer.normalizer = normalizers.Sequence([*own, *rules])  # type: ignore[assignment]
    # The space before a word is of the word
    tokenizer.add_tokens([AddedToken(mark, lstrip=True, normalized=True) for mark in "".join(marks.values())])
    return cast(int, tokenizer.token_to_id(chr(FIRST_MARK)))  # added just now


def _whole(word: str) -> str:
    before = r"(?<!\w)" if _ends_at_blanks(word[0]) else ""
    after = r"(?!\w)" if _ends_at_blanks(word[-1]) else ""
    return f"(?i){before}{re.escape(word)}{after}"


def _ends_at_blanks(char: str) -> bool:
    """Tell whether a word with this character at its end goes on where the next one is a letter, a mark or a digit."""
    return (unicodedata.category(char)[0] in "LMN" or char == "_") and not UNSPACED.match(char)
