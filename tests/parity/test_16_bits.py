"""16-bit arithmetic as a whole: tiny checkpoints in bfloat16 and float16 against diffusers in the same type.

What counts is the distance to diffusers in float32, step by step: ours is at most twice diffusers' own in that type.
On a CPU the type of computing is forced (eav_probe latents --compute), whatever the processor is fast at.
"""

import contextlib
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import DiffusionPipeline
from formula import HunyuanVideoEnhancement, LtxVideoEnhancedProcessor, enhance

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_checkpoints import make_checkpoint  # noqa: E402

PROMPT, NEGATIVE, STEPS = "a red circle moving right on a gray background", "blue square", 4
SIZE = {"width": 96, "height": 64, "frames": 17}
CASES = {  # guidance, options of the program, arguments of the pipeline, enhancement weight
    "cogvideox": ({"negative_prompt": NEGATIVE, "guidance": 6}, {"negative_prompt": NEGATIVE, "guidance_scale": 6}, 3.4),
    "cogvideox-5b": ({"negative_prompt": NEGATIVE, "guidance": 6}, {"negative_prompt": NEGATIVE, "guidance_scale": 6}, 3.4),
    "hunyuan-video": ({"guidance": 6}, {"guidance_scale": 6}, 4),
    "ltx-video-0.9.0": ({"negative_prompt": NEGATIVE, "guidance": 3}, {"negative_prompt": NEGATIVE, "guidance_scale": 3}, 4),
    "ltx-video-0.9.5": ({"negative_prompt": NEGATIVE, "guidance": 3}, {"negative_prompt": NEGATIVE, "guidance_scale": 3}, 4),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return lambda name: make_checkpoint(name, folder)


@contextlib.contextmanager
def enhanced(pipeline, name, weight):
    """While it is entered the pipeline is enhanced; yields what to call it with besides."""
    frames = (SIZE["frames"] - 1) // pipeline.vae_temporal_compression_ratio + 1 if "ltx" in name else (SIZE["frames"] - 1) // 4 + 1
    if "hunyuan" in name:
        with HunyuanVideoEnhancement(pipeline.transformer, frames, weight):
            yield
    elif "ltx" in name:
        for block in pipeline.transformer.transformer_blocks:
            processor = LtxVideoEnhancedProcessor(block.attn1.processor, frames, weight)
            processor.on = weight is not None
            block.attn1.processor = processor
        yield
    else:
        enhance(pipeline, frames, weight, steps=STEPS)
        yield


def draw(folder, name, dtype):
    """Initial latents, which the type holds exactly."""
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    channels, size = pipeline.transformer.config.in_channels, (SIZE["height"], SIZE["width"])
    order = (SIZE["frames"], *size) if "cogvideox" in name else (*size, SIZE["frames"])
    noise = pipeline.prepare_latents(1, channels, *order, torch.float32, "cpu", torch.Generator().manual_seed(1), None)
    return noise.to(dtype).float().contiguous()


def reference(folder, name, dtype, noise, weight):
    """The latents of diffusers after each step."""
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    seen = []

    def after_step(pipeline, step, timestep, tensors):
        seen.append(tensors["latents"].clone())
        return tensors

    more = {"max_sequence_length": pipeline.transformer.config.max_text_seq_length} if "cogvideox" in name else {}
    with enhanced(pipeline, name, weight):
        pipeline(prompt=PROMPT, width=SIZE["width"], height=SIZE["height"], num_frames=SIZE["frames"], num_inference_steps=STEPS,
                 latents=noise.to(torch.float32 if "cogvideox" not in name else dtype), output_type="latent",
                 callback_on_step_end=after_step, **CASES[name][1], **more)  # fmt: skip
    return seen


def distance(latents, exact):
    return (latents.double() - exact.double()).norm() / exact.double().norm()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("weighted", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", CASES)
def test_as_near_to_float32_as_diffusers(run, checkpoint, tmp_path, name, weighted, dtype):
    folder = checkpoint(name)
    weight = CASES[name][2] if weighted else None
    noise, start, steps = draw(folder, name, getattr(torch, dtype)), tmp_path / "noise.safetensors", tmp_path / "steps.safetensors"
    safetensors.torch.save_file({"latents": noise}, start)
    named = {"compute": dtype, "prompt": PROMPT, "steps": STEPS, "init_latents": start, **SIZE, **CASES[name][0]}
    flags = [word for option, value in named.items() for word in (f"--{option}", value)]
    run("eav_probe", "latents", folder, "--out", steps, *flags, *([] if weighted else ["--enhance", "false"]))
    ours = safetensors.torch.load_file(steps)
    exact = reference(folder, name, torch.float32, noise, weight)
    theirs = reference(folder, name, getattr(torch, dtype), noise, weight)
    for step in range(STEPS):
        mine = ours[f"step {step}"]
        assert mine.shape == exact[step].shape
        print(name, dtype, step, f"{distance(mine, exact[step]):.2e}", f"{distance(theirs[step], exact[step]):.2e}")
        assert distance(mine, exact[step]) <= 2 * distance(theirs[step], exact[step])
