"""A small denoiser with layers of every kind that is trained, inside blocks and at its ends."""

import torch
from torch import Tensor, nn

from lycoris.training.trainable import TrainableAdapter
from tests.lycoris import zoo


class Block(nn.Module):
    """A convolution, attention's first projection, a feed-forward layer and norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.norm1 = nn.GroupNorm(2, 8)
        self.point = nn.Conv2d(8, 8, 1, bias=False)
        self.to_q = nn.Linear(8, 12)
        self.norm2 = nn.LayerNorm(12)
        self.ff = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 4, 4, 4) -> (n, 4, 4, 4)."""
        y = self.point(self.norm1(self.conv(x))).movedim(1, -1)
        return x + self.ff(self.norm2(self.to_q(y))).movedim(-1, 1)


class Denoiser(nn.Module):
    """Two blocks between two convolutions at the ends."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 4, 1)
        self.down_blocks = nn.ModuleList([Block()])
        self.up_blocks = nn.ModuleList([Block()])
        self.conv_out = nn.Conv2d(4, 4, 1)
        draw = zoo.random(7)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(draw(*parameter.shape))
            for module in self.modules():
                if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                    module.weight.add_(1)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 4, 4, 4) -> the same."""
        for block in (*self.down_blocks, *self.up_blocks):
            x = block(x)
        return self.conv_out(x)


def given(dtype: torch.dtype = torch.float32, count: int = 3) -> Tensor:
    """Return an input of the denoiser."""
    return zoo.random(11)(count, 4, 4, 4).to(dtype)


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return how far the denoiser is from one fixed answer."""
    target = zoo.random(13)(*x.shape)
    return (model(x).float() - target).pow(2).mean()


def trained(
    model: nn.Module, adapter: TrainableAdapter, steps: int, rate: float, checkpointing: bool = True
) -> list[float]:
    """Train an adapter on one fixed answer and return the loss before each step."""
    optimizer = torch.optim.AdamW(adapter.factors.values(), lr=rate, weight_decay=0.0)
    losses: list[float] = []
    x = given(next(model.parameters()).dtype)
    with adapter.applied({"unet": model}, checkpointing):
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model, x)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses
