"""A tiny Open-Sora checkpoint: the transformer and VAE of the reference numbers, and a random T5 encoder."""

import json
import os
import shutil
from pathlib import Path

import torch
from tiny import tiny_text_encoder, tiny_tokenizer

GOLDENS = Path(os.environ.get("EAV_OPEN_SORA_GOLDENS", Path(__file__).parent / "data/open_sora"))


def save_tiny_open_sora(folder):
    """Writes the folders as they are released; returns the T5 encoder and its tokenizer."""
    folder = Path(folder)
    caption_channels = json.loads((GOLDENS / "config.json").read_text())["caption_channels"]
    for part, config, weights in [
        ("OpenSora-STDiT-v3", "config.json", "model.safetensors"),
        ("OpenSora-VAE-v1.2", "vae_config.json", "vae.safetensors"),
    ]:
        (folder / part).mkdir(parents=True)
        shutil.copyfile(GOLDENS / config, folder / part / "config.json")
        shutil.copyfile(GOLDENS / weights, folder / part / "model.safetensors")
    tokenizer = tiny_tokenizer(folder / "t5-v1_1-xxl")
    encoder = tiny_text_encoder(len(tokenizer), channels=caption_channels)
    with torch.no_grad():  # captions as large as the numbers'
        encoder.encoder.final_layer_norm.weight.mul_(1.5)
    encoder.save_pretrained(folder / "t5-v1_1-xxl")
    return encoder.eval(), tokenizer
