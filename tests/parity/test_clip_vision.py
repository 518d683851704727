"""The vision tower of CLIP as Wan uses it, against transformers: penultimate hidden states of a picture."""

import sys
from pathlib import Path

import pytest
import torch
from encoders import relative
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_wan_parts import tiny_clip_vision  # noqa: E402


@pytest.fixture
def encode(run, tmp_path):
    """encode(pixels, options...) encodes with the tower saved in tmp_path; with `fails`, returns the error."""

    def encode(pixels, *more, fails=False):
        save_file({"pixels": pixels}, tmp_path / "pixels.safetensors")
        out = tmp_path / "out.safetensors"
        error = run("eav_probe", "clip-vision", tmp_path, "--pixels", tmp_path / "pixels.safetensors", "--out", out, *more,
                    fails=fails)  # fmt: skip
        return error.decode() if fails else load_file(out)["embeddings"]

    return encode


def theirs(model, pixels):
    with torch.inference_mode():
        return model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]


def pixels_of(count=1, size=28):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def respell(folder, spelling):
    """Writes the keys with `vision_model.` before them, or without."""
    path = folder / "model.safetensors"
    tensors = {key.removeprefix("vision_model."): tensor for key, tensor in load_file(path).items()}
    is_tower = lambda key: key != "visual_projection.weight"  # noqa: E731
    renamed = {spelling * is_tower(key) + key: tensor for key, tensor in tensors.items()}
    save_file(renamed, path, metadata={"format": "pt"})


@pytest.mark.parametrize("spelling", ["", "vision_model."])
@pytest.mark.parametrize("projection", [False, True])
def test_both_spellings(encode, tmp_path, projection, spelling):
    model = tiny_clip_vision(projection)
    model.save_pretrained(tmp_path)
    respell(tmp_path, spelling)
    pixels = pixels_of(count=2)
    ours, expected = encode(pixels), theirs(model, pixels)
    assert ours.shape == expected.shape == (2, 17, 32) and relative(ours, expected) < 1e-5


@pytest.mark.parametrize("config", [{"hidden_act": "quick_gelu", "layer_norm_eps": 1e-3}, {"num_hidden_layers": 1},
                                    {"image_size": 30, "patch_size": 4}], ids=str)  # fmt: skip
def test_other_configurations(encode, tmp_path, config):
    model = tiny_clip_vision(**config)
    model.save_pretrained(tmp_path)
    pixels = pixels_of(size=config.get("image_size", 28))
    assert relative(encode(pixels), theirs(model, pixels)) < 1e-5


def test_in_bfloat16(encode, tmp_path):
    model = tiny_clip_vision().to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    pixels = pixels_of()
    ours = encode(pixels, "--dtype", "bfloat16")
    rounded = theirs(model, pixels.to(torch.bfloat16))
    exact = theirs(model.float(), pixels)
    assert ours.dtype == rounded.dtype and relative(ours, exact) < 1.5 * relative(rounded, exact)


def test_a_key_too_many_is_an_error(encode, tmp_path):
    tiny_clip_vision().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in tensors) else ""
    save_file(tensors | {prefix + "encoder.layers.0.extra": torch.ones(1)}, path, metadata={"format": "pt"})
    message = encode(pixels_of(), fails=True)
    assert "encoder.layers.0.extra" in message and message.count("\n") == 1
