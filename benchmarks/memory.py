"""Peak resident memory of `eav generate` against the diffusers pipeline, each in a process of its own, for the same request.

    python benchmarks/memory.py             # a CogVideoX pipeline of middle size (about 1 GB), float32
    python benchmarks/memory.py --large     # the program alone: a 2B transformer of random bfloat16 weights, opened and run for a step, and the same in int8
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROMPT = "a red circle moving right on a gray background"
# What the checkpoints' parts are like; the text encoder of the large one only has the width that the transformer asks for.
MIDDLE = {
    "transformer": {"num_layers": 8, "num_attention_heads": 16, "text_embed_dim": 1024},
    "text": {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 12, "num_heads": 16},
    "vae": {"block_out_channels": (64, 128, 128, 256), "layers_per_block": 2},
}
LARGE = {
    "transformer": {},
    "text": {"d_model": 4096, "d_kv": 64, "d_ff": 1024, "num_layers": 1, "num_heads": 64},
    "vae": {"block_out_channels": (64, 128, 128, 256), "layers_per_block": 2},
}


def save_checkpoint(folder, large):
    import torch
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    sys.path.insert(0, str(ROOT / "tests"))
    from tiny import tiny_tokenizer

    parts = LARGE if large else MIDDLE
    torch.set_default_dtype(torch.bfloat16 if large else torch.float32)
    tokenizer = tiny_tokenizer(f"{folder}/tokenizer")
    CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", **parts["text"])),
        vae=AutoencoderKLCogVideoX(**parts["vae"]),
        transformer=CogVideoXTransformer3DModel(**parts["transformer"]),
        scheduler=CogVideoXDDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
    ).save_pretrained(folder)


def reference(folder, frames, size, steps):
    import torch
    from diffusers import CogVideoXPipeline
    from side_by_side import peak_memory_mib

    torch.set_num_threads(2)
    pipeline = CogVideoXPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline(PROMPT, num_frames=frames, height=size, width=size, num_inference_steps=steps, generator=torch.Generator().manual_seed(1))
    print(f"{peak_memory_mib():.0f}")


def peak_of(command):
    """Peak MiB and seconds. This process holds little itself, so what a child inherits of its peak is little."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return usage.ru_maxrss / 1024, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eav", default=ROOT / "build" / "eav", type=pathlib.Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--frames", default=9, type=int)
    parser.add_argument("--size", default=128, type=int)
    parser.add_argument("--folder", help="keep the checkpoint there, or use the one that is there")
    parser.add_argument("--save", help=argparse.SUPPRESS)
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = 1 if options.large else 2
    if options.save:
        return save_checkpoint(options.save, options.large)
    if options.reference:
        return reference(options.reference, options.frames, options.size, steps)

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = pathlib.Path(options.folder or f"{folder}/checkpoint")
        if not checkpoint.exists():
            subprocess.run([sys.executable, __file__, "--save", checkpoint, *["--large"] * options.large], check=True)
        stored = sum(file.stat().st_size for file in checkpoint.rglob("*.safetensors")) / 2**20
        print(f"{options.frames} frames of {options.size}x{options.size}, {steps} step(s); weights {stored:.0f} MiB on disk")
        inspect = [options.eav, "inspect", checkpoint]
        peak_of(inspect)  # the first reads the files from the disk
        print(f"eav inspect:       {peak_of(inspect)[1]:6.2f} s")
        ours = {}
        for quantize in ["none", "int8"] if options.large else ["none"]:
            ours[quantize], seconds = peak_of(
                [options.eav, "generate", PROMPT, "--model", checkpoint, "--frames", options.frames, "--width", options.size, "--height", options.size,
                 "--steps", steps, "--seed", 1, "--dtype", "bfloat16" if options.large else "float32", "--quantize", quantize, "--threads", 2,
                 "--out", f"{folder}/{quantize}.mp4"]
            )  # fmt: skip
            print(f"eav generate:      {ours[quantize]:6.0f} MiB  {seconds:.1f} s" + ("  with int8" if quantize == "int8" else ""))
        if options.large:
            print(f"ratio:             {ours['int8'] / ours['none']:6.2f}")
            return
        command = [sys.executable, __file__, "--reference", checkpoint, "--frames", options.frames, "--size", options.size]
        theirs = float(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)
        print(f"diffusers:         {theirs:6.0f} MiB\nratio:             {ours['none'] / theirs:6.2f}")


if __name__ == "__main__":
    main()
