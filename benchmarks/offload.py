"""One step of a checkpoint with CogVideoX-2B's transformer under --offload, its pages not in memory: seconds of each program.

    python benchmarks/offload.py --programs before/eav build/eav --rounds 3

The weights are random: 30 blocks of 30 heads of 64, 3.3 GB in bfloat16. Before each run the system drops the pages of
the file (posix_fadvise), so that every block comes from the disk; with --warm they stay.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
LAYERS = 30


def save_checkpoint(folder):
    import json

    import torch
    from safetensors.torch import load_file, save_file
    from tiny import save_tiny_cogvideox

    save_tiny_cogvideox(folder, transformer={"num_attention_heads": 30, "attention_head_dim": 64, "time_embed_dim": 512, "num_layers": 1})
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    one = load_file(path)
    tensors = {}
    for key, tensor in one.items():
        random = (torch.randn(tensor.shape) * 0.02).bfloat16()
        if not key.startswith("transformer_blocks.0."):
            tensors[key] = random
            continue
        for layer in range(LAYERS):
            tensors[key.replace(".0.", f".{layer}.", 1)] = random.clone()
    save_file(tensors, path)
    config = json.loads((path.parent / "config.json").read_text())
    (path.parent / "config.json").write_text(json.dumps({**config, "num_layers": LAYERS}))
    return path


def drop_pages(path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", default=[ROOT / "build/eav"], help="eav programs, timed in turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--warm", action="store_true", help="leave the pages in memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        folder = pathlib.Path(folder)
        file = save_checkpoint(folder / "model")
        seconds = {program: [] for program in given.programs}
        for _ in range(given.rounds):
            for program in given.programs:
                if not given.warm:
                    drop_pages(file)
                start = time.perf_counter()
                subprocess.run([program, "generate", "a", "--model", folder / "model", "--dtype", "bfloat16", "--offload", "--steps", "1",
                                "--guidance", "1", "--width", str(given.width), "--height", str(given.height), "--frames",
                                str(given.frames), "--latents-only", "--save-latents", folder / "latents.safetensors", "--overwrite"],
                               check=True, capture_output=True)  # fmt: skip
                seconds[program].append(time.perf_counter() - start)
    first = statistics.median(seconds[given.programs[0]])
    for program, times in seconds.items():
        median = statistics.median(times)
        print(f"{program}: {median:.2f} s ({min(times):.2f} to {max(times):.2f}), {median / first:.3f} of the first")


if __name__ == "__main__":
    main()
