"""What the tests against Python libraries share: the folder of the built programs, and how these are run."""

import os
import pathlib
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # every checkpoint is made here; nothing is ever downloaded
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEVICE = os.environ.get("EAV_DEVICE")  # that models run on instead of the CPU: cuda, or the stand-in, fake
ON_DEVICE = {("eav", "generate")} | {
    ("eav_probe", part) for part in ("t5", "umt5", "clip", "clip-vision", "llama", "llava", "vae", "open_sora", "latents")
}


@pytest.fixture(scope="session")
def build_dir():
    """The build folder: $EAV_BUILD, or build/ in the repository."""
    folder = pathlib.Path(os.environ.get("EAV_BUILD", REPOSITORY / "build"))
    assert folder.is_dir(), f"{folder} is no build folder; set EAV_BUILD"
    return folder


@pytest.fixture(scope="session")
def run(build_dir):
    """run("eav_probe", "tokens", folder, input=b"...") runs a built program and returns what it printed, as bytes.

    A failure of the program fails the test, unless `fails` is set: then the error that it printed is returned.
    """

    def run(program, *arguments, input=b"", fails=False):
        path = next(p for p in (build_dir / program, build_dir / "tests" / program) if p.is_file())
        environment = dict(os.environ)
        if (program, arguments[0]) == ("eav", "generate") and not {"--dtype", "--from"} & set(arguments):
            arguments += ("--dtype", "float32")  # of a checkpoint in 16 bits, and off the CPU, it is not the default
        if DEVICE and (program, arguments[0]) in ON_DEVICE:
            arguments += ("--device", DEVICE)
        if DEVICE == "fake":
            environment["LD_PRELOAD"] = str(build_dir / "tests" / "libeav_fake_device.so")
        command = [path, *map(str, arguments)]
        done = subprocess.run(command, input=input, capture_output=True, check=False, env=environment)
        assert (done.returncode != 0) == fails, done.stderr.decode(errors="replace")
        return done.stderr if fails else done.stdout

    return run
