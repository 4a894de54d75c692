# %% [markdown]
# # 2 · Data: the COCO panoptic format
#
# How files hold the truth of a picture, how it becomes tensors, and how to find what is wrong with it before you train.
#
# *read 50 min · run 20 s CPU · exercises 60 min*
#
# **Needs** chapter 1 · **Library** [`minim2f/data/coco_panoptic.py`](../minim2f/data/coco_panoptic.py), [`minim2f/data/check.py`](../minim2f/data/check.py) · **Paper** section 4.1

# %% [markdown]
# ## You will be able to
#
# - follow a data set into COCO's panoptic form and back, to the byte (Checkpoint)
# - turn ids into the bytes of a PNG (2.1)
# - build the targets of training, in spite of crowds and void (2.2)
# - write a mask as run lengths (2.3)
# - find contradictions between a PNG and its list of segments (2.4)
# - say what resizing does to ids (Experiment)
# - recognise a wrong byte order, and void as a class (Break it)

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
where_we_are("image", "losses")

# %% [markdown]
# Two stages are lit: files give the model its image, and the losses the truth.
#
# From chapter 1: the truth of a picture is a set of **segments**, each a mask and a class. A countable object is a **thing**, and
# each is a segment. What cannot be counted, such as sky, is **stuff**, and all of it in a picture is one segment of its class.
# **Void** pixels belong to nothing that has a name.

# %% [markdown]
# ## Predict
#
# A file stores for each pixel the number of its segment. A line of it reads 10, 10, 30, 30. Your image program resizes it to three
# quarters of its width *bilinearly*, as it does with photographs: each new pixel is a mixture of its neighbours. Which segments
# does the new line show?
#
# <details><summary>Answer</summary>
#
# 10, 20, 30. Either no segment is called 20, or it lies somewhere else. Halfway between two colours there is a colour between them,
# but halfway between two ids there is just another id.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A truth in COCO's panoptic form has three parts. First, a number for each pixel, the **id** of its segment; 0 is void:

# %% tags=["demo"]
ids = torch.tensor(
    [
        [1000, 1000, 1000, 1000, 1000],
        [1000, 70000, 70000, 0, 0],
        [7, 7, 263, 263, 0],
    ]
)

# %% [markdown] tags=["demo"]
# What an id means is told by the second part, the list `segments_info`, and the third, the list of categories:

# %% tags=["demo"]
segments = [
    {"id": 1000, "category_id": 187, "iscrowd": 0},
    {"id": 7, "category_id": 3, "iscrowd": 0},
    {"id": 263, "category_id": 3, "iscrowd": 0},
    {"id": 70000, "category_id": 16, "iscrowd": 1},
]
categories = [
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 16, "name": "bird", "isthing": 1},
    {"id": 187, "name": "sky", "isthing": 0},
]

# %% [markdown]
# So there are sky, two cars, and birds. The birds are a **crowd** (`iscrowd` 1): many objects under one mask, which nobody took
# apart. (COCO also states the area and the bounding box of each segment.)
#
# The ids are stored as colours of a **PNG**, an image file that loses nothing. A pixel has three bytes, red, green and blue, 0 to
# 255 each. They are the digits of the id to the base 256, the smallest first. By hand, 70000 = 1 · 65536 + 17 · 256 + 112.


# %% tags=["demo"]
def slow_color(id):
    rest, red = divmod(id, 256)
    blue, green = divmod(rest, 256)
    return red, green, blue


assert slow_color(7) == (7, 0, 0) and slow_color(263) == (7, 1, 0)
assert slow_color(1000) == (232, 3, 0) and slow_color(70000) == (112, 17, 1)

# %% tags=["hide-input"]
from matplotlib.colors import to_rgb

names = {1000: "sky", 7: "car", 263: "car", 70000: "birds\n(crowd)", 0: "void"}
looks = {1000: "#cfe3f5", 7: "#e58673", 263: "#b0584a", 70000: "#b9b9c2", 0: "#ffffff"}
fig, axes = plt.subplots(1, 3, figsize=(9.4, 2.1), layout="constrained")
axes[0].imshow(torch.zeros(3, 5), cmap="Greys", vmax=1)
axes[1].imshow([[slow_color(id) for id in row] for row in ids.tolist()])
axes[2].imshow([[to_rgb(looks[id]) for id in row] for row in ids.tolist()])
for y, row in enumerate(ids.tolist()):
    for x, id in enumerate(row):
        place = {"ha": "center", "va": "center", "fontsize": 8}
        axes[0].text(x, y, id, **place)
        axes[1].text(x, y, "\n".join(map(str, slow_color(id))), color="white", **place)
        box = {"boxstyle": "square,pad=0.1", "color": looks[id]}
        axes[2].text(x, y, names[id], bbox=box, **place)
