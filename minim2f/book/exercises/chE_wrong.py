"""What usually goes wrong in exercises E.1 and E.2, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong

# ---- E.1 the time that a chain of layers cannot beat


def _times(layers, peak, bandwidth, factor=2, size=4, parts=(1, 1, 1)):
    """Seconds of computing and of moving, (layers,) each; at most one mistake in the counts."""
    rows, inputs, outputs = layers.T
    read, weights, written = parts
    numbers = read * rows * inputs + weights * inputs * outputs + written * rows * outputs
    return factor * rows * inputs * outputs / peak, size * numbers / bandwidth


def _counted(**mistake):
    """A floor whose only mistake lies in the counts."""

    def floor(layers, peak, bandwidth):
        computing, moving = _times(layers, peak, bandwidth, **mistake)
        return torch.maximum(computing, moving).sum(), moving > computing

    return floor


def _ended(seconds, waits=lambda computing, moving: moving > computing):
    """A floor whose only mistake lies in what the times of the layers become."""

    def floor(layers, peak, bandwidth):
        computing, moving = _times(layers, peak, bandwidth)
        return seconds(computing, moving), waits(computing, moving)

    return floor


def _bound(computing, moving):
    return torch.maximum(computing, moving).sum()


def _most_operations(computing, moving):
    return torch.maximum(computing, moving)[computing.argmax()]


def _rows_stay(layers, peak, bandwidth):
    computing, moving = _times(layers, peak, bandwidth)
    rows, inputs, _ = layers.T
    moving[1:] -= (4 * rows * inputs / bandwidth)[1:]
    return _bound(computing, moving), moving > computing


def _weights_for_each_row(layers, peak, bandwidth):
    rows, inputs, outputs = layers.T
    computing, _ = _times(layers, peak, bandwidth)
    moving = 4 * (rows * inputs + rows * inputs * outputs + rows * outputs) / bandwidth
    return _bound(computing, moving), moving > computing


_LARGEST = "layers run one after the other: the time of all is wanted, not of the largest alone"
FLOORS = [
    Wrong(
        _ended(lambda computing, moving: (computing + moving).sum()),
        "a processor computes while the memory delivers: the slower of the two sets the time",
    ),
    Wrong(
        _ended(lambda computing, moving: torch.minimum(computing, moving).sum()),
        "the faster of the two has to wait for the other one",
    ),
    Wrong(
        _ended(lambda computing, moving: computing.sum()),
        "the memory can be the slower one: count what moves as well",
    ),
    Wrong(
        _ended(lambda computing, moving: moving.sum()),
        "the processor can be the slower one: count the operations as well",
    ),
    Wrong(
        _ended(lambda computing, moving: torch.maximum(computing.sum(), moving.sum())),
        "layers wait for each other: each has a bound of its own, and only then do you add",
    ),
    Wrong(_ended(lambda computing, moving: torch.maximum(computing, moving).max()), _LARGEST),
    Wrong(_ended(_most_operations), _LARGEST),
    Wrong(_ended(lambda computing, moving: torch.maximum(computing.max(), moving.max())), _LARGEST),
    Wrong(_ended(torch.maximum), "the first result is one number: the time of all layers together"),
    Wrong(
        lambda layers, peak, bandwidth: _counted()(layers, bandwidth, peak),
        "operations belong to the peak, bytes to the bandwidth",
    ),
    Wrong(
        _counted(factor=1),
        "each number of a row meets each weight twice: it is multiplied, then added",
    ),
    Wrong(_counted(size=1), "bandwidth counts bytes: how many has a number in float32?"),
    Wrong(_counted(parts=(1, 0, 1)), "the weights have to be read too"),
    Wrong(_counted(parts=(1, 1, 0)), "the result has to be written too"),
    Wrong(_counted(parts=(0, 1, 1)), "the rows have to be read too"),
    Wrong(
        _rows_stay,
        "every layer reads its rows, also those that the layer before it has just written: "
        "nothing stays near the processor from one layer to the next",
    ),
    Wrong(
        _weights_for_each_row,
        "while a layer runs, its weights serve all rows: they are read once, not once a row",
    ),
    Wrong(
        lambda layers, peak, bandwidth: _counted()(layers, peak, bandwidth)[0],
        "the seconds are right; the second result says for each layer: does it wait for memory?",
    ),
    Wrong(
        lambda layers, peak, bandwidth: _counted()(layers, peak, bandwidth)[::-1],
        "both results are right, in the wrong order: seconds first",
    ),
    Wrong(
        _ended(_bound, lambda computing, moving: computing > moving),
        "the seconds are right; True means memory, and here it says processor",
    ),
    Wrong(
        _ended(_bound, lambda computing, moving: moving >= computing),
        "the seconds are right; where both take equally long, the answer is False",
    ),
    Wrong(
        _ended(_bound, lambda computing, moving: moving.sum() > computing.sum()),
        "the seconds are right; the second result has a value for each layer, not for the chain",
    ),
]


# ---- E.2 two orders of linear steps


def _orders(
    product=2,
    read=8,
    drawn=lambda n, c: n,
    sampled=lambda n, c: c,
    read_at=lambda pixels, points: (points, points),
    product_at=lambda pixels, points: (pixels, points),
):
    """Two counts with one mistake: in a product, in a read, or in how much is read and where."""

    def mistake(queries, channels, pixels, points):
        one = product * queries * channels
        read_in, met_in = read_at(pixels, points), product_at(pixels, points)
        maps = drawn(queries, channels), sampled(queries, channels)
        return tuple(one * met_in[n] + read * maps[n] * read_in[n] for n in (0, 1))

    return mistake


_ALL_READ = "no order reads all pixels: masks and F_pixel are read at the points alone"
ORDERS = [
    Wrong(
        lambda *sizes: _orders()(*sizes)[::-1],
        "which of the two comes first? Drawing is to be the first number",
    ),
    Wrong(_orders(product=1), "a product multiplies and adds: two operations for each pair"),
    Wrong(_orders(read=0), "reading is no free step: 8 operations for each number that is read"),
    Wrong(_orders(read=1), "a bilinear read is made of four neighbours: 8 operations"),
    Wrong(_orders(read=4), "a bilinear read multiplies four neighbours, and adds them: 8, not 4"),
    Wrong(
        _orders(drawn=lambda n, c: 1, sampled=lambda n, c: 1),
        "8 operations for each number, not for each point: how many numbers are read at a point?",
    ),
    Wrong(
        _orders(drawn=lambda n, c: c, sampled=lambda n, c: n),
        "the two reads are exchanged: drawn masks have N numbers at a point, F_pixel has C",
    ),
    Wrong(
        _orders(sampled=lambda n, c: n),
        "sampling first, there are no masks yet: how many numbers has a point of F_pixel?",
    ),
    Wrong(
        _orders(drawn=lambda n, c: c),
        "drawn first, masks are read and no channels: how many masks are there?",
    ),
    Wrong(_orders(read_at=lambda pixels, points: (pixels, pixels)), _ALL_READ),
    Wrong(_orders(read_at=lambda pixels, points: (pixels, points)), _ALL_READ),
    Wrong(_orders(read_at=lambda pixels, points: (points, pixels)), _ALL_READ),
    Wrong(
        _orders(product_at=lambda pixels, points: (pixels, pixels)),
        "sampled first, the product meets the points alone, and no other pixel",
    ),
    Wrong(
        _orders(product_at=lambda pixels, points: (points, points)),
        "drawn first, the product meets every pixel: a mask is drawn as a whole",
    ),
]
