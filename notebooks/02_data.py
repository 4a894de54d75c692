# %% [markdown]
# # 2 · Data: the COCO panoptic format
#
# You read and write the files that hold a picture's truth, to the last byte, and find what is wrong with them before a network has to.
#
# *read 35 min · run 15 s CPU · exercises 45 min*
#
# **Needs** chapter 1 · **Library** [`minim2f/data/coco_panoptic.py`](../minim2f/data/coco_panoptic.py), [`minim2f/data/check.py`](../minim2f/data/check.py) · **Paper** section 4.1

# %% [markdown]
# ## You will be able to
#
# - read and write a data set in COCO's panoptic form, to the byte (Checkpoint)
# - turn ids into the bytes of a PNG (2.1)
# - build the targets of training, crowds and void treated right (2.2)
# - write a mask as run lengths (2.3)
# - find the contradictions between a PNG and its list of segments (2.4)
# - say what resizing does to ids (Experiment)
# - recognise a wrong byte order, and void taken for a class (Break it)

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
# Chapter 1 in one breath: the truth of a picture is a set of **segments**, each a mask and a class. A countable object is a
# **thing** and a segment of its own; what cannot be counted, such as sky, is **stuff**, and all of it in a picture is one segment
# of its class. **Void** pixels belong to nothing that has a name.
#
# This chapter is about how that stands on a disk, and how it becomes tensors.

# %% [markdown]
# ## Predict
#
# A file stores for each pixel the number of its segment. A line of it reads 10, 10, 30, 30. You want it at three quarters of its
# width, and your image program resizes it *bilinearly*, as it does with photographs: each new pixel is a mixture of its
# neighbours. Which segments does the new line show?
#
# <details><summary>Answer</summary>
#
# 10, 20, 30. Segment 20 is nobody, or a segment at the other end of the picture. A mixture of colours is a colour, but a mixture
# of names is another name.
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
# An id says nothing about a class. That is told by the second part, the list `segments_info`, and the third, the list of
# categories:

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
# So the picture shows sky, two cars, and birds. The birds are a **crowd** (`iscrowd` 1): a flock that nobody took apart, many
# objects under one mask. (COCO also states the area and the bounding box of each segment.)
#
# The ids are stored as colours of a **PNG**, an image file that loses nothing. A pixel has three bytes, red, green and blue, 0 to 255
# each. They are the digits of the id to the base 256, the smallest first. By hand, 70000 = 1 · 65536 + 17 · 256 + 112.


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
        axes[2].text(x, y, names[id], **place)
for ax, title in zip(axes, ("ids", "colours of the PNG", "what they mean")):
    ax.set(title=title, xticks=torch.arange(4) + 0.5, yticks=[0.5, 1.5])
    ax.set(xticklabels=[], yticklabels=[])
    ax.tick_params(length=0)
    ax.grid(color="#888888", linewidth=0.5)
show(
    fig,
    "A picture of 3 by 5 pixels three times: the ids; the colours that store them, two of which look "
    "almost alike; and the meaning, sky above, birds and void in the middle, two cars below.",
    "In the middle, the two cars can hardly be told apart by eye: (7, 0, 0) and (7, 1, 0). A difference "
    "of 1 is another segment, so such a file must never become a JPEG, which changes colours a little.",
)

# %% [markdown]
# What does a model get to learn? The sky and both cars. The birds are no target: how many masks should it draw? They
# are **ignored**, like void: no target holds these pixels, and metrics do not count as wrong what lies mostly there (chapter 13). The
# losses are harsher. To them such a pixel is outside of every mask, in the official code as here (chapter 10).

# %% tags=["demo"]
from minim2f.data import Sample

no_image = torch.zeros(3, 3, 5, dtype=torch.uint8)
sample = Sample.from_panoptic(no_image, ids, segments, categories, 0, "by hand")
assert sample.labels.tolist() == [2, 0, 0]  # sky, car, car
assert sample.masks.sum((1, 2)).tolist() == [6, 2, 2]

# %% [markdown]
# A label is a place in the list of categories, 0 to K − 1, not the category's id: COCO's ids run from 1 to 200 with gaps, for 133
# categories. The list is sorted by id first, whatever its order in the file.

