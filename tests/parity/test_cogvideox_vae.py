"""The decoder of CogVideoX's autoencoder against diffusers' AutoencoderKLCogVideoX, on random weights."""

import json

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-5

THREE_LEVELS = {"block_out_channels": (8, 16, 16)}
FOUR_LEVELS = {"block_out_channels": (8, 16, 24, 24)}


def autoencoder(**config):
    config = {
        "latent_channels": 4,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "sample_height": 32,
        "sample_width": 48,
        **config,
    }
    levels = len(config["block_out_channels"])
    torch.manual_seed(0)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        **config,
    ).eval()
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if "norm_layer" in name:  # they are all ones and zeros in a new model
                parameter.add_(0.2 * torch.randn_like(parameter))
    return vae


@pytest.fixture
def decode(run, tmp_path):
    """Decodes latents with the autoencoder saved in tmp_path; with `fails`, returns the error instead."""

    def decode(latents, *options, fails=False):
        save_file({"latents": latents}, tmp_path / "latents.safetensors")
        files = ["--latents", tmp_path / "latents.safetensors", "--out", tmp_path / "video.safetensors"]
        error = run("eav_probe", "vae", tmp_path, *files, *options, fails=fails)
        return error.decode() if fails else load_file(tmp_path / "video.safetensors")["video"]

    return decode


def assert_equal(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def compare(decode, folder, config, shape, tiling=False):
    vae = autoencoder(**config)
    vae.save_pretrained(folder)
    if tiling:
        vae.enable_tiling()
    latents = torch.randn(shape)
    with torch.inference_mode():
        theirs = vae.decode(latents).sample
    assert_equal(decode(latents, *["--tiling"] * tiling), theirs)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7])
def test_numbers_of_frames(decode, tmp_path, frames):
    compare(decode, tmp_path, FOUR_LEVELS, (1, 4, frames, 6, 4))


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (THREE_LEVELS, (1, 4, 3, 3, 7)),
        (THREE_LEVELS, (2, 4, 4, 5, 4)),
        ({"block_out_channels": (15, 30, 45), "norm_num_groups": 5, "layers_per_block": 2}, (2, 4, 3, 5, 4)),
        ({"block_out_channels": (9, 18, 9), "norm_num_groups": 3, "layers_per_block": 3}, (1, 4, 5, 5, 4)),
        ({"block_out_channels": (8, 16, 8), "temporal_compression_ratio": 2}, (1, 4, 5, 5, 4)),
        ({"block_out_channels": (8, 16), "temporal_compression_ratio": 1}, (1, 4, 5, 5, 4)),
        ({"block_out_channels": (32, 64, 96), "norm_num_groups": 8, "latent_channels": 16}, (1, 16, 5, 9, 13)),
        ({"block_out_channels": (64, 64, 128), "norm_num_groups": 32}, (1, 4, 3, 12, 7)),
    ],
)
def test_configurations(decode, tmp_path, config, shape):
    compare(decode, tmp_path, config, shape)


# The layer before the decoder is as wide as the video, so that it fits latents of three channels only.
def test_post_quant_conv(decode, tmp_path):
    config = {**THREE_LEVELS, "latent_channels": 3, "use_post_quant_conv": True, "use_quant_conv": True}
    compare(decode, tmp_path, config, (1, 3, 3, 5, 4))


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (THREE_LEVELS, (1, 4, 3, 9, 13)),
        (THREE_LEVELS, (2, 4, 2, 4, 13)),
        (THREE_LEVELS, (1, 4, 5, 10, 6)),
        (THREE_LEVELS, (1, 4, 1, 4, 6)),  # one tile
        (FOUR_LEVELS, (1, 4, 3, 5, 7)),
        ({**THREE_LEVELS, "sample_height": 44, "sample_width": 52}, (1, 4, 3, 13, 17)),  # sizes that are truncated
    ],
)
def test_tiling(decode, tmp_path, config, shape):
    compare(decode, tmp_path, config, shape, tiling=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_held_in_16_bits(decode, tmp_path, dtype):
    vae = autoencoder(**THREE_LEVELS).to(getattr(torch, dtype))
    vae.save_pretrained(tmp_path)
    latents = torch.randn(1, 4, 3, 6, 5)
    with torch.inference_mode():
        theirs = vae.float().decode(latents).sample
    assert_equal(decode(latents, "--storage", dtype), theirs)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"act_fn": "gelu"}, "act_fn"),
        ({"norm_num_groups": 3}, "norm_num_groups"),
        ({"up_block_types": ["UpDecoderBlock2D"] * 3}, "up_block_types"),
        ({"up_block_types": ["CogVideoXUpBlock3D"] * 2}, "up_block_types"),
        ({"temporal_compression_ratio": 3}, "temporal_compression_ratio"),
        ({"temporal_compression_ratio": 8}, "temporal_compression_ratio"),
        ({"use_post_quant_conv": True}, "use_post_quant_conv"),
        ({"block_out_channels": []}, "block_out_channels"),
    ],
)
def test_configurations_that_cannot_work(decode, tmp_path, change, named):
    autoencoder(**THREE_LEVELS).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    message = decode(torch.randn(1, 4, 1, 4, 4), fails=True)
    assert "config.json: " in message and f'"{named}"' in message
    assert message.count("\n") == 1
