"""What usually goes wrong in exercises 11.1 and 11.2, each mistake with its hint."""

from __future__ import annotations

import math

import torch

from minim2f.book.exercises import Wrong

# ---- 11.1 rates and decay of parameters

_SPARED = ("LayerNorm", "GroupNorm", "BatchNorm2d", "Embedding")


def _of_backbone(name, kind):
    return name.split(".")[0] == "backbone"


def _spared(name, kind):
    return kind in _SPARED


def _groups(slow=_of_backbone, spared=_spared, swapped=False):
    def answer(owners, multiplier):
        rates = torch.tensor([multiplier if slow(*owner) else 1.0 for owner in owners])
        decay = torch.tensor([0.0 if spared(*owner) else 1.0 for owner in owners])
        return (decay, rates) if swapped else (rates, decay)

    return answer


def _fixed_tenth(owners, multiplier):
    return _groups()(owners, 0.1)


GROUPS = [
    Wrong(
        _groups(spared=lambda name, kind: "norm" in name or kind in _SPARED),
        "go by the class: a Linear may be called what it likes",
    ),
    Wrong(
        _groups(spared=lambda name, kind: "norm" in name or "embed" in name),
        "a name says little: whether it decays depends on the module's class",
    ),
    Wrong(
        _groups(spared=lambda name, kind: kind in _SPARED[:3]),
        "embeddings have no weight decay either",
    ),
    Wrong(
        _groups(spared=lambda name, kind: kind in (_SPARED[0], _SPARED[3])),
        "there are three kinds of norms, and none of them decays",
    ),
    Wrong(
        _groups(spared=lambda name, kind: kind == "Embedding"),
        "norms have no weight decay either",
    ),
    Wrong(
        _groups(spared=lambda *owner: _spared(*owner) and not _of_backbone(*owner)),
        "the backbone's own norms do not decay either",
    ),
    Wrong(
        _groups(spared=lambda *owner: _spared(*owner) or _of_backbone(*owner)),
        "the backbone's convolutions learn slowly, and do decay",
    ),
    Wrong(
        _groups(spared=lambda *owner: not _spared(*owner)),
        "the decay is the wrong way round: norms and embeddings have 0",
    ),
    Wrong(
        _groups(slow=lambda name, kind: "backbone" in name),
        "only what lies inside of `backbone` is slow, not what mentions it in its name",
    ),
    Wrong(
        _groups(slow=lambda name, kind: name.startswith("backbone")),
        "`backbone_adapter` begins like `backbone`, and is another module",
    ),
    Wrong(
        _groups(slow=lambda name, kind: name.startswith("backbone.")),
        "a parameter may belong to the module `backbone` itself",
    ),
    Wrong(
        _groups(slow=lambda name, kind: "backbone" in name.split(".")),
        "`neck.backbone` is a part of the neck: only the outermost name counts",
    ),
    Wrong(
        _groups(slow=lambda *owner: not _of_backbone(*owner)),
        "the rates are the wrong way round: the backbone is the slow part",
    ),
    Wrong(_groups(swapped=True), "first the rates, then the decay"),
    Wrong(_fixed_tenth, "the multiplier is an argument, and need not be 0.1"),
]

# ---- 11.2 clip the gradient of a whole model


def _length(gradients):
    return math.sqrt(sum(g.square().sum().item() for g in gradients if g is not None))


def _clipped(
    measure=_length, factor=lambda length, longest: min(1.0, longest / length if length else 1.0)
):
    def answer(gradients, longest):
        length = measure(gradients)
        by = factor(length, longest)
        return length, [None if g is None else g * by for g in gradients]

    return answer


def _each_alone(gradients, longest):
    out = [
        g if g is None else g * min(1.0, longest / max(g.norm().item(), 1e-12)) for g in gradients
    ]
    return _length(gradients), out


def _each_number(gradients, longest):
    out = [g if g is None else g.clamp(-longest, longest) for g in gradients]
    return _length(gradients), out


def _after(gradients, longest):
    length, out = _clipped()(gradients, longest)
    return min(length, longest), out


def _returns_square(gradients, longest):
    length, out = _clipped()(gradients, longest)
    return length**2, out


def _mean_of_lengths(gradients):
    there = [g.norm().item() for g in gradients if g is not None]
    return sum(there) / max(len(there), 1)


def _without_none(gradients, longest):
    return _clipped()([g for g in gradients if g is not None], longest)


def _zeros_for_none(gradients, longest):
    length, out = _clipped()(gradients, longest)
    return length, [torch.zeros(()) if g is None else g for g in out]


def _none_unseen(gradients, longest):
    length = math.sqrt(sum(g.square().sum().item() for g in gradients))
    return length, [g * min(1.0, longest / length) for g in gradients]


def _unchanged(gradients, longest):
    return _length(gradients), list(gradients)


def _sum_of_lengths(gradients):
    return sum(g.norm().item() for g in gradients if g is not None)


def _squared(gradients):
    return _length(gradients) ** 2


def _largest(gradients):
    return max((g.abs().max().item() for g in gradients if g is not None), default=0.0)


def _sum_of_sizes(gradients):
    return sum(g.abs().sum().item() for g in gradients if g is not None)


def _root_mean_square(gradients):
    numbers = sum(g.numel() for g in gradients if g is not None)
    return _length(gradients) / math.sqrt(max(numbers, 1))


CLIP = [
    Wrong(_each_alone, "one length for the whole model: clipped one by one, they change direction"),
    Wrong(_each_number, "that clips each number; shorten the whole gradient, in its direction"),
    Wrong(
        _clipped(factor=lambda length, longest: longest / length if length else 1.0),
        "a gradient that is short enough stays as it is",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: longest / length),
        "short gradients stay as they are, and 0 has no direction: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: min(1.0, longest / length)),
        "a gradient of nothing but zeros has length 0: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: torch.tensor(longest) / length),
        "short gradients stay as they are, and 0 has no direction: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: min(1.0, length / longest)),
        "the factor is the wrong way round: what is ten times too long is divided by ten",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: longest if length > longest else 1.0),
        "multiplied by `longest` it has another length still: divide by its own length too",
    ),
    Wrong(
        _clipped(factor=lambda length, longest: 1 / length if length > longest else 1.0),
        "divided by its length it has length 1: `longest` is wanted",
    ),
    Wrong(_after, "return the length before it was clipped: that is the one worth logging"),
    Wrong(_unchanged, "the length is right; the gradients are still to be shortened"),
    Wrong(_without_none, "keep the order: where there was None, return None"),
    Wrong(_zeros_for_none, "where there was None, return None: AdamW leaves such weights alone"),
    Wrong(_none_unseen, "a gradient may be None: such a parameter took no part"),
    Wrong(_clipped(_sum_of_lengths), "lengths do not add: the root of the sum of all squares does"),
    Wrong(_clipped(_squared), "that is the length squared: a root is missing"),
    Wrong(_returns_square, "you return the length squared: take the root"),
    Wrong(_clipped(_mean_of_lengths), "no mean of lengths: the root of the sum of all squares"),
    Wrong(_clipped(_largest), "that is the largest number; the length is the root of all squares"),
    Wrong(_clipped(_sum_of_sizes), "that adds sizes; the length is the root of the sum of squares"),
    Wrong(_clipped(_root_mean_square), "a mean square: the length takes the sum of all squares"),
]
