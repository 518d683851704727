"""Records of earlier programs open, and make what they describe: tests/data/records, which same_bits.py made.

What a record asks for is compared with the same request by options, made by the same program: bits differ from one
machine to another.
"""

import json
import shutil
import sys

import pytest
from conftest import PROGRAM, ROOT, error_line

sys.path.insert(0, str(ROOT / "tests"))
from same_bits import Program, hash_of, made_in  # noqa: E402

RECORDS = ROOT / "tests/data/records"
MADE_IN = "/tmp/eav-records"  # the folder that records name
ARGUMENTS = json.loads((RECORDS / "arguments.json").read_text())
NAMES = sorted(name for name in ARGUMENTS if name != "compare")
VIDEOS = sorted(str(file.relative_to(RECORDS)) for name in NAMES for file in RECORDS.glob(f"{name}.[mw]*"))

# What records hold of an option that their model does not have, where it is not null.
DEFAULTS = {
    "dynamic_guidance": False,
    "vae_tiling": "off",
    "image_fit": "stretch",
    "vae_framewise": False,
    "timesteps": [],
    "conditions": [],
    "clean_prompt": True,
    "loop": 1,
    "enhance.blocks": "all",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, run where checkpoints/ and inputs/ lie."""
    from tiny_checkpoints import make_checkpoint, make_inputs

    checkpoints = tmp_path_factory.mktemp("checkpoints")
    make_inputs(checkpoints)
    for name in {name.split("/")[0] for name in NAMES}:
        make_checkpoint(name, checkpoints)
    return Program(PROGRAM, checkpoints, tmp_path_factory.mktemp("old-records"))


@pytest.fixture(scope="module")
def generate(program):
    """generate(arguments, name) is what the program makes, by hashes, and the request of the record that it writes."""

    def generate(arguments, name, latents_only=False):
        folder = program.generate(arguments, name, latents_only)
        record = json.loads((folder / ("latents.json" if latents_only else "frames.json")).read_text())
        return {what: hash_of(thing) for what, thing in made_in(folder).items()}, record["request"]

    return generate


@pytest.fixture(scope="module")
def by_options(generate):
    """by_options(name) is the same of the options that a record was made with."""
    made = {}

    def by_options(name):
        if name not in made:
            made[name] = generate(ARGUMENTS[name], f"options/{name}", is_latents_only(name))[0]
        return made[name]

    return by_options


@pytest.fixture
def old(program):
    """old(name) is the record of this name, with files where they lie here."""
    return lambda name: json.loads((RECORDS / f"{name}.json").read_text().replace(MADE_IN, str(program.folder)))


@pytest.fixture
def write(tmp_path):
    """write(record) is its file."""

    def write(record):
        (tmp_path / "record.json").write_text(json.dumps(record))
        return tmp_path / "record.json"

    return write


def is_latents_only(name):
    return "--latents-only" in ARGUMENTS[name]


def not_recorded(name):
    """Of a record's options, those that it does not hold and that show in the trace."""
    return ["--trace-maps"] if "--trace-maps" in ARGUMENTS[name] else []


def files_named_anew(name):
    """Of a record's options, those that name files, and what belongs to them."""
    options = ("--model", "--vae", "--text-encoder", "--init-latents", "--image", "--video", "--last-image",
               "--frame-index", "--strength")  # fmt: skip
    pairs = zip(ARGUMENTS[name], ARGUMENTS[name][1:], strict=False)
    return [part for option, value in pairs if option in options for part in (option, value)]


def by_field(request):
    """{"enhance": {"weight": 4}} -> {"enhance.weight": 4}"""
    inner = {f"enhance.{field}": value for field, value in request.get("enhance", {}).items()}
    return {field: value for field, value in request.items() if field != "enhance"} | inner


def assert_same_request(new, old):
    new, old = by_field(new), by_field(old)
    for field, value in old.items():
        spelled = next((name for name in (field, field.replace(".", "_")) if name in new), None)
        if spelled:
            assert value == new[spelled], field
        else:  # another family's
            assert value is None or value == DEFAULTS.get(field), field


@pytest.mark.parametrize("name", NAMES)
def test_a_record_makes_what_its_options_make(generate, by_options, old, write, name):
    record = old(name)
    made, request = generate(["--from", write(record), *not_recorded(name)], f"json/{name}", is_latents_only(name))
    assert made == by_options(name)
    assert_same_request(request, record["request"])


@pytest.mark.parametrize("file", VIDEOS[::2])  # their records are those of the .json files
def test_a_video_makes_what_its_options_make(generate, by_options, old, file):
    name, suffix = file.rsplit(".", 1)
    arguments = ["--from", RECORDS / file, *files_named_anew(name), *not_recorded(name)]
    made, request = generate(arguments, f"{suffix}/{name}")
    assert made == by_options(name)
    assert_same_request(request, old(name)["request"])


def test_every_record_is_there():
    assert len(NAMES) > 25 and len(VIDEOS) > 30
    assert {file.rsplit(".", 1)[0] for file in VIDEOS} == {name for name in NAMES if not is_latents_only(name)}


@pytest.mark.parametrize("video, change, other", [
    ("cogvideox/off.mp4", "--enhance", "cogvideox/on"),
    ("cogvideox/on.webm", "--no-enhance", "cogvideox/off"),
    ("cogvideox/dynamic-guidance.mp4", "--no-dynamic-guidance", "cogvideox/on"),
])  # fmt: skip
def test_what_a_record_turns_on_or_off_is_turned_back(generate, by_options, video, change, other):
    arguments = ["--from", RECORDS / video, *files_named_anew(other), change]
    assert generate(arguments, f"changed/{change}")[0] == by_options(other)


def whole(value):
    """1.0 -> 1, at any depth"""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize("name", ["cogvideox/on", "hunyuan-video/all-options", "ltx-condition/timesteps", "open-sora/all-options"])
def test_whole_numbers_serve_as_real_ones(generate, by_options, old, write, name):
    record = whole(old(name))
    assert json.dumps(record) != json.dumps(old(name))
    assert generate(["--from", write(record)], f"whole/{name}")[0] == by_options(name)


@pytest.mark.parametrize("name", ["cogvideox/on", "hunyuan-video/on", "ltx-condition/on", "open-sora/on"])
def test_fields_that_are_left_out_take_their_defaults(generate, by_options, old, write, name):
    """Of the request, only what the case says is kept, as in a record that somebody writes by hand."""
    record = old(name)
    kept = ("prompt", "negative_prompt", "seed", "width", "height", "frames", "steps")
    record["request"] = {field: value for field, value in record["request"].items() if field in kept and value is not None}
    assert generate(["--from", write(record)], f"bare/{name}")[0] == by_options(name)


@pytest.mark.parametrize("name, field, value, word", [
    ("cogvideox/on", "loop", 3, "loop"),
    ("cogvideox/on", "true_guidance", 3.0, "trueguidance"),
    ("cogvideox/on", "flow_shift", 3, "flowshift"),
    ("cogvideox/on", "timesteps", [1000, 500], "timesteps"),
    ("cogvideox/on", "conditions", [{"file": "inputs/fits.png"}], "condition"),
    ("cogvideox/on", "enhance.blocks", "single", "blocks"),
    ("hunyuan-video/on", "dynamic_guidance", True, "dynamicguidance"),
    ("hunyuan-video/on", "vae_framewise", True, "framewise"),
    ("hunyuan-video/on", "aesthetic_score", 5.0, "aestheticscore"),
    ("hunyuan-video/on", "motion_score", 5, "motionscore"),
    ("hunyuan-image-concat/on", "guidance_rescale", 0.5, "guidancerescale"),
    ("ltx-video-0.9.0/on", "decode_timestep", 0.1, "decodetimestep"),
    ("ltx-video-0.9.0/on", "denoise_strength", 0.5, "denoisestrength"),
    ("ltx-video-0.9.0/on", "image_cond_noise_scale", 0.5, "noise"),
    ("ltx-condition/on", "true_guidance", 3.0, "trueguidance"),
    ("ltx-condition/on", "clean_prompt", False, "clean"),
    ("ltx-condition/on", "camera_motion", "pan left", "cameramotion"),
    ("open-sora/on", "decode_noise_scale", 0.1, "decodenoisescale"),
    ("open-sora/on", "vae_tiling", "on", "til"),
    ("open-sora/on", "negative_prompt", "blurred", "negativeprompt"),
])  # fmt: skip
def test_an_option_of_another_family_is_refused(program, old, write, name, field, value, word):
    record = old(name)
    place = record["request"]
    *outer, last = field.split(".")
    for part in outer:
        place = place[part]
    place[last] = value
    result = program.run("generate", "--from", write(record), "--out", "refused.mp4")
    assert result.returncode == 1, result.stdout
    line = error_line(result).lower()
    assert word in line.replace("-", "").replace("_", "").replace(" ", "")
    assert not list(program.folder.glob("refused*"))


def test_fields_that_nobody_knows_are_refused(program, old, write):
    record = old("cogvideox/on")
    record["request"]["colour"] = "red"
    result = program.run("generate", "--from", write(record), "--out", "refused.mp4")
    assert result.returncode == 1 and '"colour"' in error_line(result)


@pytest.mark.parametrize("here", [True, False], ids=["begun here", "begun on another machine"])
def test_an_old_comparison_goes_on_or_is_refused(program, generate, here):
    """Its plan holds a record of an earlier program. What is finished is kept."""
    folder = program.folder / f"compare-{here}"
    shutil.copytree(RECORDS / "compare", folder)
    plan = json.loads((folder / "plan.json").read_text().replace(MADE_IN, str(program.folder)))
    if here:
        program.generate(ARGUMENTS["demo/on"], "here")
        made_here = json.loads((program.folder / "here/frames.json").read_text())
        plan["settings"] |= {field: made_here[field] for field in ("eav", "torch", "cpu", "fingerprint")}
    else:
        plan["settings"]["cpu"] = "abacus"
    (folder / "plan.json").write_text(json.dumps(plan))
    (program.folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in plan["prompts"]))
    kept, before = (folder / "pairs/000.json").read_bytes(), sorted(folder.rglob("*"))
    result = program.run("compare", "--prompts", "prompts.txt", "--out", folder.name, "--jobs", "1", "--resume",
                         *ARGUMENTS["compare"])  # fmt: skip
    assert (folder / "pairs/000.json").read_bytes() == kept
    if result.returncode == 0:
        assert (folder / "report.html").exists() and (folder / "pairs/001.json").exists()
    else:
        assert result.returncode == 1 and "plan.json" in error_line(result)
        assert sorted(folder.rglob("*")) == before
