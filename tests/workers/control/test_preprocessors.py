"""Depth and pose are transformers' own, drawn as nets read them; a model that is not whole or not known is refused."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from rq.timeouts import JobTimeoutException
from safetensors.torch import load_file, save_file
from transformers import AutoModelForDepthEstimation, pipeline

from app.shared.errors import BadRequest
from app.shared.settings import BadSettings, read_settings
from tests.workers.control import tiny_preprocessors as tiny
from workers.control import pose as module
from workers.control.depth import depth
from workers.control.openpose import COLOURS, DIMMED, drawn
from workers.control.pose import pose
from workers.control.preprocessors import ModelAway, Preprocessors, fingerprint_of, fingerprints
from workers.patience import Patience

STANDING = [  # the joints of COCO, of a person who faces us in 64×64: its right is on our left
    *((32, 8), (34, 6), (30, 6), (36, 8), (28, 8), (40, 18), (24, 18), (44, 28), (20, 28)),
    *((48, 36), (16, 36), (38, 38), (26, 38), (38, 48), (26, 48), (38, 60), (26, 60)),
]


def answered(status: int) -> HfHubHTTPError:
    response: Any = httpx.Response(status, request=httpx.Request("GET", "https://hub.test"))
    return HfHubHTTPError("no", response=response)


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))


def models(**named: Path) -> Preprocessors:
    return Preprocessors(read_settings(preprocessors={name: str(folder) for name, folder in named.items()}))


@pytest.mark.parametrize("save", [tiny.save_dpt, tiny.save_depth_anything])
def test_depth_is_that_of_transformers_own_pipeline(save: Callable[[Path], Path], tmp_path: Path) -> None:
    folder, threads = save(tmp_path), torch.get_num_threads()
    found = models(depth=folder)
    made = depth(photo(), found)
    processor = found.get("depth", lambda: AutoModelForDepthEstimation, lambda _: None).processor
    own = pipeline("depth-estimation", model=str(folder), image_processor=processor, device="cpu")(photo())
    assert made.mode == "RGB" and made.size == photo().size
    assert (np.asarray(made) == np.asarray(own["depth"])[..., None]).all()
    assert 0 == np.asarray(made).min() < np.asarray(made).max() == 255
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("experts", [1, 2])
def test_poses_are_of_the_joints_that_transformers_finds(experts: int, tmp_path: Path) -> None:
    found = models(pose=tiny.save_vitpose(tmp_path / "pose", experts), person=tiny.save_detector(tmp_path / "person"))
    people, joints = module.preprocessors(found)
    made = np.asarray(pose(photo(), found))
    with torch.inference_mode():
        read = people.model(**people.processor(images=photo(), return_tensors="pt"))
        (seen,) = people.processor.post_process_object_detection(read, threshold=0.5, target_sizes=[(40, 48)])
        left, top, right, bottom = seen["boxes"].unbind(1)
        boxes = torch.stack((left, top, right - left, bottom - top), 1).numpy()
        pixels = joints.processor(photo(), boxes=[boxes], return_tensors="pt")
        index = {"dataset_index": torch.zeros(len(boxes), dtype=torch.int64)} if experts > 1 else {}
        (poses,) = joints.processor.post_process_pose_estimation(joints.model(**pixels, **index), boxes=[boxes])
    shown = [
        [tuple(at) if score > 0.3 else None for at, score in zip(one["keypoints"].tolist(), one["scores"], strict=True)]
        for one in poses
    ]
    assert len(shown) == 3 and made.any()
    assert (made == np.asarray(drawn(shown, (48, 40)))).all()


def test_joints_and_limbs_have_openposes_colours() -> None:
    canvas = np.asarray(drawn([STANDING], (64, 64)))

    def colour(x: int, y: int) -> tuple[int, ...]:
        return tuple(int(value) for value in canvas[y, x])

    assert colour(32, 8) == COLOURS[0] and colour(32, 18) == COLOURS[1]  # nose, and the neck between the shoulders
    assert colour(24, 18) == COLOURS[2] and colour(40, 18) == COLOURS[5]  # its right shoulder, its left one
    assert colour(16, 36) == COLOURS[4] and colour(38, 60) == COLOURS[13] and colour(26, 60) == COLOURS[10]
    assert colour(28, 18) == tuple(int(value * DIMMED) for value in COLOURS[0])  # neck to right shoulder, red first
    assert colour(36, 18) == tuple(int(value * DIMMED) for value in COLOURS[1])
    assert colour(0, 0) == (0, 0, 0)
    hidden: list[tuple[float, float] | None] = [None, *STANDING[1:]]
    assert drawn([hidden], (64, 64)).getpixel((32, 8)) == (0, 0, 0), (
        "a joint that is not seen is not drawn, and no limb to it"
    )


def test_a_picture_without_people_has_no_pose(tmp_path: Path) -> None:
    person = tiny.save_detector(tmp_path / "person", confident=-4.0)
    with pytest.raises(BadRequest, match="no person"):
        pose(photo(), models(pose=tiny.save_vitpose(tmp_path / "pose"), person=person))


def test_a_model_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    metric = tiny.save_depth_anything(tmp_path / "metric", "metric")
    pickled, part = tiny.save_dpt(tmp_path / "pickled"), tiny.save_dpt(tmp_path / "part")
    weights = pickled / "model.safetensors"
    torch.save({}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    tensors = load_file(part / "model.safetensors")
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, part / "model.safetensors", {"format": "pt"})
    detector = tiny.save_detector(tmp_path / "detector")
    for folder, why in (
        (metric, "in metres"),
        (pickled, "safetensors"),
        (part, "lack"),
        (detector, "rt_detr"),
        (tmp_path / "nowhere", "owner/name"),
    ):
        with pytest.raises(BadRequest, match=why) as refusal:
            depth(photo(), models(depth=folder))
        assert "RADIATA_PREPROCESSORS" in refusal.value.message


def fetching(monkeypatch: pytest.MonkeyPatch, *answers: Exception | Path) -> tuple[Preprocessors, Patience]:
    """Models of which the one for depth is on a hub that answers like this, one time after another; who waits."""
    following = iter(answers)

    def fetched(*_: object, local_files_only: bool = False, **__: object) -> str:
        if local_files_only:
            raise FileNotFoundError("it was not fetched yet")
        answer = next(following)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("workers.control.preprocessors.snapshot_download", fetched)
    monkeypatch.setattr("workers.patience.PAUSES_S", (0.001,))
    patience = Patience(5.0)
    return Preprocessors(read_settings(preprocessors={"depth": "owner/name"}), patience), patience


def test_a_hub_that_is_away_and_a_disk_that_is_full_cost_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing = (ConnectionError("no route"), OSError(errno.ENOSPC, "no space left"), answered(503))
    models, patience = fetching(monkeypatch, *failing, tiny.save_dpt(tmp_path))
    with patience.during():
        assert depth(photo(), models).size == photo().size


@pytest.mark.parametrize("error", [ConnectionError("no route"), answered(429)])
def test_who_does_not_wait_is_told_that_it_may_come(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = fetching(monkeypatch, error)
    with pytest.raises(ModelAway, match="cannot be had right now"):
        depth(photo(), models)


def test_what_a_hub_refuses_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    models, patience = fetching(monkeypatch, answered(404))
    with patience.during(), pytest.raises(BadRequest, match="cannot be used: the hub answers 404 for owner/name"):
        depth(photo(), models)


@pytest.mark.parametrize("error", [JobTimeoutException("too long"), MemoryError()])
def test_the_end_of_a_job_is_no_fault_of_the_model(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models, _ = fetching(monkeypatch, error)
    with pytest.raises(type(error)):
        depth(photo(), models)


def test_what_was_fetched_once_stays_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its fingerprint stands in profiles and requests: nobody asks the hub for a newer one."""
    here = tiny.save_dpt(tmp_path)

    def fetched(repository: str, *, local_files_only: bool = False, **_: object) -> str:
        assert local_files_only, "the hub is asked"
        if repository == "owner/away":
            raise FileNotFoundError("it was not fetched yet")
        return str(here)

    monkeypatch.setattr("workers.control.preprocessors.snapshot_download", fetched)
    settings = read_settings(preprocessors={"depth": "owner/name", "pose": str(here), "person": "owner/away"})
    assert depth(photo(), Preprocessors(settings)).size == photo().size
    assert fingerprints(settings) == {"depth": [fingerprint_of(here)]}, "a pose needs somebody who finds people"


