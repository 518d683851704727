"""Runs the program as a user does, on a tiny random checkpoint."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))
PROGRAM = os.environ.get("EAV_PROGRAM", str(ROOT / "build" / "eav"))
SMALL = ("--width", "32", "--height", "16", "--frames", "9", "--steps", "2", "--threads", "1")
PROMPT = "a red circle"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny checkpoint; tests that damage one copy it."""
    if "EAV_TINY" in os.environ:
        return Path(os.environ["EAV_TINY"])
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    from tiny import save_tiny_cogvideox

    save_tiny_cogvideox(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder for checkpoints of other families, with the inputs that tests/same_bits.py names."""
    from tiny_checkpoints import make_inputs

    folder = tmp_path_factory.mktemp("checkpoints")
    make_inputs(folder)
    (folder / "checkpoints").symlink_to(".")
    return folder


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A copy of the tiny checkpoint, to be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "checkpoint"))


@pytest.fixture
def out(tmp_path):
    """The empty folder that the program runs in."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def eav(out):
    """Runs the program with these arguments."""

    def run(*arguments, **options):
        options = {"cwd": out, "capture_output": True, "timeout": 120, **options}
        result = subprocess.run([PROGRAM, *map(os.fsencode, arguments)], stdin=subprocess.DEVNULL, **options)
        result.stdout, result.stderr = (stream.decode() for stream in (result.stdout, result.stderr))
        return result

    return run


@pytest.fixture
def generate(eav, tiny):
    """Runs `eav generate` for a small video of the tiny checkpoint, which must succeed; returns what it printed."""

    def run(*arguments, prompt=PROMPT):
        result = eav("generate", prompt, "--model", tiny, *SMALL, *arguments)
        assert result.returncode == 0, result.stderr
        return result

    return run


def error_line(result):
    """The one line that says what was wrong."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("eav: ")]
    errors = [line for line in lines if not line.startswith("eav: warning: ")]
    assert len(errors) == 1, result.stderr
    return errors[0].removeprefix("eav: ")


@pytest.fixture
def refused(eav, out, tiny):
    """Runs `eav generate`, which must fail with one line of error and leave nothing; returns the line."""

    def run(*arguments, prompt=PROMPT, code=1, model=None, **options):
        before = sorted(out.iterdir())
        prompts = [] if prompt is None else [prompt]
        result = eav("generate", *prompts, "--model", model or tiny, "--seed", "1", *SMALL, *arguments, **options)
        assert result.returncode == code, result.stderr
        assert sorted(out.iterdir()) == before
        return error_line(result)

    return run
