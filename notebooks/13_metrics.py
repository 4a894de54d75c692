# %% [markdown]
# # 13 · Metrics
#
# You compute PQ, mIoU and AP by hand, and see which mistakes each of them overlooks.
#
# *read 60 min · run 15 s CPU · exercises 60 min*
#
# **Needs** chapters 2 and 12 · **Library** [`minim2f/metrics/panoptic_quality.py`](../minim2f/metrics/panoptic_quality.py), [`minim2f/metrics/mean_iou.py`](../minim2f/metrics/mean_iou.py), [`minim2f/metrics/average_precision.py`](../minim2f/metrics/average_precision.py) · **Paper** section 4

# %% [markdown]
# ## You will be able to
#
# - compute PQ, mIoU and AP of one prediction by hand (The idea in small numbers)
# - prove that an IoU above 1/2 makes a match unique (The equation)
# - write PQ from counts (13.1)
# - write mIoU with void (13.2)
# - write AP of a ranked list (13.3)
# - count TP, FP and FN in two id maps (13.4)
# - say which mistakes each score cannot see (Experiment)
# - recognise scores that lie (Break it)

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
where_we_are("metrics")

# %% [markdown]
# A **segment** is a set of pixels with a class. Classes are **things**, whose instances count one by one (balls), or
# **stuff**, one segment a class (sky). Chapter 12 has three readings of an output: **panoptic**, at most one segment per pixel;
# **semantic**, a class for each pixel; **instance**, a list of things, each a mask and a score. Their metrics are PQ, mean IoU (mIoU) and
# AP. All rest on the **IoU**, intersection over union: the pixels that two sets share, divided by those in either.

# %% [markdown]
# ## Predict
#
# Left the truth, right a prediction: `s` sky, `w` sea, `a` and `b` two balls.
#
#     ssssss   ssssss
#     saasbb   saaasb
#     saasbb   saaasb
#     wwwwww   wwwwww
#
# PQ asks which segments were found and how well they fit; mIoU, how well each class fits, whichever ball a pixel belongs to; AP,
# which balls were found, at ten demands from lenient to strict. They are 0.25, 0.67 and 0.76 in some order. Which is which?
#
# <details><summary>Answer</summary>
#
# mIoU is 0.76: it does not ask which ball a pixel belongs to. AP is 0.25: at the strict demands, neither ball counts as found. PQ is
# 0.67. (This ranking holds here, not always.)
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# ### Panoptic quality
#
# | segment | in both | in either | IoU |
# | --- | --- | --- | --- |
# | sky | 8 | 10 + 10 − 8 = 12 | 2/3 |
# | ball a | 4 | 6 | 2/3 |
# | ball b | 2 | 4 | 1/2 |
# | sea | 6 | 6 | 1 |
#
# A predicted and a true segment of one class **match** if their IoU is above 1/2. A match is a **true positive** (TP), any other
# predicted segment a **false positive** (FP), any other true one a **false negative** (FN). Ball b has exactly 1/2, which gives an FP
# and an FN.
#
# | class | TP | FP | FN | SQ: mean IoU of the matches | RQ: TP / (TP + FP/2 + FN/2) | PQ = SQ × RQ |
# | --- | --- | --- | --- | --- | --- | --- |
# | ball | 1 | 1 | 1 | 2/3 | 1/2 | 1/3 |
# | sky | 1 | 0 | 0 | 2/3 | 1 | 2/3 |
# | sea | 1 | 0 | 0 | 1 | 1 | 1 |
#
# **Segmentation quality** SQ asks how well matches fit, **recognition quality** RQ whether the right segments
# were found. **Panoptic quality** PQ is their product; its mean over the classes is 2/3. The product holds class by
# class only: SQ and RQ have the means 7/9 and 5/6, and 7/9 · 5/6 = 0.648. A class without a match has SQ 0.

# %% tags=["demo"]
def read(drawing):
    """Letters, a pixel each, as an id map: s, a, b, w are 1, 2, 3, 4, and a point is 0."""
    return torch.tensor([[".sabw".index(letter) for letter in row] for row in drawing.split()])


true_ids = read("ssssss saasbb saasbb wwwwww")
pred_ids = read("ssssss saaasb saaasb wwwwww")
classes = {1: 7, 2: 3, 3: 3, 4: 8}  # id: category (3 ball, 7 sky, 8 sea)
pq_by_hand = (1 / 3 + 2 / 3 + 1) / 3
print(f"{pq_by_hand:.4f}")

# %% [markdown] tags=["demo"]
# ### Mean IoU
#
# Only classes matter: both balls are one set of pixels. Truth and prediction have 8 each and share 4 + 2 = 6, so
# either has 10. The IoU is 0.6 for ball, 2/3 for sky, 1 for sea; their mean, the **mean IoU**, is 0.756.

# %% tags=["demo"]
miou_by_hand = (6 / 10 + 8 / 12 + 6 / 6) / 3
print(f"{miou_by_hand:.4f}")