def test_a_download_that_was_killed_half_way_is_completed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whichever files came: none is at hand, and none has a fingerprint, until all are there."""
    whole, here = tiny.save_dpt(tmp_path / "whole"), tmp_path / "here"
    processor = whole / "preprocessor_config.json"
    files = {file.name: file.read_bytes() for file in whole.iterdir()}
    weights = files["model.safetensors"]
    shards = {f"model-0000{number}-of-00002.safetensors": weights for number in (1, 2)}
    index = {"model.safetensors.index.json": json.dumps({"weight_map": {name: name for name in shards}}).encode()}
    configured = {name: data for name, data in files.items() if name != "model.safetensors"}
    monkeypatch.setattr("workers.control.preprocessors.snapshot_download", lambda *_, **__: str(here))
    settings = read_settings(preprocessors={"depth": "owner/name"})
    for form in (files, configured | index | shards):
        for left_out in ({"config.json"}, {processor.name}, *({name} for name in form if "model" in name), set()):
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir()
            for name in form.keys() - left_out:
                (here / name).write_bytes(form[name])
            assert bool(fingerprints(settings)) == (not left_out), left_out


def test_models_go_when_there_is_no_room(tmp_path: Path) -> None:
    found = models(pose=tiny.save_vitpose(tmp_path / "pose"), person=tiny.save_detector(tmp_path / "person"))
    before = pose(photo(), found)
    found._budget = 1  # pyright: ignore[reportPrivateUsage]
    assert pose(photo(), found) == before
    assert list(found._held) == ["pose"]  # pyright: ignore[reportPrivateUsage]


def test_poses_need_a_model_that_finds_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIATA_PREPROCESSORS", '{"pose": "a/b"}')
    with pytest.raises(BadSettings, match="name both"):
        read_settings()
