"""Reads colour, shape, direction and background off a clip of one moving shape, by plain image processing.

`read_clip(frames)` takes uint8 [T, H, W, 3] and returns a dict; a thing that cannot be read is None.

- background: the median colour of the frame's border, over all frames, named by the nearest reference colour;
- the shape's pixels: those further from the background than Otsu's threshold, the largest connected piece;
- colour: the median of the pixels well inside the shape, named by the nearest reference colour, by hue and strength;
- shape: which of a circle, a square and an upright triangle of the same area and centre overlaps best (intersection over union);
- direction: a straight line fitted to the centre over time.
"""
import numpy as np
from scipy import ndimage

COLORS = {"red": (230, 38, 38), "green": (38, 191, 64), "blue": (51, 89, 242), "yellow": (242, 217, 38), "white": (247, 247, 247), "purple": (153, 51, 204)}
BACKS = {"black": (9, 9, 14), "gray": (95, 100, 106), "navy": (12, 19, 59)}


def nearest(rgb, table, limit):
    name = min(table, key=lambda k: np.linalg.norm(np.subtract(table[k], rgb)))
    return name if np.linalg.norm(np.subtract(table[name], rgb)) < limit else None


def otsu(values):
    """The threshold that splits the values into two groups with the least spread inside each."""
    count, edge = np.histogram(values, 128)
    middle = (edge[:-1] + edge[1:]) / 2
    low = np.cumsum(count)
    high = low[-1] - low
    total = np.cumsum(count * middle)
    with np.errstate(all="ignore"):
        between = low * high * (total / low - (total[-1] - total) / high) ** 2
    return middle[np.nanargmax(np.where((low > 0) & (high > 0), between, np.nan))]


def shape_scores(mask):
    """Intersection over union of the mask with each ideal shape of its area and centre."""
    y, x = np.nonzero(mask)
    area, cy, cx = len(y), y.mean(), x.mean()
    py, px = np.arange(mask.shape[0])[:, None] - cy, np.arange(mask.shape[1])[None] - cx
    inside = np.sqrt(area / (3 * np.sqrt(3)))                                       # the inscribed circle's radius of a triangle of this area
    ideal = {
        "circle": np.hypot(px, py) <= np.sqrt(area / np.pi),
        "square": np.maximum(np.abs(px), np.abs(py)) <= np.sqrt(area) / 2,
        "triangle": np.maximum(np.abs(px) * np.sqrt(0.75) - py / 2, py) <= inside,
    }
    return {k: np.sum(v & mask) / np.sum(v | mask) for k, v in ideal.items()}


def read_clip(frames):
    frames = np.asarray(frames, dtype=np.float32)
    count, height, width, _ = frames.shape
    edge = np.concatenate([frames[:, :2].reshape(-1, 3), frames[:, -2:].reshape(-1, 3), frames[:, :, :2].reshape(-1, 3), frames[:, :, -2:].reshape(-1, 3)])
    back = np.median(edge, axis=0)
    result = {"color": None, "shape": None, "direction": None, "background": nearest(back, BACKS, 60)}
    distance = np.linalg.norm(frames - back, axis=-1)
    threshold = otsu(distance)
    if threshold < 20:
        return result                                                               # nothing stands out
    centres, scores, colors = [], [], []
    for i in range(count):
        label, n = ndimage.label(distance[i] > threshold)
        if n == 0:
            continue
        size = np.bincount(label.ravel())[1:]
        mask = label == 1 + np.argmax(size)
        if mask.sum() < 0.02 * height * width or mask.sum() > 0.5 * height * width:
            continue
        y, x = np.nonzero(mask)
        centres.append((i, x.mean() / width, y.mean() / height))
        scores.append(shape_scores(mask))
        core = ndimage.binary_erosion(mask, iterations=2)
        colors.append(np.median(frames[i][core if core.any() else mask], axis=0))
    if len(centres) < count / 2:
        return result                                                               # a shape in less than half of the frames
    result["color"] = nearest(np.median(colors, axis=0), COLORS, 110)
    mean = {k: np.mean([s[k] for s in scores]) for k in scores[0]}
    best = max(mean, key=mean.get)
    result["shape"] = best if mean[best] >= 0.75 else None
    t, x, y = np.array(centres).T
    dx, dy = (np.polyfit(t / (count - 1), v, 1)[0] for v in (x, y))                 # over the whole clip, in frame widths
    if max(abs(dx), abs(dy)) >= 0.15 and max(abs(dx), abs(dy)) > 2 * min(abs(dx), abs(dy)):
        result["direction"] = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
    return result
