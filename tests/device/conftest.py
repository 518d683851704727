"""Runs the program on the stand-in device (tests/fake_device), and reads what that counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
BUILD = Path(os.environ.get("EAV_BUILD", ROOT / "build"))
FAKE_DEVICE = BUILD / "tests" / "libeav_fake_device.so"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(name): a folder with that tiny checkpoint of tests/tiny_checkpoints.py."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def made(name):
        if name == "demo":
            return ROOT / "models" / "demo"
        from tiny_checkpoints import make_checkpoint

        return make_checkpoint(name, folder)

    return made


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program(arguments...) runs a built program with the device at hand; returns the process and the counters.

    What is named, such as capacity=1000, is for the device.
    """
    folder = tmp_path_factory.mktemp("counters")

    def run(name, *arguments, **device):
        counters = folder / "counters.json"
        counters.unlink(missing_ok=True)
        environment = {"LD_PRELOAD": FAKE_DEVICE, "EAV_FAKE_DEVICE_COUNTERS": counters, "OMP_NUM_THREADS": 1}
        environment |= {f"EAV_FAKE_DEVICE_{key.upper()}": value for key, value in device.items()}
        path = next(p for p in (BUILD / name, BUILD / "tests" / name) if p.is_file())
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False,
                              env=os.environ | {key: str(value) for key, value in environment.items()})  # fmt: skip
        return done, json.loads(counters.read_text()) if counters.exists() else None

    return run
