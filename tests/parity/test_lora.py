"""LoRAs of every writer: latents of the program against diffusers' model with the formula, in float64, put into its weights.

Where diffusers reads a file itself, its own loading is the reference too.
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import pytest
import safetensors.torch
import torch
from comparing import error, options
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import save_tiny_cogvideox  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video  # noqa: E402
from tiny_ltx_video import save_tiny_ltx_video  # noqa: E402
from tiny_wan import save_tiny_wan  # noqa: E402

PROMPT, SEED, STEPS = "a red circle moving right on a gray background", 1234, 2
FRAMES = {"wan": 5, "hunyuan_video": 5, "ltx_video": 9, "cogvideox": 9}
SAVE = {"wan": save_tiny_wan, "hunyuan_video": save_tiny_hunyuan_video, "ltx_video": save_tiny_ltx_video,
        "cogvideox": save_tiny_cogvideox}  # fmt: skip
C = 32  # channels of the tiny HunyuanVideo


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(family, variant...) makes a checkpoint once, and returns its folder and its pipeline."""
    made = {}

    def make(family, *variant):
        key = (family, *variant)
        if key not in made:
            folder = tmp_path_factory.mktemp(family)
            made[key] = folder, SAVE[family](folder, *variant)
        return made[key]

    return make


@pytest.fixture
def generate(run, tmp_path):
    """generate(family, folder, options...) runs the program: the latents."""

    def generate(family, folder, *more, **named):
        latents = tmp_path / "latents.safetensors"
        run("eav", "generate", PROMPT, "--model", folder, "--overwrite", "--latents-only", "--no-enhance",
            "--save-latents", latents, *options(**{
                "seed": SEED, "steps": STEPS, "threads": 1, "guidance": 6.0 if family == "hunyuan_video" else 1.0,
                "width": 64, "height": 32, "frames": FRAMES[family], **named}), *more)  # fmt: skip
        return safetensors.torch.load_file(latents)["latents"]

    return generate


def reference(family, pipeline, **more):
    more = {"guidance_scale": 6.0 if family == "hunyuan_video" else 1.0, **more}
    if family == "cogvideox":
        more["max_sequence_length"] = pipeline.transformer.config.max_text_seq_length
    return pipeline(prompt=PROMPT, width=64, height=32, num_frames=FRAMES[family],
                    generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent",
                    **{"num_inference_steps": STEPS, **more}).frames  # fmt: skip


# ---- forms of changes: the tensors of a layer by their endings, and the changed weight -----------------------------------


class Random:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, scale=0.3):
        return scale * torch.randn(shape, generator=self.generator)


def lora(random, shape, rank=3, alpha=2.0, down="lora_down.weight", up="lora_up.weight"):
    """B A alpha / rank; without alpha, B A."""
    out, *rest = shape
    a, b = random(rank, *rest), random(out, rank, *[1] * (len(rest) - 1))
    delta = (b.flatten(1).double() @ a.flatten(1).double()).view(shape) * (alpha / rank if alpha else 1)
    return {down: a, up: b, **({"alpha": torch.tensor(alpha)} if alpha else {})}, lambda w, s: w + s * delta


def peft(random, shape, rank=3):
    return lora(random, shape, rank, None, "lora_A.weight", "lora_B.weight")


