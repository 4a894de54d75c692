"""What usually goes wrong in the exercises of chapter 11, each mistake with its hint."""

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


def _clipped(measure=_length, factor=lambda length, c: min(1.0, c / length if length else 1.0)):
    def answer(gradients, longest):
        length = measure(gradients)
        by = factor(length, longest)
        return length, [None if g is None else g * by for g in gradients]

    return answer


def _each_alone(gradients, longest):
    out = [g if g is None else g * min(1.0, longest / max(g.norm().item(), 1e-12)) for g in gradients]
    return _length(gradients), out


def _each_number(gradients, longest):
    out = [g if g is None else g.clamp(-longest, longest) for g in gradients]
    return _length(gradients), out


def _after(gradients, longest):
    length, out = _clipped()(gradients, longest)
    return min(length, longest), out


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
        _clipped(factor=lambda length, c: c / length if length else 1.0),
        "a gradient that is short enough stays as it is",
    ),
    Wrong(
        _clipped(factor=lambda length, c: c / length),
        "short gradients stay as they are, and 0 has no direction: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, c: min(1.0, c / length)),
        "a gradient of nothing but zeros has length 0: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, c: torch.tensor(c) / length),
        "short gradients stay as they are, and 0 has no direction: do not divide by it",
    ),
    Wrong(
        _clipped(factor=lambda length, c: min(1.0, length / c)),
        "the factor is the wrong way round: what is ten times too long is divided by ten",
    ),
    Wrong(
        _clipped(factor=lambda length, c: c if length > c else 1.0),
        "multiplied by c it need not have length c: divide by its own length too",
    ),
    Wrong(
        _clipped(factor=lambda length, c: 1 / length if length > c else 1.0),
        "divided by its length it has length 1: c is wanted",
    ),
    Wrong(_after, "return the length before it was clipped: that is the one worth logging"),
    Wrong(_unchanged, "the length is right; the gradients are still to be shortened"),
    Wrong(_without_none, "keep the order: where there was None, return None"),
    Wrong(_zeros_for_none, "where there was None, return None: AdamW leaves such weights alone"),
    Wrong(_none_unseen, "a gradient may be None: such a parameter took no part"),
    Wrong(_clipped(_sum_of_lengths), "lengths do not add: the root of the sum of all squares does"),
    Wrong(_clipped(_squared), "that is the length squared: a root is missing"),
    Wrong(_clipped(_largest), "that is the largest number; the length is the root of all squares"),
    Wrong(_clipped(_sum_of_sizes), "that adds sizes; the length is the root of the sum of squares"),
    Wrong(_clipped(_root_mean_square), "a mean square: the length takes the sum of all squares"),
]

# ---- 11.3 the learning rate of a step


def _rate(drops=lambda s, n: (s >= 0.889 * n) + (s >= 0.963 * n), growth=None, combine=None):
    growth = growth or (lambda s, w: min(1.0, (s + 1) / (w + 1)))
    combine = combine or (lambda a, b: a * b)
    return lambda step, steps, warmup: combine(0.1 ** drops(step, steps), growth(step, warmup))


RATE = [
    Wrong(
        _rate(growth=lambda s, w: min(1.0, s / w) if w else 1.0),
        "step 0 would learn nothing: it has 1/(W+1) of the rate",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w) if w else 1.0),
        "step W-1 has W/(W+1) of the rate, and only step W all of it",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w)),
        "W may be 0, and then nothing grows",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, s / (w + 1))),
        "step 0 would learn nothing: count the steps that will be done, step + 1",
    ),
    Wrong(
        _rate(growth=lambda s, w: (s + 1) / (w + 1)),
        "after the warm-up the rate stays at 1: it does not go on growing",
    ),
    Wrong(_rate(growth=lambda s, w: 1.0), "the warm-up is missing"),
    Wrong(
        _rate(growth=lambda s, w: 0.0 if s < w else 1.0),
        "the rate should grow during the warm-up, step by step",
    ),
    Wrong(_rate(drops=lambda s, n: 0), "the rate should fall at 0.889 T and at 0.963 T"),
    Wrong(
        _rate(drops=lambda s, n: (s > 0.889 * n) + (s > 0.963 * n)),
        "the step at 0.889 T has the lower rate already",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s + 1 >= 0.889 * n) + (s + 1 >= 0.963 * n)),
        "it falls one step too early: step 0.889 T is the first with the lower rate",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s >= 0.9 * n) + (s >= 0.95 * n)),
        "0.9 and 0.95 are what the paper says; the official numbers are 0.889 and 0.963",
    ),
    Wrong(
        _rate(drops=lambda s, n: s >= 0.889 * n),
        "the rate falls twice: once more at 0.963 T",
    ),
    Wrong(
        _rate(drops=lambda s, n: 2 * (s >= 0.963 * n)),
        "the rate falls at 0.889 T already",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s >= 0.889 * n) + 2 * (s >= 0.963 * n)),
        "each time it is divided by 10: two drops make 1/100",
    ),
    Wrong(
        _rate(combine=min),
        "where the warm-up is not over yet, the factors are multiplied",
    ),
]

# ---- 11.4 the pictures of a step


def _places(choose):
    def answer(orders, step, batch_size, rank, count):
        places = choose(step, batch_size, rank, count, orders.shape[1])
        return orders.flatten()[places]

    return answer


def _first_epoch(orders, step, batch_size, rank, count):
    places = step * batch_size + torch.arange(rank, batch_size, count)
    return orders[0, places % orders.shape[1]]


def _epoch_of_the_first(orders, step, batch_size, rank, count):
    places = step * batch_size + torch.arange(rank, batch_size, count)
    return orders[places[0] // orders.shape[1], places % orders.shape[1]]


def _bare_places(orders, step, batch_size, rank, count):
    places = step * batch_size + torch.arange(rank, batch_size, count)
    return places % orders.shape[1]


def _by_columns(orders, step, batch_size, rank, count):
    places = step * batch_size + torch.arange(rank, batch_size, count)
    return orders.T.flatten()[places]


def _cut(orders, step, batch_size, rank, count):
    pictures, own = orders.shape[1], batch_size // count
    epoch, place = divmod(step * batch_size, pictures)
    return orders[epoch, place:][rank:][::count][:own]


PICTURES = [
    Wrong(
        _places(lambda s, b, r, c, n: s * b + torch.arange(b)),
        "those are the pictures of all processes: each takes its share",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: s * b + r * (b // c) + torch.arange(b // c)),
        "that is a block for each process: every count-th picture is wanted",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: s * b + torch.arange(0, b, c)),
        "all processes would see the same pictures: begin at number rank",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: s + torch.arange(r, b, c)),
        "before this step, step * batch_size pictures were seen",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: s * (b // c) + torch.arange(r, b, c)),
        "a step takes the whole batch, of all processes together: step * batch_size lie before it",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: torch.arange(r, b, c)),
        "every step would see the first pictures again",
    ),
    Wrong(_first_epoch, "each epoch has an order of its own: its row of `orders`"),
    Wrong(_epoch_of_the_first, "an epoch may end within the step: each picture has its own epoch"),
    Wrong(_cut, "an epoch may end within the step: the step goes on with the next one"),
    Wrong(_bare_places, "those are places in the order: look up which picture stands there"),
    Wrong(_by_columns, "a row is an epoch: the run passes through `orders` row by row"),
]
