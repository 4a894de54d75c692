"""What usually goes wrong in exercises 6.1 and 6.3, each mistake with its hint."""

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


# ---- 6.3 cross-attention


def _attention(
    scale=lambda q, k: q.shape[3] ** 0.5,
    axis=3,
    order=(0, 1, 2),
    use_bias=True,
    split=None,
    join=None,
    weigh=torch.softmax,
    transposed=False,
):
    """The exercise with one step done in another way."""

    def answer(queries, keys, values, weight, bias, heads):
        weights, biases = weight.chunk(3), bias.chunk(3)
        weights = [w.T if transposed else w for w in weights]
        inputs = queries, keys, values
        q, k, v = (
            F.linear(x, weights[j], biases[j] if use_bias else None) for x, j in zip(inputs, order)
        )
        cut = split or (lambda x, heads: x.unflatten(2, (heads, -1)).transpose(1, 2))
        q, k, v = (cut(x, heads) for x in (q, k, v))
        scores = q @ k.transpose(2, 3) / scale(q, k)
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


INTERLEAVED = "a head's channels are neighbours: head 0 has the first C / heads"
INTERLEAVED_JOIN = "join the heads one after the other: all channels of head 0 come first"

CROSS = [
    Wrong(
        _by_torch,
        "the right numbers, but PyTorch's attention found them: this time write it yourself",
    ),
    Wrong(
        _attention(scale=lambda q, k: 1.0),
        "the scores are not divided: by the square root of a head's width",
    ),
    Wrong(
        _attention(scale=lambda q, k: (q.shape[1] * q.shape[3]) ** 0.5),
        "divide by the square root of a head's width C / heads, not of C",
    ),
    Wrong(
        _attention(scale=lambda q, k: q.shape[3]),
        "divide by the square root of the width, not by it",
    ),
    Wrong(
        _attention(scale=lambda q, k: q.shape[2] ** 0.5),
        "divide by the square root of a head's width C / heads, not of the number of queries",
    ),
    Wrong(
        _attention(scale=lambda q, k: k.shape[2] ** 0.5),
        "divide by the square root of a head's width C / heads, not of the number of cells",
    ),
    Wrong(
        _attention(scale=lambda q, k: q.shape[1] ** 0.5),
        "divide by the square root of a head's width C / heads, not of the number of heads",
    ),
    Wrong(
        _attention(axis=2),
        "the weights of one query sum to 1 over the cells: yours do so over the queries",
    ),
    Wrong(_attention(axis=1), "each head has a softmax of its own: yours goes over the heads"),
    Wrong(_attention(weigh=lambda s, axis: s), "the softmax is missing: scores are no weights yet"),
    Wrong(_one_head, "one softmax for all channels: split them into heads first"),
    Wrong(
        _attention(split=_interleaved_heads, join=lambda x: x.permute(0, 2, 3, 1).flatten(2)),
        INTERLEAVED,
    ),
    Wrong(_attention(split=_interleaved_heads), INTERLEAVED),
    Wrong(_attention(join=lambda x: x.permute(0, 2, 3, 1).flatten(2)), INTERLEAVED_JOIN),
    Wrong(
        _attention(split=_reshaped, join=lambda x: x.reshape(len(x), x.shape[2], -1)),
        "view or reshape alone mixes queries with channels: split the channels, then move the axis",
    ),
    Wrong(
        _attention(split=lambda x, heads: x.unflatten(2, (heads, -1))),
        "the axis of the heads has not moved: scores compare queries with cells, head by head",
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
    Wrong(
        _attention(transposed=True),
        "a linear map is x @ weight.T, as F.linear has it: yours uses the weight as it lies",
    ),
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
