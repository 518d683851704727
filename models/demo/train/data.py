"""Procedurally drawn clips, each of one coloured shape moving over a shaded background, and captions for them."""
import random
import numpy as np

COLORS = {"red": (0.9, 0.15, 0.15), "green": (0.15, 0.75, 0.25), "blue": (0.2, 0.35, 0.95), "yellow": (0.95, 0.85, 0.15), "white": (0.97, 0.97, 0.97), "purple": (0.6, 0.2, 0.8)}
SHAPES = ("circle", "square", "triangle")
MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
BACKS = {"black": (0.04, 0.04, 0.06), "gray": (0.4, 0.42, 0.45), "navy": (0.05, 0.08, 0.25)}
COMBINATIONS = [(c, s, m, b) for c in COLORS for s in SHAPES for m in MOVES for b in BACKS]

MAIN = "a {c} {s} moving {m} on a {b} background"
VERBS = ("moving", "moves", "going", "goes", "sliding", "slides", "gliding", "travelling", "travels", "heading", "drifting", "drifts", "that moves", "is moving")
WAYS = {
    "left": ("left", "left", "to the left", "towards the left", "leftwards", "from right to left"),
    "right": ("right", "right", "to the right", "towards the right", "rightwards", "from left to right"),
    "up": ("up", "up", "upward", "upwards", "to the top", "from bottom to top"),
    "down": ("down", "down", "downward", "downwards", "to the bottom", "from top to bottom"),
}
PLACES = ("on a {b} background", "on a {b} background", "over {b}", "over a {b} background", "on {b}", "against a {b} background", "in front of a {b} background", "with a {b} background")


def draw(spec, rng, size=64, frames=25, window=None):
    """The clip of (color, shape, move, background) as float32 [3, frames, size, size] in -1..1; `window` = (first, count) draws only those frames."""
    c, s, m, b = spec
    radius, speed, off, (dx, dy) = rng.uniform(0.18, 0.21), rng.uniform(0.44, 0.52), rng.uniform(-0.08, 0.08), MOVES[m]
    first, count = window or (0, frames)
    t = (np.arange(first, first + count, dtype=np.float32) / (frames - 1) - 0.5)[:, None, None]     # -0.5..0.5: the path is centred
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    px = grid[None, None, :] - dx * speed * t - (off if dx == 0 else 0)
    py = grid[None, :, None] - dy * speed * t - (off if dy == 0 else 0)
    if s == "circle":
        d = np.hypot(px, py) - radius
    elif s == "square":
        d = np.maximum(np.abs(px), np.abs(py)) - radius * 0.9
    else:                                                                                       # equilateral, upright
        d = np.maximum(np.abs(px) * 0.866 - py * 0.5 - radius * 0.52, py - radius * 1.04)
    cover = np.clip(0.5 - d * size, 0, 1).astype(np.float32)                                    # anti-aliased
    shade = 0.85 + 0.15 * (0.5 - grid)[None, :, None]
    video = np.empty((3, count, size, size), np.float32)
    for i in range(3):
        video[i] = (BACKS[b][i] * shade * (1 - cover) + COLORS[c][i] * cover) * 2 - 1
    return video


def caption(spec, rng, plain=0.5, stray=0.1):
    """A caption of the clip. With probability `plain` the main form; else freely worded, and it may leave
    things out and (with probability `stray`) hold a word of no meaning.
    Returns the text and what it says: (color, shape, move, background), None for what is left out."""
    c, s, m, b = spec
    if rng.random() < plain:
        return MAIN.format(c=c, s=s, m=m, b=b), spec
    said = [c, s, m, b]
    for i, chance in enumerate((0.03, 0.03, 0.06, 0.2)):
        if rng.random() < chance:
            said[i] = None
    c, s, m, b = said
    if b == "gray" and rng.random() < 0.3:
        b = "grey"
    thing = " ".join(x for x in (rng.choice(("a", "a", "the", "one", "")), rng.choice(("", "", "", "", "big", "single", "small")), c, s or rng.choice(("shape", "object", "thing"))) if x)
    going = f"{rng.choice(VERBS)} {rng.choice(WAYS[m])}" if m else ""
    if m and rng.random() < 0.1:
        going = f"{going} {rng.choice(('slowly', 'smoothly', 'quickly'))}"
    place = rng.choice(PLACES).format(b=b) if b else ""
    form = rng.random()
    if form < 0.75:
        text = " ".join(x for x in (thing, going, place) if x)
    elif form < 0.9:
        text = ", ".join(x for x in (" ".join(x for x in (thing, going) if x), f"{b} background" if b else "") if x)
    else:
        text = ", ".join(x for x in (f"{thing} {place}".strip(), going) if x)
    if rng.random() < 0.1:
        text = f"{rng.choice(('a video of', 'a clip of', 'an animation of'))} {text}"
    if rng.random() < stray:
        words = text.split(" ")
        words.insert(rng.randrange(len(words)), "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 6))))
        text = " ".join(words)
    if rng.random() < 0.25:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.2:
        text += "."
    return text, tuple(said)