# %% [markdown]
# ## The equation
#
# $$\mathrm{id} = \mathrm{red} + 256 \cdot \mathrm{green} + 256^2 \cdot \mathrm{blue} \qquad\qquad m_g(y, x) = [\,\mathrm{id}(y, x) = \mathrm{id}_g\,], \quad g = 1 \dots G$$
#
# The bracket is 1 where it holds, else 0. A mask can also be written as **run lengths** (RLE, run-length encoding): walk down the first column,
# then down the second, and so on. Count pixels outside, then inside, then outside, by turns:
#
# $$c_1 + c_2 + \dots = H W, \qquad c_1, c_3, \dots \text{ outside}, \quad c_2, c_4, \dots \text{ inside}$$
#
# Here the G segments are all that are listed; targets leave out crowds.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\mathrm{id}$ | `ids` | (H, W) | the segment of each pixel, 0 to $2^{24}-1$; 0 is void |
# | red, green, blue | `png` | (H, W, 3) | the same as bytes |
# | $\mathrm{id}_g$ | `numbers` | (G,) | the id of each segment in the list |
# | $m_g$ | `masks` | (G, H, W) | its pixels |
# | $c$ | `counts` | | run lengths; $c_1$ is 0 if the first pixel is inside |

# %% [markdown]
# ## Slow and obvious
#
# ### Masks of an id map


# %%
def slow_masks(png, segments):
    """(H, W, 3) bytes, a list of G segments -> (G, H, W) bool"""
    height, width, _ = png.shape
    masks = torch.zeros(len(segments), height, width, dtype=torch.bool)
    for g, segment in enumerate(segments):
        for y in range(height):
            for x in range(width):
                red, green, blue = png[y, x].tolist()
                masks[g, y, x] = red + 256 * green + 256**2 * blue == segment["id"]
    return masks


# %% [markdown]
# ### Masks of run lengths and polygons
#
# COCO's *instance* files, for things alone, have no PNG. Each object brings its own mask, so masks may overlap there: as run
# lengths (crowds always do), or as **polygons**, lists of corners $x_1, y_1, x_2, y_2, \dots$ A pixel is inside a polygon if its
# centre has an odd number of edges above it.


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

# %% [markdown]
# ## Fast and short
#
# A sum decodes all colours, one comparison makes all masks. Bytes must become large numbers first: a `uint8` times 256 is 0 in
# PyTorch, without a word. Back to colours, `paint` looks up each id in a small table. `shapes.check` stops the run where a shape is not what its letters say; under `@shapes.scoped` each letter
# is one number.


# %% tags=["demo"]
def to_ids(png):
    return (png.long() * torch.tensor([1, 256, 256**2])).sum(-1)


def paint(ids):
    numbers, places = ids.unique(return_inverse=True)
    colors = [slow_color(number) for number in numbers.tolist()]
    return torch.tensor(colors, dtype=torch.uint8)[places]


@shapes.scoped
def fast_masks(png, segments):
    """(H, W, 3) bytes, a list of G segments -> (G, H, W) bool"""
    shapes.check("png", png, "H W 3")
    ids = shapes.check("ids", to_ids(png), "H W")
    numbers = shapes.check("numbers", torch.tensor([s["id"] for s in segments]), "G")
    return shapes.check("masks", ids == numbers[:, None, None], "G H W")


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
# An image has a row in `images` with an id, and a row in `annotations` with that `image_id`, the PNG's `file_name` and its
# `segments_info`.

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
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(folder / "images" / name)
        Image.fromarray(paint(sample.ids).numpy()).save(folder / "panoptic" / name)
        size = {"width": pixels.shape[1], "height": pixels.shape[0]}
        images.append({"id": sample.image_id, "file_name": name} | size)
        row = {"image_id": sample.image_id, "file_name": name}
        annotations.append(row | {"segments_info": sample.segments})
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))


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
        facts = row["segments_info"], categories, row["image_id"], name
        samples.append(Sample.from_panoptic(image, ids, *facts))
    return samples, categories


# %% [markdown]
# ## Shapes
#
# The project's own pictures, **scenes**, are drawn in exactly this form. Here is one with things, stuff, a crowd and void.

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
        "masks": "does this pixel belong to this segment?",
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
trained = [segment for segment in sample.segments if not segment["iscrowd"]]
for ax, mask, segment in zip(list(axes)[4:], sample.masks, trained):
    plots.draw_mask(ax, sample.image, mask, "white", f"target: {named[segment['category_id']]}")
