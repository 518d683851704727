"""How runs of the program and of the reference are compared: (latents, frames in 0..255, …) each."""

import numpy as np


def error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def psnr(ours, theirs):
    """Against frames rounded to 8 bits, as the program writes them."""
    return 10 * np.log10(255**2 / max(np.mean((ours - np.round(theirs)) ** 2), 1e-12))


def agree(ours, theirs):
    assert ours[0].shape == theirs[0].shape and ours[1].shape == theirs[1].shape
    print("error", error(ours[0], theirs[0]), "psnr", psnr(ours[1], theirs[1]))
    assert error(ours[0], theirs[0]) < 1e-4
    assert psnr(ours[1], theirs[1]) > 50


def options(**named):
    return [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", value)]
