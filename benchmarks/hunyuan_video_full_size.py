"""One step of HunyuanVideo at full size, 129 frames of 960x544 pixels, without decoding: seconds and peak memory.

The checkpoint is random, its layers have the released sizes: one dual-stream and one single-stream block, the refiner,
CLIP, and a LLaMA of which one layer is used; all stored in bfloat16. Takes about a quarter of an hour on two cores.
Example: python benchmarks/hunyuan_video_full_size.py
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from memory import PROMPT, ROOT, peak_of


def save_checkpoint(folder):
    import torch
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_hunyuan_video import LINES
    from tiny_text import tiny_clip_tokenizer, tiny_llama_tokenizer

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    tokenizer, tokenizer_2 = tiny_llama_tokenizer(f"{folder}/tokenizer", LINES, 600), tiny_clip_tokenizer(f"{folder}/tokenizer_2")
    llama = LlamaConfig(vocab_size=len(tokenizer), hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                        num_key_value_heads=8, num_hidden_layers=3)  # fmt: skip
    clip = CLIPTextConfig(vocab_size=len(tokenizer_2), hidden_size=768, intermediate_size=3072, num_attention_heads=12,
                          num_hidden_layers=12, eos_token_id=2)  # fmt: skip
    HunyuanVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=LlamaModel(llama),
        tokenizer_2=tokenizer_2,
        text_encoder_2=CLIPTextModel(clip),
        transformer=HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1),
        vae=AutoencoderKLHunyuanVideo(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    ).save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eav", default=ROOT / "build" / "eav", type=pathlib.Path)
    parser.add_argument("--folder", help="keep the checkpoint there, or use the one that is there")
    parser.add_argument("--options", default=[], nargs=argparse.REMAINDER, help="of eav generate, beside those of the run")
    parser.add_argument("--save", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.save:
        return save_checkpoint(options.save)

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = pathlib.Path(options.folder or f"{folder}/checkpoint")
        if not checkpoint.exists():
            subprocess.run([sys.executable, __file__, "--save", checkpoint], check=True)
        size = ["--frames", 129, "--width", 960, "--height", 544]
        subprocess.run([str(part) for part in [options.eav, "inspect", checkpoint, *size, "--dtype", "float32"]], check=True)
        peak, seconds = peak_of([options.eav, "generate", PROMPT, "--model", checkpoint, *size, "--steps", 1, "--seed", 1,
                                 "--dtype", "float32", "--latents-only", "--save-latents", f"{folder}/latents.safetensors",
                                 *options.options])  # fmt: skip
        print(f"one step: {peak:.0f} MiB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
