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
        to = ["--save-latents", tmp_path / "latents"] if "--latents-only" in more else ["--out", tmp_path / "video.mp4"]
        return program("eav", "generate", PROMPT, "--model", checkpoint(name), "--seed", 1, "--threads", 1, "--dtype", "float32",
                       "--device", "fake", "--overwrite", *to, *options(named), *more, **device)  # fmt: skip

    return run


def told(done):
    """The one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("eav: ") and "warning" not in line]
    assert done.returncode == 1 and len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


@pytest.fixture
def plan(checkpoint, program):
    """plan(name, options...): the bytes that each phase needs on the device."""

    def run(name, **named):
        flags = [part for option, value in {"device": "fake", **named}.items() for part in (f"--{option}", value)]
        done, _ = program("eav_probe", "plan", checkpoint(name), *flags)
        assert done.returncode == 0, done.stderr
        phases = json.loads(done.stdout)
        return {phase: phases[phase] for phase in ("text_encoder", "transformer", "vae")}

    return run


# A phase of each family that needs the most: that of a VAE, or without one of the transformer.
PLANS = {
    "demo": [{"latents": 1}],
    "cogvideox": [{}, {"vae_tiling": "on"}, {"latents": 1, "offload": 1}],
    "hunyuan-video": [{}, {"latents": 1, "offload": 1}],
    "ltx-large-0.9.5": [{}, {"latents": 1, "offload": 1}],
    "open-sora": [{}, {"latents": 1, "offload": 1}],
    "wan-t2v": [{}, {"latents": 1, "offload": 1}],
}


@pytest.mark.parametrize("name, how", [(name, how) for name, hows in PLANS.items() for how in hows])
def test_the_plan_is_enough(plan, generate, name, how):
    size = {"width": 256, "height": 128, "frames": 17, "steps": 2}
    kept = {option: value for option, value in how.items() if option != "latents"}
    planned = plan(name, **size, **kept)
    flags = ["--offload"] * ("offload" in how) + ["--latents-only"] * ("latents" in how)
    done, counted = generate(name, *flags, **size, **{key: value for key, value in kept.items() if key != "offload"})
    assert done.returncode == 0, done.stderr
    most = max(planned[phase] for phase in ("text_encoder", "transformer", "vae")[: 2 if "latents" in how else 3])
    print(name, how, counted["peak"], planned)
    assert counted["peak"] <= 1.02 * most + MEGABYTE / 4  # of 512 bytes, in which small tensors are held


LONG = {**SIZE, "frames": 33, "width": 128, "height": 128}


@pytest.mark.parametrize("phase, capacity, more", [
    ("a text encoder", 0, {}), ("the transformer", 4, {}), ("the VAE", 40, {**LONG, "vae_tiling": "off"}),
])  # fmt: skip
def test_running_out_is_one_line_with_advice(generate, tmp_path, phase, capacity, more):
    device = {"capacity": capacity * MEGABYTE, "reported": 1 << 40}
    error = told(generate("demo", **{**SIZE, **more}, device=device)[0])
    assert f"memory ran out while {phase}" in error
    assert "--offload" in error and "--frames" in error
    assert not (tmp_path / "video.mp4").exists()
    if phase == "the VAE":  # what was denoised is kept
        assert (tmp_path / "video.mp4.resume").exists() and "--vae-tiling on" in error


def test_a_decode_that_runs_out_begins_again_in_tiles(plan, generate, tmp_path):
    whole, tiled = (plan("demo", **LONG, vae_tiling=tiling)["vae"] for tiling in ("off", "on"))
    video, record = tmp_path / "video.mp4", tmp_path / "video.json"
    assert generate("demo", **LONG, vae_tiling="on")[0].returncode == 0
    expected = video.read_bytes()
    done, _ = generate("demo", **LONG, device={"capacity": (whole + tiled) // 2, "reported": 1 << 40})
    assert done.returncode == 0, done.stderr
    assert "memory ran out while the VAE decoded: it decodes again, in tiles" in done.stderr
    assert json.loads(record.read_text())["request"]["vae_tiling"] == "on"
    assert video.read_bytes() == expected and not (tmp_path / "video.mp4.resume").exists()
