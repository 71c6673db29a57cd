"""Make the goldens: what the reference libraries' own forward passes compute, for files that they themselves save.

    python3.11 -m venv ../golden-venv
    ../golden-venv/bin/pip install 'torch>=2.8,<2.14' lycoris_lora==4.1.3 peft==0.21.2 safetensors numpy
    ../golden-venv/bin/python tests/lycoris/goldens/make.py

A venv of its own, because the reference installs a package called `lycoris` too. Forward passes only: the reference's
merge applies alpha/r twice for LoHa and LoKr. The same bytes come out every time.
"""

import json
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
LAYERS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {  # kind -> class in torch.nn, arguments, input
    "linear": ("Linear", {"in_features": 16, "out_features": 24}, (3, 16)),
    "square": ("Linear", {"in_features": 16, "out_features": 16}, (3, 16)),
    "conv3x3": ("Conv2d", {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1}, (1, 8, 4, 4)),
    "conv1x1": ("Conv2d", {"in_channels": 8, "out_channels": 12, "kernel_size": 1}, (1, 8, 4, 4)),
    "strided": (
        "Conv2d",
        {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "stride": 2, "padding": 1},
        (1, 8, 4, 4),
    ),
    "grouped": (
        "Conv2d",
        {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1, "groups": 2},
        (1, 8, 4, 4),
    ),
    "embedding": ("Embedding", {"num_embeddings": 24, "embedding_dim": 16}, (3,)),
    "layernorm": ("LayerNorm", {"normalized_shape": 16}, (3, 16)),
    "groupnorm": ("GroupNorm", {"num_groups": 2, "num_channels": 8}, (1, 8, 4, 4)),
}
UNGROUPED = ("linear", "square", "conv3x3", "conv1x1", "strided")
MATRICES = ("linear", "square", "conv3x3", "conv1x1", "strided", "grouped")
KERNELS = ("conv3x3", "strided")
STRENGTHS = (1.0, -0.6)
DORA = {"weight_decompose": True, "wd_on_out": True}
DORA_INPUT = {"weight_decompose": True, "wd_on_out": False}
RANKED = {"lora_dim": 4, "alpha": 2.0}

