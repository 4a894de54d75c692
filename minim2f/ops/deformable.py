"""Bilinear reads as sums of rows: deformable attention, fast without a compiled extension.

Pixels are the rows of a table, with their channels side by side. A bilinear read is a weighted sum
of four rows, and `embedding_bag` adds rows without writing them down first. PyTorch's backward pass
of it is slow, so this one is written out: its two halves are sums of rows and products of rows too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

Sizes = list[tuple[int, int]]
BORDER = 2  # zeros around each map: whatever a point outside reads lies there


def read(values: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of bilinear reads from several maps.

    The maps are laid on one sheet, one below the other, each with a border of zeros. So no read
    has to be tested for being inside, and its four pixels are the same steps apart everywhere.
    The slow twin is `attend_slow` in `minim2f.model.deformable`.

    Args:
        values: (B, S, M, D), the pixels of all maps one after the other, for M heads.
        sizes: (h, w) of each of the L maps; S is the sum of h w.
        locations: (B, Q, M, L, K, 2), x and y in [0, 1]; outside is zero.
        weights: (B, Q, M, L, K).

    Returns:
        (B, Q, M, D), made in float32 from tensors of less precision.
    """
    kind = torch.promote_types(values.dtype, torch.float32)
    out = _Reads.apply(values.to(kind), sizes, locations.to(kind), weights.to(kind))
    return out.to(values.dtype)


def _lay(values: Tensor, sizes: Sizes) -> Tensor:
    """The sheet (B, height, width, M D)."""
    width = max(w for _, w in sizes) + 2 * BORDER
    maps = values.flatten(2).split([h * w for h, w in sizes], dim=1)
    maps = [pixels.unflatten(1, size) for pixels, size in zip(maps, sizes)]
    edges = [(0, 0, BORDER, width - BORDER - m.shape[2], BORDER, BORDER) for m in maps]
    return torch.cat([F.pad(m, edge) for m, edge in zip(maps, edges)], dim=1)


def _lift(sheet: Tensor, sizes: Sizes) -> Tensor:
    """The maps back from the sheet, without their borders: (B, S, M D)."""
    strips = sheet.split([h + 2 * BORDER for h, _ in sizes], dim=1)
    ends = [(BORDER + h, BORDER + w) for h, w in sizes]
    maps = [strip[:, BORDER:h, BORDER:w] for strip, (h, w) in zip(strips, ends)]
    return torch.cat([m.flatten(1, 2) for m in maps], dim=1)


def _place(locations: Tensor, sizes: Sizes, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each point falls on the sheet, all (B Q M, L K): the row of its upper left pixel, and
    the shares of the pixels to the right and below.
    """
    batch, _, heads, _, points = locations.shape[:5]
    height, breadth = torch.tensor(sizes, device=locations.device).T + 2 * BORDER
    top = height.cumsum(0) - height  # of each map on the sheet
    top = top + torch.arange(batch, device=top.device)[:, None] * height.sum()
    first = ((top + BORDER) * width + BORDER)[:, None, :, None] * heads
    first = first + torch.arange(heads, device=top.device)[:, None, None]  # (B, M, L, 1)
    first = first.expand(-1, -1, -1, points).flatten(1)[:, None].int()
    size = torch.stack([breadth, height], -1)[:, None] - 2 * BORDER
    size = size.expand(heads, -1, points, 2).flatten()
    # over long last dimensions these few lines are fast; farther out than the border all is zero
    at = (locations.flatten(2) * size).clamp_(min=-1).minimum(size + 1) - 0.5
    corner = at.nan_to_num().floor_()
    right, low = (at - corner).unflatten(-1, (-1, 2)).unbind(-1)
    x, y = corner.int().unflatten(-1, (-1, 2)).unbind(-1)
    rows = (y * width + x) * heads + first
    return tuple(t.reshape(-1, len(sizes) * points) for t in (rows, right, low))


def _corners(
    weights: Tensor, right: Tensor, low: Tensor, heads: int, width: int
) -> Iterator[tuple[int, Tensor]]:
    """The four pixels of each read: how many rows behind the first, and with what weight."""
    weights = weights.reshape(right.shape)
    lower = weights * low
    for step, share in ((0, weights - lower), (width, lower)):
        share_right = share * right
        yield step * heads, share - share_right
        yield (step + 1) * heads, share_right


class _Reads(torch.autograd.Function):
    """Keeps its arguments alone: sheet, rows and shares are cheaper to make anew than to store."""

    @staticmethod
    def forward(ctx, values: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor):
        ctx.save_for_backward(values, locations, weights)
        ctx.sizes = sizes
        batch, _, heads, depth = values.shape
        sheet = _lay(values, sizes)
        table = sheet.view(-1, depth)  # row ((b height + y) width + x) M + m
        rows, right, low = _place(locations, sizes, sheet.shape[2])
        out = table.new_zeros(len(rows), depth)
        for step, share in _corners(weights, right, low, heads, sheet.shape[2]):
            out += F.embedding_bag(rows, table[step:], per_sample_weights=share, mode="sum")
        return out.view(batch, locations.shape[1], heads, depth)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        values, locations, weights = ctx.saved_tensors
        sheet, heads = _lay(values, ctx.sizes), values.shape[2]
        table, grad = sheet.view(-1, values.shape[3]), grad.reshape(-1, values.shape[3])
        rows, right, low = _place(locations, ctx.sizes, sheet.shape[2])
        # sorted, all reads of a row lie side by side: its gradient is a sum of rows of `grad`
        row, place = rows.flatten().sort()
        bag = place // rows.shape[1]
        ends = F.pad(row.bincount(minlength=len(table)).cumsum(0), (1, 0))
        grad_table, products = torch.zeros_like(table), []
        for step, share in _corners(weights, right, low, heads, sheet.shape[2]):
            grad_table[step:] += F.embedding_bag(
                bag,
                grad,
                ends[: len(table) - step + 1],
                mode="sum",
                per_sample_weights=share.flatten().index_select(0, place),
                include_last_offset=True,
            )
            products.append(_row_products(grad, table[step:], rows))
        (a, b, c, d), w = products, weights.reshape(rows.shape)  # upper, then lower pixels
        upper, lower = torch.lerp(a, b, right), torch.lerp(c, d, right)
        along = torch.stack([w * torch.lerp(b - a, d - c, low), w * (lower - upper)], -1)
        size = torch.tensor(ctx.sizes, device=w.device).flip(1)[:, None]
        along = along.flatten(1) * size.expand(-1, locations.shape[4], 2).flatten()
        grad_values = _lift(grad_table.view_as(sheet), ctx.sizes).view_as(values)
        grad_weights = torch.lerp(upper, lower, low).view_as(weights)
        return grad_values, None, along.view_as(locations), grad_weights


def _row_products(left: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """left[n] . table[rows[n, p]], (N, P): by MKL, or as slowly as PyTorch does it."""
    n, p = rows.shape
    if left.device.type == "cpu" and torch.backends.mkl.is_available():
        start = torch.arange(0, n * p + 1, p, dtype=rows.dtype)
        zeros, shape = left.new_zeros(n * p), (n, len(table))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            where = torch.sparse_csr_tensor(
                start, rows.flatten(), zeros, shape, check_invariants=False
            )
        return torch.sparse.sampled_addmm(where, left, table.T).values().view(n, p)
    with torch.enable_grad():  # the gradient of the weights of a sum of rows is just that
        ones = left.new_ones(rows.shape, requires_grad=True)
        out = F.embedding_bag(rows, table, per_sample_weights=ones, mode="sum")
    return torch.autograd.grad(out, ones, left)[0]
