"""Every picture of this project: images, segments, masks, attention and curves.

Images turn grey under what is drawn on them, so colour means class (or query) and nothing else;
outlines and names are light on dark, for grey print. An image is a (3, H, W) uint8 tensor or an
(H, W, 3) uint8 array, segments are dicts (id, category_id), categories are COCO's dicts.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from .colors import Color, class_styles, query_color, shade
from .files import write
from .fonts import families

INK = "#202020"
DASHES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (7, 1.5, 1, 1.5))]


def figure(
    rows: int = 1, columns: int = 1, size: float = 2.4, aspect: ArrayLike = 1.0, gap: float = 0.25
) -> tuple[Figure, np.ndarray]:
    """Makes a figure, which pyplot does not keep, and its (rows, columns) array of axes.

    Args:
        size: width of each axes, in inches.
        aspect: height / width of each axes, one number for all or one for each row.
        gap: inches between axes; 0.25 leaves room for titles.
    """
    heights = size * np.broadcast_to(aspect, rows)
    fig = Figure(figsize=(columns * (size + gap) - gap, heights.sum() + (rows - 1) * gap))
    fig.subplots_adjust(0, 0, 1, 1, wspace=gap / size, hspace=gap / heights.mean())
    return fig, fig.subplots(rows, columns, squeeze=False, height_ratios=heights)


def save(fig: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Writes a figure, all of it or nothing; the ending of `path` says how (.png, .svg, .pdf)."""
    drawn = io.BytesIO()
    fig.savefig(drawn, format=Path(path).suffix[1:], dpi=dpi, bbox_inches="tight")
    return write(path, drawn.getvalue())


def draw_image(ax: Axes, image: ArrayLike, title: str | None = None) -> None:
    """Draws an image, and its title above."""
    _show(ax, _pixels(image), title)


def draw_segments(
    ax: Axes,
    image: ArrayLike,
    ids: ArrayLike,
    segments: Sequence[dict],
    categories: Sequence[dict],
    title: str | None = None,
    names: bool = True,
) -> None:
    """Draws a panoptic or semantic map: each segment in a shade of its class, with its name.

    Args:
        ids: (H, W) integers, each pixel's segment; 0 is void, drawn as grey stripes.
        names: whether to write the class on every segment that has room for it.

    Raises:
        ValueError: ids and image differ in size, or ids and segments do not belong together.
    """
    canvas, ids = _pixels(image, grey=True), _array(ids)
    if ids.shape != canvas.shape[:2]:
        raise ValueError(f"ids must be as large as the image, {canvas.shape[:2]}, got {ids.shape}")
    if unlisted := sorted(set(ids.ravel().tolist()) - {s["id"] for s in segments} - {0}):
        raise ValueError(f"the map holds ids {unlisted} that its segments do not list")
    stripes = np.indices(ids.shape).sum(axis=0) * 48 // max(ids.shape) % 2
    canvas[ids == 0] = 0.3 * canvas[ids == 0] + 0.5 + 0.15 * stripes[ids == 0, None]
    notes = [" (crowd)" * s.get("iscrowd", 0) for s in segments if names]
    _paint(ax, canvas, [ids == s["id"] for s in segments], segments, categories, notes, title)


def draw_instances(
    ax: Axes,
    image: ArrayLike,
    masks: ArrayLike,
    segments: Sequence[dict],
    categories: Sequence[dict],
    title: str | None = None,
) -> None:
    """Draws (G, H, W) bool masks, which may overlap, the surest on top, with class and score."""
    canvas, masks = _pixels(image, grey=True), _array(masks)
    masks = masks if masks.dtype == bool else masks > 0
    expected = (len(segments), *canvas.shape[:2])
    if masks.shape != expected:
        raise ValueError(f"masks must be {expected}, one for each segment, got {masks.shape}")
    order = sorted(range(len(segments)), key=lambda k: segments[k].get("score", 1.0))
    segments = [segments[k] for k in order]
    notes = [f"\n{s['score']:.2f}" if "score" in s else "" for s in segments]
    _paint(ax, canvas, [masks[k] for k in order], segments, categories, notes, title)


def draw_mask(
    ax: Axes, image: ArrayLike, mask: ArrayLike, color: Color | str, title: str | None = None
) -> None:
    """Draws one query's mask, (h, w) bool or probabilities: opaque where sure, outlined at 1/2."""
    grey = 0.25 + 0.4 * _pixels(image, grey=True)
    mask = _enlarge(_array(mask).astype(float), grey)
    if not (mask.min() >= 0 and mask.max() <= 1):
        found = f"{mask.min():.3g} ... {mask.max():.3g}"
        raise ValueError(f"a mask must lie in 0 ... 1, got {found}; do logits need a sigmoid?")
    _show(ax, grey + 0.85 * mask[..., None] * (to_rgb(color) - grey), title)
    _outline(ax, mask > 0.5)


