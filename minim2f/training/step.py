"""One step: a batch of pictures goes in, and the weights move."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..data.sample import Sample
from ..model.mask2former import Mask2Former
from . import distributed
from .batches import collate, seed_of
from .find_nan import first_guilty
from .losses import Criterion, divisors
from .matching import NotFinite
from .recipe import TrainConfig, optimizer


class Trainer:
    """A model and its optimiser, which take one step after the other.

    Args:
        model: trained in place.
        recipe: all numbers.
    """

    def __init__(self, model: Mask2Former, recipe: TrainConfig) -> None:
        self.model, self.recipe, self.device = model, recipe, model.mean.device
        self.replica = distributed.parallel(model)
        self.criterion = Criterion(model.config)
        self.adam = optimizer(model, recipe)
        self.rates = [group["lr"] for group in self.adam.param_groups]
        self.points = torch.Generator(self.device)
        # half precision loses small gradients, unless the loss is scaled up before
        half = recipe.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)

    def step(
        self, number: int, batch: list[list[Sample]], stop: bool = False
    ) -> tuple[dict[str, float], bool]:
        """One optimiser step.

        Args:
            number: of the step; 0 is the first. Rates and random numbers follow from it.
            batch: this process's pictures, in `accumulate` parts.
            stop: this process wants to stop.

        Returns:
            Every loss term, their sum "loss", the gradient's length "norm" and the rate "lr"; and
            whether any process wants to stop.

        Raises:
            NotFinite: a loss or a gradient is NaN or infinite; no weight has moved.
        """
        factor = self.recipe.rate(number)
        for group, rate in zip(self.adam.param_groups, self.rates):
            group["lr"] = rate * factor
        self.model.train()
        self.adam.zero_grad()
        parts = [Part(self, number, n, samples) for n, samples in enumerate(batch)]
        own = [divisors(part.targets, self.model.config) for part in parts]
        mean = [sum(values) / len(parts) for values in zip(*own)]
        *divide_by, stop_share = distributed.average([*mean, float(stop)], self.device)
        divide_by[0] = max(1.0, divide_by[0])
        totals: Counter = Counter()
        for part in parts:
            last = part is parts[-1]  # gradients travel between processes once a step
            with nullcontext() if last or distributed.count() == 1 else self.replica.no_sync():
                totals.update(part.backward(divide_by, share=1 / len(parts)))
        self.scaler.unscale_(self.adam)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm).item()
        # float16 may run over while its scaler looks for a scale; without float16 that is 1
        if not math.isfinite(norm) and self.scaler.get_scale() <= 1:
            raise not_finite("the gradient's length", norm, parts, divide_by)
        self.scaler.step(self.adam)  # takes no step if scaled gradients ran over
        self.scaler.update()
        told = dict(zip(totals, distributed.average(list(totals.values()), self.device)))
        told |= {"loss": sum(told.values()), "norm": norm, "lr": self.rates[-1] * factor}
        return told, stop_share > 0


class Part:
    """The pictures that pass through the model together: a step's, or some of them."""

    def __init__(self, trainer: Trainer, number: int, place: int, samples: list[Sample]) -> None:
        self.trainer, self.number, self.samples = trainer, number, samples
        self.images, self.targets = collate(trainer.model, samples)
        self.seed = seed_of(trainer.recipe.seed, "step", number, place, distributed.rank())

    def losses(self, model: nn.Module, divide_by: list[float]) -> dict[str, Tensor]:
        """The loss terms; twice the same, if asked twice."""
        trainer, kind = self.trainer, getattr(torch, self.trainer.recipe.precision)
        torch.manual_seed(self.seed)  # of dropout
        trainer.points.manual_seed(self.seed)
        with torch.autocast(trainer.device.type, kind, enabled=kind != torch.float32):
            prediction = model(self.images)
            return trainer.criterion(prediction, self.targets, trainer.points, *divide_by)

    def backward(self, divide_by: list[float], share: float) -> dict[str, float]:
        """Adds this part's gradient, and returns its loss terms, both times its share."""
        try:
            terms = self.losses(self.trainer.replica, divide_by)
        except NotFinite:
            raise not_finite("the matching cost", math.nan, [self], divide_by) from None
        self.trainer.scaler.scale(sum(terms.values()) * share).backward()
        values = (torch.stack(list(terms.values())).detach() * share).tolist()  # one transfer
        for name, value in zip(terms, values):
            if not math.isfinite(value):
                raise not_finite(name, value, [self], divide_by)
        return dict(zip(terms, values))

    def guilty(self, divide_by: list[float]) -> str | None:
        """What was the first to break in this part, if anything."""
        model, names = self.trainer.model, [sample.file_name for sample in self.samples]
        return first_guilty(model, self.images, names, lambda: self.losses(model, divide_by))


def not_finite(what: str, value: float, parts: list[Part], divide_by: list[float]) -> NotFinite:
    """The error that says what broke, and what was the first to."""
    found = next(filter(None, (part.guilty(divide_by) for part in parts)), None)
    found = found or "Run once more, every number was finite: the failure cannot be repeated"
    parts[0].trainer.adam.zero_grad()
    return NotFinite(
        f"step {parts[0].number + 1}: {what} is {value}, so this step was not taken. {found}. "
        "Look at these pictures and their masks, or lower the learning rate"
    )
