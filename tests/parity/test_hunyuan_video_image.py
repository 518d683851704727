"""Whole runs from an image against diffusers' HunyuanVideoImageToVideoPipeline: latents after 8 steps, and the frames."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options, psnr
from diffusers import FirstBlockCacheConfig
from diffusers.utils import load_image
from formula import HunyuanVideoEnhancement
from PIL import Image
from test_hunyuan_video import NEGATIVE, PROMPT, SEED, SIZE, STEPS, checkpoint, generate  # noqa: F401: fixtures
from tiny_hunyuan_video import save_tiny_hunyuan_video_image

KINDS = ["latent_concat", "token_replace"]


def picture(width=140, height=77, mode="RGB"):
    draw = np.random.default_rng(width)
    corners = draw.uniform(0, 255, (5, 7, len(mode))).astype(np.uint8)
    return Image.fromarray(corners, mode).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def image(tmp_path):
    """image(...) writes a picture, and returns its path."""

    def image(name="image.png", width=140, height=77, mode="RGB", **how):
        picture(width, height, mode).save(tmp_path / name, **how)
        return tmp_path / name

    return image


@pytest.fixture
def model(checkpoint):  # noqa: F811
    return lambda kind, **variant: checkpoint(save_tiny_hunyuan_video_image, kind=kind, **variant)


def reference(pipeline, path, weight=None, width=96, height=64, frames=9, fault=None, prompt=PROMPT, start=None, **more):
    """The same run by diffusers, enhanced with `weight`: the latents, the frames in 0..255, the CFI of every call."""
    config = pipeline.transformer.config
    last = []

    def after_step(pipeline, step, timestep, tensors):
        last[:] = [tensors["latents"]]
        return tensors

    token_frames = ((frames - 1) // 4 + 1) // config.patch_size_t
    with HunyuanVideoEnhancement(pipeline.transformer, token_frames, weight, fault) as enhancement:
        shown = pipeline(
            image=load_image(str(path)) if start is None else start, prompt=prompt, width=width, height=height,
            num_frames=frames, num_inference_steps=STEPS, generator=torch.Generator("cpu").manual_seed(SEED),
            output_type="latent", callback_on_step_end=after_step, **more,
        ).frames  # fmt: skip
    with torch.inference_mode():
        video = pipeline.vae.decode(last[0] / pipeline.vae.config.scaling_factor).sample
    if config.image_condition_type == "latent_concat":
        video = video[:, :, 4:]
    return shown, 255 * (video[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1).double().numpy(), enhancement.measured


def plain(enhanced):
    return [] if enhanced else ["--no-enhance"]


VARIANTS = {
    "as released": {},
    "no embedded guidance": {"transformer": {"guidance_embeds": False}},
    "sharded, stored as bfloat16": {"sharded": True, "dtype": torch.bfloat16},
    "other heads and scaling": {"transformer": {"attention_head_dim": 24, "rope_axes_dim": (8, 8, 8)},
                                "vae": {"scaling_factor": 0.3}},
    "other encoders": {"llava": {"vision": {"num_hidden_layers": 2, "patch_size": 1, "image_size": 24,
                                            "hidden_act": "gelu"}}, "processor": {"pixels": 24}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant, enhanced", [("as released", False), *((variant, True) for variant in VARIANTS)])
def test_variants(model, generate, image, kind, variant, enhanced):  # noqa: F811
    folder, pipeline = model(kind, **VARIANTS[variant])
    path = image()
    ours = generate(folder, "--image", path, *plain(enhanced), dtype="float32")
    theirs = reference(pipeline, path, 4.0 if enhanced else None)
    agree(ours, theirs)
    if enhanced:
        np.testing.assert_allclose([cfi for _, _, cfi, _ in ours[2]["entries"]], theirs[2], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("true_guidance, negative, guidance", [(3.0, NEGATIVE, 1.0), (2.5, "", 4.0)])
def test_true_guidance(model, generate, image, kind, true_guidance, negative, guidance):  # noqa: F811
    folder, pipeline = model(kind)
    path = image()
    ours = generate(folder, "--image", path, true_guidance=true_guidance, negative_prompt=negative, guidance=guidance)
    theirs = reference(pipeline, path, 4.0, true_cfg_scale=true_guidance, negative_prompt=negative, guidance_scale=guidance)
    agree(ours, theirs)


@pytest.mark.parametrize("kind, width, height, frames", [
    ("token_replace", 48, 32, 1), ("token_replace", 64, 112, 17), ("token_replace", 80, 48, 25),
    ("latent_concat", 32, 80, 5), ("latent_concat", 64, 112, 21),
])  # fmt: skip
def test_sizes(model, generate, image, kind, width, height, frames):  # noqa: F811
    folder, pipeline = model(kind)
    size, path = {"width": width, "height": height, "frames": frames}, image(width=61, height=130)
    ours = generate(folder, "--image", path, **size)
    agree(ours, reference(pipeline, path, 4.0 if frames > 1 else None, **size))
    assert len(ours[1]) == (frames - 4 if kind == "latent_concat" else frames)


def test_frames_of_two_latent_frames_to_a_token(model, generate, image):  # noqa: F811
    folder, pipeline = model("latent_concat", transformer={"patch_size_t": 2})
    path = image()
    agree(generate(folder, "--image", path, frames=13), reference(pipeline, path, 4.0, frames=13))


def test_tiling(model, generate, image):  # noqa: F811
    """The image is encoded in tiles, too."""
    folder, pipeline = model("token_replace")
    size, path = {"width": 320, "height": 288, "frames": 5}, image(width=320, height=288)
    pipeline.vae.enable_tiling()
    try:
        tiled = reference(pipeline, path, **size)
    finally:
        pipeline.vae.disable_tiling()
    ours = generate(folder, "--no-enhance", "--image", path, vae_tiling="on", **size)
    agree(ours, tiled)
    whole = generate(folder, "--no-enhance", "--image", path, vae_tiling="off", **size)
    assert psnr(ours[1], whole[1]) < 50 and error(ours[0], whole[0]) > 1e-4  # tiling changes both


@pytest.mark.parametrize("words", [3, 5, 6, 7, 8, 9, 10])
def test_prompts_around_the_length_that_fits(model, generate, image, words):  # noqa: F811
    """The header of the answer is cut off bit by bit, and then the prompt."""
    folder, pipeline = model("token_replace")
    count = 246 + words
    assert len(pipeline.tokenizer(" red" * 10, add_special_tokens=False).input_ids) == 10
    path, prompt = image(), "a" + " red" * count
    named = {"width": 32, "height": 32, "frames": 5}
    agree(generate(folder, "--no-enhance", "--image", path, prompt=prompt, **named),
          reference(pipeline, path, prompt=prompt, **named))  # fmt: skip


@pytest.mark.parametrize("words, expected", [(249, None), (251, None), (252, b'"red"'), (253, b'"red red"'), (257, b'"red red red red red red"')])
def test_what_was_cut_is_said(model, build_dir, image, tmp_path, words, expected):
    done = subprocess.run(
        [build_dir / "eav", "generate", "a" + " red" * words, "--model", model("token_replace")[0], "--image", image(),
         "--latents-only", "--save-latents", tmp_path / "x.safetensors", "--image-fit", "crop",
         *map(str, options(steps=1, width=32, height=32, frames=5))],
        capture_output=True, check=True)  # fmt: skip
    said = [line for line in done.stderr.splitlines() if b"this was cut" in line]
    assert len(said) == (expected is not None)
    assert expected is None or expected in said[0].replace(b'" ', b'"')


@pytest.mark.parametrize("prompt", ["", "a <|end_header_id|> b", "x" * 900])
def test_prompts(model, generate, image, prompt):  # noqa: F811
    folder, pipeline = model("latent_concat")
    path = image()
    agree(generate(folder, "--no-enhance", "--image", path, prompt=prompt), reference(pipeline, path, prompt=prompt))


@pytest.mark.parametrize("file", [
    {"name": "alpha.png", "mode": "RGBA"},
    {"name": "narrow.png", "width": 12, "height": 200},
    {"name": "fits.png", "width": 96, "height": 64},
], ids=lambda file: file["name"])  # fmt: skip
def test_pictures(model, generate, image, file):  # noqa: F811
    folder, pipeline = model("latent_concat")
    path = image(**file)
    agree(generate(folder, "--no-enhance", "--image", path), reference(pipeline, path))


def test_a_photograph_is_turned_upright(model, generate, tmp_path):  # noqa: F811
    """Of squares of gray, which any JPEG decoder gives back as they were."""
    folder, pipeline = model("latent_concat")
    squares = np.random.default_rng(0).integers(0, 256, (9, 16), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(squares).save(path, quality=100, exif=exif)
    ours = generate(folder, "--no-enhance", "--image", path)
    agree(ours, reference(pipeline, path))
    assert error(ours[0], reference(pipeline, path, start=Image.open(path).convert("RGB"))[0]) > 1e-3


def test_crop_keeps_the_aspect(model, generate, image):  # noqa: F811
    """The VAE sees the middle of the picture, and the vision tower the picture as it is."""
    folder, pipeline = model("token_replace")
    path = image(width=192, height=64)
    ours = generate(folder, "--no-enhance", "--image", path, "--image-fit", "crop")
    preprocess = pipeline.video_processor.preprocess
    pipeline.video_processor.preprocess = lambda image, *size: preprocess(image.crop((48, 0, 144, 64)), *size)
    try:
        agree(ours, reference(pipeline, path))
    finally:
        pipeline.video_processor.preprocess = preprocess


@pytest.mark.parametrize("width, height, warned", [(200, 64, True), (192, 128, False)])
def test_a_stretched_picture_is_warned_of(model, build_dir, image, tmp_path, width, height, warned):
    done = subprocess.run(
        [build_dir / "eav", "generate", PROMPT, "--model", model("token_replace")[0], "--image",
         image(width=width, height=height), "--out", f"{tmp_path}/frames/", *map(str, options(steps=1, **SIZE))],
        capture_output=True, check=True)  # fmt: skip
    assert (b"--image-fit crop" in done.stderr) == warned


def test_initial_latents(model, generate, image, tmp_path):  # noqa: F811
    for kind in KINDS:
        folder, pipeline = model(kind)
        latents, path = torch.randn(1, 4, 3, 8, 12, generator=torch.Generator().manual_seed(7)), image()
        safetensors.torch.save_file({"latents": latents}, tmp_path / "noise.safetensors")
        ours = generate(folder, "--no-enhance", "--image", path, init_latents=tmp_path / "noise.safetensors")
        agree(ours, reference(pipeline, path, latents=latents))


def test_offload_gives_the_same_bits(model, generate, image):  # noqa: F811
    folder, _ = model("token_replace")
    path = image()
    ours, offloaded = generate(folder, "--image", path), generate(folder, "--image", path, "--offload")
    assert torch.equal(ours[0], offloaded[0]) and np.array_equal(ours[1], offloaded[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["text scaled too", "one frame too many", "a single stream's MLP scaled too"])
def test_faults_would_be_seen(model, generate, image, kind, fault):  # noqa: F811
    folder, pipeline = model(kind)
    path = image()
    ours = generate(folder, "--image", path)[0]
    assert error(ours, reference(pipeline, path, 4.0)[0]) < 1e-4
    assert error(ours, reference(pipeline, path, 4.0, fault=fault)[0]) > 1e-3


def respelled(key, spelling):
    """A key of the LLaVA as transformers 5 saves it, in other generations' spelling."""
    if spelling == "released":
        return key.replace("vision_tower.", "vision_tower.vision_model.", 1)
    for ours, theirs in (("language_model.model.", "model.language_model."), ("language_model.lm_head", "lm_head"),
                         ("vision_tower.", "model.vision_tower."),
                         ("multi_modal_projector.", "model.multi_modal_projector.")):  # fmt: skip
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise AssertionError(key)


