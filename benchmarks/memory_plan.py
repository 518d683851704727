"""The memory plan of every phase of every family against the most that the phase takes, each in a process of its own.

    python benchmarks/memory_plan.py                          # all cases, two sizes of each
    python benchmarks/memory_plan.py --only hunyuan --small   # one size of one family

Checkpoints are random, their widths such that a case takes more than 200 MB of working memory (a text encoder by its
weights) in a few seconds. Fails unless every plan is between 0.95 and 1.15 of what was measured.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
LEAST, MOST = 0.95, 1.15  # plan / measured

T5 = {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_heads": 16}


def save_t5(folder, tokenizer, layers):
    from tiny import randomize
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=tokenizer, num_layers=layers, feed_forward_proj="gated-gelu", **T5)
    randomize(T5EncoderModel(config), seed=3).save_pretrained(folder)


def cogvideox(folder, layers=0, **parts):
    from tiny import save_tiny_cogvideox

    if layers:
        parts = {"transformer": {"text_embed_dim": T5["d_model"], "max_text_seq_length": 226}}
    pipeline = save_tiny_cogvideox(folder, **parts)
    if layers:
        save_t5(folder / "text_encoder", len(pipeline.tokenizer), layers)


def ltx_video(folder, layers=0, generation="0.9.0", **parts):
    from tiny_ltx_video import save_tiny_ltx_video

    if layers:
        parts = {"transformer": {"caption_channels": T5["d_model"]}}
    pipeline = save_tiny_ltx_video(folder, generation, **parts)
    if layers:
        save_t5(folder / "text_encoder", len(pipeline.tokenizer), layers)


def ltx_two_passes(folder, **upsampler):
    from diffusers import LTXConditionPipeline
    from tiny_ltx_video import save_tiny_latent_upsampler, save_tiny_ltx_video

    save_tiny_ltx_video(folder, "0.9.5", scheduler={"use_dynamic_shifting": False, "shift_terminal": None}, pipeline=LTXConditionPipeline)
    save_tiny_latent_upsampler(folder / "latent_upsampler", **upsampler)


def hunyuan_video(folder, **parts):
    from tiny_hunyuan_video import save_tiny_hunyuan_video

    save_tiny_hunyuan_video(folder, **parts)


def hunyuan_image(folder, **parts):
    from tiny_hunyuan_video import save_tiny_hunyuan_video_image

    save_tiny_hunyuan_video_image(folder, "token_replace", **parts)


def widen(file, new_size):
    """Gives the tensors of a file random values, and sizes as `new_size` makes them of a name and a size."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    shapes = {name: [new_size(name, size) for size in tensor.shape] for name, tensor in load_file(file).items()}
    save_file({name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}, file)


def rewrite(file, change):
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def open_sora(folder, layers=0, transformer=1, vae=1):
    """Widths are multiples of the tiny checkpoint's."""
    from tiny_open_sora import save_tiny_open_sora

    _, tokenizer = save_tiny_open_sora(folder)
    stdit, autoencoder = folder / "OpenSora-STDiT-v3", folder / "OpenSora-VAE-v1.2"
    width = json.loads((stdit / "config.json").read_text())["hidden_size"]
    if transformer > 1:
        widen(stdit / "model.safetensors", lambda _, size: size * transformer if size % width == 0 else size)
        rewrite(stdit / "config.json", lambda c: c.update(hidden_size=width * transformer, num_heads=c["num_heads"] * transformer))
    if layers:
        caption = json.loads((stdit / "config.json").read_text())["caption_channels"]
        wide = lambda name, size: T5["d_model"] if name.startswith("y_embedder") and size == caption else size  # noqa: E731
        widen(stdit / "model.safetensors", wide)
        rewrite(stdit / "config.json", lambda c: c.update(caption_channels=T5["d_model"]))
        save_t5(folder / "t5-v1_1-xxl", len(tokenizer), layers)
    if vae > 1:
        widen(autoencoder / "model.safetensors", lambda _, size: size * vae if size >= 16 else size)

        def change(config):
            spatial = config["vae_2d"]["config"]
            spatial["block_out_channels"] = [vae * channels for channels in spatial["block_out_channels"]]
            config["vae_temporal"]["filters"] *= vae

        rewrite(autoencoder / "config.json", change)


def wan(folder, **parts):
    from tiny_wan import save_tiny_wan

    save_tiny_wan(folder, **parts)


