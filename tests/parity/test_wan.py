"""Whole runs of the program against diffusers' Wan pipelines: latents after 8 steps, and the decoded frames."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options
from formula import WanEnhancement
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_wan import save_tiny_wan  # noqa: E402

PROMPT, NEGATIVE, SEED, STEPS = "a red circle moving right on a gray background", "blue square", 1234, 8
SIZE = {"width": 96, "height": 64, "frames": 9}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(release, variant...) makes a checkpoint once, and returns its folder and its pipeline."""
    made = {}

    def make(release="t2v", **variant):
        key = repr((release, sorted(variant.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("wan")
            made[key] = folder, save_tiny_wan(folder, release, **variant)
        return made[key]

    return make


@pytest.fixture
def generate(run, tmp_path):
    """generate(folder, options...) runs the program: the latents, the frames in 0..255, and the trace."""

    def generate(folder, *more, **named):
        latents, frames, trace = tmp_path / "latents.safetensors", tmp_path / "frames", tmp_path / "trace.json"
        named = {"seed": SEED, "steps": STEPS, "threads": 1, "negative_prompt": NEGATIVE, **SIZE, **named}
        out = [] if "--latents-only" in more else ["--out", f"{frames}/"]
        run("eav", "generate", PROMPT, "--model", folder, "--overwrite", *out, "--save-latents", latents,
            "--trace", trace, *options(**named), *more)  # fmt: skip
        pictures = [np.asarray(Image.open(file), dtype=np.float64) for file in sorted(frames.glob("*.png"))]
        return (safetensors.torch.load_file(latents)["latents"], np.stack(pictures) if pictures else np.zeros(()),
                json.loads(trace.read_text()))  # fmt: skip

    return generate


def reference(pipeline, weight=None, width=96, height=64, frames=9, fault=None, start=0.0, end=1.0, layers=None,
              steps=STEPS, latents_only=False, **more):  # fmt: skip
    """The same run by diffusers, enhanced with `weight`: the latents, the frames in 0..255, the CFI of every call."""
    transformers = [t for t in (pipeline.transformer, getattr(pipeline, "transformer_2", None)) if t is not None]
    enhancement = WanEnhancement(transformers, (frames - 1) // 4 + 1, weight, fault, layers)

    def switch(step):
        enhancement.on = start * steps <= step < end * steps

    def after_step(pipeline, step, timestep, tensors):
        switch(step + 1)
        return tensors

    switch(0)
    with enhancement:
        latents = pipeline(**{
            "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": width, "height": height, "num_frames": frames,
            "num_inference_steps": steps, "generator": torch.Generator("cpu").manual_seed(SEED),
            "output_type": "latent", "callback_on_step_end": after_step, **more,
        }).frames  # fmt: skip
    return latents, np.zeros(()) if latents_only else decode(pipeline, latents), enhancement.measured


def decode(pipeline, latents):
    """As the pipelines do it."""
    config = pipeline.vae.config
    mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (config.latents_mean, config.latents_std))
    with torch.no_grad():
        video = pipeline.vae.decode(latents / (1 / std) + mean).sample
    video = pipeline.video_processor.postprocess_video(video, output_type="pt")[0]
    return 255 * video.permute(0, 2, 3, 1).double().numpy()


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("scheduler", ["unipc", "euler"])
def test_from_text(checkpoint, generate, scheduler, enhanced):
    folder, pipeline = checkpoint(scheduler=scheduler)
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]))
    theirs = reference(pipeline, 4.0 if enhanced else None)
    agree(ours, theirs)
    if enhanced:
        np.testing.assert_allclose([cfi for _, _, cfi, _ in ours[2]["entries"]], theirs[2], rtol=1e-3)


