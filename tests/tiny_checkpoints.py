"""Every tiny checkpoint by name, and the pictures, clips and latents that videos start from.

Made once into a folder, and found there afterwards; made a second time, each has the same bytes.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/parity")]
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is ever downloaded
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np  # noqa: E402
import safetensors.torch  # noqa: E402
import test_ltx_single_file  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from diffusers import LTXConditionPipeline, LTXImageToVideoPipeline, LTXPipeline  # noqa: E402
from PIL import Image  # noqa: E402
from test_hunyuan_video import released_spelling  # noqa: E402
from tiny import save_tiny_cogvideox  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video, save_tiny_hunyuan_video_image  # noqa: E402
from tiny_ltx_video import save_tiny_latent_upsampler, save_tiny_ltx_video  # noqa: E402
from tiny_open_sora import save_tiny_open_sora  # noqa: E402
from tiny_wan import save_tiny_wan  # noqa: E402

transformers.utils.logging.disable_progress_bar()

LARGE = {"vae": {"patch_size": 8}}  # 32 pixels of a latent one, so that pictures of some 600 pixels are tiled
FLOW = {"use_dynamic_shifting": False, "shift_terminal": None}


def sharpen(pipeline, folder, **how):
    """Makes attention far from uniform, so that CFI differs between layers and branches, and saves that again."""
    with torch.no_grad():
        for name, parameter in pipeline.transformer.named_parameters():
            if name.endswith((".attn1.norm_q.weight", ".attn1.norm_k.weight", ".attn.norm_q.weight", ".attn.norm_k.weight")):
                parameter.mul_(2)
    pipeline.transformer.save_pretrained(folder / "transformer", **how)


def saved(save, **variant):
    """A checkpoint that `save` writes."""

    def make(folder):
        pipeline = save(folder, **variant)
        sharpen(pipeline, folder, max_shard_size="60kB" if variant.get("sharded") else "10GB")

    return make


def cogvideox(**variant):
    return saved(save_tiny_cogvideox, **variant)


def hunyuan_video(**variant):
    return saved(save_tiny_hunyuan_video, **variant)


def hunyuan_video_image(kind, **variant):
    return saved(save_tiny_hunyuan_video_image, kind=kind, **variant)


def ltx_video(generation, pipeline=LTXPipeline, **variant):
    return saved(save_tiny_ltx_video, generation=generation, pipeline=pipeline, **variant)


def ltx_two_passes(folder):
    """With a latent upsampler in latent_upsampler/."""
    ltx_video("0.9.5", LTXConditionPipeline, scheduler=FLOW)(folder)
    save_tiny_latent_upsampler(folder / "latent_upsampler")


def wan(release, **variant):
    """A checkpoint that makes its own attention sharp."""
    return lambda folder: save_tiny_wan(folder, release, **variant)


def ltx_single_file(version):
    """file.safetensors, with a text encoder in the folder converted/."""

    def make(folder):
        folder.mkdir()
        test_ltx_single_file.make(folder, **test_ltx_single_file.VARIANTS[version])

    return make


def hunyuan_video_as_released(folder):
    hunyuan_video()(folder)
    released_spelling(folder)


def open_sora_of_words(folder):
    """Whose captions are as long as scores and camera motion after a prompt need."""
    save_tiny_open_sora(folder)
    transformer = folder / "OpenSora-STDiT-v3"
    config = json.loads((transformer / "config.json").read_text())
    tensors = safetensors.torch.load_file(transformer / "model.safetensors")
    null = tensors["y_embedder.y_embedding"]
    tensors["y_embedder.y_embedding"] = torch.cat([null] + [null.roll(i, 0) for i in range(1, 5)])
    config["model_max_length"] *= 5
    (transformer / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(tensors, transformer / "model.safetensors")


def demo(folder):
    shutil.copytree(ROOT / "models/demo", folder, ignore=shutil.ignore_patterns("train", "README.md"))


CHECKPOINTS = {
    "demo": demo,
    # 2B's positions and scheduler; dpm, as 5B has it; 5B's positions; 1.5, whose tokens take two latent frames
    "cogvideox": cogvideox(),
    "cogvideox-dpm": cogvideox(scheduler="dpm"),
    "cogvideox-5b": cogvideox(positions="rotary"),
    "cogvideox-1.5": cogvideox(positions="rotary_patch_t", scheduler="dpm"),
    "cogvideox-learned": cogvideox(positions="learned"),
    "cogvideox-sharded": cogvideox(sharded=True, tokenizer_json_only=True, scheduler="dpm"),
    "cogvideox-bfloat16": cogvideox(dtype=torch.bfloat16),
    "cogvideox-three-levels": cogvideox(
        vae={
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("CogVideoXDownBlock3D",) * 3,
            "up_block_types": ("CogVideoXUpBlock3D",) * 3,
        },
        transformer={"patch_size": 1, "norm_eps": 1e-4},
    ),
    "hunyuan-video": hunyuan_video(),
    "hunyuan-video-sharded": hunyuan_video(sharded=True),
    "hunyuan-video-bfloat16": hunyuan_video(dtype=torch.bfloat16),
    "hunyuan-video-three-frames": hunyuan_video(transformer={"patch_size_t": 3}),
    "hunyuan-video-no-guidance": hunyuan_video(transformer={"guidance_embeds": False}),
    "hunyuan-video-heads": hunyuan_video(
        transformer={"attention_head_dim": 24, "rope_axes_dim": (8, 8, 8), "rope_theta": 100.0}
    ),
    "hunyuan-video-ratio": hunyuan_video(transformer={"mlp_ratio": 2.5}, scheduler={"shift": 3.0}),
    "hunyuan-video-encoders": hunyuan_video(
        llama={"num_key_value_heads": 4}, clip={"hidden_act": "gelu", "eos_token_id": 582}
    ),
    "hunyuan-video-released": hunyuan_video_as_released,
    "hunyuan-image-concat": hunyuan_video_image("latent_concat"),
    "hunyuan-image-replace": hunyuan_video_image("token_replace"),
    "hunyuan-image-concat-two-frames": hunyuan_video_image("latent_concat", transformer={"patch_size_t": 2}),
    "hunyuan-image-replace-bfloat16": hunyuan_video_image("token_replace", sharded=True, dtype=torch.bfloat16),
    "hunyuan-image-replace-encoders": hunyuan_video_image(
        "token_replace",
        llava={"vision": {"num_hidden_layers": 2, "patch_size": 1, "image_size": 24, "hidden_act": "gelu"}},
        processor={"pixels": 24},
    ),
    "ltx-video-0.9.0": ltx_video("0.9.0"),
    "ltx-video-0.9.1": ltx_video("0.9.1"),
    "ltx-video-0.9.5": ltx_video("0.9.5"),
    "ltx-video-shift": ltx_video("0.9.0", scheduler={**FLOW, "shift": 3.0}),
    "ltx-video-linear": ltx_video("0.9.0", scheduler={"shift_terminal": None, "time_shift_type": "linear"}),
    "ltx-video-affine": ltx_video("0.9.0", transformer={"norm_elementwise_affine": True}),
    "ltx-video-no-bias": ltx_video("0.9.0", transformer={"attention_bias": False, "attention_out_bias": False}),
    "ltx-video-heads": ltx_video(
        "0.9.0", transformer={"num_attention_heads": 3, "attention_head_dim": 14, "cross_attention_dim": 42}
    ),
    "ltx-image": ltx_video("0.9.0", LTXImageToVideoPipeline),
    "ltx-image-0.9.1": ltx_video("0.9.1", LTXImageToVideoPipeline),
    "ltx-condition": ltx_video("0.9.5", LTXConditionPipeline, scheduler=FLOW),
    "ltx-condition-shift": ltx_video("0.9.5", LTXConditionPipeline, scheduler={**FLOW, "shift": 2.5}),
    "ltx-condition-terminal": ltx_video("0.9.5", LTXConditionPipeline, scheduler={**FLOW, "shift_terminal": 0.1}),
    "ltx-two-passes": ltx_two_passes,
    "ltx-large-0.9.0": ltx_video("0.9.0", **LARGE),
    "ltx-large-0.9.1": ltx_video("0.9.1", **LARGE),
    "ltx-large-0.9.5": ltx_video("0.9.5", LTXConditionPipeline, scheduler=FLOW, **LARGE),
    "ltx-single-0.9.0": ltx_single_file("0.9.0"),
    "ltx-single-0.9.1": ltx_single_file("0.9.1"),
    "ltx-single-0.9.5": ltx_single_file("0.9.5"),
    "ltx-single-0.9.7": ltx_single_file("0.9.7"),
    "open-sora": save_tiny_open_sora,
    "open-sora-words": open_sora_of_words,
    "wan-t2v": wan("t2v"),
    "wan-t2v-euler": wan("t2v", scheduler="euler"),
    "wan-t2v-order-3": wan("t2v", scheduler_config={"solver_order": 3}),
    "wan-i2v": wan("i2v"),
    "wan-flf2v": wan("flf2v"),
    "wan-ti2v": wan("ti2v"),
    "wan-a14b-t2v": wan("t2v-a14b"),
    "wan-a14b-i2v": wan("i2v-a14b"),
}


def make_checkpoint(name, folder):
    """The checkpoint of this name in `folder`, which is made unless it is there."""
    made = Path(folder) / name
    if not made.exists():
        unfinished = made.with_name(f".{name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        CHECKPOINTS[name](unfinished)
        unfinished.rename(made)
    return made


# ---- what a video starts from


def pictures(count, width, height, seed, channels=3):
    """Smooth random pictures, each a little other than the one before."""
    corners = np.random.default_rng(seed).uniform(0, 255, (2, 4, 6, channels))
    ways = [corners[0] + (corners[1] - corners[0]) * t / max(count - 1, 1) for t in range(count)]
    return [Image.fromarray(w.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC) for w in ways]


def write_clip(path, frames):
    """Without loss, and without a number of its own as Matroska files have."""
    raw = b"".join(frame.tobytes() for frame in frames)
    subprocess.run(["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*frames[0].size),
                    "-r", "24", "-i", "-", "-c:v", "ffv1", "-threads", "1", "-pix_fmt", "bgr0", "-fflags", "+bitexact",
                    "-flags:v", "+bitexact", path], input=raw, check=True)  # fmt: skip


LATENTS = {  # shapes, for the sizes that cases have unless they say otherwise
    "cogvideox": (1, 3, 4, 8, 12),
    "cogvideox-1.5": (1, 4, 4, 8, 12),
    "demo": (1, 3, 4, 8, 8),
    "hunyuan": (1, 4, 3, 8, 12),
    "ltx-video-0.9.0": (1, 5 * 8 * 12, 6),  # packed
    "ltx-video-0.9.1": (1, 3 * 4 * 6, 6),
    "ltx-condition": (1, 6, 3, 4, 6),
    "open-sora": (1, 4, 5, 6, 8),
    "wan": (1, 4, 3, 8, 12),
}


def make_inputs(folder):
    """The folder inputs/ in `folder`, which is made unless it is there."""
    made = Path(folder) / "inputs"
    if made.exists():
        return made
    unfinished = made.with_name(".inputs.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pictures(1, 96, 64, seed=0)[0].save(unfinished / "fits.png")
    pictures(1, 96, 64, seed=1)[0].save(unfinished / "other.png")
    pictures(1, 140, 77, seed=2)[0].save(unfinished / "wide.png")
    pictures(1, 61, 130, seed=3, channels=4)[0].save(unfinished / "high-with-alpha.png")
    write_clip(unfinished / "clip-9.mkv", pictures(9, 96, 64, seed=4))
    write_clip(unfinished / "clip-25.mkv", pictures(25, 100, 60, seed=5))
    (unfinished / "prompts.txt").write_text("a red circle\nein blaues Quadrat, größer\na red circle\n", encoding="utf-8")
    for name, shape in LATENTS.items():
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(7))
        safetensors.torch.save_file({"latents": latents}, unfinished / f"{name}.safetensors")
    unfinished.rename(made)
    return made
