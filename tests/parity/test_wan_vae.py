"""Both of Wan's autoencoders, their decoders and encoders, against diffusers' AutoencoderKLWan, on random weights."""

import json
import pathlib
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tiny_wan_parts import tiny_wan_vae  # noqa: E402

TOLERANCE = 3e-5
KINDS = pytest.mark.parametrize("residual", [False, True], ids=["2.1", "2.2"])


def normalisation(vae, like):
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.to(like), std.to(like)


def assert_equal(ours, theirs):
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"relative error {error:.1e}")
    assert error <= TOLERANCE


@pytest.fixture
def probe(run, tmp_path):
    """Decodes {"latents": …} or encodes {"video": …} with the autoencoder in tmp_path; with `fails`, returns the error."""

    def probe(tensors, *options, fails=False):
        (name,) = tensors
        save_file(tensors, tmp_path / "in.safetensors")
        out = tmp_path / "out.safetensors"
        error = run("eav_probe", "vae", tmp_path, f"--{name}", tmp_path / "in.safetensors", "--out", out, *options,
                    fails=fails)  # fmt: skip
        return error.decode() if fails else load_file(out)["video" if name == "latents" else "mean"]

    return probe


def compare_decoded(probe, folder, vae, shape, *options):
    vae.save_pretrained(folder)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    mean, std = normalisation(vae, latents)
    with torch.inference_mode():
        theirs = vae.float().decode(latents * std + mean).sample
    assert (theirs.abs() == 1).float().mean() < 0.5  # most of it is not cut off at -1 and 1
    assert_equal(probe({"latents": latents}, *options), theirs)


def compare_encoded(probe, folder, vae, shape, *options):
    vae.save_pretrained(folder)
    video = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean, std = normalisation(vae, video)
    with torch.inference_mode():
        theirs = (vae.encode(video).latent_dist.mode() - mean) / std
    assert_equal(probe({"video": video}, *options), theirs)


# Large pictures reach the convolutions of large ones, and videos that are decoded in several parts.
SHAPES = [(2, 1, 5, 4), (1, 2, 4, 6), (1, 3, 17, 19), (1, 6, 20, 28), (1, 21, 3, 4)]


@KINDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decoded(probe, tmp_path, residual, shape):
    batch, *rest = shape
    compare_decoded(probe, tmp_path, tiny_wan_vae(residual), (batch, 4, *rest))


OTHERS = [
    {"num_res_blocks": 2, "z_dim": 6, "base_dim": 5},
    {"temperal_downsample": [True, True, False]},
    {"temperal_downsample": [True, False, True]},
]


@KINDS
@pytest.mark.parametrize("config", OTHERS, ids=str)
def test_other_configurations(probe, tmp_path, residual, config):
    vae = tiny_wan_vae(residual, **config)
    compare_decoded(probe, tmp_path, vae, (1, config.get("z_dim", 4), 4, 5, 7))
    compare_encoded(probe, tmp_path, vae, (1, 3, 9, 48, 80))


@pytest.mark.parametrize(
    ("residual", "shape"),
    [
        (False, (1, 2, 33, 40)),  # a last tile that is smaller than what is blended
        (False, (1, 2, 32, 32)),  # one tile
        (False, (2, 1, 20, 57)),
        (True, (1, 2, 17, 20)),
        (True, (1, 2, 16, 16)),
        (True, (2, 1, 10, 29)),
    ],
)
def test_decoded_in_tiles(probe, tmp_path, residual, shape):
    batch, *rest = shape
    vae = tiny_wan_vae(residual)
    vae.enable_tiling()
    compare_decoded(probe, tmp_path, vae, (batch, 4, *rest), "--tiling")


@KINDS
@pytest.mark.parametrize("shape", [(1, 32, 48), (5, 64, 32), (9, 80, 96), (33, 32, 64), (17, 160, 96)], ids=str)
def test_encoded(probe, tmp_path, residual, shape):
    compare_encoded(probe, tmp_path, tiny_wan_vae(residual), (1, 3, *shape))


@KINDS
@pytest.mark.parametrize("shape", [(5, 272, 64), (1, 256, 256), (1, 384, 416), (1, 448, 96), (1, 544, 480)], ids=str)
def test_encoded_in_tiles(probe, tmp_path, residual, shape):
    """The tiles of 2.2 are twice as large as those of 2.1, and pictures of 416 pixels are cut already."""
    vae = tiny_wan_vae(residual)
    vae.enable_tiling()
    compare_encoded(probe, tmp_path, vae, (1, 3, *shape), "--tiling")


@KINDS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_held_in_16_bits(probe, tmp_path, residual, dtype):
    compare_decoded(probe, tmp_path, tiny_wan_vae(residual).to(getattr(torch, dtype)), (1, 4, 3, 6, 5), "--storage", dtype)


@pytest.mark.parametrize(
    ("residual", "change", "named"),
    [
        (False, {"dim_mult": [1]}, "dim_mult"),
        (False, {"temperal_downsample": [True, True]}, "temperal_downsample"),
        (False, {"temperal_downsample": [True, True, True]}, "temperal_downsample"),
        (False, {"attn_scales": [0.5]}, "attn_scales"),
        (False, {"latents_mean": [0.0] * 3}, "latents_mean"),
        (False, {"latents_std": [0.0] * 4}, "latents_std"),
        (False, {"scale_factor_spatial": 16}, "scale_factor_spatial"),
        (False, {"scale_factor_temporal": 8}, "scale_factor_temporal"),
        (False, {"out_channels": 4}, "out_channels"),
        (True, {"patch_size": 1, "scale_factor_spatial": 8}, "in_channels"),
        (True, {"dim_mult": [1, 3, 4, 4]}, "dim_mult"),
    ],
)
def test_configurations_that_cannot_work(probe, tmp_path, residual, change, named):
    tiny_wan_vae(residual).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    message = probe({"latents": torch.randn(1, 4, 1, 4, 4)}, fails=True)
    assert "config.json: " in message and f'"{named}"' in message
    assert message.count("\n") == 1


def test_numbers_of_frames_that_cannot_be_encoded(probe, tmp_path):
    tiny_wan_vae().save_pretrained(tmp_path)
    assert "4k + 1" in probe({"video": torch.zeros(1, 3, 4, 16, 16)}, fails=True)


@KINDS
@pytest.mark.parametrize("name", ["latents", "video"])
def test_weights_that_do_not_fit(probe, tmp_path, residual, name):
    tiny_wan_vae(residual).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    half = "decoder" if name == "latents" else "encoder"
    for key, changed in ((f"{half}.mid_block.attentions.0.to_qkv.weight", None), (f"{half}.conv_in.bias", torch.ones(3)),
                         (f"{half}.extra", torch.ones(1))):  # fmt: skip
        changed = {k: t for k, t in (tensors | {key: changed}).items() if t is not None}
        save_file(changed, tmp_path / "diffusion_pytorch_model.safetensors")
        shape = (1, 4, 1, 4, 4) if name == "latents" else (1, 3, 1, 32, 32)
        message = probe({name: torch.zeros(shape)}, fails=True)
        assert key in message and message.count("\n") == 1
