"""What usually goes wrong in exercise 6.2, where each cell is, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _waves(
    size,
    n,
    start=1,
    turn=2 * torch.pi,
    steps=lambda size: size,
    base=10000.0,
    power=lambda i, n: 2 * (i // 2) / n,
    blocks=False,
):
    """Sines and cosines of one axis, (n, size), with some mistake in them."""
    i = torch.arange(n)
    angle = (torch.arange(size) + start) / steps(size) * turn / base ** power(i, n)[:, None]
    if blocks:
        return torch.cat([angle[0::2].sin(), angle[1::2].cos()])
    return torch.where(i[:, None] % 2 == 0, angle.sin(), angle.cos())


def _position(order="yx", share=2, **mistake):
    """The exercise with other waves, or with the halves in another order."""

    def answer(channels, height, width):
        n = channels // share
        y = _waves(height, n, **mistake)[:, :, None].expand(-1, height, width)
        x = _waves(width, n, **mistake)[:, None].expand(-1, height, width)
        return torch.cat({"yx": [y, x], "xy": [x, y]}[order])

    return answer


def _cosine_first(channels, height, width):
    found = _position()(channels, height, width).unflatten(0, (-1, 2))
    return found.flip(1).flatten(0, 1)


def _sines_only(channels, height, width):
    n = channels // 2
    slowness = 10000 ** (2 * (torch.arange(n) // 2) / n)
    y = ((torch.arange(height) + 1) / height * 2 * torch.pi / slowness[:, None]).sin()
    x = ((torch.arange(width) + 1) / width * 2 * torch.pi / slowness[:, None]).sin()
    shape = n, height, width
    return torch.cat([y[:, :, None].expand(shape), x[:, None].expand(shape)])


def _interleaved(channels, height, width):
    return _position()(channels, height, width).unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)


def _from_0_to_1(channels, height, width):
    """Rows and columns in equal steps from 0 to a whole turn, as linspace makes them."""
    return _position(start=0, steps=lambda size: max(size - 1, 1))(channels, height, width)


def _sizes_exchanged(channels, height, width):
    n = channels // 2
    y = _waves(height, n, steps=lambda size: width)[:, :, None].expand(-1, height, width)
    x = _waves(width, n, steps=lambda size: height)[:, None].expand(-1, height, width)
    return torch.cat([y, x])


def _rows_on_the_last_axis(channels, height, width):
    n = channels // 2
    y = _waves(height, n)[:, None].expand(n, height, width)
    x = _waves(width, n)[:, None].expand(n, height, width)
    return torch.cat([y, x])


def _both_on_the_wrong_axis(channels, height, width):
    return _position()(channels, height, width).transpose(1, 2)


_LAST_STEP = "divide by h and w, not by h - 1 and w - 1: row 1 of 2 is half a turn"

POSITION = [
    Wrong(
        _position(power=lambda i, n: (i // 2) / n),
        "later channels turn too fast: is the factor 2 in your power of 10000, and is it divided "
        "by C/2, not by C?",
    ),
    Wrong(
        _position(power=lambda i, n: (i // 2) / (2 * n)),
        "later channels turn too fast: the power of 10000 needs both its factor 2 and C/2, not C",
    ),
    Wrong(_position(steps=lambda size: size - 1), _LAST_STEP),
    Wrong(_position(steps=lambda size: size - 1, start=0), _LAST_STEP),
    Wrong(_from_0_to_1, _LAST_STEP),
    Wrong(
        _sizes_exchanged,
        "rows are divided by the number of rows h, columns by w: yours the other way round",
    ),
    Wrong(
        _rows_on_the_last_axis,
        "the rows' numbers lie along the last axis, that of the columns: they vary along h",
    ),
    Wrong(
        _both_on_the_wrong_axis,
        "rows vary along the last axis here, and columns along the second: the answer is (C, h, w)",
    ),
    Wrong(
        _position(start=0),
        "rows and columns are counted from 1 here: the last one of each reaches 2π",
    ),
    Wrong(
        _position(start=0.5),
        "those are the centres of cells, as chapter 5 has them: here rows count as 1, 2 and so on",
    ),
    Wrong(
        _position(steps=lambda size: 1, turn=1.0),
        "divide by the number of rows, or columns, and multiply by 2π",
    ),
    Wrong(
        _position(turn=1.0),
        "a whole map is one turn, 2π: yours ends at 1",
    ),
    Wrong(_position(turn=torch.pi), "a whole map is one turn, 2π: yours ends after half of it"),
    Wrong(_position(order="xy"), "the row y comes first: the first half of the channels is its"),
    Wrong(
        _position(power=lambda i, n: i / n),
        "a sine and the cosine after it share a frequency: 2 floor(c/2), not c",
    ),
    Wrong(
        _position(blocks=True),
        "sines and cosines take turns, channel by channel: yours come in two blocks",
    ),
    Wrong(_interleaved, "the numbers of y come as one block, then those of x: yours take turns"),
    Wrong(_cosine_first, "even channels are sines: channel 0 is one"),
    Wrong(_sines_only, "odd channels are cosines: you have sines only"),
    Wrong(
        _position(base=0.0001),
        "divide by the power of 10000: later channels turn more slowly, not faster",
    ),
    Wrong(
        _position(share=1),
        "y and x share the C channels: each gets n = C/2 of them",
    ),
    Wrong(
        lambda channels, height, width: _position()(channels, width, height),
        "height and width are exchanged: the answer is (C, h, w)",
    ),
    Wrong(
        lambda channels, height, width: _position()(channels, height, width).movedim(0, -1),
        "channels come first: (C, h, w)",
    ),
    Wrong(
        lambda channels, height, width: _position()(channels, height, width)[None],
        "no batch axis is wanted: (C, h, w)",
    ),
]
