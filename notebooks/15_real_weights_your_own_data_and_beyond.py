# %% [markdown]
# # 15 · Real weights, your own data, and beyond
#
# You take a trained model out of this book: to other people's files, your own pictures, other programs, and its successors.
#
# *read 75 min · run 35 s CPU · exercises 50 min*
#
# **Needs** chapters 8 and 10 · **Library** [`minim2f/checkpoints/names.py`](../minim2f/checkpoints/names.py), [`minim2f/checkpoints/read.py`](../minim2f/checkpoints/read.py) · **Paper** section 4

# %% [markdown]
# ## You will be able to
#
# - say which weights start anew for other classes or more queries (Shapes)
# - give tensors another program's names (15.1)
# - keep known classes (15.2), and add queries (15.3)
# - learn from a folder of your own (Look)
# - say what a trained start is worth (Experiment)
# - recognise weights that were never loaded (Break it)
# - export a model, with equal outputs (Checkpoint)
# - write the mask with which EoMT's queries are trained (15.4)

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
where_we_are("backbone", "pixel decoder", "queries", "masked attention", "heads")

# %% [markdown]
# PyTorch's **state dict** maps names such as `decoder.class_head.weight` to tensors; a **checkpoint** is a file that holds one.
# Mask2Former's N queries each end as a vector of C channels. From it the **class head**, a
# linear layer, makes K+1 logits, for K classes and "no object". The mask head makes another vector; its product with the
# pixel features F_pixel is the mask. The model `tiny`, trained on drawn scenes, has K = 13, N = 16, C = 64.
#
# Proved here, with random weights: we read files of the authors' form and names, and another program computes equal numbers.
# Not tested yet: the authors' own files.

# %% [markdown]
# ## Predict
#
# `tiny` knows 13 classes; you need five others. How many of its 1.8 million numbers must start anew?
#
# <details><summary>Answer</summary>
#
# Only those of the class head. A class has a row of 64 weights and a bias: 5 · 65 = 325 numbers for five classes. "No object" is the
# same in every model, and its row could stay; the library starts it anew, too: 6 · 65 = 390.
# All other tensors start trained, and go on learning. Therefore a few pictures can be enough.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# ### Other classes
#
# A head with C = 2 knows *sea* and *kite*. You need *kite* and *dog*. Random rows are ready:
#
# | old row | weight | bias | | new row | weight | bias | from |
# | --- | --- | --- | --- | --- | --- | --- | --- |
# | 0 sea | 1, 0 | 0 | | 0 kite | 0, 2 | 0 | old row 1 |
# | 1 kite | 0, 2 | 0 | | 1 dog | 0.1, −0.1 | 0 | random |
# | 2 no object | −1, −1 | 1 | | 2 no object | −1, −1 | 1 | old row 2 |
#
# A query with the vector (1, 3) had the logits 1, 2 · 3 = 6 and −1 − 3 + 1 = −3. Its new ones are 6, 0.1 − 0.3 = −0.2 and
# −3: it still says kite.

# %% tags=["demo"]
new_weight = torch.tensor([[0.0, 2.0], [0.1, -0.1], [-1.0, -1.0]])
new_bias = torch.tensor([0.0, 0.0, 1.0])
# `same` stops the run if two results differ.
same(new_weight @ torch.tensor([1.0, 3.0]) + new_bias, torch.tensor([6.0, -0.2, -3.0]))

# %% [markdown] tags=["demo"]
# ### Other names
#
# Attention has three matrices, for queries, keys and values. Some programs store them apart, others
# stacked, with 3C rows:
#
# | stacked, C = 1 | apart |
# | --- | --- |
# | `in_proj.weight` = (5), (6), (7) | `q_proj.weight` = (5), `k_proj.weight` = (6), `v_proj.weight` = (7) |

# %% tags=["demo"]
in_proj = torch.tensor([[5.0], [6.0], [7.0]])
q, k, v = in_proj.chunk(3)  # three pieces along the first axis
assert (q.item(), k.item(), v.item()) == (5, 6, 7)

