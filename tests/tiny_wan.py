"""Tiny random Wan pipelines, saved as diffusers saves them."""

from pathlib import Path

import torch
import transformers
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tiny import randomize, tiny_tokenizer

IMAGE_DIM, IMAGE_TOKENS = 16, 10  # of the tiny image encoder: 3x3 patches and the token of the class


def tiny_wan_vae(version="2.1", **config):
    """2.1's has a position of the latents for 8x8 pixels, that of 2.2 for 16x16."""
    config = {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [1.2, 0.8, 1.0, 1.5],
        **({"decoder_base_dim": 12, "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12,
            "scale_factor_spatial": 16} if version == "2.2" else {}),
        **config,
    }  # fmt: skip
    torch.manual_seed(0)
    return randomize(AutoencoderKLWan(**config), seed=2)


def tiny_wan_transformer(seed=1, **config):
    torch.manual_seed(seed - 1)
    transformer = randomize(
        WanTransformer3DModel(
            **{
                "num_attention_heads": 2,
                "attention_head_dim": 16,
                "in_channels": 4,
                "out_channels": 4,
                "text_dim": 24,
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


def tiny_umt5(vocabulary):
    torch.manual_seed(0)
    config = transformers.UMT5Config(
        vocab_size=vocabulary, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu"
    )
    return randomize(transformers.UMT5EncoderModel(config), seed=3)


def tiny_image_encoder():
    """CLIP's vision tower, of pictures of 12x12 pixels."""
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=IMAGE_DIM, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=12,
        patch_size=4, hidden_act="gelu",
    )  # fmt: skip
    return randomize(transformers.CLIPVisionModel(config), seed=7)


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
    "ti2v": {"vae": "2.2", "pipeline": {"expand_timesteps": True}},
    "t2v-a14b": {"experts": True, "pipeline": {"boundary_ratio": 0.875}},
    "i2v-a14b": {"experts": True, "pipeline": {"boundary_ratio": 0.9}, "transformer": {"in_channels": 12}},
}


def save_tiny_wan(path, release="t2v", scheduler="unipc", scheduler_config={}, transformer={}, vae={}, pipeline={}):
    """Saves a random pipeline and returns it; the dictionaries replace fields of the configurations."""
    path = Path(path)
    what = RELEASES[release]
    tokenizer = tiny_tokenizer(path / "tokenizer")
    transformer = {**what.get("transformer", {}), **transformer}
    parts = {}
    if what.get("image_encoder"):
        channels = transformer.get("num_attention_heads", 2) * transformer.get("attention_head_dim", 16)
        transformer = {"image_dim": IMAGE_DIM, "added_kv_proj_dim": channels, **transformer}
        square = {"height": 12, "width": 12}
        parts["image_encoder"] = tiny_image_encoder()
        parts["image_processor"] = transformers.CLIPImageProcessor(size={"shortest_edge": 12}, crop_size=square)
    if what.get("experts"):
        parts["transformer_2"] = tiny_wan_transformer(seed=11, **transformer)
    from_image = "i2v" in release and release != "ti2v" or release == "flf2v"
    pipeline = (WanImageToVideoPipeline if from_image else WanPipeline)(
        tokenizer=tokenizer,
        text_encoder=tiny_umt5(len(tokenizer)),
        transformer=tiny_wan_transformer(**transformer),
        vae=tiny_wan_vae(what.get("vae", "2.1"), **vae),
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