HUNYUAN_VAE = {"vae": {"block_out_channels": (32, 32, 64, 64)}}
LTX_VAE = {"vae": {"decoder_block_out_channels": (32, 64, 128)}}

# A checkpoint: what makes it, and with which parts.
CHECKPOINTS = {
    "cogvideox text": (cogvideox, {"layers": 4}),
    "cogvideox text, deep": (cogvideox, {"layers": 7}),
    "cogvideox wide": (cogvideox, {"transformer": {"num_attention_heads": 16, "attention_head_dim": 64, "sample_height": 64, "sample_width": 96}}),
    "cogvideox vae": (cogvideox, {"vae": {"block_out_channels": (32, 32, 64, 64), "sample_height": 256, "sample_width": 384}}),
    "hunyuan text": (hunyuan_video, {"llama": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 16},
                                     "transformer": {"text_embed_dim": 1024}}),
    "hunyuan text, deep": (hunyuan_video, {"llama": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 9, "num_attention_heads": 16},
                                           "transformer": {"text_embed_dim": 1024}}),
    "hunyuan wide": (hunyuan_video, {"transformer": {"num_attention_heads": 8, "attention_head_dim": 64, "rope_axes_dim": (16, 24, 24),
                                                     "num_layers": 1, "num_single_layers": 1}}),
    "hunyuan vae": (hunyuan_video, HUNYUAN_VAE),
    "hunyuan image": (hunyuan_image, HUNYUAN_VAE),
    "ltx text": (ltx_video, {"layers": 4}),
    "ltx text, deep": (ltx_video, {"layers": 7}),
    "ltx wide": (ltx_video, {"transformer": {"num_attention_heads": 16, "attention_head_dim": 64, "cross_attention_dim": 1024}, "vae": {"patch_size": 4}}),
    "ltx upscaler": (ltx_two_passes, {"mid_channels": 128, "num_blocks_per_stage": 32}),
    "ltx vae": (ltx_video, LTX_VAE),
    "ltx vae 0.9.5": (ltx_video, {"generation": "0.9.5", "vae": {"decoder_block_out_channels": (64, 128, 256)}}),
    "open-sora text": (open_sora, {"layers": 4}),
    "open-sora text, deep": (open_sora, {"layers": 7}),
    "open-sora wide": (open_sora, {"transformer": 8}),
    "open-sora vae": (open_sora, {"vae": 3}),
    "wan wide": (wan, {"transformer": {"num_attention_heads": 8, "attention_head_dim": 64, "ffn_dim": 2048}}),
    "wan vae": (wan, {"vae": {"base_dim": 32}}),
    "wan vae 2.2": (wan, {"release": "ti2v", "vae": {"base_dim": 32, "decoder_base_dim": 32}}),
}  # fmt: skip