# %% [markdown]
# ## The equation
#
# A new head for K' classes, from a trained one with K:
#
# $$\mathrm{weight}'_{k'} = \begin{cases} \mathrm{weight}_k & \text{if class } k \text{ has the name of class } k' \\ \text{random} & \text{if no class has it}\end{cases} \qquad \mathrm{weight}'_{K'} = \mathrm{weight}_K$$
#
# The bias is treated alike.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\mathrm{weight}$, $\mathrm{bias}$ | `weight`, `bias` | (K+1, C), (K+1,) | of the trained class head; row K is "no object" |
# | $\mathrm{weight}'$, $\mathrm{bias}'$ | `fresh_weight`, `fresh_bias` | (K'+1, C), (K'+1,) | of the new head, random until rows are filled in |

# %% [markdown]
# ## Slow and obvious
#
# minim2f, the authors' code ("official") and Hugging Face's Transformers name the same tensors differently. The library has a table of the names; `#` is any
# number, `{q|k|v}` stands for three tensors.

# %% tags=["demo"]
from minim2f.checkpoints import names

wanted = ["backbone.res4.#.conv1", "pixel_decoder.mask_features", "decoder.query_content"]
wanted += ["decoder.query_position", "decoder.class_head"]
wanted += ["decoder.layers.#.self_attention.in_proj.weight"]
chosen = [row for row in names.ROWS if row[names.OURS] in wanted]  # OURS: number of a column

# %% tags=["hide-input"]
table(["ours", "official", "Hugging Face"], [[f"`{name}`" for name in row] for row in chosen])

# %% [markdown]
# So a translation is a loop over names; `translate` is the library's.

# %% tags=["demo"]
MINE = {
    "decoder.query_content": "sem_seg_head.predictor.query_feat",
    "decoder.query_position": "sem_seg_head.predictor.query_embed",
    "decoder.class_head": "sem_seg_head.predictor.class_embed",
    "decoder.norm": "sem_seg_head.predictor.decoder_norm",
}

def slow_translate(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        for ours, official in MINE.items():
            name = name.replace(ours + ".", official + ".")
        renamed[name] = tensor
    return renamed

# %% tags=["demo"]
tiny = minim2f.load("tiny")
some = {}
for name, tensor in tiny.state_dict().items():
    if name.rpartition(".")[0] in MINE:  # the name without .weight or .bias
        some[name] = tensor
same(slow_translate(some), names.translate(some, names.OURS, names.OFFICIAL))
print(*slow_translate(some), sep="\n")

# %% [markdown]
# ## Fast and short
#
# `minim2f.load` reads all three kinds of files; `minim2f.export` writes the two foreign ones, and graphs (below).
# The chapter runs without a network, so we write a file of the authors' form and name; **its weights are random, its sizes small**.
#
# <details><summary>With a network</summary>
#
# `minim2f.load("maskformer2_R50_coco_panoptic")` fetches the authors' file once, compares its MD5, a checksum of all its bytes, with the digits in its name, and prints its licence (CC BY-NC 4.0:
# not for commercial use).
#
# </details>

# %% tags=["demo"]
from pathlib import Path
from tempfile import TemporaryDirectory
from minim2f.checkpoints import published

print(published.FILES["maskformer2_R50_coco_panoptic"])

holder = TemporaryDirectory()  # a folder that vanishes with this notebook
box = Path(holder.name).resolve()
# A pixel decoder of deformable attention, and frozen norms: as in all the authors' models.
published_form = dict(num_classes=133, num_queries=100, pixel_decoder="msdeform", frozen_norm=True)
model = minim2f.Mask2Former(minim2f.preset("tiny", **published_form)).eval()
file = minim2f.export(model, box / "model_final_94dc52.pkl")
again = minim2f.load(file)

# %% tags=["demo"]
config = again.config
print(config.num_classes, "classes,", config.num_queries, "queries,", config.backbone)
print([category["name"] for category in config.categories[:4]])
images = torch.randn(1, 3, 64, 96)
with torch.no_grad():
    same(again(images)[:3], model(images)[:3])  # the fourth item: the earlier layers' predictions

# %% [markdown]
# The sizes were read off the tensors. The classes are not in the file: `load` knows them by the name of the authors' file, here `94dc52`; for
# other names it guesses them from K, and says so.
#
# A `.pkl` file is a **pickle**, a program that builds data. It may call any function; `minim2f.load` lets it call only what rebuilds
# arrays. Never open a stranger's pickle with `pickle.load`.

# %% [markdown]
# ## Shapes
#
# Which tensors notice that K or N changed?

# %% tags=["demo"]
def shapes_of(**changes):
    state = minim2f.Mask2Former(minim2f.preset("tiny", **changes)).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}

