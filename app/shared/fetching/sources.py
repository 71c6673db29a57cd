"""Where a file is, by what people write: a repository of a hub, a version of Civitai, or an address.

The hub answers `GET /api/models/{repository}/revision/{revision}?blobs=true` with its commit (`sha`) and its files
(`siblings`: `rfilename`, `size`, `lfs.sha256`), and gives a file at `/{repository}/resolve/{commit}/{file}`. Civitai
answers `GET /api/v1/model-versions/{id}` with `files` (`name`, `hashes.SHA256`, `primary`, `downloadUrl`).
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from posixpath import dirname, join
from typing import Any, Literal
from urllib.parse import quote

from pydantic import SecretStr

from app.shared.errors import SourceRefused
from app.shared.fetching.fetcher import Answer, Bounds, Fetcher, Token
from app.shared.fetching.place import read_place
from app.shared.wire.source import Found

SourceKind = Literal["adapter", "dataset"]
MOST_NAMED = 20
HUB = re.compile(
    r"hf:(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(/(?P<path>[^@:]+))?(@(?P<revision>[^:@\s]+))?(:(?P<file>.+))?"
)
CIVITAI = re.compile(r"civitai:(?P<version>[0-9]{1,15})(:(?P<file>.+))?")
WANTED: Mapping[SourceKind, tuple[str, str, str]] = {  # the hub's word for such repositories, its prefix, the ending
    "adapter": ("models", "", ".safetensors"),
    "dataset": ("datasets", "datasets/", ".zip"),
}
PEFT = ("adapter_model.safetensors", "adapter_config.json")  # a file, and what it means nothing without
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sources:
    """Finds files, and asks for those of a hub or of Civitai with the token for it; for an address, with none."""

    fetcher: Fetcher
    hub: str
    civitai: str
    hub_token: SecretStr | None = None
    civitai_token: SecretStr | None = None

    def judge(self, source: str, kind: SourceKind) -> str:
        """Return a source as it may be shown; raises SourceRefused for what is none, or would never be asked."""
        if HUB.fullmatch(source) or (CIVITAI.fullmatch(source) and kind == "adapter"):
            return source
        if source.startswith(("http://", "https://")):
            return read_place(source, self.fetcher.allow).shown
        raise SourceRefused(
            "source_not_understood",
            "a source is hf:owner/repository (with @revision, :file), civitai:<version id>, or an https:// address"
            if kind == "adapter"
            else "a source is the https:// address of a zip, or hf:owner/repository (with @revision, :file)",
        )

    def find(self, source: str, kind: SourceKind) -> Found:
        """Return the file that a source means; raises SourceRefused and SourceAway."""
        self.judge(source, kind)
        if match := HUB.fullmatch(source):
            file = match["file"] or match["path"]
            return self._of_hub(match["repository"], match["revision"] or "main", file, kind, self._token(source))
        if match := CIVITAI.fullmatch(source):
            return self._of_civitai(match["version"], match["file"], self._token(source))
        return Found(url=source)

    def get(
        self, source: str, url: str, bounds: Bounds, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Answer]:
        """What an address of the file that a source means answers; raises as `Fetcher.get` does."""
        return self.fetcher.get(url, bounds, headers, self._token(source))

    def _token(self, source: str) -> Token | None:
        if self.hub_token and HUB.fullmatch(source):
            return Token(self.hub, self.hub_token)
        if self.civitai_token and CIVITAI.fullmatch(source):
            return Token(self.civitai, self.civitai_token)
        return None

    def _of_hub(self, repository: str, revision: str, file: str | None, kind: SourceKind, token: Token | None) -> Found:
        word, prefix, ending = WANTED[kind]
        url = f"{self.hub}/api/{word}/{repository}/revision/{quote(revision, safe='')}?blobs=true"
        said = self.fetcher.json(url, token)
        try:
            commit = str(said["sha"])
            sizes = {str(one["rfilename"]): one.get("lfs") or {} for one in said["siblings"]}
            name = _one_of(sizes, ending, file, f"hf:{repository}", f"hf:{repository}@{revision}:FILE")
            sha256 = _sha256(sizes[name].get("sha256"))
        except (KeyError, TypeError, AttributeError) as error:
            raise _unreadable(f"{self.hub} says of {repository!r}") from error

        def at(path: str) -> str:
            return f"{self.hub}/{prefix}{repository}/resolve/{quote(commit, safe='')}/{quote(path)}"

        beside = join(dirname(name), PEFT[1])
        peft = name.endswith(PEFT[0]) and beside in sizes
        return Found(
            url=at(name),
            sha256=sha256,
            beside=at(beside) if peft else None,
        )

    def _of_civitai(self, version: str, file: str | None, token: Token | None) -> Found:
        said = self.fetcher.json(f"{self.civitai}/api/v1/model-versions/{version}", token)
        try:
            files = {str(one["name"]): one for one in said["files"]}
            primary = [name for name, one in files.items() if one.get("primary") and name.endswith(".safetensors")]
            if file is None and len(primary) == 1:
                file = primary[0]
            name = _one_of(files, ".safetensors", file, f"civitai:{version}", f"civitai:{version}:FILE")
            sha256 = _sha256(files[name].get("hashes", {}).get("SHA256"))
            url = str(files[name]["downloadUrl"])
        except (KeyError, TypeError, AttributeError) as error:
            raise _unreadable(f"{self.civitai} says of version {version}") from error
        return Found(url=url, sha256=sha256)


def _one_of(files: Mapping[str, Any], ending: str, wanted: str | None, where: str, written: str) -> str:
    """Return the file that is meant; raises SourceRefused, which lists those that there are."""
    fitting = sorted(name for name in files if name.lower().endswith(ending))
    if wanted is not None:
        if wanted in files:
            return wanted
        raise SourceRefused("source_not_found", f"{where} has no file {wanted!r}{_listed(fitting, '; it has ')}")
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise SourceRefused("source_has_no_file", f"{where} has no {ending} file{_listed(sorted(files), '; it has ')}")
    raise SourceRefused(
        "source_has_several_files",
        f"{where} has several {ending} files: name one, as {written}{_listed(fitting, '; ')}",
    )


def _listed(names: Sequence[str], before: str) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return before + ", ".join(name[:200] for name in names[:MOST_NAMED]) + more if names else ""


def _sha256(said: object) -> str | None:
    digest = str(said).lower()
    return digest if _SHA256.fullmatch(digest) else None


def _unreadable(what: str) -> SourceRefused:
    return SourceRefused("source_unusable", f"what {what} is not as its documentation has it")
