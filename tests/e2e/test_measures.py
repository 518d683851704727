"""eav evaluate, compare and attention-maps as a user runs them."""

import base64
import json
import re
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from conftest import SMALL, error_line


def clip(path, frames=6, size="48x32", source="testsrc"):
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"{source}=size={size}:rate=8", "-frames:v", str(frames),
                    "-c:v", "ffv1", path], check=True)  # fmt: skip
    return path


@pytest.fixture
def fails(eav):
    """Runs the program, which must fail with one line; returns the line."""

    def fails(*arguments, code=1):
        result = eav(*arguments)
        assert result.returncode == code, result.stdout
        return error_line(result)

    return fails


def embedded(page):
    """The data that a page shows; the page loads nothing."""
    text = page.read_text(encoding="utf-8")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(text)
    assert ("script", {}) in tags and not any({"src", "href"} & set(attributes) for _, attributes in tags)
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


# ---- evaluate


def test_evaluate_shows_a_table_and_writes_json(eav, out):
    a, b = clip(out / "a.mkv"), clip(out / "b.mkv", source="testsrc2")
    result = eav("evaluate", a, b, "--reference", a, "--json", "m.json")
    assert result.returncode == 0, result.stderr
    assert "temporal flickering" in result.stdout and "a.mkv" in result.stdout and "equal" in result.stdout
    videos = json.loads((out / "m.json").read_text())["videos"]
    assert [video["frames"] for video in videos] == [6, 6]
    assert videos[0]["reference"]["psnr"] is None and videos[1]["reference"]["psnr"] < 40
    assert len(videos[0]["measures"]) == 11


def test_evaluate_refuses(fails, out):
    video = clip(out / "a.mkv")
    (out / "text.mp4").write_text("no video")
    assert "'missing.mp4'" in fails("evaluate", "missing.mp4")
    assert "'text.mp4'" in fails("evaluate", video, "text.mp4")
    single = clip(out / "one.mkv", frames=1)
    line = fails("evaluate", single)
    assert "one.mkv" in line and "single frame" in line
    other, longer = clip(out / "other.mkv", size="64x32"), clip(out / "longer.mkv", frames=8)
    line = fails("evaluate", other, "--reference", video)
    assert "other.mkv" in line and "64x32" in line and "48x32" in line
    line = fails("evaluate", longer, "--reference", video)
    assert "longer.mkv" in line and "8 frames" in line and "6 frames" in line
    assert "8x8" in fails("evaluate", clip(out / "tiny.mkv", size="8x8"))
    (out / "m.json").write_text("kept")
    assert "exists" in fails("evaluate", video, "--json", "m.json")
    assert (out / "m.json").read_text() == "kept"
    assert "VIDEO" in fails("evaluate", code=2)


# ---- compare


@pytest.fixture
def prompts(out):
    (out / "prompts.txt").write_text("a red circle\na <b>blue</b> square\n")
    return out / "prompts.txt"


@pytest.fixture
def compare(eav, tiny, prompts):
    def compare(*arguments, settings=SMALL[:-2]):
        return eav("compare", "--prompts", prompts, "--model", tiny, *settings, "--out", "c", *arguments)

    return compare


def test_compare_makes_measures_and_reports(compare, eav, out, tiny):
    result = compare("--seeds", "2", "--weights", "0,8,auto", "--jobs", "2")
    assert result.returncode == 0, result.stderr
    assert len(list((out / "c/videos").glob("*.mp4"))) == 2 * 2 * 4
    data = embedded(out / "c/report.html")
    assert data["prompts"] == ["a red circle", "a <b>blue</b> square"]
    assert len(data["pairs"]) == 4 and sorted(data["ranking"]) == [0, 1, 2, 3]
    results = json.loads((out / "c/results.json").read_text())
    pairs = [json.loads(path.read_text()) for path in sorted((out / "c/pairs").glob("*.json"))]
    for contrast in results["contrasts"]:
        values = [[pair[name]["measures"][contrast["measure"]] for pair in pairs] for name in (contrast["variant"], contrast["baseline"])]
        expected = np.array(values[0]) - np.array(values[1])
        assert contrast["of_pairs"] == pytest.approx(list(expected))
        assert contrast["difference"] == pytest.approx(expected.mean())
        assert contrast["interval"][0] <= contrast["difference"] <= contrast["interval"][1]
    ranked = {c["measure"]: c for c in results["contrasts"] if (c["variant"], c["baseline"]) == ("auto", "none")}
    order = np.array(ranked[data["primary"]]["of_pairs"])[data["ranking"]]
    assert list(order) == sorted(order)  # more is better: from the worst to the best
    # The same video as the record beside none of it makes: pair 3 is the second prompt's second seed.
    made = eav("generate", "a <b>blue</b> square", "--model", tiny, *SMALL[:-2], "--threads", "1", "--seed", "4", "--no-enhance",
               "--out", "same.mp4")  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert frames_of(out / "same.mp4") == frames_of(out / "c/videos/003-none.mp4")