before = shapes_of()
for_classes, for_queries = shapes_of(num_classes=5), shapes_of(num_queries=40)
noticed = []
for name in before:
    if for_classes[name] != before[name] or for_queries[name] != before[name]:
        noticed.append(name)

# %% tags=["hide-input"]
table(
    ["tensor", "tiny", "K = 5", "N = 40"],
    [[f"`{name}`", before[name], for_classes[name], for_queries[name]] for name in noticed],
)
print(f"{len(noticed)} of {len(before)} tensors")
assert len(noticed) == 4

# %% [markdown]
# `minim2f.load(path, categories=..., num_queries=...)`, and so `minim2f train --init`, starts just these anew: the class head when the
# classes' names differ, the queries when their number does (`train --queries 40`). Exercises 15.2 and 15.3 keep what is known.

# %% [markdown] tags=["demo"]
# ## Look
#
# ### A folder of your own
#
# Let the pictures be 50 new scenes, and your classes *sky*, *sea*, *land*, *vehicle* and *kite*.
# `draw(seed)` makes a scene; `label_map` gives the class number of every pixel, and 255 where none of yours is: **void**, neither learned nor measured.
# The library reads a folder of this form:
#
# ```text
# mine/images/00.png   a picture
# mine/labels/00.png   the class number of each of its pixels
# mine/classes.txt     the names of the classes 0, 1, 2 ..., one a line
# ```

# %% tags=["demo"]
import shutil
from PIL import Image
from minim2f.book.experiments.ch15 import OWN, label_map
from minim2f.data.scenes import CATEGORIES, draw

theirs = [category["name"] for category in CATEGORIES]  # tiny's 13 classes

def picture(scene):
    return Image.fromarray(scene.image.permute(1, 2, 0).numpy())

for part in ("images", "labels"):
    (box / "mine" / part).mkdir(parents=True)
for i in range(50):
    scene = draw(10_000 + i)
    picture(scene).save(box / "mine" / "images" / f"{i:02}.png")
    Image.fromarray(label_map(scene, theirs)).save(box / "mine" / "labels" / f"{i:02}.png")
(box / "mine" / "classes.txt").write_text("\n".join(OWN), "utf-8")
print("tiny knows", ", ".join(theirs))

# %% [markdown] tags=["demo"]
# Of yours, `tiny` knows *sea* and *kite*. It knows the sky as *sky-other-merged*: by name, that is another class.
#
# `terminal` runs a line as your terminal would. First look for faults:

# %% tags=["demo"]
import io
import os
import shlex
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from minim2f.cli import main

def terminal(line):
    """Runs `minim2f LINE` in `box`, and prints what it says."""
    home, said, errors = Path.cwd(), io.StringIO(), io.StringIO()
    os.chdir(box)
    try:
        with redirect_stdout(said), redirect_stderr(errors):
            code = main(shlex.split(line))
    finally:
        os.chdir(home)
    assert code == 0, errors.getvalue()
    print(said.getvalue().replace(f"{box}{os.sep}", "").strip())

terminal("data check mine")

# %% [markdown] tags=["demo"]
# **Fine-tuning** is training that starts from a trained model: here 20 steps, where `tiny` took 9,000. In the first 10 the learning rate grows
# (`--warmup 10`). A fifth of the
# pictures is **held out**: never learned, only measured. `miou`, the mean over classes of the intersection over union, is at most 1.

# %% tags=["demo"]
terminal("train --data mine --init tiny --steps 20 --warmup 10 -o tuned")

# %% [markdown] tags=["demo"]
# And the same from random weights:

# %% tags=["demo"]
terminal("train --data mine --preset tiny --steps 20 --warmup 10 -o scratch")

