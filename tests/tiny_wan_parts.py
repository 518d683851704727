"""Tiny random parts of Wan pipelines: both autoencoders, the text encoder and its tokenizer, the image encoder."""

import torch
import transformers
from diffusers import AutoencoderKLWan
from tiny import randomize


def tiny_wan_vae(residual=False, **config):
    """The autoencoder of 2.1, or with `residual` that of 2.2's TI2V."""
    config = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1} | config
    if residual:
        config = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16,
                  "decoder_base_dim": 12} | config  # fmt: skip
    generator = torch.Generator().manual_seed(7)
    for field, least in (("latents_mean", -1.0), ("latents_std", 0.5)):
        config.setdefault(field, (least + 2 * torch.rand(config["z_dim"], generator=generator)).tolist())
    torch.manual_seed(0)
    return randomize(AutoencoderKLWan(**config), seed=2)


def tiny_umt5(vocabulary, **config):
    torch.manual_seed(0)
    sizes = {"d_model": 48, "d_kv": 10, "d_ff": 80, "num_heads": 4, "num_layers": 3, "feed_forward_proj": "gated-gelu",
             "relative_attention_num_buckets": 12, "relative_attention_max_distance": 40}  # fmt: skip
    return randomize(transformers.UMT5EncoderModel(transformers.UMT5Config(vocab_size=vocabulary, **(sizes | config))), seed=8)


def tiny_clip_vision(projection=False, **config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28,
             "patch_size": 7, "hidden_act": "gelu", "projection_dim": 16}  # fmt: skip
    kind = transformers.CLIPVisionModelWithProjection if projection else transformers.CLIPVisionModel
    return randomize(kind(transformers.CLIPVisionConfig(**(sizes | config))), seed=9)