def frames_of(video):
    command = ["ffmpeg", "-v", "error", "-i", video, "-f", "framemd5", "-"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split(",")[-1] for line in lines if not line.startswith("#")]


def test_compare_goes_on_where_it_was(compare, out):
    first = compare("--weights", "8", "--jobs", "1")
    assert first.returncode == 0, first.stderr
    report, kept = (out / "c/results.json").read_text(), (out / "c/pairs/000.json").read_text()
    (out / "c/pairs/001.json").unlink()
    (out / "c/pairs/000.json").write_text(kept.replace("}", "} ", 1))  # still the same, and seen not to be written again
    assert "--resume" in error_line(compare("--weights", "8", "--jobs", "1"))
    again = compare("--weights", "8", "--jobs", "1", "--resume")
    assert again.returncode == 0, again.stderr
    assert (out / "c/pairs/000.json").read_text() != kept
    ours, theirs = json.loads((out / "c/results.json").read_text()), json.loads(report)
    assert ours["contrasts"] == theirs["contrasts"]
    changed = compare("--weights", "9", "--jobs", "1", "--resume")
    assert changed.returncode == 1 and "begun with other" in error_line(changed)


def test_variants_of_other_options(compare, eav, out, tiny):
    """Each is compared with the plain one of the same enhancement."""
    names = ["none", "8", "8,steps=1", "8,enhance_start=0", "none,dtype=bfloat16"]
    first = compare("--variants", *names, "--jobs", "1")
    assert first.returncode == 0, first.stderr
    results = json.loads((out / "c/results.json").read_text())
    baselines = {near["variant"]: near["baseline"] for near in results["fidelity"]}
    assert baselines == {"8": "none", "8,steps=1": "8", "8,enhance_start=0": "8", "none,dtype=bfloat16": "none"}
    assert {c["variant"]: c["baseline"] for c in results["contrasts"]} == baselines
    near = {near["variant"]: near for near in results["fidelity"]}
    assert near["8,enhance_start=0"]["psnr"] == {"mean": 100, "interval": [100, 100], "worst": 100}  # the same video
    assert near["8,enhance_start=0"]["ssim"]["worst"] == 1
    assert 30 < near["none,dtype=bfloat16"]["psnr"]["mean"] < 100
    assert [results["variants"][name]["evaluations"] for name in names] == [2, 2, 1, 2, 2]
    assert "8,steps=1 to 8: PSNR" in first.stdout and embedded(out / "c/report.html")["of_options"]
    assert not list((out / "c").glob("frames*")) and not list((out / "c/pairs").glob("*begun*"))

    frames = []
    for steps in ("2", "1"):  # the same videos, of which a folder loses nothing
        made = eav("generate", "a red circle", "--model", tiny, *SMALL[:-4], "--steps", steps, "--threads", "1", "--seed", "1",
                   "--enhance-weight", "8", "--out", f"{steps}/")  # fmt: skip
        assert made.returncode == 0, made.stderr
        frames.append(np.stack([cv2.imread(str(file)) for file in sorted((out / steps).glob("*.png"))]).astype(float))
    expected = 10 * np.log10(255**2 / np.mean((frames[0] - frames[1]) ** 2))
    pairs = [json.loads((out / f"c/pairs/00{i}.json").read_text()) for i in (0, 1)]
    assert pairs[0]["8,steps=1"]["psnr"] == pytest.approx(expected)
    assert near["8,steps=1"]["psnr"]["worst"] == min(pair["8,steps=1"]["psnr"] for pair in pairs)

    # Stopped before the last variant of a pair; the videos that it is compared with are made again.
    file = out / "c/pairs/001.json"
    begun = json.loads(file.read_text())
    del begun["8,steps=1"]
    (out / "c/pairs/001.begun.json").write_text(json.dumps(begun))
    file.unlink()
    again = compare("--variants", *names, "--jobs", "1", "--resume")
    assert again.returncode == 0, again.stderr
    resumed = json.loads(file.read_text())
    assert resumed["none,dtype=bfloat16"] == begun["none,dtype=bfloat16"]  # with its seconds: it was kept
    assert {name: resumed[name]["psnr"] for name in names} == {name: pairs[1][name]["psnr"] for name in names}
    assert "begun with other" in error_line(compare("--variants", *names[:-1], "--jobs", "1", "--resume"))