for ax, title in zip(axes, ("ids", "colours of the PNG", "what they mean")):
    ax.set(title=title, xticks=torch.arange(4) + 0.5, yticks=[0.5, 1.5])
    ax.set(xticklabels=[], yticklabels=[])
    ax.tick_params(length=0)
    ax.grid(color="#888888", linewidth=0.5)
    ax.spines[:].set(visible=True, color="#888888", linewidth=0.5)
for y, x in (ids == 0).nonzero().tolist():
    square = (x - 0.5, y - 0.5), 1, 1
    axes[2].add_patch(plt.Rectangle(*square, fill=False, hatch="////", edgecolor="#b0b0b0"))
show(
    fig,
    "A picture of 3 by 5 pixels three times: the ids; the colours that store them, two of which look "
    "almost alike; and the meaning, sky above, birds and hatched void in the middle, two cars below.",
    "In the middle, the two cars can hardly be told apart by eye: (7, 0, 0) and (7, 1, 0). A difference "
    "of 1 is another segment, so such a file must never become a JPEG, which changes colours a little.",
)

# %% [markdown]
# Which of them does a model learn to draw? The sky and both cars: these G segments are its **targets**, each a mask and a
# **label**, its class. The birds are no target, since one mask is no right answer for many objects. In full:
#
# | | targets | panoptic metric (chapter 13) | losses (chapter 10) |
# | --- | --- | --- | --- |
# | pixels of things and stuff | in one mask | judged | inside of that mask |
# | pixels of void and crowds | in none: **ignored** | a mask that lies mostly on void, or crowds of its class, costs nothing | outside of every mask |
# | a listed segment without a pixel | an empty mask | – | dropped before (see *Paper, official code, ours*) |
#
# So losses, in the official code as here, ignore nothing: a query that finds the birds is punished.

# %% tags=["demo"]
from minim2f.data import Sample

black = torch.zeros(3, 3, 5, dtype=torch.uint8)
about = {"image_id": 0, "file_name": "by hand"}
small = Sample.from_panoptic(black, ids, segments, categories, **about)
assert small.labels.tolist() == [2, 0, 0]  # sky, car, car
assert small.masks.sum((1, 2)).tolist() == [6, 2, 2]

# %% [markdown]
# A label is a place in the list of the K categories, 0 to K − 1, sorted by id, whatever their order in the file. It is not the
# category's id: COCO's run from 1 to 200 with gaps, for 133 categories.

# %% [markdown]
# ## The equation
#
# $$\mathrm{id} = \mathrm{red} + 256 \cdot \mathrm{green} + 256^2 \cdot \mathrm{blue} \qquad\qquad m_g(y, x) = [\,\mathrm{id}(y, x) = \mathrm{id}_g\,]$$
#
# The bracket is 1 where it holds, else 0; here $g$ counts all segments that are listed, crowds too. A mask can also be written as **run
# lengths** (RLE, run-length encoding): walk down the first column, then the second, and so on. Count pixels outside, then inside,
# then outside, by turns:
#
# $$\mathrm{count}_1 + \mathrm{count}_2 + \dots = H W, \qquad \mathrm{count}_1, \mathrm{count}_3, \dots \text{ outside}, \quad \mathrm{count}_2, \mathrm{count}_4, \dots \text{ inside}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\mathrm{id}$ | `ids` | (H, W) | the segment of each pixel, 0 to $2^{24}-1$; 0 is void |
# | red, green, blue | `png` | (H, W, 3) | the same as bytes |
# | $\mathrm{id}_g$ | `numbers` | (listed,) | the id of each segment in the list |
# | $m_g$ | `masks` | (listed, H, W) | its pixels |
# | count | `counts` | | run lengths; the first is 0 if the first pixel is inside |

# %% [markdown]
# ## Slow and obvious
#
# ### Masks of an id map


# %%
def slow_masks(png, segments):
    """(H, W, 3) bytes, a list of segments -> (listed, H, W) bool"""
    height, width, _ = png.shape
    masks = torch.zeros(len(segments), height, width, dtype=torch.bool)
    for j, segment in enumerate(segments):
        for y in range(height):
            for x in range(width):
                red, green, blue = png[y, x].tolist()
                masks[j, y, x] = red + 256 * green + 256**2 * blue == segment["id"]
    return masks


# %% [markdown]
# ### Masks of run lengths and polygons
#
# COCO's *instance* files, for things alone, have no PNG. Each object brings its own mask, so masks may overlap there: as run
# lengths (crowds always do), or as **polygons**, lists of corners $x_1, y_1, x_2, y_2, \dots$ Go straight up from a pixel's centre
# and count the edges that you cross: inside, their number is odd.


# %%
def slow_decode(counts, height, width):
    line, inside = [], False
    for count in counts:
        line += count * [inside]
        inside = not inside
    return torch.tensor(line).view(width, height).T  # columns were written as rows


