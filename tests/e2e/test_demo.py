"""The demo checkpoint that ships with the program: what the first command of the README does."""

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