def test_compare_refuses(fails, out, tiny, prompts):
    common = ("compare", "--model", tiny, *SMALL[:-2], "--out", "c", "--prompts")
    (out / "gap.txt").write_text("one\n\ntwo\n")
    assert "line 2" in fails(*common, "gap.txt")
    assert "cannot be read" in fails(*common, "missing.txt")
    assert "'x' is no weight" in fails(*common, prompts, "--weights", "1,x")
    assert "'101' is no weight" in fails(*common, prompts, "--weights", "101")
    variants = (*common, prompts, "--variants", "none")
    assert "steps: 'x' does not work" in fails(*variants, "8,steps=x")
    assert "there is no option" in fails(*variants, "8,colour=red")
    assert "the same for all variants" in fails(*variants, "8,frames=17")
    assert "is no option and its value" in fails(*variants, "8,auto")
    assert "choose one of" in fails(*variants, "8,dtype=int7")
    assert "HunyuanVideo" in fails(*variants, "8,true_guidance=2")  # of another family
    assert "two variants that differ" in fails(*variants)
    assert "--weights" in fails(*variants, "8", "--weights", "8", code=2)
    assert "no measure" in fails(*common, prompts, "--primary", "beauty")
    assert "between frames" in fails(*common, prompts, "--frames", "1")
    assert "--prompts" in fails("compare", "--out", "c", code=2)
    assert not (out / "c").exists()


# ---- the adaptive weight


def test_the_adaptive_weight_is_recorded_and_made_again(generate, out, eav):
    generate("--enhance-weight", "auto", "--steps", "4", "--trace", "t.json", "--out", "a.mp4", "--seed", "3")
    trace = json.loads((out / "t.json").read_text())
    frames, entries, weights = trace["token_frames"], np.array(trace["entries"]), np.array(trace["weights"])
    assert weights[0] == pytest.approx(0.2 * frames)
    assert entries[:, 3] == pytest.approx(np.maximum(1, entries[:, 2] * (frames + weights)), rel=1e-6)
    assert len({w for w, step in zip(weights, entries[:, 0]) if step == 1}) == 1
    record = json.loads((out / "a.json").read_text())
    assert record["request"]["enhance"]["adaptive"] is True
    again = eav("generate", "--from", "a.json", "--out", "b.mp4")
    assert again.returncode == 0 and frames_of(out / "a.mp4") == frames_of(out / "b.mp4")


def test_a_weight_is_a_number_or_auto(fails, tiny):
    assert "'much' does not work" in fails("generate", "x", "--model", tiny, "--enhance-weight", "much", code=2)


# ---- attention-maps


@pytest.fixture
def trace(generate, out):
    generate("--trace", "t.json", "--trace-maps", "--enhance-weight", "8")
    return json.loads((out / "t.json").read_text())


