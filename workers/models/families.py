"""What cannot be read off a pipeline: families of base models as data, by the class of their pipeline.

A family that is not here is served by what its pipeline's signature and configurations say. Everything is from the code
of diffusers 0.42 or from the model's card. `obeys.py` and `tokens.py` read the table.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from app.shared.wire.generation import ResolvedRequest
from workers.models.call import default_of

CHI = "complex_human_instruction"  # Sana's instruction to its text encoder, in front of every prompt
UNREAD = math.inf  # a guidance that no request reaches


@dataclass(frozen=True)
class Reads:
    """How much a text encoder reads, where its tokenizer and the pipeline's `max_sequence_length` do not say it.

    most: tokens of the whole text, template included, or how many from the pipeline and the default of its
    `max_sequence_length`. around: what the pipeline writes around a prompt, with `{}` for the prompt.
    """

    most: int | Callable[[Any, int], int] | None = None
    around: str | Callable[[Any], str] = "{}"

    def template(self, pipeline: Any) -> str:
        """Return what the pipeline writes around a prompt, with `{}` for the prompt."""
        return self.around if isinstance(self.around, str) else self.around(pipeline)


@dataclass(frozen=True)
class Family:
    """What holds for all pipelines of one class, or for those of them whose configuration has the values of `where`.

    where: setting, as `transformer.guidance_embeds`, -> value. guidance: what carries the guidance, arguments of
    the call or, with a dot in it, attributes of a part; all get the request's. negative_over: the guidance above
    which a negative prompt is read. size: width and height, in pixels. multiple: of which both are multiples,
    besides what can be read off. longest: from a pipeline, the longest edge that it has positions for, in pixels.
    sizes: from a pipeline, all (width, height) that it draws. steps, guidance_scale: the model's own. extra:
    further arguments of the call, some by the request. without: samplers that its loop cannot run. reads: by slot
    of the tokenizer, `""`, `"_2"`, …; None for one that does not read the prompt. spare: what reads the prompt and
    may be left out.
    """

    pipeline: str
    where: Mapping[str, Any] = field(default_factory=dict)
    guidance: tuple[str, ...] = ("guidance_scale",)
    negative_over: float = 1.0
    size: tuple[int, int] | None = None
    multiple: int = 1
    longest: Callable[[Any], int] | None = None
    sizes: Callable[[Any], Iterable[tuple[int, int]]] | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    reads: Mapping[str, Reads | None] = field(default_factory=dict)
    spare: tuple[str, ...] = ()


def _fixed_points(pipeline: Any) -> list[tuple[int, int]]:
    """Return the sizes that HiDream draws as asked: it scales every other one to about the area of its own size."""
    step, edge = pipeline.vae_scale_factor * 2, pipeline.default_sample_size * pipeline.vae_scale_factor

    def drawn(width: int, height: int) -> tuple[int, int]:
        scale = math.sqrt(edge**2 / (width * height))
        return int(width * scale // step * step), int(height * scale // step * step)

    near = [
        (width, edge**2 // width // step * step + more) for width in range(step, 4 * edge, step) for more in (0, step)
    ]
    return sorted({size for size in near if size[1] and drawn(*size) == size})


def _positions(pipeline: Any) -> int:
    """Return the edge of AuraFlow's square of learned positions, in pixels."""
    config = pipeline.transformer.config
    return math.isqrt(config.pos_embed_max_size) * config.patch_size * pipeline.vae_scale_factor


def _chat(pipeline: Any, **options: Any) -> str:
    """Return what a tokenizer's chat template writes around a user's words."""
    said = [{"role": "user", "content": "{}"}]
    return pipeline.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True, **options)


def _instructed(pipeline: Any) -> str:
    """Return FLUX.2 [dev]'s system message and template around a prompt."""
    said = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", pipeline.system_message), ("user", "{}"))
    ]
    return pipeline.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=False)


def _instruction(pipeline: Any) -> str:
    """Return Sana's instruction, as its call has it by default."""
    return "\n".join(default_of(pipeline, CHI, list))


def instructed_length(pipeline: Any, longest: int) -> int:
    """Return how many tokens Sana's encoder reads, its instruction among them."""
    return len(pipeline.tokenizer.encode(_instruction(pipeline))) + longest - 2


