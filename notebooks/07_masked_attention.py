# %% [markdown]
# # 7 · Masked attention
#
# Let each query look only where its last guess was: write the few lines that gave Mask2Former its name.
#
# *read 65 min · run 25 s CPU · exercises 35 min*
#
# **Needs** chapter 6 · **Library** `minim2f/model/transformer_decoder.py` · **Paper** section 3.2.1

# %% [markdown]
# ## You will be able to
#
# - compute masked attention by hand (Predict)
# - write a masked softmax that survives an empty mask (7.1)
# - make the mask of a layer from the prediction before it (7.2)
# - hand a mask to PyTorch's attention the right way round (7.3)
# - measure how much of a query's attention falls on its object (7.4)
# - recognise a missing rescue and an inverted mask (Break it)

# %% [markdown]
# ## Where we are

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% tags=["hide-input"]
where_we_are("masked attention")

# %% [markdown]
# ### Attention in one breath
#
# - A **query** is a vector of $C$ numbers that is to find one segment; there are $N$. A prediction can be read off it: a
#   class, and a **mask embedding** $E'$. The product of $E'$ and the features $F_{pixel}$ of a **pixel** (at 1/4 of the
#   picture's size) is the mask logit of that pixel.
# - The picture comes in three **levels**, P5, P4 and P3, at 1/32, 1/16 and 1/8 of its size; decoder layers 1, 2 and 3
#   read them in this order. One place of a level is a **cell**, a vector of $C$ numbers too.
# - In **cross-attention** linear maps turn a query into $q$, each cell into a key $k$ and a value $v$. The products of
#   $q$ and $k$ are **scores**, their softmax gives **weights**, and the query receives the weighted mean of the values.
# - Several **attention heads** of $d$ channels each do this side by side. (They are not the prediction heads of the map.)
# - In **self-attention** the queries look at each other.
#
# ### What is new
#
# So far every query looks at every cell of a level, guided by scores alone, and good scores take long to learn. But
# before each layer the query also predicts a mask: its guess where the object is. In **masked attention** the query may
# look at the cells inside this mask, and at no others. Other queries look elsewhere, and tell in self-attention.

# %% [markdown]
# ## Predict
#
# A query looks at four cells. Its weights are 0.6, 0.2, 0.1, 0.1. Now a mask blocks the first cell.
# What are the four weights?
#
# <details><summary>Answer</summary>
#
# 0, 0.5, 0.25, 0.25. The blocked cell gets nothing. The others share its 0.6 in proportion to what they had:
# the second cell still has twice the weight of the third.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Three queries look at four cells, a to d. The scores are logarithms of whole numbers, so that you can do the
# softmax in your head: divide $e^{score}$ by the sum of its row. A blocked cell has the score $-\infty$, and
# $e^{-\infty} = 0$.
#
# Say the values of the cells are their brightnesses 8, 4, 2 and 0. Without a mask query 0 receives
# $0.6·8 + 0.2·4 + 0.1·2 = 5.8$, with its mask $0.5·4 + 0.25·2 = 2.5$.
#
# (`same` stops the run if two results differ by more than $10^{-5}$.)

# %% tags=["demo"]
powers = torch.tensor([[6.0, 2, 1, 1], [1, 1, 3, 5], [2, 4, 2, 2]])  # e^score, a row a query
scores = powers.log()
allowed = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()  # True: may look

M = torch.zeros(3, 4).masked_fill(~allowed, -torch.inf)
weights = (M + scores).softmax(-1)
same(weights[0], torch.tensor([0, 2, 1, 1]) / 4)
same(weights[1], torch.tensor([0, 0, 3, 5]) / 8)
same(weights[2], torch.tensor([2, 4, 2, 2]) / 10)

# %% tags=["demo"]
brightness = torch.tensor([8.0, 4, 2, 0])
same(scores.softmax(-1)[0] @ brightness, 5.8)
same(weights[0] @ brightness, 2.5)

# %% tags=["demo", "hide-input"]
signs = [["0" if a else "−∞" for a in row] for row in allowed]
panels = [
    ("$e^{score}$", powers, [[f"{p:.0f}" for p in row] for row in powers]),
    ("mask $M$", allowed.float(), signs),
    ("softmax of mask + score", weights, [[f"{w:.3g}" for w in row] for row in weights]),
]
fig, axes = plt.subplots(1, 3, figsize=(9.6, 1.9), gridspec_kw={"wspace": 0.35})
for ax, (title, values, texts) in zip(axes, panels):
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1.8 * values.max())
    for y, row in enumerate(texts):
        for x, text in enumerate(row):
            ax.text(x, y, text, ha="center", va="center")
    ax.set_title(title)
    ax.set_xticks(range(4), [f"cell {name}" for name in "abcd"], fontsize=8)
    ax.set_yticks(range(3), [f"query {n}" for n in range(3)], fontsize=8)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
