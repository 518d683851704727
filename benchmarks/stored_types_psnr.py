"""PSNR of a video with the transformer and the text encoder stored in each type against the video in float32: of the demo, or
with --tiny of a small random Wan whose rows have 256 elements, as Q4_K needs them.

`eav convert` writes bfloat16, fp8, q8_0 and q4_k; the package `gguf` quantises the rest, and PyTorch casts to float8.
Example: python benchmarks/stored_types_psnr.py --seeds 3
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny_wan import save_tiny_wan  # noqa: E402

PROMPT = "a red circle moving right on a gray background"
STEMS = {"transformer": "diffusion_pytorch_model", "text_encoder": "model"}
BY_CONVERT = ["bfloat16", "fp8", "q8_0", "q4_k"]
BY_OTHERS = ["float16", "float8_e5m2", "fp8_scaled", "q5_1", "q5_0", "q4_1", "q4_0"]


def frames(model, out, seed, more):
    shutil.rmtree(out, ignore_errors=True)
    command = [ROOT / "build" / "eav", "generate", PROMPT, "--model", model, "--seed", str(seed), "--out", f"{out}/", "--overwrite"]
    subprocess.run([*command, *more], check=True, capture_output=True)
    return np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in sorted(Path(out).glob("*.png"))])


def write_gguf(tensors, file, kind):
    packing = gguf.GGMLQuantizationType[kind.upper()]
    writer = gguf.GGUFWriter(file, "none")
    for key, tensor in tensors.items():
        values = tensor.float().numpy()
        if tensor.dim() == 2 and tensor.shape[1] % 32 == 0 and tensor.numel() > 1024:
            writer.add_tensor(key, gguf.quants.quantize(values, packing), raw_dtype=packing)
        else:
            writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_safetensors(tensors, kind):
    """Matrices in the type; the scaled float8 is ComfyUI's."""
    stored = {}
    for key, tensor in tensors.items():
        matrix = tensor.dim() == 2 and tensor.numel() > 1024
        if matrix and kind == "fp8_scaled" and "block" in key and key.endswith(".weight"):
            scale = tensor.abs().max().float() / torch.finfo(torch.float8_e4m3fn).max
            stored[key] = (tensor / scale).to(torch.float8_e4m3fn)
            stored[key.removesuffix("weight") + "scale_weight"] = scale
        elif matrix and kind != "fp8_scaled":
            stored[key] = tensor.to(torch.float16 if kind == "float16" else torch.float8_e5m2)
        else:
            stored[key] = tensor
    if kind == "fp8_scaled":
        stored["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return stored


def store(model, copy, kind, folder):
    """Stores both parts of the copy in the type; returns the transformer's file."""
    for part, stem in STEMS.items():
        file = copy / part / f"{stem}.safetensors"
        tensors = {key: t.contiguous() for key, t in load_file(file).items()}
        file.unlink()
        if kind.startswith("q"):
            file = file.with_suffix(".gguf")
        if kind in BY_CONVERT:
            shutil.move(f"{folder}/x-{part}{file.suffix}", file)
        elif kind.startswith("q"):
            write_gguf(tensors, file, kind)
        else:
            save_file(in_safetensors(tensors, kind), file)
    return next((copy / "transformer").glob("diffusion_pytorch_model.*"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "models" / "demo", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--types", default=BY_CONVERT + BY_OTHERS, nargs="+", choices=BY_CONVERT + BY_OTHERS)
    parser.add_argument("--seeds", default=3, type=int)
    options = parser.parse_args()
    print(f"{'type':12}{'transformer':>12}{'PSNR of every seed':>40}")
    with tempfile.TemporaryDirectory() as folder:
        more = []
        if options.tiny:
            options.model, more = Path(folder) / "tiny", ["--width", "64", "--height", "32", "--frames", "5", "--steps", "4"]
            save_tiny_wan(options.model, transformer={"num_attention_heads": 2, "attention_head_dim": 128, "ffn_dim": 512})
        seeds = range(options.seeds)
        plain = [frames(options.model, f"{folder}/frames", seed, more) for seed in seeds]
        for kind in options.types:
            copy = shutil.copytree(options.model, Path(folder) / kind, ignore=shutil.ignore_patterns("train"))
            if kind in BY_CONVERT:
                out = f"{folder}/x.{'gguf' if kind.startswith('q') else 'safetensors'}"
                convert = [ROOT / "build" / "eav", "convert", options.model, "--type", kind, "--out", out]
                subprocess.run(convert, check=True, capture_output=True)
            size = store(options.model, copy, kind, folder).stat().st_size
            for rest in Path(folder).glob("x-*"):
                rest.unlink()
            errors = [np.mean((frames(copy, f"{folder}/frames", seed, more) - plain[seed]) ** 2) for seed in seeds]
            values = [10 * np.log10(255**2 / max(error, 1e-12)) for error in errors]
            print(f"{kind:12}{size / 2**20:9.2f} MiB   " + "  ".join(f"{value:.1f} dB" for value in values), flush=True)


if __name__ == "__main__":
    main()