def test_the_page_shows_the_trace(eav, out, trace):
    assert eav("attention-maps", "t.json", "--out", "maps.html").returncode == 0
    data = embedded(out / "maps.html")
    shown = [[e["step"], e["layer"], e["cfi"], e["gain"]] for e in data["entries"]]
    assert shown == trace["entries"]
    assert [e["map"] for e in data["entries"]] == trace["maps"]
    assert [e["heads"] for e in data["entries"]] == trace["heads"]
    frames = trace["token_frames"]
    assert f"{(frames + 8) / (frames - 1):.3f}" in data["bounds"]
    size = np.frombuffer(base64.b64decode(data["entries"][0]["map"]), "<f2").size
    assert size == frames * frames
    for name, i in (("cfi", 2), ("gain", 3)):
        assert data["scales"][name] == [f(e[i] for e in trace["entries"]) for f in (min, max)]
    assert data["scales"]["heads"] == [f(np.ravel(trace["heads"])) for f in (min, max)]
    viridis = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(256, 1), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    assert data["colours"] == [f"#{bytes(colour).hex()}" for colour in viridis]


def test_layers_that_were_never_scaled_are_named(eav, out, trace):
    frames = trace["token_frames"]
    trace["weight"] = 0.0
    for i, entry in enumerate(trace["entries"]):
        entry[2:] = [(0.5 + 0.01 * i) / frames, 1.0]
    trace["entries"][0][2:] = [2 / frames, 2.0]  # one layer is
    (out / "t2.json").write_text(json.dumps(trace))
    assert eav("attention-maps", "t2.json", "--out", "maps.html").returncode == 0
    data = embedded(out / "maps.html")
    most = {}
    for step, layer, cfi, gain in trace["entries"]:
        most[layer] = (max(cfi, most.get(layer, (0, 1))[0]), max(gain, most.get(layer, (0, 1))[1]))
    expected = {layer: 1 / cfi - frames for layer, (cfi, gain) in most.items() if gain <= 1}
    assert expected
    assert {u["layer"]: u["weight"] for u in data["unscaled"]} == pytest.approx(expected)
    assert all(f"{layer} (above" in data["unscaledNames"] for layer in expected)


def test_two_entries_a_layer_are_two_branches(eav, out, trace):
    for key in ("entries", "heads", "maps"):
        trace[key] = [item for item in trace[key] for _ in range(2)]
    (out / "t2.json").write_text(json.dumps(trace))
    assert eav("attention-maps", "t2.json", "--out", "maps.html").returncode == 0
    assert [e["branch"] for e in embedded(out / "maps.html")["entries"]] == [0, 1] * (len(trace["entries"]) // 2)
    assert eav("attention-maps", "t2.json", "--out", "maps.png").returncode == 0


def test_the_picture_is_one(eav, out, trace):
    assert eav("attention-maps", "t.json", "--out", "maps.png").returncode == 0
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", out / "maps.png", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         capture_output=True, check=True).stdout  # fmt: skip
    pixels = np.frombuffer(raw, np.uint8).reshape(-1, 1200, 3)
    assert len(pixels) > 700 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert eav("attention-maps", "t.json", "--out", "maps.html").returncode == 0
    present = {bytes(colour).hex() for colour in np.unique(pixels.reshape(-1, 3), axis=0)}
    assert len(present & {colour[1:] for colour in embedded(out / "maps.html")["colours"]}) > 230  # in the bars


def test_attention_maps_refuses(fails, generate, out, trace):
    whole = (out / "t.json").read_text()
    for name, text in {
        "cut.json": whole[: len(whole) // 2],
        "other.json": '{"prompt": "x"}',
        "short.json": json.dumps({**trace, "maps": trace["maps"][:-1]}),
        "small.json": json.dumps({**trace, "maps": [text[:4] for text in trace["maps"]]}),
        "wild.json": json.dumps({**trace, "entries": [[0, 99, 0.1, 1.0]]}),
    }.items():
        (out / name).write_text(text)
        line = fails("attention-maps", name, "--out", "maps.html")
        assert f"'{name}' holds no trace" in line, line
    assert "no such file" in fails("attention-maps", "missing.json", "--out", "maps.html")
    assert "end it in .html or .png" in fails("attention-maps", "t.json", "--out", "maps.pdf")
    generate("--trace", "nothing.json", "--no-enhance", "--out", "off.mp4")
    assert "the enhancement was off" in fails("attention-maps", "nothing.json", "--out", "maps.html")
    (out / "maps.html").write_text("kept")
    assert "exists" in fails("attention-maps", "t.json", "--out", "maps.html")
