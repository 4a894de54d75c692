"""Pictures through the model, and their masks at each picture's own size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .model.config import Config
from .model.mask2former import Mask2Former
from .ops.enlarge import Enlarged

T = TypeVar("T")

# Of one picture: class logits (N, K+1) and mask logits (N, H, W).
Logits = tuple[Tensor, Enlarged]


def input_size(height: int, width: int, config: Config) -> tuple[int, int]:
    """The height and width at which a model of this config looks at a picture."""
    scale = min(config.short_side / min(height, width), config.long_side / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@torch.inference_mode()
def predict(model: Mask2Former, image: Tensor) -> tuple[Tensor, Tensor]:
    """Runs a model on one picture.

    The picture is resized (shortest side `config.short_side`, longest at most `config.long_side`),
    padded and predicted; its mask logits are enlarged to the padded size, freed of the padding, and
    resized to the picture. The model runs in eval mode and is left in the mode it was in.

    Args:
        model: any model.
        image: (3, H, W) uint8, RGB.

    Returns:
        Class logits (N, K+1) and mask logits (N, H, W), 4 N bytes a pixel: see `predict_masks`.
    """
    class_logits, masks = predict_masks(model, image)
    return class_logits, masks.whole()


def predict_masks(model: Mask2Former, image: Tensor) -> Logits:
    """As `predict`, with mask logits that are enlarged only when they are read, by strips of rows.

    Large pictures fit into memory so; `instances`, `panoptic` and `as_result` take either.
    """
    [(_, logits)] = predict_many(model, [image])
    return logits


def predict_many(
    model: Mask2Former,
    items: Iterable[T],
    batch_size: int = 1,
    image_of: Callable[[T], Tensor] = lambda image: image,
) -> Iterator[tuple[T, Logits]]:
    """Each picture with what `predict_masks` returns for it, in their order.

    Pictures that follow each other and are of one size once they are resized and padded go through
    the network together. No picture is padded further than alone, so a batch changes its logits by
    rounding only.

    Args:
        model: any model.
        items: pictures, (3, H, W) uint8, RGB, each of any size, or whatever has one. No more of
            them are held than a batch and the next one, so that a generator may read files.
        batch_size: so many pictures at most go through the network together.
        image_of: the picture of an item.

    Yields:
        The item; class logits (N, K+1) and mask logits (N, H, W), enlarged when they are read.

    Raises:
        ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"a batch of {batch_size} pictures; it needs 1 or more")
    for _, alike in groupby(items, lambda item: _padded_size(image_of(item), model.config)):
        while batch := list(islice(alike, batch_size)):
            yield from zip(batch, _predict_batch(model, [image_of(item) for item in batch]))
            batch.clear()  # before the next ones are read


def _padded_size(image: Tensor, config: Config) -> tuple[int, int]:
    height, width = input_size(*image.shape[1:], config)
    return -(-height // 32) * 32, -(-width // 32) * 32


@torch.inference_mode()
def _predict_batch(model: Mask2Former, images: Sequence[Tensor]) -> list[Logits]:
    sizes = [input_size(*image.shape[1:], model.config) for image in images]
    pixels = [_resized(image, size).to(model.mean.device) for image, size in zip(images, sizes)]
    training = model.training
    model.eval()
    try:
        batch = model.batch(pixels)
        prediction = model(batch)
    finally:
        model.train(training)
    masks = [
        Enlarged(logits, batch.shape[2:], size, image.shape[1:])
        for logits, size, image in zip(prediction.mask_logits, sizes, images)
    ]
    return list(zip(prediction.class_logits, masks))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
