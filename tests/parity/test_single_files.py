"""Wan and HunyuanVideo in single files, under the names of the original programs, against the folders they were made of."""

import inspect
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.torch
import sentencepiece
import torch
from comparing import options
from diffusers import AutoencoderKLWan
from PIL import Image
from sentencepiece import sentencepiece_model_pb2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import original_files  # noqa: E402
from original_files import prefixed  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video, save_tiny_hunyuan_video_image  # noqa: E402
from tiny_text import CAPTIONS  # noqa: E402
from tiny_wan import save_tiny_wan  # noqa: E402

DEFAULTS = {name: p.default for name, p in inspect.signature(AutoencoderKLWan.__init__).parameters.items()}
# Of Wan 2.2's VAE, as it was published.
MEAN_22 = [-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891, 0.157,
           -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502, -0.2055,
           -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123, -0.0313, -0.1649, 0.0117, 0.0723, -0.2839,
           -0.2083, -0.052, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667]  # fmt: skip
STD_22 = [0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165,
          0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889,
          0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
          0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744]  # fmt: skip
PLAIN = {"base_dim": 8, "z_dim": 16, "num_res_blocks": 2, "latents_mean": DEFAULTS["latents_mean"],
         "latents_std": DEFAULTS["latents_std"]}  # fmt: skip
RESIDUAL = {"base_dim": 8, "z_dim": 48, "num_res_blocks": 2, "latents_mean": MEAN_22, "latents_std": STD_22}
CHANNELS = {"t2v": (16, 16), "i2v": (36, 16), "flf2v": (36, 16), "ti2v": (48, 48), "t2v-a14b": (16, 16),
            "i2v-a14b": (36, 16)}  # fmt: skip
SHIFTS = {"flf2v": 16.0, "ti2v": 5.0}
UMT5 = "text_encoders.umt5xxl.transformer."


def save_wan(folder, release):
    """A checkpoint whose settings are the published ones, but for what shapes tell."""
    taken, latents = CHANNELS[release]
    save_tiny_wan(folder, release, scheduler_config={"flow_shift": SHIFTS.get(release, 3.0)},
                  transformer={"num_attention_heads": 1, "attention_head_dim": 128, "in_channels": taken,
                               "out_channels": latents},
                  vae=RESIDUAL if latents == 48 else PLAIN, text={"relative_attention_max_distance": 128},
                  image={"hidden_size": 80, "num_attention_heads": 1})  # fmt: skip
    return folder


def part(folder, name):
    files = sorted((folder / name).glob("*.safetensors"))
    return {key: t for file in files for key, t in safetensors.torch.load_file(file).items()}


def write(path, tensors):
    safetensors.torch.save_file({key: t.contiguous() for key, t in tensors.items()}, path)
    return path


def write_wan(folder, to, prefix="", release="t2v"):
    """The files of a Wan, by their options."""
    to.mkdir(exist_ok=True)
    second = "transformer_2" if release.endswith("a14b") else None
    files = {
        "--model": write(to / f"wan_{'high_noise_' if second else ''}14B.safetensors",
                         prefixed(prefix, original_files.wan_transformer(part(folder, "transformer")))),
        "--vae": write(to / "vae.safetensors", original_files.wan_vae(part(folder, "vae"))),
        "--text-encoder": write(to / "umt5.safetensors", part(folder, "text_encoder")),
        "--tokenizer": folder / "tokenizer",
    }  # fmt: skip
    if second:
        files["--model-2"] = write(to / "wan_low_noise_14B.safetensors",
                                   prefixed(prefix, original_files.wan_transformer(part(folder, second))))  # fmt: skip
    if (folder / "image_encoder").exists():
        files["--image-encoder"] = write(to / "clip_vision_h.safetensors", {
            **prefixed("vision_model.", part(folder, "image_encoder")), "visual_projection.weight": torch.ones(4, 80)})  # fmt: skip
    return files