def slow_polygon(corners, height, width):
    mask = torch.zeros(height, width, dtype=torch.bool)
    corners = list(zip(corners[0::2], corners[1::2]))
    for column in range(width):
        x, crossings = column + 0.5, []  # where the edges cross the column's middle
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1]):
            if (x1 <= x) != (x2 <= x):
                crossings.append(y1 + (x - x1) / (x2 - x1) * (y2 - y1))
        for row in range(height):
            mask[row, column] = sum(y < row + 0.5 for y in crossings) % 2
    return mask


# %%
by_hand = torch.tensor([[0, 1, 1], [0, 1, 0]]).bool()
same(slow_decode([2, 3, 1], 2, 3), by_hand)  # two outside, three inside, one outside
same(slow_polygon([1, 0, 3, 0, 3, 1, 2, 1, 2, 2, 1, 2], 2, 3), by_hand)

# %% tags=["hide-input"]
hook = [(0.4, 0.8), (4.6, 0.7), (4.6, 4.7), (2.7, 4.7)]
hook += [(2.7, 3.2), (3.9, 3.2), (3.9, 2.2), (0.4, 2.2)]
inside = slow_polygon([number for corner in hook for number in corner], 5, 5)
above = [0, 1, 2, 3, 3]  # edges above the centres of column 3
assert inside[:, 3].tolist() == [count % 2 == 1 for count in above]
fig, ax = plt.subplots(figsize=(2.7, 2.7), layout="constrained")
ax.fill(*zip(*hook), facecolor="#cfe3f5", edgecolor="#0072B2", linewidth=1.5)
for (y, x), is_inside in zip(torch.cartesian_prod(*2 * [torch.arange(5)]), inside.flatten()):
    dot = "#222222" if is_inside else "#ffffff"
    ax.plot(x + 0.5, y + 0.5, "o", color=dot, markeredgecolor="#222222", markersize=6)
ax.plot([3.5, 3.5], [0, 4.5], "--", color="#D55E00", linewidth=1, zorder=1.5)
for y, count in enumerate(above):
    ax.text(3.68, y + 0.5, count, color="#a03c00", va="center")
ax.set(xlim=(0, 5), ylim=(5, 0), aspect="equal", xticks=range(6), yticks=range(6))
ax.grid(color="#cccccc", linewidth=0.5)
show(
    fig,
    "A polygon like a hook on a grid of 5 by 5 pixels, a dot at each pixel's centre, black inside and "
    "white outside; in one column the dots carry the number of edges above them: 0, 1, 2, 3, 3.",
    "Black dots are inside. In the column with the dashed line, the number beside a dot tells how many "
    "edges lie above it. A black dot with an even number would be a bug.",
)

# %% [markdown]
# ## Fast and short
#
# A sum decodes all colours, one comparison makes all masks. Bytes must become large numbers first: a `uint8` times 256 is 0 in
# PyTorch, without a word. Back to colours, `paint` looks up each id in a small table. `shapes.check` stops the run where a shape is
# not what its letters say; with `@shapes.scoped`, H means the same number everywhere within one call.


# %% tags=["demo"]
def to_ids(png):
    return (png.long() * torch.tensor([1, 256, 256**2])).sum(-1)


def paint(ids):
    numbers, places = ids.unique(return_inverse=True)
    colors = [slow_color(number) for number in numbers.tolist()]
    return torch.tensor(colors, dtype=torch.uint8)[places]


@shapes.scoped
def fast_masks(png, segments):
    """(H, W, 3) bytes, a list of segments -> (listed, H, W) bool"""
    shapes.check("png", png, "H W 3")
    ids = shapes.check("ids", to_ids(png), "H W")
    numbers = shapes.check("numbers", torch.tensor([s["id"] for s in segments]), "listed")
    return shapes.check("masks", ids == numbers[:, None, None], "listed H W")


# %%
png = paint(ids)
same(to_ids(png), ids)
same(fast_masks(png, segments), slow_masks(png, segments))
assert (png * 256).sum() == 0  # the trap

# %% [markdown]
# Now the files. A data set is one JSON file, a folder of pictures and a folder of PNGs:
#
# ```
# mine/panoptic.json      {"images": [...], "annotations": [...], "categories": [...]}
# mine/images/…           the pictures
# mine/panoptic/…         the ids, as PNGs
# ```
#
# An image has a row in `images` with an id, and one in `annotations` with that `image_id`. Both are printed for the small picture.

# %% tags=["demo"]
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image


def my_write(samples, categories, folder):
    images, annotations = [], []
    for part in ("images", "panoptic"):
        (folder / part).mkdir(parents=True)
    for sample in samples:
        name = f"{sample.image_id:012d}.png"
        image = sample.image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(paint(sample.ids).numpy()).save(folder / "panoptic" / name)
        size = {"width": image.shape[1], "height": image.shape[0]}
        images.append({"id": sample.image_id, "file_name": name} | size)
        row = {"image_id": sample.image_id, "file_name": name}
        annotations.append(row | {"segments_info": sample.segments})
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))