LYCORIS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], tuple[float, ...]]] = {
    # case -> module class, its arguments, layer kinds, strengths (DoRA's own strength law is another: only 1 agrees)
    "lora": ("LoConModule", RANKED, MATRICES, STRENGTHS),
    "lora-tucker": ("LoConModule", RANKED | {"use_tucker": True}, KERNELS, STRENGTHS),
    "rslora": ("LoConModule", RANKED | {"rs_lora": True}, ("linear", "conv3x3"), STRENGTHS),
    "loha": ("LohaModule", RANKED, MATRICES, STRENGTHS),
    "loha-tucker": ("LohaModule", RANKED | {"use_tucker": True}, KERNELS, STRENGTHS),
    "lokr": ("LokrModule", RANKED | {"lora_dim": 2, "alpha": 3.0, "factor": 2}, MATRICES, STRENGTHS),
    "lokr-both": ("LokrModule", RANKED | {"lora_dim": 1, "factor": 4, "decompose_both": True}, MATRICES, STRENGTHS),
    "lokr-whole": ("LokrModule", RANKED | {"full_matrix": True, "factor": 4}, MATRICES, STRENGTHS),
    "lokr-tucker": (
        "LokrModule",
        RANKED | {"lora_dim": 2, "alpha": 3.0, "factor": 2, "use_tucker": True},
        KERNELS,
        STRENGTHS,
    ),
    "dora-lora": ("LoConModule", RANKED | DORA, MATRICES, (1.0,)),
    "dora-loha": ("LohaModule", RANKED | DORA, MATRICES, (1.0,)),
    "dora-lokr": ("LokrModule", RANKED | {"lora_dim": 2, "alpha": 3.0, "factor": 2} | DORA, MATRICES, (1.0,)),
    "dora-lora-input": ("LoConModule", RANKED | DORA_INPUT, MATRICES, (1.0,)),
    "dora-loha-input": ("LohaModule", RANKED | DORA_INPUT, MATRICES, (1.0,)),
    "dora-lokr-input": (
        "LokrModule",
        RANKED | {"lora_dim": 2, "alpha": 3.0, "factor": 2} | DORA_INPUT,
        MATRICES,
        (1.0,),
    ),
    "norm": ("NormModule", {}, ("layernorm", "groupnorm"), STRENGTHS),
    "ia3-output": ("IA3Module", {}, ("linear", "square", "conv3x3", "conv1x1", "strided", "grouped"), STRENGTHS),
    "ia3-input": ("IA3Module", {"train_on_input": True}, UNGROUPED, STRENGTHS),
    "glora": ("GLoRAModule", RANKED, UNGROUPED, STRENGTHS),
    "oft": ("DiagOFTModule", {"lora_dim": 4}, MATRICES, STRENGTHS),
    "oft-constrained": ("DiagOFTModule", {"lora_dim": 4, "constraint": 0.02}, MATRICES, STRENGTHS),
    # rescale: at other strengths the reference applies it in full (and for OFT fails), so only 1 agrees
    "oft-rescaled": ("DiagOFTModule", {"lora_dim": 4, "rescaled": True}, MATRICES, (1.0,)),
    "boft": ("ButterflyOFTModule", {"lora_dim": 6}, MATRICES, STRENGTHS),
    "boft-constrained": ("ButterflyOFTModule", {"lora_dim": 6, "constraint": 0.02}, ("square", "conv3x3"), STRENGTHS),
    "boft-rescaled": ("ButterflyOFTModule", {"lora_dim": 6, "rescaled": True}, ("linear", "conv3x3"), (1.0,)),
    "tlora": ("TLoraModule", RANKED, ("linear", "square", "conv1x1"), STRENGTHS),
}
PEFT: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    # case -> config class, its arguments, layer kinds; PEFT keeps alpha in its config, so here alpha is the rank
    "peft-lora": ("LoraConfig", {"r": 4, "lora_alpha": 4, "init_lora_weights": False}, ("linear", "conv3x3")),
    "peft-lora-bias": (
        "LoraConfig",
        {"r": 4, "lora_alpha": 4, "init_lora_weights": False, "lora_bias": True},
        ("linear", "conv3x3"),
    ),
    "peft-dora": (
        "LoraConfig",
        {"r": 4, "lora_alpha": 4, "init_lora_weights": False, "use_dora": True},
        ("linear", "square", "conv3x3"),
    ),
    "folder-boft-three": ("BOFTConfig", {"boft_block_size": 4, "boft_n_butterfly_factor": 3}, ("linear",)),
    "peft-loha": ("LoHaConfig", {"r": 4, "alpha": 4, "init_weights": False}, ("linear", "conv3x3")),
    "peft-lokr": ("LoKrConfig", {"r": 2, "alpha": 2, "init_weights": False}, ("linear", "conv3x3")),
}
PEFT_FOLDERS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    # as above, with the adapter_config.json that PEFT saves beside the tensors
    "folder-lora": ("LoraConfig", {"r": 4, "lora_alpha": 9, "init_lora_weights": False}, ("linear", "conv3x3")),
    "folder-rslora": ("LoraConfig", {"r": 4, "lora_alpha": 3, "use_rslora": True}, ("linear",)),
    "folder-alpha-pattern": ("LoraConfig", {"r": 4, "lora_alpha": 3, "alpha_pattern": {"golden": 7}}, ("linear",)),
    "folder-rank-pattern": ("LoraConfig", {"r": 4, "lora_alpha": 3, "rank_pattern": {"golden": 2}}, ("linear",)),
    "folder-dora": ("LoraConfig", {"r": 4, "lora_alpha": 2, "use_dora": True}, ("linear", "conv3x3")),
    "folder-adalora": ("AdaLoraConfig", {"init_r": 4, "lora_alpha": 6, "total_step": 10}, ("linear", "conv3x3")),
    "folder-loha": ("LoHaConfig", {"r": 4, "alpha": 6}, ("linear", "conv3x3")),
    "folder-lokr": ("LoKrConfig", {"r": 2, "alpha": 5}, ("linear", "conv3x3")),
    "folder-lokr-whole": ("LoKrConfig", {"r": 64, "alpha": 80}, ("linear", "conv3x3")),
    "folder-ia3-output": ("IA3Config", {"feedforward_modules": []}, ("linear", "square", "conv3x3", "conv1x1")),
    "folder-ia3-input": ("IA3Config", {"feedforward_modules": ["golden"]}, ("linear", "square", "conv3x3")),
    "folder-oft": ("OFTConfig", {"oft_block_size": 4, "use_cayley_neumann": False}, ("linear", "square", "conv1x1")),
    "folder-oft-neumann": ("OFTConfig", {"oft_block_size": 4}, ("linear", "square", "conv1x1")),
    "folder-oft-terms": ("OFTConfig", {"oft_block_size": 4, "num_cayley_neumann_terms": 7}, ("linear",)),
    "folder-oft-shared": ("OFTConfig", {"oft_block_size": 4, "block_share": True}, ("linear",)),
    "folder-boft": ("BOFTConfig", {"boft_block_size": 4}, ("linear", "square", "conv3x3", "conv1x1")),
    "folder-boft-butterfly": (
        "BOFTConfig",
        {"boft_block_size": 4, "boft_n_butterfly_factor": 2},
        ("linear", "square", "conv3x3"),
    ),
    "folder-boft-three": ("BOFTConfig", {"boft_block_size": 4, "boft_n_butterfly_factor": 3}, ("linear",)),
    "folder-hra": ("HRAConfig", {"r": 4}, ("linear", "square", "conv3x3")),
    "folder-hra-schmidt": ("HRAConfig", {"r": 4, "apply_GS": True}, ("linear", "conv3x3")),
    "folder-vera": ("VeraConfig", {"r": 4}, ("linear", "square")),
    "folder-fourierft": ("FourierFTConfig", {"n_frequency": 40}, ("linear", "square")),
    "folder-c3a": ("C3AConfig", {"block_size": 4}, ("linear", "square")),
    "folder-hira": ("HiraConfig", {"r": 4}, ("linear", "square", "conv3x3", "conv1x1", "strided")),
    "folder-glora": ("GloraConfig", {"r": 4, "config_C": "none", "config_D_E": "vector"}, ("linear", "square")),
    "folder-glora-columns": ("GloraConfig", {"config_A_B": "vector", "config_C": "none"}, ("linear",)),
    "folder-glora-numbers": ("GloraConfig", {"config_A_B": "constant", "config_C": "none"}, ("linear",)),
    "folder-lora-words": ("LoraConfig", {"r": 4, "lora_alpha": 9, "init_lora_weights": False}, ("embedding",)),
    "folder-dora-words": ("LoraConfig", {"r": 4, "lora_alpha": 2, "use_dora": True}, ("embedding",)),
    "folder-hira-words": ("HiraConfig", {"r": 4}, ("embedding",)),
    "folder-glora-beside": ("GloraConfig", {"r": 4, "config_C": "lora", "config_D_E": "vector"}, ("linear", "square")),
    "folder-glora-column": ("GloraConfig", {"config_A_B": "vector", "config_C": "vector"}, ("linear",)),
}
AROUND_ONE = ("dora_scale", "rescale", "magnitude", "ia3_l", "boft_s")  # parameters that are no change at 1


