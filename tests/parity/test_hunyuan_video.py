"""Whole runs of the program against diffusers' HunyuanVideoPipeline: latents after 8 steps, and the decoded frames."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options, psnr
from formula import HunyuanVideoEnhancement
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_hunyuan_video import save_tiny_hunyuan_video  # noqa: E402

PROMPT, NEGATIVE, SEED, STEPS = "a red circle moving right on a gray background, in Ünïcode", "blue square", 1234, 8
SIZE = {"width": 96, "height": 64, "frames": 9}

# q/k norms with this weight make attention far from uniform, so that CFI differs between layers and branches.
SHARP = 2.0


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(variant...) makes a checkpoint once with `save`, and returns its folder and its pipeline."""
    made = {}

    def make(save=save_tiny_hunyuan_video, **variant):
        key = repr((save.__name__, sorted(variant.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("hunyuan_video")
            pipeline = save(folder, **variant)
            blocks = [*pipeline.transformer.transformer_blocks, *pipeline.transformer.single_transformer_blocks]
            with torch.no_grad():
                for block in blocks:
                    block.attn.norm_q.weight.mul_(SHARP)
                    block.attn.norm_k.weight.mul_(SHARP)
            size = "60kB" if variant.get("sharded") else "10GB"
            pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size=size)
            made[key] = folder, type(pipeline).from_pretrained(folder, torch_dtype=torch.float32)
            made[key][1].set_progress_bar_config(disable=True)
        return made[key]

    return make


@pytest.fixture
def generate(run, tmp_path):
    """generate(folder, options...) runs the program: the latents, the frames in 0..255, and the trace."""

    def generate(folder, *more, **named):
        latents, frames, trace = tmp_path / "latents.safetensors", tmp_path / "frames", tmp_path / "trace.json"
        named = {"prompt": PROMPT, "seed": SEED, "steps": STEPS, "threads": 1, **SIZE, **named}
        prompt = named.pop("prompt")
        run("eav", "generate", prompt, "--model", folder, "--overwrite", "--out", f"{frames}/", "--save-latents", latents,
            "--trace", trace, *options(**named), *more)  # fmt: skip
        pictures = [np.asarray(Image.open(file), dtype=np.float64) for file in sorted(frames.glob("*.png"))]
        return safetensors.torch.load_file(latents)["latents"], np.stack(pictures), json.loads(trace.read_text())

    return generate


def reference(pipeline, weight=None, width=96, height=64, frames=9, guidance=6.0, prompt=PROMPT, fault=None, layers=None,
              start=0.0, end=1.0, **more):  # fmt: skip
    """The same run by diffusers, enhanced with `weight`: the latents, the frames in 0..255, the CFI of every call."""
    token_frames = ((frames - 1) // 4 + 1) // pipeline.transformer.config.patch_size_t
    with HunyuanVideoEnhancement(pipeline.transformer, token_frames, weight, fault, layers) as enhancement:
        on = [start * STEPS <= step < end * STEPS for step in range(STEPS)]
        enhancement.on = on[0]

        def after_step(pipeline, step, timestep, tensors):
            enhancement.on = step + 1 < STEPS and on[step + 1]
            return tensors

        latents = pipeline(
            prompt=prompt, width=width, height=height, num_frames=frames, guidance_scale=guidance, num_inference_steps=STEPS,
            generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", callback_on_step_end=after_step, **more,
        ).frames  # fmt: skip
    with torch.inference_mode():
        video = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return latents, 255 * (video[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1).double().numpy(), enhancement.measured


VARIANTS = {
    "as released": {},
    "sharded": {"sharded": True},
    "stored as bfloat16": {"dtype": torch.bfloat16},
    "three frames to a token": {"transformer": {"patch_size_t": 3}},
    "no embedded guidance": {"transformer": {"guidance_embeds": False}},
    "other heads": {"transformer": {"attention_head_dim": 24, "rope_axes_dim": (8, 8, 8), "rope_theta": 100.0}},
    "other ratio and shift": {"transformer": {"mlp_ratio": 2.5}, "scheduler": {"shift": 3.0}},
    "other encoders": {"llama": {"num_key_value_heads": 4}, "clip": {"hidden_act": "gelu", "eos_token_id": 582}},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
def test_variants(checkpoint, generate, variant, enhanced):
    folder, pipeline = checkpoint(**VARIANTS[variant])
    frames = 8 * pipeline.transformer.config.patch_size_t - 3  # 2 token frames or more
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), dtype="float32", frames=frames)
    theirs = reference(pipeline, weight=4.0 if enhanced else None, frames=frames)
    agree(ours, theirs)
    if enhanced:
        measured = [cfi for _, _, cfi, _ in ours[2]["entries"]]
        np.testing.assert_allclose(measured, theirs[2], rtol=1e-3)


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("true_guidance, negative", [(3.0, NEGATIVE), (2.5, ""), (1.0, NEGATIVE)])
def test_true_guidance(checkpoint, generate, true_guidance, negative, enhanced):
    folder, pipeline = checkpoint()
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), true_guidance=true_guidance, negative_prompt=negative,
                    guidance=1.5)  # fmt: skip
    theirs = reference(pipeline, 4.0 if enhanced else None, guidance=1.5, true_cfg_scale=true_guidance, negative_prompt=negative)
    agree(ours, theirs)


# 17 frames and more are 5 latent frames and more: they are decoded in tiles of time.
@pytest.mark.parametrize("width, height, frames", [(64, 112, 17), (48, 32, 1), (32, 80, 5), (80, 48, 41)])
def test_sizes(checkpoint, generate, width, height, frames):
    folder, pipeline = checkpoint()
    size = {"width": width, "height": height, "frames": frames}
    agree(generate(folder, **size), reference(pipeline, 4.0 if frames > 1 else None, **size))


def test_tiling(checkpoint, generate):
    folder, pipeline = checkpoint()
    size = {"width": 320, "height": 288, "frames": 5}
    pipeline.vae.enable_tiling()
    tiled = reference(pipeline, **size)
    pipeline.vae.disable_tiling()
    ours = generate(folder, "--no-enhance", vae_tiling="on", **size)
    agree(ours, tiled)
    whole = generate(folder, "--no-enhance", vae_tiling="off", **size)
    agree(whole, reference(pipeline, **size))
    assert psnr(ours[1], whole[1]) < 50  # tiling changes the picture


def test_flow_shift(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, "--no-enhance", flow_shift=2.5)
    scheduler = pipeline.scheduler
    pipeline.scheduler = type(scheduler).from_config(scheduler.config, shift=2.5)
    try:
        agree(ours, reference(pipeline))
    finally:
        pipeline.scheduler = scheduler


@pytest.mark.parametrize("blocks, layers", [("double", [0, 1]), ("single", [2, 3, 4]), ("all", [0, 1, 2, 3, 4])])
def test_blocks_to_enhance(checkpoint, generate, blocks, layers):
    folder, pipeline = checkpoint()
    agree(generate(folder, enhance_blocks=blocks), reference(pipeline, 4.0, layers=layers))


def test_steps_and_layers(checkpoint, generate):
    folder, pipeline = checkpoint()
    ours = generate(folder, enhance_weight=8, enhance_start=0.25, enhance_end=0.7, enhance_layers="1,3-4", enhance_blocks="single")
    agree(ours, reference(pipeline, 8.0, layers=[3, 4], start=0.25, end=0.7))


def test_prompts_that_are_too_long(checkpoint, run, generate, tmp_path):
    """LLaMA's prompt is cut after 256 tokens and CLIP's after 77; both are said."""
    folder, pipeline = checkpoint()
    prompt = " ".join(f"{colour} {i} ünusual" for i in range(60) for colour in ("red", "violet"))
    agree(generate(folder, "--no-enhance", prompt=prompt), reference(pipeline, prompt=prompt))


def test_offload_gives_the_same_bits(checkpoint, generate):
    folder, _ = checkpoint()
    ours, offloaded = generate(folder), generate(folder, "--offload")
    assert torch.equal(ours[0], offloaded[0]) and np.array_equal(ours[1], offloaded[1])


def test_initial_latents(checkpoint, generate, tmp_path):
    folder, pipeline = checkpoint()
    latents = torch.randn(1, 4, 3, 8, 12, generator=torch.Generator().manual_seed(7))
    safetensors.torch.save_file({"latents": latents}, tmp_path / "noise.safetensors")
    ours = generate(folder, "--no-enhance", init_latents=tmp_path / "noise.safetensors")
    agree(ours, reference(pipeline, latents=latents))


@pytest.mark.parametrize("fault", ["text scaled too", "one frame too many", "a single stream's MLP scaled too",
                                   "one CFI for both branches"])  # fmt: skip
def test_faults_would_be_seen(checkpoint, generate, fault):
    """A formula that is wrong in one of these ways is told from the right one."""
    folder, pipeline = checkpoint()
    ours = generate(folder, true_guidance=3.0, negative_prompt=NEGATIVE)[0]
    right = reference(pipeline, 4.0, true_cfg_scale=3.0, negative_prompt=NEGATIVE)
    wrong = reference(pipeline, 4.0, true_cfg_scale=3.0, negative_prompt=NEGATIVE, fault=fault)
    assert error(ours, right[0]) < 1e-4 < error(ours, wrong[0]) / 10


def released_spelling(folder):
    """Renames keys to what released checkpoints carry: what transformers 5 saves has lost prefixes and buffers."""
    for part, rename in (
        ("text_encoder", lambda key: "model." + key.removeprefix("model.")),
        ("text_encoder_2", lambda key: "text_model." + key.removeprefix("text_model.")),
    ):
        path = folder / part / "model.safetensors"
        tensors = {rename(key): tensor.clone() for key, tensor in safetensors.torch.load_file(path).items()}
        if part == "text_encoder":
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        else:
            tensors["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
        safetensors.torch.save_file(tensors, path)


def test_released_spelling(checkpoint, generate, tmp_path):
    folder, _ = checkpoint()
    released = tmp_path / "released"
    shutil.copytree(folder, released)
    released_spelling(released)
    ours, again = generate(folder), generate(released)
    assert torch.equal(ours[0], again[0]) and np.array_equal(ours[1], again[1])


@pytest.mark.parametrize("wrong, expected", [
    ({"frames": 8}, "the nearest are 5 and 9"),
    ({"width": 100}, "the nearest are 96 and 112"),
    ({"true_guidance": 3}, "negative prompt"),
    ({"scheduler": "ddim"}, "euler"),
    ({"enhance_blocks": "single", "enhance_layers": "0-1"}, "none is among"),
    ({"enhance_layers": "5"}, "layers 0 to 4"),
])  # fmt: skip
def test_requests_that_cannot_work(checkpoint, run, tmp_path, wrong, expected):
    folder, _ = checkpoint()
    message = run("eav", "generate", PROMPT, "--model", folder, "--out", tmp_path / "x.mp4",
                  *options(**{**SIZE, "steps": 1, **wrong}), fails=True).decode()  # fmt: skip
    assert expected in message and message.count("\n") == 1 and not (tmp_path / "x.mp4").exists()