# %% [markdown] tags=["demo"]
# ### Average precision
#
# For things, one class at a time. The detections of *all* pictures are sorted by score. From the best on, each takes the free true
# instance of its picture with which its IoU is largest, if that reaches a **threshold**, here 0.5. If none does, it is wrong. This rule is
# **greedy**: what is taken is never given back. Say there are 4 true balls, and 5 detections. **Precision** is right so far / detections
# so far, **recall** right so far / true balls:

# %% tags=["demo", "hide-input"]
right = [1, 0, 1, 1, 0]
hits = [sum(right[:n]) for n in range(1, 6)]
rows = [
    [f"0.{10 - n}", "yes" if right[n - 1] else "no", f"{hits[n - 1]}/{n}", f"{hits[n - 1]}/4"]
    for n in range(1, 6)
]
table(["score", "right?", "precision", "recall"], rows)

# %% [markdown] tags=["demo"]
# **Average precision** (AP) is the mean precision over 101 recalls, 0, 0.01 … 1. The precision at a recall is the best one at this
# or any higher recall, the **envelope**. Up to 0.25, 26 recalls, it is 1. Up to 0.75, 50 more, it is 3/4. The last 25 are never
# reached, and have 0. AP is (26 · 1 + 50 · 0.75) / 101 = 0.629.

# %% tags=["demo"]
ap_by_hand = (26 * 1 + 50 * 0.75) / 101
print(f"{ap_by_hand:.4f}")

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(5, 3))
recall, precision = [hit / 4 for hit in hits], [hit / n for n, hit in enumerate(hits, 1)]
ax.fill_between([0, 0.25, 0.25, 0.75, 0.75], [1, 1, 0.75, 0.75, 0], color="0.88")
ax.plot([0, 0.25, 0.25, 0.75, 0.75, 1], [1, 1, 0.75, 0.75, 0, 0], color="#0b4f8a", lw=2)
ax.plot(recall, precision, "--", color="0.35", lw=1)
for x, y, fits in zip(recall, precision, right):
    look = {"marker": "o" if fits else "X", "color": "black" if fits else "#d55e00"}
    ax.plot(x, y, ms=8, mec="white", **look)
ax.annotate("envelope", (0.55, 0.77), color="#0b4f8a")
ax.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.03, 1.08))
ax.spines[["top", "right"]].set_visible(False)
show(
    fig,
    "Precision over recall of the five detections, joined by a dashed line; above it a solid "
    "staircase at 1 up to recall 0.25, at 0.75 up to recall 0.75, and 0 beyond.",
    "Discs are right detections, crosses wrong ones. From one detection to the next, the dashed "
    "line goes straight down if it is wrong, and to the right and up if it is right. AP is nearly "
    "the grey area. An envelope that rises to the right would be a bug.",
)

# %% [markdown] tags=["demo"]
# COCO's AP is the mean over ten thresholds, 0.5, 0.55 … 0.95, and over the thing classes. In the drawing, let ball a have score 0.9 and
# ball b 0.6. At 0.5 both are right, since in AP an IoU has to *reach* the threshold: AP is 1. At 0.55, 0.6 and 0.65
# only ball a is: 51 recalls have precision 1. From 0.7 on nothing is right. The mean is (1 + 3 · 51/101) / 10 = 0.251.

# %% tags=["demo"]
ap_of_drawing = (1 + 3 * 51 / 101) / 10

# %% [markdown] tags=["demo"]
# ### Void and crowd
#
# Pixels that nobody labelled in the truth are **void**; pixels that a prediction gives to no segment are **open**. A **crowd** is a region with many
# instances that nobody outlined one by one. Each row is a strip of pixels: digits are ids of cars, `S` is sky, `.` is void or open. The
# counts are those of the cars.

# %% tags=["demo"]
from minim2f.metrics import AveragePrecision, MeanIoU, PanopticQuality

CAR, SKY = {"id": 3, "isthing": 1}, {"id": 187, "isthing": 0}

def strip(row, crowds=""):
    """A row of letters as an id map, and the list of its segments."""
    ids = torch.tensor([".1234S".index(x) for x in row])
    kinds = {x: SKY if x == "S" else CAR for x in sorted(set(row) - {"."})}
    listed = [
        {"id": ".1234S".index(x), "category_id": kind["id"], "iscrowd": int(x in crowds)}
        for x, kind in kinds.items()
    ]
    return ids[None], listed

# %% tags=["demo", "hide-input"]
rows = []
for true, pred, crowds, why in [
    ("1111..", "111111", "", "void leaves the union"),
    ("...S", "2222", "", "more than half in void: excused"),
    ("..SS", "2222", "", "exactly half in void: wrong"),
    ("1111", "111.", "", "what the prediction leaves open stays in the union"),
    ("111S", "2222", "1", "more than half in a crowd of its class: excused"),
    ("1.S", "222", "1", "void and crowd together are more than half: excused"),
    ("1111", "....", "1", "a crowd cannot be missed"),
    ("1112", "1111", "2", "a crowd beside a car does stay in the union"),
]:
    quality = PanopticQuality([CAR, SKY])
    quality.update(*strip(pred), *strip(true, crowds))
    tp, fp, fn, iou = quality.counts[0]
    fit = f"{iou / tp:.2f}" if tp else "–"
    note = f" (id {crowds} is a crowd)" if crowds else ""
    rows.append([f"`{true}`{note}", f"`{pred}`", int(tp), int(fp), int(fn), fit, why])
