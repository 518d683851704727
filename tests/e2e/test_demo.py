"""The demo checkpoint that ships with the program: what the first command of the README does."""

import json
import subprocess

import pytest
from conftest import ROOT


@pytest.mark.skipif(not (ROOT / "models/demo/model_index.json").exists(), reason="the demo checkpoint is not there yet")
def test_the_first_command_of_the_readme(eav, out):
    result = eav("generate", "a red circle moving right on a gray background")
    assert result.returncode == 0, result.stderr
    (video,) = out.glob("eav-*.mp4")
    shown = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames",
                            "-of", "csv=p=0", video], capture_output=True, text=True, check=True)  # fmt: skip
    width, height, frames = map(int, shown.stdout.strip().split(","))
    assert width >= 64 and height >= 64 and frames >= 25


@pytest.mark.skipif(not (ROOT / "models/demo/model_index.json").exists(), reason="the demo checkpoint is not there yet")
def test_fast(eav, out):
    """It stands for types and a cache, which the closing lines name, and gives way to what is asked for beside it."""
    asked = ("generate", "a red circle moving right on a gray background", "--seed", "3")
    fast = eav(*asked, "--fast", "--out", "fast/")
    assert fast.returncode == 0, fast.stderr
    record = json.loads((out / "fast.json").read_text())
    assert record["request"]["cache"] == "easy" and record["enhanced"]["computed_steps"] < 25
    assert f"cache: easy, {record['enhanced']['computed_steps']} of 25 steps computed" in fast.stdout
    assert f"; in {record['dtype']}" in fast.stdout
    plain = eav(*asked, "--out", "plain/")
    same = eav(*asked, "--fast", "--cache", "none", "--dtype", "float32", "--quantize", "none", "--out", "same/")
    assert plain.returncode == same.returncode == 0, plain.stderr + same.stderr
    pictures = [[file.read_bytes() for file in sorted((out / name).glob("*.png"))] for name in ("plain", "same", "fast")]
    assert pictures[0] == pictures[1] != pictures[2]