# %% [markdown]
# Read two lines in every run: what is *held out*, and *the first step's loss*. Random weights start a little below the estimate (chapter 10).
# `tiny` starts lower, but not near the 4 of its own classes: the class head is new. `eval` measures once more, by class:

# %% tags=["demo"]
def classes_of(model, image):
    """The class of each pixel, (H, W), as a semantic result has it; 255 where there is none."""
    result = minim2f.segment(model, image, task="semantic")
    classes = torch.full(result.ids.shape, 255)
    for segment in result.segments:
        classes[torch.from_numpy(result.ids == segment["id"])] = segment["category_id"]
    return classes

terminal("eval tuned --per-class")
tuned, scratch = minim2f.load(box / "tuned"), minim2f.load(box / "scratch")
unseen = [draw(20_000 + i) for i in range(3)]
truths = [torch.from_numpy(label_map(scene, theirs)).long() for scene in unseen]
found = [[classes_of(m, scene.image) for m in (tuned, scratch)] for scene in unseen]

# %% tags=["demo", "hide-input"]
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

colors = ["#cccccc", "#56B4E9", "#3f8f5f", "#7a2b00", "#000000", "#ffffff"]  # the last is void
titles = ["picture", "truth", "from tiny, 20 steps", "from random, 20 steps"]
fig, axes = plt.subplots(3, 4, figsize=(7.2, 5.9), layout="constrained")
for ax, title in zip(axes[0], titles):
    ax.set_title(title)
for row, scene, truth, results in zip(axes, unseen, truths, found):
    row[0].imshow(scene.image.permute(1, 2, 0))
    for ax, classes in zip(row[1:], [truth, *results]):
        classes = classes.where(truth != 255, 255)
        ax.imshow(classes.clamp(max=5), cmap=ListedColormap(colors), vmin=0, vmax=5)
    for ax in row:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
patches = [Patch(facecolor=c, edgecolor="black", label=n) for c, n in zip(colors, [*OWN, "void"])]
fig.legend(handles=patches, loc="outside lower center", ncols=6)
show(
    fig,
    "Three new scenes, one a row: the picture, the true classes, and what two models make of it. Void is white "
    "in all columns. The model that started from tiny draws outlines close to the truth, but misses the small car "
    "of the first row; the one from random weights finds sky and ground, and coarse blobs in place of things.",
    "Scenes that neither model has seen. Void (white) is not measured, so what the models say there is left out. "
    "From tiny, the small car of the first row is missed. Sharp outlines with wrong classes would mean that only "
    "the class head failed.",
)

# %% [markdown]
# ## Checkpoint
#
# ### Another program, the same numbers
#
# The outside witness is Transformers, which reads what we write and runs its own code. It has no feature pyramid, which `tiny` needs; so we
# give it `model`, with the random weights.

# %%
minim2f.export(model, box / "for_transformers", "huggingface")
if find_spec("transformers"):
    with redirect_stderr(io.StringIO()):  # its warnings and bars
        import transformers

        other = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(box / "for_transformers")
    with torch.no_grad():
        mine, said = model(images), other.eval()(pixel_values=images)
    same(mine.class_logits, said.class_queries_logits, tolerance=1e-3)
    same(mine.mask_logits, said.masks_queries_logits, tolerance=1e-3)
else:
    print("`pip install transformers` brings the witness")

# %% [markdown] tags=["demo"]
# ### A model without its Python code
#
# To **export** a model is to write down its operations as a list, the **graph**. The exporter runs the model once and notes what
# happens; sizes stay formulas, so one graph takes any batch, and any height and width that are multiples of 32. Images go in
# normalised, class and mask logits come out.

# %% tags=["demo"]
def expected(images):
    with torch.no_grad():
        prediction = tuned(images)
    return prediction.class_logits, prediction.mask_logits

pictures = [torch.randn(1, 3, 96, 128), torch.randn(2, 3, 64, 160)]
minim2f.export(tuned, box / "tuned.pt2")
graph = torch.export.load(box / "tuned.pt2").module()
for images in pictures:
    same(graph(images), expected(images), tolerance=1e-3)

# %% [markdown] tags=["demo"]
# **ONNX** files run without PyTorch, here by onnxruntime. It adds numbers in another order, so results are equal up to rounding. (As a
# command: `minim2f export tuned --to tuned.onnx`.)

