"""Folders of released checkpoints at their full size, without weights: every key and shape in sparse files.

    released_folders.py --configurations DIR --folder DIR [--program build/eav] [--only WORD] [--spelling released] [--run]

For each release whose configurations lie in --configurations (one folder a release, one JSON a part), the parts are built
by diffusers and transformers on the meta device, and their keys, shapes and types written as .safetensors whose tensors
are holes. `eav inspect` then has to find every key; with --run, so has `eav generate --offload` at a tiny size in a step,
or in two where the schedule refuses one, which reads every tensor. --spelling: keys as the hub has them, or as current
libraries save them. Prints a table; ends with 1 where one failed.
"""

import argparse
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is ever downloaded
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from tiny import tiny_tokenizer  # noqa: E402
from tiny_hunyuan_video import LINES, tiny_image_tokenizer  # noqa: E402
from tiny_text import tiny_clip_tokenizer, tiny_llama_tokenizer  # noqa: E402

transformers.utils.logging.set_verbosity_error()

NAMES = {"F32": (torch.float32, 4), "BF16": (torch.bfloat16, 2), "F16": (torch.float16, 2)}
# The types that the hub's files are stored in, where they are not bfloat16: by release and part.
STORED = {
    ("Wan", "transformer"): "F32",
    ("Wan", "transformer_2"): "F32",
    ("Wan", "vae"): "F32",
    ("Wan", "image_encoder"): "F32",
    ("CogVideoX-2b", ""): "F16",
}
SIZES = {
    "Wan2.2-TI2V": ("64", "64", "5"),
    "Wan": ("32", "32", "5"),
    "CogVideoX": ("96", "96", "9"),
    "Hunyuan": ("48", "48", "9"),
    "LTX": ("64", "64", "9"),
}


def stored(release, part):
    for (name, of), kind in STORED.items():
        if release.startswith(name) and of in ("", part):
            return kind
    return "BF16"


def model_of(kind, name, config):
    """A part's model on the meta device."""
    with torch.device("meta"):
        if kind == "diffusers":
            cls = getattr(diffusers, name)
            return cls.from_config({k: v for k, v in config.items() if not k.startswith("_")})
        cls = getattr(transformers, name)
        return cls(cls.config_class.from_dict(config))


def spelled(name, keys, spelling):
    """The keys of a part as the hub has them, or as the libraries of today save them."""
    if name == "CLIPVisionModel":
        keys = {key.removeprefix("vision_model."): shape for key, shape in keys.items()}
        if spelling == "released":
            keys = {f"vision_model.{key}": shape for key, shape in keys.items()} | {"vision_model.embeddings.position_ids": None}
        else:
            keys["visual_projection.weight"] = (1024, 1280)
    if name in ("T5EncoderModel", "UMT5EncoderModel"):
        tied = "encoder.embed_tokens.weight"
        if spelling == "released":
            keys[tied] = keys["shared.weight"]
        else:
            keys.pop(tied, None)
    if name == "WanTransformer3DModel" and spelling == "released" and any(".add_k_proj." in key for key in keys):
        keys |= {key.replace("norm_added_k", "norm_added_q"): shape for key, shape in keys.items() if "norm_added_k" in key}
    return keys