def with_spiece(folder):
    """Trains a SentencePiece model in the place of the tokenizer's files; returns its bytes."""
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS), model_prefix=str(folder / "tokenizer" / "spiece"), vocab_size=110,
        normalization_rule_name="identity", pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        hard_vocab_limit=False, num_threads=2, minloglevel=2)  # fmt: skip
    return (folder / "tokenizer" / "spiece.model").read_bytes()


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    made = {}

    def wan(release):
        if release not in made:
            made[release] = save_wan(tmp_path_factory.mktemp("wan"), release)
        return made[release]

    return wan


@pytest.fixture
def generate(run, tmp_path):
    def generate(files, *more, **named):
        out = tmp_path / "frames"
        named = {"seed": 3, "steps": 2, "threads": 1, "width": 64, "height": 32, "frames": 5, **named}
        where = [part for option in files.items() for part in option]
        run("eav", "generate", "a red circle", *where, "--overwrite", "--out", f"{out}/", "--save-latents",
            tmp_path / "latents.safetensors", *options(**named), *more)  # fmt: skip
        pictures = np.stack([np.asarray(Image.open(file)) for file in sorted(out.glob("*.png"))])
        return safetensors.torch.load_file(tmp_path / "latents.safetensors")["latents"], pictures

    return generate


def same(ours, theirs):
    assert ours[0].std() > 0.1 and ours[1].std() > 1
    return torch.equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


def pictures(release, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    image = ["--image", tmp_path / "image.png"]
    return {"t2v": [], "t2v-a14b": [], "flf2v": [*image, "--last-image", tmp_path / "image.png"]}.get(release, image)


def write_gguf(path, tensors, architecture, spiece=None):
    writer = gguf.GGUFWriter(path, architecture)
    if spiece:  # the pieces, as llama.cpp's conversion takes them over
        model = sentencepiece.SentencePieceProcessor(model_proto=spiece)
        ids = range(len(model))
        writer.add_token_list([model.id_to_piece(i) for i in ids])
        writer.add_token_scores([model.get_score(i) for i in ids])
        writer.add_token_types([3 if model.is_control(i) else 2 if model.is_unknown(i) else 6 if model.is_byte(i) else 1
                                for i in ids])  # fmt: skip
        charsmap = sentencepiece_model_pb2.ModelProto.FromString(spiece).normalizer_spec.precompiled_charsmap
        if charsmap:
            writer.add_precompiled_charsmap(charsmap)
    for key, tensor in tensors.items():
        writer.add_tensor(key, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


LLAMA_CPP_T5 = [(r"^encoder\.block\.(\d+)\.", r"enc.blk.\1."), (r"layer\.0\.SelfAttention\.([qkvo])\.", r"attn_\1."),
                (r"layer\.0\.SelfAttention\.relative_attention_bias\.", "attn_rel_b."),
                (r"layer\.0\.layer_norm\.", "attn_norm."), (r"layer\.1\.layer_norm\.", "ffn_norm."),
                (r"layer\.1\.DenseReluDense\.wi_0\.", "ffn_gate."), (r"layer\.1\.DenseReluDense\.wi_1\.", "ffn_up."),
                (r"layer\.1\.DenseReluDense\.wo\.", "ffn_down."), (r"^shared\.", "token_embd."),
                (r"^encoder\.final_layer_norm\.", "enc.output_norm.")]  # fmt: skip
WAN_T5 = [(r"^encoder\.block\.(\d+)\.", r"blocks.\1."), (r"layer\.0\.SelfAttention\.([qkvo])\.", r"attn.\1."),
          (r"layer\.0\.SelfAttention\.relative_attention_bias\.", "pos_embedding.embedding."),
          (r"layer\.0\.layer_norm\.", "norm1."), (r"layer\.1\.layer_norm\.", "norm2."),
          (r"layer\.1\.DenseReluDense\.wi_0\.", "ffn.gate.0."), (r"layer\.1\.DenseReluDense\.wi_1\.", "ffn.fc1."),
          (r"layer\.1\.DenseReluDense\.wo\.", "ffn.fc2."), (r"^shared\.", "token_embedding."),
          (r"^encoder\.final_layer_norm\.", "norm.")]  # fmt: skip


PREFIXES = {"t2v": "", "i2v": "model.diffusion_model.", "flf2v": "", "ti2v": "diffusion_model.",
            "t2v-a14b": "model.diffusion_model.", "i2v-a14b": ""}  # fmt: skip


@pytest.mark.parametrize("release", PREFIXES)
def test_wan(wan, generate, tmp_path, release):
    folder, shown = wan(release), pictures(release, tmp_path)
    files = write_wan(folder, tmp_path / "files", PREFIXES[release], release)
    assert same(generate(files, *shown), generate({"--model": folder}, *shown))


def test_wan_in_one_file_and_its_record(wan, run, generate, tmp_path):
    """As ComfyUI saves checkpoints, with the bytes of spiece.model beside the text encoder."""
    folder = tmp_path / "folder"
    save_wan(folder, "t2v")
    spiece = with_spiece(folder)
    whole = write(tmp_path / "all.safetensors", {
        **prefixed("model.diffusion_model.", original_files.wan_transformer(part(folder, "transformer"))),
        **prefixed("vae.", original_files.wan_vae(part(folder, "vae"))),
        **prefixed(UMT5, part(folder, "text_encoder")),
        "text_encoders.umt5xxl.spiece_model": torch.frombuffer(bytearray(spiece), dtype=torch.uint8)})  # fmt: skip
    theirs = generate({"--model": folder})
    assert same(generate({"--model": whole}), theirs)

    files = write_wan(folder, tmp_path / "files")
    assert same(generate(files), theirs)
    named = {original_files.renamed(k, LLAMA_CPP_T5): t for k, t in part(folder, "text_encoder").items()}
    text = write_gguf(tmp_path / "umt5.gguf", named, "t5encoder", spiece)
    assert same(generate({"--model": files["--model"], "--vae": files["--vae"], "--text-encoder": text}), theirs)
    record = json.loads((tmp_path / "frames.json").read_text())
    files = {"--model": files["--model"], "--vae": files["--vae"], "--text-encoder": text}
    assert {record.get(name) for name in ("model", "vae", "text_encoder")} == {str(f) for f in files.values()}
    run("eav", "generate", "--from", tmp_path / "frames.json", "--out", f"{tmp_path}/again/")
    again = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "again").glob("*.png"))])
    assert np.array_equal(again, theirs[1])


