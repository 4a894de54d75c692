"""Exercises of chapter 11: groups, clipping, the rate, pictures of a step, a broken layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from minim2f.book.exercises import (
    Exercise,
    ch11_models,
    ch11_wrong,
    ch11_wrong_broken,
    ch11_wrong_runs,
    integer,
)
from minim2f.book.exercises.forbidden import watchful

# ---- 11.1 rates and decay of parameters


def rates_and_decay(owners: Sequence[tuple[str, str]], multiplier: float) -> tuple[Tensor, Tensor]:
    """The factors of rate and weight decay of each parameter.

    Args:
        owners: for each parameter, name and class of the module that it belongs to:
            ("backbone.stem", "Conv2d").
        multiplier: the factor of the backbone's rate.

    Returns:
        Two tensors (parameters,): 1 or the multiplier; 1, or 0 where there is no weight decay.
    """
    spared = {"LayerNorm", "GroupNorm", "BatchNorm2d", "Embedding"}
    rates = [multiplier if name.split(".")[0] == "backbone" else 1.0 for name, _ in owners]
    decay = [0.0 if kind in spared else 1.0 for _, kind in owners]
    return torch.tensor(rates), torch.tensor(decay)


_NAMES = ["backbone.stem", "backbone.res2.0.norm1", "backbone.res5.1.conv2", "decoder.queries"]
_NAMES += ["decoder.layers.0.norm", "decoder.layers.0.ffn.linear1", "pixel_decoder.lateral.res2"]
_NAMES += ["decoder.class_head", "pixel_decoder.output.res3"]
_KINDS = ["Conv2d", "Linear", "LayerNorm", "GroupNorm", "BatchNorm2d", "Embedding"]


def _owners(g: torch.Generator) -> tuple[list[tuple[str, str]], float]:
    def one(names: list[str]) -> str:
        return names[integer(g, 0, len(names) - 1)]

    return [(one(_NAMES), one(_KINDS)) for _ in range(integer(g, 1, 9))], integer(g, 1, 9) / 10


_TRICKY = [
    ("backbone", "Conv2d"),
    ("backbone.norm", "GroupNorm"),
    ("backbone.position", "Embedding"),
    ("decoder.normalise", "Linear"),
    ("decoder.embedding", "Linear"),
    ("decoder.level", "Embedding"),
    ("pixel_decoder.after_backbone", "Conv2d"),
    ("backbone_adapter", "Linear"),
    ("neck.backbone", "LayerNorm"),
    ("decoder.norm", "BatchNorm2d"),
]

# ---- 11.2 clip the gradient of a whole model


def clip(gradients: Sequence[Tensor | None], longest: float) -> tuple[float, list[Tensor | None]]:
    """The gradient's length, and the gradients shortened together.

    Args:
        gradients: of each parameter, of any shapes; None where a parameter was not used.
        longest: the length that the whole gradient may have.

    Returns:
        The length before; the gradients in their order, with None where there was None.
    """
    squares = [float(gradient.square().sum()) for gradient in gradients if gradient is not None]
    length = sum(squares) ** 0.5
    factor = longest / max(length, longest)
    return length, [None if gradient is None else gradient * factor for gradient in gradients]


def _gradients(g: torch.Generator) -> tuple[list[Tensor | None], float]:
    shapes = [(3,), (2, 3), (), (1, 2, 2, 2)]
    size = 10.0 ** integer(g, -2, 0)
    found: list[Tensor | None] = [
        size * torch.randn(shapes[integer(g, 0, 3)], generator=g) if integer(g, 0, 4) else None
        for _ in range(integer(g, 1, 5))
    ]
    return found, integer(g, 1, 20) / 10


_READY_MADE = "clip_grad_norm_ clip_grad_norm clip_grads_with_norm_ get_total_norm"

_CLIP_CORNERS = [
    (list(watchful(torch.tensor([3.0]), torch.tensor([[4.0]]), functions=_READY_MADE)), 2.0),
    ([torch.tensor([3.0]), None, torch.tensor([[4.0]])], 1.0),  # 3, 4, 5
    ([torch.tensor([0.3, 0.4])], 1.0),  # short enough
    ([torch.zeros(2), torch.zeros(())], 0.01),
    ([None, None], 1.0),
    ([torch.tensor([-3.0, 4.0]), torch.tensor([0.001])], 0.01),
]

# ---- 11.3 the learning rate of a step


def rate_factor(done: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate: the published steps, after a warm-up.

    Args:
        done: steps before this one; 0 at the first.
        steps: of the whole run.
        warmup: steps over which the rate grows; 0 for none.

    Returns:
        1, divided by 10 from 0.889 of the run on, once more from 0.963 on. In the warm-up it is
        multiplied by 1/(warmup + 1), 2/(warmup + 1), ... warmup/(warmup + 1).
    """
    share = done / steps
    drops = (share >= 0.889) + (share >= 0.963)
    return 0.1**drops * min(1.0, (done + 1) / (warmup + 1))


