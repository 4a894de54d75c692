# %% [markdown]
# # 15 · Real weights, your own data, and beyond
#
# You take a trained model out of this book: into other people's files, to your own classes and pictures, into other programs, and to its successors.
#
# *read 60 min · run 30 s CPU · exercises 50 min*
#
# **Needs** chapters 8 and 10 · **Library** [`minim2f/checkpoints/names.py`](../minim2f/checkpoints/names.py), [`minim2f/checkpoints/read.py`](../minim2f/checkpoints/read.py) · **Paper** section 4

# %% [markdown]
# ## You will be able to
#
# - say which weights start anew for other classes or more queries (Shapes)
# - give tensors the names that another program expects (15.1)
# - keep the classes that a model knows (15.2), and add queries (15.3)
# - learn a folder of your own, and measure on pictures held out (Look)
# - say what a trained start is worth, and for how long (Experiment)
# - recognise weights that were never loaded (Break it)
# - export a model, and prove that its outputs are equal (Checkpoint)
# - write the mask with which EoMT needs no decoder (15.4)

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
# The lit stages learn. PyTorch's **state dict** maps names such as `decoder.class_head.weight` to their tensors; a **checkpoint** is a file that holds one.
# Mask2Former's N **queries** each end as a vector of C channels. From it the **class head**, a
# linear layer, makes K+1 logits, for K classes and "no object", and the mask head makes E'; the mask is the product of E' with the
# pixel features F_pixel. The model `tiny` was trained on drawn scenes: K = 13, N = 16, C = 64.

# %% [markdown]
# ## Predict
#
# `tiny` knows 13 classes; you need five others. How many of its 1.8 million numbers must be learned from nothing?
#
# <details><summary>Answer</summary>
#
# Only those of the class head: 5 + 1 rows of 64 weights, and 6 biases, 390 numbers. So few pictures can be enough.
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
# −3: it still says kite. Only the dog has to be learned. (`same` stops the run if two results differ.)

# %% tags=["demo"]
new_weight = torch.tensor([[0.0, 2.0], [0.1, -0.1], [-1.0, -1.0]])
new_bias = torch.tensor([0.0, 0.0, 1.0])
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
# $$W'_{k'} = \begin{cases} W_k & \text{if class } k \text{ has the name of class } k' \\ \text{random} & \text{if no class has it}\end{cases} \qquad W'_{K'} = W_K$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $W$ | `weight` | (K+1, C) | of the trained class head; row K is "no object" |
# | $b$, treated alike | `bias` | (K+1,) | one number for each row |
# | $W'$ | `fresh_weight`, `fresh_bias` | (K'+1, C), (K'+1,) | of the new head, random until rows are filled in |
# | $X_0$ and $E$ | `query_content`, `query_position` | (N, C) | the learned queries, a row for each |

# %% [markdown]
# ## Slow and obvious
#
# minim2f, the authors' code ("official") and Hugging Face's Transformers store the same tensors. The library has a table of their names, `names.tsv`; `#` is any
# number, `{q|k|v}` stands for three tensors.

# %% tags=["demo"]
from minim2f.checkpoints import names

wanted = ["backbone.res4.#.conv1", "pixel_decoder.mask_features", "decoder.query_content"]
wanted += ["decoder.query_position", "decoder.class_head"]
wanted += ["decoder.layers.#.self_attention.in_proj.weight"]
chosen = [row for row in names.ROWS if row[names.OURS] in wanted]

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
some = {name: t for name, t in tiny.state_dict().items() if name.rpartition(".")[0] in MINE}
same(slow_translate(some), names.translate(some, names.OURS, names.OFFICIAL))
print(*slow_translate(some), sep="\n")

# %% [markdown]
# ## Fast and short
#
# `minim2f.export` writes such files, and `minim2f.load` reads all three kinds. With a network, `minim2f.load("maskformer2_R50_coco_panoptic")` fetches the authors'
# file once, compares its MD5 with the digits in its name, and prints its licence (CC BY-NC 4.0: not for commercial use). Without one, we write a
# file of that form and name; **its weights are random, its sizes small**. The authors' own files were not tested yet.

# %% tags=["demo"]
from pathlib import Path
from tempfile import TemporaryDirectory
from minim2f.checkpoints import published

print(published.FILES["maskformer2_R50_coco_panoptic"])

holder = TemporaryDirectory()  # a folder that vanishes with this notebook
box = Path(holder.name).resolve()
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
    same(again(images)[:3], model(images)[:3])

# %% [markdown]
# The sizes were read off the tensors. The file does not name its classes: `load` knows the authors' file `94dc52`.
#
# A `.pkl` file is a **pickle**, a program that builds data, and it may call any function. `minim2f.load` lets it name only what rebuilds
# arrays. Never open a stranger's pickle with `pickle.load`.