# %% tags=["demo"]
place = TemporaryDirectory()
my_write([small], categories, Path(place.name, "small"))
document = json.loads(Path(place.name, "small", "panoptic.json").read_text())
print("\n\n".join(f"{part}, first row: {rows[0]}" for part, rows in document.items()))


# %% tags=["demo"]
def read_pixels(path):
    return torch.from_numpy(np.array(Image.open(path)))


def my_read(folder):
    document = json.loads((folder / "panoptic.json").read_text())
    categories = sorted(document["categories"], key=lambda category: category["id"])
    images, samples = {image["id"]: image for image in document["images"]}, []
    for row in document["annotations"]:
        name = images[row["image_id"]]["file_name"]
        image = read_pixels(folder / "images" / name).permute(2, 0, 1)
        ids = to_ids(read_pixels(folder / "panoptic" / row["file_name"]))
        segments, about = row["segments_info"], {"image_id": row["image_id"], "file_name": name}
        samples.append(Sample.from_panoptic(image, ids, segments, categories, **about))
    return samples, categories


# %% [markdown]
# ## Shapes
#
# The project's own pictures, **scenes**, are drawn in this form. Here is one with things, stuff, a crowd and void: trees and
# cottages have no class in scenes.

# %% tags=["demo"]
scenes = minim2f.data.open_dataset("scenes", split="val")
sample = scenes[21]
png = paint(sample.ids)
with shapes.watch() as rows:  # records what is checked
    masks = fast_masks(png, sample.segments)
same(masks, sample.segment_masks())

# %% tags=["hide-input"]
shape_table(
    rows,
    meanings={
        "png": "a byte of a pixel's id",
        "ids": "the segment of a pixel",
        "numbers": "the id of a listed segment",
        "masks": "does this pixel belong to this listed segment?",
    },
)

# %% [markdown]
# ## Look
#
# ### From file to targets

# %% tags=["demo"]
ignored = ~sample.masks.any(0)
crowds = [segment for segment in sample.segments if segment["iscrowd"]]
assert (len(sample.masks), len(crowds)) == (8, 1)
assert (sample.masks.sum(0) + ignored.long() == 1).all()

# %% tags=["demo", "hide-input"]
from minim2f import plots

named = {category["id"]: category["name"] for category in scenes.categories}
fig, axes = plots.figure(3, 4, size=2.1, gap=0.22)
axes = axes.flat
plots.draw_image(axes[0], sample.image, "the picture")
plots.draw_image(axes[1], png.permute(2, 0, 1), "the PNG as it is")
plots.draw_segments(
    axes[2], sample.image, sample.ids, sample.segments, scenes.categories, "the segments"
)
plots.draw_mask(axes[3], sample.image, ignored, "white", "ignored: crowd and void")
notes = {"color": "white", "fontsize": 8, "arrowprops": {"arrowstyle": "-", "color": "white"}}
axes[2].annotate("ball", (15, 60), (4, 75), **notes)
for ax in axes[2], axes[3]:
    ax.annotate("flock (crowd)", (25, 11), (1, 5), **notes)
axes[3].annotate("tree (void)", (60, 48), (46, 62), **notes)
trained = [segment for segment in sample.segments if not segment["iscrowd"]]
for ax, mask, segment in zip(list(axes)[4:], sample.masks, trained):
    plots.draw_mask(ax, sample.image, mask, "white", f"target: {named[segment['category_id']]}")
show(
    fig,
    "A drawn scene, its PNG in which each segment has one colour and void is black, its segments "
    "with names, the pixels that are ignored, and then each target mask by itself, in white.",
    "Void is black in the PNG and hatched beside it. The umbrellas look alike in the PNG; their ids differ. "
    "The lower rows are the targets. Every pixel is white in exactly one of the last nine panels; twice, or "
    "nowhere, would be a bug.",
)

# %% [markdown]
# With ids 1, 2, 3, … the PNG would be nearly black, and as good.
#
# ### Scenes and photographs side by side
#
# **coco-mini** is 53 photographs of COCO in the same form, 26 to train on and these 27. The library's `survey` counts what is in a
# data set; a `SampleList` keeps in memory what was read.

# %%
from minim2f.data.sample import SampleList
from minim2f.data.survey import survey

data = {"scenes": SampleList((scenes[i] for i in range(80)), scenes.categories)}
try:
    photographs = minim2f.data.open_dataset("coco-mini", split="val")
    data["coco-mini"] = SampleList(photographs, photographs.categories)
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) adds a column of photographs to this table")


