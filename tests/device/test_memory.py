"""Memory of a device that is no CPU: what is planned holds, and running out of it loses nothing."""

import json

import pytest

PROMPT = "a red circle"
SIZE = {"width": 64, "height": 64, "frames": 9, "steps": 2}
PLANNED = {
    "demo": SIZE,
    "hunyuan-video": SIZE,
    "ltx-video-0.9.5": {**SIZE, "frames": 17},
    "open-sora": {**SIZE, "frames": 17},
}
MEGABYTE = 1 << 20


def options(named):
    return [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture
def generate(checkpoint, program, tmp_path):
    """generate(name, device={...}, options...): the process, and what the device counted."""

    def run(name, *more, device={}, **named):
        return program("eav", "generate", *([] if "--prompt-file" in more else [PROMPT]), "--model", checkpoint(name), "--seed", 1, "--threads", 1, "--dtype", "float32",
                       "--device", "fake", "--out", tmp_path / "video.mkv", "--overwrite", *options(named), *more, **device)  # fmt: skip

    return run


def told(done):
    """The one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("eav: ") and "warning" not in line]
    assert done.returncode == 1 and len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


@pytest.mark.parametrize("how", [{}, {"offload": 1}, {"vae_tiling": "on"}], ids=["whole", "offload", "tiles"])
@pytest.mark.parametrize("name", PLANNED)
def test_the_plan_is_enough(checkpoint, program, generate, name, how):
    if name == "open-sora" and "vae_tiling" in how:
        pytest.skip("Open-Sora has no tiles")
    planned, _ = program("eav_probe", "plan", checkpoint(name), *options({"device": "fake", **PLANNED[name], **how}))
    plan = json.loads(planned.stdout)
    flags = ["--offload"] if "offload" in how else options(how)
    done, counted = generate(name, *flags, **PLANNED[name])
    assert done.returncode == 0, done.stderr
    most = max(plan[phase] for phase in ("text_encoder", "transformer", "vae"))
    print(counted["peak"], plan)
    assert counted["peak"] <= 1.02 * most + MEGABYTE  # of 512 bytes, in which small tensors are held


@pytest.mark.parametrize("phase, capacity, size", [
    ("text encoder", 4, {}), ("transformer", 40, {"frames": 97, "width": 128, "height": 128}),
])  # fmt: skip
def test_running_out_is_one_line_with_advice(generate, tmp_path, phase, capacity, size):
    device = {"capacity": capacity * MEGABYTE, "reported": 1 << 40}
    error = told(generate("demo", **{**SIZE, **size}, device=device)[0])
    assert "memory ran out while" in error and phase in error
    assert "--offload" in error and "--frames" in error
    assert not list(tmp_path.glob("video.mkv"))


def test_a_decode_is_tried_again_in_tiles(generate, program, tmp_path):
    """And where that does not suffice either, what was denoised is kept."""
    large = {**SIZE, "width": 256, "height": 256, "steps": 1}
    whole = generate("demo", **large)[1]["peak"]
    tiled = generate("demo", **large, vae_tiling="on")[1]["peak"]
    assert tiled < 0.8 * whole
    device = {"capacity": (tiled + whole) // 2, "reported": 1 << 40}
    done, _ = generate("demo", **large, device=device)
    assert done.returncode == 0 and "in tiles" in done.stderr, done.stderr

    (tmp_path / "video.mkv").unlink()
    error = told(generate("demo", **large, vae_tiling="off", device=device)[0])
    assert "memory ran out while the VAE decodes" in error and "--vae-tiling on" in error
    kept = tmp_path / "video.mkv.resume"
    assert str(kept) in error
    resumed, _ = program("eav", "generate", "--resume", kept, "--vae-tiling", "on", **device)
    assert resumed.returncode == 0 and (tmp_path / "video.mkv").exists(), resumed.stderr


def test_videos_share_what_is_loaded(generate, tmp_path):
    """Memory that PyTorch keeps for later counts as free."""
    one = generate("demo", **SIZE)[1]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    device = {"capacity": 2 * one["peak"]}
    done, two = generate("demo", "--prompt-file", prompts, **SIZE, device=device)
    assert done.returncode == 0, done.stderr
    assert two["bytes_to_device"] < 1.1 * one["bytes_to_device"]
