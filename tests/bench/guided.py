"""How well the bundled T2I-Adapter keeps to a line map, and the bundled IP-Adapter to a reference.

`python -m tests.bench.guided` needs the packages that `python -m workers.training.emoji data` fetches. It draws by
diffusers' own calls, with the adapter and without, at equal prompts and seeds, of emojis that no training was shown;
it prints one line of JSON and, with `--sheet`, writes a picture of both. The figures in the model card are its own.
"""

import argparse
import json
import random
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.t2i_adapter.pipeline_stable_diffusion_adapter import StableDiffusionAdapterPipeline
from safetensors.torch import load_file
from torch.nn.functional import avg_pool2d, cosine_similarity
from transformers import CLIPVisionModelWithProjection

from tests.bench.provenance import provenance
from workers.training.emoji import drawings, items, pipeline, samples
from workers.training.emoji.guided import control, image_encoder, subjects

SEED = 2000
PICTURES = 100
WORD = "emoji"  # the prompt beside a reference: it names nothing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("workers/models/emoji-64"))
    parser.add_argument("--edges", type=Path, default=Path("workers/models/emoji-64/adapters/edges-t2i.safetensors"))
    parser.add_argument(
        "--reference", type=Path, default=Path("workers/models/emoji-64/adapters/reference-ip.safetensors")
    )
    parser.add_argument("--encoder", type=Path, default=Path("workers/models/emoji-64/image_encoder"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--sheet", type=Path, help="picture of both to write")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--parts", nargs="+", choices=["edges", "reference"], default=["edges", "reference"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict = {"where": provenance()}
    rows: list[np.ndarray] = []
    bench = Bench(options.model, options.cache, options.pictures)
    if "edges" in options.parts:
        figures["edges"] = bench.edges(options.edges, rows)
    if "reference" in options.parts:
        figures["reference"] = bench.reference(options.reference, options.encoder, rows)
    if options.sheet:
        samples.sheet(np.concatenate(rows), options.sheet, columns=16)
    print(json.dumps(figures))


class Bench:
    """The base, and the emojis to draw: of those held back the base's own vendor's drawings, on white."""

    def __init__(self, model: Path, cache: Path, pictures: int) -> None:
        self.pipe: StableDiffusionPipeline = pipeline.warm(model)
        self.cache, self.pictures = cache, pictures
        self.seen = subjects.load(cache)
        self.held_back = self.seen.held_back[:pictures]

    def edges(self, file: Path, rows: list[np.ndarray]) -> dict:
        """Agreement of edges, of emojis held back in their place and of known ones moved in their pictures."""
        adapter = control.blank(self.pipe.unet, 0)
        adapter.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
        parts = {name: part for name, part in self.pipe.components.items() if name != "image_encoder"}
        controlled = StableDiffusionAdapterPipeline(**parts, adapter=adapter.eval(), requires_safety_checker=False)
        rng = random.Random(5)
        known = rng.sample([s for s in self.seen.known if s.item.kind == "core"], self.pictures)
        asked = {
            "held_back": (self.held_back, [drawings.lay(s.drawings[0]) for s in self.held_back]),
            "known_moved": (known, [drawings.lay(subjects.moved(s.drawings[0], rng)) for s in known]),
        }
        figures = {}
        for label, (things, pictures) in asked.items():
            prompts = [thing.item.name for thing in things]
            maps = np.stack([control.edges(picture) for picture in pictures])
            plain = samples.draw(self.pipe, prompts, seed=SEED)
            tensor = torch.from_numpy(maps)[:, None]
            drawn = samples.draw(controlled, prompts, seed=SEED, given=lambda part, t=tensor: {"image": t[part]})
            figures[label] = {
                "pictures": len(things),
                "without": agreement(plain, maps),
                "with": agreement(drawn, maps),
            }
            lines = np.repeat(maps[..., None], 3, axis=-1)
            rows += [np.concatenate([lines[:16], plain[:16], drawn[:16]])]
        return figures

    def reference(self, file: Path, encoder_folder: Path, rows: list[np.ndarray]) -> dict:
        """Likeness to the reference, of emojis held back and of known ones as a vendor never trained on draws them."""
        encoder = CLIPVisionModelWithProjection.from_pretrained(encoder_folder, dtype=torch.float32).eval()
        known = [s for s in self.seen.known if s.item.kind == "core"]
        theirs = items.load_drawings([s.item for s in known], self.cache, "twemoji")
        known = random.Random(6).sample([s for s in known if s.item.name in theirs], self.pictures)
        truth = {s.item.name: drawings.lay(s.drawings[0]) for s in (*self.seen.known, *self.held_back)}
        asked = {
            "held_back": (self.held_back, [drawings.lay(s.drawings[0]) for s in self.held_back]),
            "twemoji": (known, [drawings.lay(theirs[s.item.name]) for s in known]),
        }
        plain = samples.draw(self.pipe, [WORD] * self.pictures, seed=SEED)  # the same for both
        self.pipe.load_ip_adapter(str(file.parent), subfolder="", weight_name=file.name, image_encoder_folder=None)
        figures = {}
        for label, (things, pictures) in asked.items():
            references = np.stack(pictures).astype(np.float32)
            with torch.no_grad():
                embeds = image_encoder.embed(encoder, references)[:, None]

            def given(part: slice, embeds: torch.Tensor = embeds) -> dict:
                return {"ip_adapter_image_embeds": [torch.cat([torch.zeros_like(embeds[part]), embeds[part]])]}

            # One by one: of a batch of prompts diffusers gives every picture the references of all
            drawn = samples.draw(self.pipe, [WORD] * len(things), seed=SEED, batch=1, given=given)
            names = [thing.item.name for thing in things]
            figures[label] = {
                "pictures": len(things),
                "among": len(truth),
                "without": likeness(encoder, plain, references, names, truth),
                "with": likeness(encoder, drawn, references, names, truth),
            }
            rows += [np.concatenate([references[:16], plain[:16], drawn[:16]])]
        return figures


def agreement(drawn: np.ndarray, maps: np.ndarray) -> dict[str, float]:
    """Share of drawn edges that lie on the map to a pixel, share of the map that is drawn, and their F1; means."""
    wide = np.ones((3, 3), np.uint8)
    precision, recall = [], []
    for picture, line in zip(drawn, maps, strict=True):
        found = control.edges(picture)
        precision.append((found * cv2.dilate(line, wide)).sum() / max(found.sum(), 1))
        recall.append((line * cv2.dilate(found, wide)).sum() / max(line.sum(), 1))
    both = [2 * p * r / max(p + r, 1e-6) for p, r in zip(precision, recall, strict=True)]
    return {
        name: round(float(np.mean(part)), 3)
        for name, part in zip(("precision", "recall", "f1"), (precision, recall, both), strict=True)
    }


def likeness(
    encoder: CLIPVisionModelWithProjection,
    drawn: np.ndarray,
    references: np.ndarray,
    names: list[str],
    truth: dict[str, np.ndarray],
) -> dict[str, float]:
    """Cosine of the embeddings; how often the thing's own true drawing is the nearest of all (32×32 pixels)."""
    with torch.no_grad():
        one, other = (image_encoder.embed(encoder, pictures) for pictures in (drawn, references))
    distances = torch.cdist(small(drawn), small(np.stack(list(truth.values()))))
    places = [list(truth).index(name) for name in names]
    ranks = [(row < row[place]).sum().item() for row, place in zip(distances, places, strict=True)]
    return {
        "cosine": round(cosine_similarity(one, other).mean().item(), 3),
        "top1": round(float(np.mean([rank == 0 for rank in ranks])), 3),
        "top5": round(float(np.mean([rank < 5 for rank in ranks])), 3),
        "median_rank": float(np.median(ranks)) + 1,
        "rmse": round(float(np.sqrt(((drawn - references) ** 2).mean((1, 2, 3))).mean()), 3),
    }


def small(pictures: np.ndarray) -> torch.Tensor:
    """Pictures [n, 64, 64, 3] -> [n, 3072]: 32×32 pixels."""
    return avg_pool2d(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), 2).flatten(1)


if __name__ == "__main__":
    main()
