"""Tiny models with random weights that estimate depth, find people and find joints, as transformers saves them."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    RTDetrConfig,
    RTDetrForObjectDetection,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

LAYERS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
OUT_OF: dict[str, Any] = {"depth": {"out_features": ["stage2", "stage4"]}, "pose": {"out_indices": [4]}}


def save_dpt(folder: Path) -> Path:
    """Write a DPT that reads 32×32."""
    torch.manual_seed(0)
    config = DPTConfig(
        **LAYERS,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_in_index=-1,
        add_projection=False,
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_depth_anything(folder: Path, estimates: str = "relative") -> Path:
    """Write a Depth Anything that reads about 28×28."""
    torch.manual_seed(0)
    backbone = Dinov2Config(**LAYERS, **OUT_OF["depth"], image_size=28, patch_size=14, reshape_hidden_states=False)
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        reassemble_factors=[4, 2],
        neck_hidden_sizes=[8, 8],
        fusion_hidden_size=8,
        depth_estimation_type=estimates,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(
        size={"height": 28, "width": 28}, ensure_multiple_of=14, keep_aspect_ratio=True
    ).save_pretrained(folder)
    return folder


def save_detector(folder: Path, confident: float = 4.0) -> Path:
    """Write an RT-DETR that reads 64×64 and takes everything for a person."""
    torch.manual_seed(0)
    config = RTDetrConfig(
        backbone_config={
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 8, 8],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_in_channels=[16, 16, 16],
        d_model=16,
        num_queries=3,
        decoder_layers=1,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        num_denoising=0,
        id2label={0: "person", 1: "dog"},
        label2id={"person": 0, "dog": 1},
    )
    model = RTDetrForObjectDetection(config)
    heads: Any = model.model.decoder.class_embed
    for head in heads:
        torch.nn.init.constant_(head.bias, -confident)
        head.bias.data[0] = confident
    model.save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_vitpose(folder: Path, experts: int = 1) -> Path:
    """Write a ViTPose of 17 joints that reads 32×24."""
    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        **LAYERS, image_size=[32, 24], patch_size=[8, 8], num_experts=experts, part_features=4, **OUT_OF["pose"]
    )
    config = VitPoseConfig(
        backbone_config=backbone, id2label={number: str(number) for number in range(17)}, use_simple_decoder=True
    )
    model = VitPoseForPoseEstimation(config)
    torch.nn.init.normal_(model.head.conv.weight, std=3.0)
    model.save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 32, "width": 24}).save_pretrained(folder)
    return folder
