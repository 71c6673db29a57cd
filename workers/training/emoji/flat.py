"""All parameters of some modules as one tensor: one all-reduce, one moving average, one norm."""

import torch
from torch import nn


class Flat:
    """All parameters of some modules as one tensor, and their gradients as another: one all-reduce, one EMA, one norm.

    The modules keep working: each parameter and each gradient is a view into the flat tensors.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        size = sum(parameter.numel() for parameter in parameters)
        self.value = nn.Parameter(torch.empty(size))
        self.value.grad = torch.zeros(size)
        start = 0
        for parameter in parameters:
            span = slice(start, start + parameter.numel())
            self.value.data[span] = parameter.data.flatten()
            parameter.data = self.value.data[span].view(parameter.shape)
            parameter.grad = self.value.grad[span].view(parameter.shape)
            start += parameter.numel()
