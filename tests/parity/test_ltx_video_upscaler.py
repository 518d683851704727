"""LTX-Video's latent upsampler, and two passes with it, against diffusers' LTXLatentUpsamplePipeline between two calls of
LTXConditionPipeline."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from comparing import agree, error, options
from diffusers import LTXConditionPipeline, LTXLatentUpsamplePipeline, LTXPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition, linear_quadratic_schedule
from formula import LtxVideoEnhancedProcessor
from PIL import Image
from test_ltx_video import NEGATIVE, PROMPT, SEED, checkpoint, generate  # noqa: F401: fixtures
from test_ltx_video_conditions import FLOW, image  # noqa: F401: a fixture
from tiny_ltx_video import save_tiny_latent_upsampler

SIZE = {"width": 160, "height": 112, "frames": 17}
FIRST, SECOND = (96, 64), (192, 128)  # width and height of the passes: the VAE's multiple is 16, diffusers asks for 32
TOKENS = [w // 16 * h // 16 for w, h in (FIRST, SECOND)]  # of a latent frame
BRIEF = {"steps": 4, "second_pass_timesteps": "900,600.5"}


@pytest.fixture(scope="session")
def upscaler(tmp_path_factory):
    """upscaler(config...) makes one once, and returns its folder and its model."""
    made = {}

    def make(**config):
        key = repr(sorted(config.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("upscaler") / "latent_upsampler"
            made[key] = folder, save_tiny_latent_upsampler(folder, **config)
        return made[key]

    return make


@pytest.mark.parametrize("config, size", [
    ({}, (3, 4, 6)),
    ({}, (3, 20, 22)),  # positions enough for the CPU's fast convolution
    ({"mid_channels": 32, "num_blocks_per_stage": 1}, (1, 3, 2)),
    ({"dims": 2}, (3, 4, 6)),
    ({"spatial_upsample": False, "temporal_upsample": True}, (4, 4, 6)),
    ({"temporal_upsample": True}, (4, 4, 6)),
])  # fmt: skip
def test_the_model_and_what_follows_it(upscaler, run, tmp_path, config, size):
    folder, theirs = upscaler(**config)
    latents = 1.5 * torch.randn(1, 6, *size, generator=torch.Generator().manual_seed(7)) + 0.3
    safetensors.torch.save_file({"latents": latents}, tmp_path / "latents.safetensors")
    with torch.no_grad():
        upsampled = theirs(latents)
    pipe = LTXLatentUpsamplePipeline
    expected = {
        "upsampled": upsampled,
        "adain": pipe.adain_filter_latent(None, upsampled, latents, 0.7),
        "tones": pipe.tone_map_latents(None, upsampled, 0.6),
    }
    for path in (folder, f"{folder}.safetensors"):
        run("eav_probe", "latent-upsampler", path, "--latents", tmp_path / "latents.safetensors", "--adain", 0.7, "--tones",
            0.6, "--out", tmp_path / "ours.safetensors")  # fmt: skip
        ours = safetensors.torch.load_file(tmp_path / "ours.safetensors")
        for name, tensor in expected.items():
            assert ours[name].shape == tensor.shape and error(ours[name], tensor) < 1e-5, name
    assert error(expected["adain"], upsampled) > 0.01 < error(expected["tones"], upsampled)


@pytest.fixture
def conditional(checkpoint):  # noqa: F811
    return checkpoint(generation="0.9.5", scheduler=FLOW, pipeline=LTXConditionPipeline)


def first_pass(steps, schedule=30, first=27):
    """Its timesteps: a schedule without its last steps."""
    return (1000 * linear_quadratic_schedule(steps + schedule - first))[:steps].tolist()


def reference(pipeline, upsampler, timesteps, second, weight=None, first=FIRST, large=SECOND, size=SIZE, adain=1.0, tones=0.0,
              conditions=None, condition_frames=0, **more):  # fmt: skip
    """Both passes by diffusers: the latents, the frames in 0..255, the CFI of every call."""
    blocks = pipeline.transformer.transformer_blocks
    token_frames = (size["frames"] - 1) // 8 + 1
    plain = [block.attn1.processor for block in blocks]
    processors = [LtxVideoEnhancedProcessor(p, token_frames, weight) for p in plain]
    generator = torch.Generator("cpu").manual_seed(SEED)

    def call(pass_number, width, height, output_type, generator=generator, **with_):
        for processor in processors:
            processor.on, processor.conditions = weight is not None, condition_frames * TOKENS[pass_number]
        return pipeline(**{
            "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": width, "height": height, "num_frames": size["frames"],
            "frame_rate": 25, "generator": generator, "output_type": output_type, "decode_timestep": 0.05,
            "decode_noise_scale": 0.025, "conditions": conditions, **with_, **more,
        }).frames  # fmt: skip

    try:
        for block, processor in zip(blocks, processors, strict=True):
            block.attn1.processor = processor
        latents = call(0, *first, "latent", timesteps=timesteps)
        larger = LTXLatentUpsamplePipeline(pipeline.vae, upsampler)(
            latents=latents, width=large[0], height=large[1], adain_factor=adain, tone_map_compression_ratio=tones,
            output_type="latent",
        ).frames  # fmt: skip
        # A timestep before the first is left out again: diffusers takes latents where not all steps are run.
        again = {"latents": larger, "timesteps": [1000, *second], "denoise_strength": 0.999}
        state = generator.get_state()
        latents = call(1, *large, "latent", **again)
        measured = [cfi for step in zip(*(p.measured for p in processors), strict=True) for cfi in step]
        video = call(1, *large, "pt", torch.Generator("cpu").set_state(state), **again)[0]
    finally:
        for block, processor in zip(blocks, plain, strict=True):
            block.attn1.processor = processor
    video = F.interpolate(video, (size["height"], size["width"]), mode="bilinear", align_corners=False)
    return latents, 255 * video.permute(0, 2, 3, 1).double().numpy(), measured


@pytest.fixture
def two_passes(conditional, upscaler, generate):  # noqa: F811
    """Runs the program with BRIEF's steps."""

    def run_it(*more, path=None, **named):
        return generate(conditional[0], "--latent-upscaler", path or upscaler()[0], *more, **{**SIZE, **BRIEF, **named})

    return run_it


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_two_passes(conditional, upscaler, two_passes, form, enhanced):
    folder, upsampler = upscaler()
    ours = two_passes(*([] if enhanced else ["--no-enhance"]), path=folder if form == "folder" else f"{folder}.safetensors")
    theirs = reference(conditional[1], upsampler, first_pass(4), [900, 600.5], 4.0 if enhanced else None)
    agree(ours, theirs)
    if enhanced:
        trace = ours[2]
        assert trace["steps"] == 6 and sorted({step for step, *_ in trace["entries"]}) == list(range(6))
        np.testing.assert_allclose([cfi for _, _, cfi, _ in trace["entries"]], theirs[2], rtol=1e-3)


