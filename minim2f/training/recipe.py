"""How a model is trained: all numbers in one dataclass, and the optimiser's parameter groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

CHOICES = {
    "schedule": ("step", "poly"),
    "jitter": ("large-scale", "shortest-edge", "none"),
    "precision": ("float32", "bfloat16", "float16"),
}


@dataclass(frozen=True)
class TrainConfig:
    """The published COCO recipe, unless changed (official configs; paper 4.1).

    Attributes:
        steps: optimiser steps; 368,750 are 50 epochs of COCO in batches of 16.
        batch_size: pictures a step, of all processes together.
        accumulate: a step's pictures pass in this many parts, one after the other: slower, less
            memory, the same gradient.
        learning_rate: of AdamW.
        weight_decay: of AdamW; norms and embeddings have none.
        backbone_multiplier: the backbone learns at this fraction of the rate.
        clip_norm: the gradient of the whole model is shortened to this length.
        warmup: steps over which the rate grows from nearly 0.
        schedule: "step" divides the rate by 10 at 0.889 and 0.963 of the run; "poly" lets it fall
            as (1 - t/T)^0.9.
        jitter: "large-scale": a size of 0.1 to 2 times `crop`, then a square of `crop` pixels cut
            out or padded; "shortest-edge": the same with 0.5 to 2 times for the shortest edge;
            "none": pictures at the size at which the model sees them later.
        crop: side of the square, in pixels.
        color: jitter brightness, contrast, saturation and hue, as for semantic data sets.
        flip: probability of a horizontal flip.
        precision: "float32"; or "bfloat16" or "float16" for what autocast deems safe. The published
            runs used float16, which needs a GPU to be fast.
        seed: of the order of pictures, their changes, the points of the losses and dropout.
        workers: processes that prepare pictures; results do not depend on it.
        save_every: steps between two checkpoints, where a run has a folder; a kill or a power cut
            costs the steps since the last one, Ctrl-C none.
        evaluate_every: steps between two evaluations, where there are pictures for it.
    """

    steps: int = 368_750
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    backbone_multiplier: float = 0.1
    clip_norm: float = 0.01
    warmup: int = 0
    schedule: str = "step"
    jitter: str = "large-scale"
    crop: int = 1024
    color: bool = False
    flip: float = 0.5
    precision: str = "float32"
    seed: int = 0
    workers: int = 0
    save_every: int = 5000
    evaluate_every: int = 5000

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "crop", "save_every", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be cut into accumulate = "
                f"{self.accumulate} equal parts"
            )
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; there are {', '.join(map(repr, known))}"
                )

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step (0 is the first one)."""
        done = step / self.steps
        if self.schedule == "poly":
            factor = (1 - done) ** 0.9
        else:
            factor = 0.1 ** ((done >= 0.889) + (done >= 0.963))
        return factor * min(1.0, (step + 1) / (self.warmup + 1))


# The published recipe of a semantic data set, ADE20K.
SEMANTIC = TrainConfig(steps=160_000, schedule="poly", jitter="shortest-edge", crop=512, color=True)

# How `tiny` deviates from the published recipe, and why.
TINY = TrainConfig(
    steps=1500,  # minutes on a laptop
    batch_size=8,  # more steps in these minutes
    learning_rate=3e-3,  # from random weights, a small network learns faster at a higher rate;
    backbone_multiplier=1.0,  # its backbone too, which has nothing yet that is worth keeping
    clip_norm=1.0,  # 0.01 was made for a pretrained backbone
    warmup=50,  # Adam's first estimates are poor, and the rate is high
    schedule="poly",  # a short run wants a smooth fall
    jitter="none",  # things in drawn scenes come in all sizes already
    save_every=250,  # half a minute's work is the most that a kill can cost
    evaluate_every=500,  # and a short run is looked at more often
)


def make_optimizer(model: nn.Module, recipe: TrainConfig) -> torch.optim.AdamW:
    """AdamW with the official parameter groups.

    Args:
        model: parameters of its `backbone` learn at `backbone_multiplier` of the rate; those of
            norm layers and embeddings, and tables of relative positions, get no weight decay.
        recipe: the numbers.
    """
    no_decay = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.Embedding)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            backbone = module_name.startswith("backbone")
            decays = not isinstance(module, no_decay) and "relative_position_bias" not in name
            groups.setdefault((backbone, decays), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (recipe.backbone_multiplier if backbone else 1),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (backbone, decays), parameters in groups.items()
        ],
        fused=True,  # one pass over the weights instead of a dozen
    )
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # the rate of each step is a fraction of it
    return optimizer
