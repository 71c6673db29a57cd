"""The fused layers that diffusers' `fuse_projections` makes: some trainers fuse first, and name these layers.

The weights of query, key and value are concatenated along dim 0; with grouped queries k and v have fewer rows.
"""

from collections.abc import Collection, Iterator, Mapping

from lycoris.dialects.row_slice import RowSlice

FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),  # where q does not read the text of k and v
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
    "to_added_kv": ("add_k_proj", "add_v_proj"),  # Wan's, for a picture
}


def fused_names(
    modules: Collection[str], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, tuple[RowSlice, ...]]]:
    """Yield the fused name of projections that can be one layer, with the rows that the name means."""
    for module in modules:
        block, dot, leaf = module.rpartition(".")
        for name, leaves in FUSED.items():
            paths = [f"{block}{dot}{each}" for each in leaves]
            if leaf != leaves[0] or not all(path in modules for path in paths):
                continue
            if len({shapes.get(f"{path}.weight", ())[1:] for path in paths}) == 1:
                yield f"{block}{dot}{name}", tuple(map(RowSlice, paths))
