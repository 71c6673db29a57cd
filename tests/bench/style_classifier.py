"""A small classifier that tells two styles apart by colour and texture, and by nothing else."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


class StyleClassifier:
    """Logistic regression on statistics of colour and gradients, taken inside the drawing (not the white around it)."""

    def __init__(self, base: np.ndarray, styled: np.ndarray) -> None:
        features = torch.cat([statistics(base), statistics(styled)])
        labels = torch.cat([torch.zeros(len(base)), torch.ones(len(styled))])
        self.mean, self.spread = features.mean(0), features.std(0) + 1e-6
        weights = torch.zeros(features.shape[1] + 1, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")
        scaled = (features - self.mean) / self.spread

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = scaled @ weights[:-1] + weights[-1]
            loss = binary_cross_entropy_with_logits(logits, labels) + 1e-2 * weights[:-1].square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        self.weights = weights.detach()

    def probability(self, pictures: np.ndarray) -> Tensor:
        """Pictures [n, 64, 64, 3] in 0..1 -> how likely each is of the second style [n]."""
        scaled = (statistics(pictures) - self.mean) / self.spread
        return torch.sigmoid(scaled @ self.weights[:-1] + self.weights[-1])


def statistics(pictures: np.ndarray) -> Tensor:
    """[n, 64, 64, 3] -> [n, 25]: of brightness, saturation and colour, and of how fast they change each way."""
    pixels = torch.from_numpy(pictures).float()
    inside = (pixels.amin(-1) < 0.97).float()
    area = inside.sum((1, 2)).clamp(min=1)
    light, most, least = pixels.mean(-1), pixels.amax(-1), pixels.amin(-1)
    saturation = (most - least) / most.clamp(min=1e-3)

    def mean(values: Tensor) -> Tensor:
        return (values * inside).sum((1, 2)) / area

    def spread(values: Tensor) -> Tensor:
        return mean((values - mean(values)[:, None, None]) ** 2).sqrt()

    columns = [mean(light), spread(light), mean(saturation), spread(saturation), area / inside[0].numel()]
    columns += [mean(pixels[..., channel]) for channel in range(3)]
    for step in (1, 2, 4):
        for axis in (1, 2):
            change = (light - light.roll(step, axis)).abs()
            columns += [mean(change), mean((change < 0.02).float())]
    columns += [mean((light > 0.9).float()), mean((light < 0.15).float()), mean((saturation > 0.8).float())]
    columns += [mean(light * light.roll(8, 1)) - mean(light * light.roll(4, 1))]
    columns += [mean(light * light.roll(8, 2)) - mean(light * light.roll(4, 2))]
    return torch.stack(columns, dim=1)
