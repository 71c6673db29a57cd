"""The codec's encoder in closed form: an exact PCA of 8×8 patches, written into AutoencoderTiny's convolutions.

Latents therefore exist before any training, and the decoder can be trained again without touching UNet or adapters.
"""

from collections.abc import Iterable

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn

from workers.training.emoji import drawings

PATCH = 8


def patches(pictures: Iterable[np.ndarray]) -> Tensor:
    """Every 8×8 patch of drawings laid on white -> [patches, 192]; a patch runs channel, row, column."""
    laid = np.stack([drawings.lay(drawing) for drawing in pictures])
    pixels = torch.from_numpy(laid).permute(0, 3, 1, 2).float()
    tiles = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # [n, 3, 8, 8, 8, 8]
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * PATCH * PATCH)


def fill_encoder(vae: AutoencoderTiny, samples: Tensor) -> None:
    """Write the principal components of `samples` [n, 192] into the encoder, each scaled to its eigenvalue^0.25, and
    all by one factor that gives latents times the codec's scaling factor a mean square of 1.

    The three stride-2 convolutions move pixels into channels and the last one of them projects; eigenvalue^0.25 lies
    between keeping the variances (the first component would drown the rest) and whitening (noise would weigh as much
    as shape).
    """
    channels = vae.config["latent_channels"]
    mean = samples.mean(0)
    centred = samples - mean
    _, spread, directions = torch.linalg.svd(centred.T @ centred / len(samples))
    deviation = spread[:channels].sqrt()
    unit = vae.config["scaling_factor"] * deviation.mean().sqrt()
    projection = directions[:channels] / (unit * deviation[:, None].sqrt())  # [24, 192]
    convolutions = [layer for layer in vae.encoder.layers if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions:
            convolution.weight.zero_()
            if convolution.bias is not None:
                convolution.bias.zero_()
        first, half, quarter, eighth, last = convolutions
        for channel in range(3):
            first.weight[channel, channel, 1, 1] = 1
        _space_to_depth(half, 3)
        _space_to_depth(quarter, 12)
        for index, (channel, row, column) in enumerate(_order(3 * 16, 2)):
            eighth.weight[:channels, channel, row + 1, column + 1] = projection[:, _pixel(index)]
        for channel in range(channels):
            last.weight[channel, channel, 1, 1] = 1
        assert last.bias is not None
        last.bias.copy_(-projection @ mean)


def _order(channels: int, block: int) -> list[tuple[int, int, int]]:
    return [(c, row, column) for c in range(channels) for row in range(block) for column in range(block)]


def _space_to_depth(convolution: nn.Conv2d, channels: int) -> None:
    # A stride-2 3×3 kernel with padding 1 sees pixels 2i-1 … 2i+1; taps 1 and 2 are the 2×2 block at 2i.
    for index, (channel, row, column) in enumerate(_order(channels, 2)):
        convolution.weight[index, channel, row + 1, column + 1] = 1


def _pixel(index: int) -> int:
    """Which pixel of a patch (channel, row, column) the index-th input of the last space-to-depth is."""
    rest, eighth = divmod(index, 4)
    rest, quarter = divmod(rest, 4)
    channel, half = divmod(rest, 4)
    row = 4 * (eighth // 2) + 2 * (quarter // 2) + half // 2
    column = 4 * (eighth % 2) + 2 * (quarter % 2) + half % 2
    return (channel * PATCH + row) * PATCH + column
