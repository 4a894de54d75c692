"""How a model is trained: optimiser groups, schedule, and all numbers in one dataclass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class TrainConfig:
    """The published COCO recipe, unless changed (official configs; paper 4.1).

    Attributes:
        steps: optimiser steps; 368,750 are 50 epochs of COCO in batches of 16.
        batch_size: pictures a step.
        learning_rate: of AdamW.
        weight_decay: of AdamW; norms and embeddings have none.
        backbone_multiplier: the backbone learns at this fraction of the rate.
        clip_norm: the gradient of the whole model is shortened to this length.
        warmup: steps over which the rate grows from nearly 0.
        schedule: "step" divides the rate by 10 at 0.889 and 0.963 of the run; "poly" lets it fall
            as (1 - t/T)^0.9.
        flip: probability of a horizontal flip.
        seed: of the order of pictures, the flips and the points of the losses.
    """

    steps: int = 368_750
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    backbone_multiplier: float = 0.1
    clip_norm: float = 0.01
    warmup: int = 0
    schedule: str = "step"
    flip: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"steps = {self.steps} and batch_size = {self.batch_size} must be >= 1"
            )
        if self.schedule not in ("step", "poly"):
            raise ValueError(f"schedule is {self.schedule!r}; there are 'step' and 'poly'")

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step (0 is the first one)."""
        done = step / self.steps
        if self.schedule == "poly":
            factor = (1 - done) ** 0.9
        else:
            factor = 0.1 ** ((done >= 0.889) + (done >= 0.963))
        return factor * min(1.0, (step + 1) / (self.warmup + 1))


# From random weights on small pictures: every part learns at one and the same, higher rate; a short
# run wants a warm-up and a smooth fall; clipping at 0.01 was made for a pretrained backbone.
TINY = TrainConfig(
    steps=1500,
    batch_size=8,
    learning_rate=8e-4,
    backbone_multiplier=1.0,
    clip_norm=1.0,
    warmup=50,
    schedule="poly",
)


def optimizer(model: nn.Module, recipe: TrainConfig) -> torch.optim.AdamW:
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
    return torch.optim.AdamW(
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