table(["truth", "prediction", "TP", "FP", "FN", "IoU", "why"], rows)

# %% [markdown]
# All three metrics:

# %% tags=["demo", "hide-input"]
table(
    ["", "PQ", "mIoU", "AP"],
    [
        [
            "void",
            "leaves the union; excuses a prediction that lies mostly in it",
            "is left out",
            "is background: a detection there is wrong",
        ],
        ["open", "lowers the IoU", "lowers the IoU", "lowers the IoU of the mask"],
        [
            "crowd",
            "cannot be missed; excuses a prediction of its class that lies mostly in it",
            "is a part of its class",
            "cannot be missed; excuses a detection of its class if the share of it inside reaches the threshold",
        ],
    ],
)

# %% [markdown]
# ## The equation
#
# For one class, a predicted segment $\hat g$ and a true one $g$ (sets of pixels), and the set $\mathrm{void}$:
#
# $$\mathrm{IoU}(\hat g, g) = \frac{|\hat g\cap g|}{|(\hat g\setminus \mathrm{void})\cup g|} \qquad \mathrm{PQ} = \frac{\sum_{\text{matches}} \mathrm{IoU}}{\mathrm{TP}+\tfrac12\mathrm{FP}+\tfrac12\mathrm{FN}} = \underbrace{\frac{\sum_{\text{matches}} \mathrm{IoU}}{\mathrm{TP}}}_{\mathrm{SQ}}\cdot\underbrace{\frac{\mathrm{TP}}{\mathrm{TP}+\tfrac12\mathrm{FP}+\tfrac12\mathrm{FN}}}_{\mathrm{RQ}}$$
#
# $$\mathrm{AP} = \frac1{101}\sum_{i=0}^{100}\;\max_{n\,:\,\mathrm{rec}_n\,\ge\,i/100}\mathrm{prec}_n \qquad\text{(0 where no recall reaches } i/100)$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\hat g$ | `pred_ids`, one of its ids | (H, W) | one of the `found` predicted segments |
# | $g$ | `true_ids`, one of its ids | (H, W) | one of the G true segments |
# | $\lvert\hat g\cap g\rvert, \lvert\hat g\cup g\rvert$ | `both`, `either` | (G, found) | pixels, of all pairs |
# | $\mathrm{rec}_n, \mathrm{prec}_n$ | `recall`, `precision` | (found,) | after the $n$ best detections |
#
# **Why more than 1/2.** Suppose a true segment $g$ matched two predicted ones. A union is at least as large as $g$, so with an
# IoU above 1/2 each of the two holds more than half of $g$. Together they hold more pixels than $g$ has, so they share one. But in an id map, no pixel
# belongs to two segments. Exchange both sides, and a predicted segment has at most one match, too (with
# void, count only its pixels outside of void).
#
# **At exactly 1/2** the proof breaks: of a true ball cut into equal halves, both have an IoU of 1/2.
#
# AP's masks may overlap, so it needs the greedy rule.

# %% [markdown] tags=["demo"]
# ## Slow and obvious
#
# All pairs, one at a time, no void, no crowds.

# %% tags=["demo"]
def slow_matches(pred_ids, pred_classes, true_ids, true_classes):
    """Two id maps, two dicts {id: class} -> {true id: (predicted id, IoU)}"""
    found = {}
    for g, wanted in true_classes.items():
        for number, kind in pred_classes.items():
            guess, truth = pred_ids == number, true_ids == g
            iou = (guess & truth).sum() / (guess | truth).sum()
            if kind == wanted and iou > 0.5:
                found[g] = number, iou.item()
    return found


def slow_pq(pred_ids, pred_classes, true_ids, true_classes):
    found, qualities = slow_matches(pred_ids, pred_classes, true_ids, true_classes), []
    guessed, wanted = [*pred_classes.values()], [*true_classes.values()]
    for kind in {*guessed, *wanted}:
        ious = [iou for g, (_, iou) in found.items() if true_classes[g] == kind]
        fp, fn = guessed.count(kind) - len(ious), wanted.count(kind) - len(ious)
        qualities.append(sum(ious) / (len(ious) + fp / 2 + fn / 2))
    return sum(qualities) / len(qualities)

# %% [markdown]
# `same` stops the run if two results differ.

# %% tags=["demo"]
same(slow_pq(pred_ids, classes, true_ids, classes), pq_by_hand)

# %% [markdown]
# ## Fast and short
#
# One `bincount` counts all pairs of ids, each packed into one number: in the drawing, with five
# columns (ids 0 … 4), true 3 and predicted 2 become 3 · 5 + 2 = 17. `shapes.check` names a tensor and asserts its shape; in
# a `shapes.scope` a letter keeps its size.

