"""`--quantize int8` as a whole: videos of tiny checkpoints of every family close to those in float32 and other than them,
and what records, other processors and packed files make of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from comparing import options
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_checkpoints import make_checkpoint  # noqa: E402

PROMPT = "a red circle"
SIZE = {"width": 96, "height": 64, "frames": 17, "steps": 4, "seed": 1, "dtype": "float32"}
FAMILIES = {
    "cogvideox-5b": {},
    "hunyuan-video": {},
    "ltx-video-0.9.0": {},
    "open-sora": {"height": 96},
    "wan-i2v": {"image": "picture.png"},
}
# A video whose transformer is told the prompt wrong, or whose layers take each other's weights, has less than 20 dB.
LEAST, MOST = 38, 90


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return lambda name: make_checkpoint(name, folder)


@pytest.fixture
def frames(build_dir, tmp_path):
    """frames(model, quantize="int8"): the video's pictures, what was said, and the record."""
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(tmp_path / "picture.png")

    def frames(*model, **changed):
        out = tmp_path / f"frames-{len(list(tmp_path.glob('frames-*')))}"
        asked = options(**{**SIZE, **changed}) if "--from" not in model else []
        command = [build_dir / "eav", "generate", *model, *asked, "--out", f"{out}/"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        pictures = np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in sorted(out.glob("*.png"))])
        return pictures, done.stderr, next(tmp_path.glob(f"{out.name}*.json"), out / "video.json")

    return frames


def psnr(ours, theirs):
    return 10 * np.log10(255**2 / max(np.mean((ours - theirs) ** 2), 1e-12))


@pytest.mark.parametrize("name", FAMILIES)
def test_videos_are_close_to_float32(frames, checkpoint, name):
    model = (PROMPT, "--model", checkpoint(name))
    plain, quantised = (frames(*model, quantize=q, **FAMILIES[name])[0] for q in ("none", "int8"))
    print(name, psnr(quantised, plain))
    assert LEAST < psnr(quantised, plain) < MOST


def test_records_hold_it_and_parts_may_have_their_own(frames, checkpoint):
    model = (PROMPT, "--model", checkpoint("cogvideox-5b"))
    both, said, record = frames(*model, quantize="int8")
    assert "warning" not in said
    assert json.loads(record.read_text())["quantize"] == "int8"
    assert np.array_equal(frames("--from", record)[0], both)
    assert np.array_equal(frames(*model, "--offload", quantize="int8")[0], both)
    part, _, record = frames(*model, quantize="int8,text_encoder=none")
    assert json.loads(record.read_text())["quantize"] == "int8,text_encoder=none"
    assert not np.array_equal(part, both)


def test_a_processor_without_exact_products(frames, checkpoint, monkeypatch):
    model = (PROMPT, "--model", checkpoint("cogvideox-5b"))
    plain = frames(*model)[0]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    other, said, _ = frames(*model, "--offload", quantize="int8")
    assert said.count("no exact products in int8") == 1
    assert LEAST < psnr(other, plain) < MOST


def test_packed_weights_are_rounded_again(frames, checkpoint, run, tmp_path):
    run("eav", "convert", checkpoint("wan-t2v"), "--type", "fp8", "--out", tmp_path / "wan.safetensors")
    packed = shutil.copytree(checkpoint("wan-t2v"), tmp_path / "packed")
    shutil.copy(tmp_path / "wan-transformer.safetensors", packed / "transformer" / "diffusion_pytorch_model.safetensors")
    model = (PROMPT, "--model", packed)
    plain = frames(*model)[0]
    other, said, _ = frames(*model, quantize="int8")
    assert "transformer is stored in float8_e4m3: its blocks are rounded a second time" in said
    assert LEAST < psnr(other, plain) < MOST
