"""Small models for exercise 11.5, most of them with something broken inside."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from minim2f.book.exercises import integer


class Chain(nn.Sequential):
    """Layers one after the other. A copy is equal unless weights were changed, or hooks added.

    The checker copies its inputs and compares them afterwards; modules by themselves would all
    differ from their copies.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and _parts(self) == _parts(other)

    __hash__ = nn.Module.__hash__


class Backwards(Chain):
    """The layer that is registered last is called first."""

    def forward(self, x: Tensor) -> Tensor:
        """From the last layer to the first."""
        for layer in reversed(self):
            x = layer(x)
        return x


def _parts(model: nn.Module) -> list:
    """All that tells two models apart, in Python's own types."""
    hooks = [len(module._forward_hooks) for module in model.modules()]
    weights = [str(weight.tolist()) for weight in model.parameters()]  # "nan" equals "nan"
    return [hooks, weights]


def _linear(g: torch.Generator, weight: float | None = None, bias: float = 0.0) -> nn.Linear:
    """A layer of 3 x 3 random weights; one of them, and one number of the bias, can be given."""
    layer = nn.utils.skip_init(nn.Linear, 3, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 3, generator=g))
        layer.bias.zero_()
        layer.bias[1] = bias
        if weight is not None:
            layer.weight[0, 2] = weight
    return layer


def _model(*layers: nn.Module, kind: type[Chain] = Chain) -> Chain:
    """The first layer is called stem, the last one head, those between are in a body."""
    stem, *body, head = layers
    model = kind()
    for name, module in {"stem": stem, "body": nn.Sequential(*body), "head": head}.items():
        model.add_module(name, module)
    return model


def _images(g: torch.Generator) -> Tensor:
    return torch.rand(2, 3, generator=g) + 0.1


def chance(g: torch.Generator) -> tuple[Chain, Tensor]:
    """A model of five to nine layers with one broken weight, or none, and two "images"."""
    layers: list[nn.Module] = []
    count, bad = integer(g, 3, 5), integer(g, 0, 6)
    broken = (math.nan, math.inf, -math.inf)[integer(g, 0, 2)]
    for n in range(count):
        layers += [_linear(g, bias=broken if n == bad else 0.0)]
        layers += [(nn.Sigmoid(), nn.Tanh(), nn.ReLU())[integer(g, 0, 2)]] if n < count - 1 else []
    return _model(*layers), _images(g)


def corners() -> list[tuple[Chain, Tensor]]:
    """What chance seldom makes: see the comments."""
    g = torch.Generator().manual_seed(0)

    def lin(*numbers: float) -> nn.Linear:
        return _linear(g, *numbers)

    one_sick = _images(g)
    one_sick[1, 2] = math.nan
    return [
        (_model(lin(), nn.ReLU(), lin(), lin(), lin()), _images(g)),  # nothing broken
        (_model(lin(), lin(), lin(None, math.nan), lin(), lin()), _images(g)),
        (_model(lin(), lin(), lin(None, math.inf), nn.Sigmoid(), lin()), _images(g)),  # finite end
        # ReLU makes 0 of minus infinity
        (_model(lin(), lin(None, -math.inf), nn.ReLU(), lin(), lin()), _images(g)),
        (_model(lin(), lin(), lin()), one_sick),  # the second picture only
        # weights that are finite, until two of them are multiplied
        (_model(lin(1e30), lin(1e30), nn.ReLU(), lin(1e30), lin()), _images(g)),
        (_model(lin(None, math.nan), lin(), nn.ReLU(), lin(), kind=Backwards), _images(g)),
        (_model(lin(), lin(), nn.ReLU(), lin(None, math.nan), kind=Backwards), _images(g)),
        (_model(lin(None, math.nan), lin(None, math.nan), lin()), _images(g)),
        # a body within a body
        (_model(lin(), lin(), nn.Sequential(lin(), lin(None, math.nan)), lin()), _images(g)),
    ]
