"""The solutions of chapter 6 against PyTorch and the library, and other right solutions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.model.position import sine_position


def solve(exercise_id: str, *arguments: object) -> object:
    return exercises.find(exercise_id).reference(*arguments)


@torch.no_grad()
def test_cross_attention_equals_pytorchs() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    queries, keys, values = (torch.randn(2, n, 12) for n in (4, 7, 7))
    maps = theirs.in_proj_weight, theirs.in_proj_bias
    mine = theirs.out_proj(solve("6.3", queries, keys, values, *maps, 3))
    torch.testing.assert_close(mine, theirs(queries, keys, values)[0])


@pytest.mark.parametrize("size", [(8, 2, 3), (64, 5, 1), (256, 7, 9)])
def test_the_position_equals_the_librarys(size: tuple[int, int, int]) -> None:
    mine, theirs = solve("6.2", *size), sine_position(torch.zeros(1, *size))[0]
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_layer_equals_pytorchs_where_it_only_talks() -> None:
    """`nn.TransformerEncoderLayer` normalises first too; it has no positions, and never looks."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)

    def look(queries, keys, values):
        return torch.zeros_like(queries)

    def talk(queries, keys, values):
        return layer.self_attn(queries, keys, values)[0]

    def ffn(x):
        return layer.linear2(layer.linear1(x).relu())

    x, cells = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    norms = [nn.Identity(), layer.norm1, layer.norm2]
    mine = solve("6.4", x, torch.zeros_like(x), cells, cells, look, talk, ffn, norms)
    torch.testing.assert_close(mine, layer(x))


def unshuffle_by_writing(outputs, order):
    restored = torch.empty_like(outputs)
    restored[:, order] = outputs
    return restored


def unshuffle_by_a_list(outputs, order):
    rows = [order.tolist().index(n) for n in range(len(order))]
    return torch.stack([outputs[:, row] for row in rows], 1)


