"""A device without memory for a picture: told from other errors, and given its memory back."""

import gc
import traceback

import torch

from app.shared.wire.generation import ResolvedRequest
from workers.models.device_memory import free_bytes

# In the RuntimeErrors of torch's allocators that have no class of their own: CPU, MPS, and the libraries of CUDA
WORDS = ("can't allocate memory", "not enough memory: you tried to allocate", "out of memory", "_ALLOC_FAILED")
GIB = 1 << 30


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def give_back(error: BaseException) -> None:
    """Free what the calls that failed still hold: an error keeps their local variables, activations among them."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def too_large(request: ResolvedRequest, device: str) -> str:
    """Return the sentence for a request that the device had not the memory for, once that is given back."""
    free = free_bytes(device)
    free_now = "" if free is None else f", where {free / GIB:.1f} GiB are free between pictures"
    which = "a picture" if request.count == 1 else f"each of the {request.count} pictures, drawn one after another,"
    return (
        f"{which} of {request.width}×{request.height} takes more memory than {device} has{free_now}; "
        "ask for a smaller size, or have it drawn on a device with more"
    )
