# %% [markdown]
# # 11 · Training
#
# How losses become a trained model: the optimiser's step, one picture learned by heart, a run stopped and resumed, a NaN and its origin.
#
# *read 65 min · run 35 s CPU · exercises 45 min*
#
# **Needs** chapter 10 · **Library** [`minim2f/training/loop.py`](../minim2f/training/loop.py), [`minim2f/training/recipe.py`](../minim2f/training/recipe.py) · **Paper** section 4.1

# %% [markdown]
# ## You will be able to
#
# - compute a step of AdamW, and say what clipping changes (The idea in small numbers)
# - sort parameters into groups (11.1), clip gradients (11.2), write a schedule (11.3)
# - test a training loop with one picture (Look)
# - say which pictures a step sees (11.4)
# - find the first layer that returns a NaN (11.5)

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
where_we_are("backbone", "pixel decoder", "queries", "masked attention", "heads", "matching", "losses")

# %% [markdown]
# A training **step** sends a batch of pictures along this road, pairs queries with segments (chapter 9), sums the losses
# (chapter 10), and sends gradients back to every weight. Then the **optimiser** moves the weights. Mask2Former uses AdamW.

# %% [markdown]
# ## Predict
#
# The official code shortens the gradient of the whole model to a length of 0.01. At the start it is about 70
# long, so it becomes 7,000 times shorter. How much less do the weights move?
#
# <details><summary>Answer</summary>
#
# With plain gradient descent, 7,000 times less. With AdamW, nearly as far as before. The next section says why, and what clipping is good for then.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# AdamW keeps two running means for each weight: the *mean* of its gradients, which takes in a tenth of each new one, and the mean of their *squares*, which takes in a thousandth.
# Both start from 0 and are too small at first: gradients of 1 would make the mean 0.1, then 0.19, then 0.271, that is $1 - 0.9^{\mathrm{step}}$. Divided by this number, the mean is
# *corrected*. The weight moves down by the learning rate times corrected mean / √corrected square.
#
# One weight sees three batches with the gradients 1, −100 and 1. The second is an outlier.
#
# | step | corrected mean | corrected square | moves down by |
# | --- | --- | --- | --- |
# | 1 | 0.1 / 0.1 = 1 | 0.001 / 0.001 = 1 | 1 |
# | 2 | (0.9 · 0.1 − 10) / 0.19 = −52.2 | (0.999 · 0.001 + 10) / 0.001999 = 5003 | −52.2 / 70.7 = −0.74 |
# | 3 | (0.9 · (−9.91) + 0.1) / 0.271 = −32.5 | (0.999 · 10.001 + 0.001) / 0.002997 = 3334 | −32.5 / 57.7 = −0.56 |
#
# All gradients times 100 give the same moves: the factor appears above and below the
# line. What hurts is that one batch's gradient is longer: in step 3 the weight still goes the wrong way.
# **Clipping** shortens every gradient that is above a *longest* length. With 1, the gradients become 1, −1, 1, and the moves 1, −0.05
# and 0.34. With 0.01, they become 0.01, −0.01, 0.01, and the moves stay the same.

# %% tags=["demo"]
def moves(gradients, longest=float("inf")):
    mean, square, moved = 0.0, 0.0, []
    for step, gradient in enumerate(gradients, start=1):
        clipped = gradient * min(1, longest / abs(gradient))
        mean = 0.9 * mean + 0.1 * clipped
        square = 0.999 * square + 0.001 * clipped**2
        moved.append(mean / (1 - 0.9**step) / (square / (1 - 0.999**step)) ** 0.5)
    return torch.tensor(moved)

same(moves([1, -100, 1]), torch.tensor([1, -0.7375, -0.5636]), tolerance=1e-4)
same(moves([100, -10_000, 100]), moves([1, -100, 1]))
same(moves([1, -100, 1], longest=1), torch.tensor([1, -0.0526, 0.3358]), tolerance=1e-4)
same(moves([1, -100, 1], longest=0.01), moves([1, -100, 1], longest=1))

