"""`eav inspect`, `--help` and `--version`."""

import json
import re

import pytest
from conftest import error_line


def test_inspect_shows_parts_memory_and_what_would_be_enhanced(eav, tiny):
    shown = eav("inspect", tiny, "--width", "32", "--height", "16", "--frames", "9")
    assert shown.returncode == 0, shown.stderr
    for words in ("CogVideoX", "text_encoder", "T5EncoderModel", "CogVideoXTransformer3DModel", "AutoencoderKLCogVideoX",
                  "CogVideoXDDIMScheduler", "float32", "9 frames of 32x16", "a run needs", "weight 3.4",
                  "3 token frames (T) of 2 positions (S)"):  # fmt: skip
        assert words in shown.stdout


def test_inspect_takes_a_type_and_refuses_a_size(eav, tiny):
    assert " in bfloat16 on cpu" in eav("inspect", tiny, "--dtype", "bfloat16").stdout
    assert " in float32 with int8 on cpu" in eav("inspect", tiny, "--dtype", "float32", "--quantize", "int8").stdout
    refused = eav("inspect", tiny, "--width", "33")
    assert refused.returncode == 1 and "width is 33" in error_line(refused)


@pytest.mark.parametrize("reach, size", [((300, 300), (1360, 768)), ((12, 10), (96, 80)), ((170, 95), (1360, 760))])
def test_cogvideox_1_5_has_a_size_of_its_own(eav, checkpoint, reach, size):
    """Its sample size is the end of its rotary table, not a size to make videos at."""
    file = checkpoint / "transformer" / "config.json"
    config = json.loads(file.read_text())
    config.update(sample_width=reach[0], sample_height=reach[1], sample_frames=81)

    def standards():
        file.write_text(json.dumps(config))
        options = {option["name"]: option["default"] for option in json.loads(eav("options", "--model", checkpoint, "--json").stdout)}
        return options["width"], options["height"], options["frames"]

    assert standards() == (8 * reach[0], 8 * reach[1], 81)
    config.update(patch_size_t=2, use_rotary_positional_embeddings=True)
    assert standards() == (*size, 81)


def test_version(eav):
    shown = eav("--version")
    assert shown.returncode == 0
    assert re.fullmatch(r"eav \d+\.\d+\.\d+\nPyTorch \d.*\nFFmpeg .*\n", shown.stdout)


@pytest.mark.parametrize("command", [[], ["generate"], ["inspect"], ["options"], ["evaluate"], ["compare"], ["attention-maps"], ["pull"]])
def test_help(eav, command):
    shown = eav(*command, "--help")
    assert shown.returncode == 0 and "--help" in shown.stdout
    assert [line for line in shown.stdout.splitlines() if len(line) > 120] == []


def test_help_names_every_option_with_its_default(eav):
    shown = eav("generate", "--help").stdout
    for option in ("model", "negative-prompt", "prompt-file", "seed", "width", "height", "frames", "fps", "steps", "guidance",
                   "dynamic-guidance", "scheduler", "device", "threads", "dtype", "quantize", "vae-tiling", "enhance-weight", "no-enhance",
                   "enhance-start", "enhance-end", "enhance-layers", "out", "overwrite", "init-latents", "save-latents", "trace",
                   "from", "true-guidance", "flow-shift", "enhance-blocks", "offload", "latents-only",
                   "image", "video", "frame-index", "strength", "image-fit", "timesteps", "denoise-strength",
                   "image-cond-noise-scale", "vae-framewise", "text-encoder", "trace-maps", "vae", "resolution", "aspect", "length", "loop",
                   "aesthetic-score", "motion-score", "camera-motion", "no-clean-prompt", "last-image"):  # fmt: skip
        assert f"--{option}" in shown
    assert "3.4" in shown and "50" in shown
