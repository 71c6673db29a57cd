"""What the process of a training is started with."""

import platform
import subprocess
import sys

import pytest

from app.shared.exit_with_parent import VARIABLE
from workers.dispatch import training_worker
from workers.dispatch.training_worker import KEEPS_BUFFERS

STEPS = """
import resource
for step in range(6):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [bytearray(8 << 20) for _ in range(6)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("library", "told"), [("glibc", KEEPS_BUFFERS), ("", {})])
def test_a_training_keeps_its_buffers_where_glibc_is(
    library: str, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEEPS_BUFFERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, ""))
    found = training_worker._environment()
    assert {name: value for name, value in found.items() if name in KEEPS_BUFFERS} == told
    assert found[VARIABLE]


def test_what_its_operator_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1048576")
    assert training_worker._environment()["MALLOC_TRIM_THRESHOLD_"] == "1048576"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_then_takes_no_page_anew_for_the_next_step() -> None:
    def faults(environment: dict[str, str]) -> int:
        done = subprocess.run([sys.executable, "-c", STEPS], env=environment, stdout=subprocess.PIPE, check=True)
        return int(done.stdout)

    assert faults(KEEPS_BUFFERS) < 100 < faults({})