# %% [markdown]
# ## The equation
#
# $$\mathrm{clipped} = \nabla\,\min\Big(1, \frac{\mathrm{longest}}{\lVert\nabla\rVert}\Big)$$
#
# $$\mathrm{mean} \leftarrow 0.9\,\mathrm{mean} + 0.1\,\mathrm{clipped} \qquad \mathrm{square} \leftarrow 0.999\,\mathrm{square} + 0.001\,\mathrm{clipped}^2$$
#
# $$\theta \leftarrow \theta - \mathrm{rate}\,\Big[\frac{\mathrm{mean} / (1-0.9^{\mathrm{step}})}{\sqrt{\mathrm{square}/(1-0.999^{\mathrm{step}})} + \varepsilon} + \mathrm{decay}\;\theta\Big]$$
#
# | in the formula | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\theta$ | `weights` | any | the numbers that are learned |
# | $\nabla$ | `gradient` | as $\theta$ | of the loss; its length $\lVert\nabla\rVert$ is that of all weights together |
# | longest | `longest` | number | allowed length; 0.01 in the official code |
# | mean, square | `mean`, `square` | as $\theta$ | the running means |
# | step | `step` | number | 1 for the first step |
# | rate | `rate` | number | learning rate of this step and of this weight |
# | decay | `decay` | number | **weight decay**: a pull of the weight towards 0 |
# | $\varepsilon$ | `1e-8` | number | keeps the division finite |
#
# **Counting.** A *step* is counted from 1. Code that counts from 0 has *done*, the steps before this one.
#
# **The rate** differs between weights. A backbone from ImageNet needs only small changes, and gets a tenth of the rate.
# It also differs between steps. The first mean of squares rests on a single gradient, and each weight moves by its full rate. A
# **warm-up** lets the rate grow over the first steps. At the end it falls, so that the weights settle.

# %% [markdown] tags=["demo"]
# ## Slow and obvious
#
# One weight after the other, for lists of numbers.

# %% tags=["demo"]
def slow_step(weights, gradient, mean, square, step, rate, decay):
    out = []
    for theta, slope, mean_i, square_i in zip(weights, gradient, mean, square):
        mean_i = 0.9 * mean_i + 0.1 * slope
        square_i = 0.999 * square_i + 0.001 * slope * slope
        move = (mean_i / (1 - 0.9**step)) / ((square_i / (1 - 0.999**step)) ** 0.5 + 1e-8)
        out.append((theta - rate * (move + decay * theta), mean_i, square_i))
    return tuple(torch.tensor(column) for column in zip(*out))

# %% [markdown] tags=["demo"]
# ## Fast and short

