"""Triggers mean their vectors in the prompts of one generation, as plain diffusers has it, and nothing afterwards."""

from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import save
from tokenizers.pre_tokenizers import Metaspace
from torch import Tensor, nn

from lycoris import Code, NoPlace, Patcher, StackEntry, StackRefused, load
from tests.app.shared.making import request
from tests.lycoris.measure import assert_close, bits_of
from tests.workers.reading import (
    BUNDLED,
    SETTINGS,
    WIDE_BUNDLED,
    WIDE_G,
    WIDE_L,
    WIDE_T5,
    entry,
    flux,
    ids,
    sdxl,
    single,
    vectors,
)
from workers.drawing.textual_inversion import misfits, textual_inversions
from workers.models import loading
from workers.models.loading import LoadedModel
from workers.models.weighted_prompts import weighted_arguments

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return loading.load("emoji-64", SETTINGS)


def drawn(pipeline: Any, prompt: str = "a red zorp", negative: str = "") -> Tensor:
    with torch.inference_mode():
        out = pipeline(
            prompt,
            negative_prompt=negative,
            num_inference_steps=2,
            output_type="pt",
            generator=torch.Generator().manual_seed(1),
        )
    return out.images[0]


def state(pipeline: Any) -> Any:
    """Everything of a pipeline that reading prompts touches: its objects, what hangs on them, and every bit."""
    parts = {name: part for name, part in pipeline.components.items() if name.startswith(("text", "tokenizer"))}
    attributes = {
        (name, path): {key: id(value) for key, value in vars(module).items()}
        for name, part in parts.items()
        if isinstance(part, nn.Module)
        for path, module in part.named_modules()
    }
    texts = [part.backend_tokenizer.to_str() for name, part in parts.items() if name.startswith("tokenizer")]
    modules = [part for part in parts.values() if isinstance(part, nn.Module)]
    return {name: id(part) for name, part in parts.items()}, attributes, texts, bits_of(*modules), dict(pipeline.config)


# The same as others


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("prompt", "negative"), [("a red zorp, on zorp", ""), ("a red apple", "zorp blue")])
def test_a_picture_is_that_of_plain_diffusers(base: LoadedModel, count: int, prompt: str, negative: str) -> None:
    one = single(count)
    plain = StableDiffusionPipeline.from_pretrained(BUNDLED, dtype=torch.float32, safety_checker=None)
    plain.set_progress_bar_config(disable=True)
    plain.load_textual_inversion({"zorp": one.adapter.embeddings["zorp"]["clip_l"]})
    with textual_inversions(base, [one]):
        ours = drawn(base.pipeline, prompt, negative)
    assert torch.equal(ours, drawn(plain, prompt, negative)), (ours - drawn(plain, prompt, negative)).abs().max()
    assert not torch.equal(ours, drawn(base.pipeline, prompt, negative)), "the vectors are seen in the picture"


@pytest.mark.parametrize("count", [1, 3])
def test_a_weighted_prompt_reads_the_same_vectors(base: LoadedModel, count: int) -> None:
    def embeds(prompt: str) -> Tensor:
        asked = request(prompt=prompt, prompt_syntax="weighted")
        with torch.inference_mode():
            return weighted_arguments(base.pipeline, asked)["prompt_embeds"]

    prompt = "a red zorp, on zorp"
    with textual_inversions(base, [single(count)]):
        with torch.inference_mode():
            plain, _ = base.pipeline.encode_prompt(prompt, torch.device("cpu"), 1, do_classifier_free_guidance=False)
        ours, heavier = embeds("a red (zorp:1), on zorp"), embeds("a red (zorp:1.5), on zorp")
    assert_close(ours, plain, "weight 1")
    assert not torch.allclose(heavier, plain) and not torch.allclose(embeds(prompt), plain)


def both(count_l: int = 2, count_g: int = 2) -> StackEntry:
    return entry(
        {
            "bundle_emb.<zorp>.clip_l": vectors(count_l, WIDE_L),
            "bundle_emb.<zorp>.clip_g": vectors(count_g, WIDE_G, 1),
        }
    )


def read(pipeline: Any, prompt: str) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        found = pipeline.encode_prompt(prompt, prompt_2=prompt, device=torch.device("cpu"))
    return tuple(part for part in found if part is not None)


def test_two_encoders_read_what_plain_diffusers_has_them_read() -> None:
    prompt, one, ours, plain = "a red <zorp> apple", both(), sdxl(), sdxl().pipeline
    held = one.adapter.embeddings["<zorp>"]
    for role, number in (("clip_l", ""), ("clip_g", "_2")):
        reading = {name: getattr(plain, f"{name}{number}") for name in ("tokenizer", "text_encoder")}
        plain.load_textual_inversion(held[role], token="<zorp>", **reading)
    with textual_inversions(ours, [one]):
        found = read(ours.pipeline, prompt)
    for name, part, expected in zip(("positive", "negative", "pooled"), found, read(plain, prompt), strict=False):
        assert torch.equal(part, expected), f"{name}: largest difference {(part - expected).abs().max()}"


