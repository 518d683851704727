"""Steps that are not computed, against diffusers' caches on the same tiny checkpoints: which steps, and the latents.

EasyCache is not in diffusers: it is written out here from its authors' description.
"""

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import error, options
from diffusers import CogVideoXPipeline, FirstBlockCacheConfig, MagCacheConfig, TaylorSeerCacheConfig
from python_pipelines import FAMILIES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import save_tiny_cogvideox  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video  # noqa: E402
from tiny_ltx_video import save_tiny_ltx_video  # noqa: E402
from tiny_open_sora import save_tiny_open_sora  # noqa: E402
from tiny_wan import save_tiny_wan  # noqa: E402

DEMO = Path(__file__).resolve().parents[2] / "models/demo"
PROMPT, SEED, STEPS, WEIGHT = "a red circle moving right on a gray background", 1234, 14, 4.0
T = 3


@dataclasses.dataclass
class Case:
    """A family's pipeline, and how it is called; guidance takes two branches in all of them but HunyuanVideo."""

    save: object
    frames: int
    family: str
    blocks: str = "transformer_blocks"
    call: dict = dataclasses.field(default_factory=lambda: {"guidance_scale": 4.0, "negative_prompt": "blue square"})
    flags: dict = dataclasses.field(default_factory=lambda: {"guidance": 4.0, "negative_prompt": "blue square"})
    guidance: float = 4.0


CASES = {
    "cogvideox": Case(lambda folder: save_tiny_cogvideox(folder, positions="rotary", transformer={"num_layers": 3}), 9,
                      "cogvideox", flags={"guidance": 4.0, "negative_prompt": "blue square"},
                      call={"guidance_scale": 4.0, "negative_prompt": "blue square", "max_sequence_length": None}),
    "ltx_video": Case(lambda folder: save_tiny_ltx_video(folder, transformer={"num_layers": 3}), 9, "ltx_video"),
    "hunyuan_video": Case(save_tiny_hunyuan_video, 9, "hunyuan_video", call={"guidance_scale": 4.0}, flags={"guidance": 4.0},
                          guidance=1.0),
    "wan": Case(lambda folder: save_tiny_wan(folder, transformer={"num_layers": 3}), 9, "wan", "blocks"),
    "wan-a14b": Case(lambda folder: save_tiny_wan(folder, "t2v-a14b"), 9, "wan", "blocks",
                     call={"guidance_scale": 4.0, "guidance_scale_2": 4.0, "negative_prompt": "blue square"}),
}  # fmt: skip