# %% tags=["demo"]
def fast_step(weights, gradient, mean, square, step, rate, decay):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient.square()
    move = (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    return weights - rate * (move + decay * weights), mean, square

# %%
weights, gradient, mean = torch.randn(3, 50)
same(fast_step, slow_step, weights, gradient, mean, torch.rand(50), 7, 0.1, 0.05)

# %% [markdown]
# **And in a whole model?** `loop.start` makes what a step needs, and `loop.step` takes one. `TINY` is the recipe of the tiny model:
# a `TrainConfig`, which has all numbers of a run. `SampleList` makes a data set of the pictures in a list; `fresh` makes the same untrained model each time. The first gradient is clipped to 1 and to 0.01, and then takes an AdamW step with rate 1.

# %% tags=["demo"]
from dataclasses import replace
from minim2f.data.sample import SampleList
from minim2f.training import loop
from minim2f.training.recipe import TINY, TrainConfig

scenes = minim2f.data.open_dataset("scenes", split="train", length=8)
four = SampleList([scenes[n] for n in range(4)], scenes.categories)
short = replace(TINY, steps=6, batch_size=2, save_every=3)

def fresh():
    torch.manual_seed(0)
    return minim2f.Mask2Former(minim2f.preset("tiny", categories=scenes.categories))

# %%
model = fresh()
state = loop.start(model, replace(TINY, clip_norm=float("inf")))
pictures = [[scenes[0], scenes[1]]]  # the batch in one part; with little memory, in several
loop.step(state, 0, pictures)  # 0 steps were done before
gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
zero = torch.zeros_like(gradient)

# %%
def first_move(longest):
    return fast_step(zero, gradient * longest / gradient.norm(), zero, zero, 1, 1.0, 0.0)[0]

free = fast_step(zero, gradient, zero, zero, 1, 1.0, 0.0)[0]
rows = []
for longest in (1.0, 0.01):
    moved = first_move(longest)
    apart = (moved - free).abs()[gradient != 0]
    cosine = torch.cosine_similarity(moved, free, dim=0)
    slower = (apart > 0.5).float().mean()
    rows.append([longest, f"{moved.norm() / free.norm():.3f}", f"{cosine:.3f}", f"{slower:.1%}"])
    assert cosine > 0.98 and moved.norm() > 0.95 * free.norm()

# %% tags=["hide-input"]
print(f"length of the gradient: {gradient.norm():.0f}, numbers in it: {len(gradient):,}")
table(["longest", "length of the move, against no clipping", "cosine", "weights that move by less than half"], rows)

# %% [markdown]
# A scale of all gradients hardly matters; only weights whose gradient comes near $\varepsilon$ slow down. Where every gradient is clipped, as nearly always at 0.01, all batches count alike.

# %% [markdown]
# ## Shapes
#
# Gradient, mean and square have the shape of their weight. With the weight, that is four float32 numbers, 16 bytes: 0.7 GB for the published model's 44 million weights. Which weight gets which rate and decay? `make_optimizer` makes four **parameter groups**, here with the published numbers:

# %%
from minim2f.training.recipe import make_optimizer

optimizer = make_optimizer(model, TrainConfig())
names = {p: name for name, p in model.named_parameters()}
rows = []
for group in optimizer.param_groups:
    found = group["params"]
    numbers = sum(p.numel() for p in found)
    rows.append([f"`{names[found[0]]}`", len(found), f"{numbers:,}", f"{group['lr']:.5f}".rstrip("0"), group["weight_decay"]])

# %% tags=["hide-input"]
table(["the first of the group", "tensors", "numbers in them", "rate", "decay"], rows)

# %% [markdown]
# Norm layers and embeddings (the queries, for one) have no decay.

# %% [markdown] tags=["demo"]
# ## Look
#
# **An outlier, and three schedules.** Left, sixty gradients of 1, of which the twentieth is −100 instead. Right, what the rate is multiplied by, over 1,000 steps: "in steps" divides
# it by 10 at 0.889 and again at 0.963 of the run; "poly" is $(1-\mathrm{done}/\mathrm{steps})^{0.9}$, used for semantic data sets such as ADE20K.

# %% tags=["demo", "hide-input"]
spiky = [1] * 19 + [-100] + [1] * 40
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.9), layout="constrained")
left.axhline(0, color="0.8", linewidth=0.8)
left.plot(range(1, 61), moves(spiky), color="black", label="not clipped")
left.plot(range(1, 61), moves(spiky, longest=1), "--", color="C1", label="longest 1, or 0.01")
left.set(xlabel="step", ylabel="move / rate", ylim=(-1.1, 1.15))
left.legend(fontsize=8, loc="lower right")
published, poly = TrainConfig(steps=1000), TrainConfig(steps=1000, schedule="poly")
for recipe, style in ((published, "-"), (poly, "--"), (replace(TINY, steps=1000), ":")):
    factors = [recipe.rate(done) for done in range(1000)]
    right.plot(range(1, 1001), factors, style, color="C0" if style == ":" else "black")
right.text(600, 1.12, "published: in steps", fontsize=8, ha="center")
right.text(430, 0.36, "ADE20K: poly", fontsize=8, ha="center")
right.annotate(
    "TINY: 50 steps of warm-up,\nthen the same as poly", (14, 0.26), (130, 0.03), fontsize=8,
    color="C0", arrowprops={"arrowstyle": "-", "color": "C0"},
)
right.set(xlabel="step", ylabel="factor of the rate", yscale="log", ylim=(0.005, 1.6))
right.set(yticks=(0.01, 0.1, 1), yticklabels=("0.01", "0.1", "1"))
show(
    fig,
    "Left, the move of a weight over 60 steps. Both curves are 1 until step 19. Unclipped, the curve falls below zero, "
    "stays there for many steps, and is still far below 1 at step 60. Clipped, it dips a little and returns. Right, on a logarithmic axis, three learning "
    "rates: one is 1 with drops to 0.1 and 0.01 near the end; one falls smoothly; the third rises over 50 steps and then follows the second.",
    "Without clipping, one batch turns the weight round for twenty steps, and it is still slow forty steps later. Here, after nineteen steps of 1, a clipped curve below 0 would be wrong.",
)

# %% [markdown] tags=["demo"]
# **One picture first.** Whoever cannot learn one picture by heart has a bug, and finds out in seconds.
# `after_step` is called after each step. There we match, and note which query
# wins which segment, and how well its mask fits (IoU). **PQ**, from 0 to 1, judges a whole result (chapter 13).

