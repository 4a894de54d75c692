# %% [markdown]
# # A · Tensors, einsum and broadcasting
#
# Every tensor idiom that the chapters use: the shapes as a picture, the slow loop, the one line, and the proof that both agree.
#
# *read 30 min · run 15 s CPU*
#
# **For** the question "what does this line do?" · **Library** [`minim2f/shapes.py`](../minim2f/shapes.py)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% [markdown]
# ## Find it in seconds
#
# Letters are those of the book: N queries, G segments of the truth, K classes, C channels, B pictures of a batch, S cells in a row, h and w
# the sides of a map, P points. The last column names up to five chapters that use such lines most, exercises included; this page has counted.

# %% tags=["hide-input"]
import json
import re
from pathlib import Path

FIND = r"""
each of these with each of those | a[:, None] & b[None] | 1 | \[(:, |\.\.\., )?None
a sum over some letters | torch.einsum("nk,nhw->khw", p, m) | 2 | einsum\(
many small matrix products | e @ f | 3 |  @ |\.mT\b
pixels as rows; channels as heads | flatten, mT, unflatten, transpose | 4 | \.(un)?flatten\(|\.transpose\(|\.permute\(
the same memory, or a copy? | view, reshape, clone, contiguous | 5 | \.(view|reshape|clone|contiguous)\(
putting together, cutting apart | stack, cat, split, chunk | 6 | torch\.(stack|cat)\(|\.chunk\(
more of the same | expand, repeat, repeat_interleave | 6 | \.(expand|expand_as|repeat|repeat_interleave)\(
some of it, by yes or no | x[mask], where, masked_fill, nonzero | 7 | (\.where|masked_fill|nonzero)\(
some of it, by number | x[index], gather, topk | 8 | \.(gather|topk)\(|torch\.arange\([^)]*\), \w
which is the largest? | argmax, and its ties | 9 | \.(argmax|argmin)\(
how often is what there? | unique, bincount, cumsum | 10 | \.(unique|bincount|cumsum)\(
a map at another size | F.interpolate | 11 | interpolate\(
attention in one call | F.scaled_dot_product_attention | 12 | scaled_dot_product_attention\(
a logarithm of a sum of exponentials | logsumexp, softplus | 13 | (logsumexp|softplus|log_softmax|cross_entropy)\(
numbers that surprise | //, %, uint8 | 14 |  // | % |uint8
"""