# %% tags=["demo"]
def iou_table(pred_ids, true_ids):
    """The IoU of all pairs of true ids 1 … G and predicted ids 1 … found. No void here: 0 is open."""
    rows, columns = int(true_ids.max()) + 1, int(pred_ids.max()) + 1
    with shapes.scope():
        packed = true_ids * columns + shapes.check("predicted ids", pred_ids, "H W")
        pixels = shapes.check("true ids with predicted ids", packed, "H W").flatten()
        counts = pixels.bincount(minlength=rows * columns).view(rows, columns)
        both = shapes.check("both", counts[1:, 1:], "G found")
        either = counts[1:].sum(1)[:, None] + counts[:, 1:].sum(0) - both
        return shapes.check("IoU", both / either, "G found")


print(iou_table(pred_ids, true_ids))

# %% [markdown]
# Ball b is row 2. Now the proof, tried at random: 2,000 pairs of maps, 8 pixels cut into at most three segments.
# How often does a segment, true or predicted, have several partners? (With 8 pixels, 3/7 is the only IoU between 0.4 and 0.5.)
# `numbered` makes ids 1, 2 … of any ids.

# %% tags=["demo"]
def partners(iou, threshold, enough=torch.gt):
    """The largest number of partners that any segment has."""
    fits = enough(iou, threshold)
    return max(fits.sum(0).max().item(), fits.sum(1).max().item())


def numbered(ids):
    return ids.unique(return_inverse=True)[1] + 1


def cut():
    """A row of 8 pixels, cut at random places."""
    return numbered(torch.randint(3, (1, 8)).sort().values)


tried = [iou_table(cut(), cut()) for _ in range(2000)]
most = {
    "IoU > 0.6": [partners(iou, 0.6) for iou in tried],
    "IoU > 0.5": [partners(iou, 0.5) for iou in tried],
    "IoU ≥ 0.5": [partners(iou, 0.5, torch.ge) for iou in tried],
    "IoU > 0.4": [partners(iou, 0.4) for iou in tried],
}
rows = [[rule, max(n), sum(k > 1 for k in n)] for rule, n in most.items()]
table(["match if", "most partners", "pairs of maps with several"], rows)
assert max(most["IoU > 0.5"]) == 1 < max(most["IoU ≥ 0.5"])

# %% [markdown] tags=["demo"]
# ## Shapes
#
# The trained tiny model on 16 new scenes, and on the same with noise. `predict_masks` runs it; `as_result` makes
# one of the three readings.

# %% tags=["demo"]
from minim2f.inference import as_result
from minim2f.prediction import predict_masks

model = minim2f.load("tiny")
dataset = minim2f.data.open_dataset("scenes", split="val", length=16)
scenes = [dataset[i] for i in range(16)]

def noisy(number, noise):
    """The picture of a scene with noise of that standard deviation."""
    image = scenes[number].image
    grain = torch.randn(image.shape, generator=torch.Generator().manual_seed(number))
    return (image + noise * grain).clamp(0, 255).to(torch.uint8)


def readings(noise):
    """For each scene the panoptic, the semantic and the instance reading of one output."""
    found, tasks = [], ("panoptic", "semantic", "instance")
    for number in range(len(scenes)):
        output = predict_masks(model, noisy(number, noise))
        found.append([as_result(*output, model.config, task) for task in tasks])
    return found


read_at = {noise: readings(noise) for noise in (0, 40, 80)}

# %% tags=["demo"]
scene, result = scenes[3], read_at[40][3][0]
assert (scene.ids > 0).all() and not any(segment["iscrowd"] for segment in scene.segments)
with shapes.watch() as seen:  # records what is checked
    iou_table(torch.tensor(result.ids), numbered(scene.ids))  # a scene without void or crowds

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "predicted ids": "which predicted segment a pixel belongs to, 0 for none",
        "true ids with predicted ids": "both ids in one number",
        "both": "pixels that a true and a predicted segment share",
        "IoU": "how well this pair fits",
    },
)

# %% [markdown] tags=["demo"]
# ## Look
#
# ### TP, FP, FN
#
# One scene with noise, its standard deviation 40 of 255.

# %% tags=["demo"]
def kinds_of(segments):
    return {segment["id"]: segment["category_id"] for segment in segments}


found = slow_matches(
    torch.tensor(result.ids), kinds_of(result.segments), scene.ids, kinds_of(scene.segments)
)
taken = {d for d, _ in found.values()}
print(f"TP {len(found)}, FP {len(result.segments) - len(found)}, FN {len(scene.segments) - len(found)}")

# %% tags=["demo", "hide-input"]
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt

names = {category["id"]: category["name"].split("-")[0] for category in dataset.categories}
LOOKS = {"TP": ("#dfe8f0", ""), "FP": ("#f0a860", "////"), "FN": ("#b08ac0", "xxxx")}

