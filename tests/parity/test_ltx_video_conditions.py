"""Whole runs from images and videos against diffusers' LTXImageToVideoPipeline and LTXConditionPipeline."""

import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import agree, error, options
from diffusers import LTXConditionPipeline, LTXImageToVideoPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from PIL import Image
from test_ltx_video import PROMPT, SIZE, checkpoint, generate, reference  # noqa: F401: fixtures

FLOW = {"use_dynamic_shifting": False, "shift_terminal": None}
POSITIONS = 4 * 6  # of a latent frame of SIZE


def pictures(count, width=96, height=64, seed=0):
    """Smooth random pictures, each a little other than the one before."""
    draw = np.random.default_rng(seed)
    corners = draw.uniform(0, 255, (2, 4, 6, 3))
    ways = [corners[0] + (corners[1] - corners[0]) * t / max(count - 1, 1) for t in range(count)]
    return [Image.fromarray(w.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC) for w in ways]


@pytest.fixture
def image(tmp_path):
    def image(seed=0, width=96, height=64):
        path = tmp_path / f"image-{seed}.png"
        pictures(1, width, height, seed)[0].save(path)
        return path

    return image


@pytest.fixture
def video(tmp_path):
    """video(frames) writes one without loss, and returns its path and its pictures."""

    def video(count, width=96, height=64):
        frames = pictures(count, width, height)
        for index, frame in enumerate(frames):
            frame.save(tmp_path / f"frame-{index:03}.png")
        path = tmp_path / "video.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", tmp_path / "frame-%03d.png", "-c:v", "ffv1", "-pix_fmt",
                        "gbrp", path], check=True)  # fmt: skip
        return path, frames

    return video


@pytest.mark.parametrize("generation, enhanced", [("0.9.0", False), ("0.9.0", True), ("0.9.1", True)])
@pytest.mark.parametrize("pipeline", [LTXImageToVideoPipeline, None], ids=["saved as image to video", "as LTXPipeline"])
def test_image_to_video(checkpoint, generate, image, pipeline, generation, enhanced):  # noqa: F811
    variant = {"generation": generation, **({"pipeline": pipeline} if pipeline else {})}
    folder, theirs = checkpoint(**variant)
    if not pipeline:
        theirs = LTXImageToVideoPipeline(**theirs.components)
        theirs.set_progress_bar_config(disable=True)
    path = image(width=96 if pipeline else 140, height=64 if pipeline else 77)
    ours = generate(folder, "--image", path, *([] if enhanced else ["--no-enhance"]))
    agree(ours, reference(theirs, 4.0 if enhanced else None, image=Image.open(path)))


def test_image_to_video_without_guidance_and_of_one_frame(checkpoint, generate, image):  # noqa: F811
    folder, theirs = checkpoint(pipeline=LTXImageToVideoPipeline)
    path = image()
    agree(generate(folder, "--image", path, guidance=1), reference(theirs, 4.0, image=Image.open(path), guidance_scale=1.0))
    agree(generate(folder, "--image", path, frames=1), reference(theirs, None, image=Image.open(path), frames=1))


@pytest.fixture
def conditional(checkpoint):  # noqa: F811
    return checkpoint(generation="0.9.5", scheduler=FLOW, pipeline=LTXConditionPipeline)


@pytest.mark.parametrize("named", [
    {"enhance": True},
    {"fps": 12, "frames": 33},
    {"guidance": 1.0},
    {"guidance_rescale": 0.6},
    {"steps": 1},
    {"steps": 7},
])  # fmt: skip
def test_text_alone(conditional, generate, named):  # noqa: F811
    folder, theirs = conditional
    enhanced = named.pop("enhance", False)
    spelled = {"guidance": "guidance_scale", "steps": "num_inference_steps"}
    agree(generate(folder, *([] if enhanced else ["--no-enhance"]), **named),
          reference(theirs, 4.0 if enhanced else None, **{spelled.get(k, k): v for k, v in named.items()}))  # fmt: skip


@pytest.mark.parametrize("scheduler", [{"shift": 2.5}, {"shift_terminal": 0.1}])
def test_schedulers(checkpoint, generate, image, scheduler):  # noqa: F811
    folder, theirs = checkpoint(generation="0.9.5", scheduler={**FLOW, **scheduler}, pipeline=LTXConditionPipeline)
    path = image()
    agree(generate(folder, "--no-enhance", "--image", path),
          reference(theirs, conditions=[LTXVideoCondition(image=Image.open(path))]))  # fmt: skip


@pytest.mark.parametrize("places", [
    [(0, 1.0)], [(0, 0.6)], [(8, 1.0)], [(8, 0.5)], [(0, 1.0), (8, 1.0)], [(16, 0.9), (0, 0.7), (8, 1.0)], [(5, 1.0)],
])  # fmt: skip
@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
def test_images_at_frames(conditional, generate, image, places, enhanced):  # noqa: F811
    folder, theirs = conditional
    paths = [image(seed) for seed in range(len(places))]
    arguments = [part for path, (index, strength) in zip(paths, places, strict=True)
                 for part in ("--image", path, "--frame-index", index, "--strength", strength)]  # fmt: skip
    ours = generate(folder, *arguments, *([] if enhanced else ["--no-enhance"]))
    conditions = [LTXVideoCondition(image=Image.open(path), frame_index=index, strength=strength)
                  for path, (index, strength) in zip(paths, places, strict=True)]  # fmt: skip
    tokens = POSITIONS * sum(index != 0 for index, _ in places)
    agree(ours, reference(theirs, 4.0 if enhanced else None, conditions=conditions, condition_tokens=tokens))