def texts():
    """The code and prose of each numbered chapter beside this page, under its link."""
    for file in sorted(Path().glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(file.read_text("utf-8"))["cells"]
        number = file.name[:2].lstrip("0") or "0"
        yield f"[{number}]({file})", "\n".join("".join(cell["source"]) for cell in cells)


books, lines = dict(texts()), []
for want, line, section, pattern in (row.split(" | ", 3) for row in FIND.strip().split("\n")):
    uses = {link: len(re.findall(pattern, text)) for link, text in books.items()}
    most = sorted(filter(uses.get, uses), key=uses.get)[-5:]
    lines.append([want, f"`{line}`", section, " ".join(link for link in uses if link in most)])
table(["I want", "one line", "section", "chapters"], lines)

# %% [markdown]
# Where nothing is rounded, `assert torch.equal(...)` demands that loop and line agree in every bit. Elsewhere `same(...)`, a helper of the book,
# stops the run if any number is off by more than 1e-5, and prints the largest difference.

# %% [markdown] tags=["demo"]
# ## 1 · Broadcasting: each with each
#
# ```
# guesses[:, None]   (N, 1, h, w)
# truths[None]       (1, G, h, w)
#                    ------------
# both               (N, G, h, w)
# ```
#
# Shapes are laid under each other, **right sides aligned**. Where one has a 1, or nothing, its numbers are read again for each place of the other;
# two sizes that differ, none of them 1, are an error. `None` in square brackets puts in an axis of size 1. The inputs
# are not copied; the result is as large as it says, N · G · h · w numbers, which for large maps is where memory goes.

# %% tags=["demo"]
N, G, h, w = 3, 4, 6, 6
y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")  # (h, w) each
guesses = torch.stack([x < 3, y < 3, x + y < 5])  # (N, h, w), bool
truths = torch.stack([x < 2, y >= 3, x + y >= 5, (x > 1) & (y > 1)])  # (G, h, w)

slow = torch.zeros(N, G, dtype=torch.int64)
for n in range(N):
    for g in range(G):
        slow[n, g] = (guesses[n] & truths[g]).sum()

both = guesses[:, None] & truths[None]  # (N, 1, h, w) and (1, G, h, w) make (N, G, h, w)
assert torch.equal(slow, both.sum((-2, -1)))  # pixels that a guess shares with a truth

# %% tags=["hide-input", "demo"]
from matplotlib.colors import ListedColormap

BLUE, ORANGE, DARK = "#4A90C4", "#F7D794", "#14213D"


def cell(ax, picture, colors, note="", color="black"):
    ax.imshow(picture, cmap=ListedColormap(["white", *colors]), vmin=0, vmax=len(colors))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#999999")
    ax.set_xlabel(note, labelpad=2, color=color)


fig, axes = plt.subplots(N + 1, G + 1, figsize=(6.6, 5.9))
axes[0, 0].axis("off")
for g in range(G):
    cell(axes[0, g + 1], truths[g], [ORANGE])
for n in range(N):
    cell(axes[n + 1, 0], guesses[n], [BLUE])
    for g in range(G):
        overlay = guesses[n].int() + 2 * truths[g].int()
        cell(axes[n + 1, g + 1], overlay, [BLUE, ORANGE, DARK], f"{slow[n, g]}")
axes[0, 2].set_title("truths[None]   (1, G = 4, h, w)", loc="left", pad=10)
axes[2, 0].set_ylabel("guesses[:, None]   (N = 3, 1, h, w)", labelpad=10)
fig.subplots_adjust(wspace=0.18, hspace=0.28)
lower, upper = axes[3, 1].get_position(), axes[1, 4].get_position()
frame = plt.Rectangle(
    (lower.x0 - 0.014, lower.y0 - 0.05), upper.x1 - lower.x0 + 0.028, upper.y1 - lower.y0 + 0.062,
    transform=fig.transFigure, fill=False, edgecolor=DARK, linewidth=1.2,
)  # fmt: skip
fig.add_artist(frame)
fig.text((lower.x0 + upper.x1) / 2, lower.y0 - 0.085, "both   (N = 3, G = 4, h, w)", ha="center")
show(
    fig,
    "A column of three blue masks on the left, a row of four orange masks on top, and a frame of three by four cells "
    "between them. Each cell lays the mask of its row on that of its column; shared pixels are dark and counted.",
    "Each row reads its blue mask four times, each column its orange one three times. Dark pixels belong to both; beneath each cell their number.",
)

# %% [markdown]
# **Trap.** Two axes of which one is missing: a loss of shape (N,) less a truth of shape (N, 1) is no error, but a table of N × N differences.
# Ask a sum to keep its axis when you will divide by it.

# %%
scores, truth = torch.rand(N), torch.rand(N, 1)
assert (scores - truth).shape == (N, N)  # meant was (N,)
weights = torch.rand(N, G)
shares = weights / weights.sum(1, keepdim=True)  # (N, G) / (N, 1); without keepdim an error, or worse
same(shares.sum(1), torch.ones(N))

# %% [markdown] tags=["demo"]
# ## 2 · einsum: a sum over letters
#
# ```
# p       (N, K)         "nk,nhw->khw"
# m       (N, h, w)       n is not behind the arrow: multiply, and sum over n
# result  (K, h, w)       k, h, w stay
# ```
#
# One letter an axis; the same letter is the same axis. Write a loop for each letter, and the line in the middle is always the same:
# result[letters behind the arrow] += product of the inputs at their letters.

# %% tags=["demo"]
K = 3
p, m = torch.rand(N, K), torch.rand(N, h, w)

slow = torch.zeros(K, h, w)
for n in range(N):
    for k in range(K):
        for i in range(h):
            for j in range(w):
                slow[k, i, j] += p[n, k] * m[n, i, j]

same(slow, torch.einsum("nk,nhw->khw", p, m))

# %% tags=["hide-input", "demo"]
left = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]])  # (N, K)
right = torch.tensor([[1.0, 0.8, 0.1, 0.0], [0.0, 0.3, 0.9, 0.5], [0.1, 0.0, 0.4, 1.0]])  # (N, P)
k, place = 1, 3
product = torch.einsum("nk,np->kp", left, right)