def describe(dataset):
    found = survey(dataset)
    everything = [segment for sample in dataset for segment in sample.segments]
    small = sum(segment["area"] < 32**2 for segment in everything) / len(everything)
    sizes = sorted(found.sizes)
    ends = dict.fromkeys([sizes[0], sizes[-1]])  # once, if they are equal
    return {
        "pictures": len(dataset),
        "classes": len(dataset.categories),
        "of them never seen here": len(found.never),
        "targets of a picture, mean": f"{np.mean(found.per_picture):.1f}",
        "targets of a picture, most": found.most,
        "crowds": sum(segment["iscrowd"] for segment in everything),
        "void": f"{found.void:.1%}",
        "segments below 32 × 32 pixels": f"{small:.0%}",
        "height × width": " to ".join(f"{h} × {w}" for h, w in ends),
    }


# %% tags=["hide-input"]
columns = {name: describe(dataset) for name, dataset in data.items()}
table(["", *columns], [[key, *(c[key] for c in columns.values())] for key in columns["scenes"]])

# %% [markdown]
# Photographs have ten times as many classes, more void, and up to 24 targets.

# %% [markdown]
# ## Checkpoint
#
# ### To the byte
#
# `my_write` writes eight scenes, and so does the library. `my_read` reads ours, and we write them again. All bytes are to be equal.

# %% tags=["demo"]
from minim2f.data.coco_panoptic import CocoPanoptic, write_coco

few = minim2f.data.open_dataset("scenes", split="val", length=8)
mine, theirs, again = (Path(place.name, name) for name in ("mine", "theirs", "again"))
my_write(few, few.categories, mine)
write_coco(few, theirs)
my_write(*my_read(mine), again)


def all_bytes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


assert all_bytes(mine) == all_bytes(theirs) == all_bytes(again)
print(f"{len(all_bytes(mine))} files, {sum(map(len, all_bytes(mine).values())):,} bytes, all equal")

# %%
for sample, other in zip(my_read(mine)[0], CocoPanoptic(mine / "panoptic.json")):
    assert sample.labels.equal(other.labels) and sample.masks.equal(other.masks)
    assert sample.ids.equal(other.ids) and sample.segments == other.segments

# %% [markdown]
# ### Witnesses
#
# For ids, NumPy: in the memory of a common processor an id *is* red, green, blue, and a 0.

# %%
id_map = scenes[21].ids
four_bytes = "<u4"  # "<", little-endian: the smallest byte comes first
same(id_map.numpy().astype(four_bytes)[..., None].view(np.uint8)[..., :3], paint(id_map))

# %% [markdown]
# For run lengths, COCO's own pycocotools, on random ones, which `frPyObjects` packs into a text first. For polygons, its drawing of
# 200 random ones:

# %%
from pycocotools import mask as rle

generator = np.random.default_rng(0)
for _ in range(20):
    cuts = np.sort(generator.integers(0, 40 * 30, 25))
    counts = np.diff([0, *cuts, 40 * 30]).tolist()
    theirs = rle.decode(rle.frPyObjects({"size": [40, 30], "counts": counts}, 40, 30))
    assert slow_decode(counts, 40, 30).equal(torch.from_numpy(theirs).bool())

# %%
from scipy.ndimage import binary_dilation, binary_erosion

apart = outline = off_outline = 0
for _ in range(200):
    corners = generator.uniform(0, 40, 2 * generator.integers(3, 9)).tolist()
    drawn = slow_polygon(corners, 40, 40).numpy()
    coco = rle.decode(rle.frPyObjects([corners], 40, 40))[..., 0].astype(bool)
    near = np.ones((3, 3))
    rim = binary_dilation(drawn, near) & ~binary_erosion(drawn, near)
    apart += (drawn ^ coco).sum()
    outline += rim.sum()
    off_outline += ((drawn ^ coco) & ~rim).sum()
print(f"{apart / outline:.1%} of the pixels at outlines differ")
print(f"{off_outline} pixels elsewhere, in spikes and gaps thinner than a pixel")
assert apart < 0.05 * outline and off_outline < 0.02 * apart

# %% [markdown]
# Both draw the same polygon, up to a few pixels of its outline: pycocotools rounds corners to fifths of a pixel.

# %% [markdown] tags=["demo"]
# ## Experiment
#
# ### Resize a map of names
#
# In training, pictures are resized, and their truth with them. *Nearest* copies for each new pixel the old one that its centre lies
# in. *Bilinear* mixes neighbours, and exists twice. PyTorch's `interpolate` mixes the 2 × 2 old pixels around the new centre. PIL,
# when it shrinks, takes a weighted mean of a larger square (*antialiasing*): 4 × 4 pixels at half the size, 16 × 16 at an eighth.
# Only this mode changes; nothing is trained. Five sets of 16 scenes of the validation split; ± is the spread over them.
#
# *Hypothesis:* at half the size, bilinear gives fewer than one pixel in twenty an id of nobody.

# %% tags=["demo"]
from torch.nn import functional as F