# %% [markdown]
# ## Shapes
#
# Which tensors notice that K or N changed? Compare the shapes of three models:

# %% tags=["demo"]
def shapes_of(**changes):
    state = minim2f.Mask2Former(minim2f.preset("tiny", **changes)).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}

before = shapes_of()
for_classes, for_queries = shapes_of(num_classes=5), shapes_of(num_queries=40)
noticed = [name for name in before if not before[name] == for_classes[name] == for_queries[name]]

# %% tags=["hide-input"]
table(
    ["tensor", "tiny", "K = 5", "N = 40"],
    [[f"`{name}`", before[name], for_classes[name], for_queries[name]] for name in noticed],
)
print(f"{len(noticed)} of {len(before)} tensors")
assert len(noticed) == 4

# %% [markdown]
# `minim2f.load(path, categories=..., num_queries=...)`, and with it `minim2f train --init`, renews just these: the class head when the names of
# the classes differ, the queries when their number does (`train --queries 40`). Even classes that both know start anew then; 15.2 and 15.3 do better.

# %% [markdown] tags=["demo"]
# ## Look
#
# ### A folder of your own
#
# Let the pictures be 50 new scenes, and your classes *sky*, *sea*, *land*, *vehicle* and *kite*; `tiny` knows *sea* and *kite*.
# `draw(seed)` makes a scene; `label_map` gives the class of every pixel, and 255 where none of yours is: **void**, neither learned nor measured.
# Such a folder is one of the forms that the library reads.

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

# %% [markdown] tags=["demo"]
# `terminal` runs a line as your terminal would, without the progress bar. First look for faults:

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
# Now **fine-tuning**: training that starts from a trained model. 20 steps, where `tiny` took 9,000. A fifth of the
# pictures is **held out**: never learned, only measured. `miou`, the mean over classes of the intersection over union, is at most 1.

# %% tags=["demo"]
terminal("train --data mine --init tiny --steps 20 --warmup 10 -o tuned")

# %% [markdown] tags=["demo"]
# And the same from random weights:

# %% tags=["demo"]
terminal("train --data mine --preset tiny --steps 20 --warmup 10 -o scratch")

# %% [markdown]
# Read two lines in every run: what is *held out*, and *the first step's loss*. Random weights start a little below the estimate (chapter 10),
# trained ones, if they arrived, far below. `eval` measures once more, by class. Below are three new pictures:

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
        ax.imshow(classes.clamp(max=5), cmap=ListedColormap(colors), vmin=0, vmax=5)
    for ax in row:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
patches = [Patch(facecolor=c, edgecolor="black", label=n) for c, n in zip(colors, [*OWN, "void"])]
fig.legend(handles=patches, loc="outside lower center", ncols=6)
show(
    fig,
    "Three new scenes, one a row: the picture, the true classes, and what two models make of it. The "
    "model that started from tiny draws most outlines close to the truth; the one that started from random "
    "weights finds sky and ground, and coarse blobs in place of things.",
    "Scenes that neither model has seen. Where the truth is void (white), a model may say anything: that is "
    "not measured. Sharp outlines with wrong classes would mean that only the class head failed.",
)

# %% [markdown]
# ## Checkpoint
#
# ### Another program, the same numbers
#
# The outside witness is Transformers, which reads what we export and runs its own code. (It lacks the feature pyramid of `tiny`, so it gets the model of random
# weights.)

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
# To **export** a model is to write down its operations as a list, the **graph**. `torch.export` does it for PyTorch. `Logits` returns
# two plain tensors.

# %% tags=["demo"]
class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        prediction = self.model(images)
        return prediction.class_logits, prediction.mask_logits

plain, images = Logits(tuned).eval(), torch.randn(1, 3, 96, 128)
with torch.no_grad():
    expected = plain(images)
    torch.export.save(torch.export.export(plain, (images,), strict=False), box / "tuned.pt2")
    exported = torch.export.load(box / "tuned.pt2").module()
    same(exported(images), expected, tolerance=1e-3)

# %% [markdown]
# This graph fits one size of picture. Export one for each size that you need.

# %%
try:
    exported(torch.randn(1, 3, 96, 160))
except (AssertionError, RuntimeError, ValueError):
    print("refused: a picture of another width")

# %% [markdown] tags=["demo"]
# **ONNX** files run without PyTorch. They are written by *tracing*; the library then takes its slow operations by itself, since
# a tracer cannot follow the fast ones (appendix E).

# %% tags=["demo"]
import warnings