# %% tags=["demo"]
from minim2f.training.batches import collate
from minim2f.training.matching import match

one = SampleList([scenes[2]], scenes.categories)
model = fresh()
config = replace(model.config, num_points=None)  # match on all pixels, without chance
truth = torch.nn.functional.interpolate(one[0].masks[None].float(), scale_factor=0.25, mode="area")[0]
winners, ious, film = [], [], {}

def look(done):
    images, targets = collate(model, list(one))
    with torch.no_grad():
        prediction = model.eval()(images)  # each training step switches back to train()
    queries, segments = match(prediction, targets, config)[0]
    queries = queries[segments.argsort()]
    masks, true = prediction.mask_logits[0, queries] > 0, truth > 0.5  # (G, 24, 24)
    ious.append((masks & true).sum((1, 2)) / (masks | true).sum((1, 2)).clamp(min=1))
    winners.append(queries)
    film[done] = masks

# %% tags=["demo"]
from minim2f.training.evaluation import evaluate

look(0)
recipe = replace(TINY, steps=40, batch_size=1, warmup=5, flip=0)  # always the same picture, never mirrored
history = loop.train(model, one, recipe, progress=False, after_step=look)
print("loss:", " ".join(f"{history[n]['loss']:.0f}" for n in (0, 5, 10, 20, 39)))
score = evaluate(model, one)["All"]["pq"]
print(f"PQ on this picture: {score:.2f}")
assert history[-1]["loss"] < 0.3 * history[0]["loss"] and score > 0.5

# %% tags=["demo", "hide-input"]
from minim2f.colors import query_color

times = [0, 5, 10, 20, 40]
fig = plt.figure(figsize=(7.4, 4.4), layout="constrained")
grid = fig.add_gridspec(2, 6, height_ratios=[1, 2.1])
panel = fig.add_subplot(grid[0, 0])
panel.imshow(one[0].image.permute(1, 2, 0))
panel.set_title("picture", fontsize=8)
panels = [panel]
for column, done in enumerate(times, start=1):
    panel = fig.add_subplot(grid[0, column])
    canvas, region = torch.ones(24, 24, 3), torch.full((24, 24), -1)
    order = film[done].sum((1, 2)).argsort(descending=True)  # small masks lie on top
    for segment in order.tolist():
        canvas[film[done][segment]] = torch.tensor(query_color(int(winners[done][segment])))
        region[film[done][segment]] = segment
    panel.imshow(canvas)
    for segment in region.unique().tolist():  # a line around each, where colours are alike in grey
        if region.unique().numel() > 1:
            panel.contour(region == segment, [0.5], colors="black", linewidths=0.6)
    panel.set_title(f"after {done} steps", fontsize=8)
    panels.append(panel)
for panel in panels:
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(True)
strip = fig.add_subplot(grid[1, :])
shown = torch.stack(winners).T
quality = torch.stack(ious).T
shades = strip.imshow(quality, cmap="gray", vmin=-0.3, vmax=1, aspect="auto")
bar = fig.colorbar(shades, ax=strip, label="IoU", pad=0.01, aspect=30)
bar.ax.set_ylim(0, 1)
for segment, queries in enumerate(shown.tolist()):
    for n, query in enumerate(queries):
        if n == 0 or query != queries[n - 1]:
            dark = quality[segment, n] < 0.4
            strip.text(n, segment, query, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    strip.scatter(42, segment, s=70, marker="s", color=query_color(queries[-1]), edgecolors="black", linewidths=0.6)
kinds = [scenes.categories[k]["name"] for k in one[0].labels.tolist()]
strip.set(yticks=range(len(kinds)), yticklabels=kinds, xlim=(-0.5, 43.5), xticks=range(0, 41, 5))
strip.set_xlabel("steps done; a number is the query that takes the segment over")
strip.spines[:].set_visible(True)
show(
    fig,
    "Above, a made scene and five small pictures of the masks of the winning queries after 0 to 40 steps: a jumble, then almost nothing, "
    "then large segments, and at last small ones too. Below, a row for each segment and a column for each step; the shade says how well the mask fits, from "
    "black to white. Numbers of new winning queries crowd in the first columns, and later there are none. A coloured square ends each row.",
    "Above, one colour is one query, and white belongs to none (the tree is void). Below, light is a good mask; numbers in the first column are the first winners, and the square at the end of a row has the "
    "colour of its last winner. Numbers in the right half would mean that queries still change places.",
)
late = (shown[:, 21:] != shown[:, 20:-1]).sum().item()
early = (shown[:, 1:11] != shown[:, :10]).sum().item()
print(f"changes of winner: {early} in the first 10 steps, {late} in the last 20")
assert late < early

# %% [markdown]
# At first all masks are poor, and a segment's cheapest query changes often. The masks first shrink to nothing, probably because most of the
# picture lies outside of any one segment. Later, a query whose mask fits well usually stays. The two largest segments, sky and grass, are found
# first; the sea, third in size, comes after the small ball and the car.
#
# ## Checkpoint
#
# First, PyTorch's AdamW as a witness, over ten steps:

# %%
mine, mean, square = torch.ones(50), torch.zeros(50), torch.zeros(50)
theirs = torch.nn.Parameter(torch.ones(50))
adamw = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.05)
for step in range(1, 11):
    theirs.grad = torch.randn(50)
    mine, mean, square = fast_step(mine, theirs.grad, mean, square, step, 0.1, 0.05)
    adamw.step()