# %% tags=["demo"]
if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
    import onnxruntime

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # the exporter is talkative
        minim2f.export(tuned, box / "tuned.onnx")
    session = onnxruntime.InferenceSession(box / "tuned.onnx", providers=["CPUExecutionProvider"])
    for images in pictures:
        outputs = session.run(None, {"images": images.numpy()})
        same([torch.from_numpy(output) for output in outputs], expected(images), tolerance=1e-2)
else:
    print("`pip install onnx onnxscript onnxruntime` lets this cell export and compare")

# %% [markdown]
# ## Experiment
#
# ### What is a trained start worth?
#
# *Hypothesis.* From `tiny`, a model is better after every number of steps. To keep rows of its class head as well helps in the first steps only: three
# of the five classes need learning anyway. "Quiet" keeps the row of "no object"; "carried" those of *sea* and *kite*, too (15.2).
#
# Each seed has 40 pictures to learn from, in the same order for all starts, and 40 others to measure on.

# %%
from minim2f.book import experiments

stored = experiments.read("15_own_data")
print(stored["command"])
runs = sorted(stored["runs"], key=lambda run: run["seed"])
steps = [int(step) for step in runs[0]["miou"]]
miou = {
    start: torch.tensor([list(run["miou"].values()) for run in runs if run["variant"] == start])
    for start in ("random", "tiny", "quiet", "carried")
}  # (seeds, numbers of steps) each
# In Look, one seed was measured on 10 other pictures: its two numbers are not in this table.
tiny_scores = miou["tiny"]
differences = [tiny_scores - miou["random"], miou["quiet"] - tiny_scores, miou["carried"] - tiny_scores]
assert (differences[0] > 0.1).all() and (differences[2][:, 0] > 0.2).all()
assert differences[2][:, 2:].abs().max() < 0.02

# %% tags=["hide-input"]
def change(values):
    text = f"{values.mean():+.2f} ({values.min():+.2f} to {values.max():+.2f})"
    return text.replace("-0.00", "0.00").replace("+0.00", "0.00").replace("-", "−")

header = ["steps", *miou, "tiny − random", "quiet − tiny", "carried − tiny"]
rows = []
for i, step in enumerate(steps):
    means = [f"{values[:, i].mean():.2f}" for values in miou.values()]
    rows.append([step, *means, *(change(values[:, i]) for values in differences)])
table(header, rows)

# %% [markdown]
# The first columns are means over five seeds; differences are taken within each seed, with the smallest and largest in brackets.
#
# **A trained start: confirmed.** It is ahead in each seed, by 0.3 to 0.5 after 20 steps, and by more than 0.1 after 160. Random
# weights are then about where `tiny` was between 10 and 20. With pictures of another kind than `tiny` knows, it was not measured.
#
# **Kept rows: confirmed for known classes.** "Carried" is ahead by 0.25 to 0.4 after 5 steps: two of its five classes start trained. From 20 steps on, hardly a
# difference is left. "No object" alone changes little, and not always for the better.

# %% [markdown]
# ### On photographs
#
# Which settings does `train` choose for photographs of COCO? One step shows them:

# %%
try:
    photographs = minim2f.data.open_dataset("coco-mini")
    # For good results start from a published model: tiny knows no photographs.
    terminal("train --data coco-mini --init tiny --steps 1 --batch-size 1 --eval none -o photographs")
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) gets the photographs for this plan")

# %% [markdown]
# The fullest photograph has 39 segments; `train` takes a quarter more queries. So class head *and* queries start anew, and the first loss is near that of
# random weights.

# %% [markdown] tags=["demo"]
# ### Without decoder and pixel decoder
#
# A **vision transformer** cuts the picture into **patches** of 16 × 16 pixels. Each becomes a vector, a token, and in each block all tokens
# attend to each other. **EoMT** (2025) adds the N queries before the last, the joint blocks: there they read the patches and each other, without a decoder. The
# patches, enlarged to a quarter of the picture, are F_pixel, without a pyramid. (`Attention` is ours; GELU is a smooth ReLU.)

# %% tags=["demo"]
from torch import nn
from minim2f.model.mask2former import Prediction
from minim2f.model.position import sine_position
from minim2f.model.transformer_decoder import Attention