def position_in_loops(channels, height, width):
    n, found = channels // 2, torch.zeros(channels, height, width)
    for i in range(n):
        wave, slowness = (math.cos if i % 2 else math.sin), 10000 ** (2 * (i // 2) / n)
        for y in range(height):
            found[i, y] = wave(2 * math.pi * (y + 1) / height / slowness)
        for x in range(width):
            found[n + i, :, x] = wave(2 * math.pi * (x + 1) / width / slowness)
    return found


def position_by_stacking(channels, height, width):
    slowness = 10000 ** (torch.arange(0, channels // 2, 2) / (channels // 2))

    def waves(size):
        angle = 2 * torch.pi * torch.arange(1, size + 1) / (size + 1e-6) / slowness[:, None]
        return torch.stack([angle.sin(), angle.cos()], 1).flatten(0, 1)

    rows = waves(height)[:, :, None].repeat(1, 1, width)
    return torch.cat([rows, waves(width)[:, None].repeat(1, height, 1)])


def position_by_linspace(channels, height, width):
    slowness = 10000 ** (torch.arange(channels // 2).div(2, rounding_mode="floor") * 4 / channels)

    def waves(size):
        angle = torch.linspace(0, 1, size + 1)[1:] * 2 * torch.pi / slowness[:, None]
        found = torch.empty(channels // 2, size)
        found[0::2], found[1::2] = angle[0::2].sin(), angle[1::2].cos()
        return found

    found = torch.full((channels, height, width), 0.0)
    found[: channels // 2] = waves(height).unsqueeze(2).expand(-1, -1, width)
    found[channels // 2 :] = waves(width).unsqueeze(1).expand(-1, height, -1)
    return found


def position_on_a_grid(channels, height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    found = torch.ones(height, width).cumsum(0).new_empty(channels, height, width)
    for start, place, size in ((0, y, height), (channels // 2, x, width)):
        for i in range(0, channels // 2, 2):
            angle = (place + 1) / size * 2 * math.pi / 10000 ** (2 * i / channels)
            found[start + i], found[start + i + 1] = angle.sin(), angle.cos()
    return found


def cross_attention_head_by_head(queries, keys, values, weight, bias, heads):
    c = queries.shape[2]
    q, k, v = (
        x @ weight[i * c : (i + 1) * c].T + bias[i * c : (i + 1) * c]
        for i, x in enumerate((queries, keys, values))
    )
    parts = zip(q.chunk(heads, 2), k.chunk(heads, 2), v.chunk(heads, 2))
    found = [(q @ k.mT / math.sqrt(c // heads)).softmax(-1) @ v for q, k, v in parts]
    return torch.cat(found, 2)


def cross_attention_by_transposing(queries, keys, values, weight, bias, heads):
    maps = zip((queries, keys, values), weight.split(queries.shape[2]), bias.chunk(3))
    q, k, v = (F.linear(*m).unflatten(2, (heads, -1)).transpose(1, 2) for m in maps)
    weights = (q @ k.mT * q.shape[3] ** -0.5).softmax(3)
    return (weights @ v).transpose(1, 2).flatten(2)


def layer_in_three_lines(x, e, memory, position, look, talk, ffn, norms):
    x = look(norms[0](x) + e, memory + position, memory) + x
    x = talk(norms[1](x) + e, norms[1](x) + e, norms[1](x)) + x
    return ffn(norms[2](x)) + x


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("6.1", unshuffle_by_writing),
        ("6.1", unshuffle_by_a_list),
        ("6.2", position_in_loops),
        ("6.2", position_by_stacking),
        ("6.2", position_by_linspace),
        ("6.2", position_on_a_grid),
        ("6.3", cross_attention_head_by_head),
        ("6.3", cross_attention_by_transposing),
        ("6.4", layer_in_three_lines),
    ],
)
def test_another_right_answer_is_accepted(exercise_id, answer) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith("✔"), said


def position_with_all_channels(channels, height, width):
    """The commonest slip: C in place of C/2."""
    i = torch.arange(channels // 2)
    slowness = 10000 ** (2 * (i // 2) / channels)
    return position_of_waves(slowness, torch.arange(1, height + 1) / height, width)


def position_of_waves(slowness, y, width):
    x, height = torch.arange(1, width + 1) / width, len(y)
    angles = (a * 2 * torch.pi / slowness[:, None] for a in (y, x))
    rows, columns = (torch.stack([a[0::2].sin(), a[1::2].cos()], 1).flatten(0, 1) for a in angles)
    rows, columns = rows[:, :, None].repeat(1, 1, width), columns[:, None].repeat(1, height, 1)
    return torch.cat([rows, columns])


def attention_of_reshaped_heads(queries, keys, values, weight, bias, heads):
    maps = zip((queries, keys, values), weight.chunk(3), bias.chunk(3))
    q, k, v = ((x @ w.T + b).view(len(x), heads, x.shape[1], -1) for x, w, b in maps)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).reshape(queries.shape)


def attention_of_interleaved_heads(queries, keys, values, weight, bias, heads):
    maps = zip((queries, keys, values), weight.chunk(3), bias.chunk(3))
    q, k, v = ((x @ w.T + b).unflatten(2, (-1, heads)) for x, w, b in maps)
    scores = torch.einsum("bndh,bkdh->bhnk", q, k) / q.shape[2] ** 0.5
    return torch.einsum("bhnk,bkdh->bndh", scores.softmax(3), v).flatten(2)


def attention_by_root_n(queries, keys, values, weight, bias, heads):
    maps = zip((queries, keys, values), weight.chunk(3), bias.chunk(3))
    q, k, v = ((x @ w.T + b).unflatten(2, (heads, -1)) for x, w, b in maps)
    scores = torch.einsum("bnhd,bkhd->bhnk", q, k) / q.shape[1] ** 0.5
    return torch.einsum("bhnk,bkhd->bnhd", scores.softmax(3), v).flatten(2)


def attention_with_maps_transposed(queries, keys, values, weight, bias, heads):
    maps = zip((queries, keys, values), weight.chunk(3), bias.chunk(3))
    q, k, v = ((x @ w + b).unflatten(2, (heads, -1)) for x, w, b in maps)
    scores = torch.einsum("bnhd,bkhd->bhnk", q, k) / q.shape[3] ** 0.5
    return torch.einsum("bhnk,bkhd->bnhd", scores.softmax(3), v).flatten(2)


def layer_with_one_norm(x, e, memory, position, look, talk, ffn, norms):
    norm, *_ = norms
    x = look(norm(x) + e, memory + position, memory) + x
    x = talk(norm(x) + e, norm(x) + e, norm(x)) + x
    return ffn(norm(x)) + x


def layer_with_a_stale_y(x, e, memory, position, look, talk, ffn, norms):
    y = norms[0](x)
    x = x + look(y + e, memory + position, memory)
    x = x + talk(y + e, y + e, y)
    return x + ffn(norms[2](x))


def layer_with_bare_values(x, e, memory, position, look, talk, ffn, norms):
    x = x + look(norms[0](x) + e, memory + position, memory)
    y = norms[1](x) + e
    x = x + talk(y, y, x)
    return x + ffn(norms[2](x))


def layer_with_positions_in_the_ffn(x, e, memory, position, look, talk, ffn, norms):
    x = layer_in_three_lines(x, e, memory, position, look, talk, lambda x: 0, norms)
    return x + ffn(norms[2](x) + e)


def layer_with_a_last_norm(*given):
    return given[-1][2](layer_in_three_lines(*given))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "words"),
    [
        ("6.2", position_with_all_channels, "C/2, not by C"),
        ("6.3", attention_of_reshaped_heads, "reshape alone mixes queries with channels"),
        ("6.3", attention_of_interleaved_heads, "neighbours"),
        ("6.3", attention_by_root_n, "not of the number of queries"),
        ("6.3", attention_with_maps_transposed, "x @ weight.T"),
        ("6.4", layer_with_one_norm, "one norm three times"),
        ("6.4", layer_with_a_stale_y, "before the last step"),
        ("6.4", layer_with_bare_values, "values are normalised"),
        ("6.4", layer_with_positions_in_the_ffn, "without their positions"),
        ("6.4", layer_with_a_last_norm, "no norm comes after a step"),
    ],
)
def test_what_a_reader_wrote_gets_words(exercise_id, answer, words) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith("✘") and words in said, said