SMALLEST = {"wan": "64x64x5", "cogvideox": "96x64x9", "hunyuan": "96x64x9", "ltx": "96x64x17", "open-sora": "64x64x17"}
# A phase: its checkpoint, the sizes (width, height, frames), and other options that it is run with.
CASES = [
    ("text_encoder", "cogvideox text", None, [{}]),
    ("text_encoder", "cogvideox text, deep", None, [{}, {"dtype": "bfloat16"}, {"offload": "yes"}]),
    ("transformer", "cogvideox wide", "384x256x33", [{}, {"guidance": 1}]),
    ("transformer", "cogvideox wide", "512x256x49", [{"guidance": 1}, {"guidance": 1, "dtype": "bfloat16"}, {"guidance": 1, "quantize": "int8"}]),
    ("vae", "cogvideox vae", "384x256x9", [{}, {"vae_tiling": "on"}, {"dtype": "bfloat16"}]),
    ("vae", "cogvideox vae", "512x320x17", [{}, {"vae_tiling": "on"}]),
    ("text_encoder", "hunyuan text", None, [{}]),
    ("text_encoder", "hunyuan text, deep", None, [{}, {"dtype": "bfloat16"}, {"dtype": "bfloat16", "quantize": "int8"}, {"offload": "yes"}]),
    ("transformer", "hunyuan wide", "640x384x33", [{}]),
    ("transformer", "hunyuan wide", "768x448x41", [{}, {"dtype": "bfloat16"}]),
    ("vae", "hunyuan vae", "320x256x17", [{}, {"vae_tiling": "on"}, {"dtype": "bfloat16"}]),
    ("vae", "hunyuan vae", "512x320x17", [{}, {"vae_tiling": "on"}]),
    ("text_encoder", "ltx text", None, [{}]),
    ("text_encoder", "ltx text, deep", None, [{}, {"dtype": "bfloat16"}, {"offload": "yes"}]),
    ("transformer", "ltx wide", "256x256x89", [{"guidance": 1}, {}]),
    ("transformer", "ltx wide", "384x384x49", [{"guidance": 1}, {"guidance": 1, "dtype": "bfloat16"}]),
    ("transformer", "ltx upscaler", "384x256x17", [{}]),
    ("vae", "ltx vae", "512x320x33", [{}, {"vae_tiling": "on"}]),
    ("vae", "ltx vae", "640x576x33", [{}, {"vae_tiling": "on"}, {"vae_framewise": "true"}]),
    ("vae", "ltx vae 0.9.5", "512x320x33", [{}]),
    ("text_encoder", "open-sora text", None, [{}]),
    ("text_encoder", "open-sora text, deep", None, [{}, {"dtype": "bfloat16"}, {"offload": "yes"}]),
    ("transformer", "open-sora wide", "256x256x51", [{}]),
    ("transformer", "open-sora wide", "320x320x51", [{}, {"dtype": "bfloat16"}]),
    ("vae", "open-sora vae", "448x320x51", [{}]),
    ("vae", "open-sora vae", "512x384x51", [{}]),
    ("transformer", "wan wide", "896x512x41", [{"guidance": 1}, {}]),
    ("transformer", "wan wide", "768x448x41", [{"guidance": 1}, {"guidance": 1, "dtype": "bfloat16"}]),
    ("vae", "wan vae", "384x256x17", [{}, {"vae_tiling": "on"}]),
    ("vae", "wan vae 2.2", "512x384x17", [{}]),
]  # fmt: skip


def checkpoint(name, folder):
    made = pathlib.Path(folder) / name.replace(",", "").replace(" ", "-")
    if not made.exists():  # in a process of its own, which takes its memory along
        code = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import memory_plan; memory_plan.save(sys.argv[2], pathlib.Path(sys.argv[3]))"
        subprocess.run([sys.executable, "-c", code, str(pathlib.Path(__file__).parent), name, str(made)], check=True)
    return made


def save(name, folder):
    make, parts = CHECKPOINTS[name]
    make(folder, **parts)


def measure(probe, phase, made, size, options):
    width, height, frames = size.split("x")
    asked = {"prompt": "a red circle", "seed": 1, "steps": 2, "width": width, "height": height, "frames": frames, **options}
    words = [str(word) for name, value in asked.items() for word in (f"--{name}", value)]
    return json.loads(subprocess.run([probe, "phase", phase, made, *words], check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", default=ROOT / "build" / "tests" / "eav_probe", type=pathlib.Path)
    parser.add_argument("--only", default="", help="cases with this word in their line")
    parser.add_argument("--small", action="store_true", help="one size of each, and nothing but tiles asked for")
    parser.add_argument("--folder", help="keep the checkpoints there, or use those that are there")
    options = parser.parse_args()

    wrong, seen = 0, set()
    print(f"{'phase':<13} {'checkpoint':<22} {'size':<12} {'options':<28} {'measured':>9} {'plan':>9} {'ratio':>6} {'time':>6}")
    with tempfile.TemporaryDirectory() as temporary:
        for phase, name, size, variants in CASES:
            family = name.split()[0]
            if options.small and (phase, family) in seen:
                continue
            for variant in variants:
                if options.small and not set(variant) <= {"vae_tiling", "guidance"}:
                    continue
                size = size or SMALLEST[family]
                line = f"{phase:<13} {name:<22} {size:<12} {' '.join(f'{k}={v}' for k, v in variant.items()):<28}"
                if options.only not in line:
                    continue
                seen.add((phase, family))
                result = measure(options.probe, phase, checkpoint(name, options.folder or temporary), size, variant)
                ratio = result["planned"] / result["measured"]
                fits = LEAST <= ratio <= MOST
                wrong += not fits
                print(f"{line} {result['measured'] / 1e6:6.0f} MB {result['planned'] / 1e6:6.0f} MB {ratio:6.2f} {result['seconds']:4.1f} s"
                      f"{'' if fits else '  <-'}", flush=True)  # fmt: skip
    if wrong:
        raise SystemExit(f"{wrong} plans are not between {LEAST} and {MOST} of what was measured")


if __name__ == "__main__":
    main()
