"""The nodes in ComfyUI itself: its server, its samplers, its classes of models with tiny random weights."""

import json
import time

import pytest
import torch
from comfyui_server import NODES, Graph, Refused, load, relative

# latent channels, frames, height, width; T and S of the token grid
SHAPES = {
    "hunyuan_video": ((16, 5, 4, 6), (5, 6)),
    "ltxv": ((128, 4, 3, 2), (4, 6)),
    "wan": ((16, 4, 6, 4), (4, 6)),
    "hunyuan_video_15": ((32, 5, 2, 3), (5, 6)),
    "cogvideox": ((16, 4, 6, 4), (4, 6)),
    "cogvideox_15": ((16, 7, 6, 4), (4, 6)),  # patches of two frames: the last is filled up
}
FAMILIES = list(SHAPES)
LAYERS = {"hunyuan_video": 5}  # 3 in the others
CLAMPED = -100.0  # T + weight is negative: every gain is 1


class Scene:
    """A model, its conditioning and a latent in a graph; `sample` adds a sampler for a variant of the model."""

    def __init__(self, graph, family, rows=1, shape=None, dtype="float32", seed=3, reference="", sharpness=1.5):
        if family not in graph.server.families:
            pytest.skip(f"this ComfyUI has no {family}")
        self.graph, self.family = graph, family
        channels, frames, height, width = shape or SHAPES[family][0]
        size = {"channels": channels, "frames": frames, "height": height, "width": width}
        self.model = graph.add("EAVTestTinyModel", family=family, seed=seed, dtype=dtype, sharpness=sharpness)
        self.latent = graph.add("EAVTestEmptyLatent", rows=rows, **size)
        extra = {"reference": reference, "latent": self.latent} if reference else {}
        extra["masked"] = family == "ltxv"  # it asks for one; ComfyUI's HunyuanVideo takes one for a batch of one alone
        self.positive = graph.add("EAVTestTinyConditioning", seed=1, tokens=5, **extra)
        self.negative = graph.add("EAVTestTinyConditioning", seed=2, tokens=5, **extra)

    def enhanced(self, weight=4.0, model=None, start=0.0, end=1.0, **more):
        model = model or self.model
        percents = {"start_percent": start, "end_percent": end}
        return self.graph.add("EnhanceAVideo", model=model, weight=weight, **percents, **more)

    def plain(self, weight=4.0, before=0, frames=None):
        t, s = SHAPES[self.family][1]
        return self.graph.add(
            "EAVTestPlainFormula", model=self.model, weight=weight, frames=frames or t, positions=s, before=before
        )

    def sampled(self, model, steps=3, sampler="euler", seed=5, cfg=2.0):
        return self.graph.add(
            "KSampler",
            model=model,
            seed=seed,
            steps=steps,
            cfg=cfg,
            sampler_name=sampler,
            scheduler="simple",
            positive=self.positive,
            negative=self.negative,
            latent_image=self.latent,
            denoise=1.0,
        )

    def sample(self, model, **options):
        return self.graph.save(latent=self.sampled(model, **options))

    def traced(self, model, **options):
        latent = self.sampled(model, **options)
        trace = self.graph.add("EnhanceAVideoTrace", model=model, latent=latent)
        return self.graph.save(latent=latent, image=trace, text=[trace[0], 1])


def latents(*paths):
    return [load(path)["latent"] for path in paths]


