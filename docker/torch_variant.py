"""Stops a build of the worker image that would hold another torch than asked for: `torch_variant.py cpu|cuda`."""

import sys

import torch

wanted, cuda = sys.argv[1], torch.version.cuda
print(f"torch {torch.__version__}, {f'CUDA {cuda}' if cuda else 'CPU only'}")
if wanted not in ("cpu", "cuda"):
    sys.exit(f"TORCH_VARIANT is cpu or cuda, not {wanted!r}")
if wanted == "cuda" and not cuda:
    sys.exit("this torch has no CUDA: leave TORCH_INDEX_URL out, or name an index with CUDA builds")
if wanted == "cpu" and cuda:
    print("it runs on a CPU too; with PyTorch's index of CPU builds as TORCH_INDEX_URL the image is much smaller")
