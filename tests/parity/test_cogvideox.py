"""Whole runs of the program against diffusers' CogVideoXPipeline: latents after 8 steps, and the decoded frames."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options, psnr
from formula import enhance
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import save_tiny_cogvideox  # noqa: E402

PROMPT, NEGATIVE, SEED, STEPS = "a red circle moving right on a gray background", "blue square", 1234, 8

# q/k norms with this weight make attention far from uniform, so that CFI differs between layers and branches.
SHARP = 2.0


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(variant...) makes a checkpoint once, and returns its folder and its pipeline."""
    made = {}

    def make(**variant):
        key = repr(sorted(variant.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("cogvideox")
            pipeline = save_tiny_cogvideox(folder, **variant)
            with torch.no_grad():
                for block in pipeline.transformer.transformer_blocks:
                    block.attn1.norm_q.weight.mul_(SHARP)
                    block.attn1.norm_k.weight.mul_(SHARP)
            pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size="60kB" if variant.get("sharded") else "10GB")
            made[key] = folder, type(pipeline).from_pretrained(folder, torch_dtype=torch.float32)
            made[key][1].set_progress_bar_config(disable=True)
        return made[key]

    return make


@pytest.fixture
def generate(run, tmp_path):
    """generate(folder, options...) runs the program: the latents, and the frames as floating point numbers in 0..255."""

    def generate(folder, *options):
        latents, frames = tmp_path / "latents.safetensors", tmp_path / "frames"
        run("eav", "generate", PROMPT, "--model", folder, "--seed", SEED, "--steps", STEPS, "--threads", 1,
            "--overwrite", "--out", f"{frames}/", "--save-latents", latents, *options)  # fmt: skip
        pictures = [np.asarray(Image.open(file), dtype=np.float64) for file in sorted(frames.glob("*.png"))]
        return safetensors.torch.load_file(latents)["latents"], np.stack(pictures)

    return generate


def reference(pipeline, width=96, height=64, frames=9, guidance=6.0, **options):
    """The same run by diffusers: the latents, and the frames in 0..255."""

    def call(output_type, **more):
        return pipeline(
            prompt=PROMPT, negative_prompt=NEGATIVE, width=width, height=height, num_frames=frames, guidance_scale=guidance,
            num_inference_steps=STEPS, generator=torch.Generator("cpu").manual_seed(SEED), output_type=output_type,
            max_sequence_length=pipeline.transformer.config.max_text_seq_length, **options, **more,
        ).frames  # fmt: skip

    latents = call("latent")
    factor, patch = pipeline.vae_scale_factor_temporal, pipeline.transformer.config.patch_size_t or 1
    padding = -((frames - 1) // factor + 1) % patch
    with torch.inference_mode():
        video = pipeline.decode_latents(latents[:, padding:])
    return latents, 255 * (video[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1).double().numpy()


THREE_LEVELS = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("CogVideoXDownBlock3D",) * 3,
    "up_block_types": ("CogVideoXUpBlock3D",) * 3,
}
VARIANTS = {
    "sincos ddim": {},
    "sincos dpm": {"scheduler": "dpm"},
    "rotary ddim": {"positions": "rotary"},
    "rotary_patch_t dpm": {"positions": "rotary_patch_t", "scheduler": "dpm"},
    "learned ddim": {"positions": "learned"},
    "sharded, tokenizer.json alone": {"sharded": True, "tokenizer_json_only": True, "scheduler": "dpm"},
    "stored as bfloat16": {"dtype": torch.bfloat16},
    "three levels, patches of 1": {"vae": THREE_LEVELS, "transformer": {"patch_size": 1, "norm_eps": 1e-4}},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
def test_variants(checkpoint, generate, variant, enhanced):
    folder, pipeline = checkpoint(**VARIANTS[variant])
    patch, pixels = pipeline.transformer.config.patch_size_t or 1, pipeline.vae_scale_factor_spatial
    size = {"width": 12 * pixels, "height": 8 * pixels}
    callback = {"callback_on_step_end": enhance(pipeline, -(-3 // patch), 3.4 if enhanced else None, steps=STEPS)}
    ours = generate(folder, *options(negative_prompt=NEGATIVE, frames=9, dtype="float32", **size),
                    *([] if enhanced else ["--no-enhance"]))  # fmt: skip
    agree(ours, reference(pipeline, **size, **callback))


@pytest.mark.parametrize("scheduler", ["ddim", "dpm"])
@pytest.mark.parametrize("guidance,dynamic", [(1.0, False), (6.0, True), (3.5, False)])
def test_guidance(checkpoint, generate, scheduler, guidance, dynamic):
    folder, pipeline = checkpoint(positions="rotary", scheduler=scheduler)
    ours = generate(folder, *options(negative_prompt=NEGATIVE, guidance=guidance), *(["--dynamic-guidance"] if dynamic else []))
    callback = enhance(pipeline, 3, 3.4, steps=STEPS)
    agree(ours, reference(pipeline, guidance=guidance, use_dynamic_cfg=dynamic, callback_on_step_end=callback))


@pytest.mark.parametrize("positions,width,height,frames", [
    ("sincos", 64, 112, 17), ("sincos", 48, 32, 1), ("rotary", 128, 64, 17), ("rotary", 48, 80, 9), ("rotary_patch_t", 64, 80, 17),
    ("learned", 96, 64, 17),
])  # fmt: skip
def test_other_sizes(checkpoint, generate, positions, width, height, frames):
    folder, pipeline = checkpoint(positions=positions)
    patch = pipeline.transformer.config.patch_size_t or 1
    token_frames = -(-((frames - 1) // 4 + 1) // patch)
    weight = 3.4 if token_frames > 1 else None  # a single frame has a gain of 1
    callback = enhance(pipeline, token_frames, weight, steps=STEPS)
    ours = generate(folder, *options(negative_prompt=NEGATIVE, width=width, height=height, frames=frames))
    agree(ours, reference(pipeline, width, height, frames, callback_on_step_end=callback))


def test_other_scheduler_than_the_checkpoints(checkpoint, generate):
    folder, pipeline = checkpoint()
    _, dpm = checkpoint(scheduler="dpm")
    ours = generate(folder, *options(negative_prompt=NEGATIVE, scheduler="dpm"), "--no-enhance")
    enhance(dpm, 3, None, steps=STEPS)
    agree(ours, reference(dpm))


def test_steps_and_layers(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, *options(negative_prompt=NEGATIVE, enhance_weight=8, enhance_start=0.25, enhance_end=0.7, enhance_layers="1"))
    callback = enhance(pipeline, 3, 8.0, start=0.25, end=0.7, layers=[1], steps=STEPS)
    agree(ours, reference(pipeline, callback_on_step_end=callback))


def test_tiling(checkpoint, generate):
    folder, pipeline = checkpoint()
    enhance(pipeline, 3, None, steps=STEPS)
    pipeline.vae.enable_tiling()
    tiled = reference(pipeline)
    pipeline.vae.disable_tiling()
    ours = generate(folder, *options(negative_prompt=NEGATIVE, vae_tiling="on"), "--no-enhance")
    agree(ours, tiled)
    assert tiled[1].shape != (9, 64, 96, 3) or psnr(ours[1], reference(pipeline)[1]) < 50  # tiling changes the picture


def test_initial_latents(checkpoint, generate, tmp_path):
    folder, pipeline = checkpoint(scheduler="dpm")
    latents = torch.randn(1, 3, 4, 8, 12, generator=torch.Generator().manual_seed(7))
    safetensors.torch.save_file({"latents": latents}, tmp_path / "noise.safetensors")
    enhance(pipeline, 3, None, steps=STEPS)
    ours = generate(folder, *options(negative_prompt=NEGATIVE, init_latents=tmp_path / "noise.safetensors"), "--no-enhance")
    agree(ours, reference(pipeline, latents=latents))


@pytest.mark.parametrize("fault", ["a gain for each branch", "text scaled too", "one frame too many"])
def test_faults_would_be_seen(checkpoint, generate, fault):
    """A formula that is wrong in one of these ways is told from the right one."""
    folder, pipeline = checkpoint()
    ours, _ = generate(folder, *options(negative_prompt=NEGATIVE))
    right = reference(pipeline, callback_on_step_end=enhance(pipeline, 3, 3.4, steps=STEPS))[0]
    wrong = reference(pipeline, callback_on_step_end=enhance(pipeline, 3, 3.4, steps=STEPS, fault=fault))[0]
    assert error(ours, right) < 1e-4 < error(ours, wrong) / 10


def test_trace(checkpoint, run, tmp_path):
    """CFI and gain of the first step, from queries and keys that diffusers computes."""
    folder, pipeline = checkpoint()
    run("eav", "generate", PROMPT, "--model", folder, "--seed", SEED, "--steps", 1, "--negative-prompt", NEGATIVE,
        "--out", tmp_path / "x.gif", "--trace", tmp_path / "trace.json")  # fmt: skip
    trace = json.loads((tmp_path / "trace.json").read_text())
    enhance(pipeline, 3, 3.4, steps=1)
    processor = pipeline.transformer.transformer_blocks[0].attn1.processor
    pipeline(prompt=PROMPT, negative_prompt=NEGATIVE, width=96, height=64, num_frames=9, guidance_scale=6.0, num_inference_steps=1,
             generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", max_sequence_length=16)  # fmt: skip
    assert trace["token_frames"] == 3 and len(trace["entries"]) == 2
    for index, ((step, layer, cfi, gain), measured) in enumerate(zip(trace["entries"], processor.measured, strict=True)):
        assert (step, layer) == (0, index)
        assert cfi == pytest.approx(measured, rel=1e-4)
        assert gain == pytest.approx(max(1, measured * (3 + 3.4)), rel=1e-4)
