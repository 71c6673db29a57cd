"""Joints and limbs in OpenPose's colours, as the pose nets of ControlNet were trained with them.

The tables are facts of `annotator/openpose/util.py` of lllyasviel/ControlNet: 18 joints, 17 limbs between them, limbs
in 0.6 of the colours, on black, with sticks of 4 pixels where the shorter edge has 512.
"""

import math
from collections.abc import Sequence

import cv2
import torch
from PIL import Image
from PIL.Image import Image as Picture

Joint = tuple[float, float] | None  # x and y in pixels; None where it is not seen
NECK = -1  # which COCO has not: it is in the middle of the shoulders
SHOULDERS = (5, 6)
# Joints of OpenPose, by their number among COCO's: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
OF_COCO = (0, NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
COLOURS = (  # red, green, blue: of the joint, and of the limb, of this number
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
DIMMED = 0.6
THICK, AT_EDGE = 4, 512


def drawn(people: Sequence[Sequence[Joint]], size: tuple[int, int]) -> Picture:
    """Return people, each by the 17 joints of COCO, on black (RGB); size: width and height."""
    canvas = torch.zeros((size[1], size[0], 3), dtype=torch.uint8).numpy()
    thick = max(1, round(THICK * min(size) / AT_EDGE))
    for joints in map(_of_openpose, people):
        for (one, other), colour in zip(LIMBS, COLOURS[: len(LIMBS)], strict=True):
            first, last = joints[one], joints[other]
            if first is None or last is None:
                continue
            middle = round((first[0] + last[0]) / 2), round((first[1] + last[1]) / 2)
            across, down = last[0] - first[0], last[1] - first[1]
            axes = max(1, round(math.hypot(across, down) / 2)), thick
            angle = math.degrees(math.atan2(down, across))
            dimmed = tuple(int(value * DIMMED) for value in colour)
            cv2.ellipse(canvas, middle, axes, angle, 0, 360, dimmed, cv2.FILLED)
    for joints in map(_of_openpose, people):
        for joint, colour in zip(joints, COLOURS, strict=True):
            if joint is not None:
                cv2.circle(canvas, (round(joint[0]), round(joint[1])), thick, colour, cv2.FILLED)
    return Image.fromarray(canvas)


def _of_openpose(joints: Sequence[Joint]) -> list[Joint]:
    left, right = (joints[shoulder] for shoulder in SHOULDERS)
    neck = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2) if left and right else None
    return [neck if number == NECK else joints[number] for number in OF_COCO]