@pytest.mark.parametrize("scheduler", [
    {"solver_order": 1},
    {"solver_order": 3},
    {"solver_order": 3, "flow_shift": 5.0, "num_train_timesteps": 500},
    {"solver_order": 1, "lower_order_final": False},
    {"final_sigmas_type": "sigma_min"},
    {"solver_order": 3, "final_sigmas_type": "sigma_min"},
    {"solver_order": 2, "final_sigmas_type": "sigma_min", "lower_order_final": False},
    {"solver_type": "bh1", "solver_order": 1, "final_sigmas_type": "sigma_min"},
    {"solver_type": "bh1", "solver_order": 2, "final_sigmas_type": "sigma_min", "flow_shift": 1.0},
    {"solver_type": "bh1", "solver_order": 3, "final_sigmas_type": "sigma_min"},
    {"solver_type": "bh1", "solver_order": 2, "final_sigmas_type": "sigma_min", "lower_order_final": False},
], ids=repr)  # fmt: skip
def test_schedulers(checkpoint, generate, scheduler):
    folder, pipeline = checkpoint()
    other = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **scheduler)
    plain, pipeline.scheduler = pipeline.scheduler, other
    other.save_pretrained(folder / "scheduler")
    try:
        ours, theirs = (generate(folder, "--no-enhance", "--latents-only", guidance=1.0, frames=5)[0],
                        reference(pipeline, frames=5, guidance_scale=1.0, latents_only=True)[0])  # fmt: skip
    finally:
        pipeline.scheduler = plain
        plain.save_pretrained(folder / "scheduler")
    assert theirs.isfinite().all() and error(ours, theirs) < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_numbers_of_steps(checkpoint, generate, steps):
    folder, pipeline = checkpoint()
    more = {"guidance_scale": 1.0, "frames": 5, "latents_only": True, "steps": steps}
    for scheduler in ("unipc", "euler"):
        folder, pipeline = checkpoint(scheduler=scheduler)
        ours = generate(folder, "--no-enhance", "--latents-only", guidance=1.0, frames=5, steps=steps)[0]
        assert error(ours, reference(pipeline, **more)[0]) < 1e-4


@pytest.mark.parametrize("wrong, expected", [
    ({"solver_type": "bh1"}, "bh1 gives no numbers"),
    ({"lower_order_final": False}, "order 2 gives no numbers"),
    ({"lower_order_final": False, "solver_order": 3, "final_sigmas_type": "sigma_min"}, "order 3 gives no numbers"),
    ({"solver_order": 4}, '"solver_order" is 4, supported are 1 to 3'),
    ({"use_dynamic_shifting": True}, '"use_dynamic_shifting" is not supported'),
    ({"use_karras_sigmas": True}, '"use_karras_sigmas" is not supported'),
    ({"use_exponential_sigmas": True}, '"use_exponential_sigmas" is not supported'),
    ({"use_beta_sigmas": True}, '"use_beta_sigmas" is not supported'),
    ({"thresholding": True}, '"thresholding" is not supported'),
    ({"predict_x0": False}, '"predict_x0" is false'),
    ({"disable_corrector": [1]}, '"disable_corrector" is not supported'),
    ({"solver_p": {"x": 1}}, '"solver_p" is not supported'),
    ({"prediction_type": "epsilon"}, "supported is flow_prediction"),
    ({"use_flow_sigmas": False}, '"use_flow_sigmas" is false'),
    ({"_class_name": "DDIMScheduler"}, "the scheduler is DDIMScheduler; supported are UniPCMultistepScheduler and FlowMatchEulerDiscreteScheduler"),
], ids=repr)  # fmt: skip
def test_schedulers_that_cannot_work(checkpoint, run, tmp_path, wrong, expected):
    folder, _ = checkpoint()
    file = folder / "scheduler" / "scheduler_config.json"
    right = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(right), **wrong}))
        message = run("eav", "generate", PROMPT, "--model", folder, "--out", tmp_path / "x.mp4", *options(**SIZE, steps=8),
                      fails=True).decode()  # fmt: skip
    finally:
        file.write_text(right)
    assert expected in message and message.count("\n") == 1


def test_the_other_scheduler(checkpoint, generate):
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    for own, other in (("unipc", "euler"), ("euler", "unipc")):
        folder, pipeline = checkpoint(scheduler=own)
        plain = pipeline.scheduler
        kind = {"euler": FlowMatchEulerDiscreteScheduler, "unipc": UniPCMultistepScheduler}[other]
        for shift in (3.0, 5.0):  # the checkpoint's, and one that is asked for
            pipeline.scheduler = kind.from_config(
                plain.config, shift=shift, flow_shift=shift, prediction_type="flow_prediction", use_flow_sigmas=True
            )
            more = {} if shift == 3.0 else {"flow_shift": shift}
            ours = generate(folder, "--no-enhance", "--latents-only", scheduler=other, guidance=1.0, **more)[0]
            theirs = reference(pipeline, guidance_scale=1.0, latents_only=True)[0]
            assert error(ours, theirs) < 1e-4
        pipeline.scheduler = plain


@pytest.mark.parametrize("width, height, frames, guidance", [(64, 128, 5, 5.0), (32, 96, 1, 3.0), (128, 32, 17, 1.0)])
def test_sizes_and_guidance(checkpoint, generate, width, height, frames, guidance):
    folder, pipeline = checkpoint()
    size = {"width": width, "height": height, "frames": frames}
    theirs = reference(pipeline, 4.0 if frames > 1 else None, guidance_scale=guidance, **size)
    agree(generate(folder, guidance=guidance, **size), theirs)