sets = [[scenes[16 * s + i] for i in range(16)] for s in range(5)]
filters = {"nearest": Image.Resampling.NEAREST, "bilinear, PIL": Image.Resampling.BILINEAR}
modes = ("nearest", "bilinear, PyTorch", "bilinear, PIL")


def resized(ids, size, mode):
    colors = paint(ids)
    if mode in filters:
        scaled = Image.fromarray(colors.numpy()).resize((size, size), filters[mode])
        return to_ids(torch.from_numpy(np.array(scaled)))
    planes = colors.permute(2, 0, 1)[None].float()
    scaled = F.interpolate(planes, (size, size), mode="bilinear")[0]
    return to_ids(scaled.round().permute(1, 2, 0))


# %% tags=["demo"]
def measure(sample, size, mode):
    """How many ids are there, what share of the pixels is nobody's, how many segments are left"""
    scaled = resized(sample.ids, size, mode)
    listed = torch.tensor([segment["id"] for segment in sample.segments])
    nobody = ~torch.isin(scaled, torch.cat([listed, torch.tensor([0])]))
    there = scaled.unique()
    return (
        len(there[there > 0]),
        nobody.float().mean().item(),
        torch.isin(listed, there).sum().item(),
    )


# %% tags=["demo"]
sizes = (192, 48, 24, 12)
measured = {
    (size, mode): torch.tensor(
        [np.mean([measure(sample, size, mode) for sample in part], 0).tolist() for part in sets]
    )  # (sets, 3)
    for size in sizes
    for mode in modes
}
true_count = np.mean([len(sample.segments) for part in sets for sample in part])
assert measured[48, "bilinear, PyTorch"][:, 1].min() > 0.07  # in every set
assert measured[48, "bilinear, PIL"][:, 1].min() > 0.2
assert measured[12, "nearest"][:, 2].mean() > 0.98 * true_count
assert measured[12, "bilinear, PyTorch"][:, 2].mean() > 0.98 * true_count
assert measured[12, "bilinear, PIL"][:, 2].mean() < 0.5 * true_count
assert all(measured[size, "nearest"][:, 1].max() == 0 for size in sizes)

# %% tags=["hide-input"]
lines = []
for (size, mode), values in measured.items():
    means, spread = values.mean(0), values.std(0)
    line = [f"96 → {size}", mode, f"{means[0]:.1f} ± {spread[0]:.1f}"]
    line += [f"{means[1]:.1%} ± {spread[1]:.1%}", f"{means[2]:.2f} ± {spread[2]:.2f}"]
    lines.append(line)
print(f"segments of a picture, truly: {true_count:.2f}")
table(
    ["size", "mode", "ids in the picture", "pixels with an id of nobody", "true segments left"],
    lines,
)
lines = []
for size in sizes:
    lost = [(measured[size, "nearest"] - measured[size, mode])[:, 2] for mode in modes[1:]]
    lines.append([f"96 → {size}", *(f"{n.mean():+.2f} ± {n.std():.2f}" for n in lost)])
table(["segments left, same scenes", *(f"nearest − {mode}" for mode in modes[1:])], lines)

# %% [markdown]
# The hypothesis fails, in every set and for both. Where the mixed pixels lie across a border, their mixture is nearly always a new id. PyTorch
# always mixes 2 × 2 pixels: 7.8 to 8.1 % are nobody's, whatever the size. PIL's share grows with its filter, from 22 % at half the
# size to 64 % at an eighth, where 2.92 of 7.61 segments are left. Even enlarging makes up ids.
#
# Nearest makes up nothing, and keeps 7.55 segments at an eighth. PyTorch's bilinear keeps 7.50; its fault is what it adds.

# %% tags=["demo", "hide-input"]
sample = sets[1][5]
window = slice(30, 66)
maps = {"the truth": sample.ids[window, window]}
for name, mode in ("nearest", "nearest"), ("bilinear", "bilinear, PyTorch"):
    maps[f"twice as large, {name}"] = resized(sample.ids, 192, mode)[60:132, 60:132]
greys = {segment["id"]: 0.97 - 0.06 * k for k, segment in enumerate(sample.segments)}


