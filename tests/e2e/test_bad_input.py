"""Each mistake gets one clear line, a non-zero exit and no output."""

import os
import resource
import signal
import subprocess

import numpy
import pytest
from conftest import PROMPT, error_line
from safetensors.numpy import save_file

USAGE = 2


@pytest.mark.parametrize(
    "option, value, advice",
    [
        ("--steps", "many", "a whole number from 1 to"),
        ("--steps", "0", "a whole number from 1 to"),
        ("--steps", "2.5", "a whole number from 1 to"),
        ("--seed", "-1", "a whole number from 0 to 18446744073709551615"),
        ("--seed", "18446744073709551616", "a whole number from 0 to 18446744073709551615"),
        ("--width", "-32", "a whole number from 1 to"),
        ("--guidance", "nan", "a number from 0 to 1000"),
        ("--guidance", "6,5", "a number from 0 to 1000"),
        ("--fps", "inf", "a number from 0.01 to 240"),
        ("--enhance-weight", "101", "a number from 0 to 100"),
        ("--enhance-weight", "-0.1", "a number from 0 to 100"),
        ("--enhance-weight", "nan", "a number from 0 to 100"),
        ("--enhance-weight", "inf", "a number from 0 to 100"),
        ("--enhance-start", "-0.5", "a number from 0 to 1"),
        ("--enhance-end", "1.5", "a number from 0 to 1"),
        ("--enhance-end", "nan", "a number from 0 to 1"),
        ("--threads", "0", "a whole number from 1 to"),
        ("--scheduler", "heun", "ddim|dpm|euler"),
        ("--enhance-blocks", "dual", "double|single|all"),
        ("--vae-tiling", "maybe", "auto|on|off"),
        ("--flow-shift", "0", "--flow-shift"),
        ("--dtype", "int8", "auto, float32, bfloat16, float16"),
        ("--quantize", "int4", "none or int8"),
        ("--quantize", "int8,text_encoder", "such as text_encoder=none"),
        ("--vae-tiling", "maybe", "on|off"),
    ],
)
def test_a_value_that_an_option_cannot_take(refused, option, value, advice):
    line = refused(option, value, code=USAGE)
    assert option in line and f"'{value}'" in line and advice in line


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["generate"], "give a PROMPT, --prompt-file FILE or --from FILE"),
        (["generate", "a", "red", "circle"], "a prompt of several words needs quotes"),
        (["generate", "a", "--prompt-file", "x"], "give a PROMPT or --prompt-file, not both"),
        (["generate", "a", "--stepz", "3"], "--stepz"),
        (["generate", "a", "--steps"], "--steps needs a value"),
        (["paint"], "name a command: generate, inspect"),
        ([], "name a command: generate, inspect"),
    ],
)
def test_a_command_line_that_makes_no_sense(eav, out, arguments, expected):
    result = eav(*arguments)
    assert result.returncode in (1, USAGE)
    assert expected in error_line(result)
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--width", "36"], "width is 36, expected a multiple of 16: the nearest are 32 and 48"),
        (["--height", "8"], "height is 8, expected a multiple of 16: the nearest is 16"),
        (["--frames", "10"], "frames is 10, expected 1 or a multiple of 8 plus 1: the nearest are 9 and 17"),
        (["--frames", "16"], "the nearest are 9 and 17"),
        (["--frames", "2"], "the nearest are 1 and 9"),
        (["--enhance-start", "0.5", "--enhance-end", "0.5"], "0 <= start < end <= 1"),
        (["--enhance-start", "0.8", "--enhance-end", "0.2"], "0 <= start < end <= 1"),
        (["--enhance-layers", "1-"], '"1-" is no list of layers'),
        (["--enhance-layers", "3-1"], '"3-1" is no list of layers'),
        (["--enhance-layers", "0,2"], "this model has layers 0 to 1"),
        (["--steps", "2000"], "2000"),
        (["--device", "tpu"], "choose cpu, cuda or cuda:N"),
        (["--init-latents", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_values_that_do_not_work_together_or_with_the_model(refused, options, expected):
    assert expected in refused(*options)


def test_a_prompt_that_is_not_utf8(refused):
    assert "the prompt is not valid UTF-8" in refused(prompt=b"a \xff circle")
    assert "the negative prompt is not valid UTF-8" in refused("--negative-prompt", b"\xc3")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"a red circle\n\na blue square\n", "line 2: is empty"),
        (b"a red circle\na \xff square\n", "line 2: is not valid UTF-8"),
        (b"", "is empty, expected one prompt a line"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_prompt_file(refused, out, content, expected):
    prompts = out.parent / "prompts.txt"
    if content is not None:
        prompts.write_bytes(content)
    line = refused("--prompt-file", prompts, prompt=None)
    assert str(prompts) in line and expected in line


def test_initial_latents_of_another_shape(refused, out):
    latents = out.parent / "latents.safetensors"
    save_file({"latents": numpy.zeros((1, 3, 4, 2, 5), numpy.float32)}, latents)
    line = refused("--init-latents", latents)
    assert "[1, 3, 4, 2, 5]" in line and "[1, 3, 4, 2, 4]" in line


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--out", "missing/a.mp4"], "there is no folder"),
        (["--out", "a.avi"], "end it in .mp4, .webm, .gif, or in / for PNG frames"),
        (["--out", "a"], "end it in .mp4, .webm, .gif, or in / for PNG frames"),
        (["--out", "/proc/a.mp4"], "cannot write '/proc/a.mp4'"),
        (["--out", "a.mp4", "--trace-maps"], "--trace-maps writes into the trace: name its file with --trace"),
        (["--out", "a.mp4", "--trace", "missing/t.json"], "cannot write 'missing/t.json': there is no folder"),
        (["--out", "a.mp4", "--save-latents", "missing/l.safetensors"], "cannot write 'missing/l.safetensors'"),
        (["--out", "a.mp4", "--save-latents", "/"], "cannot write '/'"),
        (["--out", "a.mp4", "--trace", "/dev/null", "--overwrite"], "cannot write '/dev/null': it is there, and no file"),
        (["--out", "a.mp4", "--trace", "./a.json"], "the record beside the video and --trace would both be './a.json'"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(refused, options, expected):
    assert expected in refused(*options, "--steps", "1000")


def test_files_that_exist_are_kept(refused, out):
    for name in ("a.mp4", "b.json", "t.json", "l.safetensors"):
        (out / name).write_text("mine")
    (out / "frames").mkdir()
    (out / "frames" / "note.txt").write_text("mine")
    assert "'a.mp4' exists; --overwrite it" in refused("--out", "a.mp4")
    assert "'b.json' exists; --overwrite it" in refused("--out", "b.mp4")
    assert "'t.json' exists; --overwrite it" in refused("--out", "c.mp4", "--trace", "t.json")
    assert "'l.safetensors' exists" in refused("--out", "c.mp4", "--save-latents", "l.safetensors")
    assert "the folder 'frames' is not empty" in refused("--out", "frames")
    assert (out / "a.mp4").read_text() == (out / "frames" / "note.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("r.json", "{}", 'there is no "request" in it'),
        ("r.json", "[1", "is no valid JSON object"),
        ("r.json", '{"request": 3}', '"request" is no object'),
        ("r.json", '{"request": {"steps": "ten"}}', "steps is ten, expected a whole number from 1 to"),
        ("r.json", '{"request": {"stepz": 10}}', '"stepz" is no field of a record'),
        ("r.json", '{"request": {"enhance": {"weight": 1000}}}', "from 0 to 100"),
        ("r.json", '{"request": {"enhance": {"layers": "x"}}}', '"x" is no list of layers'),
        ("r.json", '{"dtype": "int8", "request": {}}', "int8"),
        ("r.json", '{"quantize": "int4", "request": {}}', "none or int8"),
        ("r.mp4", "no video", "cannot read"),
        (None, None, "cannot be read"),
    ],
)
def test_a_bad_record(refused, out, name, content, expected):
    record = out.parent / (name or "missing.json")
    if content is not None:
        record.write_text(content)
    assert expected in refused("--from", record, prompt=None)


def test_a_video_without_a_record(refused, out):
    video = out.parent / "other.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=32x32:d=0.2", "-y", video], check=True)
    assert "holds no record of a generated video" in refused("--from", video, prompt=None)


def test_a_part_that_is_not_quantised(refused):
    assert "those are text_encoder, transformer" in refused("--quantize", "int8,vae=int8")


def test_a_video_that_needs_more_memory_than_there_is(refused):
    line = refused("--width", "160000", "--height", "160000", "--frames", "801", "--steps", "1")
    assert "is available" in line


def limit_files():
    """Stands in for a full disk where none can be mounted: no file may grow above 200 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))


@pytest.mark.parametrize("target", ["a.mp4", "a.webm", "a.gif", "frames/"])
def test_a_file_that_cannot_grow(refused, target):
    line = refused("--out", target, preexec_fn=limit_files)
    assert "cannot write" in line


@pytest.fixture
def full_disk(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("target", ["a.mp4", "frames/"])
def test_a_full_disk(eav, tiny, full_disk, target):
    result = eav("generate", PROMPT, "--model", tiny, "--width", "96", "--height", "64", "--frames", "9", "--steps", "2",
                 "--out", os.path.join(full_disk, target))  # fmt: skip
    assert result.returncode == 1
    assert "No space left on device" in error_line(result)
    assert [file.suffix for file in full_disk.iterdir()] == [".resume"]  # the latents, to go on from