@pytest.fixture(scope="session")
def pipeline_of(tmp_path_factory):
    """pipeline_of(case) -> its folder and a fresh pipeline, without hooks."""
    made = {}

    def open_case(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, type(CASES[name].save(folder))
        folder, kind = made[name]
        pipeline = kind.from_pretrained(folder, torch_dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        return folder, pipeline

    return open_case


@pytest.fixture
def generate(run, tmp_path, monkeypatch):
    """generate(folder, options...) runs the program: the latents, and the trace."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))

    def generate(folder, *more, **named):
        latents, trace = tmp_path / "latents.safetensors", tmp_path / "trace.json"
        named = {"seed": SEED, "steps": STEPS, "threads": 1, "dtype": "float32", "width": 96, "height": 64, **named}
        run("eav", "generate", PROMPT, "--model", folder, "--overwrite", "--latents-only", "--save-latents", latents,
            "--trace", trace, *options(**named), *more)  # fmt: skip
        return safetensors.torch.load_file(latents)["latents"], json.loads(trace.read_text())

    return generate


def transformers_of(pipeline):
    return [t for t in (pipeline.transformer, getattr(pipeline, "transformer_2", None)) if t is not None]


def enhance(pipeline, case):
    for transformer in transformers_of(pipeline):
        one = type("", (), {"transformer": transformer})
        dataclasses.replace(FAMILIES[case.family], frames=T).enhance_plainly(one, WEIGHT, case.guidance)


def reference(pipeline, case, weight=None, steps=STEPS, width=96, height=64, **call):
    """The same run by diffusers: the latents, and the steps in which its last block was not computed."""
    if weight:
        enhance(pipeline, case)
    calls, reused = [], []
    for transformer in transformers_of(pipeline):
        last = getattr(transformer, case.blocks)[-1]
        (last.attn if hasattr(last, "attn") else last.attn1).register_forward_hook(lambda *_: calls.append(1))

    def after_step(pipeline, step, timestep, tensors):
        if not calls:
            reused.append(step)
        calls.clear()
        return tensors

    call = {**case.call, **call}
    if "max_sequence_length" in call:
        call["max_sequence_length"] = pipeline.transformer.config.max_text_seq_length
    latents = pipeline(
        prompt=PROMPT, width=width, height=height, num_frames=case.frames, num_inference_steps=steps, output_type="latent",
        generator=torch.Generator("cpu").manual_seed(SEED), callback_on_step_end=after_step, **call,
    ).frames  # fmt: skip
    return latents, reused


class EasyCache:
    """The authors' forward(), around a transformer; calls take turns between `branches`."""

    def __init__(self, transformer, threshold, first_steps, branches, steps=STEPS):
        self.forward, transformer.forward = transformer.forward, self
        self.threshold, self.first_steps, self.branches, self.steps = threshold, first_steps, branches, steps
        self.calls, self.sum, self.k, self.input, self.output, self.computed_input = 0, 0.0, None, None, None, None
        self.cache = [None] * branches

    def __call__(self, hidden_states, **named):
        step, branch = divmod(self.calls, self.branches)
        self.calls += 1
        size = lambda x: x.abs().mean().item()
        if branch == 0:
            self.compute = True
            if step < self.first_steps or step == self.steps - 1:
                self.sum = 0.0
            elif self.k is not None:
                self.sum += self.k * size(hidden_states - self.input) / size(self.output)
                self.compute = self.sum >= self.threshold
                if self.compute:
                    self.sum = 0.0
            self.input = hidden_states.clone()
        if not self.compute:
            return (hidden_states + self.cache[branch],)
        output = self.forward(hidden_states, **named)[0]
        self.cache[branch] = output - hidden_states
        if branch == 0:
            if self.output is not None:
                self.k = size(output - self.output) / size(hidden_states - self.computed_input)
            self.output, self.computed_input = output, hidden_states.clone()
        return (output,)


def check(ours, theirs, enhanced):
    latents, trace = ours
    print("error", error(latents, theirs[0]), "reused", theirs[1])
    assert 0 < len(theirs[1]) < STEPS
    assert trace.get("reused_steps") == theirs[1]
    assert error(latents, theirs[0]) < 1e-4
    if enhanced:
        check_reused_gains(trace)


def check_reused_gains(trace):
    """A reused layer has the CFI and gain of the last computed step, those of its own branch."""
    entries, reused = trace["entries"], trace["reused"]
    assert any(gain > 1 for (*_, gain), again in zip(entries, reused, strict=True) if again)
    last = {}
    for step in range(trace["steps"]):
        of_step = [(entry, again) for entry, again in zip(entries, reused, strict=True) if entry[0] == step]
        assert (step in trace["reused_steps"]) == any(again for _, again in of_step)
        count = {}
        for (_, layer, *values), again in of_step:
            key = layer, count.setdefault(layer, 0)
            count[layer] += 1
            assert not again or last[key] == values
        if step not in trace["reused_steps"]:
            count.clear()
            for (_, layer, *values), _ in of_step:
                last[layer, count.setdefault(layer, 0)] = values
                count[layer] += 1


FIRST_BLOCK = {"cogvideox": 0.17, "ltx_video": 0.1, "hunyuan_video": 0.2, "wan": 0.1}


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", FIRST_BLOCK)
def test_first_block(pipeline_of, generate, name, enhanced):
    folder, pipeline = pipeline_of(name)
    case, threshold = CASES[name], FIRST_BLOCK[name]
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), frames=case.frames, cache="first-block",
                    enhance_weight=WEIGHT, cache_threshold=threshold, **case.flags)  # fmt: skip
    check(ours, reference(pipeline, case, WEIGHT if enhanced else None), enhanced)