class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.attention = Attention(channels, num_heads=4)
        wide = nn.Linear(channels, 4 * channels)
        self.ffn = nn.Sequential(wide, nn.GELU(), nn.Linear(4 * channels, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, x, allowed=None):
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, allowed)
        return x + self.ffn(self.norms[1](x))

# %% tags=["demo"]
class Heads(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config.channels
        self.class_head = nn.Linear(C, config.num_classes + 1)
        self.mask_head = nn.Sequential(nn.Linear(C, C), nn.GELU(), nn.Linear(C, C))
        double = [nn.ConvTranspose2d(C, C, 2, stride=2) for _ in range(2)]
        self.enlarge = nn.Sequential(double[0], nn.GELU(), double[1])

    def forward(self, queries, patches):
        features = shapes.check("F_pixel", self.enlarge(patches), "B C H/4 W/4")
        return Prediction(self.class_head(queries), self.mask_head(queries), features)

# %% tags=["demo"]
class EoMT(nn.Module):
    def __init__(self, config, alone=2, joint=2):
        super().__init__()
        C, self.alone = config.channels, alone
        self.patches = nn.Conv2d(3, C, 16, stride=16)
        self.queries = nn.Embedding(config.num_queries, C)
        self.blocks = nn.ModuleList(Block(C) for _ in range(alone + joint))
        self.heads = Heads(config)

    def predict(self, x, maps):
        count = self.queries.num_embeddings
        return self.heads(x[:, :count], x[:, count:].mT.reshape(maps.shape))

    def forward(self, images, joint_mask=None):
        maps = shapes.check("patches", self.patches(images), "B C H/16 W/16")
        x = (maps + sine_position(maps)).flatten(2).mT
        for number, block in enumerate(self.blocks):
            if number == self.alone:
                x = torch.cat([self.queries.weight.expand(len(x), -1, -1), x], 1)
            allowed = None
            if joint_mask and number >= self.alone:  # only in training
                allowed = joint_mask(self.predict(x, maps).mask_logits, maps.shape[2:])
            x = shapes.check(f"tokens_{number}", block(x, allowed), f"B tokens_{number} C")
        return self.predict(x, maps)

# %% [markdown] tags=["demo"]
# It returns our `Prediction`, so matching, losses and inference fit. Can it learn four scenes by heart?

# %% tags=["demo"]
from dataclasses import replace
from minim2f.training.batches import collate
from minim2f.training.losses import Criterion

torch.manual_seed(0)
successor = EoMT(tiny.config)
criterion = Criterion(replace(tiny.config, deep_supervision=False))  # chapter 10's losses
# A batch of pictures and their targets, as training makes it.
batch, targets = collate(tiny, [draw(30_000 + i) for i in range(4)])
optimizer = torch.optim.AdamW(successor.parameters(), lr=2e-3)
with shapes.watch() as seen:
    successor(batch)
losses = []
for _ in range(40):
    loss = sum(criterion(successor(batch), targets).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.1f} at first, {losses[-1]:.1f} after 40 steps, of one prediction;")
print(f"tiny makes four, so {4 * losses[0]:.0f} compares with the first losses above")
assert losses[-1] < 0.7 * losses[0]

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "patches": "one channel of a patch of 16 × 16 pixels",
        "tokens_0": "one channel of a patch",
        "tokens_2": "one channel of a query or patch",
        "F_pixel": "one channel of a pixel at stride 4",
    },
)

# %% [markdown]
# It learns. How can EoMT do without masked attention? At first, it is trained with it: before each joint block the heads
# are asked for masks, and `joint_mask` (15.4) lets a query look only at patches inside its own. Later, block after block, the masks
# are left out for a growing share of the queries, until there are none. In use, the heads run once.
#
# The paper's claim, which a toy cannot test: a *large* vision transformer, trained before on very many pictures, does
# without pyramid and decoder, and is faster.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Weights that were never loaded
#
# Training on several GPUs puts `module.` before every name. `load_state_dict(..., strict=False)` takes what fits, and is silent about the rest.
# Predict the loss.

# %% tags=["demo"]
from minim2f.training.losses import expected_loss

