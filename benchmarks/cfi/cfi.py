"""Times the CFI operator beside its roofline and the full-map formula, alternating in one run.

    python benchmarks/cfi/cfi.py [--threads 2] [--rounds 15] [--layout bhld]

The roofline is the larger of reading query and key once (max() over each) and of doing the 2*heads*S*T*T*d operations
at the rate that matmul reaches on a large square product. Times are the least of all rounds, which a busy machine
disturbs least; ratios of medians stand beside.
"""

import argparse
import ctypes
import statistics
import time
from pathlib import Path

import enhance_a_video as eav
import torch

# heads, T, S, d of one layer.
SHAPES = {
    "CogVideoX-2B 480x720x49": (30, 13, 1350, 64),
    "HunyuanVideo": (24, 33, 450, 128),
    "LTX-Video": (32, 13, 384, 64),
}
SQUARE = 2048


def full_map(query, key, frames):
    """The formula as it is usually written: all temporal attention maps at once."""
    query, key = (t.unflatten(2, (frames, -1)).transpose(2, 3) for t in (query, key))
    maps = torch.softmax((query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5, dim=-1)
    others = maps * (1 - torch.eye(frames))
    return others.sum((1, 2, 3, 4)) / (maps[0, ..., 0, 0].numel() * frames * (frames - 1))


def milliseconds(function):
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) * 1e3


def peak_growth(function):
    """Kilobytes by which the process grows at most while a function runs (Linux)."""
    status = lambda field: int(Path("/proc/self/status").read_text().split(field)[1].split()[0])
    ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier calls left with the allocator
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = status("VmRSS:")
    function()
    return status("VmHWM:") - before


def measure(shape, layout, rounds):
    heads, frames, positions, dim = shape
    query, key = torch.randn(2, 1, heads, frames * positions, dim)
    square = torch.randn(2, SQUARE, SQUARE)
    if layout == "blhd":
        query, key = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (query, key))
    bfloats, halves = [(query.to(t), key.to(t)) for t in (torch.bfloat16, torch.float16)]
    memory = lambda t: t if layout == "bhld" else t.transpose(1, 2)  # max() reads in the order of memory
    functions = {
        "read": lambda: (memory(query).max(), memory(key).max()),
        "matmul": lambda: square[0] @ square[1],
        "float32": lambda: eav.cfi(query, key, frames),
        "bfloat16": lambda: eav.cfi(*bfloats, frames),
        "float16": lambda: eav.cfi(*halves, frames),
        "full map": lambda: full_map(query, key, frames),
    }
    torch.testing.assert_close(functions["float32"](), functions["full map"](), rtol=1e-5, atol=0)
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(milliseconds(function))
    growth = {name: peak_growth(functions[name]) / 1024 for name in ("float32", "full map")}
    operations = 2 * heads * positions * frames * frames * dim / (2 * SQUARE**3)
    results = []
    for summary in (min, statistics.median):
        t = {name: summary(values) for name, values in times.items()}
        t["compute"] = t["matmul"] * operations
        t["roofline"] = max(t["read"], t["compute"])
        results.append(t)
    return *results, growth


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layout", choices=("bhld", "blhd"), default="bhld")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    columns = (
        "layer", "read", "compute", "float32", "of roofline", "full map", "faster by", "bf16 / f32", "f16 / f32",
        "extra MB (full map)",
    )
    print(f"{options.threads} threads, {options.rounds} rounds, layout {options.layout}; ms (ratios of medians)\n")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for name, shape in SHAPES.items():
        best, middle, growth = measure(shape, options.layout, options.rounds)
        ratio = lambda a, b: f"{best[a] / best[b]:.2f} ({middle[a] / middle[b]:.2f})"
        cells = [
            name, f"{best['read']:.1f}", f"{best['compute']:.1f}", f"{best['float32']:.1f}",
            ratio("float32", "roofline"), f"{best['full map']:.0f}", ratio("full map", "float32"),
            ratio("bfloat16", "float32"),
            ratio("float16", "float32"),
            f"{growth['float32']:.2f} ({growth['full map']:.0f})",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
