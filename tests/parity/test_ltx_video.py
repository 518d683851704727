"""Whole runs of the program against diffusers' LTXPipeline: latents after 8 steps, and the decoded frames."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options
from formula import LtxVideoEnhancedProcessor
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_ltx_video import save_tiny_ltx_video  # noqa: E402

PROMPT, NEGATIVE, SEED, STEPS = "a red circle moving right on a gray background", "blue square", 1234, 8
SIZE = {"width": 96, "height": 64, "frames": 17}

# q/k norms with this weight make attention far from uniform, so that CFI differs between layers and branches.
SHARP = 2.0


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(variant...) makes a checkpoint once, and returns its folder and its pipeline."""
    made = {}

    def make(**variant):
        key = repr(sorted(variant.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("ltx_video")
            pipeline = save_tiny_ltx_video(folder, **variant)
            with torch.no_grad():
                for block in pipeline.transformer.transformer_blocks:
                    block.attn1.norm_q.weight.mul_(SHARP)
                    block.attn1.norm_k.weight.mul_(SHARP)
            pipeline.transformer.save_pretrained(folder / "transformer")
            made[key] = folder, type(pipeline).from_pretrained(folder, torch_dtype=torch.float32)
            made[key][1].set_progress_bar_config(disable=True)
        return made[key]

    return make


@pytest.fixture
def generate(run, tmp_path):
    """generate(folder, options...) runs the program: the latents, the frames in 0..255, and the trace."""

    def generate(folder, *more, **named):
        latents, frames, trace = tmp_path / "latents.safetensors", tmp_path / "frames", tmp_path / "trace.json"
        named = {"seed": SEED, "steps": STEPS, "threads": 1, "negative_prompt": NEGATIVE, **SIZE, **named}
        run("eav", "generate", PROMPT, "--model", folder, "--overwrite", "--out", f"{frames}/", "--save-latents", latents,
            "--trace", trace, *options(**named), *more)  # fmt: skip
        pictures = [np.asarray(Image.open(file), dtype=np.float64) for file in sorted(frames.glob("*.png"))]
        return safetensors.torch.load_file(latents)["latents"], np.stack(pictures), json.loads(trace.read_text())

    return generate


def reference(pipeline, weight=None, width=96, height=64, frames=17, fps=25, fault=None, start=0.0, end=1.0,
              decode_timestep=0.05, decode_noise_scale=0.025, layers=None, condition_tokens=0, **more):  # fmt: skip
    """The same run by diffusers, enhanced with `weight`: the latents, the frames in 0..255, the CFI of every call."""
    blocks = pipeline.transformer.transformer_blocks
    token_frames = (frames - 1) // pipeline.vae_temporal_compression_ratio + 1
    plain = [block.attn1.processor for block in blocks]
    processors = [LtxVideoEnhancedProcessor(p, token_frames, weight, fault, condition_tokens) for p in plain]
    chosen = [p for i, p in enumerate(processors) if layers is None or i in layers]

    def switch(step):
        for processor in processors:
            processor.on = weight is not None and processor in chosen and start * STEPS <= step < end * STEPS

    def after_step(pipeline, step, timestep, tensors):
        switch(step + 1)
        return tensors

    def call(output_type):
        switch(0)
        return pipeline(**{
            "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": width, "height": height, "num_frames": frames,
            "frame_rate": fps, "num_inference_steps": STEPS, "generator": torch.Generator("cpu").manual_seed(SEED),
            "output_type": output_type, "callback_on_step_end": after_step, "decode_timestep": decode_timestep,
            "decode_noise_scale": decode_noise_scale, **more,
        }).frames  # fmt: skip

    decode = pipeline.vae.decode

    def seeded(*args, **named):  # noise inside the decoder is drawn from the global generator
        torch.manual_seed(SEED)
        return decode(*args, **named)

    try:
        for block, processor in zip(blocks, processors, strict=True):
            block.attn1.processor = processor
        latents = call("latent")
        measured = [cfi for step in zip(*(p.measured for p in chosen), strict=True) for cfi in step]
        pipeline.vae.decode = seeded
        video = call("pt")[0]
    finally:
        pipeline.vae.decode = decode
        for block, processor in zip(blocks, plain, strict=True):
            block.attn1.processor = processor
    return latents, 255 * video.permute(0, 2, 3, 1).double().numpy(), measured


@pytest.mark.parametrize("generation", ["0.9.0", "0.9.1", "0.9.5"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
def test_generations(checkpoint, generate, generation, enhanced):
    folder, pipeline = checkpoint(generation=generation)
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]))
    theirs = reference(pipeline, 4.0 if enhanced else None)
    agree(ours, theirs)
    if enhanced:
        np.testing.assert_allclose([cfi for _, _, cfi, _ in ours[2]["entries"]], theirs[2], rtol=1e-3)


@pytest.mark.parametrize("scheduler", [
    {"use_dynamic_shifting": False, "shift": 3.0, "shift_terminal": None},
    {"use_dynamic_shifting": False, "shift": 1.0, "shift_terminal": 0.2},
    {"use_dynamic_shifting": True, "shift_terminal": None, "time_shift_type": "linear"},
    {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024},
])  # fmt: skip
def test_schedulers(checkpoint, generate, scheduler):
    folder, pipeline = checkpoint(scheduler=scheduler)
    agree(generate(folder, "--no-enhance"), reference(pipeline))


@pytest.mark.parametrize("transformer", [
    {"norm_elementwise_affine": True},
    {"attention_bias": False, "attention_out_bias": False},
    {"num_attention_heads": 3, "attention_head_dim": 14, "cross_attention_dim": 42},
])  # fmt: skip
def test_transformers(checkpoint, generate, transformer):
    folder, pipeline = checkpoint(transformer=transformer)
    agree(generate(folder), reference(pipeline, 4.0))


@pytest.mark.parametrize("named", [{"guidance": 1.0}, {"guidance": 5.0, "guidance_rescale": 0.7}])
def test_guidance(checkpoint, generate, named):
    folder, pipeline = checkpoint()
    more = {"guidance_scale" if name == "guidance" else name: value for name, value in named.items()}
    agree(generate(folder, **named), reference(pipeline, 4.0, **more))


@pytest.mark.parametrize("width, height, frames, fps", [(64, 128, 9, 25), (32, 96, 1, 25), (128, 32, 33, 12)])
def test_sizes(checkpoint, generate, width, height, frames, fps):
    folder, pipeline = checkpoint(generation="0.9.5")
    size = {"width": width, "height": height, "frames": frames, "fps": fps}
    agree(generate(folder, **size), reference(pipeline, 4.0 if frames > 1 else None, **size))


def test_decode_options(checkpoint, generate):
    folder, pipeline = checkpoint(generation="0.9.1")
    named = {"decode_timestep": 0.3, "decode_noise_scale": 0.4}
    agree(generate(folder, "--no-enhance", **named), reference(pipeline, **named))


def test_steps_and_layers(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, enhance_weight=8, enhance_start=0.25, enhance_end=0.7, enhance_layers="1")
    agree(ours, reference(pipeline, 8.0, start=0.25, end=0.7, layers=[1]))


def test_initial_latents(checkpoint, generate, tmp_path):
    folder, pipeline = checkpoint(generation="0.9.5")
    latents = torch.randn(1, 3 * 4 * 6, pipeline.transformer.config.in_channels, generator=torch.Generator().manual_seed(7))
    safetensors.torch.save_file({"latents": latents}, tmp_path / "noise.safetensors")
    ours = generate(folder, "--no-enhance", init_latents=tmp_path / "noise.safetensors")
    agree(ours, reference(pipeline, latents=latents))


def test_offload_gives_the_same_bits(checkpoint, generate):
    folder, _ = checkpoint()
    ours, offloaded = generate(folder), generate(folder, "--offload")
    assert torch.equal(ours[0], offloaded[0]) and np.array_equal(ours[1], offloaded[1])


def test_faults_would_be_seen(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, guidance=12, enhance_weight=12)[0]
    right = reference(pipeline, 12.0, guidance_scale=12.0)
    wrong = reference(pipeline, 12.0, guidance_scale=12.0, fault="a gain for each branch")
    assert error(ours, right[0]) < 1e-4 < error(ours, wrong[0]) / 10


@pytest.mark.parametrize("wrong, expected", [
    ({"frames": 12}, "the nearest are 9 and 13"),
    ({"width": 100}, "the nearest are 96 and 104"),
    ({"true_guidance": 3}, "this LTX-Video has no --true-guidance"),
    ({"decode_timestep": 0.1}, "this LTX-Video has no --decode-timestep"),
    ({"scheduler": "ddim"}, "euler"),
])  # fmt: skip
def test_requests_that_cannot_work(checkpoint, run, tmp_path, wrong, expected):
    folder, _ = checkpoint()
    message = run("eav", "generate", PROMPT, "--model", folder, "--out", tmp_path / "x.mp4",
                  *options(**{**SIZE, "steps": 1, **wrong}), fails=True).decode()  # fmt: skip
    assert expected in message and message.count("\n") == 1 and not (tmp_path / "x.mp4").exists()