def base(kind: str) -> tuple[nn.Module, Tensor]:
    """Return a layer of the kind with random weights, and an input for it."""
    name, arguments, shape = LAYERS[kind]
    layer = getattr(nn, name)(**arguments)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    x = torch.randint(len(layer.weight), shape) if kind == "embedding" else torch.randn(shape)
    return layer.requires_grad_(False).eval(), x


def trained(name: str, parameter: Tensor) -> Tensor:
    """Return what training may have made of a parameter."""
    noise = torch.randn(parameter.shape) * 0.4
    return parameter * (1 + noise.clamp(-0.5, 0.5)) if any(part in name for part in AROUND_ONE) else noise


def lycoris_case(module: str, arguments: dict[str, Any], kind: str, strength: float) -> dict[str, Tensor]:
    """Return base, adapter, input and output of one LyCORIS module."""
    layer, x = base(kind)
    adapter = getattr(import_module("lycoris.modules"), module)("golden", layer, multiplier=strength, **arguments)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            parameter.copy_(trained(name, parameter))
    held = {name: value.detach().clone() for name, value in layer.named_parameters()}
    state = adapter.custom_state_dict() if module == "TLoraModule" else adapter.state_dict()
    saved = {f"adapter/{name}": value.detach().clone() for name, value in state.items()}
    adapter.apply_to()
    return {**held, **saved, "x": x, "y": layer(x).detach()}


