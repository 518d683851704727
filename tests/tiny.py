"""Tiny random CogVideoX pipelines, saved as diffusers saves them."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer

# What is particular to each of the positions that CogVideoX transformers have.
POSITIONS = {
    "sincos": {},  # 2B
    "rotary": {"use_rotary_positional_embeddings": True},  # 5B
    "rotary_patch_t": {  # 1.5
        "use_rotary_positional_embeddings": True,
        "patch_size_t": 2,
        "patch_bias": False,
        "sample_height": 10,  # a rotary table ends at the trained size
        "sample_width": 12,
    },
    "learned": {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True},
}
SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}

COLOURS = ("red", "green", "blue", "yellow", "white", "purple")
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = ("left", "right", "up", "down")
BACKGROUNDS = ("black", "gray", "navy")


def train_sentencepiece(path, vocabulary=120):
    """Writes a T5-like unigram model, trained on captions."""
    import sentencepiece

    captions = [
        f"a {colour} {shape} moving {direction} on a {background} background"
        for colour in COLOURS
        for shape in SHAPES
        for direction in DIRECTIONS
        for background in BACKGROUNDS
    ]
    with open(path, "wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(captions),
            model_writer=model,
            vocab_size=vocabulary,
            model_type="unigram",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )


def randomize(model, seed):
    """Gives parameters that start as zeros or ones other values, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == 0:
                continue
            if parameter.dim() < 2 or parameter.std() == 0:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if "pos_embedding" in name and name in model.state_dict():
                buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return model.eval()


def tiny_transformer(positions="sincos", **config):
    torch.manual_seed(0)
    return randomize(
        CogVideoXTransformer3DModel(
            **{
                "num_attention_heads": 2,
                "attention_head_dim": 32,
                "in_channels": 4,
                "out_channels": 4,
                "time_embed_dim": 16,
                "text_embed_dim": 24,
                "num_layers": 2,
                "sample_width": 12,
                "sample_height": 8,
                "sample_frames": 9,
                "max_text_seq_length": 16,
                **POSITIONS[positions],
                **config,
            }
        ),
        seed=1,
    )


def tiny_vae(**config):
    torch.manual_seed(0)
    return randomize(
        AutoencoderKLCogVideoX(
            **{
                "block_out_channels": (8, 8, 16, 16),
                "latent_channels": 4,
                "layers_per_block": 1,
                "norm_num_groups": 4,
                "sample_height": 64,
                "sample_width": 96,
                "scaling_factor": 0.7,
                **config,
            }
        ),
        seed=2,
    )


def tiny_text_encoder(vocabulary, channels=24):
    torch.manual_seed(0)
    return randomize(
        T5EncoderModel(
            T5Config(
                vocab_size=vocabulary,
                d_model=channels,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=3,
                feed_forward_proj="gated-gelu",
            )
        ),
        seed=3,
    )


def tiny_tokenizer(folder):
    """A tokenizer of 20 sentinel tokens over its own sentencepiece model, written into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train_sentencepiece(folder / "spiece.model")
    return T5Tokenizer.from_pretrained(str(folder), extra_ids=20)


def save_tiny_cogvideox(
    path,
    positions="sincos",
    scheduler="ddim",
    dtype=torch.float32,
    sharded=False,
    tokenizer_json_only=False,
    transformer={},
    vae={},
    scheduler_config={},
):
    """Saves a random CogVideoXPipeline and returns it.

    `transformer`, `vae` and `scheduler_config` replace fields of their configurations. Latents of the default are
    8x12 for 3 latent frames: 9 frames of 96x64.
    """
    path = Path(path)
    tokenizer = tiny_tokenizer(path / "tokenizer")
    pipeline = CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(len(tokenizer)),
        vae=tiny_vae(**vae),
        transformer=tiny_transformer(positions, **transformer),
        scheduler=SCHEDULERS[scheduler](
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            set_alpha_to_one=True,
            clip_sample=False,
            **scheduler_config,
        ),
    ).to(dtype)
    pipeline.save_pretrained(path, max_shard_size="60kB" if sharded else "10GB")
    if not tokenizer_json_only and not (path / "tokenizer" / "spiece.model").exists():
        train_sentencepiece(path / "tokenizer" / "spiece.model")
    if tokenizer_json_only:
        (path / "tokenizer" / "spiece.model").unlink(missing_ok=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


if __name__ == "__main__":  # the checkpoint that the tests of the program share
    import sys

    save_tiny_cogvideox(sys.argv[1])
