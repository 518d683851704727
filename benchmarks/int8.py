"""What int8 gains and costs: linear layers against bfloat16, alternating in one run; a block of CogVideoX-2B's width with
random weights, with and without channels that stand out, against float32; and with --videos the demo's against float32.

Examples: python benchmarks/int8.py --rows 4096 17776; python benchmarks/int8.py --rows --videos 64
"""

import argparse
import json
import math
import statistics
import subprocess
import tempfile
from pathlib import Path

from side_by_side import BENCH, alternate

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(1920, 1920, "plain"), (1920, 7680, "gelu"), (7680, 1920, "plain"), (2048, 2048, "plain"), (2048, 8192, "gelu"), (8192, 2048, "plain")]
LARGER, SHARE = 30, 100  # a channel of so many is so many times larger


def time_linear(rows, rounds, threads):
    for inputs, outputs, then in SHAPES:
        commands = {name: [BENCH, threads, "int8_linear", name, rows, inputs, outputs, then] for name in ("bfloat16", "int8")}
        times = {name: statistics.median(t for t, _ in results) for name, results in alternate(commands, rounds).items()}
        rates = "  ".join(f"{name} {2e-9 * rows * inputs * outputs / t:5.0f}" for name, t in times.items())
        print(f"{rows} x {inputs} -> {outputs} {then}:  {rates}  {times['int8'] / times['bfloat16']:.3f}", flush=True)


def save_block(folder, outliers):
    import torch
    from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
    from safetensors.torch import save_file

    torch.manual_seed(0)
    block = CogVideoXBlock(1920, 30, 64, 512, qk_norm=True, norm_elementwise_affine=True)
    tensors = {}
    for name, tensor in block.state_dict().items():
        if tensor.dim() == 2:
            tensor = torch.randn(tensor.shape) / math.sqrt(tensor.shape[1])
        elif outliers and name in ("norm1.norm.weight", "norm2.norm.weight"):
            tensor[torch.randperm(1920)[: 1920 // SHARE]] *= LARGER
        tensors[f"transformer_blocks.0.{name}"] = tensor.contiguous()
    folder.mkdir()
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 30, "attention_head_dim": 64, "num_layers": 1}))


def signal_to_error(threads):
    with tempfile.TemporaryDirectory() as temporary:
        for outliers in (False, True):
            folder = Path(temporary) / str(outliers)
            save_block(folder, outliers)
            command = [BENCH, str(threads), "int8_block", folder]
            done = subprocess.run(command, input="run\n", capture_output=True, text=True, check=True)
            what = f"1 in {SHARE} channels of the norms {LARGER} times larger" if outliers else "random weights"
            print(f"change of a block, signal to error, {what}: {float(done.stderr):.1f} dB", flush=True)


def pictures(folder, count, *more):
    """The frames of so many of the demo's videos."""
    import numpy as np
    from PIL import Image

    prompts = Path(folder) / "prompts.txt"
    prompts.write_text("\n".join((ROOT / "benchmarks" / "adaptive" / "comparing.txt").read_text().splitlines()[:count]) + "\n")
    command = [ROOT / "build" / "eav", "generate", "--prompt-file", prompts, "--model", ROOT / "models" / "demo", "--seed", "1"]
    subprocess.run([*command, "--out", f"{folder}/frames/", "--overwrite", *more], check=True, capture_output=True)
    folders = sorted(path for path in Path(folder).glob("frames*") if path.is_dir())
    return [np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in sorted(f.glob("*.png"))]) for f in folders]


def videos(count):
    """PSNR of the demo's videos in int8, and in bfloat16, to those in float32."""
    import numpy as np

    kinds = {
        "bfloat16": ["--dtype", "bfloat16"],
        "int8 with float32": ["--dtype", "float32", "--quantize", "int8"],
        "int8 with bfloat16": ["--dtype", "bfloat16", "--quantize", "int8"],
    }
    with tempfile.TemporaryDirectory() as folder:
        plain = pictures(folder, count, "--dtype", "float32")
        for name, more in kinds.items():
            errors = [np.mean((a - b) ** 2) for a, b in zip(pictures(folder, count, *more), plain, strict=True)]
            values = [10 * np.log10(255**2 / max(error, 1e-12)) for error in errors]
            print(f"demo in {name}, {len(plain)} prompts: PSNR to float32 mean {statistics.mean(values):.1f} dB, worst {min(values):.1f} dB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--rows", default=[4096, 17776], nargs="*", type=int)
    parser.add_argument("--videos", default=0, type=int, help="that many prompts of the demo")
    options = parser.parse_args()
    if options.rows:
        print(f"{options.threads} threads, {options.rounds} rounds; GFLOP/s (median), and the ratio of times")
    for rows in options.rows:
        time_linear(rows, options.rounds, options.threads)
    signal_to_error(options.threads)
    if options.videos:
        videos(options.videos)


if __name__ == "__main__":
    main()
