"""When a number is NaN or infinite: which weight, picture, tensor and layer was the first?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from ..ops.strips import Strips
from ..shapes import watch
from .batches import Microbatch
from .matching import NotFinite


def require_finite(values: Mapping[str, float]) -> None:
    """Raises for the first value that is not finite.

    Raises:
        NotFinite: gives its name and the value.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise NotFinite(f"{name} is {value}")


def explain(
    error: NotFinite,
    model: nn.Module,
    parts: Sequence[Microbatch],
    losses: Callable[[Microbatch], dict[str, Tensor]],
) -> str:
    """What was not finite in a step, which tensor was the first, and what to do.

    Args:
        error: that ended the step.
        model: in the state in which the step failed.
        parts: the pictures of the step.
        losses: runs the model on a part and returns its loss terms.
    """
    found = (first_broken(model, part, partial(losses, part)) for part in parts)
    first = next(filter(None, found), None)
    first = first or "Run once more, every number was finite: the failure cannot be repeated"
    what = str(error).partition(":")[0]  # without the advice that may follow
    return (
        f"{what}, so this step was not taken. {first}. "
        "Look at these pictures and their masks, or lower the learning rate"
    )


def first_broken(
    model: nn.Module, part: Microbatch, losses: Callable[[], dict[str, Tensor]]
) -> str | None:
    """Runs a part of a step once more, and looks at every tensor on the way.

    Args:
        model: in the state in which the step failed.
        part: the pictures, their names and targets.
        losses: runs the model on this part and returns the loss terms.

    Returns:
        One sentence that names the first tensor that is not finite, the layer that made it and
        the pictures that it belongs to; None if all is finite.
    """
    names = part.names
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"The weight {name} is not finite already: an earlier step broke it"
    if not part.images.isfinite().all():
        return f"The first is the picture itself: {_pictures(part.images, names)}"
    made: list[str] = []
    gradients: list[str] = []
    # the rows of a strip may belong to several pictures
    inside = {layer for m in model.modules() if isinstance(m, Strips) for layer in m}
    hooks = [
        module.register_forward_hook(partial(_look, name or "the model", names, made, gradients))
        for name, module in model.named_modules()
        if module not in inside
    ]
    try:
        with watch() as rows:
            terms = losses()
        total = sum(terms.values())
        if total.isfinite():
            total.backward()
    except NotFinite as error:
        terms = {str(error): None}
    finally:
        for hook in hooks:
            hook.remove()
    if made:
        tensors = [row.name for row in rows if _broken(row.tensor)]
        tensor = f"; the first named tensor with it is {tensors[0]}" if tensors else ""
        return f"The first is the output of {made[0]}{tensor}"
    broken = [name for name, term in terms.items() if term is None or not term.isfinite()]
    if broken:
        return f"All of the model's outputs are finite, and {broken[0]} is not"
    if gradients:
        return f"The loss is finite; the first gradient that is not is that of {gradients[0]}"
    return None


def _look(
    name: str, names: Sequence[str], made: list, gradients: list, module: nn.Module, args, out
) -> None:
    """A forward hook: notes the module if its output, or later the gradient of it, is broken."""
    if not isinstance(out, Tensor) or not out.is_floating_point():
        return

    def behind(gradient: Tensor) -> None:
        if _broken(gradient):
            gradients.append(f"the output of {name} ({_pictures(gradient, names)})")

    if _broken(out):
        made.append(f"{name} ({_pictures(out, names)})")
    if out.requires_grad:
        out.register_hook(behind)


def _broken(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.isfinite().all())


def _pictures(tensor: Tensor, names: Sequence[str]) -> str:
    """The pictures of a batch whose part of a tensor is broken."""
    if len(tensor) != len(names):
        return "pictures " + ", ".join(names)
    parts = [name for part, name in zip(tensor, names) if _broken(part)]
    return "picture " + ", ".join(parts)
