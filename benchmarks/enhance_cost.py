"""Times what attention maps and the adaptive weight cost beside a fixed weight: whole runs of a CogVideoX transformer
at real width (two layers of 30 heads of 64, 13 latent frames of 256x256), alternating, on random weights.

Example: python benchmarks/enhance_cost.py --rounds 6
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

VARIANTS = {
    "off": ["--no-enhance"],
    "fixed": ["--enhance-weight", "3.4"],
    "auto": ["--enhance-weight", "auto"],
    "maps": ["--enhance-weight", "3.4", "--trace-maps"],
}


def seconds_of_transformer(model, folder, options, steps, threads):
    subprocess.run([ROOT / "build/eav", "generate", "a red circle", "--model", model, "--out", folder / "v.mp4", "--overwrite",
                    "--trace", folder / "t.json", "--seed", "1", "--frames", "49", "--width", "256", "--height", "256",
                    "--steps", str(steps), "--threads", str(threads), *options], check=True, capture_output=True)  # fmt: skip
    return json.loads((folder / "v.json").read_text())["seconds"]["transformer"] / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=6, type=int)
    parser.add_argument("--steps", default=4, type=int)
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    from tiny import save_tiny_cogvideox

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_tiny_cogvideox(folder / "model", transformer={"num_attention_heads": 30, "attention_head_dim": 64, "num_layers": 2,
                                                           "time_embed_dim": 512})  # fmt: skip
        times = {variant: [] for variant in VARIANTS}
        for _ in range(options.rounds):
            for variant, arguments in VARIANTS.items():
                times[variant].append(seconds_of_transformer(folder / "model", folder, arguments, options.steps, options.threads))
    print(f"{options.rounds} rounds of {options.steps} steps, {options.threads} threads: seconds a step, at best")
    for variant, seconds in times.items():
        ratio = min(seconds) / min(times["fixed"])
        median = statistics.median(a / b for a, b in zip(seconds, times["fixed"]))
        print(f"{variant:6}{min(seconds):9.4f}   {ratio:.4f} of fixed; median of rounds {median:.4f}")


if __name__ == "__main__":
    main()
