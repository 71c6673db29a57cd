"""What loading a base takes: the peak of memory as a ratio to its weights, the time as a ratio to reading its files.

`python -m tests.bench.loading [--folder FOLDER] [--single] [--dtype auto]` makes a folder of the shape of SD 1.5, in
part smaller (or takes one), as a single file where that is asked for, loads it in a process of its own, and prints a
table, and one line of JSON last. Files are read before, so that their pages are in memory both times. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from app.shared.settings import Settings
from tests.bench.provenance import provenance
from tests.families import original
from tests.workers.training import toys
from workers.models.loading import load
from workers.models.looking import look

AIM = 1.1
LOOK_S = 0.002
HELD = ("RssAnon", "RssShmem")  # what no file backs
MAPPED = ("RssFile",)  # pages of a mapped file are there as long as nobody needs the memory
MIB = 1024 * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a diffusers folder; unset, one is made")
    parser.add_argument("--single", action="store_true", help="the same weights as one file in their original layout")
    parser.add_argument("--dtype", default="auto", help="as RADIATA_DTYPE (default auto)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.folder, arguments.dtype)))
        return
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as made:
        folder = arguments.folder or build(Path(made) / "base")
        if arguments.single:
            folder = single(folder)
        command = [sys.executable, "-m", __spec__.name, "--child", "--folder", str(folder), "--dtype", arguments.dtype]
        figures = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
    figures |= provenance()
    table = Table("figure", "value", title="A base is loaded")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value))
    console = Console()
    console.print(table)
    console.print(f"peak {figures['peak_ratio']:.2f} of the weights: aim {AIM}")
    print(json.dumps(figures))


def build(folder: Path) -> Path:
    """Save random weights of some 500 MB in float32, four fifths of them the UNet's."""
    pipeline = toys.pipeline()
    width = 512
    text = CLIPTextConfig(vocab_size=8192, hidden_size=width, num_hidden_layers=8, max_position_embeddings=77)
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(128, 256, 512, 512), cross_attention_dim=width, layers_per_block=2
    )
    parts = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    config = {"block_out_channels": (32, 64, 128, 128), "latent_channels": 4, "norm_num_groups": 32} | parts
    vae = AutoencoderKL.from_config(config)
    pipeline.register_modules(unet=unet, text_encoder=CLIPTextModel(text), vae=vae)
    pipeline.save_pretrained(folder)
    return folder


def single(folder: Path) -> Path:
    """Write the weights of a folder of Stable Diffusion as one file beside it, which then has configurations alone."""
    file = folder.with_suffix(".safetensors")
    save_file(original.stable_diffusion(folder), file)
    for part in ("unet", "vae", "text_encoder"):
        for weights in (folder / part).glob("*.safetensors"):
            weights.unlink()
    return file


def reading(files: list[Path]) -> float:
    """Return the seconds that reading these files takes, into memory that is there."""
    buffer = bytearray(16 * MIB)
    began = time.perf_counter()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - began


def measured(folder: Path, dtype: str) -> dict[str, float | str]:
    """Load it once, and look at this process' memory meanwhile."""
    settings = Settings(models={"base": str(folder)}, dtype=dtype, device="cpu", threads=1)  # type: ignore[arg-type]
    load(settings.model, settings.model_copy(update={"models": {"base": "bundled:emoji-64"}}))  # libraries, once
    files = [folder] if folder.is_file() else [file for part in folder.iterdir() for file in part.glob("*.safetensors")]
    read = min(reading(files) for _ in range(3))
    began = time.perf_counter()
    look(settings.model, settings)
    looked = time.perf_counter() - began
    before, peaks, done = _memory(), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peaks.append(_memory())
            time.sleep(LOOK_S)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    base = load(settings.model, settings)
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    parts = [part for part in base.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    weights = sum(weight.nbytes for part in parts for weight in part.parameters())
    stored = sum(file.stat().st_size for file in files)
    with safe_open(files[0], "pt") as file:
        kept = file.get_slice(next(iter(file.keys()))).get_dtype()
    return {
        "stored_as": kept,
        "loaded_as": base.profile.dtype,
        "stored_mib": stored / MIB,
        "weights_mib": weights / MIB,
        "peak_mib": (held := max(held for held, _ in peaks) - before[0]) / MIB,
        "peak_ratio": held / weights,
        "peak_ratio_with_mapped_pages": (max(map(sum, peaks)) - sum(before)) / weights,
        "after_mib": (_memory()[0] - before[0]) / MIB,
        "seconds": seconds,
        "reading_seconds": (read := min(read, *(reading(files) for _ in range(3)))),
        "load_over_reading": seconds / read,
        "looking_seconds": looked,
    }


def _memory() -> tuple[int, int]:
    """Return the bytes that this process holds and no file backs, and those that are pages of files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    held, mapped = (sum(int(fields[name].split()[0]) * 1024 for name in names) for names in (HELD, MAPPED))
    return held, mapped


if __name__ == "__main__":
    main()
