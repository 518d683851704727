"""Memory plans of every family against what the phases take: one size of what benchmarks/memory_plan.py measures."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import memory_plan  # noqa: E402

# A phase, its checkpoint, the size, and options.
CASES = [
    ("text_encoder", "hunyuan text", "96x64x9", {}),
    ("transformer", "cogvideox wide", "256x256x33", {}),
    ("transformer", "cogvideox wide", "384x256x33", {"quantize": "int8", "steps": 1}),
    ("transformer", "hunyuan wide", "640x384x33", {}),
    ("transformer", "ltx wide", "256x192x65", {"guidance": 1}),
    ("transformer", "ltx upscaler", "384x256x17", {"second_pass_timesteps": "[900, 500]"}),
    ("transformer", "open-sora wide", "192x192x51", {}),
    ("transformer", "wan wide", "576x384x33", {"guidance": 1}),
    ("vae", "wan vae", "384x256x17", {}),
    ("vae", "cogvideox vae", "384x256x9", {}),
    ("vae", "hunyuan vae", "320x256x17", {"vae_tiling": "on"}),
    ("vae", "ltx vae", "384x256x33", {}),
    ("vae", "open-sora vae", "320x224x51", {}),
]


@pytest.fixture(scope="module", autouse=True)
def ordinary_build(build_dir):
    if "EAV_SANITIZE:STRING=\n" not in (build_dir / "CMakeCache.txt").read_text():
        pytest.skip("a sanitizer takes memory of its own")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("phase, name, size, options", CASES, ids=lambda case: str(case).replace(" ", "-"))
def test_the_plan_is_what_the_phase_takes(build_dir, folder, phase, name, size, options):
    made = folder / name.replace(" ", "-")
    if not made.exists():
        memory_plan.save(name, made)
    result = memory_plan.measure(build_dir / "tests" / "eav_probe", phase, made, size, options)
    assert result["measured"] > 100e6
    assert memory_plan.LEAST <= result["planned"] / result["measured"] <= memory_plan.MOST, result
