"""Stops the build of a worker image that would hold another torch than the one asked for: `torch_variant.py cpu|cuda`."""

import sys

import torch

wanted, built_for = sys.argv[1], torch.version.cuda
print(f"torch {torch.__version__}, {f'CUDA {built_for}' if built_for else 'CPU only'}")
if wanted not in ("cpu", "cuda"):
    sys.exit(f"TORCH_VARIANT is cpu or cuda, not {wanted!r}")
if wanted == "cuda" and not built_for:
    sys.exit("TORCH_VARIANT=cuda, and this torch has no CUDA: leave TORCH_INDEX_URL out, or name an index with CUDA builds")
if wanted == "cpu" and built_for:
    print("this build runs on a CPU too; TORCH_INDEX_URL with PyTorch's index of CPU builds makes the image much smaller")