state = {f"module.{name}": tensor for name, tensor in tiny.state_dict().items()}
torch.manual_seed(0)
empty = minim2f.Mask2Former(tiny.config).eval()
report = empty.load_state_dict(state, strict=False)  # 12 tensors only count batches: not missed
print(len(report.missing_keys), "missing,", len(report.unexpected_keys), "unexpected: no error")

scores = Criterion(tiny.config)
with torch.no_grad():
    loss_of = {name: sum(scores(m(batch), targets).values()) for name, m in [("tiny", tiny), ("empty", empty)]}
print({name: round(loss.item()) for name, loss in loss_of.items()}, "random:", round(expected_loss(tiny.config)))
assert loss_of["tiny"] < 0.25 * loss_of["empty"] and loss_of["empty"] > 0.75 * expected_loss(tiny.config)

# %% [markdown]
# No tensor arrived.
#
# **How to notice it in your own training.** The first loss is that of random weights (chapter 10). Leave `load_state_dict` strict, as
# `minim2f.load` is.
#
# ### Right masks, wrong names
#
# A colleague sorts `classes.txt` by the alphabet, after the training. The labels keep their numbers, so 0, the sky, is now called *kite*.
# `eval` pairs the model's classes with the folder's by name. What happens to the mIoU?

# %%
shutil.copytree(box / "mine", box / "sorted")
(box / "sorted" / "classes.txt").write_text("\n".join(sorted(OWN)), "utf-8")
terminal("eval tuned --data sorted --per-class")

# %%
pixels = torch.stack(truths), torch.stack([classes for classes, _ in found])
rows = []
for k, name in enumerate(OWN):
    inside = pixels[1][pixels[0] == k]  # what the model says where the truth has number k
    number = int(inside.mode().values)
    share = (inside == number).float().mean()
    says = list(OWN)[number]
    rows.append([k, name, sorted(OWN)[k], says, f"{share:.0%}", sorted(OWN).index(says)])

# %% tags=["hide-input"]
header = ["number", "its name in training", "its name now", "the model says"]
table([*header, "on so many of its pixels", "so eval counts them as number"], rows)

# %% [markdown]
# The masks are as good as before; only the names moved.
#
# **How to notice it in your own training.** The mIoU is near 0 while pictures of the
# results show good outlines.

# %% [markdown]
# ## Exercises
#
# ### 15.1 ★ Thirds
#
# A tensor `START.self_attention.in_proj.END` has 3C rows: for queries, keys and values. Make three of it, as Hugging Face has them:
# `START.self_attn.q_proj.END`, and so with `k_proj` and `v_proj`. START, END and C may be anything. All other tensors stay as they are,
# cross-attention too; perhaps all do.

# %%
def split_thirds(tensors):
    """{name: tensor} -> {name: tensor}"""
    ...


exercise("15.1", split_thirds)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `name.partition(text)` cuts a name into what is before the text, the text, and what is behind it. The second is empty where
# the text does not occur.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `zip("qkv", tensor.chunk(3))` gives each letter its third. Build a new dict; do not change the one that you read.
#
# </details>

# %% [markdown]
# ### 15.2 ★★ Keep what is known
#
# Fill a new head by names, as in the equation. `old` and `new` are lists of names without "no object", perhaps with none in common. Names are the same
# only letter by letter: *sky-other-merged* is no *sky*.

# %%
def carry_over(weight, bias, old, new, fresh_weight, fresh_bias):
    """(K+1, C), (K+1,), K names, K' names, (K'+1, C), (K'+1,) -> (K'+1, C), (K'+1,)"""
    ...


exercise("15.2", carry_over)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with copies of the fresh head. `old.index(name)` is the row of a name in the old one.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# "No object" is not among the names: its row needs a line of its own. Each row has a weight and a bias.
#
# </details>

# %% [markdown]
# ### 15.3 ★★ More queries
#
# `tiny` has 16 queries, and you want 40. Make the new table from the learned rows, in their order, and again from the
# first, as often as need be. Row n, if it is such a copy, gets row n of `noise` added: without it, both would see and say the same. Where fewer are wanted, the first
# ones stay.

