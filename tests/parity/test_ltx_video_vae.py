"""LTX-Video's autoencoder against diffusers' AutoencoderKLLTXVideo, on random weights."""

import json
import pathlib
import sys

import pytest
import torch
from diffusers import LTXPipeline
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tiny_ltx_video import VAE_GENERATIONS, tiny_ltx_video_vae  # noqa: E402

TOLERANCE = 1e-5
SEED = 5
CONDITIONS = ["--timestep", "0.05", "--seed", SEED]


@pytest.fixture
def decode(run, tmp_path):
    """Decodes latents with the autoencoder saved in tmp_path; with `fails`, returns the error instead."""

    def decode(latents, *options, fails=False):
        save_file({"latents": latents}, tmp_path / "latents.safetensors")
        files = ["--latents", tmp_path / "latents.safetensors", "--out", tmp_path / "video.safetensors"]
        error = run("eav_probe", "vae", tmp_path, *files, *options, fails=fails)
        return error.decode() if fails else load_file(tmp_path / "video.safetensors")["video"]

    return decode


def reference(vae, latents):
    """What diffusers' pipeline makes of latents; the autoencoder draws its noise from the global generator."""
    latents = LTXPipeline._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
    timestep = torch.full((len(latents),), 0.05) if vae.config.timestep_conditioning else None
    torch.manual_seed(SEED)
    with torch.inference_mode():
        return vae.decode(latents, timestep).sample


def assert_equal(ours, theirs):
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"relative error {error:.1e}")
    assert error <= TOLERANCE


def compare(decode, folder, generation, config, shape, tiling=False, framewise=False):
    vae = tiny_ltx_video_vae(generation, **config)
    vae.save_pretrained(folder)
    if tiling:
        vae.enable_tiling()
    vae.use_framewise_decoding = framewise
    latents = torch.randn(shape)
    switches = ["--tiling"] * tiling + ["--framewise"] * framewise
    assert_equal(decode(latents, *CONDITIONS, *switches), reference(vae, latents))