show(
    fig,
    "Three tables of 3 queries by 4 cells: e to the score, the mask of zeros and minus "
    "infinities, and the weights, which are 0 exactly where the mask is minus infinity.",
    "Query 0: cell a had the highest score, and gets nothing. Query 2 blocks nothing, so its row is "
    "a plain softmax. Rows of weights that do not sum to 1 would be wrong.",
)

# %% [markdown]
# ## The equation
#
# $$A_l = \mathrm{softmax}(M_{l-1} + Q_l K_l^T)\, V_l + X_{l-1}$$
#
# $$M_{l-1}(n, s) = \begin{cases} 0 & \text{if cell } s \text{ is inside the mask that query } n \text{ predicted before layer } l \\ -\infty & \text{otherwise} \end{cases}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $l$ | `layer` | | number of the decoder layer, from 1 |
# | $n$, $s$ | `n`, `s` | | one query, one cell |
# | B, N, hw, C | | | pictures, queries, cells of the level, channels |
# | $X_{l-1}$ | `x` | (B, N, C) | the queries before the layer |
# | $Q_l$ | `q` | (B, N, C) | what queries ask: a linear map of $X_{l-1}$ plus the queries' learned positions |
# | $K_l$ | `k` | (B, hw, C) | what cells answer to: a linear map of the cells plus their places |
# | $V_l$ | `v` | (B, hw, C) | what cells give: a linear map of the cells alone |
# | $M_{l-1}$ | `allowed` | (B, N, hw) | in the formula $0$: may look, $-\infty$: blocked; in code True and False |
# | $A_l$ | `A_1` for $l=1$ | (B, N, C) | the queries after looking |
# | $E'$ | `embeddings` | (B, N, C) | mask embeddings |
# | $F_{pixel}$ | `pixel_features` | (B, C, H/4, W/4) | features of the pixels |
# | $d$ | `C // heads` | | width of one attention head |
#
# Inside: a mask logit of at least 0, a probability of at least 0.5, at the size of the level.
#
# Layer 1 uses the guess of the raw queries, which have seen no picture. But their embeddings are multiplied with
# $F_{pixel}$, so even this mask depends on the picture.
#
# The formula leaves out what every implementation has: scores divided by $\sqrt{d}$, several heads, a linear map after
# them, a layer norm after the sum. Self-attention and a feed-forward net then make $A_l$ into $X_l$.

# %% [markdown]
# ## Slow and obvious
#
# What is blocked adds nothing to the sum.


# %%
def slow_attention(q, k, v, allowed):
    """One head: (N, d), (hw, d), (hw, d), (N, hw) -> (N, d)"""
    seen = torch.zeros(len(q), v.shape[1])
    for n in range(len(q)):
        powers = [(q[n] @ k[s] / q.shape[1] ** 0.5).exp() * allowed[n, s] for s in range(len(k))]
        for s in range(len(k)):
            seen[n] += powers[s] / sum(powers) * v[s]
    return seen


# %% [markdown]
# Now the mask. Logits come at 1/4 of the picture's size, the level has 1/32, 1/16 or 1/8. So they are resized,
# bilinearly: a cell takes the mean of the four pixels around its centre. It does not average the rest; *Break it* shows
# what that costs. Then comes the decision.


# %%
def slow_mask(logits, factor):
    """One query: (H/4, W/4) mask logits -> (h, w) bool; a cell has factor x factor pixels."""
    (height, width), half = logits.shape, factor // 2
    rows, columns = range(half, height, factor), range(half, width, factor)
    centres = [[logits[y - 1 : y + 1, x - 1 : x + 1] for x in columns] for y in rows]
    return torch.tensor([[four.mean() >= 0 for four in row] for row in centres])


# %% [markdown]
# ## Fast and short
#
# One mask serves all heads: `[:, None]` adds an axis for them. `shapes.check` stops the run if a shape is not
# what its letters say.


# %% tags=["demo"]
def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, hw, C) -> (B, heads, hw, d)


@shapes.scoped
def attention_weights(q, k, allowed, heads):
    """(B, N, C), (B, hw, C), (B, N, hw) -> (B, heads, N, hw)"""
    shapes.check("q", q, "B N C")
    shapes.check("k", k, "B hw C")
    shapes.check("allowed", allowed, "B N hw")
    q, k = split(q, heads), split(k, heads)
    scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    return scores.masked_fill(~allowed[:, None], -torch.inf).softmax(-1)


def fast_attention(q, k, v, allowed, heads):
    seen = attention_weights(q, k, allowed, heads) @ split(v, heads)
    return seen.transpose(1, 2).flatten(2)  # (B, heads, N, d) -> (B, N, C)