@pytest.mark.parametrize("family", FAMILIES)
def test_enhanced_differs_from_plain_and_equals_the_formula(graph, family):
    scene = Scene(graph(), family, rows=2)
    paths = [scene.sample(model) for model in (scene.model, scene.enhanced(), scene.plain(), scene.enhanced(CLAMPED))]
    scene.graph.run()
    off, on, formula, clamped = latents(*paths)
    assert relative(on, off) > 5e-3
    assert relative(on, formula) < 1e-4
    assert torch.equal(clamped, off)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_when_the_node_is_bypassed(graph, family):
    """The same model object, sampled before, with and after: ComfyUI keeps what nodes gave between prompts."""
    seen = []
    for enhance in (False, True, False):
        scene = Scene(graph(), family, seed=11)
        model = scene.enhanced() if enhance else scene.model
        latent = scene.sampled(model, seed=8)
        seen.append(scene.graph.save(latent=latent, model=scene.model))
        scene.graph.run()
    before, on, after = latents(*seen)
    assert torch.equal(before, after)
    assert not torch.equal(on, before)
    assert [load(path)["left"] for path in seen] == [[], [], []]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_weights_in_one_graph(graph, family):
    both = Scene(graph(), family)
    paths = [both.sample(both.enhanced(weight)) for weight in (2.0, 9.0)]
    both.graph.run()
    alone = []
    for weight in (2.0, 9.0):
        scene = Scene(graph(), family)
        alone.append(scene.sample(scene.enhanced(weight)))
        scene.graph.run()
    together, single = latents(*paths), latents(*alone)
    assert all(torch.equal(a, b) for a, b in zip(together, single, strict=True))
    assert not torch.equal(*together)


def test_two_queued_prompts(comfyui):
    """Queued while the first still runs."""
    paths, ids = [], []
    for weight in (3.0, 8.0, 3.0):
        scene = Scene(Graph(comfyui), "ltxv", seed=21)
        paths.append(scene.sample(scene.enhanced(weight), seed=31, steps=6))
        ids.append(comfyui.queue(scene.graph.prompt))
    for prompt in ids:
        comfyui.finish(prompt)
    first, second, third = latents(*paths)
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_do_not_share_a_gain(graph, family):
    """A batch of one and a batch of two give the first video the same."""
    one, two = (Scene(graph(), family, rows=rows) for rows in (1, 2))
    paths = [scene.sample(scene.enhanced(), cfg=1.0) for scene in (one, two)]
    for scene in (one, two):
        scene.graph.run()
    alone, batch = latents(*paths)
    assert relative(batch[:1], alone) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_percents(graph, family):
    """Half of the schedule: neither all nor nothing; an empty part is off; percents are of sigma, as elsewhere."""
    scene = Scene(graph(), family)
    models = (
        scene.model,
        scene.enhanced(),
        scene.enhanced(end=0.5),
        scene.enhanced(start=0.6, end=0.5),
        scene.enhanced(end=0.0),
    )
    paths = [scene.sample(model, steps=6) for model in models]
    traced, never = (scene.traced(models[index], steps=6) for index in (2, 3))
    scene.graph.run()
    off, on, half, empty, none = latents(*paths)
    assert torch.equal(empty, off)
    assert not torch.equal(half, off) and not torch.equal(half, on)
    text = load(traced)["text"]
    layers = LAYERS.get(family, 3)
    outside = int(text.split(" outside")[0].split()[-1])
    assert 0 < outside < 6 * layers and outside % layers == 0
    assert "0 never run" in text
    assert f"0 scaled, 0 at the clamp (gain 1), 0 never run, {6 * layers} outside" in load(never)["text"]


def test_blocks_of_hunyuan_video(graph):
    scene = Scene(graph(), "hunyuan_video")
    choices = ("all", "double", "single", "double, single 0-2", "0-4", "single 1", "3")
    paths = [scene.sample(scene.enhanced(blocks=blocks)) for blocks in choices]
    scene.graph.run()
    everything, double, single, listed, counted, one, by_number = latents(*paths)
    assert torch.equal(everything, listed) and torch.equal(everything, counted)
    assert torch.equal(one, by_number)
    assert not any(torch.equal(everything, other) for other in (double, single, one))
    assert not torch.equal(double, single)


@pytest.mark.parametrize("blocks", ["triple", "single 7-9", "", "1-2-3", "double x"])
def test_blocks_that_are_not_there(graph, blocks):
    scene = Scene(graph(), "hunyuan_video")
    scene.sample(scene.enhanced(blocks=blocks))
    with pytest.raises(Refused, match="2 double, 3 single blocks"):
        scene.graph.run()


