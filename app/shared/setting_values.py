"""Values of settings that are judged by themselves; each raises ValueError with a sentence."""

import re
import socket
from base64 import b64decode
from typing import Annotated

from pydantic import AfterValidator, SecretStr

DEVICE_PATTERN = r"auto|cpu|mps|cuda(:\d{1,3})?"
HOOK_PATTERN = r"|https?://[!-~]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*"


def _can_sign(secret: SecretStr | None) -> SecretStr | None:
    try:
        key = b64decode((secret.get_secret_value() if secret else "whsec_" + "A" * 32).removeprefix("whsec_") + "==")
    except ValueError as error:
        raise ValueError("it is whsec_ and base64 of 24 to 64 bytes") from error
    if not 24 <= len(key) <= 64:
        raise ValueError("it is whsec_ and base64 of 24 to 64 bytes")
    return secret


def _can_be_meant(hook: str) -> str:
    if not re.fullmatch(HOOK_PATTERN, hook):
        raise ValueError(f"{hook!r} is neither a URL nor module:function")
    return hook


def _is_found(host: str) -> str:
    host = host.removeprefix("[").removesuffix("]")  # as they stand in a URL
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host!r} is not found ({getattr(error, 'strerror', error)})") from error
    return host


def _is_a_device(device: str) -> str:
    if not re.fullmatch(DEVICE_PATTERN, device):
        raise ValueError(f"{device!r} is none of auto, cpu, cuda, cuda:<number>, mps")
    return device


SigningKey = Annotated[SecretStr | None, AfterValidator(_can_sign)]
Hook = Annotated[str, AfterValidator(_can_be_meant)]  # of moderation
Host = Annotated[str, AfterValidator(_is_found)]
Device = Annotated[str, AfterValidator(_is_a_device)]
