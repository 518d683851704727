"""Ctrl-C: stops soon, leaves nothing."""

import signal
import subprocess
import time

import pytest
from conftest import PROGRAM, PROMPT

SOON = 5  # seconds, on a busy machine; a layer takes milliseconds


@pytest.fixture
def running(out, tiny):
    """`eav generate` in the middle of a long run."""

    def attend_to_signals():  # a shell's background job ignores Ctrl-C, and so would what it starts
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    process = subprocess.Popen(
        [PROGRAM, "generate", PROMPT, "--model", tiny, "--seed", "1", "--steps", "1000", "--width", "192", "--height", "192",
         "--out", "a.mp4", "--trace", "t.json", "--save-latents", "l.safetensors"],
        cwd=out, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=attend_to_signals,
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("transformer"):
            break
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_stops_within_a_layer_and_leaves_nothing(running, out, number, code):
    start = time.monotonic()
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert time.monotonic() - start < SOON
    assert running.returncode == code
    assert stderr.splitlines()[-1] == "eav: stopped"
    assert not list(out.iterdir())


def test_a_second_one_stops_it_at_once(running, out):
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=SOON) == 130
    assert not list(out.iterdir())