def paint(ax, ids, segments, judge, title):
    """Each segment in the look of its verdict, with its class."""
    ids = torch.as_tensor(ids)
    ax.imshow(torch.ones(*ids.shape, 3))
    for segment in segments:
        mask = (ids == segment["id"]).float()
        verdict, note = judge(segment["id"])
        colour, hatch = LOOKS[verdict]
        ax.contourf(mask, levels=[0.5, 1.5], colors=[colour], hatches=[hatch])
        ax.contour(mask, levels=[0.5], colors="black", linewidths=0.8)
        room = distance_transform_edt(torch.nn.functional.pad(mask, (1, 1, 1, 1)))[1:-1, 1:-1]
        y, x = divmod(room.argmax().item(), mask.shape[1])
        x = min(max(x, 9), mask.shape[1] - 10)  # keeps the text inside
        if mask.sum() > 60:
            text = f"{names[segment['category_id']]}\n{verdict}{note}"
            halo = [withStroke(linewidth=2.5, foreground="white")]
            ax.text(x, y, text, ha="center", va="center", fontsize=7.5, path_effects=halo)
    ax.set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[])


def judge_truth(g):
    return ("TP", f" {found[g][1]:.2f}") if g in found else ("FN", "")


fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), layout="constrained")
axes[0].imshow(noisy(3, 40).permute(1, 2, 0))
axes[0].set_title("the picture with noise", fontsize=10)
axes[0].set(xticks=[], yticks=[])
paint(axes[1], scene.ids, scene.segments, judge_truth, "truth: TP with IoU, or FN")
paint(axes[2], result.ids, result.segments, lambda d: ("TP" if d in taken else "FP", ""), "prediction: TP or FP")
show(
    fig,
    "A noisy scene; its true segments, pale where they were matched and crossed where they were "
    "missed; the predicted segments, pale where matched and hatched where wrong.",
    "Pale segments are matches, hatched ones false positives, crossed ones false negatives, white "
    "pixels belong to no segment. A segment that is pale in one map and has no pale partner of its "
    "class in the other would be a bug.",
)

# %% [markdown] tags=["demo"]
# The boat was cut in two. Neither piece has an IoU above 1/2, so both are FP, and the boat is an FN. The
# mountain, one segment in many pieces (the unnamed patches), lost too many pixels. Kite and umbrella are invented.
#
# ### Three scores of one output

# %% tags=["demo"]
def scored(results):
    """[PQ, SQ, RQ, mIoU, pixel accuracy, AP50, AP75, AP] of (panoptic, semantic, instance) readings."""
    pq, miou, ap = (kind(dataset.categories) for kind in (PanopticQuality, MeanIoU, AveragePrecision))
    for scene, (panoptic, semantic, instance) in zip(scenes, results):
        pq.update(panoptic.ids, panoptic.segments, scene.ids, scene.segments)
        miou.update(semantic.ids, semantic.segments, scene.ids, scene.segments)
        ap.update(instance.masks, instance.segments, scene.segment_masks(), scene.segments)
    quality, classes, things = pq.compute()["All"], miou.compute(), ap.compute()
    values = [quality[key] for key in ("pq", "sq", "rq")]
    values += [classes[key] for key in ("miou", "pixel_accuracy")]
    return values + [things[key] for key in ("ap50", "ap75", "ap")]


scores = {f"noise {noise}": scored(results) for noise, results in read_at.items()}
scores["noise 40, all of the panoptic reading"] = scored([[three[0]] * 3 for three in read_at[40]])

# %% tags=["demo", "hide-input"]
header = ["", "PQ", "SQ", "RQ", "mIoU", "pixel accuracy", "AP50", "AP75", "AP"]
table(header, [[name] + [f"{value:.2f}" for value in values] for name, values in scores.items()])
easy, hard, harder, one_reading = scores.values()
assert easy[2] > 0.97 and easy[5] > 0.97 and easy[7] < 0.9
assert easy[0] - hard[0] > 0.15 and hard[0] < hard[3] < hard[4]
assert one_reading[4] < hard[4] - 0.05 and harder[0] < 0.35 and harder[1] < 0.5
assert easy[6] > 0.95 and one_reading[7] < hard[7]

# %% [markdown]
# **Without noise.** Nearly every segment is found: RQ, AP50 (AP at threshold 0.5) and AP75 are about 1. Masks fail at higher thresholds.
#
# **With noise.** PQ falls more than mIoU: a cut segment costs FP and FN, while most of its pixels keep the
# right class. Pixel accuracy, the share of such pixels, falls least. At noise 80, SQ is below 1/2, where no match can be:
# it is 0 for classes without a match.
#
# **The reading counts too.** The last row is all of the panoptic reading. It leaves unsure pixels open, which mIoU
# counts as wrong. It drops unsure instances: AP falls, too.

# %% [markdown]
# ## Checkpoint
#
# Slow PQ against the library, on 200 random pairs of maps.

# %%
CATEGORIES = [{"id": k, "isthing": int(k == 3)} for k in (3, 7, 8)]  # ball, sky, sea

