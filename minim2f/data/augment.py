"""Changes to a picture and its truth together."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from .sample import Sample


def flip(sample: Sample) -> Sample:
    """The mirror image, left and right exchanged."""
    width = sample.image.shape[2]
    segments = [
        {**s, "bbox": [width - s["bbox"][0] - s["bbox"][2], *s["bbox"][1:]]} if "bbox" in s else s
        for s in sample.segments
    ]
    return dataclasses.replace(
        sample,
        image=sample.image.flip(-1),
        masks=sample.masks.flip(-1),
        ids=sample.ids.flip(-1),
        segments=segments,
    )


def resize(sample: Sample, height: int, width: int, categories: list[dict]) -> Sample:
    """The picture at another size: bilinear with antialias, its truth by nearest pixel.

    Args:
        sample: any sample.
        height, width: the new size.
        categories: of the data set; segments that lost all their pixels are dropped.
    """
    image = F.interpolate(
        sample.image[None].float(), size=(height, width), mode="bilinear", antialias=True
    )
    ids = F.interpolate(sample.ids[None, None].double(), size=(height, width), mode="nearest-exact")
    ids = ids[0, 0].long()
    segments = [
        {**s, "area": int((ids == s["id"]).sum()), "bbox": bounding_box(ids == s["id"])}
        for s in sample.segments
        if (ids == s["id"]).any()
    ]
    image = image[0].round().clamp(0, 255).to(torch.uint8)
    return Sample.from_panoptic(image, ids, segments, categories, sample.image_id, sample.file_name)


def bounding_box(mask: Tensor) -> list[int]:
    """[x, y, width, height] of a mask (H, W) with at least one pixel, in pixels (COCO's bbox)."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    y, x = rows[0].item(), columns[0].item()
    return [x, y, columns[-1].item() - x + 1, rows[-1].item() - y + 1]
