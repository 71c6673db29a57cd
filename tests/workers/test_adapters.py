"""The cache is bounded in bytes, forgets what was used longest ago, and lets in only what its hash says."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save

from app.shared.catalog import file_key
from app.shared.errors import NotFound, RadiataError
from app.shared.schema import AdapterWorn
from app.shared.storage import Storage
from lycoris.adapter import load
from lycoris.bundle import CONFIG, WEIGHTS
from lycoris.errors import AdapterError
from tests.lycoris.test_bundle import zipped
from tests.workers.toy import WIDTH, adapter
from workers.adapters import AdapterCache


def stored(storage: Storage, data: bytes, **fields: object) -> AdapterWorn:
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(file_key(sha256), data)
    plain = {"ref": "a", "name": "a", "version": 1, "sha256": sha256, "strength": 1.0}
    return AdapterWorn.model_validate(plain | fields)


def test_the_one_used_longest_ago_goes_first(storage: Storage) -> None:
    one = load(adapter(0)).nbytes
    cache = AdapterCache(storage, budget_bytes=2 * one)
    a, b, c = (stored(storage, adapter(seed)) for seed in range(3))
    for worn in (a, b, a, c):  # c drives out b: a was used since
        cache.get(worn)
        assert cache.nbytes <= 2 * one
    assert (cache.counts.hits, cache.counts.misses) == (1, 3)
    cache.get(a)
    assert cache.counts.hits == 2
    cache.get(b)
    assert cache.counts.misses == 4


def test_one_larger_than_the_budget_is_worn_all_the_same(storage: Storage) -> None:
    cache = AdapterCache(storage, budget_bytes=1)
    a, b = (stored(storage, adapter(seed)) for seed in range(2))
    assert cache.get(a) is cache.get(a)
    assert cache.get(b).sha256 == b.sha256
    assert cache.nbytes == load(adapter(1)).nbytes


def test_bytes_that_are_not_what_their_name_says_are_refused(storage: Storage) -> None:
    worn = stored(storage, adapter(0))
    storage.put(file_key(worn.sha256), adapter(1))
    cache = AdapterCache(storage, budget_bytes=1 << 20)
    with pytest.raises(RadiataError) as refusal:
        cache.get(worn)
    assert refusal.value.code == "adapter_corrupt"
    storage.put(file_key(worn.sha256), adapter(0))
    assert cache.get(worn).sha256 == worn.sha256


def test_a_file_that_is_gone_is_said_to_be(storage: Storage) -> None:
    worn = stored(storage, adapter(0))
    storage.delete(file_key(worn.sha256))
    with pytest.raises(NotFound, match="not in storage"):
        AdapterCache(storage, 1 << 20).get(worn)


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
    worn = stored(storage, zipped({WEIGHTS: save(tensors), CONFIG: config}))
    cache = AdapterCache(storage, 1 << 20)
    assert cache.get(worn).sha256 == worn.sha256
    assert cache.nbytes == sum(tensor.nbytes for tensor in tensors.values())