def listed(classes, scores=None):
    """The segments of a map as the library wants them."""
    return [
        {"id": i, "category_id": k} | ({"score": scores[i]} if scores else {})
        for i, k in classes.items()
    ]


def of_library(metric, pred_ids, pred_classes, true_ids, true_classes):
    metric.update(pred_ids, listed(pred_classes), true_ids, listed(true_classes))
    return metric.compute()


def random_maps():
    true = torch.randint(1, 5, (3, 4)).repeat_interleave(2, 0)
    pred = torch.where(torch.rand(6, 4) < 0.25, torch.randint(1, 5, (6, 4)), true)
    return [x for ids in (pred, true) for x in (ids, {i: classes[i] for i in ids.unique().tolist()})]


cases = [random_maps() for _ in range(200)]
mine = [slow_pq(*case) for case in cases]
same(mine, [of_library(PanopticQuality(CATEGORIES), *case)["All"]["pq"] for case in cases])

# %% [markdown]
# The drawing: its mIoU, and its AP in COCO's own pycocotools, which the library calls.

# %%
drawing = pred_ids, classes, true_ids, classes
same(of_library(MeanIoU(CATEGORIES), *drawing)["miou"], miou_by_hand)

def masks_of(ids):
    return torch.stack([ids == i for i in classes])


ap = AveragePrecision(CATEGORIES)
predicted = listed(classes, scores={1: 1.0, 2: 0.9, 3: 0.6, 4: 1.0})
ap.update(masks_of(pred_ids), predicted, masks_of(true_ids), listed(classes))
same(ap.compute()["ap"], ap_of_drawing)

# %% [markdown]
# And the ranked list.

# %%
places = torch.eye(6, dtype=torch.bool)[:, None]  # six masks of one pixel each, (6, 1, 6)
detections = [{"category_id": 3, "score": score} for score in (0.9, 0.8, 0.7, 0.6, 0.5)]
ap = AveragePrecision(CATEGORIES)
ap.update(places[[0, 4, 1, 2, 5]], detections, places[:4], [{"category_id": 3}] * 4)
same(ap.compute()["ap50"], ap_by_hand)

# %% [markdown]
# ## Experiment
#
# ### Which mistake does which score see?
#
# Take the truth for a prediction, and spoil it in four ways. Hypothesis: RQ overlooks the shift, mIoU the merging, AP the
# invention: there they lose less than half of what PQ loses.
#
# - *shifted*: all masks one pixel to the right
# - *small ones dropped*: those below 2 % of the picture
# - *instances merged*: one segment a class
# - *one invented*: a square of a random class, a sixteenth of the height wide, score 0.01; true ones have 1

# %%
def shifted(ids, kinds):
    return torch.cat([ids[:, :1], ids[:, :-1]], 1), kinds


def small_dropped(ids, kinds):
    numbers, pixels = ids.unique(return_counts=True)
    small = numbers[pixels < 0.02 * ids.numel()]
    return ids.masked_fill(torch.isin(ids, small), 0), kinds


def merged(ids, kinds):
    ids, first = ids.clone(), {}
    for number, kind in kinds.items():
        ids[ids == number] = first.setdefault(kind, number)
    return ids, kinds


def invented(ids, kinds):
    ids, side, new = ids.clone(), len(ids) // 16, int(ids.max()) + 1
    y, x = (int(torch.randint(n - side, ())) for n in ids.shape)
    ids[y : y + side, x : x + side] = new
    return ids, kinds | {new: known[int(torch.randint(len(known), ()))]}

# %%
def after(spoil, samples, categories):
    """[PQ, SQ, RQ, mIoU, pixel accuracy, AP, classes in the mean of PQ] of a spoilt truth."""
    pq, miou, ap = (kind(categories) for kind in (PanopticQuality, MeanIoU, AveragePrecision))
    for sample in samples:
        kinds = kinds_of(s for s in sample.segments if not s["iscrowd"])
        ids = sample.ids * torch.isin(sample.ids, torch.tensor([*kinds]))  # without crowds
        ids, guessed = spoil(ids, kinds)
        scores = {i: 1.0 if i in kinds else 0.01 for i in ids.unique().tolist() if i}
        pred = listed({i: guessed[i] for i in scores}, scores)
        pq.update(ids, pred, sample.ids, sample.segments)
        miou.update(ids, pred, sample.ids, sample.segments)
        masks = torch.stack([ids == i for i in scores])
        ap.update(masks, pred, sample.segment_masks(), sample.segments)
    quality, classes = pq.compute()["All"], miou.compute()
    found = [quality["pq"], quality["sq"], quality["rq"], classes["miou"], classes["pixel_accuracy"]]
    return found + [ap.compute()["ap"], quality["n"]]

# %%
ways = {"shifted": shifted, "small ones dropped": small_dropped}
ways |= {"instances merged": merged, "one invented": invented}
more = minim2f.data.open_dataset("scenes", split="val", length=48)
groups = [[more[i] for i in range(first, first + 16)] for first in (0, 16, 32)]
known = [category["id"] for category in more.categories]
spoilt = torch.tensor([[after(way, group, more.categories) for group in groups] for way in ways.values()])