@pytest.mark.parametrize("transformer", [
    {"cross_attn_norm": False, "eps": 1e-4},
    {"num_attention_heads": 3, "attention_head_dim": 22, "ffn_dim": 40, "freq_dim": 15},
    {"patch_size": (1, 1, 2)},
], ids=repr)  # fmt: skip
def test_transformers(checkpoint, generate, transformer):
    folder, pipeline = checkpoint(transformer=transformer)
    ours = generate(folder, "--latents-only")[0]
    assert error(ours, reference(pipeline, 4.0, latents_only=True)[0]) < 1e-4


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("ratio, experts", [(0.875, [1, 1, 1, 2, 2, 2, 2, 2]), (0.0, [1] * 8), (1.0, [2] * 8)])
def test_two_experts(checkpoint, generate, run, ratio, experts, enhanced):
    folder, pipeline = checkpoint("t2v-a14b", pipeline={"boundary_ratio": ratio})
    named = {"guidance": 4.0, "guidance_2": 3.0}
    unused = folder / ("transformer_2" if experts[-1] == 1 else "transformer")
    ours = generate(folder, "--latents-only", *([] if enhanced else ["--no-enhance"]), **named)
    theirs = reference(pipeline, 4.0 if enhanced else None, guidance_scale=4.0, guidance_scale_2=3.0, latents_only=True)
    assert error(ours[0], theirs[0]) < 1e-4
    assert ours[2]["experts"] == experts
    if enhanced:
        np.testing.assert_allclose([cfi for _, _, cfi, _ in ours[2]["entries"]], theirs[2], rtol=1e-3)
    if len(set(experts)) == 1 and unused.name == "transformer_2":  # whose weights need not be there
        weights = unused / "diffusion_pytorch_model.safetensors"
        weights.rename(folder / "away")
        try:
            assert torch.equal(generate(folder, "--latents-only", *([] if enhanced else ["--no-enhance"]), **named)[0], ours[0])
        finally:
            (folder / "away").rename(weights)


def test_guidance_of_the_second_expert(checkpoint, generate):
    folder, pipeline = checkpoint("t2v-a14b")
    given = generate(folder, "--no-enhance", "--latents-only", guidance=6.0)[0]
    theirs = reference(pipeline, guidance_scale=6.0, latents_only=True)[0]
    assert error(given, theirs) < 1e-4
    standard = generate(folder, "--no-enhance", "--latents-only")[0]
    assert error(standard, reference(pipeline, guidance_scale=4.0, guidance_scale_2=3.0, latents_only=True)[0]) < 1e-4


def test_the_boundary_is_compared_as_the_scheduler_counts(checkpoint, generate):
    """Timesteps of Euler are no whole numbers: where 875.x is one of its own, UniPC has 875."""
    folder, pipeline = checkpoint("t2v-a14b", scheduler="euler")
    ours = generate(folder, "--no-enhance", "--latents-only", guidance=1.0)
    assert error(ours[0], reference(pipeline, guidance_scale=1.0, latents_only=True)[0]) < 1e-4


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
def test_expanded_timesteps(checkpoint, generate, enhanced):
    folder, pipeline = checkpoint("ti2v")
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), width=128)
    agree(ours, reference(pipeline, 4.0 if enhanced else None, width=128))


def test_steps_and_layers(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, "--latents-only", enhance_weight=8, enhance_start=0.25, enhance_end=0.7, enhance_layers="1")
    assert error(ours[0], reference(pipeline, 8.0, start=0.25, end=0.7, layers=[1], latents_only=True)[0]) < 1e-4


def test_initial_latents(checkpoint, generate, tmp_path):
    folder, pipeline = checkpoint()
    latents = torch.randn(1, 4, 3, 8, 12, generator=torch.Generator().manual_seed(7))
    safetensors.torch.save_file({"latents": latents}, tmp_path / "noise.safetensors")
    ours = generate(folder, "--no-enhance", "--latents-only", init_latents=tmp_path / "noise.safetensors")
    assert error(ours[0], reference(pipeline, latents=latents, latents_only=True)[0]) < 1e-4


def test_offload_gives_the_same_bits(checkpoint, generate):
    folder, _ = checkpoint("t2v-a14b")
    ours, offloaded = generate(folder), generate(folder, "--offload")
    assert torch.equal(ours[0], offloaded[0]) and np.array_equal(ours[1], offloaded[1])


@pytest.mark.parametrize("fault", ["one CFI for both branches", "one frame too many"])
def test_faults_would_be_seen(checkpoint, generate, fault):
    folder, pipeline = checkpoint()
    ours = generate(folder, "--latents-only", guidance=12, enhance_weight=12)[0]
    more = {"guidance_scale": 12.0, "latents_only": True}
    right, wrong = (reference(pipeline, 12.0, fault=f, **more)[0] for f in (None, fault))
    assert error(ours, right) < 1e-4 < error(ours, wrong) / 10
