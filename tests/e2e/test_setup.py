"""What scripts/setup says of a PyTorch that it is given."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def setup(tmp_path):
    """setup(EAV_TORCH): what it says, in a copy of the project that has nothing to build."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup", tmp_path / "scripts")

    def run(torch):
        done = subprocess.run([tmp_path / "scripts/setup"], env=os.environ | {"EAV_TORCH": str(torch)}, capture_output=True,
                              text=True, check=False, timeout=60)  # fmt: skip
        assert done.returncode == 1 and done.stdout == ""
        return done.stderr.splitlines()

    return run


@pytest.mark.parametrize("version", ["1.13.1", "2.9.0", "2.12.1"])
@pytest.mark.parametrize("file", ["torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"])
def test_one_that_is_too_old(setup, tmp_path, file, version):
    header = tmp_path / "libtorch/include" / file
    header.parent.mkdir(parents=True)
    numbers = zip(("MAJOR", "MINOR", "PATCH"), version.split("."), strict=True)
    header.write_text("".join(f"#define TORCH_VERSION_{name} {number}\n" for name, number in numbers))
    (said,) = setup(header.parents[len(file.split("/"))])
    assert said.endswith(f"libtorch', which has PyTorch {version}; 2.13.0 or newer is needed")


def test_one_that_is_none(setup, tmp_path):
    (said,) = setup("/nowhere")
    assert said == "eav: EAV_TORCH is '/nowhere', expected a Python interpreter that has PyTorch, or a libtorch folder"
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')  # it sees no packages
    interpreter.chmod(0o755)
    (said,) = setup(interpreter)
    assert said == f"eav: EAV_TORCH is '{interpreter}', which has no PyTorch"