RATIOS = [1.0, 1.2, 1.1, 0.99, 1.01, 0.98, 1.02, 1.03, 0.97, 1.0, 0.96, 1.0, 1.02, 0.9]


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", ["cogvideox", "ltx_video", "hunyuan_video", "wan"])
def test_mag(pipeline_of, generate, name, enhanced):
    folder, pipeline = pipeline_of(name)
    case = CASES[name]
    pipeline.transformer.enable_cache(MagCacheConfig(mag_ratios=RATIOS, num_inference_steps=STEPS))
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), frames=case.frames, cache="mag", enhance_weight=WEIGHT,
                    mag_ratios=",".join(map(str, RATIOS)), **case.flags)  # fmt: skip
    check(ours, reference(pipeline, case, WEIGHT if enhanced else None), enhanced)


def test_mag_measures_its_ratios(pipeline_of, generate, tmp_path, capsys):
    """As diffusers does; once, and then it keeps them: fewer ratios than steps are spread over these."""
    folder, pipeline = pipeline_of("wan")
    case = CASES["wan"]
    named = {"frames": case.frames, "cache": "mag", "cache_threshold": 0.5, **case.flags}
    first = generate(folder, "--no-enhance", **named)
    (file,) = (tmp_path / "caches/enhance-a-video/mag").glob("*.json")
    (ratios,) = json.loads(file.read_text()).values()
    pipeline.transformer.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=STEPS))
    reference(pipeline, case)
    theirs = ast.literal_eval(re.findall(r"\[[-0-9., e]+\]", capsys.readouterr().out)[0])
    np.testing.assert_allclose(ratios, theirs, rtol=1e-4)
    kept = file.stat().st_mtime_ns
    again = generate(folder, "--no-enhance", **named)
    assert torch.equal(first[0], again[0]) and file.stat().st_mtime_ns == kept
    assert first[1]["reused_steps"] == again[1]["reused_steps"] != []


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", ["cogvideox", "ltx_video", "hunyuan_video", "wan", "wan-a14b"])
def test_taylor(pipeline_of, generate, name, enhanced):
    folder, pipeline = pipeline_of(name)
    case = CASES[name]
    for transformer in transformers_of(pipeline):
        config = TaylorSeerCacheConfig(cache_interval=3, use_lite_mode=True, taylor_factors_dtype=torch.float32)
        transformer.enable_cache(config)
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), frames=case.frames, cache="taylor",
                    enhance_weight=WEIGHT, cache_interval=3, **case.flags)  # fmt: skip
    check(ours, reference(pipeline, case, WEIGHT if enhanced else None), enhanced)


EASY = {"cogvideox": 0.1, "ltx_video": 0.1, "hunyuan_video": 0.1, "wan": 0.3}