# %%
B, N, cells, C, heads = 2, 3, 10, 8, 2
assert split(torch.zeros(B, cells, C), heads).shape == (B, heads, cells, C // heads)

q, k, v = torch.randn(B, N, C), *torch.randn(2, B, cells, C)
allowed = torch.rand(B, N, cells) < 0.5
allowed[..., 0] = True  # every query sees at least one cell, for now
slow = torch.zeros(B, N, C)
for b in range(B):
    for own in (slice(0, 4), slice(4, 8)):  # the channels of head 0, of head 1
        slow[b, :, own] = slow_attention(q[b, :, own], k[b, :, own], v[b, :, own], allowed[b])
same(fast_attention(q, k, v, allowed, heads), slow)

# %% [markdown]
# ### Resize before you multiply
#
# The obvious way resizes the $N$ products of $E'$ and $F_{pixel}$. But resizing is linear, and so is the product: you may
# as well resize $F_{pixel}$, once for a level, and multiply then.
# (In code `F` is `torch.nn.functional`, never the features.)

# %% tags=["demo"]
from torch.nn import functional as F


def resize(maps, factor):
    return F.interpolate(maps, scale_factor=1 / factor, mode="bilinear", align_corners=False)


def fast_mask(embeddings, pixel_features, factor):
    """(B, N, C), (B, C, H/4, W/4) -> (B, N, hw) bool, True: may look"""
    small = resize(pixel_features.detach(), factor).flatten(2)
    return embeddings.detach() @ small >= 0


# %%
embeddings, pixel_features = torch.randn(B, N, C), torch.randn(B, C, 16, 24)
product = "bnc,bchw->bnhw"
logits = torch.einsum(product, embeddings, pixel_features)
for factor in (2, 4, 8):
    same(torch.einsum(product, embeddings, resize(pixel_features, factor)), resize(logits, factor))
    slow = [[slow_mask(logits[b, n], factor).flatten() for n in range(N)] for b in range(B)]
    masks = fast_mask(embeddings, pixel_features, factor)
    assert all(masks[b, n].equal(slow[b][n]) for b in range(B) for n in range(N))

# %% [markdown]
# Same numbers, less work: P5 has 64 times fewer cells than there are pixels at 1/4. (In training the losses need the
# large product anyway.) Only the decision must come last, because a threshold is *not* linear.
#
# `detach` cuts the gradient, which a threshold, being flat, would not let through anyway.
#
# ### Rescue
#
# Of a small mask nothing may be left at 1/32. Its query would see nothing, and its softmax would be 0/0. So in that
# layer it may look everywhere.


# %% tags=["demo"]
def rescue(allowed):
    return allowed | ~allowed.any(-1, keepdim=True)


thin = torch.tensor([[True, False, False], [False, False, False]])
assert rescue(thin).tolist() == [[True, False, False], [True, True, True]]

# %% [markdown]
# ## Shapes
#
# A trained model, an unseen scene of size 96 × 96, and the tensors on the way.

# %% tags=["demo"]
model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
sample = scenes[9]
with torch.no_grad(), shapes.watch() as rows:
    prediction = model(model.batch([sample.image]))

# %% tags=["hide-input"]
meanings = {
    "X_0": "a channel of a learned query",
    "F_pixel": "a channel of a pixel at 1/4",
    "M_0": "may this query look at this cell of P5?",
    "Q_1": "a channel of a query, as it asks in layer 1",
    "K_1": "a channel of a cell of P5, as it answers",
    "V_1": "a channel of a cell of P5, as it is given",
    "A_1": "a query after looking, before it talks to the others",
    "M_1": "may this query look at this cell of P4?",
    "K_2": "a channel of a cell of P4",
    "M_2": "may this query look at this cell of P3?",
    "K_3": "a channel of a cell of P3",
}
shape_table(rows, meanings=meanings)

# %% [markdown]
# ## Look
#
# ### Masks are cut finer from level to level
#
# **Matching** (chapter 9) tells which query answers for which segment: it makes the matching costs of all pairs together
# smallest. We follow three queries, from a large segment to a small one. (`make play` writes a page with $M_0$ to $M_2$ of all.)

# %% tags=["demo"]
from minim2f.training.batches import collate
from minim2f.training.matching import match


def answers(prediction, targets):
    """The queries of one picture that answer for a segment, and those segments."""
    seeded = torch.Generator().manual_seed(0)  # match compares masks at random points
    (pairs,) = match(prediction, targets, model.config, seeded)
    return pairs


queries, segments = answers(prediction, collate(model, [sample])[1])
# "wall-brick" is too long for a figure: the first word will do
names = [scenes.categories[label]["name"].split("-")[0] for label in sample.labels[segments]]
by_size = sample.masks[segments].sum((1, 2)).argsort(descending=True)
# the largest, one in the middle, the smallest
shown = [(int(queries[i]), names[i], sample.masks[segments[i]]) for i in by_size[[0, 3, -1]]]

# %% tags=["demo", "hide-input"]
from minim2f import plots

titles = "its segment", "$M_0$, 3 × 3", "$M_1$, 6 × 6", "$M_2$, 12 × 12", "prediction, 24 × 24"
fig, axes = plots.figure(len(shown), 5, size=1.3, gap=0.1)
for line, (query, name, segment) in zip(axes, shown):
    color = plots.query_color(query)
    line[0].text(-6, 48, f"query {query}\n{name}", fontsize=9, ha="right", va="center")
    plots.draw_image(line[0], (sample.image * (0.3 + 0.7 * segment)).byte())
    for layer, ax in zip((1, 2, 3), line[1:]):
        mask = rows[f"M_{layer - 1}"].tensor[0, query].unflatten(0, (3 * 2 ** (layer - 1), -1))
        rescued = mask.all()  # a mask that covers the whole picture would count as well
        plots.draw_mask(ax, sample.image, mask * (not rescued), color)
        if rescued:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
            ax.text(48, 48, "empty:\nrescued", fontsize=9, ha="center", va="center", bbox=box)
    plots.draw_mask(line[4], sample.image, prediction.mask_logits[0, query].sigmoid(), color)
for ax, title in zip(axes[0], titles):
    ax.set_title(title, fontsize=9)
show(
    fig,
    f"Masks of three queries ({', '.join(name for _, name, _ in shown)}), one per row: those that "
    "guide layers 1, 2 and 3, in cells that get smaller, and the prediction.",
    "From left to right the cells get smaller, and the masks are cut finer. Rescued: nothing was "
    "left of the mask at this size. An empty last column would be a query that found nothing.",
)

# %% [markdown]
# Can a query leave a wrong mask? The mask confines where it looks, not what it predicts, which is a product with *all*
# pixels. We compare the predictions after layers 1 and 2 on one grid, the cells of P3, over 40 unseen scenes.


# %%
def moved(scene):
    """(3, N) bool: in layer 2, cells of P3 are gained; some that layer 2 had blocked; lost"""
    with torch.no_grad(), shapes.watch() as seen:
        _, first, second = model(model.batch([scene.image])).auxiliary  # after 0, 1, 2 layers
    features = seen["F_pixel"].tensor
    before, after = (fast_mask(p.mask_embeddings, features, 2)[0] for p in (first, second))
    cells = seen["M_1"].tensor[0].view(-1, 6, 6)
    cells = cells.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)  # 12 x 12, like P3
    gained = after & ~before
    return torch.stack([gained, gained & ~cells, before & ~after]).any(-1)


