"""Counting tokens on the event loop: a tokenizer is parsed once, in a thread, and copies of it are taught."""

from collections.abc import Callable, Iterator

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from app.accepting import judging
from app.accepting.judging import Judged, too_long
from app.shared.at_once import WouldWait, at_once
from app.shared.facts import Fitting, TokenizerFile, Word
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest
from app.shared.words import teach
from tests.app.shared.making import profile

SAMPLES = ("", "a red apple", "zorp", "A ZORP, my zorp apple", "</s> <|start|> <extra_1>", "猫 é ½", "zorpzorp zorp\n")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    for kept in (judging._parsed, judging._counter):
        kept.cache_clear()
    yield
    for kept in (judging._parsed, judging._counter):
        kept.cache_clear()


def like_clip() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {
        token: number for number, token in enumerate([*alphabet, *(f"{char}</w>" for char in alphabet), "ap"])
    }
    vocabulary |= {"<|start|>": len(vocabulary), "<|end|>": len(vocabulary) + 1}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "p")], unk_token="<|end|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    start, end = ((token, vocabulary[token]) for token in ("<|start|>", "<|end|>"))
    tokenizer.post_processor = processors.RobertaProcessing(end, start, False, False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken("<|start|>", normalized=True), AddedToken("<|end|>", normalized=False)])
    return tokenizer


def like_t5() -> Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"\u2581{char}", -2.0) for char in "azr")]
    pieces += [(char, -3.0) for char in "abcdefghijklmnopqrstuvwxyz\u2581"]
    tokenizer = Tokenizer(models.Unigram(pieces, 2, False))
    tokenizer.normalizer = normalizers.NFKC()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])  # type: ignore[assignment]
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *(f"<extra_{number}>" for number in range(100))])
    tokenizer.add_tokens([AddedToken("zor", single_word=True, lstrip=True)])
    return tokenizer


BUILDS = pytest.mark.parametrize("build", [like_clip, like_t5])


@BUILDS
def test_a_copy_is_as_one_that_was_parsed_anew_and_teaching_it_changes_no_other(build: Callable[[], Tokenizer]) -> None:
    text = build().to_str()
    parsed, words = Tokenizer.from_str(text), {"zorp": 3, "my zorp": 5}
    copy = judging._copy(parsed)
    assert copy.to_str() == text
    taught = Tokenizer.from_str(text)
    assert teach(copy, words) == teach(taught, words)
    assert [copy.encode(one).ids for one in SAMPLES] == [taught.encode(one).ids for one in SAMPLES]
    assert parsed.to_str() == text
    assert [judging._copy(parsed).encode(one).ids for one in SAMPLES] == [parsed.encode(one).ids for one in SAMPLES]


@BUILDS
def test_a_tokenizer_is_parsed_once_and_never_on_the_event_loop(
    build: Callable[[], Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new set of triggers parsed it again, for a second of everybody's time."""
    parsed: list[str] = []

    class Counted:
        def __call__(self, model: models.Model) -> Tokenizer:
            return Tokenizer(model)

        def from_str(self, text: str) -> Tokenizer:
            parsed.append(text)
            return Tokenizer.from_str(text)

    monkeypatch.setattr(judging, "Tokenizer", Counted())
    file = TokenizerFile(component="text_encoder", text=build().to_str(), most=8)

    def judge(trigger: str) -> list[str]:
        fitting = Fitting(places={}, words={trigger: Word(folded=trigger, vectors={"text_encoder": 9})})
        asked = GenerationRequest.model_validate({"prompt": trigger, "adapters": [{"ref": "one"}]})
        adapters = [Judged(0, AdapterUse.model_validate({"ref": "one"}), "one", None, fitting)]
        return [one.code for one in too_long(asked, adapters, 4, [file], profile())]

    with pytest.raises(WouldWait), at_once():
        judge("zorp")
    assert not parsed
    assert judge("zorp") == ["prompt_too_long"]  # in a thread, as whatever would wait
    with at_once():
        assert all(judge(f"zorp{chr(97 + number)}") == ["prompt_too_long"] for number in range(20))
    assert len(parsed) == 1


def test_each_text_is_counted_by_those_that_read_it() -> None:
    """The second text encoder reads a text of its own where there is one, and the others do not read that."""
    files = [
        TokenizerFile(component=component, text=like_clip().to_str(), most=most)
        for component, most in (("text_encoder", 8), ("text_encoder_2", 16))
    ]

    def refused(long: bool = False, **texts: str) -> list[str]:
        asked = GenerationRequest.model_validate(texts)
        return [one.reasons[0]["pointer"] for one in too_long(asked, [], 4, files, profile(long_prompts=long))]

    assert not refused(prompt="z" * 12), "the second reads it whole"
    assert refused(prompt="z" * 20) == ["/prompt"]
    assert refused(prompt="z" * 12, prompt_2="z") == ["/prompt"], "which only the first reads now"
    assert refused(prompt="z", prompt_2="z" * 20) == ["/prompt_2"]
    assert refused(prompt="z", negative_prompt="z" * 20, negative_prompt_2="z" * 4) == ["/negative_prompt"]
    assert refused(prompt="z" * 20, prompt_syntax="weighted") == ["/prompt"]
    assert not refused(prompt="z" * 20, prompt_syntax="weighted", long=True)
    assert not refused(prompt="(z:1.2)" * 5, prompt_syntax="weighted"), "weights and brackets are not read"
    assert refused(prompt="(z:1.2)z" * 10, prompt_syntax="weighted") == ["/prompt"]
