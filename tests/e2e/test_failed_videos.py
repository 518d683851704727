"""Videos that come to nothing, beside others that are made."""

import os
import signal
import subprocess
import time

import numpy
import pytest
from conftest import PROGRAM, SMALL, error_line
from safetensors.numpy import load_file, save_file
from sentencepiece import SentencePieceProcessor

GOOD, BAD = "a red circle", "a blue square"
SAID = "the latents are not finite"


@pytest.fixture
def damaged(checkpoint):
    """A checkpoint that makes NaN of every prompt with the word blue."""
    pieces = SentencePieceProcessor(str(checkpoint / "tokenizer" / "spiece.model"))
    rows = sorted(set(pieces.encode(BAD)) - set(pieces.encode(GOOD)))
    file = checkpoint / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        if name in tensors:
            tensors[name][rows] = numpy.nan
    save_file(tensors, file, metadata={"format": "pt"})
    return checkpoint


def test_latents_that_are_not_finite_are_an_error(refused, damaged):
    files = ("--out", "a.mp4", "--trace", "t.json", "--save-latents", "l.safetensors")
    line = refused(*files, model=damaged, prompt=BAD)
    assert SAID in line and "--dtype" not in line and "--steps" in line
    assert "--dtype float32" in refused(*files, "--dtype", "bfloat16", model=damaged, prompt=BAD)
    assert SAID in refused("--latents-only", "--save-latents", "l.safetensors", model=damaged, prompt=BAD)
    assert SAID in refused(*files, "--enhance-weight", "auto", "--steps", "3", model=damaged, prompt=BAD)


def test_other_prompts_go_on(eav, out, tiny, damaged):
    (out / "prompts.txt").write_text(f"{BAD}\n{GOOD}\n{BAD}\n")
    small = ("--prompt-file", "prompts.txt", "--seed", "1", *SMALL, "--out", "a.mp4", "--trace", "t.json")
    result = eav("generate", "--model", damaged, *small)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("eav: ")]
    assert len(errors) == 3 and f"prompt 1: {SAID}" in errors[0] and f"prompt 3: {SAID}" in errors[1]
    assert errors[2] == "eav: 2 of 3 videos were not made: those of the prompts 1, 3"
    assert {file.name for file in out.iterdir()} == {"prompts.txt", "a-001.mp4", "a-001.json", "t-001.json"}
    made = (out / "t-001.json").read_bytes()
    assert eav("generate", "--model", tiny, *small, "--overwrite").returncode == 0
    assert (out / "t-001.json").read_bytes() == made


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_comparison_says_which_pairs_lack_a_video(eav, out, damaged, jobs):
    (out / "prompts.txt").write_text(f"{GOOD}\n{BAD}\n{GOOD}\n")
    result = eav("compare", "--prompts", "prompts.txt", "--model", damaged, *SMALL[:-2], "--weights", "8", "--out", "c",
                 "--jobs", jobs)  # fmt: skip
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("eav: ")]
    assert len(errors) == 3
    for line, video in zip(errors, ("c/videos/001-none.mp4", "c/videos/001-8.mp4")):
        assert f"{video}: {SAID}" in line
    assert "1 of 3 pairs lack a video" in errors[2] and "prompts 2;" in errors[2]
    assert sorted(file.name for file in (out / "c" / "pairs").iterdir()) == ["000.json", "002.json"]
    assert not (out / "c" / "report.html").exists()


@pytest.mark.parametrize("part", ["1/0", "1/0/1", "0/1", "2/2/1", "-1/2/1", "0/2/x", "x", "0/99999999999999999999/1"])
def test_a_part_of_a_comparison_that_cannot_be(eav, out, tiny, part):
    (out / "prompts.txt").write_text(GOOD)
    result = eav("compare", "--prompts", "prompts.txt", "--model", tiny, *SMALL, "--out", "c", f"--worker={part}")
    assert result.returncode == 2
    assert "--worker" in error_line(result)


def processes_in(folder):
    """Running processes whose working directory is the folder."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{process}/cwd") == str(folder) and open(f"/proc/{process}/stat").read().split()[2] != "Z":
                found.add(int(process))
        except OSError:
            pass
    return found


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_workers_end_with_a_comparison_that_is_killed(out, tiny):
    (out / "prompts.txt").write_text(f"{GOOD}\n" * 4)
    parent = subprocess.Popen(
        [PROGRAM, "compare", "--prompts", "prompts.txt", "--model", tiny, "--steps", "1000", "--width", "192", "--height", "192",
         "--out", "c", "--jobs", "2"],
        cwd=out, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )  # fmt: skip
    try:
        wait_for(lambda: len(processes_in(out)) == 3)
        time.sleep(1)  # until they follow their parent
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not processes_in(out))
