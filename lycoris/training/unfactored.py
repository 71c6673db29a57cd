"""How changes of one factor begin: it is zero, and since the change is linear in it, its gradient is not."""

import torch

from lycoris.training.forms import c3a_block
from lycoris.training.place import Place, Tensors


def full(place: Place) -> Tensors:
    """The difference of a weight, and of its bias if asked for."""
    begun = {"diff": torch.zeros(place.shape)}
    return begun | ({"diff_b": torch.zeros(place.outputs)} if place.options["bias"] and place.bias else {})


def norm(place: Place) -> Tensors:
    """The differences of a norm's weight and of its bias, if it has one."""
    return {"w_norm": torch.zeros(place.shape)} | ({"b_norm": torch.zeros(place.shape)} if place.bias else {})


def ia3(place: Place) -> Tensors:
    """One scale for each output or input, as LyCORIS has it: centred on zero."""
    on_input = int(place.options["on_input"])
    size = place.shape[on_input]
    scale = torch.zeros(1, size, *place.points) if place.kernel else torch.zeros(size)
    return {"weight": scale, "on_input": torch.tensor(on_input)}


def fourierft(place: Place) -> Tensors:
    """The spectrum at its places, which the seed alone decides, as in PEFT."""
    count = min(int(place.options["frequencies"]), place.outputs * place.inputs)
    return {
        "fourierft_spectrum": torch.zeros(count),
        "fourierft_scaling": torch.tensor(float(place.options["scaling"])),
        "random_loc_seed": torch.tensor(int(place.options["location_seed"])),
    }


def c3a(place: Place) -> Tensors:
    """The first rows of circulant blocks."""
    size = c3a_block(place)
    return {"c3a_kernel": torch.zeros(place.outputs // size, place.inputs // size, size)}
