# %% [markdown]
# # W · The tensor walkthrough
#
# Every named tensor from a picture to its losses, for the documented 800 × 1024 picture and for a small one, made while you watch.
#
# *read 20 min · run 20 s CPU*
#
# **For** the question "which shape has this, and what does one number of it mean?" · **Library** [`minim2f/training/walkthrough.py`](../minim2f/training/walkthrough.py)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% tags=["hide-input"]
where_we_are()

# %% [markdown]
# ## How to read it
#
# This is a page to look things up in. It runs two models with random weights and records every tensor that the library
# checks on the way: the published ResNet-50 with an 800 × 1024 picture, and the book's tiny model with one of 64 × 96. Both
# have deformable attention in their pixel decoder (the tiny model that comes with the library has the plain pyramid of chapter
# 4 instead). Both have five segments to learn. Shapes and sizes come from that record; meanings and chapters are typed.

# %%
from minim2f.training.matching import Target


def walk(preset, height, width):
    """A model with random weights, and the record of its run on one picture of noise."""
    torch.manual_seed(0)
    model = minim2f.Mask2Former(minim2f.preset(preset, pixel_decoder="msdeform")).eval()
    masks = torch.zeros(5, height, width)
    for g, mask in enumerate(masks):  # five stripes, one below the other
        mask[g * height // 5 : (g + 1) * height // 5] = 1
    targets = [Target(torch.arange(5), masks)]
    return model, minim2f.walkthrough(model, torch.randn(1, 3, height, width), targets)


published, big = walk("r50", 800, 1024)
model, small = walk("tiny", 64, 96)  # try 96, 160: which numbers below change?
explained = set()  # the tensors that the tables below speak of
print(f"{len(big)} tensors recorded in the large model, {len(small)} in the small one")

# %% [markdown]
# A tensor's name may begin with such a letter and end in a number: `P5`, `Q_1`, `K_1`, `S_1` are tensors, P, Q, K and S numbers.

# %% tags=["hide-input"]
letters = [
    ("B", "pictures in the batch", "images", 0),
    ("H", "height of the picture, a multiple of 32", "images", 2),
    ("W", "its width, the same", "images", 3),
    ("C2", "channels of res2; C3, C4 and C5 are each twice as many as the one before", "res2", 1),
    ("C", "channels of all vectors behind the backbone", "P5", 1),
    ("h, w", "height and width of the map in question; here of the last, P3", "position", (2, 3)),
    ("S", "cells of the three levels together", "pixels", 1),
    ("Q", "cells that ask in deformable attention: all S", "offsets_1", 1),
    ("N", "queries", "X_0", 1),
    ("G, pairs", "segments of the picture, and matched pairs of a query and a segment", "labels", 0),
    ("P", "points at which masks are compared", "masks to match", 1),
]


def size_of(record, name, axes):
    shape = record[name].shape
    return " × ".join(f"{shape[axis]:,}" for axis in ([axes] if isinstance(axes, int) else axes))


lines = [[f"{x}", text, size_of(big, *at), size_of(small, *at)] for x, text, *at in letters]
two = [published.config, model.config]
lines.append(["K", "classes", *(c.num_classes for c in two)])
lines.append(["L", "rounds through the three levels, so 3L layers", *(c.num_layers // 3 for c in two)])
lines.append(["8, 3, 4, 2", "attention heads, levels, places on each, x and y", "the same", "the same"])
sizes = [" × ".join(map(str, record["images"].shape[2:])) for record in (big, small)]
table(["letter", "stands for", *sizes], lines)

# %% tags=["hide-input"]
from pathlib import Path


def chapter_link(number):
    file = next(Path().glob(f"{number:0>2}_*.ipynb"), None)
    words = {2: "data", 3: "backbone", 4: "pixel decoder I", 5: "pixel decoder II", 6: "queries"}
    words |= {7: "masked attention", 8: "heads", 9: "matching", 10: "losses"}
    return f"[{number} {words[int(number)]}]({file})" if file else number


def rows_about(text):
    """A table of `name | chapter | meaning` lines, with the shapes that were recorded."""
    lines = []
    for name, number, meaning in (line.split(" | ") for line in text.strip().split("\n")):
        large, little = big[name], small[name]
        assert large.symbols == little.symbols
        explained.add(name)
        symbols = f"({', '.join(large.symbols.split())})"
        lines.append([f"`{name}`", f"`{symbols}`", large.shape, little.shape, meaning, chapter_link(number)])
    table(["tensor", "shape", *sizes, "one number of it", "chapter"], lines)


# %% [markdown]
# ## From the picture to four maps
#
# The picture is normalised and padded on the right and below until both sides are multiples of 32. The backbone halves it
# again and again.

# %% tags=["hide-input"]
rows_about("""
images | 2 | a colour of a pixel, less the mean of that colour, divided by its spread
res2 | 3 | one feature of a cell of 4 × 4 pixels
res3 | 3 | one feature of a cell of 8 × 8 pixels
res4 | 3 | one feature of a cell of 16 × 16 pixels
res5 | 3 | one feature of a cell of 32 × 32 pixels
""")

# %% [markdown]
# ## The pixel decoder
#
# Three of the maps are brought to C channels and laid into one long table of S cells, coarsest level first. Six layers of
# deformable attention let every cell read at a few places of all levels. Shown is the first layer; the others have the same
# shapes. Then the three maps are taken apart again, and res2 joins them on the finest one.

# %% tags=["hide-input"]
rows_about("""
pixels | 5 | a channel of one of the S cells (the library's name for them is pixels)
position | 6 | a sine or cosine of a cell's place; recorded for each level, here the last, P3
positions | 5 | the same for all S cells, plus a learned number for their level
offsets_1 | 5 | how far right, or down, a head looks for one place, in cells of that level
locations_1 | 5 | the same as a place: 0 to 1 in the picture, below or above it outside
weights_1 | 5 | how much this place counts; the 12 of a head add up to 1
encoded_1 | 5 | the cell after it has looked
P5 | 4 | a channel of a cell at 1/32, for queries to look at
P4 | 4 | the same at 1/16
P3 | 4 | the same at 1/8
F_pixel | 4 | a channel of a cell at 1/4, to be multiplied with a mask embedding
""")

# %% [markdown]
# ## The transformer decoder
#
# The queries begin as learned vectors, which know nothing of the picture. Each layer predicts masks, looks at one level inside
# of them, lets the queries talk to each other, and passes each through a feed-forward network. Shown is layer 1, which looks at P5.
# From a query to where it may look next: X → norm → three linear layers → E' → times F_pixel → M' → resized, cut at 0 → M.

# %% tags=["hide-input"]
rows_about("""
X_0 | 6 | a channel of a query before it has seen anything
class_logits_0 | 8 | what this query says of a class, or of "no object", before any layer
E'_0 | 8 | a weight of the filter that draws its mask
M'_0 | 8 | the logit of a cell at 1/4: in the mask from 0 on
M_0 | 7 | M'_0 at the size of P5: may this query look at this cell?
Q_1 | 7 | a channel of what a query asks for
K_1 | 7 | a channel of what a cell of P5 answers to; it knows its place
V_1 | 7 | a channel of what the cell hands over; it does not
A_1 | 7 | the query after it has looked
S_1 | 6 | the query after it has listened to the others
X_1 | 6 | the query after the feed-forward network
""")

# %% [markdown]
# The levels take turns: layer 1 looks at P5, layer 2 at P4, layer 3 at P3, layer 4 at P5 again.

# %%
for record, one in ((big, published), (small, model)):
    turns = [record[f"K_{layer}"].shape[1] for layer in range(1, one.config.num_layers + 1)]
    print("cells to look at, layer by layer:", turns)

# %% [markdown]
# ## The heads
#
# The prediction after the last layer is the result. It is recorded under names of its own: `E'_object` is the last E',
# `mask_logits` the last M'.

# %% tags=["hide-input"]
rows_about("""
E_object | 8 | the last query after the norm that all predictions share
E'_object | 8 | its mask embedding: E_object through three linear layers
class_logits | 8 | the class scores of the result
mask_logits | 8 | the masks of the result, at a quarter of the size
""")

# %% [markdown]
# ## Matching and losses
#
# Training needs a few more. They are shown for the last prediction; the others go the same way. A matching draws its own P
# points, the losses others.

# %% tags=["hide-input"]
rows_about("""
class logits to match | 9 | class scores, picture by picture
mask logits to match | 9 | a query's mask logit at a point drawn for the matching
labels | 9 | the class of a segment
masks to match | 9 | does the segment cover the point? between 0 and 1, where it is read between pixels
cost | 9 | how badly a query and a segment fit together
true classes | 10 | what a query should have said: a class, or K for "no object"
matched masks | 10 | a mask logit of a query that was matched, at a quarter of the size
loss points | 10 | the place of a point, x and y, 0 to 1
logits at points | 10 | the mask logit there
masks at points | 10 | the truth there
losses | 10 | classes, masks by cross-entropy, masks by dice; weighted
""")

# %% [markdown]
# Nothing was recorded that is not explained above. (Other models record two more: the plain pyramid a `P2`, chapter 4; a Swin
# backbone its `windows`, chapter 3.)

# %%
import re


def kind(name):
    return re.sub(r"_\d+$", "_l", name)  # a tensor that comes in every layer


unexplained = {kind(row.name) for row in [*big, *small]} - set(map(kind, explained))
assert not unexplained, unexplained
print(f"{len(set(map(kind, explained)))} kinds of tensors, all of them explained")

# %% [markdown]
# ## Where the source document simplifies
#
# The library follows the shapes of the Chinese notes from which this project grew. As notes should, they leave things out. The
# code of the authors of Mask2Former does the following, and so does this library.
#
# | | the notes say | the code does | chapter |
# | --- | --- | --- | --- |
# | a | the backbone gives three maps | four: res2 skips the attention and joins at the end, for F_pixel | 3, 4 |
# | b | the pixel decoder is a feature pyramid | six layers of deformable attention and one step of a pyramid; the plain pyramid is a choice | 4, 5 |
# | c | dropout is removed | only in the transformer decoder; a Swin backbone still skips whole blocks at random in training | C |
# | d | the mask of the layer before, cut at 0.5, then resized | its *logits* are resized, to the size of the *next* level, and then cut at 0, which is the logit of 0.5; no gradient passes | 7 |
# | e | (nothing) | a query whose mask is empty at that size may look everywhere | 7 |
# | f | positions are added to the features | to the keys; a level's own learned vector to keys and values; queries carry a second learned vector | 6 |
# | g | K gets positions, V does not | true of the sine positions, not of the level's vector, which reaches both | 6 |
# | h | mask = X · F_pixel | mask = E' · F_pixel, where E' is X after a norm and three linear layers | 8 |
# | i | three losses with their weights | the class loss is a weighted mean, the mask losses are divided by the number of segments; points, not pixels; all summed over 3L + 1 predictions | 10 |
# | j | 3L layers | 3L layers and 3L + 1 predictions, since the queries predict before the first | 8 |
#
# Five of these can be seen in the record. **a**: res2 reaches F_pixel, and no level that queries look at.

# %%
with torch.no_grad():
    features = model.backbone(torch.randn(1, 3, 64, 96))
    before, levels_before = model.pixel_decoder(features)
    features["res2"] = features["res2"] + 1
    after, levels_after = model.pixel_decoder(features)
assert not torch.equal(before, after)
same(levels_before, levels_after)

# %% [markdown]
# **b** and **j**: six layers in the pixel decoder, nine in the transformer decoder, ten predictions.

# %%
names = [row.name for row in big]
found = [sum(name.startswith(start) for name in names) for start in ("encoded_", "A_", "E'_")]
assert found == [6, 9, 10 + 1]  # E'_0 to E'_9; E'_object is the last of them under its other name

# %% [markdown]
# **h**: the mask is made of E', and E' of X; the small model has three layers, so X_3 is its last.

# %%
decoder = model.decoder
with torch.no_grad():
    embeddings = decoder.mask_head(decoder.norm(small["X_3"].tensor))
same(embeddings, small["E'_object"].tensor)
masks = torch.einsum("bnc,bchw->bnhw", embeddings, small["F_pixel"].tensor)
same(masks, small["mask_logits"].tensor)

# %% [markdown]
# **d**: cutting first and resizing then gives another mask. The trained model shows it on a scene of 96 × 96 pixels that it has
# not seen: the share of cells, over all queries, about which the two ways disagree, beside the share that is in a mask at all.

# %%
from torch.nn import functional as F

trained = minim2f.load("tiny")
scene = minim2f.data.open_dataset("scenes", split="val")[9]
seen = minim2f.walkthrough(trained, trained.batch([scene.image]))
lines = []
for layer, level in enumerate(("P5", "P4", "P3")):
    logits, size = seen[f"M'_{layer}"].tensor, seen[level].shape[2:]
    right = F.interpolate(logits, size, mode="bilinear") >= 0
    hard = (logits >= 0).float()
    cut_first = F.interpolate(hard, size, mode="bilinear") >= 0.5
    shares = (right != cut_first).float().mean().item(), right.float().mean().item()
    lines.append([level, *(f"{share:.1%}" for share in shares)])
    assert shares[0] > 0
table(["level", "the two ways disagree", "in a mask"], lines)

# %% [markdown]
# Small shares, but of small masks: a few cells of a mask are its rim.
