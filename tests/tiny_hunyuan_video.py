"""Tiny random parts of HunyuanVideo pipelines."""

import torch
from diffusers import AutoencoderKLHunyuanVideo
from tiny import randomize


def tiny_hunyuan_video_vae(**config):
    config = {
        "block_out_channels": (8, 8, 16, 16),
        "latent_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "scaling_factor": 0.7,
        **config,
    }
    levels = len(config["block_out_channels"])
    torch.manual_seed(0)
    return randomize(
        AutoencoderKLHunyuanVideo(
            down_block_types=("HunyuanVideoDownBlock3D",) * levels,
            up_block_types=("HunyuanVideoUpBlock3D",) * levels,
            **config,
        ),
        seed=2,
    )