def test_condition_tokens_count_neither_in_the_map_nor_in_the_scaling(conditional, generate, image):  # noqa: F811
    """At a weight that shows: either fault is far from what the program computes."""
    folder, theirs = conditional
    path = image()
    ours = generate(folder, "--image", path, "--frame-index", 8, enhance_weight=20)[0]
    named = {"conditions": [LTXVideoCondition(image=Image.open(path), frame_index=8)]}
    right = reference(theirs, 20.0, condition_tokens=POSITIONS, **named)[0]
    wrong = reference(theirs, 20.0, condition_tokens=POSITIONS, fault="conditions scaled too", **named)[0]
    assert error(ours, right) < 1e-4 < error(ours, wrong) / 10


@pytest.mark.parametrize("count, index, frames", [(17, 0, 17), (13, 0, 33), (9, 8, 17), (25, 8, 33), (40, 16, 33), (1, 8, 17)])
def test_videos_at_frames(conditional, generate, video, count, index, frames):  # noqa: F811
    folder, theirs = conditional
    path, their_frames = video(count, 100, 60)
    ours = generate(folder, "--video", path, "--frame-index", index, frames=frames)
    kept = (min(count, frames - index) - 1) // 8 + 1  # latent frames
    tokens = POSITIONS * min(kept, 2) if index else 0
    conditions = [LTXVideoCondition(video=their_frames, frame_index=index)]
    agree(ours, reference(theirs, 4.0, conditions=conditions, condition_tokens=tokens, frames=frames))


def test_noise_on_conditions(conditional, generate, image):  # noqa: F811
    folder, theirs = conditional
    path = image()
    for scale in (0, 0.5):
        agree(generate(folder, "--image", path, image_cond_noise_scale=scale),
              reference(theirs, 4.0, conditions=[LTXVideoCondition(image=Image.open(path))],
                        image_cond_noise_scale=scale))  # fmt: skip


def test_timesteps(conditional, generate, image):  # noqa: F811
    folder, theirs = conditional
    path, list_ = image(), [1000, 993, 987, 725.5, 0.03]
    ours = generate(folder, "--no-enhance", "--image", path, "--timesteps", ",".join(map(str, list_)), steps=len(list_))
    agree(ours, reference(theirs, conditions=[LTXVideoCondition(image=Image.open(path))], timesteps=list_,
                          num_inference_steps=len(list_)))  # fmt: skip


@pytest.mark.parametrize("strength", [0.6, 0.2])
def test_denoise_strength(conditional, generate, image, tmp_path, strength):  # noqa: F811
    folder, theirs = conditional
    latents = torch.randn(1, 6, 3, 4, 6, generator=torch.Generator().manual_seed(7))
    safetensors.torch.save_file({"latents": latents}, tmp_path / "given.safetensors")
    path = image()
    ours = generate(folder, "--no-enhance", "--image", path, init_latents=tmp_path / "given.safetensors",
                    denoise_strength=strength)  # fmt: skip
    agree(ours, reference(theirs, conditions=[LTXVideoCondition(image=Image.open(path))], latents=latents,
                          denoise_strength=strength))  # fmt: skip


def test_latents_are_saved_as_diffusers_returns_them(conditional, generate):  # noqa: F811
    assert generate(conditional[0])[0].shape == (1, 6, 3, 4, 6)


@pytest.mark.parametrize("arguments, expected", [
    (["--image", "{image}", "--frame-index", "17"], "frames 0 to 16"),
    (["--image", "{text}"], "no picture or video"),
    (["--image", "{video}"], "--video"),
    (["--video", "{missing}"], "no such file"),
    (["--timesteps", "1000,x"], "'1000,x'"),
    (["--timesteps", "500,1000"], "downwards"),
    (["--timesteps", "1000,500", "--steps", "3"], "2 timesteps, and 3 steps"),
    (["--denoise-strength", "0.01"], "leaves none"),
    (["--frame-index", "8"], "before it"),
])  # fmt: skip
def test_requests_that_cannot_work(conditional, run, image, video, tmp_path, arguments, expected):
    (tmp_path / "text.png").write_text("no picture")
    files = {"image": image(), "text": tmp_path / "text.png", "video": video(5)[0], "missing": tmp_path / "none.png"}
    message = run("eav", "generate", PROMPT, "--model", conditional[0], "--out", tmp_path / "x.mp4", *options(**SIZE),
                  *(a.format(**files) for a in arguments), fails=True).decode()  # fmt: skip
    assert expected in message and message.count("\n") == 1 and not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize("arguments, expected", [
    (["--video", "{video}"], "single image"),
    (["--image", "{image}", "--image", "{image}"], "single image"),
    (["--image", "{image}", "--frame-index", "8"], "first frame"),
    (["--timesteps", "1000,500"], "timesteps"),
])  # fmt: skip
def test_what_image_to_video_does_not_take(checkpoint, run, image, video, tmp_path, arguments, expected):  # noqa: F811
    files = {"image": image(), "video": video(5)[0]}
    message = run("eav", "generate", PROMPT, "--model", checkpoint()[0], "--out", tmp_path / "x.mp4", *options(**SIZE),
                  *(a.format(**files) for a in arguments), fails=True).decode()  # fmt: skip
    assert expected in message and message.count("\n") == 1 and not (tmp_path / "x.mp4").exists()


def test_a_scheduler_that_shifts_dynamically_is_refused(checkpoint, run, tmp_path):  # noqa: F811
    folder, _ = checkpoint(generation="0.9.5", pipeline=LTXConditionPipeline)
    message = run("eav", "generate", PROMPT, "--model", folder, "--out", tmp_path / "x.mp4", *options(**SIZE),
                  fails=True).decode()  # fmt: skip
    assert "use_dynamic_shifting" in message and message.count("\n") == 1