def test_the_end_of_a_text_is_found_where_a_trigger_stands_in_it() -> None:
    """Old configurations have it looked for at the highest token id, which plain diffusers' new tokens then are."""
    prompt, one, plain = "a red <zorp> apple", both(), sdxl(eos=2).pipeline
    pooled = []
    for base in (sdxl(), sdxl(eos=2)):
        with textual_inversions(base, [one]):
            pooled.append(read(base.pipeline, prompt)[2])
    assert torch.equal(*pooled)
    held = one.adapter.embeddings["<zorp>"]["clip_g"]
    plain.load_textual_inversion(held, token="<zorp>", tokenizer=plain.tokenizer_2, text_encoder=plain.text_encoder_2)
    assert not torch.equal(read(plain, prompt)[2], pooled[0])


@pytest.mark.parametrize("word", ["zorp", "Zorp"])
@pytest.mark.parametrize("spaces_are_pieces", [False, True])
def test_a_t5_reads_a_word_of_n_vectors_in_place_of_its_pieces(word: str, spaces_are_pieces: bool) -> None:
    base = flux()
    if spaces_are_pieces:
        base.pipeline.tokenizer_2.backend_tokenizer.pre_tokenizer = Metaspace()
    tensors = {"bundle_emb.zorp.clip_l": vectors(1, WIDE_L), "bundle_emb.zorp.t5": vectors(3, WIDE_T5)}
    encoder: Any = base.pipeline.text_encoder_2
    tokens = base.pipeline.tokenizer_2
    table = encoder.shared.weight
    row = {piece: table[tokens.convert_tokens_to_ids(piece)] for piece in ("▁a", "▁apple", "</s>", "<pad>")}
    by_hand = torch.stack([row["▁a"], *tensors["bundle_emb.zorp.t5"], row["▁apple"], row["</s>"], *[row["<pad>"]] * 9])
    with textual_inversions(base, [entry(tensors)]), torch.inference_mode():
        found = base.pipeline.encode_prompt(f"a {word} apple", prompt_2=None, max_sequence_length=15)[0]
    assert_close(found, encoder(inputs_embeds=by_hand.unsqueeze(0))[0], "T5")
    assert found.shape[1] == len(by_hand) == 15


# What a word is


@pytest.mark.parametrize(
    ("strength", "strengths", "heard"), [(0.5, {}, True), (-1, {}, True), (0, {"unet": 0.3}, True), (0, {}, False)]
)
def test_what_is_applied_at_all_is_heard_as_it_is(
    base: LoadedModel, strength: float, strengths: dict[str, float], heard: bool
) -> None:
    silent = drawn(base.pipeline)
    with textual_inversions(base, [single()]):
        whole = drawn(base.pipeline)
    with textual_inversions(base, [entry({"bundle_emb.zorp.clip_l": vectors(3, WIDE_BUNDLED)}, strength, strengths)]):
        assert torch.equal(drawn(base.pipeline), whole if heard else silent)


def test_one_trigger_of_two_adapters_is_an_error(base: LoadedModel) -> None:
    stack = [single(), single(1, "Zorp", 1)]
    before = state(base.pipeline)
    with pytest.raises(StackRefused, match="zorp: is the trigger") as caught, textual_inversions(base, stack):
        pass
    assert all(one.adapter.sha256 in str(caught.value) for one in stack)
    assert state(base.pipeline) == before
    with textual_inversions(base, [stack[0], stack[0], single(1, "Zorp", 1, strength=0)]):  # of several stages; at 0
        assert len(ids(base, "zorp")) == 5


# Pristine


@pytest.mark.parametrize("make", [lambda: loading.load("emoji-64", SETTINGS), sdxl, flux], ids=["sd", "sdxl", "flux"])
def test_afterwards_everything_is_what_it_was(make: Any) -> None:
    base = make()
    encoders = {
        "text_encoder": "clip_l",
        "text_encoder_2": "t5" if isinstance(base.pipeline, FluxPipeline) else "clip_g",
    }
    tensors = {
        f"bundle_emb.zorp.{role}": vectors(2, getattr(base.pipeline, component).config.hidden_size)
        for component, role in encoders.items()
        if component in base.components
    }
    before = state(base.pipeline)
    with textual_inversions(base, [entry(tensors)]):
        assert state(base.pipeline) != before
        assert max(ids(base, "zorp")) == 2865
    assert state(base.pipeline) == before
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), textual_inversions(base, [entry(tensors)]):
            raise error
        assert state(base.pipeline) == before
    assert max(ids(base, "zorp")) < 2864


