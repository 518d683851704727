"""What `eav generate` writes and says."""

import base64
import json
import resource
import signal
import subprocess

import imageio.v3 as imageio
import numpy as np
import pytest
from conftest import PROMPT, SMALL
from safetensors.numpy import load_file, save_file


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def probe(video):
    """What FFmpeg's own program says about a video."""
    shown = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", video],
        capture_output=True,
        check=True,
    )
    found = json.loads(shown.stdout)
    return found["streams"][0], found["format"].get("tags", {})


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_video_plays_and_carries_its_record(generate, out, suffix):
    result = generate("--seed", "7", "--fps", "12", "--out", f"clip.{suffix}")
    stream, tags = probe(out / f"clip.{suffix}")
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (32, 16, "9")
    assert stream["r_frame_rate"] == "12/1"
    record = json.loads((out / "clip.json").read_text())
    comment = json.loads(tags.get("comment") or tags["COMMENT"])
    record.pop("seconds")  # not in the video: the same request gives the same bytes
    record["model"] = record["model"].rsplit("/", 1)[1]  # a video is given away, its folders are nobody's business
    assert comment == record
    assert result.stdout.startswith(f"clip.{suffix}: 9 frames of 32x16 at 12 fps, ")
    assert "seed 7\n" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["clip.json", f"clip.{suffix}"]


def test_the_default_name_holds_the_seed_that_was_drawn(generate, out):
    result = generate()
    (video,) = out.glob("eav-*.mp4")
    seed = int(video.stem.removeprefix("eav-"))
    assert f"seed {seed}\n" in result.stdout
    assert json.loads(video.with_suffix(".json").read_text())["request"]["seed"] == seed


def test_gif(generate, out):
    generate("--out", "clip.gif")
    assert imageio.imread(out / "clip.gif").shape == (9, 16, 32, 3)


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_gets_pictures_and_the_record_lies_beside_it(generate, out, exists):
    if exists:
        (out / "clip").mkdir()
    generate("--out", "clip" if exists else "clip/")
    assert sorted(pictures(out / "clip")) == [f"frame_{i:05}.png" for i in range(9)]
    assert imageio.imread(out / "clip" / "frame_00000.png").shape == (16, 32, 3)
    assert (out / "clip.json").exists()


def test_the_record_holds_every_option_of_the_model(generate, out, tiny):
    generate("--seed", "3", "--negative-prompt", "blur", "--enhance-layers", "0-1", "--enhance-end", "0.5", "--out", "a.mp4")
    record = json.loads((out / "a.json").read_text())
    assert record["request"] == {
        "prompt": PROMPT,
        "negative_prompt": "blur",
        "seed": 3,
        "width": 32,
        "height": 16,
        "frames": 9,
        "fps": 8,
        "steps": 2,
        "guidance": 6,
        "dynamic_guidance": False,
        "guidance_start": 0,
        "guidance_end": 1,
        "cache": "none",
        "scheduler": "ddim",
        "vae_tiling": "off",
        "latents_only": False,
        "enhance": {"enabled": True, "weight": 3.4, "adaptive": False, "start": 0, "end": 0.5, "layers": "0-1"},
        "init_latents": "",
    }
    assert record["model"] == str(tiny)
    assert (record["device"], record["dtype"], record["threads"]) == ("cpu", "float32", 1)
    assert all(record[field] for field in ("eav", "torch", "cpu", "fingerprint"))
    assert record["enhanced"]["token_frames"] == 3
    assert record["enhanced"]["measured"] == 2  # one of two steps, two layers
    assert set(record["seconds"]) == {"text_encoder", "transformer", "vae"}


@pytest.mark.parametrize("source", ["first.json", "first.mp4", "first.webm"])
def test_from_makes_the_same_video_again(generate, eav, out, tiny, source):
    model = () if source == "first.json" else ("--model", tiny)  # a video says no more than its name
    video = "first.webm" if source == "first.webm" else "first.mp4"
    changed = ("--seed", "5", "--negative-prompt", "blur", "--scheduler", "dpm", "--guidance", "3", "--dynamic-guidance",
               "--enhance-weight", "7.25", "--enhance-start", "0.25", "--vae-tiling", "on")  # fmt: skip
    generate(*changed, "--out", video)
    generate(*changed, "--out", "frames/")
    again = eav("generate", "--from", source, *model, "--out", "again/")
    assert again.returncode == 0, again.stderr
    assert "warning" not in again.stderr
    assert pictures(out / "again") == pictures(out / "frames")
    again = eav("generate", "--from", source, *model, "--out", f"copy{video[5:]}")
    assert (out / f"copy{video[5:]}").read_bytes() == (out / video).read_bytes()


