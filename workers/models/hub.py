"""A base model on a hub: which files of its repository it needs, and what the hub's refusals mean."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from workers.models.weight_names import FORMATS, INDEX_OF_SHARDS, PICKLES, WEIGHTS

WRITTEN = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(/(?P<file>[^@]+))?(@(?P<revision>\S+))?")
INDEX = "model_index.json"
PART = re.compile(r"[a-z]\w*")
# Of a part, besides weights: configurations, vocabularies, chat templates
BESIDE_WEIGHTS = (".json", ".txt", ".model", ".jinja")
PLAIN = re.compile(r"\w[\w. +-]*")  # of a name that is made a file's


class NotFetched(Exception):
    """A base that cannot be had from a hub; the message is a sentence that says why, and what to do."""


@dataclass(frozen=True)
class Wanted:
    """A repository on a hub, or one file of it."""

    repository: str
    file: str | None
    revision: str | None

    @property
    def name(self) -> str:
        """What a base from there is called when nothing else is said."""
        return Path(self.file).stem if self.file else self.repository.partition("/")[2]


@dataclass(frozen=True)
class Chosen:
    """What is fetched: files of a repository at a commit, with their sizes in bytes."""

    wanted: Wanted
    commit: str
    files: Mapping[str, int]


def wanted_of(source: str) -> Wanted | None:
    """Return what `hf:owner/repository[/file][@revision]` means; None for what is not of that form."""
    found = WRITTEN.fullmatch(source)
    return Wanted(**found.groupdict()) if found else None


def chosen(wanted: Wanted, variant: str | None, token: str | None) -> Chosen:
    """Return which files of a repository a base needs; asks the hub. Raises NotFetched.

    variant: of weights, where a part has them as several; None takes what has no name of a variant, or the only one.
    """
    with told(wanted, token):
        info = HfApi(token=token).model_info(wanted.repository, revision=wanted.revision, files_metadata=True)
        sizes = {one.rfilename: one.size or 0 for one in info.siblings or []}
        commit = info.sha or wanted.revision or "main"
        if wanted.file:
            if wanted.file not in sizes or not wanted.file.endswith(FORMATS):
                raise NotFetched(f"{wanted.repository} has no file {wanted.file!r}{_single(sizes)}")
            return Chosen(wanted, commit, {wanted.file: sizes[wanted.file]})
        if INDEX not in sizes:
            raise NotFetched(
                f"{wanted.repository} has no {INDEX}, so it is no model as diffusers has it{_single(sizes)}"
            )
        index = json.loads(Path(hf_hub_download(wanted.repository, INDEX, revision=commit, token=token)).read_text())
    files = [INDEX, *(file for part in _parts(index) for file in _of_part(wanted, part, sizes, variant))]
    return Chosen(wanted, commit, {file: sizes[file] for file in files})


def _parts(index: Any) -> list[str]:
    """Return the parts that an index names, of those that a folder can be called."""
    if not isinstance(index, dict):
        raise NotFetched(f"{INDEX} is no object")
    named = [part for part, kind in index.items() if isinstance(kind, list) and kind and kind[0]]
    return [part for part in named if PART.fullmatch(part) and part != "safety_checker"]


def _of_part(wanted: Wanted, part: str, sizes: Mapping[str, int], variant: str | None) -> Iterator[str]:
    """Yield the files of a part: all beside its weights, and its weights once."""
    names = [name.removeprefix(f"{part}/") for name in sizes if name.startswith(f"{part}/")]
    names = [name for name in names if PLAIN.fullmatch(name)]
    weights = {name: found["variant"] or "" for name in names if (found := WEIGHTS.fullmatch(name))}
    shards = {
        name: found["variant"] or found["other"] or "" for name in names if (found := INDEX_OF_SHARDS.fullmatch(name))
    }
    variants = sorted({*weights.values(), *shards.values()})
    if not weights and any(Path(name).match(pattern) for name in names for pattern in PICKLES):
        raise NotFetched(
            f"{wanted.repository} has the weights of {part} as pickles alone, which could run any code: ask for "
            "another revision or repository, with safetensors"
        )
    own = variant if variant in variants else "" if "" in variants else variants[0] if len(variants) == 1 else None
    if weights and own is None:
        raise NotFetched(
            f"{wanted.repository} has the weights of {part} as {', '.join(variants)}: name one by --variant"
        )
    for name in names:
        kind = weights.get(name, shards.get(name))
        if kind == own if kind is not None else name.endswith(BESIDE_WEIGHTS):
            yield f"{part}/{name}"


def _single(sizes: Mapping[str, int]) -> str:
    files = [name for name in sizes if name.endswith(FORMATS) and "/" not in name]
    return f"; it has {', '.join(files[:5])}: name one, as hf:owner/repository/FILE" if files else ""


@contextmanager
def told(wanted: Wanted, token: str | None) -> Iterator[None]:
    """Turn what a hub refuses, and what goes wrong on the way, into NotFetched."""
    where = f"{wanted.repository} on {constants.ENDPOINT}"
    given = (
        "RADIATA_HUB_TOKEN is not allowed to read it" if token else "set RADIATA_HUB_TOKEN to a token of yours there"
    )
    try:
        yield
    except GatedRepoError as error:
        raise NotFetched(
            f"{where} is gated: accept its terms at {constants.ENDPOINT}/{wanted.repository}; then {given}"
        ) from error
    except RepositoryNotFoundError as error:
        raise NotFetched(f"there is no {where}, or it is private: {given}") from error
    except HFValidationError as error:
        raise NotFetched(f"{wanted.repository!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        why = f"; {given}" if code in (401, 403) else f" (revision {wanted.revision})" if code == 404 else ""
        raise NotFetched(f"the hub answers {code} for {where}{why}") from error
    except NotFetched:
        raise
    except Exception as error:  # its client's errors are those of whichever library it is made of
        why = " ".join(str(error).split())[:300]
        raise NotFetched(f"{where} cannot be had ({why}): the same command goes on where it was") from error