@pytest.mark.parametrize("spelling", ["released", "as held"])
def test_spellings_of_keys(model, generate, image, tmp_path, spelling):  # noqa: F811
    folder, _ = model("token_replace")
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    file = other / "text_encoder" / "model.safetensors"
    tensors = {respelled(key, spelling): tensor for key, tensor in safetensors.torch.load_file(file).items()}
    if spelling == "released":
        tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(577).unsqueeze(0)
    safetensors.torch.save_file(tensors, file)
    path = image()
    ours, again = generate(folder, "--image", path), generate(other, "--image", path)
    assert torch.equal(ours[0], again[0])


@pytest.mark.parametrize("kind, arguments, named, expected", [
    ("token_replace", [], {}, "--image"),
    ("token_replace", ["--image", "{text}"], {}, "no picture"),
    ("token_replace", ["--image", "{missing}"], {}, "no such file"),
    ("token_replace", ["--video", "{image}"], {}, "a single image"),
    ("token_replace", ["--image", "{image}", "--image", "{image}"], {}, "a single image"),
    ("token_replace", ["--image", "{image}", "--frame-index", "4"], {}, "frame index"),
    ("token_replace", ["--image", "{image}", "--strength", "0.5"], {}, "strength"),
    ("token_replace", ["--image", "{image}"], {"prompt": "an <image> here"}, "<image>"),
    ("token_replace", ["--image", "{image}"], {"true_guidance": 3}, "negative prompt"),
    ("latent_concat", ["--image", "{image}"], {"frames": 1}, "at least 5"),
    ("latent_concat", ["--image", "{image}"], {"frames": 8}, "5 and 9"),
])  # fmt: skip
def test_requests_that_cannot_work(model, run, image, tmp_path, kind, arguments, named, expected):
    folder, _ = model(kind)
    (tmp_path / "text.png").write_text("no picture")
    files = {"image": image(), "text": tmp_path / "text.png", "missing": tmp_path / "none.png"}
    named = {**SIZE, "steps": 1, "prompt": PROMPT, **named}
    message = run("eav", "generate", named.pop("prompt"), "--model", folder, "--out", tmp_path / "x.mp4",
                  *options(**named), *(a.format(**files) for a in arguments), fails=True).decode()  # fmt: skip
    assert expected in message and message.count("\n") == 1 and not (tmp_path / "x.mp4").exists()


