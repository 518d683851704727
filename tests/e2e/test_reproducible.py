"""One request makes the same bits whatever surrounds it."""

import os
import subprocess

import pytest
from conftest import PROGRAM, SMALL

REQUEST = ("--steps", "4", "--enhance-weight", "auto")


@pytest.fixture
def make(out, tiny):
    """Makes a video in a folder of its own; returns the bytes of the video, its latents and its trace."""
    count = 0

    def run(*arguments, prompt="a red circle", seed=5, cwd=None, **options):
        nonlocal count
        count += 1
        folder = out / str(count)
        folder.mkdir()
        names = {"--out": folder / "a.mp4", "--save-latents": folder / "a.safetensors", "--trace": folder / "t.json"}
        command = [PROGRAM, "generate", *([prompt] if prompt else []), "--model", tiny, *SMALL, *REQUEST, "--seed", str(seed)]
        given = [word for name in names.items() for word in name]
        subprocess.run([*command, *given, *arguments], check=True, capture_output=True, cwd=cwd or folder, **options)
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".mp4", ".safetensors") or file.name[0] == "t"}

    return run


def test_ten_runs(make):
    first = make()
    assert len(first) == 3
    assert all(make() == first for _ in range(9))


def test_after_another_run_in_the_same_process(make, out):
    (out / "prompts.txt").write_text("a blue square\na red circle\n")
    both = make("--prompt-file", out / "prompts.txt", prompt=None, seed=4)
    alone = make(seed=5)
    assert {name.replace("-001", ""): content for name, content in both.items() if "-001" in name} == alone


@pytest.mark.parametrize("surroundings", [
    {"env": {**os.environ, "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}},
    {"env": {**os.environ, "LC_ALL": "tr_TR.UTF-8"}},
    {"env": {"PATH": "/usr/bin", "TZ": "Asia/Kolkata"}},
    {"umask": 0o077},
    {"cwd": "/"},
], ids=["German", "Turkish", "bare", "umask", "folder"])  # fmt: skip
def test_surroundings(make, surroundings):
    assert make(**surroundings) == make()