if find_spec("onnx") and find_spec("onnxruntime"):
    import onnxruntime

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every `if`
        torch.onnx.export(plain, (images,), box / "tuned.onnx", dynamo=False, input_names=["images"])
    session = onnxruntime.InferenceSession(box / "tuned.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"images": images.numpy()})
    same([torch.from_numpy(output) for output in outputs], list(expected), tolerance=1e-2)
else:
    print("`pip install onnx onnxruntime` lets this cell export and compare")

# %% [markdown]
# ## Experiment
#
# ### What is a trained start worth?
#
# *Hypothesis.* From `tiny`, a model is better after every number of steps. To keep rows of its class head as well helps in the first steps only, since three
# classes need learning anyway. "Quiet" keeps the row of "no object"; "carried" those of *sea* and *kite*, too (exercise 15.2).
#
# Each seed has 40 pictures of its own to learn from, in the same order for all starts, and 40 others to measure on. The runs are stored.

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
# The first columns are means over five seeds. A difference is taken within each seed: its mean, smallest and largest value.
#
# **A trained start: confirmed.** It is ahead in each seed, by 0.3 to 0.5 after 20 steps, and still by more than 0.1 after 160. Random
# weights are then about where `tiny` was between 10 and 20. These pictures are of the kind that `tiny` knows; with another kind, it
# was not measured.
#
# **Kept rows: confirmed for known classes.** "Carried" is ahead by 0.25 to 0.4 after 5 steps: two of its five rows need no learning. From 20 steps on, no difference is left.
# "No object" alone changes little, and not always for the better.

# %% [markdown]
# ### On photographs
#
# What would a run on photographs of COCO need? One step shows the plan. (For results, start from a published model.)

# %%
try:
    photographs = minim2f.data.open_dataset("coco-mini")
    terminal("train --data coco-mini --init tiny --steps 1 --batch-size 1 --eval none -o photographs")
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) gets the photographs for this plan")

# %% [markdown]
# The fullest photograph has 39 segments, and the plan takes a quarter more queries. So class head *and* queries start anew, and the first loss is near that of
# random weights. 59 classes never occur: these cannot be learned.

# %% [markdown] tags=["demo"]
# ### Without decoder and pixel decoder
#
# A **vision transformer** cuts the picture into **patches** of 16 × 16 pixels. Each becomes a token, and all tokens
# attend to each other, block after block. **EoMT** (2025) adds the N queries as more tokens before the last blocks, and that is all: no pyramid, no cross-attention. The patches, enlarged to a quarter of
# the picture, are F_pixel. On our `Attention`
# (`shapes.check` names a tensor and asserts its shape):

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
class EoMT(nn.Module):
    def __init__(self, config, alone=2, joint=2):
        super().__init__()
        C, self.alone = config.channels, alone
        self.patches = nn.Conv2d(3, C, 16, stride=16)
        self.queries = nn.Embedding(config.num_queries, C)
        self.blocks = nn.ModuleList(Block(C) for _ in range(alone + joint))
        self.class_head = nn.Linear(C, config.num_classes + 1)
        self.mask_head = nn.Sequential(nn.Linear(C, C), nn.GELU(), nn.Linear(C, C))
        double = [nn.ConvTranspose2d(C, C, 2, stride=2) for _ in range(2)]
        self.enlarge = nn.Sequential(double[0], nn.GELU(), double[1])

    def forward(self, images):
        maps = shapes.check("patches", self.patches(images), "B C H/16 W/16")
        x = (maps + sine_position(maps)).flatten(2).mT
        for number, block in enumerate(self.blocks):
            if number == self.alone:
                x = torch.cat([self.queries.weight.expand(len(x), -1, -1), x], 1)
            x = shapes.check(f"tokens_{number + 1}", block(x), f"B S_{number + 1} C")
        count = self.queries.num_embeddings
        queries, patches = x[:, :count], x[:, count:]
        features = shapes.check("F_pixel", self.enlarge(patches.mT.reshape(maps.shape)), "B C H/4 W/4")
        return Prediction(self.class_head(queries), self.mask_head(queries), features)

# %% [markdown] tags=["demo"]
# It returns our `Prediction`, so matching, losses and inference fit. Can it learn four scenes by heart? `collate` makes a batch; `Criterion` gives chapter 10's losses.

# %% tags=["demo"]
from dataclasses import replace
from minim2f.training.batches import collate
from minim2f.training.losses import Criterion

torch.manual_seed(0)
successor = EoMT(tiny.config)
criterion = Criterion(replace(tiny.config, deep_supervision=False))  # one prediction, no others
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
print(f"loss {losses[0]:.1f} at first, {losses[-1]:.1f} after 40 steps")
assert losses[-1] < 0.7 * losses[0]

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "patches": "one channel of a patch of 16 × 16 pixels",
        "tokens_2": "of the patches alone",
        "tokens_4": "of queries and patches together",
        "F_pixel": "one channel of a pixel at stride 4",
    },
)