def _step(g: torch.Generator) -> tuple[int, int, int]:
    steps = 10 * integer(g, 2, 40)
    return integer(g, 0, steps - 1), steps, integer(g, 0, steps // 2)


_RATE_CORNERS = [
    (0, 1000, 0),
    (0, 1000, 9),
    (8, 1000, 9),
    (9, 1000, 9),
    (10, 1000, 9),
    (888, 1000, 9),
    (889, 1000, 9),
    (962, 1000, 0),
    (963, 1000, 0),
    (999, 1000, 0),
    (95, 100, 99),  # warm-up and drop at once
    (96, 100, 0),  # 0.963 of the run are 96.3 steps
    (98, 100, 120),
]

# ---- 11.4 the pictures of a step


def pictures_of(orders: Tensor, done: int, batch_size: int, rank: int, count: int) -> Tensor:
    """Which pictures one of several processes sees in a step.

    Args:
        orders: (epochs, pictures) int64; row e has the order of the pictures in epoch e.
        done: steps before this one; 0 at the first.
        batch_size: pictures a step, of all processes together; a multiple of count.
        rank: number of the process, from 0.
        count: number of processes.

    Returns:
        (batch_size / count,) int64: every count-th picture of the step's, from number rank on.
    """
    places = done * batch_size + torch.arange(rank, batch_size, count)
    return orders.flatten()[places]


def _run(g: torch.Generator) -> tuple[Tensor, int, int, int, int]:
    pictures, epochs = integer(g, 2, 7), integer(g, 2, 5)
    orders = torch.stack([torch.randperm(pictures, generator=g) for _ in range(epochs)])
    count = integer(g, 1, 2)
    batch_size = count * integer(g, 1, pictures * epochs // count // 2)
    step = integer(g, 0, pictures * epochs // batch_size - 1)
    return orders, step, batch_size, integer(g, 0, count - 1), count


_TWO_EPOCHS = torch.tensor([[2, 0, 1, 4, 3], [4, 3, 0, 2, 1], [1, 2, 3, 4, 0]])
_RUN_CORNERS = [
    (_TWO_EPOCHS, 0, 2, 0, 1),
    (_TWO_EPOCHS, 2, 2, 0, 1),  # one picture of the first epoch, one of the second
    (_TWO_EPOCHS, 1, 4, 1, 2),
    (_TWO_EPOCHS, 2, 4, 0, 2),
    (_TWO_EPOCHS, 0, 12, 2, 3),  # more than two epochs in one step
    (_TWO_EPOCHS, 14, 1, 0, 1),
]

# ---- 11.5 the first broken layer


def first_broken(model: nn.Module, images: Tensor) -> str:
    """The module that is the first to return a number which is NaN or infinite.

    Args:
        model: every module in it takes one tensor and returns one.
        images: what the model is called with.

    Returns:
        Its name in `named_modules`; "" if all outputs are finite.
    """
    found = []

    def look(name, module, inputs, output):
        if not output.isfinite().all():
            found.append(name)

    named = model.named_modules()
    hooks = [module.register_forward_hook(partial(look, name)) for name, module in named]
    model(images)
    for hook in hooks:
        hook.remove()
    return found[0] if found else ""


EXERCISES = [
    Exercise("11.1", rates_and_decay, _owners, ch11_wrong.GROUPS, [(_TRICKY, 0.1)]),
    Exercise("11.2", clip, _gradients, ch11_wrong.CLIP, _CLIP_CORNERS),
    Exercise("11.3", rate_factor, _step, ch11_wrong_runs.RATE, _RATE_CORNERS),
    Exercise("11.4", pictures_of, _run, ch11_wrong_runs.PICTURES, _RUN_CORNERS),
    Exercise(
        "11.5", first_broken, ch11_models.chance, ch11_wrong_broken.BROKEN, ch11_models.corners()
    ),
]
