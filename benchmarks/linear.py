"""Times the matrix product of src/kernels/matmul.cpp against the library that ATen calls, alternating in one run, in float32.

Shapes are those of CogVideoX-2B's blocks. Example: python benchmarks/linear.py --rounds 20
"""

import argparse
import statistics

from side_by_side import BENCH, alternate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=20, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--rows", default=[1378, 2756], nargs="+", type=int)
    options = parser.parse_args()
    print(f"{options.threads} threads, {options.rounds} rounds; GFLOP/s at best (median), and the ratio of times")
    for rows in options.rows:
        for inputs, outputs in ((1920, 1920), (1920, 7680), (7680, 1920)):
            commands = {
                name: [BENCH, options.threads, "linear", name, rows, inputs, outputs] for name in ("library", "kernel")
            }
            times = {name: [t for t, _ in results] for name, results in alternate(commands, options.rounds).items()}
            work = 2 * rows * inputs * outputs / 1e9
            rates = "  ".join(f"{n} {work / min(t):4.0f} ({work / statistics.median(t):4.0f})" for n, t in times.items())
            ratio = min(times["kernel"]) / min(times["library"])
            medians = statistics.median(times["kernel"]) / statistics.median(times["library"])
            print(f"{rows} x {inputs} -> {outputs}:  {rates}  {ratio:.2f} ({medians:.2f})", flush=True)


if __name__ == "__main__":
    main()
