"""The cache is bounded in bytes, forgets the longest unused but not the pinned, and takes only what its hash says."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from app.shared.catalog import file_key
from app.shared.errors import NotFound, RadiataError, Unavailable
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import ResolvedAdapter
from lycoris import AdapterError, load
from lycoris.files.peft_folder import CONFIG, WEIGHTS
from tests.lycoris.files.test_peft_folder import zipped
from tests.workers.toy import WIDTH, adapter
from workers.adapters import cache as module
from workers.adapters.cache import AdapterCache, open_cache
from workers.adapters.counters import Counters
from workers.adapters.disk import DiskTier


def stored(storage: Storage, data: bytes, **fields: object) -> ResolvedAdapter:
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(file_key(sha256), data)
    plain = {"ref": "a", "name": "a", "version": 1, "sha256": sha256, "strength": 1.0}
    return ResolvedAdapter.model_validate(plain | fields)


def test_the_one_used_longest_ago_goes_first(storage: Storage) -> None:
    one = load(adapter(0)).nbytes
    cache = AdapterCache(storage, budget_bytes=2 * one)
    a, b, c = (stored(storage, adapter(seed)) for seed in range(3))
    for use in (a, b, a, c):  # c drives out b: a was used since
        cache.get(use)
        assert cache.nbytes <= 2 * one
    assert cache.resident == {a.sha256, c.sha256}
    cache.get(a)
    cache.get(b)
    figures = cache.counters.take()
    assert (figures["adapter_tier_hits:memory"], figures["adapter_tier_misses:memory"]) == (2, 4)
    assert figures["adapter_tier_evictions:memory"] == 2
    assert figures["adapter_tier_bytes:memory"] == 4 * one
    assert figures["adapter_tier_hits:storage"] == 4 and figures["adapter_tier_bytes:storage"] == 4 * len(adapter(0))


def test_what_is_applied_is_not_dropped_until_something_else_is(storage: Storage) -> None:
    one = load(adapter(0)).nbytes
    cache = AdapterCache(storage, budget_bytes=2 * one)
    a, b, c, d = (stored(storage, adapter(seed)) for seed in range(4))
    use = cache.pin([a, b])
    for other in (c, d):
        cache.get(other)
        assert cache.resident == {a.sha256, b.sha256, other.sha256}, "over the budget, but by one at most"
    assert cache.pin([b, a]) == use[::-1]
    cache.pin([c])
    cache.get(d)
    assert cache.resident == {c.sha256, d.sha256}


def test_what_a_stack_has_already_is_not_dropped_for_the_rest_of_it(storage: Storage) -> None:
    """c, used longest ago, is asked for last."""
    cache = AdapterCache(storage, budget_bytes=2 * load(adapter(0)).nbytes)
    a, b, c = (stored(storage, adapter(seed)) for seed in range(3))
    cache.pin([c, a])
    cache.pin([b, a, c])
    assert cache.resident == {a.sha256, b.sha256, c.sha256}
    assert cache.counters.take()["adapter_tier_misses:memory"] == 3


def test_threads_that_want_the_same_adapter_load_it_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    a = stored(storage, adapter(0))
    fetched = slowed(monkeypatch)
    cache = AdapterCache(storage, 1 << 20)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: cache.get(a), range(8)))
    assert len(found) == len(fetched) == 1


def slowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make storage slow; return the list of what it is asked for."""
    really, asked = Storage.get, []

    def get(self: Storage, key: str) -> bytes | None:
        asked.append(key)
        time.sleep(0.05)
        return really(self, key)

    monkeypatch.setattr(Storage, "get", get)
    return asked


