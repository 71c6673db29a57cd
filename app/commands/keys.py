"""`radiata keys …`: who may use the service; made and revoked by whoever reaches its storage, with or without it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from pydantic import ValidationError

from app.commands.terminal import err, listing, out, plain, told
from app.commands.times import read_time
from app.shared.errors import RadiataError, SourceRefused
from app.shared.owners import BUNDLED, FIRST, FIRST_SAID
from app.shared.settings import BadSettings, Settings, read_settings
from app.shared.wire.key import KeyLimits, Scope
from app.shared.wire.values import OWNER_PATTERN
from app.shared.wire.webhook import EVENTS, Webhook

if TYPE_CHECKING:
    from app.shared.keys import Keyring, Ring

DEFAULT = "draw,upload,train"
NOTE = 200
GENERATION = "generation."
ENDS = [one.removeprefix(GENERATION) for one in EVENTS]

cli = typer.Typer(no_args_is_help=True, help="Add, list and revoke keys; once there is one, every request needs one.")


@cli.command("add")
def add(
    scopes: Annotated[
        str,
        typer.Option(help="What it may do: draw, upload (adapters), train, admin (workers and metrics)."),
    ] = DEFAULT,
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: after `30d`, `12h` or `90m`, or a date (2027-01-31). Unset, never."),
    ] = None,
    owner: Annotated[
        str,
        typer.Option(
            help="Whom it stands for: nobody sees what is another's. Unset, whose all is that is there already."
        ),
    ] = FIRST,
    note: Annotated[str, typer.Option(help="What it is for, or whose it is.")] = "",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit of its own, in place of the settings': `requests=60` and `uploads=10` a minute, "
            "`generations=20` and `trainings=1` at once; 0 is without limit. May be given several times."
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Whom to tell of the ends of generations that name nobody (`https://…`).")
    ] = None,
    webhook_events: Annotated[str, typer.Option(help="Of which ends it is told.")] = ",".join(ENDS),
) -> None:
    """Make a key and show it, this once; it counts within seconds, for the service on the same store."""
    from app.shared.webhooks import shown

    with _keyring() as keyring:
        end = _end(expires) if expires else None
        told_of = _webhook(webhook, webhook_events, read_settings()) if webhook else None
        facts = {"note": note[:NOTE], "expires_at": end, "webhook": told_of, "limits": _limits(limit or [])}
        key_id, key = keyring.add(_scopes(scopes), owner=_owner(owner), **facts)
        store = shown(read_settings().store_url)
    err.print(f"key {key_id}; it is shown this once, so keep it: `RADIATA_KEY`, or `Authorization: Bearer …`")
    err.print(f"it counts for the service whose store is {plain(store)}", soft_wrap=True)
    out.print(key, soft_wrap=True)


@cli.command("list")
def list_keys() -> None:
    """Every key that was ever made, without the part that nobody may see."""
    from app.shared.webhooks import shown

    with _keyring() as keyring:
        ring = keyring.ring()
    table = listing("key", "owner", "scopes", "limits", "made", "ends", "state", "webhook", "note")
    for key_id, one in sorted(ring.keys.items()):
        if one is None:
            table.add_row(key_id, "", "", "", "", "", "its record cannot be read", "", "")
            continue
        ends = f"{one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at else "never"
        made = f"{one.created_at:%Y-%m-%d %H:%M}"
        limits = " ".join(f"{name}={value}" for name, value in one.limits.model_dump(exclude_none=True).items())
        whose, called = one.owner or FIRST_SAID, plain(shown(one.webhook.url)) if one.webhook else ""
        facts = ",".join(one.scopes), limits, made, ends, _state(ring, key_id)
        table.add_row(key_id, whose, *facts, called, plain(one.note))
    out.print(table)


@cli.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="As `radiata keys list` names it, or the whole key.")]) -> None:
    """End a key: within seconds no process of the service takes it any more."""
    key_id = match[1] if (match := re.match("rad_([0-9a-f]{12})_", key)) else key
    with _keyring() as keyring:
        keyring.revoke(key_id)
    out.print(f"{key_id} is revoked; where it was the last, `radiata keys add` lets somebody in again")


@contextmanager
def _keyring() -> Iterator["Keyring"]:
    # Storage and Redis, loaded by who has need of them
    from app.shared.keys import Keyring
    from app.shared.storage import Storage

    with told():
        settings = read_settings()
        try:
            yield Keyring(Storage(settings.store_url))
        except RadiataError as error:
            err.print(f"[red]not done:[/red] {plain(error.message)}", soft_wrap=True)
            raise typer.Exit(1) from error


def _state(ring: "Ring", key_id: str) -> str:
    one = ring.keys[key_id]
    if key_id in ring.revoked:
        return "revoked"
    return "expired" if one and one.expires_at and one.expires_at <= datetime.now(UTC) else "good"


def _owner(text: str) -> str:
    if text == FIRST_SAID:
        return FIRST
    if text == BUNDLED or not re.fullmatch(OWNER_PATTERN, text):
        raise BadSettings(f"--owner: {text!r} is no owner; one is of small letters, digits and -, and not {BUNDLED!r}")
    return text


def _scopes(text: str) -> list[Scope]:
    found = [one.strip() for one in text.split(",") if one.strip()]
    wrong = [one for one in found if one not in get_args(Scope)]
    if wrong or not found:
        known = ", ".join(get_args(Scope))
        raise BadSettings(f"--scopes: {', '.join(wrong) or 'nothing'} is no scope; there are {known}")
    return found  # type: ignore[return-value]


def _webhook(url: str, ends: str, settings: Settings) -> Webhook:
    """Who is told of ends, as a request would name them."""
    from app.shared.fetching.place import read_place

    try:
        read_place(url, settings.fetch_allow)
        return Webhook.model_validate({"url": url, "events": [f"{GENERATION}{one.strip()}" for one in ends.split(",")]})
    except SourceRefused as error:
        raise BadSettings(f"--webhook: {error.message}") from error
    except ValidationError as error:
        wrong = "--webhook" if error.errors()[0]["loc"][0] == "url" else "--webhook-events"
        raise BadSettings(f"{wrong}: {error.errors()[0]['msg']}; ends are {', '.join(ENDS)}") from error


def _limits(texts: Sequence[str]) -> KeyLimits:
    said: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in KeyLimits.model_fields or not re.fullmatch("[0-9]{1,9}", number):
            known = ", ".join(KeyLimits.model_fields)
            raise BadSettings(f"--limit: {text!r} is none; one is a name of {known}, =, and a number")
        said[name] = int(number)
    return KeyLimits(**said)


def _end(text: str) -> datetime:
    """When a key ends: after a time, or at a date, which is one of UTC where it says nothing else."""
    when = read_time("--expires", text, 1)
    if when <= datetime.now(UTC):
        raise BadSettings(f"--expires: {text!r} is over already")
    return when