show(
    fig,
    "A drawn scene, its PNG in which each segment has one colour and void is black, its segments "
    "with names, the pixels that are ignored, and then each target mask by itself, in white.",
    "The umbrellas look alike in the PNG; their ids differ. The lower rows are the target stack. Every "
    "pixel is white in exactly one of the last nine panels; twice, or nowhere, would be a bug.",
)

# %% [markdown]
# Nothing may rely on the colours: with ids 1, 2, 3 and so on the PNG would be nearly black, and as good.
#
# ### Scenes and photographs side by side
#
# **coco-mini** is 53 photographs of COCO in the same form, about half of them to train on. Here are the others. The library's
# `survey` counts what is in a data set; a `SampleList` keeps in memory what was read.

# %%
from minim2f.data.sample import SampleList
from minim2f.data.survey import survey

data = {"scenes": SampleList((scenes[i] for i in range(64)), scenes.categories)}
try:
    photographs = minim2f.data.open_dataset("coco-mini", split="val")
    data["coco-mini"] = SampleList(photographs, photographs.categories)
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) adds a column of photographs to this table")


def facts(dataset):
    found = survey(dataset)
    everything = [segment for sample in dataset for segment in sample.segments]
    small = sum(segment["area"] < 32**2 for segment in everything) / len(everything)
    sizes = sorted(found.sizes)
    ends = dict.fromkeys([sizes[0], sizes[-1]])  # once, if they are equal
    return {
        "pictures": len(dataset),
        "classes": len(dataset.categories),
        "of them never seen here": len(found.never),
        "segments of a picture, mean": f"{np.mean(found.per_picture):.1f}",
        "segments of a picture, most": found.most,
        "crowds": sum(segment["iscrowd"] for segment in everything),
        "void": f"{found.void:.1%}",
        "segments below 32 × 32 pixels": f"{small:.0%}",
        "height × width": " to ".join(f"{h} × {w}" for h, w in ends),
    }


# %% tags=["hide-input"]
columns = {name: facts(dataset) for name, dataset in data.items()}
table(["", *columns], [[key, *(c[key] for c in columns.values())] for key in columns["scenes"]])

# %% [markdown]
# One form, two worlds: the same reader, and the same training, take both. Photographs have ten times as many classes, more void,
# and numbers of segments that differ far more.

# %% [markdown]
# ## Checkpoint
#
# ### To the byte
#
# You write eight scenes, and so does the library. You read yours and write them again. All files are to be equal, byte for byte.

# %% tags=["demo"]
from minim2f.data.coco_panoptic import CocoPanoptic, write_coco

few = minim2f.data.open_dataset("scenes", split="val", length=8)
place = TemporaryDirectory()
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
# For ids, NumPy: an id in the memory of a common processor *is* red, green, blue, and a fourth byte that stays 0.

# %%
id_map = scenes[21].ids
same(id_map.numpy().astype("<u4")[..., None].view(np.uint8)[..., :3], paint(id_map))

# %% [markdown]
# For run lengths, COCO's own pycocotools, on random lengths. It wants them packed into a text, which `frPyObjects` does. For polygons,
# its drawing of 200 random ones, with three to eight corners:

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
print(f"{apart / outline:.1%} of the pixels at outlines differ; {off_outline} pixels elsewhere")
assert apart < 0.05 * outline and off_outline < 0.02 * apart

# %% [markdown]
# Both draw the same polygon, up to a few pixels of its outline: pycocotools rounds corners to fifths of a pixel. (What differs
# elsewhere lies in spikes or gaps thinner than a pixel.) So a polygon only nearly says which pixels it means.

# %% [markdown] tags=["demo"]
# ## Experiment
#
# ### Resize a map of names
#
# In training, pictures are resized, and their truth with them. *Nearest* copies for each new pixel the old one that its centre lies
# in; *bilinear* mixes neighbours. One thing changes, this mode; five sets of 16 unseen scenes.
#
# *Hypothesis:* bilinear only hurts the borders: at half the size, fewer than one pixel in twenty gets an id of nobody.

# %% tags=["demo"]
sets = [[scenes[16 * s + i] for i in range(16)] for s in range(5)]
modes = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


def resized(ids, size, mode):
    small = Image.fromarray(paint(ids).numpy()).resize((size, size), modes[mode])
    return to_ids(torch.from_numpy(np.array(small)))


