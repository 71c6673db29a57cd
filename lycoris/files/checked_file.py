"""A safetensors file of any contents in memory: for those who judge what this library does not read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lycoris.files import safetensors_file
from lycoris.files.safetensors_file import Hashes, Header


@dataclass(frozen=True)
class CheckedFile:
    """A file whose header was checked and found sound."""

    data: bytes
    header: Header

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, by name."""
        return {name: entry.shape for name, entry in self.header.entries.items()}

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the header says beside the tensors; text from outside."""
        return self.header.metadata

    @cached_property
    def hashes(self) -> Hashes:
        """The file's hashes."""
        return safetensors_file.hashes(self.data, self.header)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors as stored, each time anew; raise FileRefused if safetensors refuses the file."""
        return safetensors_file.tensors_of(self.data)


def checked(data: bytes) -> CheckedFile:
    """Return the file that these bytes are; raise FileRefused with every reason against its header."""
    return CheckedFile(data, safetensors_file.judge(data))
