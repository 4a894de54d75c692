"""When a number is NaN or infinite: which weight, picture, tensor and layer was the first?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from ..ops.strips import Strips
from ..shapes import watch
from .matching import NotFinite


def first_guilty(
    model: nn.Module, images: Tensor, names: Sequence[str], losses: Callable[[], dict[str, Tensor]]
) -> str | None:
    """Runs the step once more and looks at everything on the way.

    Args:
        model: in the state in which the step failed.
        images: (B, 3, H, W), what it was given.
        names: of the B pictures.
        losses: runs the model on `images` and returns the loss terms.

    Returns:
        One sentence that names the first tensor that is not finite, the layer that made it and
        the pictures that it belongs to; None if all is finite.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"The weight {name} is not finite already: an earlier step broke it"
    if not images.isfinite().all():
        return f"The first is the picture itself: {_pictures(images, names)}"
    made: list[str] = []
    gradients: list[str] = []
    # inside of strips nobody knows which rows are whose
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