def measure(sample, size, mode):
    """How many ids are there, what share of the pixels is nobody's, how many segments are left"""
    small = resized(sample.ids, size, mode)
    listed = torch.tensor([segment["id"] for segment in sample.segments])
    nobody = ~torch.isin(small, torch.cat([listed, torch.tensor([0])]))
    there = small.unique()
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
half = measured[48, "bilinear"]
assert half[:, 1].min() > 0.15 and half[:, 0].min() > 100
assert measured[12, "nearest"][:, 2].mean() > 0.98 * true_count
assert measured[12, "bilinear"][:, 2].mean() < 0.5 * true_count
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
gains = {size: measured[size, "nearest"] - measured[size, "bilinear"] for size in sizes}
table(
    ["size", "segments left, nearest − bilinear, same scenes"],
    [[f"96 → {s}", f"{g[:, 2].mean():+.2f} ± {g[:, 2].std():.2f}"] for s, g in gains.items()],
)

# %% [markdown]
# The hypothesis fails. At half the size about every fifth pixel has an id of nobody, in every set, and a picture of about eight
# segments shows some two hundred. Borders are long, and each mixture of two colours there can be an id of its own. Even *enlarging*
# does it.
#
# Nearest makes up nothing. Even at an eighth of the size it has lost about one segment in a hundred; bilinear has lost more than half.

# %% tags=["demo", "hide-input"]
sample = sets[1][5]
window = slice(30, 66)
maps = {"the truth": sample.ids[window, window]}
maps |= {
    f"twice as large, {mode}": resized(sample.ids, 192, mode)[60:132, 60:132] for mode in modes
}
greys = {0: 1.0} | {s["id"]: 0.9 - 0.07 * k for k, s in enumerate(sample.segments)}
fig, axes = plt.subplots(1, 3, figsize=(8.6, 3), layout="constrained")
for ax, (title, values) in zip(axes, maps.items()):
    ax.imshow(
        [[[greys[v]] * 3 if v in greys else (0.55, 0, 0) for v in row] for row in values.tolist()]
    )
    ax.set(title=f"{title}: {len(values.unique())} ids", xticks=[], yticks=[])
show(
    fig,
    "A detail of an id map in shades of grey: the truth; enlarged by nearest, the same; enlarged "
    "bilinearly, with dark red rims of ids that are nobody's along every border.",
    "Dark red is an id of nobody. On the right it runs along every border, in over a hundred ids. A red "
    "pixel in the middle panel would be a bug.",
)

# %% [markdown]
# ### On photographs
#
# A segment that is left may still be too small: masks are drawn on a map whose cells are 4 × 4 pixels (chapter 4). So count also
# those that cover less than four cells, 64 pixels.


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
            small = nearest(sample.ids, *scaled)
            sizes_left += [int((small == segment["id"]).sum()) for segment in sample.segments]
        gone, few_pixels = (np.mean([n < least for n in sizes_left]) for least in (1, 64))
        lines.append([name, short, f"{gone:.1%}", f"{few_pixels:.0%}"])
table(["", "short side", "without a pixel", "below 64 pixels"], lines)

# %% [markdown]
# Hardly any segment vanishes altogether. But in photographs tiny ones grow in number, to more than a quarter at the short side
# of our scenes.

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

# %% [markdown]
# Neither: each id becomes another one, so a map in random colours looks perfect. But no id is in the list, all targets are
# empty, and nothing stops. (The library's reader would.) **How to notice it in your own training.** Draw the targets,
# not the map; count empty masks.
#
# ### Void as class 0
#
# A map of classes starts with zeros, and void pixels stay as they are. But class 0 is a class: car. Say a network is flawless. Which
# IoU (pixels in both masks, divided by pixels in either) does this truth give its cars?

# %% tags=["demo"]
truths = [sample for part in sets for sample in part]
cars = sum(sample.masks[sample.labels == 0].sum() for sample in truths)
void = sum((sample.ids == 0).sum() for sample in truths)
pixels = sum(sample.ids.numel() for sample in truths)
print(f"cars {cars / pixels:.1%}, void {void / pixels:.1%} of the pixels")
print(f"IoU of flawless cars: {cars / (cars + void):.2f}")
assert 0.2 < cars / (cars + void) < 0.5

