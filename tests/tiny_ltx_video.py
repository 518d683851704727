"""Tiny random LTX-Video models, made as diffusers makes them."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from safetensors.torch import save_file
from tiny import randomize, tiny_text_encoder, tiny_tokenizer

# What is particular to each generation of the autoencoder.
VAE_GENERATIONS = {
    "0.9.0": {
        "decoder_block_out_channels": (8, 12, 16),
        "decoder_inject_noise": (False,) * 4,
        "upsample_residual": (False,) * 3,
        "upsample_factor": (1,) * 3,
        "decoder_spatio_temporal_scaling": (True, True, False),
    },
    "0.9.1": {
        "decoder_block_out_channels": (16, 32, 64),
        "decoder_inject_noise": (True, True, False, True),
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3,
        "decoder_spatio_temporal_scaling": (True,) * 3,
        "timestep_conditioning": True,
    },
    "0.9.5": {
        "decoder_block_out_channels": (16, 32, 64),
        "decoder_inject_noise": (False,) * 4,
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3,
        "decoder_spatio_temporal_scaling": (True,) * 3,
        "timestep_conditioning": True,
        "block_out_channels": (8, 16, 16, 32, 64),
        "layers_per_block": (1, 1, 1, 1, 1),
        "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "spatio_temporal_scaling": (True,) * 4,
        "temporal_compression_ratio": 8,
    },
}


def tiny_ltx_video_vae(generation, **config):
    config = {
        "latent_channels": 6,
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("LTXVideoDownBlock3D",) * 3,
        "layers_per_block": (1, 1, 1, 1),
        "decoder_layers_per_block": (1, 2, 1, 2),
        "downsample_type": ("conv",) * 3,
        "patch_size": 2,
        "scaling_factor": 0.7,
        **VAE_GENERATIONS[generation],
        **config,
    }
    config.setdefault("spatial_compression_ratio", config["patch_size"] * 2 ** sum(config["decoder_spatio_temporal_scaling"]))
    config.setdefault("spatio_temporal_scaling", config["decoder_spatio_temporal_scaling"])
    torch.manual_seed(0)
    vae = randomize(AutoencoderKLLTXVideo(**config), seed=2)
    with torch.no_grad():
        vae.latents_mean.normal_()
        vae.latents_std.uniform_(0.5, 1.5)
        if vae.decoder.timestep_scale_multiplier is not None:  # a larger number, which training does not change
            vae.decoder.timestep_scale_multiplier.fill_(1000)
    return vae


def tiny_ltx_video_transformer(**config):
    torch.manual_seed(0)
    return randomize(
        LTXVideoTransformer3DModel(
            **{
                "in_channels": 6,
                "out_channels": 6,
                "num_attention_heads": 2,
                "attention_head_dim": 16,
                "cross_attention_dim": 32,
                "num_layers": 2,
                "caption_channels": 24,
                **config,
            }
        ),
        seed=1,
    )


def save_tiny_latent_upsampler(path, **config):
    """Saves a random latent upsampler, as diffusers' folder `path` and as the release's file beside it; returns it."""
    path = Path(path)
    config = {"in_channels": 6, "mid_channels": 64, "num_blocks_per_stage": 2, **config}
    torch.manual_seed(0)
    upsampler = randomize(LTXLatentUpsamplerModel(**config), seed=4)
    upsampler.save_pretrained(path)
    told = {"_class_name": "LatentUpsampler", **{k: v for k, v in upsampler.config.items() if not k.startswith("_")}}
    tensors = {key: tensor.contiguous() for key, tensor in upsampler.state_dict().items()}
    save_file(tensors, path.parent / f"{path.name}.safetensors", {"config": json.dumps(told)})
    return upsampler


def save_tiny_ltx_video(path, generation="0.9.0", transformer={}, vae={}, scheduler={}, pipeline=LTXPipeline):
    """Saves a random pipeline and returns it; the dictionaries replace fields of the configurations."""
    path = Path(path)
    tokenizer = tiny_tokenizer(path / "tokenizer")
    pipeline = pipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(len(tokenizer)),
        transformer=tiny_ltx_video_transformer(**transformer),
        vae=tiny_ltx_video_vae(generation, **vae),
        scheduler=FlowMatchEulerDiscreteScheduler(
            **{
                "use_dynamic_shifting": True,
                "base_shift": 0.95,
                "max_shift": 2.05,
                "base_image_seq_len": 1024,
                "max_image_seq_len": 4096,
                "shift_terminal": 0.1,
                **scheduler,
            }
        ),
    )
    pipeline.save_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