same(mine, theirs)

# %% [markdown]
# **Kill and resume.** The folder of a run holds a log and, every `save_every` steps, a checkpoint with weights, means, squares and `done`.
# Pictures (11.4), whether they are mirrored, and random points follow from the seed and `done`, so a resumed run ends with the
# same weights, bit for bit. Here the power fails after step 4; the last checkpoint is from step 3:

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

class PowerCut(Exception):
    pass

def fail(done):
    if done == 4:
        raise PowerCut

whole = fresh()
loop.train(whole, four, short, progress=False)
resumed = minim2f.Mask2Former(whole.config)  # other weights, until the checkpoint is read
with TemporaryDirectory() as folder:
    try:
        loop.train(fresh(), four, short, progress=False, folder=folder, after_step=fail)
    except PowerCut:
        print(sorted(path.name for path in Path(folder).iterdir()))
    taken = loop.train(resumed, four, short, progress=False, folder=folder, resume=True)
    print("steps after resuming:", len(taken))
same(dict(resumed.state_dict()), dict(whole.state_dict()), tolerance=0)

# %% [markdown]
# **Two processes.** `torchrun` starts the same program several times. Each process sees its share of the batch, and
# PyTorch's DistributedDataParallel averages the gradients before the optimiser moves, so that all keep the same weights. Here are two processes,
# then one with the whole batch. `frozen_norm` stops batch norm from using the statistics of its own share.

# %%
import json
import os
import runpy
import subprocess
import sys

program = """
import sys
from dataclasses import replace
import torch
import minim2f
from minim2f.training import distributed, loop
from minim2f.training.recipe import TINY

def run(folder):
    with distributed.joined("cpu"):  # the processes find each other
        torch.manual_seed(0)
        scenes = minim2f.data.open_dataset("scenes", length=8)
        sizes = {"categories": scenes.categories, "frozen_norm": True, "num_points": None}
        model = minim2f.Mask2Former(minim2f.preset("tiny", **sizes))
        loop.train(model, scenes, replace(TINY, steps=2, batch_size=4), progress=False, folder=folder)

if __name__ == "__main__":
    run(sys.argv[1])
"""

# %%
torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
home = str(Path(minim2f.__file__).parent.parent)
with TemporaryDirectory() as folder:
    file = Path(folder, "program.py")
    file.write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": home}
    subprocess.run([*torchrun, file, f"{folder}/two"], env=environment, capture_output=True, check=True)
    runpy.run_path(str(file))["run"](f"{folder}/one")
    logs = {}
    for name in ("two", "one"):
        lines = map(json.loads, Path(folder, name, "log.jsonl").read_text().splitlines())
        logs[name] = [(line["loss"], line["norm"]) for line in lines if line["kind"] == "train"]

# %%
same(logs["two"], logs["one"], tolerance=1e-3)
rows = [[name, ", ".join(f"{loss:.3f}" for loss, _ in log)] for name, log in logs.items()]
table(["processes", "loss of steps 1 and 2"], rows)