def test_unsupported_model(graph):
    scene = Scene(graph(), "image", shape=(16, 1, 4, 4))
    scene.sample(scene.enhanced())
    with pytest.raises(Refused, match="Flux.*HunyuanVideo.*LTXV.*Wan 2.1"):
        scene.graph.run()


@pytest.mark.parametrize("family", FAMILIES)
def test_order_of_nodes_does_not_matter(graph, family):
    """Before or behind a node that patches the same layers and overrides attention."""
    scene = Scene(graph(), family)
    patch = lambda model: scene.graph.add("EAVTestPatchedAttention", model=model)  # noqa: E731
    patched = patch(scene.model)
    paths = [
        scene.sample(m) for m in (patched, scene.enhanced(model=patched), patch(scene.enhanced()), scene.enhanced())
    ]
    scene.graph.run()
    off, before, behind, unpatched = latents(*paths)
    assert torch.equal(before, behind)
    assert relative(before, off) > 1e-3
    assert relative(before, unpatched) > 1e-3


def test_a_second_node_takes_the_place_of_the_first(graph):
    scene = Scene(graph(), "wan")
    twice = scene.enhanced(6.0, model=scene.enhanced(2.0))
    paths = [scene.sample(model) for model in (twice, scene.enhanced(6.0))]
    scene.graph.run()
    assert torch.equal(*latents(*paths))


def test_hunyuan_reference_latent(graph):
    """Its tokens stand before the video: not in the map, not scaled."""
    scene = Scene(graph(), "hunyuan_video", reference="ref_latent")
    _, positions = SHAPES["hunyuan_video"][1]
    models = (scene.model, scene.enhanced(), scene.plain(before=positions), scene.plain())
    paths = [scene.sample(model, cfg=1.0) for model in models]  # ComfyUI itself takes one in a batch of one alone
    scene.graph.run()
    off, on, formula, wrong = latents(*paths)
    assert relative(on, formula) < 1e-4
    assert relative(on, wrong) > 1e-3
    assert relative(on, off) > 5e-3


def test_wan_reference_latent(graph):
    scene = Scene(graph(), "wan", reference="reference_latents")
    _, positions = SHAPES["wan"][1]
    paths = [scene.sample(m) for m in (scene.model, scene.enhanced(), scene.plain(before=positions), scene.plain())]
    scene.graph.run()
    off, on, formula, wrong = latents(*paths)
    assert relative(on, formula) < 1e-4
    assert relative(on, wrong) > 1e-3
    assert relative(on, off) > 5e-3


def test_wan_frames_after_the_video(graph):
    """WanPhantomSubjectToVideo's frames follow the video."""
    scene = Scene(graph(), "wan", reference="time_dim_concat")
    paths = [scene.sample(m) for m in (scene.model, scene.enhanced(), scene.plain(), scene.plain(frames=5))]
    scene.graph.run()
    off, on, formula, wrong = latents(*paths)
    assert relative(on, formula) < 1e-4
    assert relative(on, wrong) > 1e-3
    assert relative(on, off) > 5e-3