def write_sparse(path, keys, kind):
    """A file of tensors that are holes."""
    size, at, header = NAMES[kind][1], 0, {}
    for key, shape in keys.items():
        whole = shape is None  # numbers of positions
        length = 8 if whole else size * torch.Size(shape).numel()
        header[key] = {"dtype": "I64" if whole else kind, "shape": [1] if whole else list(shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def make(release, configurations, folder, spelling):
    source, made = configurations / release, folder / release
    index = json.loads((source / "model_index.json").read_text())
    counts, told = {}, {}
    for part, value in index.items():
        if not isinstance(value, list) or value[0] is None:
            continue
        config_file = source / f"{part}.json"
        if part == "scheduler":
            (made / part).mkdir(parents=True)
            shutil.copy(config_file, made / part / "scheduler_config.json")
        elif part.startswith("tokenizer"):
            told |= make_tokenizer(value[1], made, part, configurations, "ImageToVideo" in index["_class_name"])
        elif part.startswith("image_processor"):
            pixels = 336 if "Hunyuan" in release else 224
            square = {"height": pixels, "width": pixels}
            transformers.CLIPImageProcessor(size={"shortest_edge": pixels}, crop_size=square).save_pretrained(made / part)
        elif config_file.exists():
            config = json.loads(config_file.read_text())
            model = model_of(*value, config)
            shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
            counts[part] = (sum(parameter.numel() for parameter in model.parameters()), len(shapes))
            stem = "diffusion_pytorch_model" if value[0] == "diffusers" else "model"
            write_sparse(made / part / f"{stem}.safetensors", spelled(value[1], shapes, spelling), stored(release, part))
            shutil.copy(config_file, made / part / "config.json")
    shutil.copy(source / "model_index.json", made / "model_index.json")
    if told:
        config_file = made / "text_encoder" / "config.json"
        config_file.write_text(json.dumps(json.loads(config_file.read_text()) | told))
    return made, counts


def make_tokenizer(name, made, part, configurations, image):
    """Small ones, but for UMT5's: the released files of the others are not at hand, and their ids do not matter here, but for
    those in what is returned: fields of the text encoder's configuration."""
    folder = made / part
    if made.name.startswith("Wan"):
        folder.mkdir(parents=True)
        for file in (configurations / "umt5-xxl-tokenizer").iterdir():
            if file.suffix == ".xz":
                (folder / file.stem).write_bytes(lzma.open(file).read())
            else:
                shutil.copy(file, folder)
    elif name.startswith("Llama"):
        tokenizer = tiny_image_tokenizer(folder) if image else tiny_llama_tokenizer(folder, LINES, merges=600)
        if image:
            return {"image_token_index": tokenizer.convert_tokens_to_ids("<image>")}
    elif name.startswith("CLIP"):
        tiny_clip_tokenizer(folder)
    else:
        tiny_tokenizer(folder)
    return {}


def run(program, *arguments):
    begin = time.time()
    process = subprocess.Popen([program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in text.splitlines() if line.startswith("eav: ")]
    return process.returncode == 0 and not lines, time.time() - begin, usage.ru_maxrss / 1e6, " ".join(lines)[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the folders are made; each is removed again")
    parser.add_argument("--program", type=Path, default=Path(__file__).resolve().parents[1] / "build/eav")
    parser.add_argument("--only", default="", help="a word in the names of releases")
    parser.add_argument("--spelling", choices=["released", "current"], default="released")
    parser.add_argument("--run", action="store_true")
    options = parser.parse_args()
    failed = False
    print("| release | parameters, tensors | inspect | one step, offloaded | seconds | GB |\n|---|---|---|---|---|---|")
    for source in sorted(options.configurations.iterdir()):
        release = source.name
        if options.only not in release or not (source / "model_index.json").exists():
            continue
        shutil.rmtree(options.folder / release, ignore_errors=True)
        folder, counts = make(release, options.configurations, options.folder, options.spelling)
        size = next(size for name, size in SIZES.items() if release.startswith(name))
        size = [x for pair in zip(("--width", "--height", "--frames"), size, strict=True) for x in pair]
        good, seconds, memory, message = run(options.program, "inspect", folder, "--offload", *size)
        step = "-"
        if good and options.run:
            Image.new("RGB", (64, 64)).save(options.folder / "x.png")
            index = (folder / "model_index.json").read_text()
            pictures = ["--image", options.folder / "x.png"] if "ImageToVideo" in index else []
            pictures += ["--last-image", options.folder / "x.png"] if "FLF2V" in release else []
            scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
            steps = 2 if scheduler.get("shift_terminal") else 1
            good, seconds, memory, message = run(
                options.program, "generate", "a panda", "--model", folder, "--offload", "--steps", steps, "--guidance", "1",
                "--dtype", "float32", "--out", options.folder / "x.mp4", "--overwrite", *size, *pictures,
            )  # fmt: skip
            step = "yes" if good else f"no: {message}"
        parts = "; ".join(f"{part} {count:,}, {tensors}" for part, (count, tensors) in counts.items())
        inspected = "yes" if good or step != "-" else f"no: {message}"
        print(f"| {release} | {parts} | {inspected} | {step} | {seconds:.0f} | {memory:.1f} |", flush=True)
        failed = failed or not good
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