def test_from_takes_changes_and_says_what_differs(generate, eav, out):
    generate("--seed", "5", "--out", "first.mp4")
    record = json.loads((out / "first.json").read_text())
    record |= {"torch": "1.0", "cpu": "abacus", "fingerprint": "0"}
    (out / "first.json").write_text(json.dumps(record))
    again = eav("generate", "a blue square", "--from", "first.json", "--threads", "2", "--steps", "3", "--no-enhance", "--out", "b.mp4")
    assert again.returncode == 0, again.stderr
    warnings = [line for line in again.stderr.splitlines() if line.startswith("eav: warning: ")]
    assert len(warnings) == 4
    for word in ("PyTorch is ", "the CPU is ", "fingerprint is ", "threads is 2"):
        assert sum(word in line for line in warnings) == 1
    assert "enhancement: off" in again.stdout
    request = json.loads((out / "b.json").read_text())["request"]
    assert (request["prompt"], request["seed"], request["steps"]) == ("a blue square", 5, 3)
    assert request["enhance"]["enabled"] is False


def test_latents_can_be_saved_and_started_from(generate, eav, out):
    generate("--seed", "1", "--out", "a.mp4", "--save-latents", "a.safetensors")
    latents = load_file(out / "a.safetensors")["latents"]
    assert latents.shape == (1, 3, 4, 2, 4) and latents.dtype == np.float32 and latents.std() > 0
    generate("--seed", "1", "--init-latents", "a.safetensors", "--out", "b/")
    generate("--seed", "2", "--init-latents", "a.safetensors", "--out", "c/")
    assert pictures(out / "b") == pictures(out / "c")  # ddim draws no noise of its own

    latents[0, 0, 0, 0, 0] += 1
    save_file({"latents": latents}, out / "a.safetensors")
    again = eav("generate", "--from", "b.json", "--out", "d/")
    assert again.returncode == 0 and "initial latents is " in again.stderr


def test_trace(generate, out):
    result = generate("--seed", "1", "--enhance-weight", "100", "--out", "a.mp4", "--trace", "trace.json")
    trace = json.loads((out / "trace.json").read_text())
    assert (trace["token_frames"], trace["weight"], trace["steps"], trace["layers"]) == (3, 100, 2, 2)
    assert [entry[:2] for entry in trace["entries"]] == [[step, layer] for step in range(2) for layer in range(2)]
    for _, _, cfi, gain in trace["entries"]:
        assert 0 < cfi < 0.5 and gain == pytest.approx(max(1, cfi * 103), rel=1e-6)
    assert "enhancement: 4 of 4 layer-steps scaled, by up to " in result.stdout


def maps_of(trace):
    """The temporal attention maps of a trace, [entry, T, T] in float64."""
    size = trace["token_frames"]
    return np.stack([np.frombuffer(base64.b64decode(text, validate=True), "<f2").reshape(size, size) for text in trace["maps"]]).astype(float)  # fmt: skip


def test_a_trace_holds_heads_and_maps_of_the_same_attention(generate, out):
    """The mean of the heads is CFI, and so is the mean off the diagonal of the map, whose rows sum to 1."""
    generate("--seed", "1", "--out", "a/", "--trace", "plain.json")
    generate("--seed", "1", "--out", "b/", "--trace", "maps.json", "--trace-maps")
    plain, traced = (json.loads((out / name).read_text()) for name in ("plain.json", "maps.json"))
    assert pictures(out / "a") == pictures(out / "b")  # nothing but the trace changes
    assert "maps" not in plain and {**plain, "maps": traced["maps"]} == traced
    cfi = [entry[2] for entry in traced["entries"]]
    np.testing.assert_allclose(np.mean(traced["heads"], 1), cfi, rtol=1e-6)
    assert all(len(set(heads)) == 2 for heads in traced["heads"])  # two heads, each with a CFI of its own
    maps = maps_of(traced)
    assert len(maps) == 4
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=2e-3)
    np.testing.assert_allclose(maps[:, ~np.eye(3, dtype=bool)].mean(-1), cfi, rtol=1e-3)


def test_it_says_what_to_change_when_nothing_was_enhanced(generate, out):
    def printed(*options):
        result = generate("--seed", "1", "--overwrite", "--out", "a.mp4", "--trace", "t.json", *options)
        return result.stdout.splitlines()[-1]

    assert printed("--no-enhance") == "enhancement: off"
    assert printed("--frames", "1") == "enhancement: a single token frame has no other frame to attend to"
    nothing = printed("--enhance-weight", "0")
    largest = max(cfi for _, _, cfi, _ in json.loads((out / "t.json").read_text())["entries"])
    if largest * 3 <= 1:
        assert f"raise --enhance-weight above {1 / largest - 3:.1f}" in nothing
    else:
        assert "scaled, by up to" in nothing


def test_enhancement_changes_the_video(generate, out):
    generate("--seed", "1", "--enhance-weight", "100", "--out", "on/")
    generate("--seed", "1", "--no-enhance", "--out", "off/")
    assert pictures(out / "on") != pictures(out / "off")


