"""HunyuanVideo's autoencoder, its decoder and its encoder, against diffusers' AutoencoderKLHunyuanVideo, on random weights."""

import json
import pathlib
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tiny_hunyuan_video import tiny_hunyuan_video_vae  # noqa: E402

TOLERANCE = 3e-5

THREE_LEVELS = {"block_out_channels": (8, 16, 12), "spatial_compression_ratio": 4}


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
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"relative error {error:.1e}")
    assert error <= TOLERANCE


def compare(decode, folder, config, shape, tiling=False):
    vae = tiny_hunyuan_video_vae(**config)
    vae.save_pretrained(folder)
    if tiling:
        vae.enable_tiling()
    latents = torch.randn(shape)
    with torch.inference_mode():
        theirs = vae.decode(latents).sample
    assert_equal(decode(latents, *["--tiling"] * tiling), theirs)


# More than four latent frames are decoded in tiles of time. With seven and ten, the last of them shows nothing new.
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
def test_numbers_of_frames(decode, tmp_path, frames):
    compare(decode, tmp_path, {}, (1, 4, frames, 6, 4))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({}, (2, 4, 3, 5, 4)),
        ({}, (1, 4, 4, 17, 19)),  # the convolutions of large pictures, with odd sizes
        (THREE_LEVELS, (1, 4, 3, 3, 7)),
        ({**THREE_LEVELS, "spatial_compression_ratio": 8}, (1, 4, 3, 3, 7)),  # the last level is enlarged too
        ({**THREE_LEVELS, "spatial_compression_ratio": 2}, (2, 4, 5, 12, 10)),
        ({**THREE_LEVELS, "spatial_compression_ratio": 1}, (1, 4, 5, 23, 11)),
        ({"block_out_channels": (15, 30, 45), "norm_num_groups": 5, "layers_per_block": 2}, (2, 4, 3, 5, 4)),
        ({"block_out_channels": (4, 8, 16, 8, 12), "layers_per_block": 1}, (1, 4, 3, 5, 4)),
        ({"block_out_channels": (32, 64, 96), "norm_num_groups": 8, "latent_channels": 16}, (1, 16, 5, 9, 13)),
    ],
)
def test_configurations(decode, tmp_path, config, shape, attention):
    compare(decode, tmp_path, {**config, "mid_block_add_attention": attention}, shape)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({}, (1, 4, 1, 33, 40)),  # a last tile that is smaller than what is blended
        ({}, (2, 4, 2, 20, 57)),
        ({}, (1, 4, 6, 50, 18)),  # in tiles of time, too
        ({}, (1, 4, 5, 32, 32)),  # one tile
        (THREE_LEVELS, (1, 4, 5, 70, 66)),
    ],
)
def test_tiling(decode, tmp_path, config, shape):
    compare(decode, tmp_path, config, shape, tiling=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_held_in_16_bits(decode, tmp_path, dtype):
    vae = tiny_hunyuan_video_vae().to(getattr(torch, dtype))
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
        ({"up_block_types": ["UpDecoderBlock2D"] * 4}, "up_block_types"),
        ({"up_block_types": ["HunyuanVideoUpBlock3D"] * 2}, "up_block_types"),
        ({"temporal_compression_ratio": 8}, "temporal_compression_ratio"),
        ({"spatial_compression_ratio": 6}, "spatial_compression_ratio"),
        ({"spatial_compression_ratio": 32}, "spatial_compression_ratio"),
        ({"block_out_channels": [8, 16]}, "block_out_channels"),
        ({"scaling_factor": 0}, "scaling_factor"),
    ],
)
def test_configurations_that_cannot_work(decode, tmp_path, change, named):
    tiny_hunyuan_video_vae().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    message = decode(torch.randn(1, 4, 1, 4, 4), fails=True)
    assert "config.json: " in message and f'"{named}"' in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("key", ["decoder.mid_block.attentions.0.to_k.weight", "decoder.conv_in.conv.weight"])
@pytest.mark.parametrize("change", [lambda t: None, lambda t: t[1:]], ids=["missing", "of another shape"])
def test_weights_that_do_not_fit(decode, tmp_path, key, change):
    tiny_hunyuan_video_vae().save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors[key] = change(tensors[key])
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    message = decode(torch.randn(1, 4, 1, 4, 4), fails=True)
    assert key in message and message.count("\n") == 1


# ---- the encoder ----------------------------------------------------------------------------------------------------


@pytest.fixture
def encode(run, tmp_path):
    """Encodes a video with the autoencoder saved in tmp_path; with `fails`, returns the error instead."""

    def encode(video, *options, fails=False):
        save_file({"video": video}, tmp_path / "video.safetensors")
        out = tmp_path / "latents.safetensors"
        error = run("eav_probe", "vae", tmp_path, "--video", tmp_path / "video.safetensors", "--out", out, *options,
                    fails=fails)  # fmt: skip
        return error.decode() if fails else load_file(out)["mean"]

    return encode


def compare_encoded(encode, folder, config, shape, tiling=False):
    vae = tiny_hunyuan_video_vae(**config)
    vae.save_pretrained(folder)
    if tiling:
        vae.enable_tiling()
    video = torch.rand(shape) * 2 - 1
    with torch.inference_mode():
        theirs = vae.encode(video).latent_dist.mode()
    assert_equal(encode(video, *["--tiling"] * tiling), theirs)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({}, (1, 3, 1, 64, 96)),
        ({}, (1, 3, 1, 136, 40)),
        ({}, (1, 3, 5, 32, 48)),
        ({}, (1, 3, 16, 16, 24)),
        (THREE_LEVELS, (1, 3, 1, 28, 44)),
        ({**THREE_LEVELS, "spatial_compression_ratio": 8}, (1, 3, 9, 24, 32)),
        ({**THREE_LEVELS, "spatial_compression_ratio": 2}, (1, 3, 2, 24, 30)),
        ({"block_out_channels": (15, 30, 45), "norm_num_groups": 5, "layers_per_block": 2}, (1, 3, 1, 24, 40)),
        ({"block_out_channels": (4, 8, 16, 8, 12), "layers_per_block": 2}, (1, 3, 5, 48, 32)),
        ({"latent_channels": 16, "scaling_factor": 0.3}, (1, 3, 1, 32, 32)),
    ],
)
def test_encoded(encode, tmp_path, config, shape, attention):
    compare_encoded(encode, tmp_path, {**config, "mid_block_add_attention": attention}, shape)


@pytest.mark.parametrize("shape", [(1, 3, 1, 320, 288), (1, 3, 1, 264, 96), (1, 3, 1, 256, 256), (1, 3, 5, 64, 456)])
def test_encoded_in_tiles(encode, tmp_path, shape):
    compare_encoded(encode, tmp_path, {}, shape, tiling=True)


@pytest.mark.parametrize("key", ["encoder.conv_in.conv.weight", "quant_conv.bias_2", "encoder.mid_block.resnets.1.norm1.weight"])
def test_weights_of_the_encoder_that_do_not_fit(encode, tmp_path, key):
    tiny_hunyuan_video_vae().save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {key: torch.ones(3)}, path)
    message = encode(torch.rand(1, 3, 1, 16, 16), fails=True)
    assert key in message and message.count("\n") == 1
