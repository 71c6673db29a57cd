"""A bundled embedding's word is whatever its author called it, and is read as plain diffusers reads that token."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from tokenizers import normalizers

from lycoris import Code, FileRefused, StackRefused
from tests.workers.reading import BUNDLED, SETTINGS, WIDE_BUNDLED, WIDE_L, WIDE_T5, entry, flux, ids, single, vectors
from workers.drawing.textual_inversion import misfits, textual_inversions
from workers.models import loading
from workers.models.loading import LoadedModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return loading.load("emoji-64", SETTINGS)


# A word is whatever its author called it
WORDS = (
    *("ema yasuhara (shirobako)", "o'brien", "mon h\u00e9ros", "\u3084\u3059\u306f\u3089", "artist&co", "my+style"),
    *("token!", "a,b", "[x]", "style@v2", '"quoted"', "a\\(b\\)", "{c}|d", "50%", "\U0001f525", "\u0448\u0443\u043c"),
    *("\u092e\u0947\u0930\u0940", "\u0645\u06cc\u200c\u062e", "<zorp>", "x/y", "_z_", "$1", "a.b", "^q$", "r*", "#1"),
)


def test_every_word_is_read_as_plain_diffusers_reads_that_token(base: LoadedModel) -> None:
    held = {word: vectors(1, WIDE_BUNDLED, seed) for seed, word in enumerate(WORDS)}
    one = entry({f"bundle_emb.{word}.clip_l": rows for word, rows in held.items()})
    assert not list(misfits(one.adapter.embeddings, base.shapes()))
    plain = StableDiffusionPipeline.from_pretrained(BUNDLED, dtype=torch.float32, safety_checker=None)
    for word, rows in held.items():
        plain.load_textual_inversion({word: rows})
    readings = set()
    with textual_inversions(base, [one]), torch.inference_mode():
        for word in WORDS:
            prompts = f"a red {word}, on {word}", word, f"({word})"
            ours, theirs = (
                [each.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in prompts]
                for each in (base.pipeline, plain)
            )
            for prompt, read_by_us, read_by_them in zip(prompts, ours, theirs, strict=True):
                assert torch.equal(read_by_us, read_by_them), prompt
            readings.add(ours[1].sum().item())
    assert len(readings) == len(WORDS)


@pytest.mark.parametrize(
    ("word", "heard", "silent"),
    [
        ("\u00c9mile", ["\u00e9mile", "\u00c9MILE", "E\u0301mile"], ["\u00e9miles", "emile"]),
        ("e\u0301t\u00e9", ["\u00e9t\u00e9", "\u00c9T\u00c9"], ["\u00e9t\u00e9s"]),
        ("\u3084\u3059", ["\u3084\u3059\u306e\u7d75", "\u7d75\u3084\u3059"], ["\u3084"]),
        ("a  b", ["a b", "A\tB", "a\u00a0b"], ["ab"]),
        ("(x)", ["(X)", "a(x)b"], ["x", "( x )"]),
    ],
)
def test_a_word_is_read_however_it_is_typed(base: LoadedModel, word: str, heard: list[str], silent: list[str]) -> None:
    with textual_inversions(base, [single(1, word)]):
        for prompt in heard:
            assert 2864 in ids(base, prompt), prompt
        for prompt in silent:
            assert 2864 not in ids(base, prompt), prompt


@pytest.mark.parametrize("word", ["\uff08x\uff09 y", "\ufb01x", "o'brien (z)"])
def test_a_t5_reads_a_word_as_its_own_normalizer_leaves_it(word: str) -> None:
    base = flux()
    backend = base.pipeline.tokenizer_2.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "\u2581")])
    tensors = {f"bundle_emb.{word}.clip_l": vectors(1, WIDE_L), f"bundle_emb.{word}.t5": vectors(1, WIDE_T5)}
    first = len(base.pipeline.tokenizer_2)
    with textual_inversions(base, [entry(tensors)]):
        found = base.pipeline.tokenizer_2(f"a {word} apple").input_ids
    assert found.count(first) == 1


@pytest.mark.parametrize(
    "word", ["a\0b", "a\nb", "a\u0085b", "a\u202eb", "a\U000f0000b", "a\u2028b", "../x", "..\\x", "/x", "x" * 600]
)
def test_what_is_no_character_of_a_word_or_is_a_path_is_refused(word: str) -> None:
    with pytest.raises(FileRefused) as caught:
        single(1, word)
    assert [reason.code for reason in caught.value.reasons] == [Code.BAD_NAME]


@pytest.mark.parametrize(
    ("first", "second"), [("Stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301"), ("\uff08x\uff09", "(X)")]
)
def test_two_spellings_of_one_word_are_one_trigger_twice(base: LoadedModel, first: str, second: str) -> None:
    both_words = {word: {"clip_l": vectors(1, WIDE_BUNDLED)} for word in (first, second)}
    assert [reason.code for reason in misfits(both_words, base.shapes())] == [Code.DUPLICATE]
    with pytest.raises(StackRefused), textual_inversions(base, [single(1, first), single(1, second, 1)]):
        pass


def test_a_trigger_is_a_whole_word_in_capitals_or_not(base: LoadedModel) -> None:
    count = len(ids(base, ""))
    begin = 2864
    with textual_inversions(base, [single(2)]):
        for prompt in ("zorp", "ZORP", " Zorp ", "zorp\n"):
            assert ids(base, prompt)[1:-1] == [begin, begin + 1], prompt
        assert sorted(ids(base, "(zorp), zorp-zorp"))[-6:] == [*[begin] * 3, *[begin + 1] * 3]
        for prompt in ("zorpy", "czorp", "zorp2", "zo rp", "zörp"):
            assert max(ids(base, prompt)) < begin, prompt
        assert len(ids(base, "")) == count


def test_of_two_triggers_the_longer_is_meant(base: LoadedModel) -> None:
    with textual_inversions(base, [single(1, "zorp"), single(2, "my zorp-2.1", 1)]):
        longer = ids(base, "my  zorp-2.1")[1:-1]
        shorter = ids(base, "my2 zorp")[-2:-1]
    assert len(longer) == 2 and len(shorter) == 1 and not set(longer) & set(shorter)