def test_prompt_file(eav, generate, out, tiny):
    prompts = ["a red circle", "ein blaues Quadrat, größer", "a red circle"]
    (out / "prompts.txt").write_text("\ufeff" + "\r\n".join(prompts) + "\n")
    result = eav("generate", "--prompt-file", "prompts.txt", "--model", tiny, "--seed", "40", "--steps", "2", "--width", "32",
                 "--height", "16", "--threads", "1", "--out", "clip/", "--trace", "t.json")  # fmt: skip
    assert result.returncode == 0, result.stderr
    for i, prompt in enumerate(prompts):
        request = json.loads((out / f"clip-{i:03}.json").read_text())["request"]
        assert (request["prompt"], request["seed"]) == (prompt, 40 + i)
        assert len(pictures(out / f"clip-{i:03}")) == 9
        assert (out / f"t-{i:03}.json").exists()
    generate("--seed", "42", "--out", "alone/", prompt="a red circle")
    assert pictures(out / "alone") == pictures(out / "clip-002")


def test_a_long_prompt_is_cut_with_a_warning_that_quotes_what_was_cut(generate):
    prompt = PROMPT + 20 * " moving" + " to the end"
    (warning,) = [line for line in generate("--out", "a.mp4", prompt=prompt).stderr.splitlines() if "warning" in line]
    assert warning.startswith("eav: warning: ")
    assert 'the end"' in warning and PROMPT not in warning


def test_progress_is_a_few_plain_lines_when_nobody_watches(generate):
    result = generate("--seed", "1", "--steps", "60", "--out", "a.mp4")
    assert "\r" not in result.stderr and "\x1b" not in result.stderr
    lines = result.stderr.splitlines()
    assert sum(line.startswith("transformer ") for line in lines) == 10
    assert len(lines) < 40
    assert "transformer 60/60 in " in result.stderr


def test_an_existing_file_is_replaced_when_asked(generate, refused, out):
    generate("--seed", "1", "--out", "a.mp4")
    first = (out / "a.mp4").read_bytes()
    assert refused("--out", "a.mp4") == "'a.mp4' exists; --overwrite it, or choose another name"
    (out / "a.mp4").unlink()
    assert "'a.json' exists" in refused("--out", "a.mp4")
    generate("--seed", "2", "--out", "a.mp4", "--overwrite")
    assert (out / "a.mp4").read_bytes() != first


def test_latents_only(eav, tiny, out):
    """The latents of a run that stops before the VAE are those of one that does not; no video is written."""
    options = ["--model", tiny, "--seed", "3", "--steps", "1", "--threads", "1"]
    assert eav("generate", PROMPT, *options, "--save-latents", "whole.safetensors", "--out", "a.gif", cwd=out).returncode == 0
    done = eav("generate", PROMPT, *options, "--save-latents", "part.safetensors", "--latents-only", cwd=out)
    assert done.returncode == 0 and "part.safetensors: latents of 1 x " in done.stdout
    assert (out / "part.safetensors").read_bytes() == (out / "whole.safetensors").read_bytes()
    assert json.loads((out / "part.json").read_text())["request"]["latents_only"] is True
    assert not list(out.glob("*.mp4"))
    for wrong in (["--latents-only"], ["--latents-only", "--save-latents", "x.safetensors", "--out", "x.mp4"]):
        refused = eav("generate", PROMPT, *options, *wrong, cwd=out)
        assert refused.returncode == 1 and "--latents-only" in refused.stderr


def test_offload_changes_nothing(eav, tiny, out):
    """Blocks that are loaded one at a time give the same bits."""
    options = ["--model", tiny, "--seed", "3", "--steps", "2", "--threads", "1", "--latents-only"]
    for name, more in (("a", []), ("b", ["--offload"])):
        assert eav("generate", PROMPT, *options, *more, "--save-latents", f"{name}.safetensors", cwd=out).returncode == 0
    assert (out / "a.safetensors").read_bytes() == (out / "b.safetensors").read_bytes()


def test_frames_go_into_a_folder_that_holds_others(eav, generate, out, tiny):
    (out / "prompts.txt").write_text("a red circle\na blue square\n")
    for index in (0, 1):
        (out / f"frames-00{index}" / "kept").mkdir(parents=True)
        (out / f"frames-00{index}" / "frame_00009.png").write_text("of an earlier run")
    made = eav("generate", "--prompt-file", "prompts.txt", "--model", tiny, "--seed", "1", *SMALL, "--out", "frames/", "--overwrite")
    assert made.returncode == 0, made.stderr
    for index in (0, 1):
        names = sorted(file.name for file in (out / f"frames-00{index}").iterdir())
        assert names == [*(f"frame_{i:05}.png" for i in range(9)), "kept"]


def test_what_fails_to_be_replaced_stays(eav, generate, out, tiny):
    """The video cannot take its place: the record, trace and latents of the one before are still there."""
    files = ("--save-latents", "l.safetensors", "--trace", "t.json", "--out", "a.mp4")
    generate("--seed", "1", *files)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    most = len(before["a.mp4"]) * 3 // 4
    assert all(len(content) < most for name, content in before.items() if name != "a.mp4")
    code = eav("generate", "another", "--model", tiny, "--seed", "2", *SMALL, *files, "--overwrite",
               preexec_fn=lambda: limit_written(most))  # fmt: skip
    assert code.returncode == 1 and "cannot write 'a.mp4'" in code.stderr
    after = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".resume"}
    assert after == before


def limit_written(most):
    """No file may grow beyond: less than a video, more than what lies beside it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