# %% [markdown]
# **On a GPU** (`--device cuda`), sums may be made in another order each time, and runs no longer agree bit for bit. The published runs used float16; there a `GradScaler` enlarges
# the loss, lest small gradients become 0, and undoes this before clipping. No GPU was used here.

# %% [markdown]
# ## Experiment
#
# ### What is each number of the recipe worth?
#
# Hypothesis: for a small model from random weights, clipping matters little, and a backbone at a tenth of the rate costs a lot, as
# it has nothing yet that is worth keeping. `TINY` clips at 1, with all of the rate for the backbone. Each run takes 120 steps; PQ is that of 40 unseen scenes. A change is better or worse if all
# five seeds agree (by chance, one time in 16); else it is undecided.

# %%
from minim2f.book.experiments import read

stored = read("11_training")
print(stored["command"])
runs = {(run["variant"], run["seed"]): run for run in stored["runs"]}
seeds = stored["settings"]["seeds"]

# %% tags=["hide-input"]
rows, changes = [], {}
for variant in dict.fromkeys(name for name, _ in runs):
    own = [runs[variant, seed] for seed in seeds]
    changes[variant] = [run["pq"] - runs["TINY", seed]["pq"] for run, seed in zip(own, seeds)]
    rows.append([variant, ", ".join(f"{run['pq']:.2f}" for run in own)])
    rows[-1].append(", ".join(f"{change:+.2f}" for change in changes[variant]))
    rows[-1].append(f"{round(sum(changes[variant]) / len(seeds), 2) + 0.0:+.2f}")
    rows[-1].append(f"{min(run['norm'] for run in own):.0f} to {max(run['norm'] for run in own):.0f}")
    rows[-1].append(f"{max(run['largest'] for run in own):.0f}")
header = ["recipe", "PQ of each seed", "against TINY, seed by seed", "mean"]
table([*header, "gradient's length, median", "largest"], rows)

# %% [markdown]
# **Clipping: undecided.** Both changes help three seeds and harm two. There was little to mend: the longest gradient is at most four times as long
# as the median. With medians above 20, most gradients are clipped at 1 as well as at 0.01, with nearly the same moves.
#
# **The slow backbone: undecided**, though worse for four of five seeds. Its mean of −0.03 is about as large as the +0.03 of clipping at 0.01: "costs a lot" is not confirmed.
#
# ### From one picture to many
#
# The same loop learns new scenes. These runs from the project's log lasted longer than 120 steps, so PQ is higher. "Width" counts the channels of the
# backbone's first map. `TINY` today is run 3: 8 pictures, 512 points, decay 0.05, warm-up of 50 steps, poly.

# %%
from minim2f.book.chapter import ROOT

bench = ROOT / "data" / "bench"
text = (bench / "learning_log.md").read_text("utf-8")
lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
found = {line[0].strip(): line for line in lines}
hundred = {  # name in the log: what it is, the run that it is compared with
    "as it was: width 64, rate 8e-4, 8 pictures, 512 points": ("width 64, rate 8e-4", "–"),
    "width 32": ("width 32, rate 8e-4", "1"),
    "width 32, rate 3e-3": ("width 32, rate 3e-3", "2"),
    "the same, every pixel instead of points": ("every pixel instead of points", "3"),
}
sixty = {
    "nothing else (seeds 0, 1)": ("run 3 with 4 pictures and 256 points (two seeds)", "–"),
    "weight decay 0.01": ("decay 0.01", "5"),
    "rate 5e-3": ("rate 5e-3", "5"),
    "warm-up of 10 steps": ("warm-up of 10 steps", "5"),
    "rate falls linearly; in two steps, as published": ("rate falls linearly; in steps, as published", "5"),
}
rows = []
for seconds, wanted in ((100, hundred), (60, sixty)):
    for name, (what, compared) in wanted.items():
        cells = [cell.strip(" *") for cell in found[name]]
        pq, kept = cells[3 if len(cells) == 6 else 1], cells[-1] or "–"
        rows.append([len(rows) + 1, what, compared, seconds, pq, kept])

# %% tags=["hide-input"]
table(["run", "what", "compared with run", "seconds", "PQ", "kept"], rows)

# %% [markdown]
# Half of the width and nearly four times the rate paid. No other change moved PQ by more than 0.014; seeds differ by 0.01.
# Run 1 ("before") and `TINY` ("now"), in turn, three seeds each, on two cores:

