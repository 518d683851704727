"""`eav inspect`, `--help` and `--version`."""

import json
import re
from pathlib import Path

import pytest
from conftest import SMALL, error_line
from safetensors.numpy import load_file, save_file


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


@pytest.mark.parametrize("command", [[], ["generate"], ["inspect"], ["options"], ["evaluate"], ["compare"], ["attention-maps"], ["pull"], ["bench"]])
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


def test_auto_follows_the_stored_type_and_the_cpu(eav, checkpoint, out):
    def chosen():
        return re.search(r" in (\w+) on cpu", eav("inspect", checkpoint).stdout)[1]

    flags = Path("/proc/cpuinfo").read_text()
    multiplies = re.search(r"^(flags|Features)\s*:.*\b(avx512_bf16|bf16)\b", flags, re.M) is not None
    assert chosen() == "float32"
    weights = checkpoint / "transformer/diffusion_pytorch_model.safetensors"
    save_file({key: tensor.astype("float16") for key, tensor in load_file(weights).items()}, weights)
    assert chosen() == ("bfloat16" if multiplies else "float32")
    made = eav("generate", "a", "--model", checkpoint, *SMALL, "--out", "a.mp4")
    assert made.returncode == 0, made.stderr
    recorded = json.loads((out / "a.json").read_text())["dtype"]
    assert recorded == ("bfloat16,vae=float32" if multiplies else "float32")  # the VAE is no faster in bfloat16
    assert f"; in {recorded}\n" in made.stdout
    (checkpoint / "eav.json").write_text('{"dtype": "float16"}')
    assert chosen() == "float16"
    (checkpoint / "eav.json").write_text('{"dtype": "int7"}')
    line = error_line(eav("inspect", checkpoint))
    assert "eav.json" in line and '"int7" is unknown' in line


def test_bench_tells_what_a_video_takes(eav, tiny):
    size = ("--width", "64", "--height", "64", "--frames", "9", "--steps", "7", "--threads", "1", "--dtype", "float32")
    shown = eav("bench", "--model", tiny, *size, "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["tokens"], found["steps"]) == (3 * 16, 7)  # 4 pixels of a latent one, and 4 of these of a token
    (rate,), (estimate,) = found["rates"], found["estimates"]
    assert rate["type"] == estimate["type"] == "float32" and rate["linear_gflops"] > 1 and rate["attention_gflops"] > 1
    assert [(block["name"], block["count"]) for block in estimate["blocks"]] == [("transformer_blocks", 2)]
    seconds = estimate["seconds"]
    assert estimate["timed_at_tokens"][-1] == found["tokens"]
    assert seconds["step"] >= 2 * estimate["blocks"][0]["seconds"] > 0 and seconds["vae"] > 0
    assert seconds["transformer"] == pytest.approx(7 * seconds["step"])
    assert seconds["video"] == pytest.approx(seconds["transformer"] + seconds["text_encoder"] + seconds["vae"])
    table = eav("bench", "--model", tiny, *size)
    assert "one of 2 transformer_blocks" in table.stdout and "a video, about" in table.stdout
    assert "frames is 8" in error_line(eav("bench", "--model", tiny, *size, "--frames", "8"))
