"""What usually goes wrong in exercises 15.3 and 15.4, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 15.3 more queries


def _rows(table, noise):
    return torch.arange(len(noise)) % len(table)


def _interleaved_rows(table, noise):
    times = -(-len(noise) // len(table))
    row = torch.arange(len(table)).repeat_interleave(times)[: len(noise)]
    return table[row] + noise * (torch.arange(len(noise)) >= len(table))[:, None]


def _noise_alone(table, noise):
    return torch.cat([table, noise[len(table) :]])[: len(noise)]


def _never_fewer(table, noise):
    copies = table[_rows(table, noise)][len(table) :] + noise[len(table) :]
    return torch.cat([table, copies])


def _early_noise(table, noise):
    many = table[_rows(table, noise)].clone()
    count = max(len(noise) - len(table), 0)
    many[len(table) :] += noise[:count]
    return many


def _last_row_again(table, noise):
    row = torch.arange(len(noise)).clamp(max=len(table) - 1)
    return table[row] + noise * (torch.arange(len(noise)) >= len(table))[:, None]


def _once_more(table, noise):
    return torch.cat([table, table + noise[len(table) : 2 * len(table)]])[: len(noise)]


def _from_the_mean(table, noise):
    return torch.cat([table, table.mean(0) + noise[len(table) :]])[: len(noise)]


def _padded(table, noise):
    return F.pad(table, (0, 0, 0, max(len(noise) - len(table), 0)))[: len(noise)]


def _one_late(table, noise):
    is_copy = torch.arange(len(noise)) > len(table)
    return table[_rows(table, noise)] + noise * is_copy[:, None]


def _noise_of_its_own(table, noise):
    many = table[_rows(table, noise)].clone()
    many[len(table) :] += torch.randn_like(many[len(table) :])
    return many


def _last_ones_stay(table, noise):
    many = table[_rows(table, noise)] + noise * (torch.arange(len(noise)) >= len(table))[:, None]
    return many if len(noise) >= len(table) else table[-len(noise) :]


def _twice_at_most(table, noise):
    many = torch.cat([table, table])[: len(noise)]
    many[len(table) :] += noise[len(table) : 2 * len(table)]
    return many


def _twice_or_an_error(table, noise):
    many = torch.cat([table, table])[: len(noise)]
    many[len(table) :] += noise[len(table) :]
    return many


def _twice_by_a_slice(table, noise):
    missing = len(noise) - len(table)
    if missing <= 0:
        return table[: len(noise)]
    return torch.cat([table, table[:missing] + noise[len(table) :]])


def _more_noise_each_round(table, noise):
    rounds = torch.arange(len(noise)) // len(table)
    return table[_rows(table, noise)] + noise * rounds[:, None]


TWICE = "twice may not be enough: repeat the rows until there are as many as asked"

QUERIES = [
    Wrong(_one_late, "the first copy is row N, and gets noise as well: > or >=?"),
    Wrong(_from_the_mean, "each new query starts from one learned row, not from their mean"),
    Wrong(_padded, "zeros are no copies: the learned rows start again from the first"),
    Wrong(_noise_of_its_own, "the noise is given: add its rows, and draw none"),
    Wrong(
        lambda table, noise: table[_rows(table, noise)],
        "copies without noise are twins: equal queries get equal gradients, and stay equal",
    ),
    Wrong(
        lambda table, noise: table[_rows(table, noise)] + noise,
        "the learned queries were good as they are: only their copies get noise",
    ),
    Wrong(_noise_alone, "the new queries are noise alone: start them from copies of learned ones"),
    Wrong(_interleaved_rows, "all learned rows come first, in their order, and then again"),
    Wrong(_last_row_again, "that repeats the last row: start again from the first one"),
    Wrong(_never_fewer, "fewer queries may be asked for: then the first ones stay"),
    Wrong(_early_noise, "row n of the result gets row n of the noise, not the noise from 0 on"),
    *(
        Wrong(function, TWICE)
        for function in (_once_more, _twice_at_most, _twice_or_an_error, _twice_by_a_slice)
    ),
    Wrong(_last_ones_stay, "where fewer are wanted, the first rows stay, not the last"),
    Wrong(
        _more_noise_each_round,
        "each copy gets its row of the noise once, in the second round and in the third",
    ),
]

# ---- 15.4 EoMT's mask


def _joint(
    mask_logits, size, mode="bilinear", inside=lambda x: x > 0, transposed=False, first=True
):
    options = {"align_corners": False} if mode == "bilinear" else {}
    small = inside(F.interpolate(mask_logits, size, mode=mode, **options).flatten(2))
    batch, n, s = small.shape
    allowed = torch.ones(batch, n + s, n + s, dtype=torch.bool)
    if not first:
        allowed[:, s:, :s] = small
    elif transposed:
        allowed[:, n:, :n] = small.transpose(1, 2)
    else:
        allowed[:, :n, n:] = small
    return allowed


def _patches_apart(mask_logits, size):
    allowed = _joint(mask_logits, size)
    n = mask_logits.shape[1]
    allowed[:, n:, :n] = False
    return allowed


def _queries_apart(mask_logits, size):
    allowed = _joint(mask_logits, size)
    n = mask_logits.shape[1]
    allowed[:, :n, :n] = torch.eye(n, dtype=torch.bool)
    return allowed


def _both_ways(mask_logits, size):
    return _joint(mask_logits, size) & _joint(mask_logits, size, transposed=True)


def _rescued(mask_logits, size):
    n = mask_logits.shape[1]
    allowed = _joint(mask_logits, size)
    inside = allowed[:, :n, n:].clone()
    allowed[:, :n, n:] = inside | ~inside.any(-1, keepdim=True)
    return allowed


def _only_queries(mask_logits, size):
    return _joint(mask_logits, size)[:, : mask_logits.shape[1]]


def _corners_aligned(mask_logits, size):
    small = F.interpolate(mask_logits, size, mode="bilinear", align_corners=True)
    return _joint(small, size)


def _sides_swapped(mask_logits, size):
    return _joint(mask_logits, size[::-1])


def _cut_before_resizing(mask_logits, size):
    return _joint((mask_logits > 0).float(), size, inside=lambda x: x > 0.5)


def _cut_before_resizing_with_a_tie(mask_logits, size):
    return _joint((mask_logits > 0).float(), size, inside=lambda x: x >= 0.5)


def _inside_alone(mask_logits, size):
    return F.interpolate(mask_logits, size, mode="bilinear").flatten(2) > 0


def _columns_first(mask_logits, size):
    small = F.interpolate(mask_logits, size, mode="bilinear").transpose(2, 3)
    return _joint(small, small.shape[2:])


def _one_for_the_batch(mask_logits, size):
    return _joint(mask_logits[:1].expand_as(mask_logits), size)


def _union_of_all(mask_logits, size):
    small = F.interpolate(mask_logits, size, mode="bilinear").amax(1, keepdim=True)
    return _joint(small.expand(-1, mask_logits.shape[1], -1, -1), size)


def _antialiased(mask_logits, size):
    return _joint(F.interpolate(mask_logits, size, mode="bilinear", antialias=True), size)


def _of_one_picture(mask_logits, size):
    return _joint(mask_logits, size)[0]


def _nothing_but_masks(mask_logits, size):
    n = mask_logits.shape[1]
    allowed = _joint(mask_logits, size)
    inside = allowed[:, :n, n:].clone()
    allowed[:] = False
    allowed[:, :n, n:] = inside
    return allowed


MASKS = [
    Wrong(_columns_first, "patches are counted row by row, as flatten does; yours go by columns"),
    Wrong(_one_for_the_batch, "each picture has masks of its own; yours all get the first one's"),
    Wrong(_union_of_all, "each query has a mask of its own: here all get the union of all masks"),
    Wrong(_antialiased, "bilinearly without antialias: four logits around a place, no more"),
    Wrong(_sides_swapped, "size is (rows, columns), as interpolate takes it"),
    Wrong(_cut_before_resizing, "resize the logits first, then ask where they are positive"),
    Wrong(
        _cut_before_resizing_with_a_tie, "resize the logits first, then ask where they are positive"
    ),
    Wrong(_inside_alone, "that is what queries see of patches: the square has three more blocks"),
    Wrong(_of_one_picture, "each picture of the batch has masks of its own: B squares are wanted"),
    Wrong(_nothing_but_masks, "start from True: only the patches that a query sees are limited"),
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x >= 0),
        "positive: a logit of exactly 0 is not inside",
    ),
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x > 0.5),
        "these are logits: a probability of one half is a logit of 0",
    ),
    Wrong(
        lambda x, size: _joint(x, size, inside=lambda x: x <= 0),
        "inverted: True is where a token may look",
    ),
    Wrong(
        lambda x, size: _joint(x, size, transposed=True),
        "rows are those that look: here the patches are kept from looking at queries",
    ),
    Wrong(_both_ways, "patches see everything: only the rows of queries are masked"),
    Wrong(_patches_apart, "patches see everything, queries too"),
    Wrong(_queries_apart, "a query sees all queries, not only itself"),
    Wrong(_rescued, "no rescue is needed: a query without a patch still sees the queries"),
    Wrong(_only_queries, "the patches look as well: N+S rows are wanted"),
    Wrong(
        lambda x, size: _joint(x, size, first=False),
        "the queries come first, then the patches",
    ),
    Wrong(lambda x, size: _joint(x, size, "nearest"), "resize the masks bilinearly, not nearest"),
    Wrong(lambda x, size: _joint(x, size, "area"), "resize the masks bilinearly, not by area"),
    Wrong(_corners_aligned, "masks are resized with align_corners=False everywhere in this model"),
    Wrong(
        lambda x, size: _joint(x, size).float(),
        "True and False are wanted, not numbers: a float mask would be added to the scores",
    ),
    Wrong(
        lambda x, size: _joint(x.sigmoid(), size),
        "a sigmoid is always positive: so every patch is allowed",
    ),
]