unseen = [scenes[i] for i in range(40)]
moves = torch.cat([moved(scene) for scene in unseen], dim=1)
gained, outside, lost = moves.sum(1).tolist()
print(f"of {moves.shape[1]} queries, {lost} lost a cell of P3 in layer 2, {gained} gained one;")
print(f"{outside} gained a cell that their mask had blocked")

# %% [markdown]
# It can, but in this trained model it rarely does.

# %% [markdown]
# ### One query's attention, with and without its mask
#
# The middle query's weights, mean over the heads: with nothing blocked (*open*) and with the mask (*masked*).

# %% tags=["demo", "hide-input"]
from matplotlib.cm import ScalarMappable

query, name, segment = shown[1]
fig, axes = plots.figure(2, 4, size=1.7, gap=0.4)
plots.draw_image(axes[0, 0], sample.image, "picture")
dimmed = (sample.image * (0.3 + 0.7 * segment)).byte()
plots.draw_image(axes[1, 0], dimmed, f"query {query}: {name}")
for layer, column in zip((1, 2, 3), axes.T[1:]):
    q, k, allowed = (rows[n].tensor for n in (f"Q_{layer}", f"K_{layer}", f"M_{layer - 1}"))
    side, edge = 3 * 2 ** (layer - 1), allowed[0, query]
    large = edge.view(side, side).repeat_interleave(96 // side, 0).repeat_interleave(96 // side, 1)
    for ax, kind in zip(column, ("open", "masked")):
        mask = allowed if kind == "masked" else torch.ones_like(allowed)
        weights = attention_weights(q, k, mask, model.config.num_heads)[0, :, query].mean(0)
        ax.imshow(weights.view(side, side), cmap="inferno", vmin=0, extent=(0, 96, 96, 0))
        if not edge.all():  # with a rim of zeros, so that the outline is closed
            places = torch.arange(98) - 0.5
            ax.contour(places, places, F.pad(large.float(), (1, 1, 1, 1)), [0.5], colors="white")
        ax.set_title(f"layer {layer}, {kind}\nlargest {weights.max():.2f}", fontsize=8)
        ax.set(xlim=(-1, 97), ylim=(97, -1), xticks=[], yticks=[])
        if kind == "open":
            beyond = 1 - (weights * edge).sum()
bar = fig.colorbar(ScalarMappable(cmap="inferno"), ax=list(axes.flat), shrink=0.7)
bar.set_label("weight / the map's largest", fontsize=8)
show(
    fig,
    f"A picture, the segment of query {query} ({name}), and six maps of its attention: open above, "
    "masked below, layers 1 to 3 from left to right. In layer 3, "
    f"{beyond:.0%} of the open attention lies outside the outlined mask.",
    f"Query {query}, {name}. Above: the same scores with the mask left off. Below: what the model "
    "does. Black is a weight of 0. White outline: the mask. No outline: rescued. In the lower row, "
    "light outside of the outline would be a bug.",
)

# %% [markdown]
# ### The same, in numbers
#
# How much of a query's attention falls on its segment? (The weight of a cell that lies in it in part counts in part.)
# Means over heads, matched queries and the 40 scenes:


# %%
def look_around(sample):
    """(3 layers, 4, queries): attention on the own segment, masked and open; its area; rescued?"""
    images, targets = collate(model, [sample])
    with torch.no_grad(), shapes.watch() as rows:
        queries, segments = answers(model(images), targets)
    masks, heads, found = targets[0].masks[segments].float(), model.config.num_heads, []
    for layer, scale in zip((1, 2, 3), (32, 16, 8)):
        q, k, allowed = (rows[n].tensor for n in (f"Q_{layer}", f"K_{layer}", f"M_{layer - 1}"))
        both = [attention_weights(q, k, m, heads) for m in (allowed, torch.ones_like(allowed))]
        inside = F.avg_pool2d(masks, scale).flatten(1)  # the share of each cell
        shares = [(weights[0][:, queries] * inside).sum(-1).mean(0) for weights in both]
        rescued = allowed[0, queries].all(-1).float()
        found.append(torch.stack([*shares, inside.mean(1), rescued]))
    return torch.stack(found)


# %%
found = torch.cat([look_around(scene) for scene in unseen], dim=2).mean(2)
header = ["layer", "masked", "open", "area of the segment", "queries that were rescued"]
table(header, [[layer, *(f"{x:.0%}" for x in line)] for layer, line in enumerate(found, 1)])
masked, open_, area = found[2, :3]
print(f"layer 3: masked {masked / area:.1f} times the area, open {open_ / area:.1f} times")
assert masked > 2 * open_

# %% [markdown]
# A query that looks everywhere alike would put 13 % on its segment, the segment's share of the area. In this model, which
# learned with masks, the scores alone put 14 to 21 % there. The paper reports, for two models trained on COCO, 20 % on
# the foreground without masks, 59 % with.

# %% [markdown]
# ## Checkpoint
#
# First the library's attention.

# %%
from minim2f.model.transformer_decoder import Attention, attention_mask

theirs = Attention(channels=C, num_heads=heads)
q, k, v = torch.randn(B, N, C), *torch.randn(2, B, cells, C)
allowed = rescue(torch.rand(B, N, cells) < 0.5)
matrices, biases = theirs.in_proj.weight.chunk(3), theirs.in_proj.bias.chunk(3)  # of q, k, v
mapped = [F.linear(*parts) for parts in zip((q, k, v), matrices, biases)]
mine = fast_attention(*mapped, allowed, heads)
same(theirs.out_proj(mine), theirs(q, k, v, allowed))

# %% [markdown]
# Then PyTorch's two implementations, which disagree: True means *may look* to `scaled_dot_product_attention`, but
# *blocked* to `nn.MultiheadAttention`. Neither complains when it is given the other's mask.

# %%
qkv = [split(x, heads) for x in (q, k, v)]
sdpa = F.scaled_dot_product_attention(*qkv, attn_mask=allowed[:, None])
same(fast_attention(q, k, v, allowed, heads), sdpa.transpose(1, 2).flatten(2))

torchs = torch.nn.MultiheadAttention(C, heads, batch_first=True)
renamed = {name.replace("in_proj.", "in_proj_"): w for name, w in theirs.state_dict().items()}
torchs.load_state_dict(renamed)
for b in range(B):  # picture by picture: then a mask of (N, hw) serves all heads
    one = slice(b, b + 1)
    same(torchs(q[one], k[one], v[one], attn_mask=~allowed[b])[0], theirs(q, k, v, allowed)[one])

# %% [markdown]
# Last, the whole equation on the live model. The result is the library's $A_1$.

# %%
first_layer, x = model.decoder.layers[0], rows["X_0"].tensor
allowed = rescue(fast_mask(prediction.auxiliary[0].mask_embeddings, rows["F_pixel"].tensor, 8))
same(allowed, rows["M_0"].tensor)

q, k, v = (rows[name].tensor for name in ("Q_1", "K_1", "V_1"))
with torch.no_grad():
    seen = fast_attention(q, k, v, allowed, model.config.num_heads)
    seen = first_layer.cross_attention.out_proj(seen)
    same(first_layer.cross_norm(seen + x), rows["A_1"].tensor)

# %% [markdown]
# ## Experiment
#
# *Hypothesis:* a model that is told where to look learns faster than one that must find out.
#
# One switch is changed, `masked_attention`; in each pair of runs weights at the start and pictures are the same. Speed
# is the height of the learning curve: the mean, over eight moments, of PQ (panoptic quality, chapter 13; 1 is perfect).
# Spread is the standard deviation over the seeds. These models were stored after 400 steps, and are not the one above.

# %%
from minim2f.book import experiments
from minim2f.book.experiments.ch07 import attention_share, before_looking

stored = experiments.read("07_masked_attention")
print(stored["command"])
runs = {kind: [r for r in stored["runs"] if r["variant"] == kind] for kind in ("masked", "open")}
pq = {kind: torch.tensor([run["pq"] for run in runs[kind]]) for kind in runs}  # (seeds, moments)
steps = runs["open"][0]["steps"]


def line(name, values, form):
    return [name, *(form.format(x) for x in values)]


height = {kind: values.mean(1) for kind, values in pq.items()}
gain = height["masked"] - height["open"]
rows_shown = height | {"masked − open": gain}
lines = [line(kind, [*xs, xs.mean(), xs.std()], "{:.3f}") for kind, xs in rows_shown.items()]
seeds = (f"seed {run['seed']}" for run in runs["open"])
table(["mean PQ of the curve", *seeds, "mean", "spread"], lines)

# %%
ahead, pairs = int((gain > 0).sum()), len(gain)
verdict = {pairs: "weakly supports", 0: "weakly contradicts"}.get(ahead, "does not decide")
print(f"Masks are ahead in {ahead} of {pairs} pairs of runs: this {verdict} the hypothesis.")
print(f"(Were it a coin that decides, they would win all {pairs} once in {2**pairs} experiments.)")
last = pq["masked"][:, -1] - pq["open"][:, -1]
print(f"At step {steps[-1]} the difference is {last.mean():+.3f} ± {last.std():.3f}.")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 2.8))
for (kind, values), color, dashes in zip(pq.items(), ("C0", "C1"), ("-", "--")):
    ax.plot(steps, values.T, color=color, linewidth=0.8, alpha=0.6, linestyle=dashes)
    mean = values.mean(0)
    ax.plot(steps, mean, color=color, linewidth=2.4, linestyle=dashes, marker="o", label=kind)
