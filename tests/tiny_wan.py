"""Tiny random Wan pipelines, saved as diffusers saves them."""

from pathlib import Path

import torch
import transformers
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tiny import randomize, tiny_tokenizer
from tiny_wan_parts import tiny_clip_vision, tiny_umt5, tiny_wan_vae

IMAGE_DIM, IMAGE_PIXELS, IMAGE_TOKENS = 32, 28, 17  # of the tiny image encoder: 4x4 patches and the class token


def tiny_wan_transformer(seed=1, **config):
    torch.manual_seed(seed - 1)
    transformer = randomize(
        WanTransformer3DModel(
            **{
                "num_attention_heads": 2,
                "attention_head_dim": 16,
                "in_channels": 4,
                "out_channels": 4,
                "text_dim": 48,
                "freq_dim": 32,
                "ffn_dim": 48,
                "num_layers": 2,
                **config,
            }
        ),
        seed=seed,
    )
    with torch.no_grad():  # attention far from uniform, so that CFI differs between layers and branches
        for block in transformer.blocks:
            block.attn1.norm_q.weight.mul_(2)
            block.attn1.norm_k.weight.mul_(2)
    return transformer


def scheduler_of(kind, **config):
    if kind == "euler":
        return FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **config})
    return UniPCMultistepScheduler(
        **{"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0, **config}
    )


# What is particular to each release.
RELEASES = {
    "t2v": {},
    "i2v": {"image_encoder": True, "transformer": {"in_channels": 12}},
    "flf2v": {"image_encoder": True, "transformer": {"in_channels": 12, "pos_embed_seq_len": 2 * IMAGE_TOKENS}},
    "ti2v": {"residual": True, "pipeline": {"expand_timesteps": True}},
    "t2v-a14b": {"experts": True, "pipeline": {"boundary_ratio": 0.875}},
    "i2v-a14b": {"experts": True, "pipeline": {"boundary_ratio": 0.9}, "transformer": {"in_channels": 12}},
}


def save_tiny_wan(path, release="t2v", scheduler="unipc", scheduler_config={}, transformer={}, vae={}, pipeline={}, text={},
                  image={}):  # fmt: skip
    """Saves a random pipeline and returns it; the dictionaries replace fields of the configurations."""
    path = Path(path)
    what = RELEASES[release]
    tokenizer = tiny_tokenizer(path / "tokenizer")
    transformer = {**what.get("transformer", {}), **transformer}
    parts = {}
    if what.get("image_encoder"):
        channels = transformer.get("num_attention_heads", 2) * transformer.get("attention_head_dim", 16)
        transformer = {"image_dim": image.get("hidden_size", IMAGE_DIM), "added_kv_proj_dim": channels, **transformer}
        square = {"height": IMAGE_PIXELS, "width": IMAGE_PIXELS}
        parts["image_encoder"] = tiny_clip_vision(**image)
        parts["image_processor"] = transformers.CLIPImageProcessor(size={"shortest_edge": IMAGE_PIXELS}, crop_size=square)
    if what.get("experts"):
        parts["transformer_2"] = tiny_wan_transformer(seed=11, **transformer)
    from_image = "i2v" in release and release != "ti2v" or release == "flf2v"
    pipeline = (WanImageToVideoPipeline if from_image else WanPipeline)(
        tokenizer=tokenizer,
        text_encoder=tiny_umt5(len(tokenizer), **text),
        transformer=tiny_wan_transformer(**transformer),
        vae=tiny_wan_vae(what.get("residual", False), **vae),
        scheduler=scheduler_of(scheduler, **scheduler_config),
        **parts,
        **{**what.get("pipeline", {}), **pipeline},
    )
    pipeline.save_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


if __name__ == "__main__":  # for trying the program out
    import sys

    save_tiny_wan(*sys.argv[1:])
