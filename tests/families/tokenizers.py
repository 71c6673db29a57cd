# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
"""Tokenizers with a vocabulary of a few dozen words, of the very classes that the pipelines are saved with."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    T5Tokenizer,
)

WORDS = (
    *("a", "an", "the", "of", "on", "and", "is", "no", "red", "green", "blue", "yellow", "black", "white", "apple"),
    *("square", "disc", "house", "cat", "dog", "bird", "butterfly", "tree", "sea", "small", "large", "bright", "dark"),
    *("photo", "painting", "drawing", "picture", "blurred", "text", "system", "user", "assistant", "think"),
)
ASCII = [chr(code) for code in range(33, 127)]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
SPACE = "Ġ"  # how byte-level tokenizers write a blank
MARK = "▁"  # how sentencepiece does
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
INSTRUCTION = (
    "<s>{% for message in messages %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{% else %}[INST]{% endif %}"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{% if message.role == 'system' %}[/SYSTEM_PROMPT]{% else %}[/INST]{% endif %}{% endfor %}"
)


def clip(tokens: int = 77) -> CLIPTokenizer:
    """As the CLIP text encoders have it: a beginning, an end, and the end again as padding."""
    vocabulary, merges = _pairs(
        [*ALPHABET, *(f"{one}</w>" for one in ALPHABET)], ([*w[:-1], f"{w[-1]}</w>"] for w in WORDS)
    )
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=tokens)


def t5(tokens: int = 512, kind: type[Any] = T5Tokenizer) -> Any:
    """As T5 and UMT5 have it: an end and padding."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"{MARK}{word}", -2.0) for word in WORDS if len(word) > 1]
    characters = [(one, -8.0) for one in (MARK, *ASCII)]
    return kind(vocab=[*specials, *words, *characters], extra_ids=0, model_max_length=tokens)


def bert(tokens: int = 77) -> BertTokenizer:
    """As BERT has it: words in parts, between a mark of the beginning and one of the end."""
    letters = [one for one in ASCII if not one.isupper()]
    pieces = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), *letters, *(f"##{one}" for one in letters)]
    pieces += [word for word in WORDS if word not in pieces]
    return BertTokenizer(vocab={piece: at for at, piece in enumerate(pieces)}, model_max_length=tokens)


def qwen(tokens: int = 131072, template: str = CHATML, words: Iterable[str] = ()) -> Qwen2Tokenizer:
    """As Qwen 2, 2.5 and 3 have it: byte-level, padding alone, and a chat template.

    words: further ones that are one token each, as those of a pipeline's own template are in the true vocabulary.
    """
    vocabulary, merges = _byte_level(words)
    specials = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|vision_start|>", "<|vision_end|>"]
    specials += ["<|image_pad|>", "<|video_pad|>"]
    made = Qwen2Tokenizer(
        vocab=vocabulary | {"<|endoftext|>": len(vocabulary)},
        merges=merges,
        model_max_length=tokens,
        eos_token="<|im_end|>",
        additional_special_tokens=specials,
    )
    made.chat_template = template
    return made


def llama(tokens: int = 131072, template: str | None = None) -> PreTrainedTokenizerFast:
    """As Llama 3 has it: byte-level, with a beginning; a pipeline gives it padding itself."""
    vocabulary, merges = _byte_level()
    for special in ("<|begin_of_text|>", "<|end_of_text|>"):
        vocabulary[special] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    begin = ("<|begin_of_text|>", vocabulary["<|begin_of_text|>"])
    backend.post_processor = processors.TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        model_max_length=tokens,
    )
    made.chat_template = template
    return made


def mistral(tokens: int = 131072) -> LlamaTokenizer:
    """As Mistral 3 has it: with padding on the left, and a template with a system message."""
    vocabulary, merges = _marked(["<unk>", "<s>", "</s>", "<pad>"])
    specials = ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    made = LlamaTokenizer(
        vocab=vocabulary,
        merges=merges,
        pad_token="<pad>",
        model_max_length=tokens,
        additional_special_tokens=specials,
    )
    made.chat_template = INSTRUCTION
    return made


def gemma(tokens: int = 131072) -> GemmaTokenizer:
    """As Gemma 2 has it: a beginning, padding, bytes for what no piece has."""
    vocabulary, merges = _marked(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    return GemmaTokenizer(vocab=vocabulary, merges=merges, model_max_length=tokens, add_bos_token=True)


def _pairs(alphabet: Iterable[str], words: Iterable[list[str]]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and the merges that put each word together from left to right."""
    vocabulary = {one: at for at, one in enumerate(alphabet)}
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        whole = ["".join(word[:at]) for at in range(1, len(word) + 1)]
        for (before, after), piece in zip(pairwise(whole), word[1:], strict=True):
            merges[before, piece] = None
            vocabulary.setdefault(after, len(vocabulary))
    return vocabulary, list(merges)


def _byte_level(words: Iterable[str] = ()) -> tuple[dict[str, int], list[tuple[str, str]]]:
    return _pairs(ALPHABET, _spelled(SPACE, (*WORDS, *words)))


def _marked(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    return _pairs([*specials, *in_bytes, MARK, *ASCII], _spelled(MARK, WORDS))


def _spelled(start: str, words: Iterable[str]) -> list[list[str]]:
    """Return the letters of words after a blank, then at the beginning; the longest first, whose merges go before."""
    by_length = sorted(dict.fromkeys(words), key=len, reverse=True)
    return [[*start, *word] for start in (start, "") for word in by_length]