ax.legend(loc="upper left")
ax.set(xlabel="training steps", ylabel="PQ on unseen scenes", ylim=(0, None))
show(
    fig,
    f"PQ on unseen scenes up to training step {steps[-1]}, masked and open, {pairs} seeds each; "
    f"final means {pq['masked'][:, -1].mean():.2f} and {pq['open'][:, -1].mean():.2f}.",
    "Thick: the mean, with the eight moments as dots. Thin: each seed; how far they lie apart is "
    "what chance alone can do.",
)

# %% [markdown]
# At the last step the difference is within its spread: whether masks also end up better, these runs cannot tell.
#
# Where do the models look? Here, unlike under *Look*, the open model *learned* open. `attention_share` is the package's
# `look_around`, `masked=False` its *open*; the first two lines check that.

# %%
same(found[:, 0].tolist(), attention_share(model, unseen, masked=True))
same(found[:, 1].tolist(), attention_share(model, unseen, masked=False))

shares = {kind: torch.tensor([run["attention_share"] for run in runs[kind]]) for kind in runs}
lines = [line(f"{kind}, mean", xs.mean(0), "{:.1%}") for kind, xs in shares.items()]
lines += [line(f"{kind}, spread", xs.std(0), "{:.1%}") for kind, xs in shares.items()]
table(["attention on the own segment", "layer 1", "layer 2", "layer 3"], lines)
assert (shares["masked"].mean(0) > shares["open"].mean(0)).all()

