"""Files from strangers: what they may not make the program do, and what a video that is given away does not say."""

import json
import os
import shutil
import socket
import subprocess

import pytest
from conftest import PROMPT, SMALL, error_line


@pytest.fixture
def special(out):
    """Names in the folder above the program's that are no regular files."""
    os.mkfifo(out.parent / "pipe")
    (out.parent / "link").symlink_to(out.parent / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(out.parent / "socket"))
    return [out.parent / "pipe", out.parent / "link", out.parent / "socket", "/dev/zero"]


@pytest.mark.parametrize("option", ["--from", "--init-latents"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(refused, special, option):
    for file in special:
        prompt = None if option == "--from" else PROMPT
        assert "is no regular file" in refused(option, file, prompt=prompt, timeout=20)


def test_a_record_that_names_a_pipe(refused, out, special):
    record = out.parent / "record.json"
    record.write_text(json.dumps({"request": {"prompt": "x", "init_latents": str(special[0])}}))
    assert f"'{special[0]}' is no regular file" in refused("--from", record, prompt=None, timeout=20)


def test_other_commands_wait_for_no_pipe(eav, special):
    for command in (["evaluate", special[0]], ["attention-maps", special[0], "--out", "a.html"]):
        result = eav(*command, timeout=20)
        assert result.returncode == 1 and "is no regular file" in error_line(result)


@pytest.mark.parametrize("name", ["model_index.json", "transformer/diffusion_pytorch_model.safetensors"])
def test_a_checkpoint_with_a_pipe_in_it(refused, checkpoint, name):
    (checkpoint / name).unlink()
    os.mkfifo(checkpoint / name)
    assert "is no regular file" in refused(model=checkpoint, timeout=20)


def test_prompts_may_come_from_a_pipe(eav, tiny, out):
    os.mkfifo(out.parent / "prompts")
    with subprocess.Popen(["sh", "-c", f"echo {PROMPT} > '{out.parent}/prompts'"]):
        result = eav("generate", "--prompt-file", out.parent / "prompts", "--model", tiny, *SMALL, "--out", "a.gif")
    assert result.returncode == 0, result.stderr
    assert (out / "a-000.gif").exists()


def test_a_playlist_by_the_name_of_a_picture(eav, out):
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=32x32:d=0.5", "own.mp4"], cwd=out, check=True)
    (out / "list.png").write_text("ffconcat version 1.0\nfile own.mp4\n")
    result = eav("evaluate", "list.png")
    assert result.returncode == 1 and "'list.png' is no picture or video" in error_line(result)


# ---- what a video carries


def made_of(video):
    shown = subprocess.run(["ffprobe", "-v", "error", "-show_format", "-of", "json", video], capture_output=True, check=True)
    tags = json.loads(shown.stdout)["format"].get("tags", {})
    return tags.get("comment") or tags.get("COMMENT")


@pytest.fixture
def shared(generate, out, tiny, tmp_path):
    """A video that begins with latents of a file, alone in another folder."""
    generate("--seed", "1", "--latents-only", "--save-latents", str(tmp_path / "start.safetensors"))
    generate("--seed", "2", "--init-latents", str(tmp_path / "start.safetensors"), "--out", "clip.mp4")
    folder = tmp_path / "shared"
    folder.mkdir()
    return shutil.move(out / "clip.mp4", folder / "clip.mp4")


def test_a_video_names_no_folder(shared, out, tiny, tmp_path):
    carried = made_of(shared)
    assert str(tmp_path) not in carried and str(tiny.parent) not in carried and "/" not in carried
    record = json.loads(carried)
    assert record["model"] == tiny.name and record["request"]["init_latents"] == "start.safetensors"
    assert record["fingerprint"] and record["init_latents_fingerprint"]
    assert json.loads((out / "clip.json").read_text())["model"] == str(tiny)


def test_a_snapshot_of_a_hub_is_named_by_its_model(eav, out, tiny, tmp_path):
    cached = tmp_path / "hub/models--some--Model-2b/snapshots/0123456789abcdef"
    shutil.copytree(tiny, cached)
    assert eav("generate", PROMPT, "--model", cached, *SMALL, "--out", "a.webm").returncode == 0
    assert json.loads(made_of(out / "a.webm"))["model"] == "models--some--Model-2b"


def test_no_metadata(generate, out):
    for name in ("a.mp4", "a.webm"):
        generate("--no-metadata", "--overwrite", "--out", name)
        assert not made_of(out / name)
    assert (out / "a.json").exists()


def test_a_video_asks_for_what_is_not_beside_it(eav, shared, out, tiny, tmp_path):
    for name in (tiny.name, "start.safetensors"):
        (out / name).write_text("a file of this name in the folder of work is not meant")
    line = error_line(eav("generate", "--from", shared, "--out", "b.mp4"))
    assert f"'{shared}' was made with '{tiny.name}', 'start.safetensors'" in line
    assert line.endswith("give --model, --init-latents")
    line = error_line(eav("generate", "--from", shared, "--model", tiny, "--out", "b.mp4"))
    assert tiny.name not in line and line.endswith("give --init-latents")
    given = ("--model", tiny, "--init-latents", tmp_path / "start.safetensors")
    again = eav("generate", "--from", shared, *given, "--out", "b.mp4")
    assert again.returncode == 0 and "warning" not in again.stderr
    assert (out / "b.mp4").read_bytes() == shared.read_bytes()


def test_files_beside_a_video_are_found(eav, shared, out, tiny, tmp_path):
    shutil.copytree(tiny, shared.parent / tiny.name)
    shutil.copy(tmp_path / "start.safetensors", shared.parent)
    again = eav("generate", "--from", shared, "--out", "b.mp4")
    assert again.returncode == 0 and "warning" not in again.stderr, again.stderr
    assert (out / "b.mp4").read_bytes() == shared.read_bytes()


def test_another_file_is_warned_of(eav, shared, generate, tiny, tmp_path):
    generate("--seed", "5", "--latents-only", "--save-latents", str(tmp_path / "other.safetensors"))
    given = ("--model", tiny, "--init-latents", tmp_path / "other.safetensors")
    again = eav("generate", "--from", shared, *given, "--out", "b.mp4")
    assert again.returncode == 0 and "the fingerprint of the initial latents" in again.stderr


def test_a_name_that_is_not_utf8_costs_no_video(generate, eav, out, tiny, tmp_path):
    model = os.fsencode(tmp_path) + b"/caf\xe9"
    shutil.copytree(os.fsencode(tiny), model)
    result = eav("generate", PROMPT, "--model", model, *SMALL, "--out", "a.mp4")
    assert (out / "a.mp4").exists() and result.returncode == 0