def test_images_at_frames(conditional, upscaler, two_passes, image):  # noqa: F811
    paths, places = [image(0), image(1)], [(0, 1.0), (8, 0.7)]
    arguments = [part for path, (index, strength) in zip(paths, places, strict=True)
                 for part in ("--image", path, "--frame-index", index, "--strength", strength)]  # fmt: skip
    conditions = [LTXVideoCondition(image=Image.open(path), frame_index=index, strength=strength)
                  for path, (index, strength) in zip(paths, places, strict=True)]  # fmt: skip
    agree(two_passes(*arguments), reference(conditional[1], upscaler()[1], first_pass(4), [900, 600.5], 4.0,
                                            conditions=conditions, condition_frames=1))  # fmt: skip


def test_what_happens_between_the_passes(conditional, upscaler, two_passes):
    named = {"adain_factor": 0.3, "tone_map_compression_ratio": 0.8, "guidance": 1.0, "timesteps": "1000,940,500", "steps": 3}
    agree(two_passes("--no-enhance", **named),
          reference(conditional[1], upscaler()[1], [1000, 940, 500], [900, 600.5], adain=0.3, tones=0.8, guidance_scale=1.0))  # fmt: skip


def test_sizes_that_need_no_resizing_and_a_single_frame(conditional, upscaler, two_passes):
    size = {"width": 64, "height": 64, "frames": 1}
    agree(two_passes("--no-enhance", **size), reference(conditional[1], upscaler()[1], first_pass(4), [900, 600.5],
                                                        first=(32, 32), large=(64, 64), size=size))  # fmt: skip
    single = two_passes(width=32, height=32, frames=1)[0]  # whose first pass has one value a channel, and no spread
    assert single.shape == (1, 6, 1, 2, 2) and single.isfinite().all()