# %% [markdown]
# It learns. Whether it is as good, a toy cannot say: the paper's claim is that a *large* vision transformer, trained before on very many pictures, does
# without pyramid and decoder, and is faster. In training, EoMT's queries attend only inside their masks, as in chapter 7; the masks are switched off bit by bit, so that in
# use there are none, as above. Exercise 15.4 writes them.

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
report = empty.load_state_dict(state, strict=False)
print(len(report.missing_keys), "missing,", len(report.unexpected_keys), "unexpected: no error")

scores = Criterion(tiny.config)
with torch.no_grad():
    loss_of = {name: sum(scores(m(batch), targets).values()) for name, m in [("tiny", tiny), ("empty", empty)]}
print({name: round(loss.item()) for name, loss in loss_of.items()}, "random:", round(expected_loss(tiny.config)))
assert loss_of["tiny"] < 0.25 * loss_of["empty"] and loss_of["empty"] > 0.75 * expected_loss(tiny.config)

# %% [markdown]
# No tensor arrived. (12 of the unexpected ones only count batches; PyTorch does not miss those.)
#
# **How to notice it in your own training.** The first loss is that of random weights (chapter 10). Leave `load_state_dict` strict, as
# `minim2f.load` is.
#
# ### Right masks, wrong names
#
# A colleague sorts `classes.txt` by the alphabet, after the training. Now number 0 is called *kite*. What happens to the
# mIoU? (`eval` notices that most of these pictures were learned, and says so.)

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
    rows.append([k, name, sorted(OWN)[k], list(OWN)[number], f"{share:.0%}"])

# %% tags=["hide-input"]
table(["number", "its name in training", "its name now", "the model says", "on so many of its pixels"], rows)

# %% [markdown]
# The masks are as good as before; only the names moved.
#
# **How to notice it in your own training.** The mIoU is near 0 while pictures of the
# results show good outlines, and each class is taken for exactly one other.

# %% [markdown]
# ## Exercises
#
# ### 15.1 ★ Thirds
#
# A tensor `X.self_attention.in_proj.Y` has 3C rows: for queries, keys and values. Make three of it, as Hugging Face has them:
# `X.self_attn.q_proj.Y`, `X.self_attn.k_proj.Y`, `X.self_attn.v_proj.Y`. X and Y may be anything. All other tensors stay as they are,
# cross-attention too.

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
# Fill a new head by names, as in the equation. `old` and `new` are lists of names without "no object".

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
# ### 15.4 ★★★ The mask of EoMT
#
# In EoMT's last blocks, N queries and S patches share one attention. A query sees all queries, and only those patches where its mask logit, resized
# bilinearly to the rows and columns of the patches, is above 0. A patch sees everything. Row: who looks; column: at what; True: may look. Why does no
# query need the rescue of chapter 7?

# %%
def joint_mask(mask_logits, size):
    """(B, N, h, w), (rows, columns) with S = rows * columns -> (B, N+S, N+S) bool"""
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
# `torch.nn.functional.interpolate` takes the mask logits as they are. Chapter 7's rescue was for rows
# without a True: can there be one here?
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | other classes | – | a tensor of another shape is skipped, with a warning | renewed when the names differ, and said; all else must fit |
# | names of the classes | – | not in the file | in the file's header; Hugging Face: in `config.json` |
# | files | – | pickles, which run what is in them | safetensors; pickles are read without running them |
# | q, k, v of self-attention | – | stacked | stacked; Hugging Face: apart |
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
# - Another number of classes or queries touches four tensors; all others stay.
# - A translation renames, and splits what the other side keeps apart.
# - Names, not numbers, say which class is which.
# - A trained start is worth most when steps are few; measure on pictures held out.
# - The first loss tells whether weights arrived.
# - An export is proved by equal outputs.

# %% [markdown]
# ## Further reading
#
# The roads on, each with what it changes:
#
# - [Mask DINO](https://arxiv.org/abs/2206.02777): queries that start from pixels, and predict boxes too (chapters 6, 9).
# - [OneFormer](https://arxiv.org/abs/2211.06220): one training for all three tasks (chapter 12).
# - [Mask2Former for video](https://arxiv.org/abs/2112.10764): the same queries in all frames (chapter 7).
# - [Your ViT is secretly an image segmentation model](https://arxiv.org/abs/2503.19108): EoMT.
#
# Before: chapter 14, ablations. You have reached the end of the road.
