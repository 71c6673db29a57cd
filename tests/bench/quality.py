"""How well the bundled model draws, and what its adapters do to what it draws.

`python -m tests.bench.quality` needs the packages that `python -m workers.training.emoji data` fetches; it prints
tables for people and one line of JSON last. The figures in the model card are its own. `--adapters FOLDER` measures
others than the bundled ones: files called STYLE-NAME.safetensors, as `python -m tests.bench.algorithms` writes them.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lycoris import Patcher, load
from lycoris.patcher import StackEntry
from tests.bench.provenance import provenance
from tests.bench.style_classifier import StyleClassifier
from workers.training.emoji import captions, drawings, items, pipeline, samples, styles
from workers.training.emoji.items import Item
from workers.training.emoji.packages import DRAWINGS

SEED = 1000


def main() -> None:
    """Measure and print. `--quick` draws a sample of the concepts in place of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("workers/models/emoji-64"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--grids", type=Path, help="folder to write sheets of what was drawn to")
    parser.add_argument("--quick", action="store_true", help="96 trained concepts, not all")
    parser.add_argument("--parts", nargs="+", choices=["base", "adapters"], default=["base", "adapters"])
    parser.add_argument("--adapters", type=Path, help="a folder of adapters; unset, the bundled ones")
    parser.add_argument("--strengths", type=float, nargs="+", default=[1.0], help="to measure each adapter at")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = Bench(options.model, options.cache, options.grids)
    figures: dict = {"where": {**provenance(), "threads": options.threads}}
    if "base" in options.parts:
        figures |= {**bench.base(quick=options.quick), "codec": bench.codec()}
        figures["generation_seconds"] = bench.generation_time()
    if "adapters" in options.parts:
        files = sorted((options.adapters or options.model / "adapters").glob("*.safetensors"))
        taught = [file for file in files if _style(file) in styles.NAMES]
        figures["adapters"] = bench.adapters(taught, options.strengths)
    _print(figures)
    print(json.dumps(figures))


class Bench:
    """The model under test and the true drawings it is measured against."""

    def __init__(self, model: Path, cache: Path, grids: Path | None) -> None:
        self.pipe: StableDiffusionPipeline = pipeline.warm(model)
        self.cache, self.grids = cache, grids
        if grids:
            grids.mkdir(parents=True, exist_ok=True)
        self.catalogue = items.build(cache)
        self.ours, self.theirs = (items.load_drawings(self.catalogue, cache, vendor) for vendor in ("noto", "fluent"))
        self.names = list(self.ours)
        self.truth = _small(np.stack([drawings.lay(self.ours[name]) for name in self.names]))

    def base(self, quick: bool) -> dict:
        """Nearest true drawing among all items: trained, held out, and asked for with filler words."""
        trained = [item for item in self.catalogue if not item.held_out]
        held_out = [item for item in self.catalogue if item.held_out]
        if quick:
            trained = Random(0).sample(trained, 96)
        fillers = Random(1).sample([item for item in self.catalogue if not item.held_out], 64)
        wordings = [
            captions.with_article(f"cute {item.name}", item.name)
            if place % 2
            else f"a photo of {captions.with_article(item.name)}"
            for place, item in enumerate(fillers)
        ]
        return {
            "trained": self._nearest(trained, [item.name for item in trained], "trained"),
            "held_out": self._nearest(held_out, [item.name for item in held_out], "held-out"),
            "filler_words": self._nearest(fillers, wordings, "filler"),
        }

    def _nearest(self, asked: list[Item], prompts: list[str], label: str) -> dict:
        drawn = samples.draw(self.pipe, prompts, seed=SEED)
        if self.grids:
            samples.sheet(drawn[:64], self.grids / f"{label}.png", columns=16)
        distances = torch.cdist(_small(drawn), self.truth)
        ranks = [_rank(row, self.names.index(item.name)) for row, item in zip(distances, asked, strict=True)]
        truth = np.stack([drawings.lay(self.ours[item.name]) for item in asked])
        return {
            "concepts": len(asked),
            "top1": round(float(np.mean([rank == 0 for rank in ranks])), 4),
            "top5": round(float(np.mean([rank < 5 for rank in ranks])), 4),
            "median_psnr": round(float(np.median(_psnr(drawn, truth))), 2),
            "missed": [item.name for item, rank in zip(asked, ranks, strict=True) if rank][:40],
        }

    def codec(self) -> dict[str, float]:
        """Mean PSNR (dB) of the codec: on the items, on Noto drawings that are none, on a vendor never trained on."""
        item_codes = {item.hexcode for item in self.catalogue}
        groups = {"noto_items": np.stack([drawings.lay(self.ours[name]) for name in self.names])}
        for label, vendor in (("noto_other", "noto"), ("twemoji_unseen", "twemoji")):
            files = drawings.index(self.cache / vendor / DRAWINGS[vendor])
            codes = sorted(code for code in files if code not in item_codes or vendor != "noto")
            chosen = Random(2).sample(codes, 400)
            groups[label] = np.stack([drawings.lay(drawings.read(files[code])) for code in chosen])
        return {
            label: round(float(_psnr(_through(self.pipe, group), group).mean()), 2) for label, group in groups.items()
        }

    def generation_time(self) -> dict[str, float]:
        """Seconds for one picture of 20 steps, and for each of eight drawn together (best of three)."""
        result = {}
        for label, count in (("one", 1), ("each_of_eight", 8)):
            took = []
            for _ in range(3):
                begun = time.perf_counter()
                samples.draw(self.pipe, ["a red apple"] * count)
                took.append((time.perf_counter() - begun) / count)
            result[label] = round(min(took), 3)
        return result

    def adapters(self, files: list[Path], strengths: Sequence[float] = (1.0,)) -> list[dict]:
        """What each adapter does to concepts that it never saw: did the style arrive, did the drawing survive."""
        shown, held_out = styles.split(self.catalogue, self.ours, self.theirs)
        patcher = Patcher({"unet": self.pipe.unet, "text_encoder": self.pipe.text_encoder})
        plain = samples.draw(self.pipe, held_out, seed=SEED)
        rows = []
        for style in sorted({_style(file) for file in files}):
            classifier, true = self._classifier(style, shown, held_out)
            references = self._references(style)
            measure = _Survival(classifier, references, self.names, held_out, [self.ours[name] for name in held_out])
            rows.append({"style": style, "algorithm": "none", "classifier_right_on_true": true, **measure.of(plain)})
            drawings_of_it = styles.pictures(style, held_out, self.ours, self.theirs)
            best = _through(self.pipe, np.stack([drawings_of_it[name] for name in held_out]))
            rows.append({"style": style, "algorithm": "the style's own drawings", **measure.of(best)})
            for file in (file for file in files if _style(file) == style):
                adapter = load(file)
                about = {
                    "style": style,
                    "algorithm": file.stem.removeprefix(f"{style}-"),
                    "numbers": sum(
                        t.numel()
                        for layer in adapter.layers
                        for c in layer.changes.values()
                        for s, t in c.tensors().items()
                        if s != "alpha"
                    ),
                    "bytes": file.stat().st_size,
                    "steps": int(adapter.metadata.get("ss_steps", 0)),
                }
                for strength in strengths:
                    patcher.swap([StackEntry(adapter, strength)])
                    drawn = samples.draw(self.pipe, held_out, seed=SEED)
                    patcher.restore()
                    if self.grids:
                        sheet = self.grids / f"{file.stem}-{strength:g}.png"
                        samples.sheet(np.concatenate([plain[:20], drawn[:20]]), sheet, columns=20)
                    rows.append({**about, "strength": strength, **measure.of(drawn)})
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # one takes a minute, and many hours
        return rows

    def _classifier(self, style: str, shown: list[str], held_out: list[str]) -> tuple[StyleClassifier, float]:
        # Both kinds go through the codec first: its softness is no style.
        def both(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
            styled = styles.pictures(style, names, self.ours, self.theirs)
            ours = np.stack([drawings.lay(self.ours[name]) for name in names])
            return _through(self.pipe, ours), _through(self.pipe, np.stack([styled[name] for name in names]))

        classifier = StyleClassifier(*both(shown))
        ours, styled = both(held_out)
        right = (classifier.probability(ours) < 0.5).tolist() + (classifier.probability(styled) > 0.5).tolist()
        return classifier, round(float(np.mean(right)), 3)

    def _references(self, style: str) -> Tensor:
        """[2, items, features]: every concept as the base vendor draws it and in the style, where the style has it."""
        drawn = {name: drawings.lay(self.ours[name]) for name in self.names}
        known = [name for name in self.names if style != "fluent-3d" or name in self.theirs]
        styled = {**drawn, **styles.pictures(style, known, self.ours, self.theirs)}
        return torch.stack([_small(np.stack(list(kind.values()))) for kind in (drawn, styled)])


class _Survival:
    """Measures of pictures drawn with an adapter on, for a fixed list of concepts."""

    def __init__(
        self,
        classifier: StyleClassifier,
        references: Tensor,
        names: list[str],
        asked: list[str],
        truth: list[np.ndarray],
    ) -> None:
        self.classifier, self.references = classifier, references
        self.positions = [names.index(name) for name in asked]
        self.truth = np.stack([drawings.lay(drawing) for drawing in truth])

    def of(self, drawn: np.ndarray) -> dict[str, float]:
        # A concept is as near as the nearer of its two drawings: turning into the style must not count as a loss.
        distances = torch.stack([torch.cdist(_small(drawn), kind) for kind in self.references]).amin(0)
        ranks = [_rank(row, position) for row, position in zip(distances, self.positions, strict=True)]
        return {
            "p_style": round(float(self.classifier.probability(drawn).mean()), 3),
            "top1": round(float(np.mean([rank == 0 for rank in ranks])), 3),
            "top5": round(float(np.mean([rank < 5 for rank in ranks])), 3),
            "rmse_to_base_drawing": round(float(np.sqrt(((drawn - self.truth) ** 2).mean((1, 2, 3))).mean()), 3),
        }


def _style(file: Path) -> str:
    return next((style for style in styles.NAMES if file.stem.startswith(f"{style}-")), "")


def _small(pictures: np.ndarray) -> Tensor:
    """Pictures [n, 64, 64, 3] -> 32×32 pixels, flat [n, 3072]."""
    return avg_pool2d(torch.from_numpy(pictures).float().permute(0, 3, 1, 2), 2).flatten(1)


def _rank(distances: Tensor, position: int) -> int:
    # A little room: two items may share one drawing ("red apple" recoloured to red).
    return int((distances < distances[position] - 1e-4).sum())


def _psnr(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return -10 * np.log10(((one.clip(0, 1) - other) ** 2).mean((1, 2, 3)) + 1e-10)


@torch.no_grad()
def _through(pipe: StableDiffusionPipeline, pictures: np.ndarray) -> np.ndarray:
    parts = [pictures[i : i + 64] for i in range(0, len(pictures), 64)]
    scale = pipe.vae.config["scaling_factor"]
    drawn = [pipe.vae.decode(pipeline.encode(part, pipe.vae) / scale, return_dict=False)[0] for part in parts]
    return ((torch.cat(drawn) + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def _print(figures: dict) -> None:
    console = Console(stderr=True)
    if "trained" in figures:
        drawn = Table("asked for", "concepts", "top-1", "top-5", "median PSNR", title="Nearest true drawing")
        for label in ("trained", "held_out", "filler_words"):
            drawn.add_row(label, *(str(figures[label][key]) for key in ("concepts", "top1", "top5", "median_psnr")))
        console.print(drawn)
        console.print("codec PSNR, dB:", figures["codec"], "seconds a picture:", figures["generation_seconds"])
    keys = (
        "style",
        "algorithm",
        "numbers",
        "bytes",
        "steps",
        "strength",
        "p_style",
        "top1",
        "top5",
        "rmse_to_base_drawing",
    )
    table = Table(*keys, title="Adapters on held-out concepts")
    for row in figures.get("adapters", []):
        table.add_row(*(str(row.get(key, "")) for key in keys))
    console.print(table)


if __name__ == "__main__":
    main()
