"""Names of files of weights: their formats, and the variants and shards of one model's."""

import re

GGUF = ".gguf"
FORMATS = (".safetensors", GGUF)  # of single files
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")
WEIGHTS = re.compile(r"[^.]+(\.(?P<variant>[^.]+?))?(-\d{5}-of-\d{5})?\.safetensors")
INDEX_OF_SHARDS = re.compile(r"[^.]+(\.(?P<variant>[^.]+))?\.safetensors\.index(\.(?P<other>[^.]+))?\.json")
