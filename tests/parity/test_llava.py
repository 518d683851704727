"""LLaVA as HunyuanVideo uses it, against transformers: pixels of a picture, and hidden states of a text with one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from encoders import relative
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_text import tiny_clip_image_processor, tiny_llava  # noqa: E402

VOCABULARY, IMAGE, PADDING = 90, 88, 89


def ids_with_image(patches=576, before=5, after=30):
    draw = torch.randint(0, IMAGE, (before + after,), generator=torch.Generator().manual_seed(3)).tolist()
    return [*draw[:before], *[IMAGE] * patches, *draw[before:]]


@pytest.fixture
def encode(run, tmp_path):
    """encode(ids, pixels, options...) encodes with the LLaVA saved in tmp_path; with `fails`, returns the error."""

    def encode(ids, pixels, *more, fails=False):
        save_file({"pixels": pixels}, tmp_path / "pixels.safetensors")
        out = tmp_path / "out.safetensors"
        error = run("eav_probe", "llava", tmp_path, "--pixels", tmp_path / "pixels.safetensors", "--out", out, *more,
                    input=json.dumps(ids).encode(), fails=fails)  # fmt: skip
        return error.decode() if fails else load_file(out)["embeddings"]

    return encode


def theirs(model, ids, pixels, skipped=2):
    """As diffusers' pipeline calls it, with padding behind the text, which is masked."""
    ids = torch.tensor([[*ids, *[PADDING] * 7]])
    mask = (ids != PADDING).long()
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    with torch.inference_mode():
        states = model(input_ids=ids, attention_mask=mask, position_ids=positions, pixel_values=pixels,
                       output_hidden_states=True).hidden_states  # fmt: skip
    return states[-(skipped + 1)][:, :-7]


def pixels_of(size=48):
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [
    {},
    {"vision_feature_layer": -1},
    {"vision_feature_layer": 1},
    {"vision_feature_layer": -4},
    {"vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 4}},
    {"vision": {"image_size": 51}, "patches": 625},
    {"vision": {"image_size": 30, "patch_size": 7}, "patches": 16},
    {"text": {"num_key_value_heads": 4, "head_dim": 12, "rms_norm_eps": 1e-3}},
    {"multimodal_projector_bias": False},
    {"projector_hidden_act": "gelu_pytorch_tanh"},
])  # fmt: skip
def test_hidden_states(encode, tmp_path, config):
    config = dict(config)
    ids = ids_with_image(config.pop("patches", 576))
    model = tiny_llava(VOCABULARY, IMAGE, PADDING, **config)
    model.save_pretrained(tmp_path)
    pixels = pixels_of(model.config.vision_config.image_size)
    ours, expected = encode(ids, pixels), theirs(model, ids, pixels)
    print("relative error", relative(ours, expected))
    assert ours.shape == expected.shape and relative(ours, expected) < 1e-5


@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_any_number_of_layers_is_skipped(encode, tmp_path, skipped):
    model = tiny_llava(VOCABULARY, IMAGE, PADDING)
    model.save_pretrained(tmp_path, max_shard_size="20kB")
    ids, pixels = ids_with_image(), pixels_of()
    assert relative(encode(ids, pixels, "--skipped-layers", skipped), theirs(model, ids, pixels, skipped)) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_16_bit(encode, tmp_path, dtype):
    """Rounding differs, since some steps are fused here: neither is farther from float32 than the other."""
    model = tiny_llava(VOCABULARY, IMAGE, PADDING).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    ids, pixels = ids_with_image(), pixels_of()
    ours = encode(ids, pixels, "--dtype", dtype)
    rounded = theirs(model, ids, pixels.to(getattr(torch, dtype)))
    exact = theirs(model.float(), ids, pixels)
    assert ours.dtype == rounded.dtype and relative(ours, exact) < 1.5 * relative(rounded, exact)


def test_a_configuration_that_leaves_fields_out(encode, tmp_path):
    """Released files say of the parts only what differs from transformers' defaults."""
    vision = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 24}
    model = tiny_llava(VOCABULARY, IMAGE, PADDING, vision=vision, text={"hidden_size": 64, "num_attention_heads": 32,
                                                                        "num_key_value_heads": 32})  # fmt: skip
    model.save_pretrained(tmp_path)
    ids, pixels = ids_with_image(), pixels_of()
    expected = encode(ids, pixels)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for part, fields in (("vision_config", ["num_hidden_layers", "num_attention_heads", "num_channels"]),
                         ("text_config", ["num_attention_heads", "num_key_value_heads", "head_dim"])):  # fmt: skip
        for field in fields:
            del config[part][field]
    path.write_text(json.dumps(config))
    assert torch.equal(encode(ids, pixels), expected)
    again = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert relative(expected, theirs(again, ids, pixels)) < 1e-5


@pytest.mark.parametrize("patches", [575, 577, 0])
def test_tokens_of_the_picture_that_do_not_fit(encode, tmp_path, patches):
    tiny_llava(VOCABULARY, IMAGE, PADDING).save_pretrained(tmp_path)
    assert f"{patches} tokens of a picture" in encode(ids_with_image(patches), pixels_of(), fails=True)


# ---- the picture ----------------------------------------------------------------------------------------------------


@pytest.fixture
def agrees(run, tmp_path):
    """Asserts that the processor of tmp_path makes the same of a random picture of this size as transformers does."""

    def agrees(width, height):
        draw = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(draw).save(tmp_path / "picture.png")
        out = tmp_path / "out.safetensors"
        run("eav_probe", "clip-image", tmp_path / "preprocessor_config.json", "--picture", tmp_path / "picture.png",
            "--out", out)  # fmt: skip
        processor = transformers.CLIPImageProcessor.from_pretrained(tmp_path)
        expected = processor(Image.fromarray(draw), return_tensors="pt").pixel_values.float()
        torch.testing.assert_close(load_file(out)["pixels"], expected, rtol=1e-6, atol=1e-6)

    return agrees


@pytest.mark.parametrize("width, height", [(140, 77), (48, 48), (31, 200), (50, 48), (13, 17), (500, 3)])
def test_pictures(agrees, tmp_path, width, height):
    tiny_clip_image_processor().save_pretrained(tmp_path)
    agrees(width, height)


@pytest.mark.parametrize("config", [
    {"pixels": 33},
    {"resample": 1},
    {"do_center_crop": False},
    {"do_resize": False},
    {"do_rescale": False, "do_normalize": False},
    {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "rescale_factor": 1 / 127.5},
], ids=str)  # fmt: skip
def test_processors(agrees, tmp_path, config):
    tiny_clip_image_processor(**config).save_pretrained(tmp_path)
    agrees(31, 120)


@pytest.mark.parametrize("size", [{"height": 40, "width": 52}, {"shortest_edge": 40}, 40])
def test_sizes_of_pictures(agrees, tmp_path, size):
    """Sizes as older and newer files have them."""
    config = {"size": size, "crop_size": 36, "image_processor_type": "CLIPImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    agrees(90, 50)