# %%
for version, curves in json.loads((bench / "learn.json").read_text("utf-8"))["runs"].items():
    minutes = [next(minute for minute, _, pq in curve if pq >= 0.8) for curve in curves]
    print(f"{version}: PQ 0.80 on unseen scenes after {min(minutes):.1f} to {max(minutes):.1f} minutes")

# %% [markdown]
# ### On photographs
#
# Eight photographs with 88 segments can be learned by heart, too: the README's command (600 steps, at 192 pixels) reaches PQ 0.88 in about three minutes of processor time. Here are 12 steps at 96 pixels:

# %%
try:
    photographs = minim2f.data.open_dataset("coco-mini")
    eight = SampleList([photographs[n] for n in range(8)], photographs.categories)
    larger = minim2f.preset("tiny", num_classes=133, num_queries=40, short_side=96)
    torch.manual_seed(0)
    brief = replace(TINY, steps=12, batch_size=2, warmup=5, flip=0)
    learned = loop.train(minim2f.Mask2Former(larger), eight, brief, progress=False)
    losses = torch.tensor([values["loss"] for values in learned]).view(4, 3).mean(1)
    print("loss, means of three steps:", losses.round().int().tolist())
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) gets the photographs for this cell")

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### A NaN hunt
#
# One picture has a single pixel that is not a number. In a second run, the rate is absurd. What will be noticed first?

# %% tags=["demo"]
from minim2f.training.matching import NotFinite

image = scenes[2].image.float()
image[0, 5, 5] = float("nan")
sick = SampleList([*four[:2], replace(scenes[2], image=image), four[3]], scenes.categories)
absurd = replace(short, learning_rate=1e30, warmup=0)
faults = {"a sick picture": (sick, short), "a rate of 1e30": (four, absurd)}
for name, (pictures, recipe) in faults.items():
    try:
        loop.train(fresh(), pictures, replace(recipe, batch_size=4), progress=False)
        raise AssertionError("nothing broke")
    except NotFinite as error:
        print(f"{name}: {error}.\n")

# %% [markdown]
# Both are noticed in the matching, far behind their causes. `find_nan` repeats the step, random numbers included, and looks at every layer's output (11.5).
# The picture has done no harm yet. The absurd rate has: step 1 made all weights
# huge, and in step 2 an early layer overflows. (`res2` is how `shapes.check` named the tensor.)
#
# **How to notice it in your own training.** Check the loss and the gradient's length at every step, before the optimiser moves: one step with NaN makes all
# weights NaN.
#
# ### zero_grad forgotten
#
# PyTorch adds each gradient to the last one until it is set to zero. The loss here is $\theta^2/2$, so the gradient is $\theta$, and the best $\theta$ is 0:

# %%
def far(forget):
    """The largest distance from 0 during the last half of 400 steps."""
    theta, added, distances = torch.ones(1), torch.zeros(1), []
    mean, square = torch.zeros(1), torch.zeros(1)
    for step in range(1, 401):
        added = added + theta if forget else theta
        theta, mean, square = fast_step(theta, added, mean, square, step, 0.1, 0.0)
        distances.append(theta.abs().item())
    return max(distances[200:])

print(f"as it should be: {far(False):.4f}; forgotten: {far(True):.1f}")
assert far(False) < 0.01 and far(True) > 1

# %% [markdown]
# Old gradients keep pushing long after $\theta$ has passed 0, so it swings ever further.
#
# **How to notice it in your own training.** The gradient's logged length and the loss swing, more and more widely.

# %% [markdown]
# ## Exercises
#
# ### 11.1 ★ Parameter groups
#
# `owners` has, for each parameter, name and class of the module that holds it. Return two tensors: the factor of the rate, which is `multiplier`
# inside the module `backbone`, else 1; and 0 where there is no weight decay (LayerNorm, GroupNorm, BatchNorm2d, Embedding), else 1.
# `backbone_adapter` and `neck.backbone` are other modules.

# %%
def rates_and_decay(owners, multiplier):
    """[("backbone.stem", "Conv2d"), ...], number -> (parameters,), (parameters,)"""
    ...


exercise("11.1", rates_and_decay)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The two questions are independent: the name decides the rate, the class the decay.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `name.split(".")` gives the parts of a name, the outermost module first.
#
# </details>