@pytest.mark.parametrize("guides", [1, 2])
def test_ltxv_guides(graph, guides):
    """LTXVAddGuide appends frames that only condition."""
    scene = Scene(graph(), "ltxv")
    add, vae = scene.graph.add, scene.graph.add("EAVTestTinyVAE")
    image = add("EmptyImage", width=64, height=96, batch_size=1, color=255)
    for guide in range(guides):
        node = add(
            "LTXVAddGuide",
            positive=scene.positive,
            negative=scene.negative,
            vae=vae,
            latent=scene.latent,
            image=image,
            frame_idx=[0, -1][guide],
            strength=[1.0, 0.8][guide],
        )
        scene.positive, scene.negative, scene.latent = ([node[0], i] for i in range(3))
    frames, _ = SHAPES["ltxv"][1]
    models = (scene.model, scene.enhanced(), scene.plain(), scene.plain(frames=frames + guides))
    paths = [scene.sample(m) for m in models]
    scene.graph.run()
    off, on, formula, wrong = latents(*paths)
    assert on.shape[2] == frames + guides
    assert relative(on, formula) < 1e-4
    assert relative(on, wrong) > 1e-3
    assert relative(on, off) > 5e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_sizes_and_bfloat16(graph, family):
    """Sizes that do not divide into patches, and a single frame, in the type that such models are used with."""
    channels = SHAPES[family][0][0]
    for shape in ((channels, 3, 5, 7), (channels, 1, 4, 4)):
        scene = Scene(graph(), family, shape=shape, dtype="bfloat16")
        if family == "hunyuan_video" and shape[2] % 2:  # ComfyUI itself cannot: it drops the rest of a patch
            continue
        paths = [scene.sample(model) for model in (scene.model, scene.enhanced(), scene.enhanced(CLAMPED))]
        scene.graph.run()
        off, on, clamped = latents(*paths)
        assert torch.equal(clamped, off)
        assert torch.isfinite(on).all()
        assert torch.equal(on, off) == (shape[1] == 1)


def test_trace(graph):
    scene = Scene(graph(), "hunyuan_video")
    on, clamped = scene.enhanced(), scene.enhanced(CLAMPED)
    paths = [scene.traced(on, steps=4), scene.traced(clamped, steps=4)]
    outputs = scene.graph.run()
    shown, at_clamp = (load(path) for path in paths)
    assert "20 scaled, 0 at the clamp (gain 1), 0 never run, 0 outside" in shown["text"]
    assert "0 scaled, 20 at the clamp (gain 1), 0 never run" in at_clamp["text"]
    assert "layer double 1: CFI 0." in shown["text"] and "layer single 2: CFI 0." in shown["text"]
    image = shown["image"]
    assert image.ndim == 4 and image.shape[0] == 1 and image.shape[-1] == 3
    assert 0 <= image.min() < image.max() <= 1
    assert any("text" in output for output in outputs.values())  # shown in the graph as well


def test_trace_belongs_to_the_latent(graph):
    """Two samplers with one enhanced model: each latent finds its own run."""
    scene = Scene(graph(), "ltxv")
    on = scene.enhanced()
    latents_ = [scene.sampled(on, steps=steps) for steps in (2, 5)]
    paths = []
    for latent in latents_:
        trace = scene.graph.add("EnhanceAVideoTrace", model=on, latent=latent)
        paths.append(scene.graph.save(text=[trace[0], 1]))
    scene.graph.run()
    assert [load(path)["text"].split()[4] for path in paths] == ["6", "15"]


@pytest.mark.parametrize("outside", [True, False])
def test_trace_counts_what_a_cache_skips(graph, outside):
    """A cache that skips whole forward passes, around the enhancement and inside of it."""
    scene = Scene(graph(), "wan")
    cache = lambda model: scene.graph.add("EAVTestSkipForward", model=model)  # noqa: E731
    model = scene.enhanced(model=cache(scene.model)) if outside else cache(scene.enhanced())
    path = scene.traced(model, steps=6)
    scene.graph.run()
    assert "9 scaled, 0 at the clamp (gain 1), 9 never run" in load(path)["text"]


