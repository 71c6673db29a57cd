"""Every algorithm over the running service: its file is accepted, and a picture drawn with it is another picture."""

import json
from collections.abc import Callable

import httpx
import pytest
import torch
from safetensors.torch import save

from lycoris.files.peft_folder import CONFIG, WEIGHTS
from tests.e2e.drawing import draw, picture, upload
from tests.lycoris import zoo
from tests.lycoris.files.test_peft_folder import CONFIGS, zipped
from tests.samples import ATTENTION, CONV

FLAT_PREFIXES = ATTENTION[0]
DOTTED_PREFIXES = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
SQUARE, KERNEL = ATTENTION[1:], (*CONV[1:], 3, 3)
NORM = "lora_unet_mid_block_attentions_0_norm"
IN_ONE_FILE = (
    *("lora-sparse", "lora-tucker", "loha-tucker", "lokr-both", "dora-lora-output", "dora-loha-input", "full", "norm"),
    *(
        "overwrite",
        "ia3-output",
        "ia3-input",
        "glora",
        "oft",
        "oft-constrained",
        "oft-rescaled",
        "oft-split",
        "oft-old",
    ),
    *("boft", "boft-rescaled", "hira", "tlora"),
)
ZIPPED = tuple(name for name in CONFIGS if name != "peft-hra-schmidt")
BRIEF = {"seed": 3, "steps": 2, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def bare() -> dict[str, bytes]:
    """The picture without any adapter, drawn once."""
    return {}


def tensors(algorithm: str) -> tuple[str, zoo.Tensors]:
    """A layer of the bundled model that the algorithm is for, and tensors for it, large enough to be seen."""
    kinds = zoo.ALGORITHMS[algorithm][1]
    name, shape = (
        (NORM, (160,)) if kinds == zoo.NORMS else (FLAT_PREFIXES, SQUARE) if "linear" in kinds else (CONV[0], KERNEL)
    )
    return name, zoo.tensors(algorithm, torch.empty(shape), seed=5)


def lone_file(algorithm: str) -> bytes:
    name, group = tensors(algorithm)
    of_no_bias = {suffix: tensor for suffix, tensor in group.items() if suffix != "diff_b" or name == NORM}
    return zoo.file({name: of_no_bias})


def peft_zip(algorithm: str) -> bytes:
    _, group = tensors(algorithm)
    spelled = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
    kept = {spelled.get(name, name): t.clone() for name, t in group.items() if name not in zoo.SCALARS | zoo.SETTINGS}
    places = {name: "base_model" if name in ("vera_A", "vera_B") else DOTTED_PREFIXES for name in kept}
    weights = save({f"{places[name]}.{name}": tensor for name, tensor in kept.items()})
    config = CONFIGS[algorithm] | ({"feedforward_modules": ["to_q"]} if "ia3" in algorithm else {})
    return zipped({WEIGHTS: weights, CONFIG: json.dumps(config)})


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [*((name, lone_file) for name in IN_ONE_FILE), *((name, peft_zip) for name in ZIPPED)],
    ids=[*IN_ONE_FILE, *(f"{name}-zip" for name in ZIPPED)],
)
def test_the_service_applies_it(
    http: httpx.Client, bare: dict[str, bytes], algorithm: str, make: Callable[[str], bytes]
) -> None:
    data = make(algorithm)
    answer = upload(http, data, f"family-{algorithm}")
    assert answer.status_code in (200, 201), answer.text
    adapter = answer.json()
    assert adapter["verdict"]["resolved"] == 1
    if not bare:
        bare["png"] = picture(http, draw(http, **BRIEF))
    drawn = draw(http, **BRIEF, adapters=[{"ref": f"sha256:{adapter['sha256']}", "strength": 0.8}])
    assert picture(http, drawn) != bare["png"]
    file = http.get(f"/v1/adapters/sha256:{adapter['sha256']}/file")
    ending = "zip" if make is peft_zip else "safetensors"
    assert file.content == data
    assert file.headers["content-disposition"].endswith(f'.{ending}"')