def full_case(kind: str, strength: float) -> dict[str, Tensor]:
    """Return base, adapter, input and output of LyCORIS' full difference, which takes its layer's weight away."""
    layer, x = base(kind)
    held = {name: value.detach().clone() for name, value in layer.named_parameters()}
    saved = {f"diff{'_b' if name == 'bias' else ''}": torch.randn(value.shape) * 0.4 for name, value in held.items()}
    with torch.no_grad():
        adapter = import_module("lycoris.modules").FullModule.make_module_from_state_dict(
            "golden", layer, saved["diff"], saved["diff_b"]
        )
    adapter.multiplier = strength
    adapter.apply_to()
    return {**held, **{f"adapter/{k}": v for k, v in saved.items()}, "x": x, "y": layer(x).detach()}


def peft_case(config: str, arguments: dict[str, Any], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return base, adapter (as PEFT saves it), input and output of one PEFT model; and the configuration it saves."""
    layer, x = base(kind)
    held = {name: value.detach().clone() for name, value in layer.named_parameters()}
    wrapped = nn.Sequential()
    wrapped.add_module("golden", layer)
    peft = import_module("peft")
    model = peft.get_peft_model(wrapped, getattr(peft, config)(target_modules=["golden"], **arguments)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(trained(name, parameter))
    y = model(x).detach()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(Path(folder) / "adapter_model.safetensors")
        peft_config = json.loads((Path(folder) / "adapter_config.json").read_text())
    return {**held, **{f"adapter/{name}": value for name, value in saved.items()}, "x": x, "y": y}, peft_config


def without_cuda() -> None:
    """Let PEFT's BOFT have more stages than one: all that its CUDA extension does is to lay blocks on a diagonal."""
    layer = import_module("peft.tuners.boft.layer")
    layer.get_fbd_cuda = lambda: True  # pyright: ignore[reportAttributeAccessIssue]
    layer.FastBlockDiag.apply = lambda blocks: torch.stack([torch.block_diag(*stage) for stage in blocks])


def main() -> None:
    """Write goldens.safetensors: <case>/<part> -> tensor, and in the metadata what each case is."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    without_cuda()
    tensors: dict[str, Tensor] = {}
    cases: dict[str, dict[str, Any]] = {}

    def add(case: str, kind: str, strength: float, make: Callable[[], dict[str, Tensor]]) -> str:
        name = f"{case}-{kind}" + ("" if strength == 1 else f"-at{strength}")
        torch.manual_seed(len(cases))
        class_name, arguments, _ = LAYERS[kind]
        cases[name] = {"algorithm": case, "layer": class_name, "arguments": arguments, "strength": strength}
        tensors.update({f"{name}/{part}": tensor.contiguous() for part, tensor in make().items()})
        return name

    for case, (module, arguments, kinds, strengths) in LYCORIS.items():
        for kind in kinds:
            for strength in strengths:
                add(case, kind, strength, lambda m=module, a=arguments, k=kind, s=strength: lycoris_case(m, a, k, s))
    for kind in ("linear", "conv3x3", "conv1x1"):
        for strength in STRENGTHS:
            add("full", kind, strength, lambda k=kind, s=strength: full_case(k, s))
    for case, (config, arguments, kinds) in PEFT.items():
        for kind in kinds:
            add(case, kind, 1.0, lambda c=config, a=arguments, k=kind: peft_case(c, a, k)[0])
    for case, (config, arguments, kinds) in PEFT_FOLDERS.items():
        for kind in kinds:
            peft_config: dict[str, Any] = {}

            def make(
                c: str = config, a: dict[str, Any] = arguments, k: str = kind, t: dict = peft_config
            ) -> dict[str, Tensor]:
                parts, found = peft_case(c, a, k)
                t.update(found)
                return parts

            cases[add(case, kind, 1.0, make)]["config"] = peft_config
    save_file(tensors, HERE / "goldens.safetensors", metadata={"cases": json.dumps(cases, sort_keys=True)})
    print(f"{len(cases)} cases, {(HERE / 'goldens.safetensors').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