# %%
def more_queries(table, noise):
    """(N, C), (N', C) -> (N', C)"""
    ...


exercise("15.3", more_queries)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Row n comes from row n modulo N.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Whether a row is a copy is a comparison; as a column of 0 and 1 it switches the noise.
#
# </details>

# %% [markdown]
# Both on `tiny`, with the solutions (or take yours):

# %%
from minim2f.book.exercises import ch15 as solved

head, fresh = tiny.decoder.class_head, nn.Linear(64, len(OWN) + 1)
old = head.weight, head.bias, theirs
weight, _ = solved.carry_over(*old, list(OWN), fresh.weight, fresh.bias)
print("kept:", [name for k, name in enumerate(OWN) if not weight[k].equal(fresh.weight[k])])

# %%
torch.manual_seed(1)  # seed 0 would draw the queries that tiny itself began with
larger = minim2f.load("tiny", num_queries=40)
first_loss = Criterion(larger.config)
with torch.no_grad():
    print(f"40 new queries: loss {sum(first_loss(larger(batch), targets).values()):.0f}")
    for part in ("query_content", "query_position"):
        table_of = getattr(larger.decoder, part).weight
        learned = getattr(tiny.decoder, part).weight
        table_of.copy_(solved.more_queries(learned, 0.1 * torch.randn(40, 64)))
    print(f"40 made from 16: loss {sum(first_loss(larger(batch), targets).values()):.0f}")

# %% [markdown]
# `tiny` itself has 4 here. Copies start above that: they claim the segments of their originals.

# %% [markdown]
# ### 15.4 ★★★ The mask of EoMT
#
# In EoMT's joint blocks, N queries, then rows · columns patches share one attention. A query sees all queries, and only those patches where its mask logit, resized
# bilinearly to the rows and columns of the patches, is above 0, perhaps nowhere. A patch sees everything. Row: who looks; column: at what; True: may look. Why does no
# query need chapter 7's rescue? (Hint 2 answers.) `successor(batch, joint_mask)` uses your mask.

# %%
def joint_mask(mask_logits, size):
    """(B, N, h, w), (rows, columns) -> (B, N + patches, N + patches) bool"""
    ...


exercise("15.4", joint_mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with a square in which everything is allowed. Only one of its four blocks changes.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.nn.functional.interpolate` takes the mask logits as they are. A query always sees the queries, itself among them: no row is without a True, so
# chapter 7's rescue, for rows without one, has nothing to do here.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | other classes | – | a tensor of another shape is skipped, with a warning | starts anew, and a line says so; all else must fit |
# | files | – | pickles, which run what is in them | safetensors; pickles, allowed to call only what rebuilds arrays |
# | start of training | backbone from ImageNet, at a tenth of the rate | the same | also `--init` with any model; for `tiny`, one rate for all |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "slow_translate": "minim2f.checkpoints.names.translate",
        "load": "minim2f.checkpoints.read.load",
        "export": "minim2f.checkpoints.write.export",
        "by name, with a network": "minim2f.checkpoints.published.fetch",
        "classes found by their names": "minim2f.training.class_names.aligned",
        "terminal(\"train ...\")": "minim2f.commands.train.run_train",
        "the experiment": "minim2f.book.experiments.ch15.experiment",
    }
)

# %% [markdown]
# ## Recap
#
# - Other classes or more queries touch four tensors.
# - A translation renames, and splits what the other side keeps apart.
# - Names, not numbers, say which class is which.
# - A trained start is worth most when steps are few.
# - The first loss tells whether weights arrived, equal outputs whether a translation is right.

# %% [markdown]
# ## Further reading
#
# What the successors change:
#
# - [Mask DINO](https://arxiv.org/abs/2206.02777): queries that start from pixels, and predict boxes too.
# - [OneFormer](https://arxiv.org/abs/2211.06220): one training for all three tasks.
# - [Mask2Former for video](https://arxiv.org/abs/2112.10764): the same queries in all frames.
# - [Your ViT is secretly an image segmentation model](https://arxiv.org/abs/2503.19108): EoMT.
#
# You have reached the end of the road. You can start your own pictures from a trained model, measure honestly, and see on the map at the top
# what a new paper changes, for you have built every box. Now build something that you would like to see.