def grid(ax, values, name, rows, columns, chosen):
    ax.imshow(values, vmin=-0.2, vmax=1.9, cmap="Greys")
    ax.set(xticks=[], yticks=[], xlabel=columns, ylabel=rows)
    ax.set_title(name, fontsize=10)
    ax.spines[:].set_visible(False)
    for i, j in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        ax.text(j, i, f"{values[i, j]:.2g}", ha="center", va="center", fontsize=11)
        ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="white", lw=3))
    top, start, tall, wide = chosen
    box = (start - 0.46, top - 0.46)
    ax.add_patch(plt.Rectangle(box, wide - 0.08, tall - 0.08, fill=False, edgecolor=DARK, lw=3))


fig, axes = plt.subplots(2, 2, figsize=(6.2, 5.4), width_ratios=[3, 4])
grid(axes[0, 1], right, "m   (N, P)", "n", "", (0, place, 3, 1))
grid(axes[1, 0], left.T, "p, laid on its side   (K, N)", "k", "n", (k, 0, 1, 3))
grid(axes[1, 1], product, "result   (K, P)", "k", "p", (k, place, 1, 1))
axes[0, 0].axis("off")
terms = [f"{left[n, k]:.1f} · {right[n, place]:.1f}" for n in range(3)]
axes[0, 0].text(
    0.0, 0.5, '"nk,np->kp"\n\n' + "\n+ ".join(terms) + f"\n= {product[k, place]:.2f}",
    va="center", fontsize=12, transform=axes[0, 0].transAxes,
)  # fmt: skip
fig.tight_layout()
show(
    fig,
    "Three tables of numbers: m with N rows and P columns above, p laid on its side with K rows and N columns at the left, "
    "and the result with K rows and P columns in the corner between them. Framed are one cell of the result, the row of p left of it and the "
    "column of m above it; their products are written out and summed.",
    "The axis n runs along the framed row and down the framed column, and ends in the framed cell: it is summed. Darker is larger.",
)

# %% [markdown]
# What else the letters can say, each as a line without einsum:

# %%
a, b = torch.rand(4, 5), torch.rand(4, 5)
same(torch.einsum("ij->ji", a), a.T)
same(torch.einsum("ij,ij->i", a, b), (a * b).sum(1))  # i in all, and kept: no sum over it
same(torch.einsum("ij,kj->ik", a, b), a @ b.T)
same(torch.einsum("ij->", a), a.sum())

# %% [markdown]
# ## 3 · Matrix products of a batch
#
# ```
# e        (B, N, C)
# f        (B,    C, S)
# e @ f    (B, N,    S)
# ```
#
# `@` multiplies the last two axes, and broadcasts those before. `x.mT` exchanges the last two; `x.T` is for two axes only. The masks of all queries are such a product.

# %%
B, C, S = 2, 5, h * w
e, f = torch.rand(B, N, C), torch.rand(B, C, S)
slow = torch.zeros(B, N, S)
for b in range(B):
    for n in range(N):
        for s in range(S):
            slow[b, n, s] = (e[b, n] * f[b, :, s]).sum()

