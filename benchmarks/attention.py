"""Times the attention of src/kernels/attention.cpp against ATen's, alternating in one run, in bfloat16, packing included.

Example: python benchmarks/attention.py --rounds 5
"""

import argparse
import statistics

from side_by_side import BENCH, alternate, median_ratio

# Heads, queries, keys, size of heads.
SHAPES = [
    (30, 128, 128, 64),
    (30, 512, 512, 64),
    (30, 1024, 1024, 64),
    (24, 1024, 1024, 128),
    (32, 4290, 256, 64),  # LTX-Video's cross-attention at 97 frames of 704x480
    (30, 4096, 4096, 64),
    (12, 8190, 8190, 128),  # Wan 1.3B at 81 frames of 416x240
    (6, 17776, 17776, 64),  # a fifth of the heads of CogVideoX-2B at 720x480x49
    (6, 17776, 17776, 128),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    print(f"{options.threads} threads, {options.rounds} rounds: medians of GFLOP/s, and of the rounds' ratios of time")
    for heads, queries, keys, d in SHAPES:
        commands = {
            name: [BENCH, options.threads, "attention", name, heads, queries, keys, d] for name in ("library", "kernel")
        }
        times = {name: [t for t, _ in results] for name, results in alternate(commands, options.rounds).items()}
        work = 4 * heads * queries * keys * d / 1e9
        rates = "  ".join(f"{name} {work / statistics.median(t):4.0f}" for name, t in times.items())
        ratio = median_ratio(times["kernel"], times["library"])
        print(f"{heads:3} heads of {d:3}, {queries:5} x {keys:5}: {rates}  ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