def _dropped(pipeline: Any, longest: int) -> int:
    """Return how many tokens Qwen's pipelines read, the beginning of the template, which they drop, among them."""
    return longest + pipeline.prompt_template_encode_start_idx


_EDIT = Reads(lambda pipeline, _: pipeline.tokenizer.model_max_length, attrgetter("prompt_template_encode"))
_QWEN = Reads(_dropped, attrgetter("prompt_template_encode"))
_SANA = Reads(
    instructed_length,
    lambda pipeline: f"{_instruction(pipeline)}{{}}",
)
_KREA = Reads(
    lambda pipeline, longest: _dropped(pipeline, longest) - pipeline.prompt_template_encode_num_suffix_tokens,
    lambda pipeline: f"{pipeline.prompt_template_encode_prefix}{{}}",
)
_DREAM = Reads(
    lambda pipeline, longest: longest + pipeline.prompt_template_encode_generate_start_idx,
    lambda pipeline: pipeline.prompt_template_encode_generate.format("[Generate]: {}"),
)
_HUNYUAN = Reads(lambda pipeline, _: _dropped(pipeline, 1000), _QWEN.around)
_KLEIN = Reads(around=lambda pipeline: _chat(pipeline, enable_thinking=False))
_TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
_EXACT_SIZE = {"use_resolution_binning": False}  # else the nearest of a list is drawn, and resized
_AS_WRITTEN = {"clean_caption": False}  # else it depends on libraries that happen to be installed
# What stands against the prompt where there is no negative one: zeros, which they were trained with, not an empty text
_AGAINST_ZEROS = {"negative_prompt": lambda asked: asked.negative_prompt or None}


def _negative_of_two(asked: ResolvedRequest) -> str | None:
    """Return the negative prompt of the first of two text encoders; None where neither has one."""
    return asked.negative_prompt if asked.negative_prompt or asked.negative_prompt_2 else None


