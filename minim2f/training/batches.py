"""Which pictures a step sees, and what becomes of them on the way.

Everything random about a picture follows from the run's seed and the picture's place in the run.
So the number of the step is all that a resumed run needs to know, the number of workers changes
nothing, and two processes see together what one process with the double batch would see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, Sampler
from torch.utils.data import Dataset as TorchDataset

from ..data import augment
from ..data.sample import Dataset, Sample
from ..model.config import Config
from ..model.mask2former import Mask2Former
from ..prediction import input_size
from . import distributed
from .matching import Target
from .recipe import TrainConfig


class Microbatch(NamedTuple):
    """The pictures that pass through the model together: all of a step's, or some of them.

    Attributes:
        names: of the B pictures.
        images: (B, 3, H, W), normalised and padded.
        targets: B of them, masks padded to (H, W).
        seed: of all that is random about them in this step.
    """

    names: list[str]
    images: Tensor
    targets: list[Target]
    seed: int


def collate(model: Mask2Former, samples: list[Sample]) -> tuple[Tensor, list[Target]]:
    """Samples as one padded batch and its targets, on the model's device.

    Returns:
        Images (B, 3, H, W), normalised and padded, and B targets with masks padded to (H, W).

    Raises:
        ValueError: a sample contradicts itself or the model, see `validate`.
    """
    for sample in samples:
        validate(sample, model.config.num_classes)
    device = model.mean.device
    images = model.batch([sample.image.to(device) for sample in samples])
    _refuse_single_pixel(model, images, samples)
    height, width = images.shape[2:]
    targets = []
    for sample in samples:
        right, below = width - sample.masks.shape[2], height - sample.masks.shape[1]
        masks = F.pad(sample.masks.to(device), (0, right, 0, below))
        targets.append(Target(sample.labels.to(device), masks))
    return images, targets


def _refuse_single_pixel(model: Mask2Former, images: Tensor, samples: list[Sample]) -> None:
    """Batch norm needs a variance, and the deepest features have a pixel for every 32 x 32."""
    pixels = len(images) * (images.shape[2] // 32) * (images.shape[3] // 32)
    norms = (nn.modules.batchnorm._BatchNorm,)
    if (
        pixels == 1
        and model.training
        and any(isinstance(m, norms) for m in model.backbone.modules())
    ):
        raise ValueError(
            f"{samples[0].file_name}: one picture of at most 32 x 32 pixels is no batch: the "
            "deepest features have one pixel, and batch norm needs two. Take more pictures a step "
            "(--batch-size 2, fewer parts) or larger ones (--short-side 64)"
        )


def refuse_mismatch(dataset: Dataset, config: Config) -> None:
    """Raises if a data set is empty, or has other classes than the model.

    Raises:
        ValueError: says how many classes there are on either side.
    """
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to learn from")
    found, wanted = len(dataset.categories), config.num_classes
    if found != wanted:
        raise ValueError(
            f"the data set has {found} categories, the model {wanted} classes; "
            f"make the model with preset(..., num_classes={found})"
        )


def validate(sample: Sample, num_classes: int) -> None:
    """Raises if a sample contradicts itself or the model.

    Raises:
        ValueError: labels, masks and image disagree in number or size, or a class index is none of
            the model's.
    """
    name, labels, masks = sample.file_name, sample.labels, sample.masks
    if masks.ndim != 3 or masks.shape[1:] != sample.image.shape[1:]:
        raise ValueError(
            f"{name}: masks of shape {tuple(masks.shape)} for an image of "
            f"{tuple(sample.image.shape[1:])} (H, W); masks are (G, H, W), as large as their image"
        )
    if len(labels) != len(masks):
        raise ValueError(f"{name}: {len(labels)} labels for {len(masks)} masks; each needs its own")
    if len(labels) and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(
            f"{name}: class indices {labels.tolist()} must lie in 0 ... {num_classes - 1}; "
            "COCO's category ids have gaps and are no class indices"
        )


def microbatches_of(
    model: Mask2Former, batch: list[list[Sample]], seed: int, step: int
) -> list[Microbatch]:
    """A step's samples as tensors, each part with a seed of its own.

    Args:
        model: says where the tensors go and how images are normalised.
        batch: this process's samples, part by part.
        seed: of the run.
        step: number of the step.

    Raises:
        ValueError: a sample contradicts itself or the model, see `validate`.
    """
    parts = []
    for place, samples in enumerate(batch):
        names = [sample.file_name for sample in samples]
        own_seed = seed_of(seed, "step", step, place, distributed.rank())
        parts.append(Microbatch(names, *collate(model, samples), own_seed))
    return parts


def seed_of(*parts: object) -> int:
    """A seed of its own for everything that can be named: a run and a step, a run and a picture."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


class Places(Sampler):
    """(place in the run, index of a picture) of one process, from a place on: epoch after epoch."""

    def __init__(self, dataset: Dataset, recipe: TrainConfig, first: int) -> None:
        self.first, self.total = first, recipe.steps * recipe.batch_size // distributed.count()
        self.sampler = DistributedSampler(
            dataset, distributed.count(), distributed.rank(), seed=recipe.seed
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        known = None
        for n in range(self.first, self.total):
            epoch, k = divmod(n, self.sampler.num_samples)
            if epoch != known:
                self.sampler.set_epoch(epoch)
                known, order = epoch, list(self.sampler)
            yield n * distributed.count() + distributed.rank(), order[k]


class Prepared(TorchDataset):
    """The pictures as the recipe wants them: jittered, cropped, flipped; truth alike."""

    def __init__(self, dataset: Dataset, recipe: TrainConfig, config: Config) -> None:
        self.dataset, self.recipe, self.config = dataset, recipe, config

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        """The picture with a certain index, changed as its place in the run wants it."""
        place, index = at
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "picture", place))
        return prepare(self.dataset[index], self.recipe, self.config, generator)


def prepare(
    sample: Sample, recipe: TrainConfig, config: Config, generator: torch.Generator
) -> Sample:
    """One picture for training: color jitter, then flip, then size and crop."""
    crop = recipe.crop
    if recipe.color:
        sample = augment.color_jitter(sample, generator)
    if torch.rand((), generator=generator) < recipe.flip:
        sample = augment.flip(sample)
    if recipe.jitter == "large-scale":
        sample = augment.large_scale_jitter(sample, crop, generator)
    elif recipe.jitter == "shortest-edge":
        sample = augment.random_crop(sample, (crop, crop), generator)
    else:
        size = input_size(*sample.image.shape[1:], config)
        sample = augment.resize(sample, *size) if size != sample.image.shape[1:] else sample
    return augment.drop_empty(sample)


def stream(
    dataset: Dataset, recipe: TrainConfig, config: Config, first_step: int = 0
) -> Iterator[list[Sample]]:
    """The batches of this process from a step on: `accumulate` of them make a step.

    Every picture comes once an epoch, in an order that is new in each epoch.

    Raises:
        ValueError: the batch cannot be shared among the processes.
    """
    parts = distributed.count() * recipe.accumulate
    if recipe.batch_size % parts:
        raise ValueError(
            f"a batch of {recipe.batch_size} pictures cannot be shared among {distributed.count()} "
            f"processes in {recipe.accumulate} parts each: choose a multiple of {parts}"
        )
    first = first_step * recipe.batch_size // distributed.count()
    return iter(
        DataLoader(
            Prepared(dataset, recipe, config),
            batch_size=recipe.batch_size // parts,
            sampler=Places(dataset, recipe, first),
            num_workers=recipe.workers,
            collate_fn=list,
        )
    )