# %% [markdown]
# On COCO, with a ResNet-50, the paper reports PQ 47.1 without and 51.9 with masks.
#
# ### How can it find what it does not look at?
#
# The open models put on their objects little more than the share of the area, and yet find many. A clue is `raw_pq`, the
# PQ of the raw queries, before layer 1.

# %%
lines = []
for kind, values in pq.items():
    lines.append(line(f"{kind}, before layer 1", [run["raw_pq"] for run in runs[kind]], "{:.2f}"))
    lines.append(line(f"{kind}, after layer 3", values[:, -1], "{:.2f}"))
table(["PQ at the end", *(f"seed {run['seed']}" for run in runs["open"])], lines)

# %% [markdown]
# A raw query finds much by itself: its embedding is a filter over all pixels of $F_{pixel}$. Now the model of *Look*.
# (Within `before_looking(model)` it returns its first prediction.)

# %%
from minim2f.training.evaluation import evaluate

twenty = minim2f.data.open_dataset("scenes", "val", length=20)
with before_looking(model):
    first = model(model.batch([sample.image]))
    found_by = {"raw queries": evaluate(model, twenty)}
same(first.mask_embeddings, prediction.auxiliary[0].mask_embeddings)
found_by["after layer 3"] = evaluate(model, twenty)
groups = ("All", "Stuff", "Things")
lines = [line(name, [found[g]["pq"] for g in groups], "{:.2f}") for name, found in found_by.items()]
table(["PQ on 20 unseen scenes", *groups], lines)