same(slow, e @ f)
maps = f.unflatten(2, (h, w))  # (B, C, h, w)
same((e @ f).unflatten(2, (h, w)), torch.einsum("bnc,bchw->bnhw", e, maps))

# %% [markdown]
# ## 4 · Other shapes of the same numbers
#
# ```
# (B, C, h, w)  -- flatten(2) -->  (B, C, h·w)  -- mT -->  (B, h·w, C)      pixels as rows
# (B, S, C)  -- unflatten(-1, (heads, -1)) -->  (B, S, heads, d)  -- transpose(1, 2) -->  (B, heads, S, d)
# ```
#
# Numbers lie in memory in one row, the last axis fastest. `flatten`, `unflatten`, `view` and `reshape` cut that row otherwise; `transpose`, `mT` and
# `permute` change which axis is which. The two are no substitutes: only axes that stand side by side, in their order, can be flattened.

# %%
heads, d = 2, 3
cells = torch.arange(B * S * heads * d).view(B, S, heads * d)
slow = torch.zeros(B, heads, S, d, dtype=torch.int64)
for head in range(heads):
    slow[:, head] = cells[:, :, head * d : (head + 1) * d]

fast = cells.unflatten(-1, (heads, -1)).transpose(1, 2)
assert torch.equal(slow, fast)
assert torch.equal(fast.transpose(1, 2).flatten(2), cells)  # and back
assert not torch.equal(cells.view(B, heads, S, d), fast)  # right shape, wrong numbers

# %% [markdown]
# ## 5 · View or copy?
#
# ```
# x.view, x[2:5], x.T, x[None], expand      the same memory: write into one, and both change
# x[index], x[mask], clone, cat, repeat     new memory
# reshape, flatten, contiguous              a view where it can be, else a copy
# ```
#
# Operations whose names end in an underscore, and `+=`, write into the tensor that they are given: into the caller's, if you were handed it.

# %%
x = torch.zeros(2, 3)
x[0].add_(1)  # a row is a view
x.T[2, 1] = 5  # so is a transposed tensor
x[torch.tensor([0])] += 10  # an index that is assigned to writes into x ...
picked = x[torch.tensor([1])]
picked += 100  # ... but reading by index copied
assert x.tolist() == [[11, 11, 11], [0, 0, 5]]

safe = x.clone()
safe[0] = 0
assert x[0, 0] == 11  # untouched
assert x.T.reshape(6).data_ptr() != x.data_ptr()  # columns do not lie in one row: copied
assert x.reshape(6).data_ptr() == x.data_ptr()

# %% [markdown]
# ## 6 · Together, apart, and more of the same
#
# ```
# stack of G (h, w)         ->  (G, h, w)     a new axis
# cat of (B, 4, C), (B, 9, C)  ->  (B, 13, C)    along an axis that is there
# split([4, 9], dim=1), chunk(3)                 the way back: by sizes; in 3 equal parts
# repeat_interleave: a a b b        repeat: a b a b        expand: (1, C) read as (N, C), not copied
# ```

# %%
coarse, fine = torch.rand(B, 4, C), torch.rand(B, 9, C)
slow = torch.zeros(B, 13, C)
for s in range(13):
    slow[:, s] = coarse[:, s] if s < 4 else fine[:, s - 4]
assert torch.equal(slow, torch.cat([coarse, fine], dim=1))
assert all(map(torch.equal, slow.split([4, 9], dim=1), [coarse, fine]))

ab = torch.tensor([1, 2])
assert ab.repeat_interleave(2).tolist() == [1, 1, 2, 2] and ab.repeat(2).tolist() == [1, 2, 1, 2]
assert torch.equal(ab.expand(3, 2), torch.stack([ab, ab, ab]))

