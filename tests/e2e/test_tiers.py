"""Where adapters come from is told by /metrics, and makes no difference to a picture."""

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests import samples
from tests.conftest import running
from tests.e2e.drawing import PATIENCE_S, draw, picture, post, upload, wait


def figures(http: httpx.Client) -> dict[str, float]:
    """Every sample of /metrics, by name and labels."""
    found = re.findall(r"^(radiata_\S+) (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_what_waits_is_fetched_while_another_is_drawn(http: httpx.Client) -> None:
    refs = [f"ahead-{number}" for number in range(4)]
    for number, ref in enumerate(refs):
        assert upload(http, samples.file("lora", seed=100 + number), ref).is_success
    before = figures(http)
    first = post(http, steps=40)
    waiting = [post(http, adapters=[{"ref": ref}]) for ref in refs]
    for generation in (first, *waiting):
        assert wait(http, generation["id"])["status"] == "succeeded"
    draw(http)  # figures are told at the end of a generation
    more = {name: value - before.get(name, 0) for name, value in figures(http).items()}
    told = {name: value for name, value in more.items() if "prefetch" in name or "tier" in name}
    assert told["radiata_prefetch_hits_total"] == told["radiata_prefetch_loads_total"] == len(refs), told
    assert told['radiata_adapter_tier_hits_total{tier="memory"}'] == len(refs), told
    assert told['radiata_adapter_tier_misses_total{tier="memory"}'] == 0, told
    assert told['radiata_adapter_tier_hits_total{tier="storage"}'] == len(refs), told
    assert told['radiata_adapter_tier_bytes_total{tier="storage"}'] > 0, told
    assert told['radiata_adapter_tier_seconds_total{tier="storage"}'] > 0, told
    assert told['radiata_adapter_tier_hits_total{tier="disk"}'] == 0, "storage is a folder on a disk itself"


def test_the_disk_outlives_the_engine_and_what_is_spoilt_on_it_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIATA_DISK_CACHE_MB", "64")
    stack = [{"ref": "striped-loha"}, {"ref": "fluent-3d-lora"}]
    with running(tmp_path) as service, httpx.Client(base_url=service.url, timeout=120) as http:
        first = draw(http, adapters=stack)
        files = [tmp_path / "cache" / "adapters" / one["sha256"] for one in first["request"]["adapters"]]
        files[0].write_bytes(files[0].read_bytes()[:-1])
        kill_engine(service.pids()["worker"])
        again = draw(http, adapters=stack)
        assert picture(http, again) == picture(http, first)
        told = figures(http)
        assert told['radiata_adapter_tier_hits_total{tier="disk"}'] == 1, told
        assert told['radiata_adapter_tier_misses_total{tier="disk"}'] == 3, told
        assert files[0].stat().st_size > 0


def kill_engine(worker: int) -> None:
    (engine,) = (int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
    os.kill(engine, signal.SIGKILL)
    until = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{engine}/stat").exists() and "Z" not in Path(f"/proc/{engine}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.01)