# %% [markdown]
# What is the attention for, then? It is known that in all these models the layers add much to the raw queries' PQ. It is
# open whether open layers do so by the mean of the picture that they receive, or by self-attention.

# %% [markdown]
# ## Break it
#
# ### Leave the rescue out
#
# A mast is three pixels wide at 1/4. This is its way to 1/32.

# %%
mast = torch.full((32, 32), -5.0)
mast[4:28, 8:11] = 5.0
assert not slow_mask(mast, 8).any()

# %% tags=["hide-input"]
wide = {"width_ratios": (2, 1, 1, 1)}
fig, axes = plt.subplots(1, 4, figsize=(10, 4), gridspec_kw=wide)
for ax, factor in zip(axes, (1, 2, 4, 8)):
    inside = mast >= 0 if factor == 1 else slow_mask(mast, factor)
    ax.imshow(inside, extent=(-0.5, 31.5, 31.5, -0.5), vmin=0, vmax=1)
    what = "pixels" if factor == 1 else "cells"
    ax.set(title=f"at 1/{4 * factor}: {int(inside.sum())} {what}", xticks=[], yticks=[])
centres = torch.tensor([8 * i + j for i in range(4) for j in (3, 4)])
across, down = torch.cartesian_prod(centres, centres).T
axes[0].scatter(across, down, s=22, color="white", edgecolor="black", linewidth=0.5)
show(
    fig,
    "A thin upright mast at 1/4, 1/8, 1/16 and 1/32 of the picture's size; at 1/32 it is gone, "
    "because the pixels that are read lie to the left and to the right of it.",
    "The dots are the pixels that are read at 1/32: four in the middle of each cell. The mast is "
    "between them. At 1/8 it is even fatter, 24 cells of 4 pixels: the mean of 5, 5, −5, −5 is 0, "
    "which counts as inside.",
)

# %% [markdown]
# What does a query with an empty mask receive? Three implementations (in this PyTorch) disagree.

# %%
q, k, v = (torch.randn(1, n, C) for n in (3, 10, 10))
allowed = torch.ones(1, 3, 10).bool()
allowed[0, 1] = False  # the second query sees nothing
by_hand = fast_attention(q, k, v, allowed, heads)
qkv = [split(x, heads) for x in (q, k, v)]
fused = F.scaled_dot_product_attention(*qkv, attn_mask=allowed[:, None])
module, _ = torchs(q, k, v, attn_mask=~allowed[0])
lean, _ = torchs(q, k, v, attn_mask=~allowed[0], need_weights=False)
lean = lean - torchs.out_proj.bias  # which the last linear map adds
print("by hand                         ", by_hand[0, 1, :3].tolist())
print("scaled_dot_product_attention    ", fused[0, 0, 1, :3].tolist())
print("nn.MultiheadAttention           ", module[0, 1, :3].tolist())
print("the same, need_weights=False    ", lean[0, 1, :3].tolist())

# %% [markdown]
# NaN is easy to find: self-attention hands it to all queries, and the loss is NaN. With zeros the query learns nothing
# from the picture in that layer, silently.

# %%
assert by_hand[0].isnan().all(1).tolist() == [False, True, False]
everybody = torch.ones(1, 3, 3).bool()
after_self_attention = fast_attention(by_hand, by_hand, by_hand, everybody, heads)
assert after_self_attention.isnan().all()

# %% [markdown]
# ### Turn the mask around
#
# One forgotten `~`, and every query looks everywhere *but* at its object. Nothing crashes. `patch.object` exchanges the
# function in the trained model. It gets $E'$, and features that are already resized and flattened.

# %%
from unittest.mock import patch

from minim2f.model import transformer_decoder

masks = {
    "as it should be": attention_mask,
    "no rescue": lambda e, f: e @ f >= 0,
    "no mask": lambda e, f: e @ f < torch.inf,
    "inverted": lambda e, f: rescue(e @ f < 0),
}
measured = {}
for kind, function in masks.items():
    empty = []

    def counted(e, f):
        allowed = function(e, f)
        empty.append(~allowed.any(-1))
        return allowed

    with patch.object(transformer_decoder, "attention_mask", counted):
        share = attention_share(model, list(twenty), masked=True)[2]
        quality = evaluate(model, twenty)["All"]["pq"]
    measured[kind] = quality, share, torch.cat(empty).float().mean()

# %%
lines = [[kind, f"{m[0]:.2f}", f"{m[1]:.0%}", f"{m[2]:.0%}"] for kind, m in measured.items()]
own = "attention on the own segment, layer 3"
table(["mask", "PQ", own, "empty masks, all queries and layers"], lines)
right, wrong = measured["as it should be"], measured["inverted"]
assert wrong[0] < right[0] - 0.1 and wrong[1] < 0.25 * right[1]

