"""What usually goes wrong in exercises 11.3 and 11.4, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong

# ---- 11.3 the learning rate of a step


def _rate(drops=lambda s, n: (s >= 0.889 * n) + (s >= 0.963 * n), growth=None, combine=None):
    growth = growth or (lambda s, w: min(1.0, (s + 1) / (w + 1)))
    combine = combine or (lambda a, b: a * b)
    return lambda step, steps, warmup: combine(0.1 ** drops(step, steps), growth(step, warmup))


RATE = [
    Wrong(
        _rate(growth=lambda s, w: min(1.0, s / w) if w else 1.0),
        "step 0 would learn nothing: it has 1/(U+1) of the rate",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w) if w else 1.0),
        "step U-1 has U/(U+1) of the rate, and only step U all of it",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w)),
        "U may be 0, and then nothing grows",
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