# %% [markdown]
# ### 11.2 ★★ Clip a gradient
#
# `gradients` has a tensor of any shape for each parameter, or None where a parameter was not used. Return the length of the whole gradient, and a new list in
# which that length is at most `longest`. All may be None or zero. Write it without PyTorch's function.

# %%
def clip(gradients, longest):
    """[tensor or None, ...], number -> length before, [tensor or None, ...]"""
    ...


exercise("11.2", clip)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# All gradients together are one long vector. What is its length if the parts are (3) and (4)?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# All parts are multiplied by the same factor, which is never above 1. What if the length is 0?
#
# </details>

# %% [markdown]
# ### 11.3 ★★ The published schedule, with a warm-up
#
# Return what the rate is multiplied by when `done` of `steps` steps have been done (0 at the first): 1, from 0.889 of the run on 0.1, and from 0.963 on 0.01. In the first `warmup` steps this is
# multiplied by 1/(`warmup` + 1), 2/(`warmup` + 1) and so on. `warmup` may be 0, or reach into the drops.

# %%
def rate_factor(done, steps, warmup):
    """number, number, number -> number"""
    ...


exercise("11.3", rate_factor)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# With `share = done / steps`, `(share >= 0.889) + (share >= 0.963)` counts the drops that have happened.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(done + 1) / (warmup + 1)` is right during the warm-up, and reaches 1 just after it. Then it must stop growing.
#
# </details>

# %% [markdown]
# ### 11.4 ★ The pictures of a step
#
# Row e of `orders` has the order of the pictures in epoch e (the library makes it from the seed). A run passes through row after row without a gap, `batch_size` pictures a step; a step may reach into later epochs. After `done` steps comes the step in question; of its pictures,
# process `rank` takes every `count`-th, from number `rank` (0 is the first) on. Return them.

# %%
def pictures_of(orders, done, batch_size, rank, count):
    """(epochs, pictures) int64, numbers -> (batch_size / count,) int64"""
    ...


exercise("11.4", pictures_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How many pictures has the whole run seen before this step? Count places in the run, not in the epoch.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.arange(start, end, count)` takes every count-th number. `divmod` turns a place into an epoch and a place within it.
#
# </details>

# %% [markdown]
# ### 11.5 ★★ The first broken layer
#
# A **forward hook** is a function that PyTorch calls with a module's inputs and output whenever it has run. Return the name, as in `model.named_modules()`, of the first module whose output
# is not finite, or `""`. Each module returns one tensor; it may hold others, called in any order. Leave no hook behind.

# %%
def first_broken(model, images):
    """module, tensor -> name of a module, or "" """
    ...


exercise("11.5", first_broken)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `handle = module.register_forward_hook(function)` calls `function(module, inputs, output)`; `handle.remove()` ends it. What holds a module is finished after the module in it.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The hook has to know its module's name: `functools.partial(look, name)` makes such a function. Let it append the name to a list if `output.isfinite().all()` is false.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | rate drops at | 0.9 and 0.95 of the run | 0.889 and 0.963 | 0.889 and 0.963 |
# | gradient clipped at | – | 0.01 | 0.01; 1 in `TINY` |
# | weight decay | 0.05 | 0.05; none for norms and embeddings | the same |
# | backbone's rate | a tenth | a tenth | a tenth; the full rate in `TINY` |
# | precision | – | float16 where it is safe | float32, unless asked |
# | seeds | – | of a process | of seed and step |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.training"
library_table(
    {
        "a training step": f"{home}.loop.step",
        "the loop": f"{home}.loop.train",
        "rates_and_decay": f"{home}.recipe.make_optimizer",
        "rate_factor": f"{home}.recipe.TrainConfig.rate",
        "pictures_of": f"{home}.batches.Places",
        "log, checkpoint, resume": f"{home}.run_folder.Run",
        "first_broken": f"{home}.find_nan.first_broken",
        "two processes": f"{home}.distributed.parallel",
    }
)

# %% [markdown]
# ## Recap
#
# - AdamW divides gradients by their recent size; clipping stops one batch from outweighing others.
# - Backbone at a tenth, no decay for norms and embeddings; warm-up, then a falling rate.
# - One picture by heart is the first test of a loop.
# - A step's randomness follows from seed and number.
# - Hooks find the layer where a NaN begins.

# %% [markdown]
# ## Further reading
#
# - [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101): AdamW.
# - [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/): one batch first, and more.
#
# Before: chapter 10, losses. Next: chapter 12, inference three ways.
