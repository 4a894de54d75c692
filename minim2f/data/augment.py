"""Augmentation: changes to a picture and its truth together: mirror, size, window, colours.

None of these functions changes its input, and every random number comes from the `torch.Generator`
given, one on the CPU. Image, masks and ids are each changed by themselves, so that masks which
overlap, as in COCO's instance data, still overlap afterwards. `segments` then describes the new
`ids`.

Why not torchvision.transforms.v2? Its nearest-exact computes in float32, which gave another pixel
for 2 % of the pairs of sizes tried; with a dozen masks it took 3 to 30 times as long as taking rows
and columns by index; and its transforms draw from PyTorch's global generator.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .color import jitter
from .sample import Sample, bounding_box

GREY = 128  # what a padded image shows; its truth there is void


def flip(sample: Sample) -> Sample:
    """The mirror image, left and right exchanged."""
    return _with_maps(sample, sample.image.flip(-1), sample.masks.flip(-1), sample.ids.flip(-1))


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The picture at another size: bilinear with antialias, its truth by nearest pixel.

    A mask may lose its last pixel here and stays, empty; `drop_empty` removes it.

    Args:
        sample: any sample.
        height, width: the new size.

    Raises:
        ValueError: a size below 1.
    """
    return resize_and_crop(sample, (height, width), 0, 0, (height, width))


def resize_and_crop(
    sample: Sample, size: tuple[int, int], top: int, left: int, window: tuple[int, int]
) -> Sample:
    """What a window shows of the resized picture; outside the image is grey (128), the truth void.

    Resizing and cropping in one step spares the masks the pixels that would be cut off again.

    Args:
        sample: any sample.
        size: (height, width) to which the picture is resized.
        top, left: the window's first row and column; negative ones lie outside the picture.
        window: its (height, width).

    Raises:
        ValueError: a size below 1, or a window that shows nothing of the picture.
    """
    _refuse(size, top, left, window)
    down, across = slice(max(0, top), top + window[0]), slice(max(0, left), left + window[1])
    rows = _nearest(sample.ids.shape[0], size[0])[down]
    columns = _nearest(sample.ids.shape[1], size[1])[across]
    above, before = max(0, -top), max(0, -left)
    pad = (before, window[1] - before - len(columns), above, window[0] - above - len(rows))
    image = F.interpolate(sample.image[None], size, mode="bilinear", antialias=True)[0]
    return _with_maps(
        sample,
        image=F.pad(image[:, down, across], pad, value=GREY),
        masks=F.pad(_take(sample.masks, rows, columns), pad),
        ids=F.pad(_take(sample.ids, rows, columns), pad),
    )


def _refuse(size: tuple[int, int], top: int, left: int, window: tuple[int, int]) -> None:
    if min(*size, *window) < 1:
        raise ValueError(f"a picture of {size} in a window of {window}: 1 pixel is the least")
    if not (-window[0] < top < size[0] and -window[1] < left < size[1]):
        raise ValueError(
            f"a window of {window} at ({top}, {left}) shows nothing of a picture of {size}"
        )


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of `new` pixels in a line, the one of `old` that its centre lies in."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _take(maps: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    # NumPy takes bools by index about four times as fast as PyTorch.
    return torch.from_numpy(maps.numpy().take(columns, -1).take(rows, -2))


def _with_maps(sample: Sample, image: Tensor, masks: Tensor, ids: Tensor) -> Sample:
    """The sample with other maps, its segments measured again; those without a pixel are gone."""
    segments = []
    for segment in sample.segments:
        mask = ids.numpy() == segment["id"]
        if area := int(np.count_nonzero(mask)):
            kept = {key: value for key, value in segment.items() if key != "segmentation"}
            segments.append(kept | {"area": area, "bbox": bounding_box(mask)})
    return dataclasses.replace(sample, image=image, masks=masks, ids=ids, segments=segments)


def drop_empty(sample: Sample) -> Sample:
    """Removes the labels and masks without a pixel, which a crop or a smaller size may leave.

    The official instance mapper removes them too; the official panoptic mapper keeps them (issue
    215 of its repository asks about it). We remove them for every task: such a target asks a query
    to name something that the picture does not show.
    """
    keep = sample.masks.flatten(1).any(1)
    return dataclasses.replace(sample, labels=sample.labels[keep], masks=sample.masks[keep])


def large_scale_jitter(
    sample: Sample, size: int, generator: torch.Generator, low: float = 0.1, high: float = 2.0
) -> Sample:
    """COCO's recipe: the picture at a random scale, in a square window (paper 4.1).

    The picture is resized, its aspect ratio kept, to fit into a square of s * size pixels, with s
    uniform from low to high. Where that is larger than the window, one random number for both axes
    decides where the window lies; where it is smaller, the window is padded on the right and below.

    Args:
        sample: any sample.
        size: of the square window in pixels; 1024 for COCO.
        generator: for s and for the crop's place.
        low, high: the range of s.

    Raises:
        ValueError: a size below 1, or not 0 < low <= high.
    """
    if not 0 < low <= high:
        raise ValueError(f"the scale runs from {low} to {high}; it needs 0 < low <= high")
    u, v = torch.rand(2, generator=generator).tolist()
    scale = (low + u * (high - low)) * size / max(sample.ids.shape)
    height, width = (max(1, round(scale * length)) for length in sample.ids.shape)
    top, left = round(v * max(0, height - size)), round(v * max(0, width - size))
    return resize_and_crop(sample, (height, width), top, left, (size, size))


def random_crop(
    sample: Sample,
    size: tuple[int, int],
    generator: torch.Generator,
    short_side: int | None = None,
) -> Sample:
    """The recipe of the semantic data sets: a random scale, then a window of a fixed size.

    The picture's shorter side becomes 0.5, 0.6, ... or 2.0 times `short_side`, or less where the
    longer one would exceed 4 times `short_side`. Where the window is larger than the picture, it
    is padded on the right and below. Official settings (size; short_side): ADE20K (512, 512); 512,
    Cityscapes (512, 1024); 1024, Mapillary (1024, 1024); 2048.

    Args:
        sample: any sample.
        size: (height, width) of the window.
        generator: for the scale and for the window's place.
        short_side: the shorter side at scale 1; None takes the window's.

    Raises:
        ValueError: a size or a short side below 1.
    """
    short_side = min(size) if short_side is None else short_side
    if short_side < 1:
        raise ValueError(f"the shorter side at scale 1 is {short_side} pixels; 1 is the least")
    short = short_side * _integer(5, 20, generator) // 10
    scale = min(short / min(sample.ids.shape), 4 * short_side / max(sample.ids.shape))
    height, width = (max(1, int(scale * length + 0.5)) for length in sample.ids.shape)
    top = _integer(0, max(0, height - size[0]), generator)
    left = _integer(0, max(0, width - size[1]), generator)
    return resize_and_crop(sample, (height, width), top, left, size)


def color_jitter(sample: Sample, generator: torch.Generator) -> Sample:
    """The picture in other colours (SSD's; see `minim2f.data.color`), its truth unchanged."""
    return dataclasses.replace(sample, image=jitter(sample.image, generator))


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return torch.randint(low, high + 1, (), generator=generator).item()
