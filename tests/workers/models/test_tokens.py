"""How much of a prompt each text encoder reads: what its pipeline gives it, less the template around the prompt."""

from types import SimpleNamespace
from typing import Any

import pytest
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.hidream_image.pipeline_hidream_image import HiDreamImagePipeline
from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import HunyuanDiTPipeline
from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import KandinskyV22CombinedPipeline
from diffusers.pipelines.lumina2.pipeline_lumina2 import Lumina2Pipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

from tests.workers.training import toys
from workers.models.families import FAMILIES
from workers.models.tokens import UNLIMITED, limits, readers

ENDS = 2


class Words:
    """A tokenizer whose tokens are words, and one at each end of a text."""

    def __init__(self, model_max_length: int) -> None:
        self.model_max_length = model_max_length

    def encode(self, text: str) -> list[int]:
        return [0] * (len(text.split()) + ENDS)

    def __call__(self, text: str, **options: Any) -> Any:
        return SimpleNamespace(input_ids=self.encode(text))

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        return f"user : {messages[0]['content']} assistant :"


def like(kind: type, lengths: dict[str, int], **settings: Any) -> Any:
    """A pipeline of this kind that has tokenizers and no more."""
    pipeline = object.__new__(type(kind.__name__, (kind,), {"components": {n: Words(m) for n, m in lengths.items()}}))
    for name, value in (pipeline.components | settings).items():
        object.__setattr__(pipeline, name, value)
    return pipeline


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        (like(FluxPipeline, {"tokenizer": 77, "tokenizer_2": 512}), [77, 512]),
        (like(StableDiffusion3Pipeline, {"tokenizer": 77, "tokenizer_2": 77, "tokenizer_3": 512}), [77, 77, 256]),
        (
            like(HiDreamImagePipeline, dict.fromkeys(("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4"), 512)),
            [128] * 4,
        ),
        (like(HunyuanDiTPipeline, {"tokenizer": 77, "tokenizer_2": 512}), [77, 256]),
        (
            like(
                QwenImagePipeline,
                {"tokenizer": 10**6},
                prompt_template_encode="system : draw . user : {} .",
                prompt_template_encode_start_idx=5,
            ),
            [512 + 5 - 7],
        ),
        (like(Lumina2Pipeline, {"tokenizer": 10**6}, system_prompt="you draw"), [256 - 4]),
        (like(ZImagePipeline, {"tokenizer": 10**6}), [512 - 4]),
        # The instruction is read beside the prompt, but for the two ends, which count for the prompt
        (like(SanaPipeline, {"tokenizer": 10**6}), [300]),
    ],
    ids=["flux", "sd3", "hidream", "hunyuandit", "qwen", "lumina2", "z-image", "sana"],
)
def test_what_is_read_is_less_the_template(pipeline: Any, expected: list[int]) -> None:
    assert list(limits(pipeline).values()) == expected


def test_a_prior_has_a_tokenizer_too() -> None:
    assert limits(like(KandinskyV22CombinedPipeline, {"prior_tokenizer": 77})) == {"prior_text_encoder": 77}


def test_an_encoder_that_reads_all_has_no_limit() -> None:
    pipeline = like(type("Pipeline", (), {"__call__": lambda self, prompt: None}), {"tokenizer": 10**30})
    assert [reader.most for reader in readers(pipeline)] == [UNLIMITED]
    assert limits(pipeline) == {}


def test_a_processor_is_asked_for_its_tokenizer_and_only_where_there_is_no_other() -> None:
    class Pipeline:
        def __call__(self, prompt: str, max_sequence_length: int = 20) -> None: ...

    pipeline = Pipeline()
    processor = SimpleNamespace(tokenizer=Words(30))
    vars(pipeline).update(processor=processor, scheduler=None, pe_tokenizer=Words(5))
    assert [(one.component, one.tokenizer, one.most) for one in readers(pipeline)] == [
        ("text_encoder", processor.tokenizer, 20)
    ]
    vars(pipeline).update(tokenizer=Words(10))
    assert limits(pipeline) == {"text_encoder": 10}


def test_the_bundled_kind_of_base_reads_what_its_clip_has_positions_for() -> None:
    pipeline = toys.pipeline()
    assert limits(pipeline) == {"text_encoder": pipeline.tokenizer.model_max_length}


def test_a_slot_is_named_as_tokenizers_are() -> None:
    assert {slot for row in FAMILIES for slot in row.reads} <= {"", "_2", "_3", "_4"}