@pytest.mark.parametrize("generation", VAE_GENERATIONS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_numbers_of_frames(decode, tmp_path, generation, causal, frames):
    compare(decode, tmp_path, generation, {"decoder_causal": causal}, (1, 6, frames, 6, 4))


@pytest.mark.parametrize(
    ("generation", "config", "shape"),
    [
        ("0.9.0", {}, (2, 6, 3, 5, 4)),
        ("0.9.1", {}, (2, 6, 3, 5, 4)),
        ("0.9.5", {}, (2, 6, 3, 5, 4)),
        ("0.9.0", {}, (1, 6, 4, 17, 19)),  # the convolutions of large pictures, with odd sizes
        ("0.9.5", {"patch_size": 4}, (1, 6, 2, 7, 9)),
        ("0.9.5", {"upsample_residual": (True, False, True)}, (1, 6, 2, 3, 4)),
        ("0.9.5", {"upsample_factor": (2, 2, 1), "decoder_block_out_channels": (16, 32, 32)}, (1, 6, 2, 3, 4)),
        ("0.9.0", {"resnet_norm_eps": 0.1, "patch_size": 1}, (1, 6, 3, 5, 4)),
    ],
)
def test_configurations(decode, tmp_path, generation, config, shape):
    compare(decode, tmp_path, generation, config, shape)


@pytest.mark.parametrize(
    ("generation", "config", "shape"),
    [
        ("0.9.0", {"patch_size": 8}, (1, 6, 2, 17, 20)),  # 32 pixels of a latent one, as the released models
        ("0.9.0", {"patch_size": 16}, (2, 6, 1, 5, 11)),
        ("0.9.1", {"patch_size": 8}, (2, 6, 1, 9, 7)),  # tiles draw their noise one after the other
        ("0.9.5", {"patch_size": 8}, (1, 6, 2, 6, 15)),
        ("0.9.5", {"patch_size": 4}, (1, 6, 1, 16, 16)),  # one tile
    ],
)
def test_tiling(decode, tmp_path, generation, config, shape):
    compare(decode, tmp_path, generation, config, shape, tiling=True)


@pytest.mark.parametrize(
    ("generation", "config", "shape", "tiling"),
    [
        ("0.9.0", {}, (2, 6, 9, 3, 4), False),
        ("0.9.0", {"patch_size": 16}, (1, 6, 6, 5, 11), True),
        ("0.9.1", {}, (1, 6, 5, 3, 4), False),
        ("0.9.5", {}, (1, 6, 3, 3, 4), False),
        ("0.9.5", {}, (1, 6, 2, 3, 4), False),  # short enough for one part
        ("0.9.5", {"patch_size": 8}, (1, 6, 4, 6, 9), True),
    ],
)
def test_framewise(decode, tmp_path, generation, config, shape, tiling):
    compare(decode, tmp_path, generation, config, shape, tiling=tiling, framewise=True)


@pytest.fixture
def encode(run, tmp_path):
    """Encodes a video with the autoencoder saved in tmp_path: mean and standard deviation, normalised."""

    def encode(video, *options, fails=False):
        save_file({"video": video}, tmp_path / "video.safetensors")
        files = ["--video", tmp_path / "video.safetensors", "--out", tmp_path / "latents.safetensors"]
        error = run("eav_probe", "vae", tmp_path, *files, *options, fails=fails)
        if fails:
            return error.decode()
        encoded = load_file(tmp_path / "latents.safetensors")
        return encoded["mean"], encoded["std"]

    return encode


@pytest.mark.parametrize("generation", VAE_GENERATIONS)
@pytest.mark.parametrize(
    ("config", "shape", "switches"),
    [
        ({}, (1, 3, 1, 64, 96), []),
        ({}, (2, 3, 17, 64, 32), []),
        ({"encoder_causal": False}, (1, 3, 9, 32, 64), []),
        ({"patch_size": 8}, (1, 3, 1, 576, 704), ["--tiling"]),
        ({}, (1, 3, 41, 32, 32), ["--framewise"]),
        ({}, (1, 3, 9, 32, 32), ["--framewise"]),
        ({"patch_size": 8}, (1, 3, 25, 64, 640), ["--framewise", "--tiling"]),
    ],
)
def test_encoding(encode, tmp_path, generation, config, shape, switches):
    vae = tiny_ltx_video_vae(generation, **config)
    vae.save_pretrained(tmp_path)
    vae.use_tiling, vae.use_framewise_decoding = "--tiling" in switches, "--framewise" in switches
    video = torch.rand(shape) * 2 - 1
    with torch.inference_mode():
        theirs = vae.encode(video).latent_dist
    mean = LTXPipeline._normalize_latents(theirs.mean, vae.latents_mean, vae.latents_std)
    ours = encode(video, *switches)
    assert_equal(ours[0], mean)
    assert_equal(ours[1], theirs.std[:, :1].expand_as(mean) / vae.latents_std.view(1, -1, 1, 1, 1))


def test_encoding_of_other_blocks(encode, tmp_path):
    """Rearranging blocks between strided ones and ones that halve nothing."""
    vae = tiny_ltx_video_vae("0.9.5", block_out_channels=(8, 8, 16, 32, 32, 32), layers_per_block=(2, 0, 1, 1, 1, 0),
                             down_block_types=("LTXVideo095DownBlock3D",) * 5, spatio_temporal_scaling=(True,) * 3 + (False, True),
                             downsample_type=("conv", "spatial", "temporal", "conv", "spatiotemporal"))  # fmt: skip
    vae.save_pretrained(tmp_path)
    video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    with torch.inference_mode():
        mean = vae.encode(video).latent_dist.mean
    assert_equal(encode(video)[0], LTXPipeline._normalize_latents(mean, vae.latents_mean, vae.latents_std))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"block_out_channels": [8]}, "block_out_channels"),
        ({"block_out_channels": [8, 16, 12, 32, 64]}, "block_out_channels"),
        ({"down_block_types": ["LTXVideoDownBlock3D"] + ["LTXVideo095DownBlock3D"] * 3}, "down_block_types"),
        ({"downsample_type": ["spatial"] * 3 + ["sideways"]}, "downsample_type"),
        ({"layers_per_block": [1]}, "layers_per_block"),
        ({"spatio_temporal_scaling": [True] * 2}, "spatio_temporal_scaling"),
        ({"downsample_type": ["spatial", "temporal", "temporal", "spatiotemporal"]}, "the encoder makes one latent of"),
    ],
)
def test_encoders_that_cannot_work(encode, tmp_path, change, named):
    tiny_ltx_video_vae("0.9.5").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    message = encode(torch.rand(1, 3, 1, 64, 64), fails=True)
    assert "config.json: " in message and named in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("generation", VAE_GENERATIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_held_in_16_bits(decode, tmp_path, generation, dtype):
    vae = tiny_ltx_video_vae(generation).to(getattr(torch, dtype))
    vae.save_pretrained(tmp_path)
    latents = torch.randn(1, 6, 3, 6, 5)
    assert_equal(decode(latents, *CONDITIONS, "--storage", dtype), reference(vae.float(), latents))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"patch_size": 3}, "patch_size"),
        ({"patch_size_t": 2}, "patch_size_t"),
        ({"scaling_factor": 0}, "scaling_factor"),
        ({"spatial_compression_ratio": 32}, "spatial_compression_ratio"),
        ({"decoder_layers_per_block": [1, 1]}, "decoder_layers_per_block"),
        ({"decoder_inject_noise": [1, 0, 0, 0]}, "decoder_inject_noise"),
        ({"decoder_block_out_channels": []}, "decoder_block_out_channels"),
        ({"decoder_block_out_channels": [32, 32, 64]}, "upsample_factor"),
        ({"upsample_factor": [2, 2, 3]}, "upsample_factor"),
        ({"upsample_factor": [1, 1, 1]}, "decoder_block_out_channels"),
        ({"decoder_block_out_channels": [3, 6, 12], "upsample_residual": [True] * 3}, "upsample_residual"),
    ],
)
def test_configurations_that_cannot_work(decode, tmp_path, change, named):
    tiny_ltx_video_vae("0.9.1").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    message = decode(torch.randn(1, 6, 1, 4, 4), *CONDITIONS, fails=True)
    assert "config.json: " in message and f'"{named}"' in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(("options", "named"), [(["--seed", 1], "timestep"), (["--timestep", 0.1], "generator")])
def test_conditions_that_are_missing(decode, tmp_path, options, named):
    tiny_ltx_video_vae("0.9.1").save_pretrained(tmp_path)
    message = decode(torch.randn(1, 6, 1, 4, 4), *options, fails=True)
    assert named in message and message.count("\n") == 1


@pytest.mark.parametrize(
    "key",
    [
        "decoder.conv_in.conv.weight",
        "decoder.mid_block.resnets.0.scale_shift_table",
        "decoder.up_blocks.0.time_embedder.timestep_embedder.linear_1.weight",
        "latents_std",
    ],
)
@pytest.mark.parametrize("change", [lambda t: None, lambda t: t[1:]], ids=["missing", "of another shape"])
def test_weights_that_do_not_fit(decode, tmp_path, key, change):
    tiny_ltx_video_vae("0.9.5").save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors[key] = change(tensors[key])
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    message = decode(torch.randn(1, 6, 1, 4, 4), *CONDITIONS, fails=True)
    assert key in message and message.count("\n") == 1
