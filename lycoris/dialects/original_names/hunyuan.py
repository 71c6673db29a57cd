"""HunyuanVideo and HunyuanImage 2.1: the names of Tencent, of ComfyUI and of OneTrainer."""

from lycoris.dialects.original_names.scheme import Names, Scheme, swapped

REFINER = ("txt_in.individual_token_refiner.blocks.*", "context_embedder.token_refiner.refiner_blocks.*")
DOUBLE, SINGLE = ("double_blocks.*", "transformer_blocks.*"), ("single_blocks.*", "single_transformer_blocks.*")
QKV: Names = {
    "img_attn": "attn.to_q attn.to_k attn.to_v",
    "txt_attn": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
}
OUT: Names = {"img_attn": "attn.to_out.0", "txt_attn": "attn.to_add_out"}
NORMS: Names = {"img_attn": "attn.norm", "txt_attn": "attn.norm_added"}
MLPS: Names = {"img_mlp": "ff", "txt_mlp": "ff_context", "mlp": "ff"}
MODS: Names = {"img_mod": "norm1", "txt_mod": "norm1_context"}
TEXT, TIME = "context_embedder.time_text_embed", "time_text_embed.{0} | time_guidance_embed.{0}"


def mlp(native: str, first: str = "fc1", last: str = "fc2") -> Names:
    """Return the two layers of a feed-forward under these two names."""
    return {f"{native}.{first}": f"{MLPS[native]}.net.0.proj", f"{native}.{last}": f"{MLPS[native]}.net.2"}


def embedder(native: str, own: str, first: str, last: str) -> Names:
    """Return the two layers of an embedder under these two names."""
    ends = {first: "linear_1", last: "linear_2"}
    return {f"{native}.{leaf}": " | ".join(f"{path}.{end}" for path in own.split(" | ")) for leaf, end in ends.items()}


TIMES: Names = {
    "time_in": TIME.format("timestep_embedder"),
    "guidance_in": TIME.format("guidance_embedder"),
    "time_r_in": TIME.format("timestep_embedder_r"),
}
HUNYUAN = Scheme(
    "HunyuanVideo",
    ("context_embedder.token_refiner.refiner_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_mlp"),
    {
        DOUBLE: {
            **{f"{native}_qkv": own for native, own in QKV.items()},
            **{f"{native}_proj": own for native, own in OUT.items()},
            **{f"{native}_{leaf}_norm": f"{own}_{leaf}" for native, own in NORMS.items() for leaf in "qk"},
            **{f"{native}.linear": f"{own}.linear" for native, own in MODS.items()},
            **mlp("img_mlp"),
            **mlp("txt_mlp"),
        },
        SINGLE: {
            "linear1": "attn.to_q attn.to_k attn.to_v proj_mlp",
            "linear2": "proj_out",
            "modulation.linear": "norm.linear",
            "q_norm": "attn.norm_q",
            "k_norm": "attn.norm_k",
        },
        REFINER: {
            "self_attn_qkv": QKV["img_attn"],
            "self_attn_proj": "attn.to_out.0",
            **mlp("mlp"),
            "adaLN_modulation.1": "norm_out.linear",
            "norm1": "norm1",
            "norm2": "norm2",
        },
        ("", ""): {
            "img_in.proj": "x_embedder.proj",
            "txt_in.input_embedder": "context_embedder.proj_in",
            **embedder("txt_in.t_embedder", f"{TEXT}.timestep_embedder", "mlp.0", "mlp.2"),
            **embedder("txt_in.c_embedder", f"{TEXT}.text_embedder", "linear_1", "linear_2"),
            **{
                key: path
                for native, own in TIMES.items()
                for key, path in embedder(native, own, "mlp.0", "mlp.2").items()
            },
            **embedder("vector_in", "time_text_embed.text_embedder", "in_layer", "out_layer"),
            "final_layer.linear": "proj_out",
            "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
            "byt5_in.layernorm": "context_embedder_2.norm",
            **{f"byt5_in.fc{k}": f"context_embedder_2.linear_{k}" for k in (1, 2, 3)},
        },
    },
    aliases={
        DOUBLE: {
            # HunyuanImage's projections are separate; ComfyUI uses FLUX.1's names; OneTrainer counts from fc0
            **{
                f"{native}_{leaf}": path
                for native, own in QKV.items()
                for leaf, path in zip("qkv", own.split(), strict=True)
            },
            **{f"{native}.qkv": own for native, own in QKV.items()},
            **{f"{native}.proj": own for native, own in OUT.items()},
            **{
                f"{native}.norm.{leaf}_norm": f"{own}_{leaf[0]}"
                for native, own in NORMS.items()
                for leaf in ("query", "key")
            },
            **{f"{native}.lin": f"{own}.linear" for native, own in MODS.items()},
            **{
                key: own
                for native in ("img_mlp", "txt_mlp")
                for ends in (("0", "2"), ("fc0", "fc2"))
                for key, own in mlp(native, *ends).items()
            },
        },
        SINGLE: {
            **{f"linear1_{leaf}": f"attn.to_{leaf}" for leaf in "qkv"},
            "linear1_mlp": "proj_mlp",
            "linear2.fc": "proj_out",
            "modulation.lin": "norm.linear",
            "norm.query_norm": "attn.norm_q",
            "norm.key_norm": "attn.norm_k",
        },
        REFINER: {
            "self_attn.qkv": QKV["img_attn"],
            "self_attn.proj": "attn.to_out.0",
            **mlp("mlp", "0", "2"),
            **mlp("mlp", "fc0"),
        },
        ("", ""): {
            **{
                key: path
                for ends in (("in_layer", "out_layer"), ("linear_1", "linear_2"))
                for leaf, own in (("t_embedder", "timestep_embedder"), ("c_embedder", "text_embedder"))
                for key, path in embedder(f"txt_in.{leaf}", f"{TEXT}.{own}", *ends).items()
            },
            **{
                key: path
                for native, own in TIMES.items()
                for key, path in embedder(native, own, "in_layer", "out_layer").items()
            },
        },
    },
)
