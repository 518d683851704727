"""--preview: pictures of a video while it is denoised, which change nothing of it."""

import subprocess

import pytest
from conftest import PROGRAM, SMALL
from PIL import Image
from same_bits import arguments_for
from tiny_checkpoints import make_checkpoint

RUNS = {
    "cogvideox-dpm": "--steps 3",
    "cogvideox-1.5": "--dtype bfloat16 --steps 3",
    "hunyuan-video": "--steps 3",
    "hunyuan-image-replace": "--steps 3",
    "ltx-condition": "--image inputs/fits.png --image-cond-noise-scale 0.5 --decode-timestep 0.1 --steps 3",
    "open-sora": "--frames 34 --loop 2 --width 32 --height 24 --image inputs/wide.png --strength 0.6 --steps 3",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "enhance-a-video" / "preview"


@pytest.mark.parametrize("name", RUNS)
def test_a_preview_changes_no_bit(files, tmp_path, cache, name):
    make_checkpoint(name, files)

    def latents(*more):
        file = tmp_path / f"{len(more)}.safetensors"
        command = [PROGRAM, "generate", *arguments_for(name, RUNS[name]), "--out", file.with_suffix(".gif"),
                   "--save-latents", file, *more]  # fmt: skip
        result = subprocess.run(command, cwd=files, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert "preview" not in result.stderr
        return file.read_bytes(), file.with_suffix(".gif").read_bytes()

    alone = latents()
    assert latents("--preview", tmp_path / "p.png") == alone
    assert latents("--preview", tmp_path / "p.gif", "--preview-every", "0") == alone
    assert len(list(cache.iterdir())) == 1
    with Image.open(tmp_path / "p.png") as picture, Image.open(tmp_path / "p.gif") as frames:
        assert picture.size == frames.size and max(picture.size) >= 256
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 1


def test_what_cannot_be_a_preview_is_refused(refused, out):
    assert "--preview" in refused("--preview", "p.jpg")
    (out / "p.png").write_text("mine")
    assert "exists" in refused("--preview", "p.png")
    assert (out / "p.png").read_text() == "mine"
    assert "would both be" in refused("--out", "a.gif", "--preview", "a.gif")


def test_a_damaged_map_is_made_anew(generate, out, cache):
    generate("--preview", "p.png", "--seed", "1")
    (file,) = cache.iterdir()
    good = file.read_bytes()
    file.write_bytes(b"nothing")
    generate("--preview", "p.png", "--seed", "1", "--overwrite", "--out", "again.mp4")
    assert file.read_bytes() == good


def test_a_preview_that_cannot_be_written_is_said_once(eav, out, tiny):
    (out / "shown").mkdir()
    # The folder goes as soon as the run has looked for it.
    script = '"$@" & until [ -e a.mp4.resume ]; do sleep 0.01; done; mv shown gone; wait $!'
    command = [PROGRAM, "generate", "a circle", "--model", tiny, *SMALL, "--steps", "400", "--out", "a.mp4",
               "--preview", "shown/p.png", "--preview-every", "0", "--checkpoint-every", "0"]  # fmt: skip
    result = subprocess.run(["sh", "-c", script, "sh", *map(str, command)], cwd=out, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (out / "a.mp4").exists()
    assert result.stderr.count("there is no preview") == 1