@pytest.mark.parametrize("enhanced", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", EASY)
def test_easy(pipeline_of, generate, name, enhanced):
    folder, pipeline = pipeline_of(name)
    case = CASES[name]
    EasyCache(pipeline.transformer, EASY[name], 5, branches=2 if name == "wan" else 1)
    ours = generate(folder, *([] if enhanced else ["--no-enhance"]), frames=case.frames, cache="easy",
                    enhance_weight=WEIGHT, cache_threshold=EASY[name], **case.flags)  # fmt: skip
    check(ours, reference(pipeline, case, WEIGHT if enhanced else None), enhanced)


@pytest.mark.skipif(not (DEMO / "model_index.json").exists(), reason="the demo checkpoint is not there yet")
def test_demo(generate):
    case = Case(None, 25, "cogvideox", call={"guidance_scale": 3.0, "max_sequence_length": None})
    pipeline = CogVideoXPipeline.from_pretrained(DEMO, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    ours = generate(DEMO, "--no-enhance", cache="first-block", cache_threshold=0.1, width=64, height=64)
    check(ours, reference(pipeline, case, width=64, height=64), enhanced=False)


@pytest.mark.parametrize("name", ["cogvideox", "ltx_video", "hunyuan_video", "wan"])
def test_guidance_in_an_interval(pipeline_of, generate, name):
    """Outside of it the transformer sees the prompt alone, so that the enhancement's mean is the one branch's."""
    folder, pipeline = pipeline_of(name)
    case = CASES[name]
    if name == "hunyuan_video":  # its true guidance
        case = dataclasses.replace(case, call={"true_cfg_scale": 4.0, "negative_prompt": "blue square"},
                                   flags={"true_guidance": 4.0, "negative_prompt": "blue square"})  # fmt: skip
    transformer, branches = pipeline.transformer, 1 if name in ("cogvideox", "ltx_video") else 2
    forward, calls, last = transformer.forward, [], {}

    def guided_in_the_middle(hidden_states, **named):
        step, branch = divmod(len(calls), branches)
        calls.append(1)
        if int(0.3 * STEPS) <= step < int(0.7 * STEPS):
            return forward(hidden_states, **named)
        if branches == 2:  # the prompt runs first
            if branch == 0:
                last["prompt"] = forward(hidden_states, **named)
            return last["prompt"]
        row = {k: v[-1:] if torch.is_tensor(v) and v.dim() > 0 and len(v) == 2 else v for k, v in named.items()}
        return (forward(hidden_states[-1:], **row)[0].repeat(2, *[1] * (hidden_states.dim() - 1)),)

    transformer.forward = guided_in_the_middle
    latents, trace = generate(folder, frames=case.frames, enhance_weight=WEIGHT, guidance_start=0.3, guidance_end=0.7,
                              **case.flags)  # fmt: skip
    theirs, _ = reference(pipeline, case, WEIGHT)
    print("error", error(latents, theirs))
    assert error(latents, theirs) < 1e-4
    count = [sum(entry[0] == step for entry in trace["entries"]) for step in range(STEPS)]
    layers = trace["layers"]
    assert count == [layers * (branches if int(0.3 * STEPS) <= step < int(0.7 * STEPS) else 1) for step in range(STEPS)]


@pytest.mark.parametrize("cache", [
    {"cache": "easy", "cache_threshold": 0},
    {"cache": "first-block", "cache_threshold": 0},
    {"cache": "mag", "cache_threshold": 0, "mag_ratios": "2,2"},
    {"cache": "taylor", "cache_interval": 1},
], ids=lambda named: named["cache"])  # fmt: skip
def test_a_cache_that_leaves_nothing_out_changes_no_bit(tmp_path_factory, generate, cache):
    """In the family, too, that no cache of diffusers knows."""
    folder = tmp_path_factory.getbasetemp() / "open-sora"
    if not folder.exists():
        save_tiny_open_sora(folder)
    size = {"width": 32, "height": 24, "frames": 17, "steps": 4}
    plain, cached = generate(folder, **size), generate(folder, **size, **cache)
    assert torch.equal(plain[0], cached[0]) and plain[1] == cached[1]


@pytest.mark.parametrize(("asked", "says"), [
    (["--cache", "fast"], "expected none|easy|first-block|mag|taylor"),
    (["--cache-threshold", "0.1"], "it belongs to `cache` easy, first-block or mag"),
    (["--cache", "taylor", "--cache-threshold", "0.1"], "it belongs to `cache` easy, first-block or mag"),
    (["--cache", "easy", "--cache-interval", "4"], "it belongs to `cache` taylor"),
    (["--cache", "easy", "--mag-ratios", "1,1"], "it belongs to `cache` mag"),
    (["--guidance-start", "0.5", "--guidance-end", "0.5"], "expected 0 <= start < end <= 1"),
], ids=str)  # fmt: skip
def test_bad_options(pipeline_of, run, tmp_path, asked, says):
    folder, _ = pipeline_of("cogvideox")
    said = run("eav", "generate", PROMPT, "--model", folder, "--out", tmp_path / "x.mp4", *asked, fails=True).decode()
    print(said)
    assert says.replace("`cache`", "--cache") in said or says in said
    assert len(said.strip().splitlines()) == 1
