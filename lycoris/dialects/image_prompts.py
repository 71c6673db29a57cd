"""Image prompts (IP-Adapter) in an adapter file: a projection from pictures to tokens, and attention that reads them.

Each name is told in IP-Adapter's own layout: `image_proj.<tensor>` and `ip_adapter.<number>.to_k_ip.weight`. XLabs'
files for FLUX and those of IP-Adapter's training scripts have other names for the same.
"""

import re

PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
_SAME = (
    (re.compile(r"(?:image_proj|image_proj_model|ip_adapter_proj_model)\.(.+)"), rf"{PROJECTION}\1"),
    (
        re.compile(r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(weight|bias)"),
        rf"{ATTENTION}\1.to_\2_ip.\3",
    ),
    (re.compile(r"(?:ip_adapter|adapter_modules)\.(\d+\..+)"), rf"{ATTENTION}\1"),
)


def image_prompt_name(name: str) -> str | None:
    """Return the name that an image prompt's tensor has in IP-Adapter's layout, or None if it belongs to none."""
    return next((found.expand(same) for pattern, same in _SAME if (found := pattern.fullmatch(name))), None)
