"""The seconds that a memory plan takes at released sizes, and the advice of a refusal.

    python benchmarks/plan_time.py FOLDER

FOLDER holds a folder for each released checkpoint, with the configurations of its parts: transformer.json, vae.json,
text_encoder.json (and _2), scheduler.json, model_index.json. Weights are files with holes, of the released names and
shapes: nothing reads them. Fails where a plan takes 0.1 s or more, or advice a second.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
# A size that users ask for, and one that does not fit into 24 GB in float32, where there is one.
SIZES = {
    "CogVideoX-2b": ("720x480x49", "720x480x2001"),
    "CogVideoX-5b": ("720x480x49", "720x480x2001"),
    "CogVideoX1.5-5B": ("1360x768x81", "1360x768x161"),
    "HunyuanVideo": ("1280x720x129", "1280x720x129"),
    "LTX-Video-0.9.1": ("768x512x161", None),
    "LTX-Video-0.9.5": ("1216x704x121", None),
    "LTX-Video-0.9.7-13B": ("1216x704x121", "1216x704x121"),
}


def save_hollow(model, path):
    """The header of a safetensors file of the model's tensors in bfloat16, and a hole where they would be."""
    header, end = {}, 0
    for name, tensor in model.state_dict().items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def save(source, folder):
    import diffusers
    import torch
    import transformers

    index = json.loads((source / "model_index.json").read_text())
    folder.mkdir()
    shutil.copy(source / "model_index.json", folder)
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "scheduler"):
        config = source / f"{part}.json"
        if not config.exists():
            continue
        (folder / part).mkdir()
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        shutil.copy(config, folder / part / name)
        if part == "scheduler":
            continue
        library, class_name = index[part]
        values = json.loads(config.read_text())
        with torch.device("meta"):
            if library == "diffusers":
                model = getattr(diffusers, class_name).from_config(values)
                save_hollow(model, folder / part / "diffusion_pytorch_model.safetensors")
            else:
                kind = getattr(transformers, class_name)
                save_hollow(kind(kind.config_class.from_dict(values)), folder / part / "model.safetensors")
    if "Hunyuan" in source.name:
        from tiny_hunyuan_video import LINES
        from tiny_text import tiny_clip_tokenizer, tiny_llama_tokenizer

        tiny_llama_tokenizer(f"{folder}/tokenizer", LINES, 600)
        tiny_clip_tokenizer(f"{folder}/tokenizer_2")
    else:
        from tiny import tiny_tokenizer

        tiny_tokenizer(folder / "tokenizer")


def options(size):
    return [word for name, value in zip(("width", "height", "frames"), size.split("x")) for word in (f"--{name}", value)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", type=pathlib.Path)
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, help="keep the checkpoints there, or use those that are there")
    parser.add_argument("--save", nargs=2, type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.save:
        return save(*given.save)

    slow = 0
    print(f"{'checkpoint':<22} {'size':<13} {'plan':>7}   {'too large':<14} {'advice':>7}")
    with tempfile.TemporaryDirectory() as temporary:
        for name, (size, too_large) in SIZES.items():
            folder = (given.folder or pathlib.Path(temporary)) / name
            if not folder.exists():
                subprocess.run([sys.executable, __file__, ".", "--save", given.configurations / name, folder], check=True)
            plan = json.loads(subprocess.run([given.build / "tests" / "eav_probe", "plan", folder, "--dtype", "bfloat16", *options(size)],
                                             check=True, stdout=subprocess.PIPE).stdout)  # fmt: skip
            slow += plan["seconds"] >= 0.1
            if not too_large:
                print(f"{name:<22} {size:<13} {plan['seconds']:5.3f} s", flush=True)
                continue
            refused = [given.build / "eav", "generate", "x", "--model", folder, "--dtype", "float32", *options(too_large)]
            start = time.monotonic()
            done = subprocess.run(refused, stderr=subprocess.PIPE, text=True, cwd=temporary, check=False)
            advice = time.monotonic() - start
            assert done.returncode != 0
            slow += advice >= 1
            print(f"{name:<22} {size:<13} {plan['seconds']:5.3f} s   {too_large:<14} {advice:5.2f} s  {done.stderr.strip()}", flush=True)
    if slow:
        raise SystemExit(f"{slow} are too slow")


if __name__ == "__main__":
    main()