# %% tags=["hide-input"]
rows = [
    [name] + [f"{low:.2f} to {high:.2f}" for low, high in zip(x.amin(0).tolist(), x.amax(0).tolist())]
    for name, x in zip(ways, spoilt[..., :6])
]
header = ["the truth, spoilt", "PQ", "SQ", "RQ", "mIoU", "pixel accuracy", "AP"]
table(header, rows)
print("each range covers three groups of 16 scenes")
shift, dropped, merge, invent = 1 - spoilt[..., :6]  # what is lost, (3 groups, 6 scores) each
assert (shift[:, 2] < shift[:, 0] / 2).all() and (shift[:, 5] > 2 * shift[:, 0]).all()
assert (merge[:, 3] < merge[:, 0] / 2).all() and (merge[:, 5] > 2 * merge[:, 0]).all()
assert (invent[:, 5] < invent[:, 0] / 2).all() and (invent[:, 3] < invent[:, 0] / 2).all()
assert (spoilt[..., 4] > 0.95).all() and (dropped[:, 1] < 0.01).all() and (spoilt[..., 0] < 0.985).all()

# %% [markdown]
# ### On photographs

# %%
try:
    photographs = minim2f.data.open_dataset("coco-mini")
except FileNotFoundError:
    photographs = None
    print("`minim2f data fetch` (10 MB) gets the photographs for this table")

if photographs:
    samples = [photographs[i] for i in range(16)]
    known = [category["id"] for category in photographs.categories]
    untouched = after(lambda ids, kinds: (ids, kinds), samples, photographs.categories)
    real = [untouched] + [after(way, samples, photographs.categories) for way in ways.values()]
    areas = torch.tensor([s["area"] / x.ids.numel() for x in samples for s in x.segments])
    small = areas < 0.02

# %% tags=["hide-input"]
if photographs:
    rows = [
        [name] + [f"{value:.2f}" for value in values[:6]] + [values[6]]
        for name, values in zip(["not at all", *ways], real)
    ]
    table(header + ["classes in the mean of PQ"], rows)
    share = areas[small].sum() / areas.sum()
    print(f"below 2 % of the picture: {small.float().mean():.0%} of the segments, {share:.1%} of their pixels")

# %% [markdown]
# **The hypothesis.** It holds in all three groups, and on the photographs. RQ does not see the shift: every match survives. mIoU
# does not see merged instances. AP hardly sees the invention: a wrong detection lowers only the precisions after it, and this one comes
# last. PQ sees all four.
#
# **More blind spots.** On the scenes, mIoU hardly sees the invention either. SQ overlooks what is dropped or invented, while each class
# keeps a match. Pixel accuracy stays above 0.95 throughout.
#
# **Tight masks.** To one pixel, AP loses more than twice as much as PQ.
#
# **Photographs.** More than half of the segments hold less than a twentieth of the pixels; without them, PQ and AP are about half. An
# invented class that occurs nowhere else joins all means but AP's with 0 (last column).

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Scored on the training pictures
#
# This "model" stores 64 training scenes, and answers with the truth of the most similar one.

# %% tags=["demo"]
from torch.nn.functional import adaptive_avg_pool2d

training = minim2f.data.open_dataset("scenes", split="train", length=64)
stored = [training[i] for i in range(64)]

def thumbnail(scene):
    return adaptive_avg_pool2d(scene.image.float(), 8).flatten()


thumbnails = torch.stack([thumbnail(scene) for scene in stored])

def looked_up(pictures):
    """PQ of the answers from memory."""
    quality = PanopticQuality(training.categories)
    for scene in pictures:
        nearest = (thumbnails - thumbnail(scene)).square().sum(1).argmin()
        answer = stored[nearest]
        quality.update(answer.ids, answer.segments, scene.ids, scene.segments)
    return quality.compute()["All"]["pq"]


print(f"PQ on training scenes {looked_up(stored[:16]):.2f}, on new ones {looked_up(scenes):.2f}")
assert looked_up(stored[:16]) == 1 and looked_up(scenes) < 0.4

# %% [markdown]
# **How to notice it in your own training.** Score pictures that were held out from the start.
#
# ### A class that never occurs
#
# The drawing again; a fourth category, kite, is in neither map.

# %%
values = torch.tensor([1 / 3, 2 / 3, 1.0, torch.nan])  # ball, sky, sea, kite: 0 / 0
with_kite = CATEGORIES + [{"id": 38, "isthing": 1}]
table(
    ["kite is", "PQ"],
    [
        ["NaN", f"{values.mean():.3f}"],
        ["0", f"{values.nan_to_num(0).mean():.3f}"],
        ["left out", f"{values.nanmean():.3f}"],
        ["left out by the library", f"{of_library(PanopticQuality(with_kite), *drawing)['All']['pq']:.3f}"],
    ],
)