# Storage that fails


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_a_fetch_is_tried_again_and_then_says_why(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    a = stored(storage, adapter(0))
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))
    left = failing(monkeypatch, failures)
    cache = AdapterCache(storage, 1 << 20)
    if failures < 4:
        assert cache.get(a).sha256 == a.sha256
        assert cache.counters.take()["adapter_tier_misses:storage"] == failures
        return
    with pytest.raises(RadiataError) as refusal:
        cache.get(a)
    assert refusal.value.code == "adapter_not_fetched" and "no storage" in refusal.value.message
    assert not isinstance(refusal.value, Unavailable), "that would try the generation again for ever"
    assert left == [] and cache.get(a).sha256 == a.sha256


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Have storage fail so many times; return the failures that are left."""
    really, left = Storage.get, list(range(times))

    def get(self: Storage, key: str) -> bytes | None:
        if left:
            left.pop()
            raise Unavailable("storage_unavailable", "no storage")
        return really(self, key)

    monkeypatch.setattr(Storage, "get", get)
    return left


# The disk below


def test_what_memory_dropped_is_read_from_disk(storage: Storage, tmp_path: Path) -> None:
    counters = Counters()
    cache = AdapterCache(storage, 1, DiskTier(tmp_path / "cache", 1 << 20, counters), counters)
    a, b = (stored(storage, adapter(seed)) for seed in range(2))
    for use in (a, b, a, b):
        assert cache.get(use).sha256 == use.sha256
    figures = counters.take()
    assert (figures["adapter_tier_hits:storage"], figures["adapter_tier_hits:disk"]) == (2, 2)
    storage.delete(file_key(a.sha256))
    assert cache.get(a).sha256 == a.sha256


def test_what_is_wrong_in_storage_does_not_reach_the_disk(storage: Storage, tmp_path: Path) -> None:
    counters = Counters()
    cache = AdapterCache(storage, 1, DiskTier(tmp_path / "cache", 1 << 20, counters), counters)
    use = stored(storage, adapter(0))
    storage.put(file_key(use.sha256), adapter(0)[:-1])
    with pytest.raises(RadiataError, match="does not match"):
        cache.get(use)
    assert [path for path in (tmp_path / "cache").iterdir() if use.sha256 in path.name] == []


@pytest.mark.parametrize(
    ("fields", "mib"),
    [
        ({}, 0),
        ({"storage_url": "s3://bucket"}, 16384),
        ({"storage_url": "s3://bucket", "disk_cache_mb": 0}, 0),
        ({"storage_url": "file:///mnt/far", "disk_cache_mb": 3}, 3),
    ],
)
def test_a_disk_tier_is_there_unless_storage_is_a_disk_itself(
    storage: Storage, tmp_path: Path, fields: dict[str, object], mib: int
) -> None:
    settings = Settings(data_dir=tmp_path, **fields)  # type: ignore[arg-type]
    assert settings.disk_cache_bytes == mib * MIB
    use = stored(storage, adapter(0))
    open_cache(storage, settings).get(use)
    assert (tmp_path / "cache" / "adapters" / use.sha256).exists() == (mib > 0)


def test_a_folder_that_cannot_be_made_leaves_the_tier_out(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    use = stored(storage, adapter(0))
    settings = Settings(data_dir=tmp_path, disk_cache_mb=1)  # type: ignore[call-arg]
    assert open_cache(storage, settings).get(use).sha256 == use.sha256


# Files


def test_one_larger_than_the_budget_is_applied_all_the_same(storage: Storage) -> None:
    cache = AdapterCache(storage, budget_bytes=1)
    a, b = (stored(storage, adapter(seed)) for seed in range(2))
    assert cache.get(a) is cache.get(a)
    assert cache.get(b).sha256 == b.sha256
    assert cache.nbytes == load(adapter(1)).nbytes


def test_bytes_that_are_not_what_their_name_says_are_refused(storage: Storage) -> None:
    use = stored(storage, adapter(0))
    storage.put(file_key(use.sha256), adapter(1))
    cache = AdapterCache(storage, budget_bytes=1 << 20)
    with pytest.raises(RadiataError) as refusal:
        cache.get(use)
    assert refusal.value.code == "adapter_corrupt"
    storage.put(file_key(use.sha256), adapter(0))
    assert cache.get(use).sha256 == use.sha256


def test_a_file_that_is_gone_is_said_to_be(storage: Storage) -> None:
    use = stored(storage, adapter(0))
    storage.delete(file_key(use.sha256))
    with pytest.raises(NotFound, match="not in storage"):
        AdapterCache(storage, 1 << 20).get(use)


def test_the_same_bytes_with_other_tensors_left_out_are_another_adapter(storage: Storage) -> None:
    from safetensors.torch import load as tensors_of
    from safetensors.torch import save

    from tests.workers.toy import LAYER

    extra = {name.replace(LAYER, "lora_unet_elsewhere"): t for name, t in tensors_of(adapter(0)).items()}
    data = save({**tensors_of(adapter(0)), **extra})
    cache = AdapterCache(storage, 1 << 20)
    whole, part = stored(storage, data), stored(storage, data, ignore=["lora_unet_elsewhere*"])
    assert len(cache.get(whole).layers) == 2
    assert len(cache.get(part).layers) == 1


def test_what_is_no_adapter_is_refused_and_not_kept(storage: Storage) -> None:
    cache = AdapterCache(storage, 1 << 20)
    with pytest.raises(AdapterError):
        cache.get(stored(storage, b"not safetensors"))
    assert cache.nbytes == 0


def test_a_zip_goes_by_its_own_hash_and_counts_by_its_tensors(storage: Storage) -> None:
    layer = "base_model.model.unet.block.to_q.lora_"
    tensors = {f"{layer}A.weight": torch.ones(1, WIDTH), f"{layer}B.weight": torch.ones(WIDTH, 1)}
    config = json.dumps({"peft_type": "LORA", "lora_alpha": 2})
    use = stored(storage, zipped({WEIGHTS: save(tensors), CONFIG: config}))
    cache = AdapterCache(storage, 1 << 20)
    assert cache.get(use).sha256 == use.sha256
    assert cache.nbytes == sum(tensor.nbytes for tensor in tensors.values())