def test_text_to_video_takes_no_image(checkpoint, run, image, tmp_path):  # noqa: F811
    folder, _ = checkpoint()
    message = run("eav", "generate", PROMPT, "--model", folder, "--image", image(), "--out", tmp_path / "x.mp4",
                  *options(steps=1, **SIZE), fails=True).decode()  # fmt: skip
    assert "image" in message and message.count("\n") == 1


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("file, fields, expected", [
    ("transformer/config.json", {"image_condition_type": "adapter"}, '"image_condition_type" is "adapter"'),
    ("transformer/config.json", {"image_condition_type": None}, "image_condition_type"),
    ("transformer/config.json", {"image_condition_type": "latent_concat"}, '"in_channels" is 4, expected 9'),
    ("text_encoder/config.json", {"vision_feature_layer": -9}, '"vision_feature_layer" is -9'),
    ("text_encoder/config.json", {"vision_feature_layer": [-2, -1]}, '"vision_feature_layer"'),
    ("text_encoder/config.json", {"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy"),
    ("text_encoder/config.json", {"projector_hidden_act": "relu"}, "projector_hidden_act"),
    ("text_encoder/config.json", {"image_token_index": 3}, "image_token_index"),
    ("text_encoder/config.json", {"vision_config": None}, "vision_config"),
    ("image_processor/preprocessor_config.json", {"crop_size": {"height": 40, "width": 48}}, '"crop_size" is 48x40'),
    ("image_processor/preprocessor_config.json", {"resample": 0}, '"resample" is 0'),
    ("image_processor/preprocessor_config.json", {"image_std": [1, 2]}, '"image_std" has 2'),
    ("model_index.json", {"_class_name": "HunyuanVideoPipeline"}, "model_index.json"),
])  # fmt: skip
def test_checkpoints_that_cannot_work(model, run, image, tmp_path, file, fields, expected):
    other = tmp_path / "other"
    shutil.copytree(model("token_replace")[0], other)
    edit(other / file, **fields)
    message = run("eav", "generate", PROMPT, "--model", other, "--image", image(), "--out", tmp_path / "x.mp4",
                  *options(steps=1, **SIZE), fails=True).decode()  # fmt: skip
    assert expected in message.splitlines()[-1] and not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize("key", ["vision_tower.pre_layrnorm.weight", "multi_modal_projector.linear_2.bias_2"])
def test_weights_that_do_not_fit(model, run, image, tmp_path, key):
    other = tmp_path / "other"
    shutil.copytree(model("token_replace")[0], other)
    path = other / "text_encoder" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors[key] = torch.ones(3)
    safetensors.torch.save_file(tensors, path)
    message = run("eav", "generate", PROMPT, "--model", other, "--image", image(), "--out", tmp_path / "x.mp4",
                  *options(steps=1, **SIZE), fails=True).decode()  # fmt: skip
    assert key in message.splitlines()[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_inspect(model, run, kind):
    told = run("eav", "inspect", model(kind)[0]).decode()
    assert f"image to video ({kind})" in told and "LlavaForConditionalGeneration" in told




def test_a_first_frame_of_many_tokens(model, generate, image):  # noqa: F811
    """More than are computed at once, where attention and MLP share a projection."""
    folder, pipeline = model("token_replace", transformer={"patch_size": 1, "num_layers": 1, "num_single_layers": 1})
    path, size = image(), {"width": 640, "height": 448, "frames": 1}
    agree(generate(folder, "--no-enhance", "--image", path, **size), reference(pipeline, path, **size))


@pytest.mark.parametrize("kind", KINDS)
def test_first_block_cache(model, generate, image, kind):  # noqa: F811
    """The pipeline opens no context for a cache, as others do: here each call of the transformer does."""
    folder, pipeline = model(kind)
    transformer, forward, path = pipeline.transformer, pipeline.transformer.forward, image()

    def in_context(*inputs, **named):
        with transformer.cache_context("prompt"):
            return forward(*inputs, **named)

    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.3))
    transformer.forward = in_context
    try:
        theirs = reference(pipeline, path, 4.0)
    finally:
        transformer.forward = forward
        transformer.disable_cache()
    ours = generate(folder, "--image", path, cache="first-block", cache_threshold=0.3)
    agree(ours, theirs)
    print(ours[2]["reused_steps"])
    assert 0 < len(ours[2]["reused_steps"]) < STEPS - 1
    assert len(theirs[2]) == sum(not again for again in ours[2]["reused"])