def loha(random, shape, rank=2, alpha=3.0):
    out, columns = shape
    a1, b1, a2, b2 = random(out, rank), random(rank, columns), random(out, rank), random(rank, columns)
    delta = (a1.double() @ b1.double()) * (a2.double() @ b2.double()) * alpha / rank
    return ({"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(alpha)},
            lambda w, s: w + s * delta)  # fmt: skip


def lokr(random, shape, rank=2, alpha=3.0):
    """Of a whole matrix and a product; `alpha` counts by the product's rank."""
    out, columns = shape
    w1, a, b = random(4, 2), random(out // 4, rank), random(rank, columns // 2)
    delta = torch.kron(w1.double(), a.double() @ b.double()) * alpha / rank
    return {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(alpha)}, lambda w, s: w + s * delta


def whole_lokr(random, shape):
    """Two whole matrices have no rank: their alpha does not count."""
    out, columns = shape
    w1, w2 = random(2, 4), random(out // 2, columns // 4)
    delta = torch.kron(w1.double(), w2.double())
    return {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(7.0)}, lambda w, s: w + s * delta


# Tucker decompositions of a convolution's kernel, as LyCORIS writes them: a core between two matrices.


def core(random, out, inner, *positions, rank=3):
    """[rank, rank, ...], [rank, inner], [out, rank], and what they make."""
    t, down, up = random(rank, rank, *positions), random(rank, inner), random(out, rank)
    return t, down, up, torch.einsum("ijtyx,jc,oi->octyx", t.double(), down.double(), up.double())


def tucker_lora(random, shape, rank=3, alpha=2.0):
    t, down, up, delta = core(random, *shape, rank=rank)
    flat = lambda m: m.view(*m.shape, 1, 1, 1)  # noqa: E731
    return ({"lora_down.weight": flat(down), "lora_mid.weight": t, "lora_up.weight": flat(up), "alpha": torch.tensor(alpha)},
            lambda w, s: w + s * alpha / rank * delta)  # fmt: skip


def tucker_loha(random, shape, rank=2, alpha=3.0):
    (t1, b1, a1, one), (t2, b2, a2, other) = (core(random, *shape, rank=rank) for _ in range(2))
    return ({"hada_t1": t1, "hada_w1_a": a1.T.contiguous(), "hada_w1_b": b1, "hada_t2": t2, "hada_w2_a": a2.T.contiguous(),
             "hada_w2_b": b2, "alpha": torch.tensor(alpha)}, lambda w, s: w + s * alpha / rank * one * other)  # fmt: skip


def tucker_lokr(random, shape, rank=2, alpha=3.0):
    out, inner, *positions = shape
    w1 = random(4, 2)
    t, b, a, w2 = core(random, out // 4, inner // 2, *positions, rank=rank)
    delta = torch.kron(w1.double().view(4, 2, 1, 1, 1), w2.contiguous()) * alpha / rank
    return ({"lokr_w1": w1, "lokr_t2": t, "lokr_w2_a": a.T.contiguous(), "lokr_w2_b": b, "alpha": torch.tensor(alpha)},
            lambda w, s: w + s * delta)  # fmt: skip


def difference(random, shape, ending="diff"):
    delta = random(*shape)
    return {ending: delta}, lambda w, s: w + s * delta.double()


def dora(random, shape, axis=1):
    """The lengths of rows (axis 1) or columns (axis 0) are learned; `s` goes from the weight to the changed one."""
    parts, changed = lora(random, shape)
    lengths = 1 + random(*[1 if i == axis else n for i, n in enumerate(shape)]).abs()

    def apply(w, s):
        with_lora = changed(w, 1)
        return w + s * (with_lora * lengths.double() / with_lora.norm(dim=axis, keepdim=True) - w)

    return {**parts, "dora_scale": lengths}, apply


# ---- the files of writers ------------------------------------------------------------------------------------------------


class File:
    """A LoRA, and what it does to a model: `changes` are (key, rows, change), with the rows of the tensor."""

    def __init__(self, seed):
        self.random, self.tensors, self.changes, self.metadata = Random(seed), {}, [], {}

    def add(self, name, shape, form, *targets, **how):
        """A layer called `name` in the file; each target is (key, rows of the change, rows of the tensor)."""
        parts, change = form(self.random, shape, **how)
        for ending, tensor in parts.items():
            self.tensors[f"{name}.{ending}"] = tensor
        for target in targets:
            key, source, rows = (target, slice(None), slice(None)) if isinstance(target, str) else target
            self.changes.append((key, source, rows, change, shape))

    def save(self, path):
        safetensors.torch.save_file(self.tensors, path, metadata=self.metadata or None)
        return path

    def put_into(self, model, strength):
        state = dict(model.named_parameters())
        with torch.no_grad():
            for key, source, rows, change, shape in self.changes:
                if source == slice(None):
                    state[key].copy_(change(state[key].double(), strength))
                else:  # rows of a change that is the same whatever the weight is
                    added = change(torch.zeros(shape, dtype=torch.float64), strength)[source]
                    state[key][rows].add_(added)


WAN = {"attn1.to_q": "self_attn.q", "attn1.to_v": "self_attn.v", "attn1.to_out.0": "self_attn.o", "attn2.to_k": "cross_attn.k",
       "attn2.to_q": "cross_attn.q", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}  # fmt: skip
LTX = ("attn1.to_q", "attn1.to_k", "attn2.to_v", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
COG = ("attn1.to_q", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "norm1.linear")


def shape_of(model, key):
    return tuple(model.get_parameter(key).shape)


def layers(model, file, names, form, blocks, **how):
    """Changes the same layers of every block: names are this project's, or {this project's: the file's}."""
    for i in range(2):
        for ours in names:
            theirs = names[ours] if isinstance(names, dict) else ours
            key = f"{blocks[0]}.{i}.{ours}.weight"
            file.add(blocks[1](i, theirs), shape_of(model, key), form, key, **how)


def dotted(prefix, blocks):
    return lambda i, name: f"{prefix}{blocks}.{i}.{name}"


def underscored(prefix, blocks):
    return lambda i, name: prefix + f"{blocks}.{i}.{name}".replace(".", "_")


def wan_comfyui(model, file):
    layers(model, file, WAN, lora, ("blocks", dotted("diffusion_model.", "blocks")))
    more = {"blocks.0.attn1.to_q.bias": "blocks.0.self_attn.q.diff_b", "blocks.1.scale_shift_table": "blocks.1.modulation.diff",
            "blocks.0.attn1.norm_k.weight": "blocks.0.self_attn.norm_k.diff", "blocks.0.norm2.weight": "blocks.0.norm3.w_norm",
            "blocks.0.norm2.bias": "blocks.0.norm3.b_norm", "proj_out.weight": "head.head.diff", "proj_out.bias": "head.head.diff_b",
            "scale_shift_table": "head.modulation.diff",
            "condition_embedder.text_embedder.linear_1.weight": "text_embedding.0.diff"}  # fmt: skip
    for key, name in more.items():
        layer, _, ending = f"diffusion_model.{name}".rpartition(".")
        file.add(layer, shape_of(model, key), difference, key, ending=ending)
    file.add("diffusion_model.patch_embedding", shape_of(model, "patch_embedding.weight"), lora, "patch_embedding.weight")
    file.add("diffusion_model.time_projection.1", shape_of(model, "condition_embedder.time_proj.weight"), lora,
             "condition_embedder.time_proj.weight")  # fmt: skip


def one_trainer(names, blocks):
    def fill(model, file):
        layers(model, file, names, dora, (blocks, underscored("lora_transformer_", blocks)))

    return fill


def in_peft_metadata(names, blocks):
    """As diffusers saves it: alphas are in the metadata, one of a layer of its own."""

    def fill(model, file):
        for i in range(2):
            for name in names:
                alpha, key = (5.0 if name == names[0] else 2.0), f"{blocks}.{i}.{name}.weight"
                file.add(f"transformer.{blocks}.{i}.{name}", shape_of(model, key), lora, key, alpha=alpha,
                         down="lora_A.weight", up="lora_B.weight")  # fmt: skip
        for key in [key for key in file.tensors if key.endswith("alpha")]:
            del file.tensors[key]
        config = {"r": 3, "lora_alpha": 2.0, "rank_pattern": {}, "alpha_pattern": {names[0]: 5.0},
                  "target_modules": list(names), "use_dora": False, "lora_bias": False}  # fmt: skip
        file.metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()})}

    return fill


def simple(names, form, own, spelled):
    return lambda model, file: layers(model, file, names, form, (own, spelled))


def hunyuan_video(separator, form, name):
    """Fused layers of the original, whose tensors `separator` puts behind "img_attn"; `name` makes the file's names."""

    def fill(model, file):
        def fused(layer, block, keys, mlp=None):
            rows = len(keys) * C + (shape_of(model, f"{block}.{mlp}.weight")[0] if mlp else 0)
            targets = [(f"{block}.{key}.weight", slice(i * C, i * C + C), slice(None)) for i, key in enumerate(keys)]
            targets += [(f"{block}.{mlp}.weight", slice(3 * C, None), slice(None))] if mlp else []
            file.add(name(layer), (rows, C), form, *targets)

        attention, added = [f"attn.to_{x}" for x in "qkv"], [f"attn.add_{x}_proj" for x in "qkv"]
        fused(f"double_blocks.0.img_attn{separator}qkv", "transformer_blocks.0", attention)
        fused(f"double_blocks.1.txt_attn{separator}qkv", "transformer_blocks.1", added)
        fused("single_blocks.2.linear1", "single_transformer_blocks.2", attention, "proj_mlp")
        for layer, key in (("single_blocks.0.linear2", "single_transformer_blocks.0.proj_out"),
                           (f"double_blocks.0.img_attn{separator}proj", "transformer_blocks.0.attn.to_out.0"),
                           ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1",
                            "context_embedder.token_refiner.refiner_blocks.0.norm_out.linear")):  # fmt: skip
            file.add(name(layer), shape_of(model, f"{key}.weight"), form, f"{key}.weight")
        # Scale and shift change places.
        swapped = [("norm_out.linear.weight", slice(C, 2 * C), slice(0, C)), ("norm_out.linear.weight", slice(0, C), slice(C, 2 * C))]
        file.add(name("final_layer.adaLN_modulation.1"), (2 * C, C), form, *swapped)

    return fill


def ltx_original(model, file):
    """Layers that the release calls otherwise."""
    layers(model, file, LTX, lora, ("transformer_blocks", dotted("diffusion_model.", "transformer_blocks")))
    for name, key in (("patchify_proj", "proj_in"), ("adaln_single.linear", "time_embed.linear"),
                      ("adaln_single.emb.timestep_embedder.linear_1", "time_embed.emb.timestep_embedder.linear_1")):  # fmt: skip
        file.add(f"diffusion_model.{name}", shape_of(model, f"{key}.weight"), lora, f"{key}.weight")
    file.add("diffusion_model.transformer_blocks.0.attn1.q_norm", shape_of(model, "transformer_blocks.0.attn1.norm_q.weight"),
             difference, "transformer_blocks.0.attn1.norm_q.weight", ending="w_norm")  # fmt: skip


def patches(form):
    """The convolution that makes tokens of latents."""
    return lambda model, file: file.add("lycoris_patch_embedding", shape_of(model, "patch_embedding.weight"), form,
                                        "patch_embedding.weight")  # fmt: skip


flat = lambda prefix: lambda layer: prefix + layer.replace(".", "_")  # noqa: E731
HUNYUAN = ("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "ff.net.0.proj", "norm1.linear")

WRITERS = {
    "wan": {
        "peft": simple(list(WAN), peft, "blocks", dotted("transformer.", "blocks")),
        "peft, metadata": in_peft_metadata(list(WAN), "blocks"),
        "comfyui": wan_comfyui,
        "musubi": simple(WAN, lora, "blocks", underscored("lora_unet_", "blocks")),
        "videox-fun": simple(WAN, lora, "blocks", underscored("lora_unet__", "blocks")),
        "onetrainer, dora": one_trainer(list(WAN), "blocks"),
        "loha": simple(WAN, loha, "blocks", underscored("lycoris_", "blocks")),
        "lokr": simple(WAN, lokr, "blocks", dotted("diffusion_model.", "blocks")),
        "tucker": patches(tucker_lora),
        "tucker loha": patches(tucker_loha),
        "tucker lokr": patches(tucker_lokr),
    },
    "hunyuan_video": {
        "peft": simple(HUNYUAN, peft, "transformer_blocks", dotted("transformer.", "transformer_blocks")),
        "original": hunyuan_video("_", peft, lambda layer: f"transformer.{layer}"),
        "comfyui": hunyuan_video(".", lora, lambda layer: f"diffusion_model.{layer}"),
        "musubi": hunyuan_video("_", lora, flat("lora_unet_")),
        "onetrainer, dora": one_trainer(HUNYUAN, "transformer_blocks"),
        "loha": hunyuan_video("_", loha, flat("lycoris_")),
        "lokr": hunyuan_video("_", lokr, flat("lora_unet_")),
    },
    "ltx_video": {
        "peft": simple(LTX, peft, "transformer_blocks", dotted("transformer.", "transformer_blocks")),
        "comfyui": simple(LTX, lora, "transformer_blocks", dotted("diffusion_model.", "transformer_blocks")),
        "kohya": simple(LTX, lora, "transformer_blocks", underscored("lora_unet_", "transformer_blocks")),
        "original": ltx_original,
        "whole lokr": simple(LTX, whole_lokr, "transformer_blocks", underscored("lycoris_", "transformer_blocks")),
    },
    "cogvideox": {
        "peft": simple(COG, peft, "transformer_blocks", dotted("transformer.", "transformer_blocks")),
        "bare peft": simple(COG, peft, "transformer_blocks", dotted("base_model.model.", "transformer_blocks")),
        "videox-fun": simple(COG, lora, "transformer_blocks", underscored("lora_unet__", "transformer_blocks")),
        "dora of columns": lambda model, file: layers(
            model, file, COG, dora, ("transformer_blocks", dotted("transformer.", "transformer_blocks")), axis=0),
    },
}  # fmt: skip
CASES = [(family, writer) for family, writers in WRITERS.items() for writer in writers]


def written(family, writer, model, seed):
    file = File(seed)
    WRITERS[family][writer](model, file)
    return file


@pytest.fixture
def restored():
    """restored(model) gives the model its weights back at the end of the test."""
    kept = []

    def keep(model):
        kept.append((model, {key: value.clone() for key, value in model.state_dict().items()}))

    yield keep
    for model, state in kept:
        model.load_state_dict(state)


@pytest.mark.parametrize("family, writer", CASES, ids=[", ".join(case) for case in CASES])
def test_formula(checkpoint, generate, restored, tmp_path, family, writer):
    """Two at once, at strengths 0.6 and 1."""
    folder, pipeline = checkpoint(family)
    restored(pipeline.transformer)
    plain = reference(family, pipeline)
    loras = []
    for seed, strength in ((1, 0.6), (2, None)):
        file = written(family, writer, pipeline.transformer, seed)
        path = file.save(tmp_path / f"a:b {seed}.safetensors")
        loras += ["--lora", f"{path}:{strength}" if strength else path]
        file.put_into(pipeline.transformer, strength or 1)
    theirs = reference(family, pipeline)
    assert error(plain, theirs) > 1e-2  # it matters
    assert error(generate(family, folder, *loras), theirs) < 1e-4


READ_BY_DIFFUSERS = [("wan", "peft"), ("wan", "peft, metadata"), ("wan", "comfyui, products"), ("wan", "whole musubi"),
                     ("hunyuan_video", "peft"), ("ltx_video", "peft"), ("ltx_video", "comfyui, products"), ("cogvideox", "peft")]  # fmt: skip
ALL_OF_WAN = {**WAN, "attn1.to_k": "self_attn.k", "attn2.to_v": "cross_attn.v", "attn2.to_out.0": "cross_attn.o"}
WRITERS["wan"]["comfyui, products"] = simple(ALL_OF_WAN, peft, "blocks", dotted("diffusion_model.", "blocks"))
WRITERS["wan"]["whole musubi"] = simple(ALL_OF_WAN, lora, "blocks", underscored("lora_unet_", "blocks"))
WRITERS["ltx_video"]["comfyui, products"] = simple(LTX, peft, "transformer_blocks", dotted("diffusion_model.", "transformer_blocks"))


@pytest.mark.parametrize("family, writer", READ_BY_DIFFUSERS, ids=[", ".join(case) for case in READ_BY_DIFFUSERS])
def test_loaded_by_diffusers(checkpoint, generate, tmp_path, family, writer):
    folder, pipeline = checkpoint(family)
    plain = reference(family, pipeline)
    path = written(family, writer, pipeline.transformer, 3).save(tmp_path / "style.safetensors")
    pipeline.load_lora_weights(str(path), adapter_name="style")
    pipeline.set_adapters("style", 0.6)
    try:
        theirs = reference(family, pipeline)
    finally:
        pipeline.unload_lora_weights()
    assert error(plain, theirs) > 1e-2
    assert error(generate(family, folder, "--lora", f"{path}:0.6"), theirs) < 1e-4


def test_experts(checkpoint, generate, restored, tmp_path):
    """Without an expert's name, a LoRA is for both."""
    folder, pipeline = checkpoint("wan", "t2v-a14b")
    experts = pipeline.transformer, pipeline.transformer_2
    loras = []
    for seed, (strength, which) in enumerate((("0.6:high", experts[:1]), ("1:low", experts[1:]), ("0.5", experts))):
        for model in experts if seed == 0 else ():
            restored(model)
        file = written("wan", "musubi", experts[0], seed)
        loras += ["--lora", f"{file.save(tmp_path / f'{seed}.safetensors')}:{strength}"]
        for model in which:
            file.put_into(model, float(strength.split(":")[0]))
    more = {"guidance_2": 1, "steps": 4}
    theirs = reference("wan", pipeline, guidance_scale_2=1.0, num_inference_steps=4)
    assert error(generate("wan", folder, *loras, **more), theirs) < 1e-4
    one = generate("wan", folder, *loras, "--offload", **more)
    assert torch.equal(one, generate("wan", folder, *loras, **more))
    assert error(generate("wan", folder, *loras[:4], **more), theirs) > 1e-3


def test_of_text_on_a_model_of_images(checkpoint, generate, restored, tmp_path):
    """Pictures are channels behind the latents', which a LoRA of text to video does not know."""
    folder, pipeline = checkpoint("wan", "i2v")
    text_folder, text_pipeline = checkpoint("wan")
    restored(pipeline.transformer)
    file = written("wan", "comfyui", text_pipeline.transformer, 5)
    lora = file.save(tmp_path / "t2v.safetensors")
    patches = [change for change in file.changes if change[0] == "patch_embedding.weight"]
    file.changes = [change for change in file.changes if change[0] != "patch_embedding.weight"]
    file.put_into(pipeline.transformer, 0.6)
    (_, _, _, change, shape), = patches
    with torch.no_grad():
        pipeline.transformer.patch_embedding.weight[:, : shape[1]] += change(torch.zeros(shape, dtype=torch.float64), 0.6)
    picture = Image.fromarray((torch.rand(32, 64, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy())
    picture.save(tmp_path / "picture.png")
    theirs = reference("wan", pipeline, image=picture)
    assert error(generate("wan", folder, "--lora", f"{lora}:0.6", "--image", tmp_path / "picture.png"), theirs) < 1e-4


# All that can be a product beside a packed matrix; and a DoRA, which cannot.
BESIDE = [("wan", ["musubi", "loha", "lokr", "comfyui"]), ("hunyuan_video", ["musubi", "loha", "lokr"]),
          ("wan", ["peft", "onetrainer, dora"])]  # fmt: skip


def quantised(state, path):
    """The state with its blocks' matrices in Q8_0, as a GGUF file; returns what numbers those are."""
    numbers, writer = {}, gguf.GGUFWriter(path, "wan")
    for key, tensor in state.items():
        values = tensor.float().numpy()
        if tensor.dim() == 2 and "block" in key and tensor.shape[1] % 32 == 0:
            blocks = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(key, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(key, values)
        numbers[key] = torch.from_numpy(values.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


@pytest.mark.parametrize("stored", ["float8", "q8_0"])
@pytest.mark.parametrize("family, writers", BESIDE, ids=[", ".join([family, *writers]) for family, writers in BESIDE])
def test_merged_and_beside_packed_agree(checkpoint, generate, tmp_path, family, writers, stored):
    """Matrices that stay packed get a product beside them; the same numbers as float32 get the change added."""
    folder, pipeline = checkpoint(family)
    state = {k: v.contiguous() for k, v in pipeline.transformer.state_dict().items()}
    stem = "transformer/diffusion_pytorch_model"
    copies = {name: shutil.copytree(folder, tmp_path / name) for name in ("packed", "numbers")}
    if stored == "q8_0":
        (copies["packed"] / f"{stem}.safetensors").unlink()
        numbers = quantised(state, copies["packed"] / f"{stem}.gguf")
    else:
        float8 = {k: v.to(torch.float8_e4m3fn) if v.dim() == 2 and "block" in k else v for k, v in state.items()}
        safetensors.torch.save_file(float8, copies["packed"] / f"{stem}.safetensors")
        numbers = {k: v.float() for k, v in float8.items()}
    safetensors.torch.save_file(numbers, copies["numbers"] / f"{stem}.safetensors")
    loras = []
    for seed, writer in enumerate(writers):
        file = written(family, writer, pipeline.transformer, seed).save(tmp_path / f"{seed}.safetensors")
        loras += ["--lora", f"{file}:0.4"]
    latents = {name: generate(family, copy, *loras, dtype="float32") for name, copy in copies.items()}
    assert error(latents["packed"], latents["numbers"]) < 1e-5
    assert error(generate(family, copies["packed"], dtype="float32"), latents["packed"]) > 1e-2