def test_the_defaults_are_the_releases(conditional, upscaler, run, tmp_path):
    """Those of configs/ltxv-13b-0.9.8-dev.yaml and -distilled.yaml: steps of 30 and of 8."""
    folder, upsampler = upscaler()

    def defaults(model):
        arguments = ("--model", model, "--latent-upscaler", folder)
        listed = {o["name"]: o["default"] for o in json.loads(run("eav", "options", *arguments, "--json"))}
        return listed["steps"], listed["guidance"], listed["tone_map_compression_ratio"]

    assert defaults(conditional[0]) == (27, 3, 0)
    distilled, large = tmp_path / "LTX-Video-0.9.7-distilled", tmp_path / "LTX-Video-0.9.8-13B-distilled"
    for copy in (distilled, large):
        shutil.copytree(conditional[0], copy)
    config = json.loads((large / "transformer/config.json").read_text())
    (large / "transformer/config.json").write_text(json.dumps({**config, "num_layers": 48}))
    assert defaults(distilled) == (7, 1, 0) and defaults(large) == (7, 1, 0.6)

    saved = tmp_path / "l.safetensors"
    named = {"seed": SEED, "negative_prompt": NEGATIVE, **SIZE, "frames": 9}
    for model, pipeline_steps, kept, second in ((conditional[0], 30, 27, 13), (distilled, 8, 7, 3)):
        run("eav", "generate", PROMPT, "--model", model, "--latent-upscaler", folder, "--overwrite", "--out",
            f"{tmp_path}/f/", "--save-latents", saved, "--no-enhance", "--guidance", 1, *options(**named))  # fmt: skip
        levels = (1000 * linear_quadratic_schedule(pipeline_steps)).tolist()
        record = json.loads((tmp_path / "f.json").read_text())
        assert record["latent_upscaler"] == str(folder) and record["request"]["steps"] == kept
        assert record["request"]["second_pass_timesteps"] == pytest.approx(levels[-second:])
        theirs = reference(conditional[1], upsampler, levels[:kept], levels[-second:], size={**SIZE, "frames": 9},
                           guidance_scale=1.0)  # fmt: skip
        assert error(safetensors.torch.load_file(saved)["latents"], theirs[0]) < 1e-4
    first = {file.name: file.read_bytes() for file in (tmp_path / "f").glob("*.png")}
    run("eav", "generate", "--from", tmp_path / "f.json", "--out", f"{tmp_path}/again/")
    assert first == {file.name: file.read_bytes() for file in (tmp_path / "again").glob("*.png")}


def test_offloading_and_previews_change_no_bit_and_a_lora_goes_to_the_transformer(conditional, upscaler, two_passes, tmp_path):
    ours, other = two_passes(), two_passes("--offload", "--preview", tmp_path / "p.gif", "--preview-every", 0)
    assert torch.equal(ours[0], other[0]) and np.array_equal(ours[1], other[1]) and (tmp_path / "p.gif").exists()
    layer = "transformer.transformer_blocks.0.attn1.to_q."
    draw = torch.Generator().manual_seed(3)
    lora = {f"{layer}lora_A.weight": torch.randn(2, 32, generator=draw), f"{layer}lora_B.weight": torch.randn(32, 2, generator=draw)}
    safetensors.torch.save_file(lora, tmp_path / "lora.safetensors")
    changed = two_passes("--lora", tmp_path / "lora.safetensors")
    assert error(changed[0], ours[0]) > 1e-3