def draw_attention(
    ax: Axes,
    image: ArrayLike,
    weights: ArrayLike,
    title: str | None = None,
    allowed: ArrayLike | None = None,
) -> None:
    """Draws one query's attention, (h, w) weights, as heat; `allowed` (h, w) bool is outlined."""
    grey, weights = _pixels(image, grey=True), _array(weights)
    if not np.isfinite(weights).all():
        raise ValueError("attention holds NaN: was this query allowed to look nowhere at all?")
    heat = _enlarge(weights / max(weights.max(), 1e-12), grey)
    glow = colormaps["inferno"](heat)[..., :3]
    _show(ax, grey + (0.4 + 0.5 * heat[..., None]) * (glow - grey), title)
    if allowed is not None:
        _outline(ax, _enlarge(_array(allowed), grey))


def draw_curves(
    ax: Axes, curves: dict[str, tuple[ArrayLike, ArrayLike]], xlabel: str, ylabel: str
) -> None:
    """Draws curves {name: (x, y)}, each with dashes of its own and its name at its end."""
    ends = []
    for k, (name, (x, y)) in enumerate(curves.items()):
        x, y, color = _array(x), _array(y), query_color(k)
        ax.plot(x, y, color=color, linestyle=DASHES[k % len(DASHES)], linewidth=1.8)
        last = np.flatnonzero(np.isfinite(y))[-1:]
        ends += zip(y[last], x[last], [name], [shade(color, 1)])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    free = -np.inf  # names are written upwards from the lowest end, 11 points apart at least
    for y, x, name, color in sorted(ends):
        height = ax.transData.transform((x, y))[1] * 72 / ax.figure.dpi
        place = {"xytext": (5, max(free - height, 0)), "textcoords": "offset points"}
        ax.annotate(name, (x, y), **place, va="center", color=color, annotation_clip=False)
        free = max(free, height) + 11


def compare(rows: Sequence[dict], categories: Sequence[dict], size: float = 2.4) -> Figure:
    """Makes a page with a row for each picture: the image, its truth and the segmentations.

    Args:
        rows: dicts of "image" and, all rows alike, any of "truth", "semantic", "panoptic":
            (ids, segments), and "instance": (masks, segments).
        size: width of each picture in inches.
    """
    kinds = [k for k in ("image", "truth", "semantic", "instance", "panoptic") if k in rows[0]]
    aspects = [np.divide(*_pixels(row["image"]).shape[:2]) for row in rows]
    fig, axes = figure(len(rows), len(kinds), size, aspects, gap=0.08)
    cells = [(row, kind) for row in rows for kind in kinds]
    for ax, (row, kind) in zip(axes.flat, cells):
        title = kind if row is rows[0] else None
        draw = draw_instances if kind == "instance" else draw_segments
        if kind == "image":
            draw_image(ax, row["image"], title)
        else:
            draw(ax, row["image"], *row[kind], categories, title)
    _legend(fig, [s for row, kind in cells if kind != "image" for s in row[kind][1]], categories)
    return fig


