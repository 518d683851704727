"""Times blocks whose weights are packed against the same in bfloat16, alternating in one run, on random weights, computing in
bfloat16: Wan's at 1.3B's width with 2,550 tokens, and UMT5-XXL's with 512.

A block's time is half the difference of a pass through 4 blocks and one through 2.
Example: python benchmarks/stored_types.py --rounds 5
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from side_by_side import BENCH, alternate
from umt5 import XXL
from wan import WIDTH_1_3B

PACKED = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_k": gguf.GGMLQuantizationType.Q4_K}


def save_packed(tensors, file, packing):
    """Matrices as random blocks with scales of a weight's size, the rest in float32."""
    random, writer = np.random.default_rng(0), gguf.GGUFWriter(file, "none")
    elements, size = gguf.GGML_QUANT_SIZES[packing]
    for key, tensor in tensors.items():
        if tensor.dim() != 2 or tensor.shape[1] % elements:
            writer.add_tensor(key, tensor.float().numpy())
            continue
        blocks = random.integers(0, 256, (tensor.shape[0], tensor.shape[1] // elements, size), dtype=np.uint8)
        scales = 2 if packing == gguf.GGMLQuantizationType.Q4_K else 1
        blocks[:, :, : 2 * scales] = np.array([1e-4] * scales, dtype=np.float16).view(np.uint8)
        writer.add_tensor(key, blocks.reshape(tensor.shape[0], -1), raw_dtype=packing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_as(model, folder, stem, types):
    """The model in every type: folder/bfloat16, folder/q8_0, …"""
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items() if "embed_tokens" not in key}
    for name in types:
        to = Path(folder) / name
        to.mkdir(parents=True)
        model.config.save_pretrained(to) if hasattr(model.config, "save_pretrained") else model.save_config(to)
        if name in PACKED:
            save_packed(tensors, to / f"{stem}.gguf", PACKED[name])
            continue
        matrices = torch.bfloat16 if name == "bfloat16" else torch.float8_e4m3fn
        save_file({key: tensor.to(matrices if tensor.dim() == 2 else torch.bfloat16) for key, tensor in tensors.items()},
                  to / f"{stem}.safetensors")  # fmt: skip


def wan(layers):
    return WanTransformer3DModel(num_layers=layers, **WIDTH_1_3B)


def umt5(layers):
    config = transformers.UMT5Config(num_layers=layers, vocab_size=256, **XXL)
    return transformers.UMT5EncoderModel(config)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default=["float8", "q8_0", "q4_k"], nargs="+", choices=["float8", *PACKED])
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--models", default=["wan", "umt5"], nargs="+", choices=["wan", "umt5"])
    options = parser.parse_args()
    types = ["bfloat16", *options.types]
    torch.manual_seed(0)
    inputs = {
        "wan": {"latents": torch.randn(1, 16, 17, 20, 30), "text": torch.randn(1, 512, 4096)},
        "umt5": {"ids": torch.randint(0, 256, (1, 512))},
    }
    print(f"{options.threads} threads, {options.rounds} rounds: seconds of a block at best, and against bfloat16's")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            save_file(inputs[name], f"{folder}/inputs.safetensors")
            commands = {}
            for layers in (2, 4):
                made = wan(layers) if name == "wan" else umt5(layers)
                save_as(made, f"{folder}/{layers}", "diffusion_pytorch_model" if name == "wan" else "model", types)
                del made
                for kind in types:
                    more = ["off"] if name == "wan" else []
                    part = "wan" if name == "wan" else "t5"
                    commands[kind, layers] = [BENCH, options.threads, part, f"{folder}/{layers}/{kind}", f"{folder}/inputs.safetensors", "bfloat16", *more]  # fmt: skip
            times = {key: [t for t, _ in results] for key, results in alternate(commands, options.rounds).items()}
            shutil.rmtree(folder, ignore_errors=True)
        block = {kind: (min(times[kind, 4]) - min(times[kind, 2])) / 2 for kind in types}
        median = {kind: (statistics.median(times[kind, 4]) - statistics.median(times[kind, 2])) / 2 for kind in types}
        for kind in types:
            print(f"{name:6}{kind:10}{block[kind]:8.3f}{block[kind] / block['bfloat16']:7.3f}"
                  f"   at median {median[kind] / median['bfloat16']:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
