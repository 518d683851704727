"""Memory of a device that is no CPU: what is planned suffices, and running out of it loses nothing."""

import json

import pytest

PROMPT = "a red circle"
SIZE = {"width": 64, "height": 64, "frames": 9, "steps": 2}
MEGABYTE = 1 << 20


def options(named):
    return [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture
def generate(checkpoint, program, tmp_path):
    """generate(name, device={...}, options...): the process, and what the device counted."""

    def run(name, *more, device={}, **named):
        return program("eav", "generate", PROMPT, "--model", checkpoint(name), "--seed", 1, "--threads", 1, "--dtype", "float32",
                       "--device", "fake", "--out", tmp_path / "video.mp4", "--overwrite", *options(named), *more, **device)  # fmt: skip

    return run


def told(done):
    """The one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("eav: ") and "warning" not in line]
    assert done.returncode == 1 and len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


@pytest.mark.parametrize("how", [{}, {"offload": 1}], ids=["whole", "offload"])
def test_the_plan_is_enough(checkpoint, program, generate, how):
    planned, _ = program("eav_probe", "plan", checkpoint("demo"), *options({"device": "fake", **SIZE, **how}))
    plan = json.loads(planned.stdout)
    done, counted = generate("demo", *(["--offload"] if how else []), **SIZE)
    assert done.returncode == 0, done.stderr
    most = max(plan[phase] for phase in ("text_encoder", "transformer", "vae"))
    print(counted["peak"], plan)
    assert counted["peak"] <= 1.02 * most + MEGABYTE  # of 512 bytes, in which small tensors are held


@pytest.mark.parametrize("phase, capacity, size", [
    ("a text encoder", 0, {}), ("the transformer", 4, {}), ("the VAE", 40, {"frames": 97, "width": 128, "height": 128}),
])  # fmt: skip
def test_running_out_is_one_line_with_advice(generate, tmp_path, phase, capacity, size):
    device = {"capacity": capacity * MEGABYTE, "reported": 1 << 40}
    error = told(generate("demo", **{**SIZE, **size}, device=device)[0])
    assert f"memory ran out while {phase}" in error
    assert "--offload" in error and "--frames" in error
    assert not (tmp_path / "video.mp4").exists()
    if phase == "the VAE":  # what was denoised is kept
        assert (tmp_path / "video.mp4.resume").exists() and "--vae-tiling on" in error
