"""What of a training can be judged before its pictures are sent, and what a dry run tells of it."""

from collections.abc import Iterator
from typing import Any

import typer
from pydantic import ValidationError

from app.commands.client import Client
from app.http.faults import meant
from app.shared.training_memory import amount
from app.shared.wire.dataset import DATASET_PREFIX
from app.shared.wire.forms import FORMS
from app.shared.wire.training import TrainingRequest
from lycoris.errors import PlanRefused
from lycoris.training.plan import plan, refuse_dropout

NOT_SENT_YET = DATASET_PREFIX + "0" * 64
# What pydantic calls a limit, and how it is told; the rest is told in its words
LIMITS = {
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "greater_than": "has to be more than {gt}",
    "less_than": "has to be less than {lt}",
    "string_too_short": "has to say something",
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "has more than {max_length} entries",
    "string_pattern_mismatch": "has to be of the form {pattern}",
    "value_error": "{error}",
}


def judge(client: Client, body: dict[str, Any]) -> None:
    """Raise BadParameter, with everything wrong, for what no dataset would make right."""
    try:
        asked = TrainingRequest.model_validate({**body, "dataset": NOT_SENT_YET})
        chosen = plan(asked.algorithm, asked.rank, asked.alpha, asked.options, asked.layers, asked.text_encoder)
        refuse_dropout(chosen, asked.output_dropout, asked.rank_dropout, asked.module_dropout)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(_wrong(error))) from error
    except PlanRefused as error:
        raise typer.BadParameter("; ".join(f"{one.subject} {one.message}" for one in error.reasons)) from error
    if asked.model is not None:
        known = [one["name"] for one in client.models()["models"]]
        if asked.model not in known:
            message = f"model: there is no {asked.model!r}{meant(asked.model, known)}"
            raise typer.BadParameter(message)


def _wrong(error: ValidationError) -> Iterator[str]:
    for one in error.errors():
        where, context = " ".join(map(str, one["loc"])), one.get("ctx", {})
        told = LIMITS.get(one["type"], one["msg"]).format(**context)
        if sentence := FORMS.get(context.get("pattern", "")):
            yield f"{where}: {sentence}"
        else:
            yield f"{where} {told}" if where else told


def rows(foretold: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a training would be, by name, of what a dry run answers."""
    request = foretold["request"]
    yield "model", request["model"]
    yield "algorithm", request["algorithm"] + (f", rank {request['rank']}" if request.get("rank") else "")
    yield "trained", ", ".join(f"{count} layers of {component}" for component, count in foretold["layers"].items())
    yield "numbers", f"{foretold['parameters']:,}"
    yield "memory", f"{amount(foretold['memory_bytes'])}, besides activations"
    yield "steps", f"{request['steps']}: {foretold['epochs']:.3g} epochs"
    yield "learning rate", f"{request['learning_rate']:g}"
    seconds = foretold["seconds"]
    yield "time", "not known before the first training on this model" if seconds is None else f"{seconds / 60:.3g} min"
    for note in foretold["notes"]:
        yield "note", note