# %% [markdown]
# **How to notice it in your own training.** Print each class's TP, FP and FN. A class that is only invented *is* in the mean, with 0.
#
# ### The mean of the pictures' scores
#
# One class. Picture A has one ball, found with IoU 0.9. Picture B has nine, one of them found with IoU 0.6.

# %% tags=["demo"]
pq_a, pq_b = 0.9 / 1, 0.6 / (1 + 8 / 2)
pooled = (0.9 + 0.6) / (2 + 8 / 2)
print(f"picture A {pq_a:.2f}, B {pq_b:.2f}, their mean {(pq_a + pq_b) / 2:.2f}, pooled counts {pooled:.2f}")

# %% [markdown]
# **How to notice it in your own training.** Two of ten balls were found, and the score says 0.51. Add all counts, and divide once.

# %% [markdown]
# ## Exercises
#
# ### 13.1 ★ From counts to PQ
#
# Each picture gave TP, FP, FN and the sum of the matches' IoU for each class. Return the PQ of the data set, the mean over
# the classes that occur as TP, FP or FN; 0 if none does.

# %%
def pq_of_counts(counts):
    """(pictures, K, 4) float64, the 4: TP, FP, FN, sum of IoU -> a number"""
    ...


exercise("13.1", pq_of_counts)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which sum comes first: over the pictures, or over the classes?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A class occurs if TP + FP/2 + FN/2 is above 0. Choose those classes before you divide.
#
# </details>

# %% [markdown]
# ### 13.2 ★★ Mean IoU with void
#
# A **confusion matrix** counts pixels by true class (row) and predicted class (column). The last row is void in the
# truth, the last column pixels that got no class. Return the mean over the classes in truth or prediction, both without the
# void pixels; 0 if none is.

# %%
def mean_iou(confusion):
    """(K+1, K+1) int64 -> a number"""
    ...


exercise("13.2", mean_iou)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The diagonal holds the pixels in both. Which of row sum and column sum is the truth's size?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Without the void row, the table has K rows and K+1 columns. The last column belongs to the row sums, and has no
# class of its own.
#
# </details>

# %% [markdown]
# ### 13.3 ★★ AP of a ranked list
#
# Detections of one class, in any order, and whether each is right. No scores are equal. The list may be empty; `num_true` is 1
# or more.

# %%
def average_precision(scores, right, num_true):
    """(found,), (found,) bool, number of true instances -> a number"""
    ...


exercise("13.3", average_precision)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Sorted by score, best first, a `cumsum` of `right` gives what is right so far.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For each of 101 recalls: the largest precision among the places whose recall reaches it. Compare whole numbers,
# 100 · right so far ≥ i · `num_true`, and no rounding interferes. COCO compares rounded fractions, and there 7/10 does not reach
# 0.7. The cases avoid such recalls, so both ways are accepted.
#
# </details>

# %% [markdown]
# ### 13.4 ★★★ The counts of two id maps
#
# For one picture without crowds: TP, FP, FN and the sum of the matches' IoU of each class. Void leaves
# the union, and excuses an unmatched prediction that lies in it by more than half. Either map may be 0 throughout. Do without
# the library's metrics.

# %%
def count_matches(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    """The counts of K classes.

    pred_ids: (H, W), 0 open, else 1 … found; id i has the class pred_classes[i - 1], (found,)
    true_ids: (H, W), 0 void, else 1 … G; id i has the class true_classes[i - 1], (G,)
    returns: (K, 4)
    """
    ...


exercise("13.4", count_matches)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Take the void pixels away from the prediction before you form the union, but not before you count how many of its
# pixels lie in void.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep a set of true segments that are still missed. Only a prediction without any match needs the excuse.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | several crowds of a class in a picture | – | panopticapi: the last one excuses | all excuse |
# | no class occurs | – | pycocotools: −1 | 0 |
# | does the recall 7/10 reach 0.7 | – | pycocotools: no, by rounding | no; 13.3 accepts both |
# | mIoU is over classes in | – | Detectron2, older: truth or prediction; newer: the truth | truth or prediction |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.metrics"
library_table(
    {
        "iou_table": f"{home}.overlap.overlaps",
        "slow_pq, count_matches": f"{home}.panoptic_quality.PanopticQuality",
        "mean_iou": f"{home}.mean_iou.MeanIoU",
        "average_precision": f"{home}.average_precision.AveragePrecision",
        "scored": "minim2f.training.evaluation.evaluate",
    }
)

# %% [markdown]
# ## Recap
#
# - PQ = SQ × RQ, class by class; above IoU 1/2 a match is unique.
# - mIoU sees no instances; AP wants sorted scores and tight masks.
# - In PQ, void and crowds excuse segments mostly in them; nothing excuses open pixels.
# - Score held-out pictures, pool counts, leave out classes that never occur.

# %% [markdown]
# ## Further reading
#
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868), section 4: PQ, and the proof.
# - [COCO's detection evaluation](https://cocodataset.org/#detection-eval): its twelve numbers.
