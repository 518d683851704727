"""Tiny random HunyuanVideo pipelines, saved as diffusers saves them."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import (
    DEFAULT_PROMPT_TEMPLATE as IMAGE_PROMPT_TEMPLATE,
)
from tiny import randomize
from tiny_text import (
    CAPTIONS,
    LLAMA_SPECIAL,
    tiny_clip,
    tiny_clip_image_processor,
    tiny_clip_tokenizer,
    tiny_llama,
    tiny_llama_tokenizer,
    tiny_llava,
)


# What the LLaMA's tokenizer is trained on: the instruction around a prompt must fit, as with the released one.
LINES = [*CAPTIONS, *[DEFAULT_PROMPT_TEMPLATE["template"]] * len(CAPTIONS)]


IMAGE_LINES = [*CAPTIONS, *[IMAGE_PROMPT_TEMPLATE["template"]] * len(CAPTIONS)]


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


def tiny_hunyuan_video_transformer(**config):
    torch.manual_seed(0)
    return randomize(
        HunyuanVideoTransformer3DModel(
            **{
                "in_channels": 4,
                "out_channels": 4,
                "num_attention_heads": 2,
                "attention_head_dim": 16,
                "num_layers": 2,
                "num_single_layers": 3,
                "num_refiner_layers": 2,
                "text_embed_dim": 32,
                "pooled_projection_dim": 32,
                "rope_axes_dim": (4, 6, 6),
                **config,
            }
        ),
        seed=1,
    )


def save_tiny_hunyuan_video(
    path, dtype=torch.float32, sharded=False, transformer={}, vae={}, llama={}, clip={}, scheduler={}
):
    """Saves a random HunyuanVideoPipeline and returns it; the dictionaries replace fields of the configurations."""
    path = Path(path)
    tokenizer = tiny_llama_tokenizer(path / "tokenizer", LINES, merges=600)
    tokenizer_2 = tiny_clip_tokenizer(path / "tokenizer_2")
    pipeline = HunyuanVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_llama(len(tokenizer), **llama),
        tokenizer_2=tokenizer_2,
        text_encoder_2=tiny_clip(len(tokenizer_2), **clip),
        transformer=tiny_hunyuan_video_transformer(**transformer),
        vae=tiny_hunyuan_video_vae(**vae),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 7.0, **scheduler}),
    ).to(dtype)
    pipeline.save_pretrained(path, max_shard_size="60kB" if sharded else "10GB")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_image_tokenizer(folder):
    """In the instruction it makes the token of the image the sixth, as the released one does."""
    return tiny_llama_tokenizer(folder, IMAGE_LINES, merges=600, special=[*LLAMA_SPECIAL, "<image>"])


def save_tiny_hunyuan_video_image(
    path, kind, dtype=torch.float32, sharded=False, transformer={}, vae={}, llava={}, clip={}, processor={}
):
    """Saves a random HunyuanVideoImageToVideoPipeline of this kind of image condition, and returns it."""
    path = Path(path)
    tokenizer = tiny_image_tokenizer(path / "tokenizer")
    tokenizer_2 = tiny_clip_tokenizer(path / "tokenizer_2")
    channels = {"in_channels": 9} if kind == "latent_concat" else {}
    pipeline = HunyuanVideoImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_llava(
            len(tokenizer), tokenizer.convert_tokens_to_ids("<image>"), tokenizer.pad_token_id, **llava
        ),
        tokenizer_2=tokenizer_2,
        text_encoder_2=tiny_clip(len(tokenizer_2), **clip),
        transformer=tiny_hunyuan_video_transformer(image_condition_type=kind, **{**channels, **transformer}),
        vae=tiny_hunyuan_video_vae(**vae),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        image_processor=tiny_clip_image_processor(**processor),
    ).to(dtype)
    pipeline.save_pretrained(path, max_shard_size="60kB" if sharded else "10GB")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


if __name__ == "__main__":  # for trying the program out
    import sys

    save_tiny_hunyuan_video(sys.argv[1])
