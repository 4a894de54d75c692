"""Exercises of chapter 15: names of tensors, class heads, queries, and EoMT's mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, ch15_wrong, ch15_wrong_queries, integer

# ---- 15.1 thirds


def split_thirds(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Splits each `START.self_attention.in_proj.END` into `START.self_attn.{q|k|v}_proj.END`.

    Args:
        tensors: name -> tensor; all other ones stay as they are.

    Returns:
        A new dict.
    """
    renamed = {}
    for name, tensor in tensors.items():
        head, found, leaf = name.partition(".self_attention.in_proj.")
        if found:
            for letter, third in zip("qkv", tensor.chunk(3)):
                renamed[f"{head}.self_attn.{letter}_proj.{leaf}"] = third
        else:
            renamed[name] = tensor
    return renamed


def _attentions(g: torch.Generator) -> tuple[dict[str, Tensor]]:
    channels, tensors = integer(g, 2, 5), {}
    for layer in range(integer(g, 1, 3)):
        for kind in ("cross", "self"):
            start = f"decoder.layers.{layer}.{kind}_attention"
            for part, rows in (("in_proj", 3 * channels), ("out_proj", channels)):
                tensors[f"{start}.{part}.weight"] = torch.randn(rows, channels, generator=g)
                tensors[f"{start}.{part}.bias"] = torch.randn(rows, generator=g)
    tensors["decoder.norm.weight"] = torch.randn(3 * channels, generator=g)
    return (tensors,)


_SQUARE = {"a.self_attention.in_proj.weight": torch.arange(36.0).reshape(6, 6)}
_NOTHING = {"decoder.norm.weight": torch.arange(3.0)}

# ---- 15.2 a class head by names


def carry_over(
    weight: Tensor,
    bias: Tensor,
    old: list[str],
    new: list[str],
    fresh_weight: Tensor,
    fresh_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """A class head for other classes, which keeps the rows of those that it knows.

    Args:
        weight, bias: (K+1, C) and (K+1,), of the trained head; the last row is "no object".
        old, new: names of the K classes it has, and of the K' that it shall have. A class is known
            if its name is there, equal letter by letter; there may be none.
        fresh_weight, fresh_bias: (K'+1, C) and (K'+1,), random, for what nobody knows yet.

    Returns:
        Weight and bias of the new head, (K'+1, C) and (K'+1,).
    """
    new_weight, new_bias = fresh_weight.clone(), fresh_bias.clone()
    for k, name in enumerate(new):
        if name in old:
            new_weight[k], new_bias[k] = weight[old.index(name)], bias[old.index(name)]
    new_weight[len(new)], new_bias[len(new)] = weight[len(old)], bias[len(old)]
    return new_weight, new_bias


def _heads(g: torch.Generator) -> tuple:
    names = ["car", "boat", "bird", "kite", "sky", "sea", "sand", "road"]
    old, new = (
        [names[i] for i in torch.randperm(8, generator=g)[: integer(g, 1, 6)]] for _ in range(2)
    )
    channels = integer(g, 1, 4)
    return _head(g, old, channels) + (old, new) + _head(g, new, channels)


def _head(g: torch.Generator, names: list[str], channels: int) -> tuple[Tensor, Tensor]:
    rows = len(names) + 1
    return torch.randn(rows, channels, generator=g), torch.randn(rows, generator=g)


def _head_corners() -> list[tuple]:
    g = torch.Generator().manual_seed(7)
    pairs = [
        (["sky", "sea", "kite"], ["kite", "dog", "sky", "cat", "sea"]),  # others, another order
        (["sky", "sea"], ["dog"]),  # none in common
        (["sky"], ["sky"]),
        (["sea", "sky-other-merged"], ["sky", "seaweed"]),  # names within names
        (["Kite", "SEA", "sky"], ["kite", "sky", "Sea"]),  # the same but for capitals
    ]
    return [_head(g, old, 3) + (old, new) + _head(g, new, 3) for old, new in pairs]


# ---- 15.3 more queries


def more_queries(table: Tensor, noise: Tensor) -> Tensor:
    """A table of queries with another number of rows.

    Args:
        table: (N, C), learned.
        noise: (N', C), small random numbers; N' may be smaller or larger than N, or equal.

    Returns:
        (N', C): the learned rows from the first on; where they end, they start again from the
        first, as often as need be, and each of these copies gets its own row of the noise added.
    """
    row = torch.arange(len(noise))
    is_copy = row >= len(table)
    return table[row % len(table)] + noise * is_copy[:, None]


def _tables(g: torch.Generator) -> tuple[Tensor, Tensor]:
    channels = integer(g, 1, 4)
    table = torch.randn(integer(g, 1, 5), channels, generator=g)
    return table, 0.1 * torch.randn(integer(g, 1, 12), channels, generator=g)


def _table_corners() -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(3)
    sizes = [(3, 8), (4, 2), (5, 5), (2, 4)]
    return [(torch.randn(n, 2, generator=g), torch.randn(m, 2, generator=g)) for n, m in sizes]


# ---- 15.4 EoMT's mask


def joint_mask(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Which token may look at which, where queries and patches share one attention.

    Args:
        mask_logits: (B, N, h, w), the masks of the queries, at any size.
        size: (rows, columns) of the patches, of which there are rows * columns.

    Returns:
        (B, N + patches, N + patches) bool, queries first. Row: who looks; column: who is looked
        at. A query sees all queries, and those patches where its mask, resized, is positive. A
        patch sees all. No row is without a True, so no rescue is needed.
    """
    small = F.interpolate(mask_logits, size, mode="bilinear")
    inside = small.flatten(2) > 0
    batch, queries, patches = inside.shape
    allowed = torch.ones(batch, queries + patches, queries + patches, dtype=torch.bool)
    allowed[:, :queries, queries:] = inside
    return allowed


def _masks(g: torch.Generator) -> tuple[Tensor, tuple[int, int]]:
    sizes = [integer(g, 1, high) for high in (2, 4, 9, 9)]
    return torch.randn(sizes, generator=g), (integer(g, 1, 5), integer(g, 1, 5))


def _mask_corners() -> list[tuple[Tensor, tuple[int, int]]]:
    g = torch.Generator().manual_seed(5)
    at_the_rim = torch.tensor([[[[0.0, 1.0], [-1.0, 0.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    return [
        (at_the_rim, (2, 2)),  # zeros, and a mask that is nowhere
        (torch.randn(2, 3, 8, 12, generator=g), (2, 3)),
        (torch.randn(1, 2, 3, 2, generator=g), (6, 4)),
    ]


EXERCISES = [
    Exercise("15.1", split_thirds, _attentions, ch15_wrong.THIRDS, [(_SQUARE,), (_NOTHING,)]),
    Exercise("15.2", carry_over, _heads, ch15_wrong.HEADS, _head_corners()),
    Exercise("15.3", more_queries, _tables, ch15_wrong_queries.QUERIES, _table_corners()),
    Exercise("15.4", joint_mask, _masks, ch15_wrong_queries.MASKS, _mask_corners()),
]