def contact_sheet(samples: Sequence, categories: Sequence[dict], columns: int = 6) -> Figure:
    """Makes a page of samples (`minim2f.data.sample.Sample`), each with its truth beneath."""
    aspect = max(sample.image.shape[1] / sample.image.shape[2] for sample in samples)
    lines = [aspect, aspect, 0.05] * -(-len(samples) // columns)
    fig, axes = figure(len(lines), columns, size=1.6, aspect=lines, gap=0.05)
    for ax in axes.flat:
        ax.set_axis_off()
    for k, sample in enumerate(samples):
        upper, lower = axes[k // columns * 3 :, k % columns][:2]
        draw_image(upper, sample.image)
        draw_segments(lower, sample.image, sample.ids, sample.segments, categories, names=False)
    _legend(fig, [segment for sample in samples for segment in sample.segments], categories)
    return fig


def _legend(fig: Figure, segments: Sequence[dict], categories: Sequence[dict]) -> None:
    place = {category["id"]: k for k, category in enumerate(categories)}
    kinds = sorted({s["category_id"] for s in segments}, key=lambda kind: place.get(kind, kind))
    styles = class_styles([{"category_id": k} for k in kinds], categories, range(len(kinds)))
    patches = [Patch(fc=color, ec=INK, lw=0.5, label=name) for name, color in styles]
    lines = -(-len(patches) // int(fig.get_figwidth() / 1.2 + 1)) or 1
    look = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "frameon": False}
    look["prop"] = {"family": families(), "size": 8}
    fig.legend(handles=patches, ncols=-(-len(patches) // lines) or 1, handlelength=1.2, **look)


def _paint(
    ax: Axes,
    canvas: np.ndarray,
    masks: Sequence[np.ndarray],
    segments: Sequence[dict],
    categories: Sequence[dict],
    notes: Sequence[str],
    title: str | None,
) -> None:
    """Colours a canvas under masks, the last on top, then outlines, and names with notes."""
    styles = class_styles(segments, categories, [mask.any(axis=0).argmax() for mask in masks])
    on_top = np.full(canvas.shape[:2], -1)
    for k, mask in enumerate(masks):
        canvas[mask] = 0.35 * canvas[mask] + 0.65 * np.array(styles[k][1])
        on_top[mask] = k
    _show(ax, canvas, title)
    for mask in masks:
        _outline(ax, mask)
    for k, note in enumerate(notes):
        _write(ax, on_top == k, styles[k][0] + note)


def _show(ax: Axes, canvas: np.ndarray, title: str | None) -> None:
    pixelated = max(canvas.shape) < 200  # small images show their pixels, large ones are smoothed
    ax.imshow(canvas.clip(0, 1), interpolation="nearest" if pixelated else "antialiased")
    ax.set_axis_off()
    ax.set_title(title or "", fontsize=9, pad=4)


def _outline(ax: Axes, mask: np.ndarray) -> None:
    if min(mask.shape) > 1 and mask.any() and not mask.all():
        y, x = (_near(mask.any(axis=1 - side)) for side in (0, 1))
        contour = ax.contour(
            np.arange(x.start, x.stop), np.arange(y.start, y.stop), mask[y, x], [0.5]
        )
        contour.remove()  # it holds 40 bytes a pixel, and a picture may have a hundred
        lines = PathCollection(contour.get_paths(), facecolors="none", edgecolors="white")
        lines.set(linewidths=0.7, path_effects=[withStroke(linewidth=1.8, foreground=INK)])
        ax.add_collection(lines, autolim=False)


def _near(line: np.ndarray) -> slice:
    """Where a line (n,) is True, and one place more on either side."""
    places = np.flatnonzero(line)
    return slice(max(places[0] - 1, 0), min(places[-1] + 2, len(line)))


def _write(ax: Axes, mask: np.ndarray, text: str) -> None:
    """Writes text where a mask has most room for it, or nowhere if it had to be too small."""
    lines = text.split("\n")
    flat = 0.6 * max(len(line) for line in lines) / len(lines)  # width of the text / its height
    step = max(mask.shape) // 160 + 1  # a large mask is looked at in steps
    # rows that count as `flat` times as high make the room measured as flat as the text
    room = distance_transform_edt(np.pad(mask[::step, ::step], 1), sampling=(flat, 1))
    box = ax.get_window_extent()
    pixel = min(box.height / len(mask), box.width / mask.shape[1])  # of the mask, on the screen
    points = pixel * step * 72 / ax.figure.dpi
    size = 1.7 * (room.max() - 0.5) * points / (flat * len(lines))
    if size < 4.5:
        return
    ridge = np.argwhere(room >= 0.95 * room.max())  # the best places; their middle looks best
    distance = ((ridge - ridge.mean(axis=0)) ** 2).sum(axis=1)
    y, x = step * (ridge[distance.argmin()] - 1)  # 1 is the padding
    look = {"ha": "center", "va": "center", "color": "white", "linespacing": 1.0}
    look |= {"family": families(), "parse_math": False}
    written = ax.text(x, y, text, fontsize=min(size, 8), **look)
    written.set_path_effects([withStroke(linewidth=1.6, foreground=INK)])


def _array(values: ArrayLike) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _pixels(image: ArrayLike, grey: bool = False) -> np.ndarray:
    """(H, W, 3) floats in 0 ... 1; grey ones have their brightness in all three channels."""
    pixels = _array(image)
    if isinstance(image, torch.Tensor) and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        got = f"{_array(image).shape} of {pixels.dtype}"
        raise ValueError(f"images are (3, H, W) uint8 tensors or (H, W, 3) uint8 arrays, not {got}")
    return pixels @ np.tile([[0.299], [0.587], [0.114]], 3) / 255 if grey else pixels / 255


def _enlarge(cells: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Stretches an (h, w) map to the size of a canvas; a cell stays one flat patch."""
    (h, w), (height, width) = cells.shape, canvas.shape[:2]
    return cells[np.arange(height) * h // height][:, np.arange(width) * w // width]