def test_wans_own_repository(wan, generate, tmp_path):
    """Shards with an index, in original names; the VAE and the encoder come from folders of diffusers'."""
    folder, own = wan("t2v"), tmp_path / "Wan2.1-T2V-1.3B"
    own.mkdir()
    tensors = original_files.wan_transformer(part(folder, "transformer"))
    keys, stem = sorted(tensors), "diffusion_pytorch_model"
    shards = {f"{stem}-0000{i + 1}-of-00002.safetensors": keys[i::2] for i in range(2)}
    for name, held in shards.items():
        write(own / name, {key: tensors[key] for key in held})
    index = {"metadata": {}, "weight_map": {key: name for name, held in shards.items() for key in held}}
    (own / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    (own / "config.json").write_text(json.dumps({"_class_name": "WanModel", "model_type": "t2v", "dim": 128}))
    ours = generate({"--model": own, "--vae": folder / "vae", "--text-encoder": folder})
    assert same(ours, generate({"--model": folder}))


def test_wan_in_gguf_files(wan, generate, tmp_path):
    """The kernel of the patches has its two outer axes in one; the encoder is llama.cpp's."""
    folder = wan("t2v")
    files, text = write_wan(folder, tmp_path / "files"), part(folder, "text_encoder")
    tensors = safetensors.torch.load_file(files["--model"])
    tensors["patch_embedding.weight"] = tensors["patch_embedding.weight"].flatten(0, 1)
    files["--model"] = write_gguf(tmp_path / "wan.gguf", tensors, "wan")
    named = {original_files.renamed(k, LLAMA_CPP_T5): t for k, t in text.items() if "embed_tokens" not in k}
    files["--text-encoder"] = write_gguf(tmp_path / "umt5.gguf", named, "t5encoder")
    theirs = generate({"--model": folder})
    assert same(generate(files), theirs)
    named = {original_files.renamed(k, WAN_T5): t for k, t in text.items() if "embed_tokens" not in k}
    files["--text-encoder"] = write(tmp_path / "umt5-xxl-enc.safetensors", named)  # Wan's own names
    assert same(generate(files), theirs)


# ---- HunyuanVideo ---------------------------------------------------------------------------------------------------

HUNYUAN = {"num_attention_heads": 2, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "num_layers": 1,
           "num_single_layers": 2, "rope_axes_dim": (16, 56, 56), "text_embed_dim": 256,
           "pooled_projection_dim": 64}  # fmt: skip
HUNYUAN_VAE = {"block_out_channels": (32, 32, 64, 64), "latent_channels": 16, "layers_per_block": 2,
               "norm_num_groups": 32, "scaling_factor": 0.476986}  # fmt: skip
LLAMA = {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128}
CLIP = {"hidden_size": 64, "num_attention_heads": 1}
TOWER = {"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "quick_gelu"}


def write_hunyuan(folder, to, prefix="", comfy=False):
    to.mkdir(exist_ok=True)
    vae = part(folder, "vae")
    text = part(folder, "text_encoder")
    vision = {k: t for k, t in text.items() if "vision_tower" in k or "multi_modal_projector" in k}
    if vision:  # a LLaVA's
        text = {k[k.index("language_model.") + 15 :].removeprefix("model."): t for k, t in text.items() if "language_model." in k}
    files = {
        "--model": write(to / "hunyuan_video_720.safetensors", prefixed(
            prefix, original_files.hunyuan_transformer(part(folder, "transformer"), comfy))),
        "--vae": write(to / "vae.safetensors", original_files.hunyuan_vae(vae) if comfy else vae),
        "--text-encoder": write(to / "llava_llama3.safetensors", {
            k if k.startswith("lm_head") else f"model.{k}": t for k, t in text.items()}),
        "--text-encoder-2": write(to / "clip_l.safetensors", prefixed("text_model.", part(folder, "text_encoder_2"))),
        "--tokenizer": folder,
    }  # fmt: skip
    if vision:
        names = {k: k[k.index("vision_tower.") + 13 :].removeprefix("vision_model.") for k in vision if "vision_tower" in k}
        files["--image-encoder"] = write(to / "llava_llama3_vision.safetensors", {
            **{f"vision_model.{name}": vision[k] for k, name in names.items()},
            **{k[k.index("multi_modal_projector.") :]: t for k, t in vision.items() if "projector" in k}})  # fmt: skip
    return files


@pytest.mark.parametrize(("prefix", "comfy"), [("", False), ("model.diffusion_model.", True)])
def test_hunyuan_video(generate, tmp_path, prefix, comfy):
    folder = tmp_path / "folder"
    save_tiny_hunyuan_video(folder, transformer=HUNYUAN, vae=HUNYUAN_VAE, llama=LLAMA, clip=CLIP)
    files = write_hunyuan(folder, tmp_path / "files", prefix, comfy)
    assert same(generate(files, steps=1), generate({"--model": folder}, steps=1))


LLAMA_CPP = [(r"^layers\.(\d+)\.", r"blk.\1."), (r"self_attn\.([qkv])_proj\.", r"attn_\1."),
             (r"self_attn\.o_proj\.", "attn_output."), (r"input_layernorm\.", "attn_norm."),
             (r"post_attention_layernorm\.", "ffn_norm."), (r"mlp\.(gate|up|down)_proj\.", r"ffn_\1."),
             (r"^embed_tokens\.", "token_embd."), (r"^norm\.", "output_norm.")]  # fmt: skip


def test_hunyuan_video_with_llama_of_llama_cpp(generate, tmp_path):
    """Whose queries and keys have their rows in another order; the transformer is stored in float8 in one file."""
    folder = tmp_path / "folder"
    save_tiny_hunyuan_video(folder, transformer=HUNYUAN, vae=HUNYUAN_VAE, llama=LLAMA, clip=CLIP)
    files, text = write_hunyuan(folder, tmp_path / "files"), part(folder, "text_encoder")
    for key, tensor in text.items():  # as llama.cpp's conversion permutes them
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = tensor.shape[0] // 128
            text[key] = tensor.reshape(heads, 2, 64, -1).swapaxes(1, 2).reshape(tensor.shape)
    named = {original_files.renamed(key, LLAMA_CPP): tensor for key, tensor in text.items()}
    files["--text-encoder"] = write_gguf(tmp_path / "llama.gguf", named | {"rope_freqs.weight": torch.ones(64)}, "llama")
    theirs = generate({"--model": folder}, steps=1)
    assert same(generate(files, steps=1), theirs)

    tensors = {k: t.to(torch.float8_e4m3fn) if t.ndim > 1 else t for k, t in part(folder, "transformer").items()}
    safetensors.torch.save_file(tensors, folder / "transformer" / "diffusion_pytorch_model.safetensors")
    fused = original_files.hunyuan_transformer({k: t.float() for k, t in tensors.items()})
    write(files["--model"], {k: t.to(torch.float8_e4m3fn) if t.ndim > 1 else t for k, t in fused.items()})
    ours, theirs = generate(files, steps=1), generate({"--model": folder}, steps=1)
    assert same(ours, theirs)


@pytest.mark.parametrize("kind", ["token_replace", "latent_concat"])
def test_hunyuan_video_from_an_image(generate, tmp_path, kind):
    folder, shown = tmp_path / "folder", pictures("i2v", tmp_path)
    concatenates = {"in_channels": 33, "guidance_embeds": False} if kind == "latent_concat" else {}
    save_tiny_hunyuan_video_image(folder, kind, transformer=HUNYUAN | concatenates, vae=HUNYUAN_VAE, clip=CLIP,
                                  llava={"vision": TOWER, "text": LLAMA})  # fmt: skip
    files = write_hunyuan(folder, tmp_path / "files")
    assert same(generate(files, *shown, steps=1), generate({"--model": folder}, *shown, steps=1))


# ---- what files are, and what is wrong with them --------------------------------------------------------------------


def test_inspect_says_what_files_are(wan, run, tmp_path):
    files = write_wan(wan("i2v"), tmp_path / "files")

    def said(option):
        return run("eav", "inspect", files[option]).decode()

    assert "Wan 2.1, image to video" in said("--model")
    for need in ("UMT5-XXL by --text-encoder", "VAE of Wan 2.1 by --vae", "CLIP ViT-H by --image-encoder"):
        assert need in said("--model")
    assert "the VAE of Wan 2.1" in said("--vae") and "needs" not in said("--vae")
    assert "UMT5-XXL" in said("--text-encoder") and "CLIP ViT-H" in said("--image-encoder")
    assert "WanTransformer3DModel" in run("eav", "inspect", *[part for o in files.items() for part in o][1:], "--width", 64,
                                          "--height", 32, "--frames", 5).decode()  # fmt: skip


def test_bad_files(wan, run, tmp_path):
    files = write_wan(wan("t2v"), tmp_path / "files")

    def fails(changes, *more):
        where = [part for option in {**files, **changes}.items() if option[1] for part in option]
        said = run("eav", "generate", "x", *where, "--out", tmp_path / "x.mp4", "--width", 64, "--height", 32, "--frames", 1,
                   "--steps", 1, *more, fails=True).decode()  # fmt: skip
        assert said.count("eav: ") == 1 and not (tmp_path / "x.mp4").exists()
        return said.splitlines()[-1]

    assert "has no UMT5-XXL: name one by --text-encoder" in fails({"--text-encoder": None})
    assert "has no VAE of Wan 2.1: name one by --vae" in fails({"--vae": None})
    assert "holds no VAE of Wan 2.1" in fails({"--vae": files["--text-encoder"]})
    assert "holds no tokenizer: name one by --tokenizer" in fails({"--tokenizer": None})
    assert "has no transformer, but the VAE of Wan 2.1" in fails({"--model": files["--vae"]})
    assert "sees no pictures as tokens: leave --image-encoder out" in fails({"--image-encoder": files["--vae"]})
    pickled = tmp_path / "Wan2.1_VAE.pth"
    pickled.write_bytes(b"x")
    assert "pickled objects" in fails({"--vae": pickled}) and "wan_2.1_vae.safetensors" in fails({"--vae": pickled})
    tensors = safetensors.torch.load_file(files["--model"])
    both = write(tmp_path / "both.safetensors", {**tensors, **prefixed("vae.", safetensors.torch.load_file(files["--vae"]))})
    assert "has its own VAE of Wan 2.1: leave --vae out" in fails({"--model": both})
    lost = {key: t for key, t in tensors.items() if key != "blocks.1.self_attn.q.weight"}
    assert '"blocks.1.attn1.to_q.weight"' in fails({"--model": write(tmp_path / "lost.safetensors", lost)})
    named = tmp_path / "wan2.2_t2v_low_noise_14B.safetensors"
    named.symlink_to(files["--model"])
    assert "one of two experts" in fails({"--model": named})
    other = {**tensors, "patch_embedding.weight": torch.ones(128, 20, 1, 2, 2)}
    assert "takes 20 channels" in fails({"--model": write(tmp_path / "other.safetensors", other)})


def test_comfyui(wan, run, generate, tmp_path):
    """Parts are found by what they are, in ComfyUI's folders and in those of its extra_model_paths.yaml."""
    folder, comfy, elsewhere = wan("t2v"), tmp_path / "ComfyUI", tmp_path / "elsewhere"
    files = write_wan(folder, tmp_path / "files")
    for kind in ("diffusion_models", "vae", "text_encoders", "clip_vision"):
        (comfy / "models" / kind).mkdir(parents=True)
    (elsewhere / "encoders").mkdir(parents=True)
    (comfy / "models" / "diffusion_models" / "wan.safetensors").symlink_to(files["--model"])
    (comfy / "models" / "vae" / "vae.safetensors").symlink_to(files["--vae"])
    write(comfy / "models" / "vae" / "another.safetensors", {"decoder.weight": torch.ones(2)})
    (elsewhere / "encoders" / "umt5.safetensors").symlink_to(files["--text-encoder"])
    (comfy / "extra_model_paths.yaml").write_text(
        f"# where others lie\nothers:\n    base_path: {elsewhere}\n    text_encoders: |\n        nothing/\n        encoders/\n")
    given = {"--model": "wan.safetensors", "--comfyui": comfy, "--tokenizer": folder / "tokenizer"}
    assert same(generate(given), generate({"--model": folder}))
    generate(given)
    record = json.loads((tmp_path / "frames.json").read_text())
    assert record["text_encoder"] == str(elsewhere / "encoders" / "umt5.safetensors") and "comfyui" not in record
    assert record["vae"] == str(comfy / "models" / "vae" / "vae.safetensors")

    (comfy / "models" / "vae" / "same.safetensors").symlink_to(files["--vae"])
    where = [part for option in given.items() for part in option]
    said = run("eav", "generate", "x", *where, fails=True).decode().splitlines()[-1]
    assert "several files are a VAE of Wan 2.1" in said and "same.safetensors" in said and "by --vae" in said
    for file in (comfy / "models" / "vae").iterdir():
        file.unlink()
    said = run("eav", "generate", "x", *where, fails=True).decode().splitlines()[-1]
    assert "has no VAE of Wan 2.1 in models/vae" in said and "wan_2.1_vae.safetensors" in said
