"""One thread: these tensors are small, and the machine may be busy."""

import torch

torch.set_num_threads(1)
