"""What a service says of a training before it is accepted: what is wrong with it, and what it would be and cost."""

from collections.abc import Iterator
from typing import Any

import typer

from app.commands.client import Client
from app.http.faults import dotted
from app.shared.training_memory import amount
from app.shared.wire.dataset import DATASET_PREFIX
from radiata_client import Refused

NOT_SENT_YET = DATASET_PREFIX + "0" * 64  # nobody has it: all but the dataset is judged


def judge(client: Client, body: dict[str, Any]) -> None:
    """Raise BadParameter, with everything wrong, for what no dataset would make right; Refused for what may pass."""
    try:
        client.foretell({**body, "dataset": NOT_SENT_YET})
    except Refused as refused:
        wrong = [one for one in refused.errors if one.get("pointer") != "/dataset"]
        if not refused.errors:
            raise
        if wrong:
            told = "; ".join(f"{dotted(str(one['pointer']))}: {one['message']}" for one in wrong)
            raise typer.BadParameter(told) from refused


def rows(foretold: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a training would be, by name, of what a dry run answers."""
    request = foretold["request"]
    yield "model", request["model"]
    yield "algorithm", request["algorithm"] + (f", rank {request['rank']}" if request.get("rank") else "")
    yield "trained", ", ".join(f"{count} layers of {component}" for component, count in foretold["layers"].items())
    yield "numbers", f"{foretold['parameters']:,}"
    yield (
        "memory",
        f"about {amount(foretold['memory_bytes'])}, {amount(foretold['activation_bytes'])} of it activations",
    )
    yield "steps", f"{request['steps']}: {foretold['epochs']:.3g} epochs"
    yield "learning rate", f"{request['learning_rate']:g}"
    seconds = foretold["seconds"]
    if seconds is None:
        yield "time", "not known: nothing was trained or drawn with this model yet"
    else:
        by = ", by the speed of drawing: the first training on this model" * (foretold["seconds_by"] == "drawing")
        yield "time", f"about {seconds / 60:.3g} min{by}"
    for note in foretold["notes"]:
        yield "note", note
    for field, why in foretold["why"].items():
        yield field, f"{request[field]}: {why}"
