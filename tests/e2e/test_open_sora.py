"""Open-Sora as a user runs it: its folders, sizes by name, and what cannot work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, error_line

sys.path.insert(0, str(ROOT / "tests"))

SMALL = ("--height", "24", "--width", "32", "--frames", "17", "--steps", "1", "--seed", "1", "--threads", "1")


@pytest.fixture(scope="module")
def open_sora(tmp_path_factory):
    from tiny_open_sora import save_tiny_open_sora

    folder = tmp_path_factory.mktemp("open_sora") / "open-sora"
    save_tiny_open_sora(folder)
    return folder


@pytest.fixture
def refused(eav, open_sora, out):
    """Runs the program, which must fail with one line of error and leave nothing; returns the line."""

    def refused(*arguments, prompt="a red circle", model=None, small=SMALL):
        before = sorted(out.iterdir())
        result = eav("generate", prompt, "--model", model or open_sora, *small, *arguments)
        assert result.returncode == 1, result.stdout
        assert sorted(out.iterdir()) == before
        return error_line(result)

    return refused


def test_folders_named_one_by_one(eav, open_sora, out):
    whole = eav("generate", "a red circle", "--model", open_sora, *SMALL, "--out", "whole/")
    assert whole.returncode == 0, whole.stderr
    parts = ("--model", open_sora / "OpenSora-STDiT-v3", "--vae", open_sora / "OpenSora-VAE-v1.2", "--text-encoder",
             open_sora / "t5-v1_1-xxl")  # fmt: skip
    apart = eav("generate", "a red circle", *parts, *SMALL, "--out", "apart/")
    assert apart.returncode == 0, apart.stderr
    pictures = [path.name for path in (out / "whole").iterdir()]
    assert len(pictures) == 17
    assert all((out / "whole" / name).read_bytes() == (out / "apart" / name).read_bytes() for name in pictures)
    assert eav("inspect", open_sora / "OpenSora-STDiT-v3", *parts[2:]).returncode == 0


def test_the_record_makes_it_again(eav, open_sora, out):
    options = ("--loop", "2", "--frames", "34", "--motion-score", "3", "--camera-motion", "pan left", "--aesthetic-score",
               "5", "--no-clean-prompt")  # fmt: skip
    first = eav("generate", "a red circle", "--model", open_sora, *SMALL[:4], *SMALL[6:], *options, "--out", "a/")
    assert first.returncode == 0, first.stderr
    assert "51 frames of 32x24" in first.stdout
    again = eav("generate", "--from", "a.json", "--out", "b/")
    assert again.returncode == 0, again.stderr
    assert "may differ" not in again.stderr
    assert all((out / "b" / path.name).read_bytes() == path.read_bytes() for path in (out / "a").iterdir())


@pytest.mark.parametrize(
    "resolution, aspect, size",  # height and width as the release's documentation lists them, to the 8 pixels of a latent
    [("240p", None, (240, 426)), ("240p", "3:4", (276, 368)), ("240p", "1:1", (320, 320)), (None, "16:9", (426, 240)),
     ("480p", "9:16", (480, 854)), ("720p", "3:4", (832, 1110))],  # fmt: skip
)
def test_sizes_by_name(eav, open_sora, resolution, aspect, size):
    named = [*(["--resolution", resolution] if resolution else []), *(["--aspect", aspect] if aspect else [])]
    told = eav("generate", "x", "--model", open_sora, *named, "--frames", "1", "--steps", "1", "--latents-only",
               "--save-latents", "l.safetensors")  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert f"1 frames of {size[1] // 8 * 8}x{size[0] // 8 * 8}," in told.stderr


def test_bad_requests(refused):
    assert "no negative prompt" in refused("--negative-prompt", "blurred")
    assert "'100p', expected 144p, 240p" in refused("--resolution", "100p", small=())
    assert "expected height:width: 3:8, 9:21" in refused("--aspect", "5:1", small=())
    assert "expected 2s, 4s" in refused("--length", "3s", small=())
    assert "leave one of the two out" in refused("--resolution", "240p")
    assert "leave one of the two out" in refused("--length", "2s")
    assert "expected 1, or at least 17" in refused("--frames", "9")
    assert "expected at least 8" in refused("--width", "7")
    assert "a multiple of 17 from 34 on" in refused("--loop", "2")
    assert "this Open-Sora has no --vae-tiling" in refused("--vae-tiling", "on")
    assert "this Open-Sora has no --flow-shift: leave that option out (HunyuanVideo, LTX-Video, Wan take it)" in refused("--flow-shift", "3")


def test_bad_conditions(refused, tmp_path):
    picture = tmp_path / "picture.png"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=40x30", "-frames:v", "1", picture], check=True)
    assert "no such file" in refused("--image", "missing.png")
    assert "begins with one" in refused("--image", picture, "--image", picture)
    assert "ends with one" in refused("--last-image", picture, "--last-image", picture)
    assert "at the beginning" in refused("--image", picture, "--frame-index", "4")
    assert "has no end" in refused("--last-image", picture, "--frames", "1")


def test_bad_checkpoints(refused, open_sora, tmp_path):
    assert "--vae and --text-encoder" in refused(model=open_sora / "OpenSora-STDiT-v3")
    broken = Path(shutil.copytree(open_sora, tmp_path / "broken"))
    encoder = broken / "t5-v1_1-xxl"
    (encoder / "model.safetensors").rename(encoder / "pytorch_model-00001-of-00001.bin")
    line = refused(model=broken)
    assert ".bin" in line and "T5EncoderModel.from_pretrained" in line
    shutil.rmtree(encoder)
    assert "T5 encoder" in refused(model=broken)
    config = broken / "OpenSora-VAE-v1.2" / "config.json"
    fields = json.loads(config.read_text())
    fields["vae_temporal"]["num_groups"] = 5
    shutil.copytree(open_sora / "t5-v1_1-xxl", encoder)
    config.write_text(json.dumps(fields))
    assert "channel_multipliers" in refused(model=broken)
    config.unlink()
    assert str(config) in refused(model=broken)


def test_warns_of_what_is_taken_out(eav, open_sora):
    result = eav("generate", "a 红 <b>circle</b>", "--model", open_sora, *SMALL, "--out", "x/")
    assert result.returncode == 0
    assert "were taken out of the prompt" in result.stderr
    assert "was taken for a tag and left out" in result.stderr
