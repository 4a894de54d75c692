"""What usually goes wrong in the exercises of chapter 6, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 6.1 queries back in their old order

UNSHUFFLE = [
    Wrong(
        lambda outputs, order: outputs[:, order],
        "that shuffles once more: with the order 1, 2, 0, old query 1 came first; put it back",
    ),
    Wrong(
        lambda outputs, order: outputs,
        "nothing has moved: new query n was old query order[n], so its row belongs there (if you "
        "sorted `order`, you got 0, 1, 2 and so on: the places are wanted)",
    ),
    Wrong(
        lambda outputs, order: outputs.flip(1),
        "that turns the row of queries around: each has to go where `order` says",
    ),
    Wrong(
        lambda outputs, order: outputs[:, order.argsort(descending=True)],
        "the queries come out last to first: sort upwards",
    ),
    Wrong(
        lambda outputs, order: outputs[order.argsort()],
        "the first axis holds pictures: queries are the second",
    ),
    Wrong(
        lambda outputs, order: outputs[..., order.argsort()],
        "the last axis holds channels: queries are the second",
    ),
    Wrong(
        lambda outputs, order: outputs[0, order.argsort()],
        "only one picture is left: keep the batch axis",
    ),
]


# ---- 6.2 where each cell is


def _waves(
    size, n, start=1, turn=2 * torch.pi, scaled=True, base=10000.0, pairs=True, blocks=False
):
    """Sines and cosines of one axis, (n, size), with some mistake in them."""
    i = torch.arange(n)
    power = 2 * (i // 2) / n if pairs else i / n
    angle = (torch.arange(size) + start) / (size if scaled else 1) * turn / base ** power[:, None]
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


POSITION = [
    Wrong(
        _position(start=0),
        "rows and columns are counted from 1 here: the last one of each reaches 2π",
    ),
    Wrong(
        _position(start=0.5),
        "those are the centres of cells, as chapter 5 has them: here rows count as 1, 2 and so on",
    ),
    Wrong(
        _position(scaled=False, turn=1.0),
        "divide by the number of rows, or columns, and multiply by 2π",
    ),
    Wrong(
        _position(turn=1.0),
        "a whole map is one turn, 2π: yours ends at 1",
    ),
    Wrong(_position(turn=torch.pi), "a whole map is one turn, 2π: yours ends after half of it"),
    Wrong(_position(order="xy"), "the row y comes first: the first half of the channels is its"),
    Wrong(
        _position(pairs=False),
        "a sine and the cosine after it share a frequency: 2 floor(i/2), not i",
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


# ---- 6.3 cross-attention


def _attention(
    scale=lambda d, c: d**0.5,
    axis=3,
    order=(0, 1, 2),
    use_bias=True,
    split=None,
    join=None,
    weigh=torch.softmax,
):
    """The exercise with one step done in another way."""

    def answer(queries, keys, values, weight, bias, heads):
        weights, biases = weight.chunk(3), bias.chunk(3)
        inputs = queries, keys, values
        q, k, v = (
            F.linear(x, weights[j], biases[j] if use_bias else None) for x, j in zip(inputs, order)
        )
        cut = split or (lambda x, heads: x.unflatten(2, (heads, -1)).transpose(1, 2))
        q, k, v = (cut(x, heads) for x in (q, k, v))
        scores = q @ k.transpose(2, 3) / scale(q.shape[3], weight.shape[1])
        seen = weigh(scores, axis) @ v
        return join(seen) if join else seen.transpose(1, 2).flatten(2)

    return answer


def _interleaved_heads(x, heads):
    return x.unflatten(2, (-1, heads)).permute(0, 3, 1, 2)


def _reshaped(x, heads):
    return x.reshape(len(x), heads, x.shape[1], -1)


def _one_head(queries, keys, values, weight, bias, heads):
    return _attention()(queries, keys, values, weight, bias, 1)


def _unmapped(queries, keys, values, weight, bias, heads):
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    seen = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3) @ v
    return seen.transpose(1, 2).flatten(2)


def _keys_as_values(queries, keys, values, weight, bias, heads):
    return _attention()(queries, keys, keys, weight, bias, heads)


def _values_as_keys(queries, keys, values, weight, bias, heads):
    return _attention()(queries, values, values, weight, bias, heads)


def _by_torch(queries, keys, values, weight, bias, heads):
    inputs = zip((queries, keys, values), weight.chunk(3), bias.chunk(3))
    q, k, v = (F.linear(*parts).unflatten(2, (heads, -1)).transpose(1, 2) for parts in inputs)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


CROSS = [
    Wrong(
        _by_torch,
        "the right numbers, but PyTorch's attention found them: this time write it yourself",
    ),
    Wrong(
        _attention(scale=lambda d, c: 1.0),
        "the scores are not divided: by the square root of a head's width",
    ),
    Wrong(
        _attention(scale=lambda d, c: c**0.5),
        "divide by the square root of a head's width C / heads, not of C",
    ),
    Wrong(_attention(scale=lambda d, c: d), "divide by the square root of the width, not by it"),
    Wrong(
        _attention(axis=2),
        "the weights of one query sum to 1 over the cells: yours do so over the queries",
    ),
    Wrong(_attention(axis=1), "each head has a softmax of its own: yours goes over the heads"),
    Wrong(_attention(weigh=lambda s, axis: s), "the softmax is missing: scores are no weights yet"),
    Wrong(_one_head, "one softmax for all channels: split them into heads first"),
    Wrong(
        _attention(split=_interleaved_heads, join=lambda x: x.permute(0, 2, 3, 1).flatten(2)),
        "a head's channels are neighbours: head 0 has the first C / heads",
    ),
    Wrong(
        _attention(split=_reshaped),
        "view or reshape alone mixes queries with channels: split the channels, then move the axis",
    ),
    Wrong(
        _attention(join=lambda x: x.reshape(len(x), x.shape[2], -1)),
        "before you join the heads, move their axis back beside the channels",
    ),
    Wrong(_attention(join=lambda x: x), "join the heads again: the answer is (B, N, C)"),
    Wrong(
        _attention(join=lambda x: x.mean(1)),
        "heads are laid side by side, not averaged: the answer has C channels",
    ),
    Wrong(_attention(use_bias=False), "each linear map has a bias too"),
    Wrong(_unmapped, "the three linear maps are missing: they come before the heads"),
    Wrong(
        _attention(order=(1, 0, 2)),
        "the maps are exchanged: the first third of `weight` is for the queries",
    ),
    Wrong(
        _attention(order=(0, 2, 1)),
        "the maps are exchanged: the second third of `weight` is for the keys",
    ),
    Wrong(_keys_as_values, "what is taken home are the values: you take the keys"),
    Wrong(_values_as_keys, "queries are compared with the keys: you compare with the values"),
]