def shades(values):
    """(h, w) ids -> (h, w, 3): a grey for each segment, stripes for void, dark red for nobody"""
    diagonal = torch.arange(len(values))[:, None] + torch.arange(len(values))
    stripes = 0.8 + 0.2 * (diagonal * 18 // len(values) % 2)
    picture = torch.tensor([0.5, 0, 0]).repeat(*values.shape, 1)
    picture[values == 0] = stripes[values == 0][:, None]
    for id, grey in greys.items():
        picture[values == id] = grey
    return picture


fig, axes = plt.subplots(1, 3, figsize=(8.6, 3), layout="constrained")
for ax, (title, values) in zip(axes, maps.items()):
    ax.imshow(shades(values))
    ax.set(title=f"{title}: {len(values[values > 0].unique())} ids", xticks=[], yticks=[])
show(
    fig,
    "A detail of an id map in shades of grey, void in stripes: the truth; enlarged by nearest, the "
    "same; enlarged bilinearly, with dark red rims of ids that are nobody's along every border.",
    "Stripes are void, dark red is an id of nobody. The middle looks like the left, as it should; a red "
    "pixel there would be a bug. On the right (PyTorch's), red runs along every border.",
)

# %% [markdown]
# ### On photographs
#
# Masks are drawn on a map whose cells are 4 × 4 pixels (chapter 4). So count also segments below four cells, 64 pixels.


# %%
def nearest(ids, height, width):
    """(H, W) -> (height, width): the pixel in which each new centre lies"""
    down, across = (
        (2 * torch.arange(new) + 1) * old // (2 * new)
        for old, new in zip(ids.shape, (height, width))
    )
    return ids[down][:, across]


lines = []
for name, dataset in data.items():
    for short in (96, 48) if name == "scenes" else (400, 200, 96, 48):
        sizes_left = []
        for sample in dataset:
            scaled = [short * side // min(sample.ids.shape) for side in sample.ids.shape]
            left = nearest(sample.ids, *scaled)
            sizes_left += [int((left == segment["id"]).sum()) for segment in sample.segments]
        gone, few_pixels = (np.mean([n < least for n in sizes_left]) for least in (1, 64))
        lines.append([name, short, f"{gone:.1%}", f"{few_pixels:.0%}"])
table(["", "short side", "without a pixel", "below 64 pixels"], lines)

# %% [markdown]
# Few segments vanish, but many become tiny: at a short side of 96, 29 % of those in photographs are below 64 pixels.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Blue first
#
# OpenCV reads the bytes of a pixel as blue, green, red. Predict: do segments fall apart, or merge? What becomes of the targets?

# %% tags=["demo"]
sample = scenes[21]
wrong = to_ids(paint(sample.ids).flip(-1))
broken = Sample.from_panoptic(
    sample.image, wrong, sample.segments, scenes.categories, sample.image_id, "blue first"
)
print(f"numbers in the map: {len(sample.ids.unique())}, blue first: {len(wrong.unique())}")
print(f"pixels of targets: {sample.masks.sum()}, blue first: {broken.masks.sum()}")
assert len(wrong.unique()) == len(sample.ids.unique()) and not broken.masks.any()
assert (45, 33, 45) in [slow_color(segment["id"]) for segment in scenes[56].segments]

# %% [markdown]
# Neither: each id becomes one other id, so drawn in random colours the wrong map looks as good as the right one. But in this scene
# no id is listed any more, all targets are empty, and nothing stops. (The library's reader would.) Elsewhere an id may survive, if
# its red and blue are equal: (45, 33, 45) in scene 56. **How to notice it in your own training.** Draw the targets, not the map;
# count those without a pixel before any resizing: there should be none.
#
# ### Void as class 0
#
# Fill a map with zeros, write each segment's class into it, and void keeps the 0. But class 0 is a class: car. Which IoU (pixels in
# both masks, divided by pixels in either) does this truth give the cars of a flawless network?

# %% tags=["demo"]
truths = [sample for part in sets for sample in part]
cars = sum(sample.masks[sample.labels == 0].sum() for sample in truths)
void = sum((sample.ids == 0).sum() for sample in truths)
total = sum(sample.ids.numel() for sample in truths)
print(f"cars {cars / total:.2%}, void {void / total:.2%} of the pixels")
print(f"IoU of flawless cars: {cars / (cars + void):.2f}")
assert 0.2 < cars / (cars + void) < 0.5

# %% [markdown]
# Only 0.37; all other classes still get 1. **How to notice it.** The first class is far worse than the others, and its truth,
# drawn, covers what has no name.
#
# ### Your own data, checked
#
# Five scenes stand for your data. (As a command: `minim2f data check FOLDER`.)

# %%
from minim2f.data.check import find_faults

own = Path(place.name, "own")
my_write([scenes[i] for i in range(5)], scenes.categories, own)
assert find_faults(own) == []

# %% [markdown]
# Now five mistakes, one a picture:

# %%
document = json.loads((own / "panoptic.json").read_text())
rows = [row["segments_info"] for row in document["annotations"]]
pngs = [own / "panoptic" / row["file_name"] for row in document["annotations"]]
painted = [np.array(Image.open(path)) for path in pngs]

painted[0][:2, :2] = slow_color(12345)  # drawn, and not listed
rows[1].append(rows[1][0] | {"id": 99})  # listed, and not drawn
rows[2][0]["category_id"] = 77  # no such category
painted[3] = painted[3][:-1]  # a row less than the picture
for path, values in zip(pngs, painted):
    Image.fromarray(values).save(path)
(own / "images" / pngs[4].name).unlink()  # the picture is gone
(own / "panoptic.json").write_text(json.dumps(document))

found = find_faults(own)
for fault in found:
    print("-", fault.replace(str(own), "own"))
assert len(found) == 5

# %% [markdown]
# No library finds a segment with the wrong class: draw a few of your pictures, too.

# %% [markdown]
# ## Exercises
#
# ### 2.1 ★ The bytes of a PNG
#
# Turn ids into the bytes that a PNG stores: red, green and blue of the first pixel, then of the next in its row, row by row.
# `paint` loops over ids; you need no loop. At the end `.numpy().tobytes()` gives bytes.


# %%
def to_bytes(ids):
    """(H, W) int64 -> 3 H W bytes"""
    ...


exercise("2.1", to_bytes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `//` and `%` work on whole tensors, as `divmod` in `slow_color` does on one number.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.stack` puts three (H, W) tensors into (H, W, 3) along a new last axis. What type has a byte?
#
# </details>

# %% [markdown]
# ### 2.2 ★★ The targets of training
#
# From ids and lists make the labels of the G segments that are no crowds, in the order of the list; their masks; and the pixels to
# ignore. Those are all that no target holds: void, crowds, and ids that are drawn but not listed. A listed segment without a pixel
# keeps its label and an empty mask. Categories may come in any order (see *The idea in small numbers*). G may be 0: crowds only, or
# void only.


# %%
def targets(ids, segments, categories):
    """(H, W), two lists of dicts -> a list of G labels, (G, H, W) bool, (H, W) bool"""
    ...


exercise("2.2", targets)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `[3, 16, 187].index(16)` is 1. First choose the segments, then make labels and masks of the same list.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Every pixel is in one of the masks, or ignored, and never both.
#
# </details>

# %% [markdown]
# ### 2.3 ★★ Run lengths
#
# Write a mask as run lengths, the way that `slow_decode` reads. Without pycocotools, which packs its result. The mask may be empty,
# full, one row or one column.


# %%
def runs(mask):
    """(H, W) bool -> a list of whole numbers"""
    ...


exercise("2.3", runs)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First make one long line of all pixels, in the right order. A run begins where a pixel differs from the one before.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `line[1:] != line[:-1]` finds those places, one too early. With 0 in front and the length at the end, the lengths are differences
# of neighbours. Which number comes first if the line begins inside?
#
# </details>

# %% [markdown]
# ### 2.4 ★★★ A checker of your own
#
# Find four faults of a picture: listed and "undrawn"; drawn and "unlisted"; listed "twice" or more; of an "unknown" category.
# Answer with a dictionary of these four keys. Each holds ids of *segments*, in ascending order, each once. Crowds count like other
# segments; listed ids are 1 or more. A picture may be void only, a list empty.


# %%
def faults(ids, segments, categories):
    """(H, W), two lists of dicts -> {"undrawn": [...], "unlisted": [...], "twice": [...], "unknown": [...]}"""
    ...


exercise("2.4", faults)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Sets subtract: `{1, 2} - {2}` is `{1}`. Which id is drawn nearly everywhere, and never listed?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `ids.unique().tolist()` gives Python numbers, which sets compare by value; tensors they do not. `list.count` counts.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | papers | official code | ours |
# | --- | --- | --- | --- |
# | void and crowds | metrics ignore them | the same; losses do not | the same |
# | resizing the truth | – | nearest, on the colours | nearest, on ids and masks |
# | a target that resizing or cropping leaves without a pixel | – | kept in panoptic training, dropped for instances | dropped |
# | an id that is not listed | – | not noticed in training | an error with file and id |
# | 133 classes | COCO | things first, then stuff | by id: for COCO the same |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "to_ids": "minim2f.data.coco_panoptic.rgb_to_id",
        "paint, to_bytes": "minim2f.data.coco_panoptic.id_to_rgb",
        "my_read": "minim2f.data.coco_panoptic.CocoPanoptic",
        "my_write": "minim2f.data.coco_panoptic.write_coco",
        "targets": "minim2f.data.sample.Sample.from_panoptic",
        "slow_polygon, slow_decode": "minim2f.data.coco_masks.decode",
        "nearest": "minim2f.data.augment.resize",
        "faults": "minim2f.data.check.find_faults",
    }
)

# %% [markdown]
# ## Recap
#
# - A data set is a JSON file, pictures, and PNGs of ids.
# - An id is three bytes, red the smallest; make bytes large numbers before you multiply them.
# - Targets are masks and places in the list of categories; crowds and void are in none.
# - Resize ids by nearest: two ids mixed are a third one.

# %% [markdown]
# ## Further reading
#
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868), sections 3 and 4: why void and groups are not judged.
# - [COCO's format page](https://cocodataset.org/#format-data): every field.
# - [panopticapi](https://github.com/cocodataset/panopticapi): the official tools.
