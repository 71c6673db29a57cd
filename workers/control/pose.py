"""Maps of poses: people are found, their joints too, and drawn as OpenPose draws them."""

from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from app.shared.errors import BadRequest
from workers.control.openpose import Joint, drawn
from workers.control.preprocessors import Preprocessor, Preprocessors, alike_everywhere

PERSON = "person"  # what a detector calls one
LEAST_PERSON, LEAST_JOINT = 0.5, 0.3  # scores from which a person and a joint are drawn
JOINTS = 17  # of COCO
COCO = 0  # number of the data set among the experts of ViTPose++


def preprocessors(models: Preprocessors) -> tuple[Preprocessor, Preprocessor]:
    """Return the model that finds people, and the one that finds their joints."""
    return models.get(PERSON, _made_detector, _judge_detector), models.get("pose", _made, _judge)


def pose(picture: Picture, models: Preprocessors) -> Picture:
    """Return the poses of people in a picture (RGB), in colours on black; raises BadRequest where there are none."""
    people, joints = preprocessors(models)
    with alike_everywhere():
        boxes = _people(picture, people)
        if not len(boxes):
            raise BadRequest("pose_not_found", "no person was found in the picture, so there is no pose to draw")
        found = _joints(picture, boxes, joints)
    return drawn(found, picture.size)


def _people(picture: Picture, by: Preprocessor) -> Tensor:
    """Return a box for each person [people, (left, top, width, height)], in pixels."""
    read = by.model(**by.processor(images=picture, return_tensors="pt"))
    size = [picture.size[::-1]]
    (found,) = by.processor.post_process_object_detection(read, threshold=LEAST_PERSON, target_sizes=size)
    names = by.model.config.id2label
    of_people = [names[label].lower() == PERSON for label in found["labels"].tolist()]
    left_top, right_bottom = found["boxes"].reshape(-1, 4)[torch.tensor(of_people, dtype=torch.bool)].split(2, dim=1)
    return torch.cat((left_top, right_bottom - left_top), dim=1)


def _joints(picture: Picture, boxes: Tensor, by: Preprocessor) -> list[list[Joint]]:
    """Return the place of every joint of COCO, of each person; None of one that is not seen."""
    around = [boxes.numpy()]
    pixels = by.processor(picture, boxes=around, return_tensors="pt")
    if by.model.config.backbone_config.num_experts > 1:
        pixels["dataset_index"] = torch.full((len(boxes),), COCO)
    (found,) = by.processor.post_process_pose_estimation(by.model(**pixels), boxes=around)
    return [
        [
            (across, down) if score > LEAST_JOINT else None
            for (across, down), score in zip(one["keypoints"].tolist(), one["scores"].reshape(-1), strict=True)
        ]
        for one in found
    ]


def _made_detector() -> type[Any]:
    from transformers import AutoModelForObjectDetection

    return AutoModelForObjectDetection


def _judge_detector(config: Any) -> str | None:
    names = [name.lower() for name in (config.id2label or {}).values()]
    return None if PERSON in names else f"it finds no {PERSON}"


def _made() -> type[Any]:
    from transformers import VitPoseForPoseEstimation

    return VitPoseForPoseEstimation


def _judge(config: Any) -> str | None:
    if config.model_type != "vitpose":
        return f"it is a {config.model_type}; served is ViTPose"
    if config.num_labels != JOINTS:
        return f"it finds {config.num_labels} joints; served are the {JOINTS} of COCO"
    return None
