"""What usually goes wrong in exercises 11.3 and 11.4, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong

# ---- 11.3 the learning rate of a step


def _drops(s, n):
    return (s / n >= 0.889) + (s / n >= 0.963)


def _rate(drops=_drops, growth=None, combine=None):
    growth = growth or (lambda s, w: min(1.0, (s + 1) / (w + 1)))
    combine = combine or (lambda a, b: a * b)
    return lambda done, steps, warmup: combine(0.1 ** drops(done, steps), growth(done, warmup))


def _returns_early(done, steps, warmup):
    if done < warmup:
        return (done + 1) / (warmup + 1)
    return 0.1 ** _drops(done, steps)


def _drops_after_warmup(done, steps, warmup):
    after, rest = max(done - warmup, 0), max(steps - warmup, 1)
    return _rate(drops=lambda s, n: _drops(after, rest))(done, steps, warmup)


RATE = [
    Wrong(
        _rate(growth=lambda s, w: min(1.0, s / w) if w else 1.0),
        "the first step would learn nothing: it has 1/(warmup + 1) of the rate",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w) if w else 1.0),
        "the last step of the warm-up has warmup/(warmup + 1) of the rate, not all of it",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, (s + 1) / w)),
        "`warmup` may be 0, and then nothing grows",
    ),
    Wrong(
        _rate(growth=lambda s, w: min(1.0, s / (w + 1))),
        "the first step would learn nothing: it makes done + 1 steps, so count from 1",
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
    Wrong(_rate(drops=lambda s, n: 0), "the rate should fall at 0.889 and at 0.963 of the run"),
    Wrong(
        _rate(drops=lambda s, n: (s > 0.889 * n) + (s > 0.963 * n)),
        "the step exactly at 0.889 of the run has the lower rate already",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s + 1 >= 0.889 * n) + (s + 1 >= 0.963 * n)),
        "it falls one step too early: compare the steps before this one, `done`",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s >= 0.9 * n) + (s >= 0.95 * n)),
        "0.9 and 0.95 are what the paper says; the official numbers are 0.889 and 0.963",
    ),
    Wrong(
        _rate(drops=lambda s, n: s >= 0.889 * n),
        "the rate falls twice: once more at 0.963 of the run",
    ),
    Wrong(
        _rate(drops=lambda s, n: 2 * (s >= 0.963 * n)),
        "the rate falls at 0.889 of the run already",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s >= 0.889 * n) + 2 * (s >= 0.963 * n)),
        "each time it is divided by 10: two drops make 1/100",
    ),
    Wrong(
        _returns_early,
        "a drop may come during the warm-up: then both factors are multiplied",
    ),
    Wrong(
        _drops_after_warmup,
        "the run begins with the warm-up: 0.889 and 0.963 are shares of all `steps`",
    ),
    Wrong(
        _rate(drops=lambda s, n: (s >= int(0.889 * n)) + (s >= int(0.963 * n))),
        "do not round: 0.963 of 100 steps are 96.3, so 96 steps are not enough",
    ),
    Wrong(
        _rate(combine=min),
        "where the warm-up is not over yet, the factors are multiplied",
    ),
]

# ---- 11.4 the pictures of a step


def _places(choose):
    def answer(orders, done, batch_size, rank, count):
        places = choose(done, batch_size, rank, count, orders.shape[1])
        return orders.flatten()[places]

    return answer


def _first_epoch(orders, done, batch_size, rank, count):
    places = done * batch_size + torch.arange(rank, batch_size, count)
    return orders[0, places % orders.shape[1]]


def _epoch_of_the_first(orders, done, batch_size, rank, count):
    places = done * batch_size + torch.arange(rank, batch_size, count)
    return orders[places[0] // orders.shape[1], places % orders.shape[1]]


def _bare_places(orders, done, batch_size, rank, count):
    places = done * batch_size + torch.arange(rank, batch_size, count)
    return places % orders.shape[1]


def _all_places(orders, done, batch_size, rank, count):
    return done * batch_size + torch.arange(rank, batch_size, count)


def _rest_dropped(orders, done, batch_size, rank, count):
    epoch, number = divmod(done, orders.shape[1] // batch_size)
    return orders[epoch, number * batch_size : (number + 1) * batch_size][rank::count]


def _rest_dropped_at_least_one(orders, done, batch_size, rank, count):
    epoch, number = divmod(done, max(orders.shape[1] // batch_size, 1))
    return orders[epoch, number * batch_size : (number + 1) * batch_size][rank::count]


def _by_columns(orders, done, batch_size, rank, count):
    places = done * batch_size + torch.arange(rank, batch_size, count)
    return orders.T.flatten()[places]


def _cut(orders, done, batch_size, rank, count):
    pictures, own = orders.shape[1], batch_size // count
    epoch, place = divmod(done * batch_size, pictures)
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
        "before this step, done * batch_size pictures were seen",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: s * (b // c) + torch.arange(r, b, c)),
        "a step takes the whole batch, of all processes together: done * batch_size lie before it",
    ),
    Wrong(
        _places(lambda s, b, r, c, n: torch.arange(r, b, c)),
        "every step would see the first pictures again",
    ),
    Wrong(_first_epoch, "each epoch has an order of its own: its row of `orders`"),
    Wrong(_epoch_of_the_first, "an epoch may end within the step: each picture has its own epoch"),
    Wrong(_cut, "an epoch may end within the step: the step goes on with the next one"),
    Wrong(_bare_places, "those are places in the order: look up which picture stands there"),
    Wrong(_all_places, "those are places in the run: look up which picture stands there"),
    Wrong(
        _rest_dropped,
        "no picture is left out: what remains of an epoch begins the next step, without a gap",
    ),
    Wrong(
        _rest_dropped_at_least_one,
        "no picture is left out: what remains of an epoch begins the next step, without a gap",
    ),
    Wrong(_by_columns, "a row is an epoch: the run passes through `orders` row by row"),
]