def test_easy_cache(graph):
    """ComfyUI's own cache."""
    scene = Scene(graph(), "wan")
    options = {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
    path = scene.traced(scene.graph.add("EasyCache", model=scene.enhanced(), **options), steps=8)
    scene.graph.run()
    text = load(path)["text"]
    scaled, never = (int(text.split(f" {word}")[0].split()[-1]) for word in ("scaled", "never"))
    assert scaled + never == 24 and scaled > 0 and never > 0


def test_trace_of_a_model_that_is_not_enhanced(graph):
    scene = Scene(graph(), "wan")
    scene.traced(scene.model)
    with pytest.raises(Refused, match="not enhanced"):
        scene.graph.run()


def test_samplers_of_higher_order(graph):
    """heun evaluates twice a step; each evaluation counts for the step that it belongs to."""
    scene = Scene(graph(), "ltxv")
    path = scene.traced(scene.enhanced(), steps=4, sampler="heun")
    scene.graph.run()
    assert "12 scaled, 0 at the clamp (gain 1), 0 never run, 0 outside" in load(path)["text"]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_package(comfyui, without_package, family):
    results = []
    for server in (comfyui, without_package):
        scene = Scene(Graph(server), family)
        results.append(scene.sample(scene.enhanced()))
        scene.graph.run()
    compiled, pytorch = latents(*results)
    assert relative(pytorch, compiled) < 1e-5
    time.sleep(0.1)
    said = (without_package.folder / "log").read_text()
    assert said.count("the package enhance_a_video is not installed, PyTorch computes the gains") == 1
    assert "PyTorch computes the gains" not in (comfyui.folder / "log").read_text()


SIZES = {"width": 96, "height": 64, "length": 25, "steps": 2}  # instead of those of an example


@pytest.mark.parametrize(("name", "family"), [("hunyuan_video", "hunyuan_video"), ("ltxv", "ltxv")])
def test_examples(comfyui, name, family):
    """The prompts that ship with the nodes, with tiny models in the place of files that are loaded."""
    prompt = json.loads((NODES / "examples" / f"{name}.api.json").read_text())
    stands_in = {
        "UNETLoader": ("EAVTestTinyModel", {"family": family, "seed": 1, "dtype": "float32", "sharpness": 1.5}),
        "CheckpointLoaderSimple": (
            "EAVTestTinyModel",
            {"family": family, "seed": 1, "dtype": "float32", "sharpness": 1.5},
        ),
        "CLIPTextEncode": ("EAVTestTinyConditioning", {"seed": 1, "tokens": 5, "masked": family == "ltxv"}),
    }
    dropped = ("DualCLIPLoader", "CLIPLoader", "VAELoader", "VAEDecode", "VAEDecodeTiled", "CreateVideo", "SaveVideo")
    for number, node in list(prompt.items()):
        if node["class_type"] in dropped:
            del prompt[number]
        elif node["class_type"] in stands_in:
            kind, inputs = stands_in[node["class_type"]]
            prompt[number] = {"class_type": kind, "inputs": inputs}
        else:
            node["inputs"].update({key: SIZES[key] for key in node["inputs"] if key in SIZES})
    (trace,) = (number for number, node in prompt.items() if node["class_type"] == "EnhanceAVideoTrace")
    said = "".join(comfyui.run(prompt)[trace]["text"])
    assert f"weight 4: layer-steps: {2 * LAYERS.get(family, 3)} scaled, 0 at the clamp" in said


@pytest.mark.parametrize("name", ["hunyuan_video", "ltxv"])
def test_graphs_of_examples(comfyui, name):
    """A graph for the browser and the prompt beside it have the same nodes and links."""
    folder = NODES / "examples"
    graph, prompt = (json.loads((folder / f"{name}{end}.json").read_text()) for end in ("", ".api"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert sorted(node["type"] for node in nodes.values()) == sorted(node["class_type"] for node in prompt.values())
    links = [
        (nodes[source]["type"], slot, nodes[target]["type"], nodes[target]["inputs"][into]["name"])
        for _, source, slot, target, into, _ in graph["links"]
    ]
    wanted = [
        (prompt[value[0]]["class_type"], value[1], node["class_type"], key)
        for node in prompt.values()
        for key, value in node["inputs"].items()
        if isinstance(value, list)
    ]
    assert sorted(links) == sorted(wanted)
    known = comfyui.ask("object_info")
    assert {node["class_type"] for node in prompt.values()} <= known.keys()
