"""One picture with its truth: what every data set of this project returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .coco_masks import decode


@dataclass
class Sample:
    """A picture, its segments as the model is trained on them, and as COCO writes them.

    Attributes:
        image: (3, H, W) uint8, RGB.
        labels: (G,) int64, the class index (0 ... K-1) of each of the G segments.
        masks: (G, H, W) bool, the pixels of each segment.
        ids: (H, W) int64, the panoptic id of every pixel; 0 is void, a pixel nobody labelled. Of
            instance masks that overlap, it shows the smaller one.
        segments: COCO's `segments_info`, a dict (id, category_id, iscrowd, area, bbox) for each
            id; in instance data also "segmentation", its RLE. Crowds are listed here, and not
            among `labels` and `masks`: the model is not trained on them.
        image_id: COCO's number of the picture.
        file_name: where the picture came from, for messages.
    """

    image: Tensor
    labels: Tensor
    masks: Tensor
    ids: Tensor
    segments: list[dict]
    image_id: int
    file_name: str

    @classmethod
    def from_panoptic(
        cls,
        image: Tensor,
        ids: Tensor,
        segments: list[dict],
        categories: list[dict],
        image_id: int,
        file_name: str,
    ) -> Sample:
        """Derives labels and masks from a panoptic id map, as the official mapper does.

        Args:
            image: (3, H, W) uint8, RGB.
            ids: (H, W) int64 panoptic ids.
            segments: COCO `segments_info`; crowds (`iscrowd` 1) give no mask.
            categories: COCO category dicts; a class index is a position in this list.
            image_id: COCO's number of the picture.
            file_name: for messages.

        Raises:
            ValueError: a segment names a category that is not in `categories`.
        """
        index = {category["id"]: k for k, category in enumerate(categories)}
        unknown = sorted({s["category_id"] for s in segments} - set(index))
        if unknown:
            raise ValueError(
                f"{file_name}: category ids {unknown} are not among the {len(index)} categories "
                "of this data set; add them to its categories, or remove these segments"
            )
        trained = [s for s in segments if not s.get("iscrowd", 0)]
        labels = torch.tensor([index[s["category_id"]] for s in trained], dtype=torch.int64)
        wanted = torch.tensor([s["id"] for s in trained], dtype=torch.int64)
        masks = ids[None] == wanted[:, None, None]
        return cls(image, labels, masks, ids, segments, image_id, file_name)

    def segment_masks(self) -> Tensor:
        """The pixels of each entry of `segments`, crowds included.

        Returns:
            (len(segments), H, W) bool: decoded from the entry's "segmentation" (RLE) if it has
            one, as masks may overlap then; else the pixels where `ids` has its id.
        """
        ids = self.ids.numpy()
        masks = np.empty((len(self.segments), *ids.shape), bool)
        for mask, segment in zip(masks, self.segments):
            own = segment.get("segmentation")
            mask[:] = ids == segment["id"] if own is None else decode(own)
        return torch.from_numpy(masks)


def bounding_box(mask: np.ndarray) -> list[int]:
    """[x, y, width, height] of a mask (H, W) with at least one pixel, in pixels (COCO's bbox)."""
    ys, xs = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
    return [xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1]


class Dataset(Protocol):
    """A sequence of samples that knows its categories (COCO dicts: id, name, isthing).

    Attributes:
        categories: the class index of a sample's label is a position in this list.
        task: the richest task that the truth allows: "panoptic" (which allows the others too, see
            `minim2f.data.tasks.as_task`), "instance" or "semantic". A sequence of samples without
            this attribute counts as panoptic.
    """

    categories: list[dict]
    task: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class SampleList(list):
    """A data set of samples that are all in memory.

    A worker process of PyTorch's that is not forked gets its data set through pickle, and each
    tensor in it costs an open file. So all tensors travel as pieces of one, which the processes
    share.

    Args:
        samples: in any number.
        categories: COCO dicts; a class index is a position in this list.
        task: the richest task that the samples' truth allows.
    """

    def __init__(
        self, samples: Iterable[Sample], categories: list[dict], task: str = "panoptic"
    ) -> None:
        super().__init__(samples)
        self.categories, self.task = categories, task

    def __reduce__(self) -> tuple:
        facts = [(s.segments, s.image_id, s.file_name) for s in self]
        return _unpack, (type(self), *self._packed(), facts, self.categories, self.task)

    def _packed(self) -> tuple[Tensor, list[tuple]]:
        """One tensor of bytes that holds all others, and (first byte, dtype, shape) of each.

        The samples' tensors become views of it, so that packing again copies nothing.
        """
        tensors = [getattr(sample, name) for sample in self for name in MAPS]
        first = tensors[0].untyped_storage().data_ptr() if tensors else 0
        whole = all(t.untyped_storage().data_ptr() == first and t.is_contiguous() for t in tensors)
        if not (whole and len(tensors) > len(MAPS)):
            self._pack(tensors)
            tensors = [getattr(sample, name) for sample in self for name in MAPS]
        places = [(t.storage_offset() * t.element_size(), t.dtype, t.shape) for t in tensors]
        buffer = torch.empty(0, dtype=torch.uint8)
        if tensors:
            buffer = buffer.set_(tensors[0].untyped_storage())
        return buffer, places

    def _pack(self, tensors: list[Tensor]) -> None:
        starts, end = [], 0
        for tensor in tensors:
            starts.append(end)
            end += -(-tensor.nbytes // ALIGNED) * ALIGNED
        buffer = torch.empty(end, dtype=torch.uint8)
        views = iter([_view(buffer, s, t.dtype, t.shape).copy_(t) for s, t in zip(starts, tensors)])
        for sample in self:
            for name in MAPS:
                setattr(sample, name, next(views))


MAPS = ("image", "labels", "masks", "ids")
ALIGNED = 8  # bytes: an int64 starts at a multiple of its size


def _view(buffer: Tensor, start: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    length = shape.numel() * dtype.itemsize
    return buffer[start : start + length].view(dtype).view(shape)


def _unpack(
    kind: type,
    buffer: Tensor,
    places: list[tuple],
    facts: list[tuple],
    categories: list[dict],
    task: str,
) -> SampleList:
    views = iter([_view(buffer, *place) for place in places])
    samples = [Sample(*(next(views) for _ in MAPS), *fact) for fact in facts]
    return kind(samples, categories, task)