FAMILIES: tuple[Family, ...] = (
    # FLUX.1's own guidance is embedded; its true CFG, the only reader of a negative prompt, is left off
    Family(  # [schnell]
        "FluxPipeline",
        where={"transformer.guidance_embeds": False},
        guidance=(),
        negative_over=UNREAD,
        steps=4,
        guidance_scale=0.0,
    ),
    Family("FluxPipeline", negative_over=UNREAD),
    Family(  # else it draws about a megapixel, and reads a picture at one of its own sizes
        "FluxKontextPipeline",
        negative_over=UNREAD,
        extra={"_auto_resize": False, "max_area": lambda asked: asked.width * asked.height},
    ),
    Family("StableDiffusion3Pipeline", spare=("text_encoder_3", "tokenizer_3")),
    Family("Flux2Pipeline", reads={"": Reads(around=_instructed)}),
    Family(
        "Flux2KleinPipeline",
        where={"is_distilled": True},
        guidance=(),
        steps=4,
        guidance_scale=1.0,
        reads={"": _KLEIN},
    ),
    Family("Flux2KleinPipeline", reads={"": _KLEIN}),
    Family("QwenImagePipeline", guidance=("true_cfg_scale",), reads={"": _QWEN}),
    Family("QwenImageEditPipeline", guidance=("true_cfg_scale",), reads={"": _EDIT}),
    Family("QwenImageEditPlusPipeline", guidance=("true_cfg_scale",), reads={"": _EDIT}),
    Family(
        "QwenImage21Pipeline",
        guidance=("true_cfg_scale",),
        multiple=32,
        # Keys of the text are those of the first step, which is wrong where an adapter's strength changes after it
        extra={"use_kv_cache": lambda asked: not any(one.schedule for one in asked.adapters)},
    ),
    Family(
        "ZImagePipeline",
        negative_over=0.0,
        reads={"": Reads(around=lambda pipeline: _chat(pipeline, enable_thinking=True))},
    ),
    Family("ZImageOmniPipeline", negative_over=0.0, reads={"": Reads(around=_TURN)}),
    Family("HiDreamImagePipeline", sizes=_fixed_points),
    Family(
        "Lumina2Pipeline", reads={"": Reads(around=lambda pipeline: f"{pipeline.system_prompt} <Prompt Start> {{}}")}
    ),
    Family("LuminaPipeline", extra=_AS_WRITTEN),
    Family("LatentConsistencyModelPipeline", negative_over=UNREAD),
    # As `_AGAINST_ZEROS`, where none of its two encoders has a negative prompt
    Family("StableDiffusionXLPipeline", extra={"negative_prompt": _negative_of_two}),
    Family("SanaPipeline", extra=_EXACT_SIZE, reads={"": _SANA}),
    Family(
        "SanaSprintPipeline",
        # The step between is for two steps alone
        extra=_EXACT_SIZE | {"intermediate_timesteps": lambda asked: 1.3 if asked.steps == 2 else None},
        reads={"": _SANA},
    ),
    Family("PixArtAlphaPipeline", extra=_EXACT_SIZE | _AS_WRITTEN),
    Family("PixArtSigmaPipeline", extra=_EXACT_SIZE | _AS_WRITTEN),
    Family("AuraFlowPipeline", size=(1024, 1024), longest=_positions),
    Family(
        "HunyuanDiTPipeline",
        extra=_EXACT_SIZE,
        reads={"": Reads(77), "_2": Reads(256)},
    ),
    Family(  # the distilled one
        "HunyuanImagePipeline",
        where={"transformer.guidance_embeds": True},
        guidance=("distilled_guidance_scale",),
        negative_over=UNREAD,
        steps=8,
        reads={"": _HUNYUAN, "_2": None},
    ),
    Family(
        "HunyuanImagePipeline",
        guidance=("guider.guidance_scale", "ocr_guider.guidance_scale"),
        # The second tokenizer is of what stands in quotation marks
        reads={"": _HUNYUAN, "_2": None},
    ),
    Family("CogView3PlusPipeline", extra=_AGAINST_ZEROS),
    Family(
        "KandinskyV22CombinedPipeline",
        guidance=("guidance_scale", "prior_guidance_scale"),
        multiple=64,
        extra=_AGAINST_ZEROS,
    ),
    Family("Kandinsky3Pipeline", multiple=64, extra=_AGAINST_ZEROS, reads={"": Reads(128)}),
    Family(
        "Kandinsky5T2IPipeline",
        sizes=attrgetter("resolutions"),
        reads={
            "": Reads(_dropped, attrgetter("prompt_template")),
            "_2": Reads(77),
        },
    ),
    Family("WanPipeline", extra={"num_frames": 1, "output_type": "pil"}),
    Family(
        "Krea2Pipeline",
        where={"is_distilled": True},
        negative_over=0.0,
        steps=8,
        guidance_scale=0.0,
        reads={"": _KREA},
    ),
    Family(
        "Krea2Pipeline",
        negative_over=0.0,
        reads={"": _KREA},
    ),
    Family(
        "Ideogram4Pipeline",
        guidance_scale=7.0,
        extra={"guidance_schedule": None},  # a constant guidance; its own schedule is for 48 steps alone
        without=("heun",),  # it has one guidance for each step that is asked for; Heun takes more
        reads={"": Reads(around=_chat)},
    ),
    Family("ErnieImagePipeline", extra={"use_pe": False}),  # else a language model writes another prompt
    Family(
        "LongCatImagePipeline",
        extra={"enable_prompt_rewrite": False},
        reads={"": Reads(lambda pipeline, _: pipeline.tokenizer_max_length)},
    ),
    Family("DreamLitePipeline", reads={"": _DREAM}),
    Family("DreamLiteMobilePipeline", guidance=(), reads={"": _DREAM}),  # distilled: its guidance is taken and not read
)
_OTHERS = Family("")  # as every pipeline is that is not in the table


def family_of(pipeline: Any) -> Family:
    """Return what the table says of a pipeline: the first row that fits it."""
    name = type(pipeline).__name__
    rows = (row for row in FAMILIES if row.pipeline == name)
    fits = (row for row in rows if all(setting(pipeline, *place.split(".")) == v for place, v in row.where.items()))
    return next(fits, _OTHERS)


def setting(pipeline: Any, *place: str) -> Any:
    """Return a value of a configuration, the pipeline's own or, with two names, that of a part; None without one."""
    *part, name = place
    owner = getattr(pipeline, part[0], None) if part else pipeline
    return getattr(getattr(owner, "config", None), name, None)


def further_arguments(family: Family, asked: ResolvedRequest) -> dict[str, Any]:
    """Return the arguments of a call that a request has no field for."""
    return {name: value(asked) if callable(value) else value for name, value in family.extra.items()}