def test_taught_half_way_is_untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    base = sdxl()

    def break_off(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(base.pipeline.tokenizer_2, "__deepcopy__", break_off, raising=False)
    before = state(base.pipeline)
    with pytest.raises(MemoryError), textual_inversions(base, [both()]):
        pass
    assert state(base.pipeline) == before


def test_the_next_generation_draws_as_ever(base: LoadedModel) -> None:
    plain = drawn(base.pipeline)
    with textual_inversions(base, [single()]):
        assert not torch.equal(drawn(base.pipeline), plain)
    assert torch.equal(drawn(base.pipeline), plain)


def test_swaps_go_on_meanwhile_and_the_table_that_is_read_is_the_active_one(base: LoadedModel) -> None:
    module = base.pipeline.text_encoder
    pristine = bits_of(module)
    table = module.get_input_embeddings().weight
    changed = torch.zeros_like(table)
    changed[ids(base, "red")[1]] = 1.0
    named = {"lora_te_text_model_embeddings_token_embedding.diff": changed} | {
        "bundle_emb.zorp.clip_l": vectors(1, WIDE_BUNDLED)
    }
    stack = [entry(named)]
    patcher = Patcher(base.components)
    patcher.swap(stack)
    with textual_inversions(base, stack):
        with_adapter = drawn(base.pipeline)
        patcher.swap([])
        bare = drawn(base.pipeline)
        patcher.swap(stack)
        assert torch.equal(drawn(base.pipeline), with_adapter)
    patcher.restore()
    assert bits_of(module) == pristine
    assert not torch.equal(bare, with_adapter)
    with textual_inversions(base, stack):
        assert torch.equal(drawn(base.pipeline), bare)


# What is refused

SD, XL = {"clip_l": WIDE_BUNDLED}, {"clip_l": WIDE_L, "clip_g": WIDE_G}
REFUSED: dict[str, tuple[dict[str, tuple[int, ...]], Code]] = {
    "of another width": ({"zorp.clip_l": (1, 768)}, Code.MISFIT),
    "of an encoder that is not there": ({"zorp.clip_l": (1, 128), "zorp.clip_g": (1, 1280)}, Code.NO_COMPONENT),
    "of a T5": ({"zorp.t5": (1, 128)}, Code.NO_COMPONENT),
    "longer than a prompt": ({"zorp.clip_l": (23, 128)}, Code.MISFIT),
    "a bare sign": ({"*.clip_l": (1, 128)}, Code.BAD_NAME),
    "a space at its end": ({"zorp .clip_l": (1, 128)}, Code.BAD_NAME),
    "one word twice": ({"zorp.clip_l": (1, 128), "Zorp.clip_l": (1, 128)}, Code.DUPLICATE),
}


def embeddings(shapes: dict[str, tuple[int, ...]]) -> Any:
    return load(save({f"bundle_emb.{name}": torch.ones(shape) for name, shape in shapes.items()})).embeddings


@pytest.mark.parametrize("why", REFUSED)
def test_what_a_base_has_no_place_for_is_refused(base: LoadedModel, why: str) -> None:
    shapes, code = REFUSED[why]
    reasons = list(misfits(embeddings(shapes), base.shapes()))
    assert [reason.code for reason in reasons] == [code]
    assert reasons[0].subject.lower().startswith("bundle_emb.")


@pytest.mark.parametrize(
    ("shapes", "codes"),
    [
        ({"zorp.clip_l": (2, WIDE_L), "zorp.clip_g": (3, WIDE_G)}, []),
        ({"zorp.string_to_param.*": (WIDE_L,), "zorp.clip_g": (WIDE_G,)}, []),
        ({"zorp.clip_l": (2, WIDE_L)}, [Code.INCOMPLETE]),
        ({"zorp.clip_g": (2, WIDE_G)}, [Code.INCOMPLETE]),
        ({"zorp.clip_l": (2, WIDE_G), "zorp.clip_g": (2, WIDE_L)}, [Code.MISFIT, Code.MISFIT]),
    ],
)
def test_two_clips_read_along_or_not_at_all(shapes: dict[str, tuple[int, ...]], codes: list[Code]) -> None:
    assert [reason.code for reason in misfits(embeddings(shapes), sdxl().shapes())] == codes


def test_a_clip_and_a_t5_are_read_alone_or_together() -> None:
    shapes = flux().shapes()
    for held in ({"a.t5": (2, WIDE_T5)}, {"a.clip_l": (2, WIDE_L)}, {"a.t5xxl": (2, WIDE_T5), "a.clip_l": (2, WIDE_L)}):
        assert list(misfits(embeddings(held), shapes)) == []


def test_what_no_longer_fits_is_an_error_before_anything_is_drawn(base: LoadedModel) -> None:
    with pytest.raises(NoPlace), textual_inversions(base, [both()]):
        pytest.fail("drew without the words")