# %% [markdown]
# ## 7 · Some of it, by yes or no
#
# ```
# x        (N, P)
# mask     (N, P) bool     x[mask]  ->  (number of True,)     rows after each other
# keep     (N,)   bool     x[keep]  ->  (number of True, P)
# ```

# %%
x = torch.tensor([[1, -2, 3], [-4, 5, -6]])
slow = [value for row in x.tolist() for value in row if value > 0]
assert x[x > 0].tolist() == slow == [1, 3, 5]

keep = torch.tensor([False, True])
assert torch.equal(x[keep], x[1:])
assert torch.equal(torch.where(x > 0, x, 0), x.masked_fill(x <= 0, 0))  # shape stays
rows, columns = (x > 0).nonzero(as_tuple=True)  # where is it True?
assert list(zip(rows.tolist(), columns.tolist())) == [(0, 0), (0, 2), (1, 1)]

# %% [markdown]
# ## 8 · Some of it, by number
#
# ```
# x[index]             index (M,)            ->  (M, P)     whole rows, in this order
# x[rows, columns]     both (M,)             ->  (M,)       pairs: one number for each
# x.gather(1, index)   x (N, P), index (N, M)  ->  (N, M)     in each row its own places
# ```

# %%
N, P, M = 3, 8, 2
x = torch.rand(N, P)
index = x.abs().topk(M, dim=1, largest=False).indices  # (N, M): the M smallest of each row
slow = torch.zeros(N, M)
for n in range(N):
    for i in range(M):
        slow[n, i] = x[n, index[n, i]]

assert torch.equal(slow, x.gather(1, index))
assert torch.equal(slow, x[torch.arange(N)[:, None], index])  # broadcast pairs: the same
queries, classes = torch.tensor([2, 0]), torch.tensor([7, 1])
assert x[queries, classes].tolist() == [x[2, 7], x[0, 1]]  # not a 2 × 2 table

# %% [markdown]
# ## 9 · argmax, and its ties
#
# ```
# scores  (K, h, w)   argmax(0)  ->  (h, w)     a class for each pixel
# ```
#
# Of equals, `argmax` and `max` give the first; `topk` and `sort` promise nothing, `sort(stable=True)` keeps their order. Ties are no rarity: the
# sigmoid of a sure logit is exactly 1 in float32. Compare logits, where you can.

# %%
scores = torch.rand(K, h, w)
slow = torch.zeros(h, w, dtype=torch.int64)
for i in range(h):
    for j in range(w):
        slow[i, j] = max(range(K), key=lambda k: scores[k, i, j].item())
assert torch.equal(slow, scores.argmax(0))

assert torch.tensor(20.0).sigmoid() == torch.tensor(30.0).sigmoid() == 1  # logits still differ
tied = torch.tensor([0.2, 0.9, 0.9])
assert tied.argmax() == tied.max(0).indices == 1
assert tied.sort(descending=True, stable=True).indices.tolist() == [1, 2, 0]

# %% [markdown]
# ## 10 · Counting
#
# ```
# ids (h, w)  unique(return_counts=True)  ->  the ids that occur, ascending; how often
# small whole numbers  bincount(minlength=K)  ->  (K,), zeros included
# sizes  cumsum(0) - sizes  ->  where each part begins
# ```

# %%
ids = torch.tensor([[7, 7, 2], [2, 7, 0]])
slow = {}
for i in ids.flatten().tolist():
    slow[i] = slow.get(i, 0) + 1
values, counts = ids.unique(return_counts=True)
assert dict(zip(values.tolist(), counts.tolist())) == slow
assert ids.flatten().bincount(minlength=9).tolist() == [slow.get(i, 0) for i in range(9)]

sizes = torch.tensor([4, 9, 16])  # pixels of three levels, one after the other in a table
assert (sizes.cumsum(0) - sizes).tolist() == [0, 4, 13]  # each level's first row