# %% [markdown]
# With the inverted mask, PQ is merely poor. The attention on the object is plainer.
#
# The missing rescue shows in neither. The library's attention returns zeros for an empty mask, and though 47 % of the
# matched queries need the rescue in layer 1 (*Look*), in this trained model zeros cost nothing. Only the count tells:
# 60 %, because queries without an object predict empty masks too.
#
# **How to notice in your own training.** Compare the attention on the object with the object's area. And
# `assert allowed.any(-1).all()` costs nothing.

# %% [markdown]
# ## Exercises
#
# ### 7.1 ★ Softmax with a mask
#
# Turn scores into weights. Blocked cells get 0; a query whose mask is empty sees everything. Scores may be anything from
# −300 to 300.


# %%
def my_masked_softmax(scores, allowed):
    """(N, hw) floats, (N, hw) bool, True: may look -> (N, hw), rows that sum to 1"""
    ...


exercise("7.1", my_masked_softmax)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First repair the mask, then block, then the softmax.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `allowed.any(-1, keepdim=True)` tells for each query whether it sees anything; `masked_fill` puts a value where a
# mask is True.
#
# </details>

# %% [markdown]
# ### 7.2 ★★ The mask of the next layer
#
# Make the mask of a level of the given size from mask logits, as in `slow_mask`; rescue included, the cells of a query
# in one row. Some logits are exactly 0.


# %%
def my_next_mask(mask_logits, size):
    """(N, H, W) logits, (h, w) -> (N, h * w) bool, True: may look"""
    ...


exercise("7.2", my_next_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Resize, flatten, decide, rescue. `F.interpolate` wants four axes and takes a `size`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A probability of 0.5 is a logit of 0. Bilinear, corners not aligned.
#
# </details>

# %% [markdown]
# ### 7.3 ★ Hand it to nn.MultiheadAttention
#
# For a batch, `nn.MultiheadAttention` wants a mask of (B · heads, N, hw): all heads of picture 0, then all heads of
# picture 1. And mind what True means there. Return bools; leave empty masks empty.


# %%
def my_for_pytorch(allowed, heads):
    """(B, N, hw) bool, True: may look -> (B * heads, N, hw) bool, True: blocked"""
    ...


exercise("7.3", my_for_pytorch)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `repeat` and `repeat_interleave` put the copies in different places.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Copies of one picture's mask must be neighbours along the first axis.
#
# </details>

# %% [markdown]
# ### 7.4 ★★ Where does it look?
#
# Measure, for each query of one picture, the share of its attention that falls on its object: the mean over attention
# heads. `q` and `k` come split into heads; `inside` says how much of each cell belongs to the object. No query has an
# empty mask.


# %%
def my_share(q, k, allowed, inside):
    """(heads, N, d), (heads, hw, d), (N, hw) bool, (N, hw) in [0, 1] -> (N,)"""
    ...


exercise("7.4", my_share)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Scale, block, softmax; then the weights times `inside`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Sum over cells, since weights sum to 1 there; average over heads, and only after the softmax.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | result of the masked step | $X_l$ | `output` | $A_l$ |
# | scale, heads, output map, norm | not in the formula | `nn.MultiheadAttention` | the same numbers, by `scaled_dot_product_attention` |
# | True | 0 and $-\infty$ | True is blocked | True may look |
# | resizing | the masks | N maps of logits, at every layer | $F_{pixel}$, once a level: the same masks |
# | empty mask | not mentioned | query sees everything | the same |
# | blocked scores | – | computed first | the same |
# | operations for a picture | 226 G; 213 G without masks | 13 G fit nine mask products at 1/4 | nine small ones |
#
# So blocking saves no multiplication.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.model.transformer_decoder"
library_table(
    {
        "fast_attention": f"{home}.Attention",
        "fast_mask, rescue": f"{home}.attention_mask",
        "the replay of A_1": f"{home}.DecoderLayer",
        "the loop over layers": f"{home}.TransformerDecoder",
        "look_around": "minim2f.book.experiments.ch07.attention_share",
    }
)

# %% [markdown]
# ## Recap
#
# - Add $-\infty$ to blocked scores: their weights become 0, the others keep their proportions.
# - True means *may look* to `scaled_dot_product_attention`, *blocked* to `nn.MultiheadAttention`.
# - The mask is the last prediction: resize, decide at 0, detach, rescue empty rows.
# - Compare the attention on the object with the object's area.
# - No rescue: NaN, or silent zeros. Inverted: attention off the object, a lower PQ.

# %% [markdown]
# ## Further reading
#
# - [The paper](https://arxiv.org/abs/2112.01527), section 3.2.1 and Table 4.
# - [Issue 125 of the official code](https://github.com/facebookresearch/Mask2Former/issues/125), on the rescue.
# - [scaled_dot_product_attention](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
#   and [MultiheadAttention](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html):
#   compare `attn_mask`.
