"""Side by side with stable-diffusion.cpp: one forward pass of Wan 1.3B, and the decoding of a few frames with its VAE.

Random weights, in the original names there and in diffusers' here; 256 zero tokens of text, which stable-diffusion.cpp
takes where it has no text encoder; its flash attention on. Programs run in turn. Needs the package, which builds with
CMake in two minutes: pip install stable-diffusion-cpp-python==0.4.7 pillow, into a Python that --python names.

Example: python benchmarks/stable_diffusion_cpp.py --python ../sd/bin/python --rounds 2
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from side_by_side import BENCH, alternate, least_and_peak

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
import original_files  # noqa: E402

WAN_1_3B = {"num_layers": 30, "num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960}
THEIRS = """
import sys
from stable_diffusion_cpp import StableDiffusion
transformer, vae, kind, threads, width, height, frames = sys.argv[1:]
StableDiffusion(diffusion_model_path=transformer, vae_path=vae, wtype=kind, diffusion_flash_attn=True,
                n_threads=int(threads)).generate_video(
    prompt="", width=int(width), height=int(height), video_frames=int(frames), sample_steps=1, cfg_scale=1.0, seed=1)
"""


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def theirs(options, files, kind, size, step):
    """Seconds that its log tells of a step, and its peak memory when that was done."""
    width, height, frames = size
    command = [options.python, "-c", THEIRS, *files, kind, options.threads, width, height, frames]
    log = []
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr:
            log.append(line)
            if found := re.search(rf"{step} completed, taking ([\d.]+)s", line):
                peak = peak_mib(process.pid)
                process.kill()
                return float(found[1]), peak
    raise SystemExit("".join(log[-20:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=BENCH, type=pathlib.Path)
    parser.add_argument("--python", default=sys.executable, help="that has stable-diffusion-cpp-python")
    parser.add_argument("--rounds", default=2, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--forward", default=[480, 272, 17], nargs=3, type=int, help="width, height and frames")
    parser.add_argument("--decode", default=[256, 144, 9], nargs=3, type=int, help="width, height and frames")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        torch.manual_seed(0)
        with torch.device("meta"):
            transformer = WanTransformer3DModel(**WAN_1_3B)
        random = {k: (0.02 * torch.randn(t.shape)).half() for k, t in transformer.state_dict().items()}
        save_file(original_files.wan_transformer(random), folder / "wan.safetensors")
        transformer = transformer.to_empty(device="cpu").to(torch.bfloat16)
        transformer.load_state_dict(random)
        transformer.save_pretrained(folder / "transformer")
        del random, transformer
        vae = AutoencoderKLWan(latents_mean=[0.0] * 16, latents_std=[1.0] * 16)
        vae.save_pretrained(folder / "vae")
        save_file(original_files.wan_vae(vae.state_dict()), folder / "vae.safetensors")

        def latents(size):
            width, height, frames = size
            return torch.randn(1, 16, (frames + 3) // 4, height // 8, width // 8)

        inputs = folder / "inputs.safetensors"
        save_file({"latents": latents(options.forward), "text": torch.zeros(1, 256, 4096)}, inputs)
        save_file({"latents": latents(options.decode)}, folder / "vae" / "latents.safetensors")
        files = [folder / "wan.safetensors", folder / "vae.safetensors"]

        def compare(what, ours, size, step, kinds):
            print(f"{what}: {size[2]} frames of {size[0]}x{size[1]}, {options.threads} threads, {options.rounds} rounds", flush=True)
            results = {}
            for _ in range(options.rounds):
                for kind in kinds:
                    results.setdefault(f"stable-diffusion.cpp {kind}", []).append(theirs(options, files, kind, size, step))
                for kind, arguments in ours.items():
                    command = [options.bench, options.threads, *arguments]
                    results.setdefault(f"eav {kind}", []).extend(alternate({kind: command}, 1, warm_up=False)[kind])
            seconds, memory = least_and_peak(results)
            best = min(s for name, s in seconds.items() if not name.startswith("eav"))
            for name in results:
                print(f"  {name:28}{seconds[name]:9.2f} s{memory[name]:8.0f} MiB  {seconds[name] / best:.2f} of their best", flush=True)

        forward = {t: ["wan", folder / "transformer", inputs, t, "off"] for t in ("float32", "bfloat16", "int8")}
        compare("forward", forward, options.forward, "sampling", ["f16", "q8_0"])
        decode = {"float32": ["vae_decode", folder / "vae", folder / "vae" / "latents.safetensors"]}
        compare("decode", decode, options.decode, "decode_first_stage", ["f16"])


if __name__ == "__main__":
    main()