# %% [markdown]
# ## 11 · Another size
#
# ```
# (B, C, h, w)  -- F.interpolate(x, (2h, 2w), mode="bilinear") -->  (B, C, 2h, 2w)     always four axes
# ```
#
# Pixel i of `new` has its centre at (i + ½) · old / new − ½ in the old row; bilinear mixes the two neighbours of that place, and repeats the edge.
# Going down it still reads two in a row, however many there are between; ask for `antialias=True` to read all.

# %%
from torch.nn import functional as F

row = torch.tensor([0.0, 4.0, 8.0, 0.0])
slow = torch.zeros(8)
for i in range(8):
    place = min(max((i + 0.5) * 4 / 8 - 0.5, 0), 3)
    left, part = int(place), place % 1
    slow[i] = (1 - part) * row[left] + part * row[min(left + 1, 3)]
same(slow, F.interpolate(row[None, None, None], (1, 8), mode="bilinear")[0, 0, 0])

# %% [markdown]
# ## 12 · Attention in one call
#
# ```
# q (B, heads, N, d)   k, v (B, heads, S, d)   allowed (B, 1, N, S) bool   ->   (B, heads, N, d)
# ```
#
# `True` means *may look*; `nn.MultiheadAttention` means the opposite. The mask broadcasts over the heads.

# %%
q, k, v = torch.rand(B, heads, N, d), torch.rand(B, heads, S, d), torch.rand(B, heads, S, d)
allowed = torch.rand(B, 1, N, S) > 0.5
slow = torch.zeros(B, heads, N, d)
for b in range(B):
    for head in range(heads):
        for n in range(N):
            seen = allowed[b, 0, n]
            weights = (k[b, head, seen] @ q[b, head, n] / d**0.5).softmax(0)
            slow[b, head, n] = weights @ v[b, head, seen]
same(slow, F.scaled_dot_product_attention(q, k, v, attn_mask=allowed))

# %% [markdown]
# ## 13 · Logarithms of exponentials
#
# exp(100) does not fit into float32, log(exp(100)) is 100. The functions below take the largest number out before they begin, so large logits survive.
# Cross entropy is logsumexp(logits) − logit of the true class; BCE is made of softplus(x) = log(1 + exp(x)).

# %%
x = torch.tensor([1.0, 2.0, 0.5])
slow = torch.log(sum(torch.exp(number) for number in x))
same(slow, x.logsumexp(0))
same(x.logsumexp(0) - x[1], F.cross_entropy(x, torch.tensor(1)))
assert torch.exp(100 * x).sum().log().isinf()
same((100 * x).logsumexp(0), torch.tensor(200.0))
same(F.softplus(-x), -x.sigmoid().log())
same(x.softmax(0), (x - x.logsumexp(0)).exp())

# %% [markdown]
# ## 14 · Numbers that surprise
#
# | line | what it does |
# | --- | --- |
# | `7 / 2` of whole tensors | 3.5, a float; `7 // 2` is 3, `-7 // 2` is −4 (downwards) |
# | `uint8` | has 0 … 255 and runs over: 250 + 10 is 4. Change the type before you calculate with colours |
# | `mask.sum()` | counts the True ones as int64; `mask.mean()` is an error: `mask.float().mean()` |
# | `order // K`, `order % K` | row and column in a flattened table of K columns |
# | float32 | has 24 bits: from 16,777,216 on it skips whole numbers |

# %%
assert (torch.tensor(7) / 2).item() == 3.5
assert (torch.tensor([7, -7]) // 2).tolist() == [3, -4]
color = torch.tensor([250], dtype=torch.uint8)
assert (color + 10).item() == 4 and (color.int() + 10).item() == 260
mask = torch.tensor([True, True, False])
assert mask.sum() == 2 and mask.float().mean() > 0.6
K, flat = 3, torch.arange(12).view(4, 3)
order = flat.flatten().argmax()
assert (order // K, order % K) == (3, 2)
assert torch.tensor(2.0**24) + 1 == 2**24  # the sum of many pixels: count in int64
