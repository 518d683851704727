"""What an enhancement did in the run of a sampler, as numbers, a text and a picture."""

from dataclasses import dataclass, field

import torch

COMPARED = 64  # values of a latent that tell which run it came from


@dataclass
class Step:
    """The forward passes of one step."""

    active: bool
    branches: list = field(default_factory=list)  # of the pass that runs: 0 positive, 1 negative, for each row
    measured: list = field(default_factory=list)  # (layer, branches, CFI [B], gain [B]), as the layers ran

    def record(self, layer, cfi, gain):
        self.measured.append((layer, self.branches, cfi, gain))


@dataclass(frozen=True)
class Entry:
    """One layer in one row of one forward pass."""

    step: int
    layer: int
    branch: int  # 0 positive, 1 negative
    cfi: float
    gain: float


class Run:
    """One run of a sampler: its steps go from each of `sigmas` to the next; those of [last, first] are enhanced."""

    def __init__(self, layers, sigmas, first, last):
        self.layers, self.sigmas, self.first, self.last = layers, sigmas, first, last
        self.steps = {}
        self.compared = None

    def within(self, sigma):
        return self.last <= sigma <= self.first

    def forward_pass(self, sigmas, branches, rows):
        """The step that a forward pass belongs to. Samplers of higher order evaluate between two of the sigmas."""
        sigma = float(sigmas.max()) if sigmas is not None else 0.0
        index = max(sum(sigma <= s * (1 + 1e-6) for s in self.sigmas[:-1]) - 1, 0)
        active = sigmas is None or self.within(sigma)
        step = self.steps.setdefault(index, Step(active))
        step.active = active
        branches = branches or [0]
        step.branches = [branches[row * len(branches) // rows] for row in range(rows)]
        return step

    def finish(self, latent):
        self.compared = sample_of(latent)
        for step in self.steps.values():  # not to keep the device's memory
            step.measured = [(layer, branches, cfi.cpu(), gain.cpu()) for layer, branches, cfi, gain in step.measured]

    @property
    def enhanced_steps(self):
        """The steps that the percents select, whether or not they ran."""
        if len(self.sigmas) < 2:  # of a model that was called outside of a sampler
            return sorted(self.steps)
        return [index for index, sigma in enumerate(self.sigmas[:-1]) if self.within(sigma)]

    def entries(self):
        entries = []
        for index, step in sorted(self.steps.items()):
            for layer, branches, cfi, gain in step.measured:
                for branch, c, g in zip(branches, cfi.tolist(), gain.tolist(), strict=True):
                    entries.append(Entry(index, layer, branch, c, g))
        return entries


def sample_of(latent):
    latent = latent.detach().flatten()
    return latent[:: max(1, latent.numel() // COMPARED)].float().cpu()


def run_of(runs, latent):
    """The run whose result a latent is; the last one where none is found, such as behind a node that changed it."""
    found = sample_of(latent)
    for run in reversed(runs):
        if run.compared is not None and torch.equal(run.compared, found):
            return run
    return runs[-1] if runs else None


@dataclass(frozen=True)
class Count:
    scaled: int
    clamped: int
    never: int
    outside: int  # of the percents

    def __str__(self):
        return (
            f"layer-steps: {self.scaled} scaled, {self.clamped} at the clamp (gain 1), {self.never} never run, "
            f"{self.outside} outside of the start and end percent"
        )


def means_of(entries, value):
    """{(step, layer): mean over rows} of the entries."""
    cells = {}
    for entry in entries:
        cells.setdefault((entry.step, entry.layer), []).append(value(entry))
    return {cell: sum(values) / len(values) for cell, values in cells.items()}


def count(run):
    """A layer-step is one layer in one step; it is scaled if any row of it was."""
    gains = means_of(run.entries(), lambda entry: entry.gain)
    scaled = sum(gain > 1 for gain in gains.values())
    wanted = {(step, layer) for step in run.enhanced_steps for layer in run.layers}
    steps = max(len(run.sigmas) - 1, len(run.enhanced_steps))
    never = len(wanted - gains.keys())
    return Count(scaled, len(gains) - scaled, never, (steps - len(run.enhanced_steps)) * len(run.layers))


def text(run, weight):
    """One line that counts, one for each step, one for each layer."""
    entries = run.entries()
    lines = [f"Enhance-A-Video, weight {weight:g}: {count(run)}"]
    if not entries:
        lines.append("No layer was enhanced: the model's layers did not run, or the percents leave no step.")
    for kind, title, name in (("step", "step", str), ("layer", "layer", run.layers.get)):
        for key in sorted({getattr(entry, kind) for entry in entries}):
            rows = [entry for entry in entries if getattr(entry, kind) == key]
            cfi, gain = (sum(getattr(e, value) for e in rows) / len(rows) for value in ("cfi", "gain"))
            top = max(entry.gain for entry in rows)
            lines.append(f"{title} {name(key)}: CFI {cfi:.5f}, gain {gain:.4f}, at most {top:.4f}")
    return "\n".join(lines)


def picture(run, weight):
    """Two maps, CFI above and gain below, a column for each step and a row for each layer: [1, H, W, 3] of 0 to 1."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    entries = run.entries()
    steps, layers = max(len(run.sigmas) - 1, len(run.enhanced_steps), 1), list(run.layers)
    wide, high = max(6, min(32, 960 // steps)), max(6, min(24, 600 // len(layers)))
    left, top, gap = 96, 64, 56
    width, height = left + max(steps * wide, 560) + 24, top + 2 * (len(layers) * high + gap)
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    draw.text((8, 6), f"Enhance-A-Video, weight {weight:g}", "black", font)
    draw.text((8, 22), str(count(run)), "black", font)
    for panel, (title, value) in enumerate((("CFI", lambda e: e.cfi), ("gain", lambda e: e.gain))):
        cells = means_of(entries, value)
        low = 1.0 if title == "gain" else min(cells.values(), default=0.0)
        span = max(max(cells.values(), default=low) - low, 1e-9)
        y0 = top + panel * (len(layers) * high + gap)
        scale = f"{low:.4f} (dark) to {low + span:.4f} (light)" if cells else "nothing ran"
        draw.text((8, y0 - 18), f"{title}: {scale}; gray: never run; white: outside of the percents", "black", font)
        for row, layer in enumerate(layers):
            y = y0 + row * high
            if row * high % 12 < high or high >= 12:
                draw.text((8, y), run.layers[layer] or str(layer), "black", font)
            for step in range(steps):
                if (step, layer) in cells:
                    color = _color((cells[step, layer] - low) / span)
                else:
                    color = (176, 176, 176) if step in run.enhanced_steps else (255, 255, 255)
                x = left + step * wide
                draw.rectangle((x, y, x + wide - 2, y + high - 2), fill=color)
        y = y0 + len(layers) * high + 2
        for step in range(0, steps, max(1, -(-steps * 24 // (steps * wide)))):
            draw.text((left + step * wide, y), str(step), "black", font)
        draw.text((8, y), "step", "black", font)
    return torch.from_numpy(numpy.asarray(image).astype("float32") / 255)[None]


def _color(value):
    """Dark blue over green to light yellow."""
    stops = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
    place = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    part = place - index
    return tuple(round(a + (b - a) * part) for a, b in zip(stops[index], stops[index + 1], strict=True))