def test_inspect(conditional, upscaler, run):
    folder, _ = upscaler()
    said = run("eav", "inspect", f"{folder}.safetensors").decode()
    assert "latent_upsampler: the latent upscaler of LTX-Video, of height and width" in said
    said = run("eav", "inspect", conditional[0], "--latent-upscaler", folder, *options(**SIZE)).decode()
    assert "LTXLatentUpsamplerModel" in said and "17 frames of 160x112" in said
    assert "two passes: 27 steps at two thirds of the size and 13 after the latent upscaler" in said


def test_requests_that_cannot_work(conditional, checkpoint, upscaler, run, tmp_path):  # noqa: F811
    folder, upsampler = upscaler()

    def fails(*arguments, model=conditional[0], **named):
        message = run("eav", "generate", PROMPT, "--model", model, "--out", tmp_path / "x.mp4", *arguments,
                      *options(**{**SIZE, "steps": 1, **named}), fails=True).decode()  # fmt: skip
        assert message.count("eav: ") == 1 and not (tmp_path / "x.mp4").exists()
        return message.splitlines()[-1]

    def with_upscaler(path, **named):
        return fails("--latent-upscaler", path, **named)

    def damaged(**changed):
        path = tmp_path / "damaged.safetensors"
        tensors = safetensors.torch.load_file(f"{folder}.safetensors")
        safetensors.torch.save_file({k: t for k, t in {**tensors, **changed}.items() if t is not None}, path)
        return path

    assert "holds no latent upscaler of LTX-Video" in with_upscaler(
        conditional[0] / "vae" / "diffusion_pytorch_model.safetensors")  # fmt: skip
    assert "is AutoencoderKLLTXVideo, expected LTXLatentUpsamplerModel" in with_upscaler(conditional[0] / "vae")
    assert "none.safetensors" in with_upscaler(tmp_path / "none.safetensors")
    assert "makes more frames" in with_upscaler(upscaler(temporal_upsample=True)[0])
    assert "takes 6 latent channels, the latent upscaler gives 8" in with_upscaler(upscaler(in_channels=8)[0])
    assert '"res_blocks.1.conv2.weight"' in with_upscaler(damaged(**{"res_blocks.1.conv2.weight": None}))
    assert '"final_conv.bias"' in with_upscaler(damaged(**{"final_conv.bias": torch.ones(5)}))
    assert "stranger" in with_upscaler(damaged(**{"res_blocks.0.stranger": torch.ones(5)}))
    assert "expected at least 32: the first of two passes" in with_upscaler(folder, width=16)
    assert "expected numbers from 1000 downwards" in with_upscaler(folder, second_pass_timesteps="500,900")
    assert "this LTX-Video has no --adain-factor" in fails("--adain-factor", 0.5)
    assert "before 0.9.5" in fails("--latent-upscaler", folder, model=checkpoint(pipeline=LTXPipeline)[0])
    assert "has no transformer, but the latent upscaler" in fails(model=f"{folder}.safetensors")
    LTXLatentUpsamplePipeline(conditional[1].vae, upsampler).save_pretrained(tmp_path / "pipeline")
    assert "--latent-upscaler" in fails(model=tmp_path / "pipeline")
    run("eav", "inspect", conditional[0], "--latent-upscaler", tmp_path / "pipeline", *options(**SIZE))


def test_comfyuis_folder_is_searched_for_its_name(conditional, upscaler, run, tmp_path):
    models = tmp_path / "models" / "upscale_models"
    models.mkdir(parents=True)
    shutil.copy(f"{upscaler()[0]}.safetensors", models / "ltxv-spatial.safetensors")
    said = run("eav", "inspect", conditional[0], "--comfyui", tmp_path, "--latent-upscaler", "ltxv-spatial.safetensors",
               *options(**SIZE)).decode()  # fmt: skip
    assert "LTXLatentUpsamplerModel" in said and str(models / "ltxv-spatial.safetensors") in said
