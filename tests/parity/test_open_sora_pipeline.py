"""Whole runs of Open-Sora against its parts, which test_open_sora.py holds to the reference's own numbers, with
captions by transformers, noise by PyTorch and pictures by Pillow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from comparing import error, options, psnr
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_open_sora import GOLDENS, save_tiny_open_sora  # noqa: E402

HEIGHT, WIDTH, FRAMES, STEPS = 50, 68, 17, 3
TOKENS = json.loads((GOLDENS / "config.json").read_text())["model_max_length"]
PROMPT = "A red circle, moving right."
CLEANED = "a red circle, moving right. aesthetic score: 6. 5."


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_sora") / "open-sora"
    return folder, *save_tiny_open_sora(folder)


@pytest.fixture
def generate(run, checkpoint, tmp_path):
    """generate(options..., name=value...) runs the program; returns its latents and frames."""

    def generate(*more, prompt=PROMPT, **named):
        out, latents = tmp_path / "frames", tmp_path / "latents.safetensors"
        settings = {"height": HEIGHT, "width": WIDTH, "frames": FRAMES, "steps": STEPS, "seed": 5, **named}
        run("eav", "generate", prompt, "--model", checkpoint[0], "--out", f"{out}/", "--save-latents", latents,
            "--overwrite", *options(**settings), *more)  # fmt: skip
        frames = [np.asarray(Image.open(path), dtype=np.float64) for path in sorted(out.glob("*.png"))]
        return load_file(latents)["latents"], np.stack(frames)

    return generate


@pytest.fixture
def part(run, tmp_path):
    """part(name, inputs, options...) runs a part of the model on tensors."""

    def part(name, inputs, **named):
        path, out = tmp_path / "inputs.safetensors", tmp_path / "out.safetensors"
        save_file({key: value.contiguous() for key, value in inputs.items()}, path)
        run("eav_probe", "open_sora", name, GOLDENS, "--input", path, "--out", out, *options(**named))
        return load_file(out)

    return part


@pytest.fixture
def caption(checkpoint):
    """caption(text) is what the transformer is told: embeddings, their mask, and the unconditional half."""
    folder, encoder, tokenizer = checkpoint
    null = load_file(folder / "OpenSora-STDiT-v3" / "model.safetensors")["y_embedder.y_embedding"]

    def caption(text):
        tokens = tokenizer(text, max_length=TOKENS, padding="max_length", truncation=True, return_tensors="pt")
        with torch.no_grad():
            y = encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return {"y": y[:, None], "mask": tokens.attention_mask, "y_null": null[None, None]}

    return caption


def noise_of(seed, latent_frames=5):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(1, 4, latent_frames, HEIGHT // 8, WIDTH // 8, generator=generator)


def settings(**named):
    return {"steps": STEPS, "guidance": 7, "height": HEIGHT, "width": WIDTH, "frames": FRAMES, "fps": 24, **named}


def video_of(pixels):
    """uint8 [F, H, W, 3] -> [1, 3, F, H, W] in -1..1"""
    return (torch.from_numpy(pixels.copy()).float() / 255 * 2 - 1).permute(3, 0, 1, 2)[None]


def write_lossless(path, frames):
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "24", "-i", "-",
                    "-c:v", "ffv1", "-pix_fmt", "bgr0", path], input=frames.tobytes(), check=True)  # fmt: skip


def as_pixels(video):
    return ((video[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1) * 255).numpy()


def resized(path):
    """As the reference fills the video's size with a picture: bicubic, its middle."""
    picture = Image.open(path).convert("RGB")
    scale = max(HEIGHT / picture.height, WIDTH / picture.width)
    covering = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.BICUBIC)
    left, top = round((covering.width - WIDTH) / 2), round((covering.height - HEIGHT) / 2)
    return np.asarray(covering.crop((left, top, left + WIDTH, top + HEIGHT)))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    rows, columns = np.mgrid[0:91, 0:160]
    pixels = np.stack([rows * 2, columns, 255 - rows], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("weight", [None, 3])
@pytest.mark.parametrize("frames, latent_frames", [(1, 1), (17, 5), (20, 6)])
def test_text_to_video(generate, part, caption, weight, frames, latent_frames):
    latents, pixels = generate("--no-enhance" if weight is None else f"--enhance-weight={weight}", frames=frames)
    inputs = {"z": noise_of(5, latent_frames)(), **caption(CLEANED)}
    fps = 24 if frames > 1 else 120
    theirs = part("sample", inputs, **settings(frames=frames, fps=fps), **({} if weight is None else {"weight": weight}))
    print(error(latents, theirs["out"]))
    assert error(latents, theirs["out"]) < 1e-4
    decoded = as_pixels(part("decode", {f"z_{frames}": latents}, frames=frames)["video"])
    assert pixels.shape == decoded.shape == (frames, HEIGHT // 8 * 8, WIDTH // 8 * 8, 3)
    assert psnr(pixels, decoded) > 50


def test_guidance_off_runs_the_prompt_alone(generate, part, caption):
    """With a scale of 1 the unconditional half has no effect but on the CFI, which is off here."""
    latents, _ = generate("--no-enhance", guidance=1)
    theirs = part("sample", {"z": noise_of(5)(), **caption(CLEANED)}, **settings(guidance=1))["out"]
    assert error(latents, theirs) < 1e-4


@pytest.mark.parametrize("strength", [1, 0.4])
def test_images_at_both_ends(generate, part, caption, picture, tmp_path, strength):
    last = tmp_path / "last.png"
    Image.open(picture).rotate(180).crop((0, 0, 91, 91)).save(last)
    latents, _ = generate("--image", picture, "--strength", strength, "--last-image", last)
    draw = noise_of(5)
    z = draw()
    for index, path in [(0, picture), (4, last)]:
        z[:, :, index : index + 1] = part("encode", {"encode_x": video_of(resized(path)[None])})["mode"]
    given = {"frame_mask": torch.tensor([1 - strength, 1.0, 1.0, 1.0, 0.0]),
             "noise": torch.stack([draw() for _ in range(STEPS)])}  # fmt: skip
    theirs = part("sample", {"z": z, **given, **caption(CLEANED)}, weight=4, **settings())["out"]
    print(error(latents, theirs))
    assert error(latents, theirs) < 1e-4
    assert torch.equal(latents[:, :, 4], z[:, :, 4])


def test_a_condition_of_no_strength_is_none(generate, picture):
    alone, _ = generate("--last-image", picture)
    both, _ = generate("--image", picture, "--strength", "0", "--last-image", picture)
    assert torch.equal(alone, both)


def test_goes_on_from_a_video(generate, part, caption, run, tmp_path):
    """Of 12 frames 9 are used: the first, and groups of 4 that become a latent frame each."""
    clip = tmp_path / "clip.mkv"
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    frames = np.stack([np.stack([rows * 4, columns * 3, np.full_like(rows, 20 * i)], -1) for i in range(12)])
    write_lossless(clip, frames.astype(np.uint8))
    latents, _ = generate("--video", clip)
    draw = noise_of(5)
    z = draw()
    z[:, :, :3] = part("encode", {"encode_x": video_of(frames[:9].astype(np.uint8))})["mode"]
    given = {"frame_mask": torch.tensor([0.0, 0, 0, 1, 1]), "noise": torch.stack([draw() for _ in range(STEPS)])}
    theirs = part("sample", {"z": z, **given, **caption(CLEANED)}, weight=4, **settings())["out"]
    print(error(latents, theirs))
    assert error(latents, theirs) < 1e-4


def test_loop(generate, part, caption):
    """Two clips of 34 frames; the second is given the first one's last 17 frames, which the video shows once."""
    latents, pixels = generate(frames=34, loop=2)
    draw = noise_of(5, 10)
    words = caption(CLEANED)
    first = part("sample", {"z": draw(), **words}, weight=4, **settings(frames=34))["out"]
    assert error(latents[:, :, :10], first) < 1e-4
    z = draw()
    shown = part("decode", {"z_34": first}, frames=34)["video"]
    z[:, :, :5] = part("encode", {"encode_x": shown})["mode"][:, :, 5:]
    given = {"frame_mask": torch.tensor([0.0] * 5 + [1.0] * 5), "noise": torch.stack([draw() for _ in range(STEPS)])}
    second = part("sample", {"z": z, **given, **words}, weight=4, **settings(frames=34))["out"]
    print(error(latents[:, :, 10:], second))
    assert error(latents[:, :, 10:], second) < 1e-4
    again = part("decode", {"z_34": second}, frames=34)["video"][:, :, 17:]
    assert psnr(pixels, as_pixels(torch.cat([shown, again], 2))) > 50
