"""The demo checkpoint's gates.

    python benchmarks/demo/demo_gates.py                 # all three
    python benchmarks/demo/demo_gates.py --videos DIR    # keeps the videos there, or judges those that are there already

- checker: true clips (5 of each combination) that read_clip.py reads right in colour, shape and direction: at least 99 %;
- gate 1: true clips, encoded and decoded by the autoencoder, read right: at least 97 %;
- gate 2: each of the 216 combinations once, seeds 1000 + i, with the checkpoint's defaults (eav.json) and the enhancement on:
  colour at least 98 %, direction 90 %, shape 85 %, all three 80 %.

Exit status 0 when every gate that ran is passed. Needs numpy, scipy, pillow; gate 1 needs torch and diffusers.
"""
import argparse, os, random, subprocess, sys, tempfile
import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(os.path.dirname(here))
sys.path[:0] = [here, os.path.join(root, "models", "demo", "train")]
from data import COMBINATIONS, MAIN, draw                                                  # noqa: E402
from read_clip import read_clip                                                            # noqa: E402

ASPECTS = ("color", "direction", "shape")
GATES = {"color": 0.98, "direction": 0.90, "shape": 0.85, "all": 0.80}


def frames_of(video):
    """[3, T, H, W] in -1..1 to uint8 [T, H, W, 3]."""
    return ((np.clip(video.transpose(1, 2, 3, 0), -1, 1) + 1) * 127.5).round().astype(np.uint8)


def right(frames, spec):
    read = read_clip(frames)
    said = dict(zip(("color", "shape", "direction", "background"), spec))
    result = {k: read[k] == said[k] for k in ("color", "direction", "shape", "background")}
    result["all"] = all(result[k] for k in ASPECTS)
    return result, read


def rate(results, key):
    return sum(r[key] for r in results) / len(results)


def line(results):
    return ", ".join(f"{k} {rate(results, k):.3f}" for k in (*ASPECTS, "all", "background"))


def check_checker(each):
    results = [right(frames_of(draw(spec, random.Random(f"check {i} {spec}"))), spec)[0] for i in range(each) for spec in COMBINATIONS]
    print(f"checker: {len(results)} true clips: {line(results)}", flush=True)
    return rate(results, "all") >= 0.99


def gate_1(model, count):
    import torch
    from diffusers import AutoencoderKLCogVideoX
    vae = AutoencoderKLCogVideoX.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32).eval()
    results, errors = [], []
    for i in range(count):
        spec = COMBINATIONS[i * 7 % len(COMBINATIONS)]
        clip = draw(spec, random.Random(f"gate 1 {i}"))
        with torch.inference_mode():
            again = vae.decode(vae.encode(torch.from_numpy(clip)[None]).latent_dist.mode()).sample[0].numpy()
        errors.append(np.mean((np.clip(again, -1, 1) - clip) ** 2) / 4)
        results.append(right(frames_of(again), spec)[0])
    print(f"gate 1: {count} clips through the autoencoder: {line(results)}; PSNR {np.mean(-10 * np.log10(errors)):.1f} dB", flush=True)
    return rate(results, "all") >= 0.97


def read_folder(folder):
    return np.stack([np.asarray(Image.open(os.path.join(folder, n)).convert("RGB")) for n in sorted(os.listdir(folder)) if n.endswith(".png")])


def gate_2(program, model, videos):
    """The videos of all combinations, made into the folder `videos` unless they are there."""
    if not os.path.exists(videos):
        os.makedirs(videos)
        prompts = os.path.join(videos, "prompts.txt")
        with open(prompts, "w") as f:
            f.writelines(MAIN.format(**dict(zip("csmb", spec))) + "\n" for spec in COMBINATIONS)
        command = [program, "generate", "--model", model, "--prompt-file", prompts, "--seed", "1000", "--out", os.path.join(videos, "clip/")]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            sys.exit(1)
    results = []
    for i, spec in enumerate(COMBINATIONS):
        result, read = right(read_folder(os.path.join(videos, f"clip-{i:03}")), spec)
        results.append(result)
        if not result["all"]:
            print(f"  seed {1000 + i}, {' '.join(spec)}: read {read}")
    print(f"gate 2: {len(results)} combinations: {line(results)}", flush=True)
    return all(rate(results, key) >= bar for key, bar in GATES.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(root, "models", "demo"))
    parser.add_argument("--only", choices=("checker", "1", "2"), help="one gate alone")
    parser.add_argument("--program", default=os.path.join(root, "build", "eav"))
    parser.add_argument("--videos", help="keep the videos in this folder, or judge those that are in it")
    a = parser.parse_args()
    passed = True
    if a.only in (None, "checker"):
        passed &= check_checker(5)
    if a.only in (None, "1"):
        passed &= gate_1(a.model, 216)
    if a.only in (None, "2"):
        with tempfile.TemporaryDirectory() as folder:
            passed &= gate_2(a.program, a.model, a.videos or os.path.join(folder, "videos"))
    print("passed" if passed else "NOT passed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