# %% [markdown]
# Less than one half, for a perfect answer; all other classes still get 1. **How to notice it.** The first class is far worse than
# the others, and its truth, drawn, covers things that have no name: here trees and cottages.
#
# ### Your own data, checked
#
# Five scenes stand for your data. `minim2f data check FOLDER` on the command line does what `find_faults` and `survey` do here.

# %%
from minim2f.data.check import find_faults

own = Path(place.name, "own")
my_write([scenes[i] for i in range(5)], scenes.categories, own)
assert find_faults(own) == []

# %% [markdown]
# Now five mistakes of the kind that happen, one a picture:

# %%
document = json.loads((own / "panoptic.json").read_text())
rows = [row["segments_info"] for row in document["annotations"]]
pngs = [own / "panoptic" / row["file_name"] for row in document["annotations"]]
pixels = [np.array(Image.open(path)) for path in pngs]

pixels[0][:2, :2] = slow_color(12345)  # drawn, and not listed
rows[1].append(rows[1][0] | {"id": 99})  # listed, and not drawn
rows[2][0]["category_id"] = 77  # no such category
pixels[3] = pixels[3][:-1]  # a row less than the picture
for path, values in zip(pngs, pixels):
    Image.fromarray(values).save(path)
(own / "images" / pngs[4].name).unlink()  # the picture is gone
(own / "panoptic.json").write_text(json.dumps(document))

faults = find_faults(own)
for fault in faults:
    print("-", fault.replace(str(own), "own"))
assert len(faults) == 5

# %% [markdown]
# All five, with file and id. No library finds a segment with the wrong class: draw a few of your pictures, too.

# %% [markdown]
# ## Exercises
#
# ### 2.1 ★ The bytes of a PNG
#
# Turn ids into the bytes that a PNG stores: red, green and blue of the first pixel, then of the next in its row, row by row. `paint`
# loops over ids; do without. At the end `.numpy().tobytes()` gives bytes.


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
# From ids and lists make what a model is trained on: the labels of the segments that are no crowds, in the order of the list; their
# masks; and the pixels that metrics ignore, void and crowds together. Categories may come in any order (see *The idea in small numbers*); there may be no segment.


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
# Every pixel is in one of the masks, or ignored.
#
# </details>

# %% [markdown]
# ### 2.3 ★★ Run lengths
#
# Write a mask as run lengths, the way that `slow_decode` reads. Without pycocotools, which packs its result.


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
# `line[1:] != line[:-1]` finds those places, one too early. With 0 in front and the length at the end, the lengths are
# differences of neighbours. Which number comes first if the line begins inside?
#
# </details>

# %% [markdown]
# ### 2.4 ★★★ A checker of your own
#
# Find four faults of a picture: listed and "undrawn"; drawn and "unlisted"; listed "twice" or more; of an "unknown" category.
# Answer with a dictionary of these four keys. Each holds ids of *segments*, in ascending order, each once.


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
# | ids | – | red + 256 green + 256² blue | the same |
# | void and crowds | metrics ignore them (*Panoptic Segmentation*) | the same; the losses take them as outside of every mask | the same |
# | resizing the truth | – | nearest, on the colours | nearest, on ids and masks |
# | a target without a pixel left | – | kept in panoptic training, dropped in instance training | dropped |
# | an id that is not listed | – | not noticed in training | an error with file and id |
# | 133 classes | COCO | things first, then stuff: the order of COCO's ids | in the order of ids |

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
# - A data set is a JSON file, pictures, and PNGs of ids; yours equal the library's byte for byte.
# - An id is three bytes, red the smallest; bytes become large numbers before they are multiplied.
# - Targets are masks and places in the list of categories; crowds and void are ignored.
# - Run lengths go down the columns, and begin outside.
# - The PNG draws, the list names: what only one of them has is a fault.
# - Ids are names: resize them by nearest, never mix them.
# - Blue first leaves a perfect-looking map with empty targets; void as class 0 spoils the first class.

# %% [markdown]
# ## Further reading
#
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868), sections 3 and 4: the task, and why void and groups are not judged.
# - [COCO's format page](https://cocodataset.org/#format-data): every field of the JSON files.
# - [panopticapi](https://github.com/cocodataset/panopticapi): the official tools, with `rgb2id`.
#
# Before: chapter 1, naming masks. Next: chapter 3, the backbone.
