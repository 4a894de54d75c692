"""Every exercise answers an untouched stub, the solution and each known mistake as it should.

And it is hard to fool: whatever small mistake is made in the solution, the answer is refused.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from mutants import mutants
from pycocotools import mask as rle
from scipy import ndimage
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from minim2f.book import exercise, exercises
from minim2f.book.assemble import solution
from minim2f.book.exercise import verdict
from minim2f.book.exercises import Exercise, Wrong
from minim2f.book.same import gap
from minim2f.data import Sample
from minim2f.data.coco_panoptic import id_to_rgb
from minim2f.model.deformable import DeformableAttention
from minim2f.model.position import pixel_centres
from minim2f.ops import deformable, sampling
from minim2f.training import matching

THERE = [asked for number in exercises.chapters() for asked in exercises.of_chapter(number)]
EXERCISES = [pytest.param(asked, id=asked.id) for asked in THERE]
MISTAKES = [
    pytest.param(asked, wrong, id=f"{asked.id}-{wrong.function.__name__}")
    for asked in THERE
    for wrong in asked.wrong
]

# Mutants that are no mistake, each with the reason why it gives the right answer after all.
LAST = "the last of two axes is axis 1"
SAME_AXES = "the same exchange of axes"
EQUIVALENT = {
    "0.1": {
        "scores, labels = class_logits.softmax(-1).max(-1)"
        " → scores, labels = class_logits.softmax(-1).max(+1)": LAST,
        "scores, labels = class_logits.softmax(-1).max(-1)"
        " → scores, labels = class_logits.softmax(+1).max(-1)": LAST,
    },
    "0.2": {
        "p = class_logits.softmax(-1)[:, :-1] → p = class_logits.softmax(+1)[:, :-1]": LAST,
    },
    "0.4": {
        "for q in owner.unique().tolist():"
        " → for q in _same(owner.unique()):": "a tensor of one number serves as the number",
    },
    "1.4": {
        "for y, x in mask.nonzero().tolist():"
        " → for y, x in _same(mask.nonzero()):": "tensors of one number serve as numbers",
    },
    "3.3": {
        "x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)"
        " → x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(3, 2)": SAME_AXES,
        "y = y.view(x.shape).transpose(2, 3) → y = y.view(x.shape).transpose(3, 2)": SAME_AXES,
    },
    "4.1": {
        "bottom, right = (-size % stride for size in masks.shape[1:])"
        " → bottom, right = (+size % stride for size in masks.shape[1:])": (
            "only cells that are less than half inside are left out, and those show nothing"
        ),
    },
    "4.2": {
        "across = (1 - (u[:, None] - torch.arange(w)).abs()).clamp(min=0)"
        " → across = (1 - (torch.arange(w) - u[:, None]).abs()).clamp(min=0)": "a distance",
        "down = (1 - (v[:, None] - torch.arange(h)).abs()).clamp(min=0)"
        " → down = (1 - (torch.arange(h) - v[:, None]).abs()).clamp(min=0)": "a distance",
    },
    "4.3": {
        "sums.insert(0, side + F.interpolate(sums[0], side.shape[2:], mode='nearest'))"
        " → sums.insert(0, side + F.interpolate(sums[0], side.shape[2:]))": "the default",
    },
    "5.3": {
        "across = (1 - (u[..., None] - torch.arange(w)).abs()).clamp(min=0)"
        " → across = (1 - (torch.arange(w) - u[..., None]).abs()).clamp(min=0)": "a distance",
        "down = (1 - (v[..., None] - torch.arange(h)).abs()).clamp(min=0)"
        " → down = (1 - (torch.arange(h) - v[..., None]).abs()).clamp(min=0)": "a distance",
    },
    "7.1": {
        "allowed = allowed | ~allowed.any(-1, keepdim=True)"
        " → allowed = allowed | ~allowed.any(+1, keepdim=True)": LAST,
        "return scores.masked_fill(~allowed, -torch.inf).softmax(-1)"
        " → return scores.masked_fill(~allowed, -torch.inf).softmax(+1)": LAST,
    },
    "7.2": {
        "small = F.interpolate(mask_logits[None], size=size, mode='bilinear', align_corners=False)"
        " → small = F.interpolate(mask_logits[None], size=size, mode='bilinear')": "the default",
        "allowed = small[0].flatten(1) >= 0"
        " → allowed = small[-1].flatten(1) >= 0": "the first of one is the last",
        "return allowed | ~allowed.any(-1, keepdim=True)"
        " → return allowed | ~allowed.any(+1, keepdim=True)": LAST,
    },
    "7.4": {
        "scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5"
        " → scores = q @ k.transpose(2, 1) / q.shape[-1] ** 0.5": SAME_AXES,
    },
    "8.2": {
        "centred = X - X.mean(-1, keepdim=True) → centred = X - X.mean(+1, keepdim=True)": LAST,
        "variance = centred.square().mean(-1, keepdim=True)"
        " → variance = centred.square().mean(+1, keepdim=True)": LAST,
    },
    "8.3": {
        "strength = parts.abs().mean((1, 2))"
        " → strength = parts.abs().sum((1, 2))": "sums over equally many pixels rank alike",
    },
    "13.1": {
        "tp, fp, fn, iou = counts.sum(0).T"
        " → tp, fp, fn, iou = counts.mean(0).T": "PQ is a quotient of counts",
    },
    "13.3": {
        "hits = right[scores.argsort(descending=True)].cumsum(0)"
        " → hits = right[scores.argsort(descending=True)].cumsum(-1)": "one axis",
        "for percent in range(101):"
        " → for percent in range(102):": "no recall exceeds 1, so this adds 0",
        "total += reached.max().item() if len(reached) else 0.0"
        " → total += _same(reached.max()) if len(reached) else 0.0": "a tensor of one number",
    },
    "E.3": {
        "order = rows.argsort(stable=True)"
        " → order = rows.argsort()": "on a CPU, PyTorch keeps the order of equals in any case",
        "order = rows.argsort(stable=True) → order = rows.argsort(stable=False)": "the same",
        "return (named, order, F.pad(counts.cumsum(0), (1, 0)))"
        " → return (named, order, F.pad(counts.cumsum(-1), (1, 0)))": "one axis",
    },
}


@pytest.mark.parametrize("asked", EXERCISES)
def test_an_untouched_stub_is_not_tried(asked: Exercise, capsys) -> None:
    exercise(asked.id, lambda *args: ...)
    assert capsys.readouterr().out.startswith(f"○ {asked.id} not tried")


@pytest.mark.parametrize("asked", EXERCISES)
def test_the_reference_is_right(asked: Exercise, capsys) -> None:
    exercise(asked.id, asked.reference)
    assert capsys.readouterr().out == f"✔ {asked.id} (max difference 0)\n"


@pytest.mark.parametrize("asked", EXERCISES)
def test_the_folded_solution_runs_by_itself_and_is_right(asked: Exercise, capsys) -> None:
    code, defined = solution(asked), {}
    exec(code, defined)
    exercise(asked.id, defined[asked.reference.__name__])
    assert capsys.readouterr().out == f"✔ {asked.id} (max difference 0)\n"
    assert inspect.getdoc(asked.reference).splitlines()[0] in code


@pytest.mark.parametrize(("asked", "wrong"), MISTAKES)
def test_each_known_mistake_earns_its_hint(asked: Exercise, wrong: Wrong, capsys) -> None:
    exercise(asked.id, wrong.function)
    assert capsys.readouterr().out == f"✘ {asked.id} {wrong.hint}\n"


@pytest.mark.parametrize("asked", EXERCISES)
def test_fifty_random_inputs_are_answered_and_differ(asked: Exercise) -> None:
    seeds = [torch.Generator().manual_seed(seed) for seed in range(50)]
    inputs = [asked.inputs(seed) for seed in seeds]
    assert any(gap(inputs[0], other).size > 0 for other in inputs[1:])
    for arguments in inputs:
        assert asked.reference(*arguments) is not None


@pytest.mark.parametrize("asked", EXERCISES)
def test_every_mutant_of_the_solution_is_refused(asked: Exercise) -> None:
    made, harmless = dict(mutants(asked.reference)), EQUIVALENT.get(asked.id, {})
    assert harmless.keys() <= made.keys()
    accepted = [text for text, mutant in made.items() if verdict(asked, mutant).startswith("✔")]
    assert set(accepted) <= harmless.keys(), f"{len(made)} mutants were tried"


def test_mutants_are_many_and_differ() -> None:
    def example(x: torch.Tensor, n: int = 2) -> bool:
        """Not to be changed: 2 < 3."""
        return max(x[:n]) - 1 < 3 and not sorted(x, reverse=True)

    made = dict(mutants(example))
    assert len(made) > 12 and not any("Not to be changed" in text for text in made)
    before, after = "return max(x[:n]) - 1 < 3 and (not", "return max(x[:n]) - 1 <= 3 and (not"
    assert any(text.startswith(before) and after in text for text in made)
    ones = torch.ones(3)
    made["x is changed in place"](ones)
    assert ones.tolist() == [0, 0, 0] and "n is changed in place" not in made


def bytes_one_by_one(ids):
    return b"".join(number.to_bytes(3, "little") for number in ids.flatten().tolist())


def bytes_of_memory(ids):
    four = ids.numpy().astype("<u4")[..., None].view("uint8")
    return four[..., :3].tobytes()


def targets_in_a_loop(ids, segments, categories):
    order = {number: k for k, number in enumerate(sorted(c["id"] for c in categories))}
    labels, masks, ignored = [], [], torch.ones_like(ids, dtype=torch.bool)
    for segment in segments:
        mask = ids == segment["id"]
        if not segment["iscrowd"]:
            ignored = ignored & ~mask
            labels.append(order[segment["category_id"]])
            masks.append(mask)
    stack = torch.stack(masks) if masks else torch.zeros(0, *ids.shape, dtype=torch.bool)
    return torch.tensor(labels, dtype=torch.int64), stack, ignored


def targets_that_ignore_what_is_listed(ids, segments, categories):
    """Right for every sound file, and not for an id that nobody lists."""
    labels, masks, _ = targets_in_a_loop(ids, segments, categories)
    ignored = ids == 0
    for segment in segments:
        ignored |= (ids == segment["id"]) & bool(segment["iscrowd"])
    return labels, masks, ignored


def targets_without_empty_ones(ids, segments, categories):
    labels, masks, ignored = targets_in_a_loop(ids, segments, categories)
    kept = masks.flatten(1).any(1)
    return labels[kept], masks[kept], ignored


def runs_in_a_loop(mask):
    counts, inside = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != inside:
                counts.append(0)
                inside = not inside
            counts[-1] += 1
    return counts


def faults_in_a_loop(ids, segments, categories):
    found = {key: set() for key in ("twice", "unknown", "undrawn", "unlisted")}
    seen = set()
    for segment in segments:
        number = segment["id"]
        if number in seen:
            found["twice"].add(number)
        seen.add(number)
        if not (ids == number).any():
            found["undrawn"].add(number)
        if all(category["id"] != segment["category_id"] for category in categories):
            found["unknown"].add(number)
    for number in ids.flatten().tolist():
        if number and number not in seen:
            found["unlisted"].add(number)
    return {key: sorted(numbers) for key, numbers in found.items()}


def faults_by_a_set_of_tensors(ids, segments, categories):
    """The trap itself: a tensor in a set equals no number."""
    listed, drawn = [s["id"] for s in segments], set(ids.unique()) - {0}
    found = faults_in_a_loop(ids, segments, categories)
    return found | {
        "undrawn": sorted(set(listed) - drawn),
        "unlisted": sorted(drawn - set(listed)),
    }


def test_solutions_of_chapter_2_equal_the_library_and_pycocotools() -> None:
    to_bytes, targets, runs, _ = (asked.reference for asked in exercises.of_chapter("2"))
    for seed in range(30):
        seeded = torch.Generator().manual_seed(seed)
        ids, segments, categories = exercises.find("2.2").inputs(seeded)
        assert to_bytes(ids) == id_to_rgb(ids.numpy()).tobytes()

        image, in_order = torch.zeros(3, *ids.shape), sorted(categories, key=lambda c: c["id"])
        sample = Sample.from_panoptic(image, ids, segments, in_order, 0, "made")
        labels, masks, ignored = targets(ids, segments, categories)
        assert labels == sample.labels.tolist() and masks.equal(sample.masks)
        crowds = [s["id"] for s in segments if s["iscrowd"]]
        assert ignored.equal(torch.isin(ids, torch.tensor([0, *crowds])))

        (mask,) = exercises.find("2.3").inputs(seeded)
        code = {"size": list(mask.shape), "counts": runs(mask)}
        theirs = rle.encode(mask.numpy().astype("uint8", order="F"))
        assert rle.frPyObjects(code, *mask.shape) == theirs


def lost_cell_by_cell(masks, stride):
    """Counts the covered pixels of each cell."""
    answer = []
    for mask in masks:
        bands = [cells for rows in mask.split(stride, 0) for cells in rows.split(stride, 1)]
        answer.append(all(2 * int(cell.sum()) <= stride**2 for cell in bands))
    return torch.tensor(answer, dtype=torch.bool)


def lost_padded_across(masks, stride):
    below, right = (-size % stride for size in masks.shape[1:])
    padded = F.pad(masks.float(), (0, below, 0, right))[:, None]
    return ~(F.avg_pool2d(padded, stride) > 0.5).flatten(1).any(1)


def sample_with_int(x, points):
    """Point by point, as in the chapter's slow way, with zeros outside."""
    h, w = x.shape[1:]
    answer = torch.zeros(len(x), len(points))
    for p, (px, py) in enumerate(points.tolist()):
        u, v = px * w - 0.5, py * h - 0.5
        for i, across in ((int(u), 1 - (u - int(u))), (int(u) + 1, u - int(u))):
            for j, down in ((int(v), 1 - (v - int(v))), (int(v) + 1, v - int(v))):
                if 0 <= i < w and 0 <= j < h:
                    answer[:, p] += across * down * x[:, j, i]
    return answer


def sample_on_a_rim_of_zeros(x, points):
    h, w = x.shape[1:]
    x = F.pad(x, (1, 1, 1, 1))
    u, v = points[:, 0] * w + 0.5, points[:, 1] * h + 0.5
    left, top = u.long(), v.long()
    a, b = u - left, v - top
    upper = (1 - a) * x[:, top, left] + a * x[:, top, left + 1]
    lower = (1 - a) * x[:, top + 1, left] + a * x[:, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def sample_by_the_library(x, points):
    return sampling.sample(x[None], points[None])[0]


def pyramid_by_recursion(res2, res3, res4, res5, lateral, output):
    def below(features, layers):
        side = layers[0](features[0])
        if len(features) == 1:
            return [side]
        coarser = below(features[1:], layers[1:])
        rows = (torch.arange(side.shape[2]) * coarser[0].shape[2]) // side.shape[2]
        columns = (torch.arange(side.shape[3]) * coarser[0].shape[3]) // side.shape[3]
        return [side + coarser[0][:, :, rows][..., columns], *coarser]

    sums = below([res2, res3, res4, res5], lateral)
    return [smooth(x) for smooth, x in zip(output, sums)]


def test_solutions_of_chapter_4_equal_the_library_and_torchvision() -> None:
    seeded = torch.Generator().manual_seed(0)
    x, points = torch.randn(3, 4, 5, generator=seeded), torch.rand(50, 2, generator=seeded)
    mine = exercises.find("4.2").reference(x, points)
    torch.testing.assert_close(mine, sample_by_the_library(x, points))

    theirs = FeaturePyramidNetwork([2, 3, 4, 5], out_channels=6)
    shapes = [(2, 19, 26), (3, 10, 13), (4, 5, 7), (5, 3, 4)]
    features = [torch.randn(1, *shape, generator=seeded) for shape in shapes]
    layers = list(theirs.inner_blocks), list(theirs.layer_blocks)
    mine = exercises.find("4.3").reference(*features, *layers)
    named = {f"res{level}": res for level, res in enumerate(features, 2)}
    torch.testing.assert_close(mine, list(theirs(named).values()))


def centres_by_meshgrid(sizes):
    levels = []
    for h, w in sizes:
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        levels.append(torch.stack([x / w, y / h], dim=-1).reshape(-1, 2))
    return torch.cat(levels)


def places_level_by_level(reference, offsets, sizes):
    out = offsets.clone()
    for j, (h, w) in enumerate(sizes):
        out[:, :, j, :, 0] = reference[:, 0, None, None] + offsets[:, :, j, :, 0] / w
        out[:, :, j, :, 1] = reference[:, 1, None, None] + offsets[:, :, j, :, 1] / h
    return out


def places_by_the_library(reference, offsets, sizes):
    return reference[:, None, None, None] + deformable.as_fractions(offsets[None], sizes)[0]


def head_neighbour_by_neighbour(values, sizes, at, weights):
    """Four rows of the table a place, each with its share."""
    out, begin = torch.zeros(len(at), values.shape[1]), 0
    for j, (h, w) in enumerate(sizes):
        u, v = at[:, j, :, 0] * w - 0.5, at[:, j, :, 1] * h - 0.5
        for x, y in (
            (x, y) for x in (u.floor(), u.floor() + 1) for y in (v.floor(), v.floor() + 1)
        ):
            share = (1 - (u - x).abs()) * (1 - (v - y).abs())
            share = share * ((x >= 0) & (x < w) & (y >= 0) & (y < h))
            row = begin + y.clamp(0, h - 1).long() * w + x.clamp(0, w - 1).long()
            out += ((share * weights[:, j])[..., None] * values[row]).sum(1)
        begin += h * w
    return out


def head_by_the_library(values, sizes, at, weights):
    locations, weights = at[None, :, None], weights[None, :, None]
    return deformable.attend_slow(values[None, :, None], sizes, locations, weights)[0, :, 0]


def head_cell_by_cell(values, sizes, at, weights):
    """As the chapter's slow code has it: a loop over everything."""
    out, begin = torch.zeros(len(at), values.shape[1]), 0
    for j, (h, w) in enumerate(sizes):
        image = values[begin : begin + h * w].view(h, w, -1)
        for q in range(len(at)):
            for (x, y), weight in zip(at[q, j], weights[q, j]):
                u, v = x * w - 0.5, y * h - 0.5
                for row in range(h):
                    for column in range(w):
                        share = (1 - abs(u - column)).clamp(min=0) * (1 - abs(v - row)).clamp(min=0)
                        out[q] += weight * share * image[row, column]
        begin += h * w
    return out


def head_query_by_query(values, sizes, at, weights):
    one_head = exercises.find("5.3").reference
    pairs = [(at[q : q + 1], weights[q : q + 1]) for q in range(len(at))]
    return torch.cat([one_head(values, sizes, *pair) for pair in pairs])


def head_in_python(values, sizes, at, weights):
    return torch.tensor([[0.0] * values.shape[1] for place in at.tolist()])


def looks_by_cutting_a_circle(heads, points):
    """Far out on the circle, pulled back onto the square."""
    angle = torch.arange(heads) / heads * 2 * torch.pi
    around = torch.stack([angle.cos(), angle.sin()], dim=-1)
    ring = around / torch.maximum(around[:, :1].abs(), around[:, 1:].abs())
    return torch.stack([ring * (p + 1) for p in range(points)], dim=1)


def test_solutions_of_chapter_5_equal_the_library() -> None:
    seeded, sizes = torch.Generator().manual_seed(0), [(2, 3), (4, 5)]
    centres = exercises.find("5.1").reference(sizes)
    torch.testing.assert_close(centres, torch.cat([pixel_centres(*s, centres) for s in sizes]))

    offsets = torch.randn(26, 3, 2, 4, 2, generator=seeded)
    at = exercises.find("5.2").reference(centres, offsets, sizes)
    theirs = centres[:, None, None, None] + deformable.as_fractions(offsets[None], sizes)[0]
    torch.testing.assert_close(at, theirs)

    values = torch.randn(26, 7, generator=seeded)
    weights = torch.rand(26, 2, 4, generator=seeded)
    mine = exercises.find("5.3").reference(values, sizes, at[:, 1], weights)
    torch.testing.assert_close(mine, head_by_the_library(values, sizes, at[:, 1], weights))

    start = DeformableAttention(64).offsets.bias.detach().view(8, 3, 4, 2)
    torch.testing.assert_close(exercises.find("5.4").reference(8, 4), start[:, 2])


def masked_softmax_from_its_definition(scores, allowed):
    """Without -inf: the maximum is taken off, as softmax does."""
    allowed = torch.where(allowed.sum(1, keepdim=True) > 0, allowed, torch.ones_like(allowed))
    weights = torch.zeros_like(scores)
    for row, (mine, seen) in enumerate(zip(scores, allowed)):
        powers = (mine[seen] - mine[seen].max()).exp()
        weights[row, seen] = powers / powers.sum()
    return weights


def next_mask_from_four_pixels(mask_logits, size):
    (h, w), half = size, mask_logits.shape[1] // size[0] // 2
    cells = mask_logits.unflatten(2, (w, -1)).unflatten(1, (h, -1))  # (N, h, 2 half, w, 2 half)
    around = cells[:, :, half - 1 : half + 1, :, half - 1 : half + 1]
    allowed = around.mean((2, 4)).flatten(1) >= 0
    allowed[allowed.sum(1) == 0] = True
    return allowed


def dice_row_by_row(mask_logits, masks):
    cost = torch.zeros(len(mask_logits), len(masks))
    for n in range(len(mask_logits)):
        s = mask_logits[n].sigmoid()
        for g in range(len(masks)):
            t = masks[g]
            cost[n, g] = 1 - (2 * (s * t).sum() + 1) / (s.sum() + t.sum() + 1)
    return cost


def dice_by_einsum(mask_logits, masks):
    s = mask_logits.sigmoid()
    sizes = s.sum(-1).unsqueeze(1) + masks.sum(-1).unsqueeze(0)
    return 1 - (2 * torch.einsum("np,gp->ng", s, masks) + 1) / (sizes + 1)


def total_by_the_library(cost):
    return cost[matching.assign(cost)].sum().item()


def greedy_with_luck(cost):
    prices, best = cost.numpy(), float("inf")
    for _ in range(300):
        left, total = list(range(len(prices))), 0.0
        for g in torch.randperm(prices.shape[1]).tolist():
            n = min(left, key=lambda n: prices[n, g])
            left.remove(n)
            total += prices[n, g]
        best = min(best, total)
    return best


def total_by_recursion(cost):
    """Fine, and all of it in NumPy."""
    prices = cost.numpy()

    def rest(n, left):
        if not left:
            return 0.0
        if len(prices) - n < len(left):
            return float("inf")
        serve = [prices[n, g] + rest(n + 1, left - {g}) for g in left]
        return min([*serve, rest(n + 1, left)])

    return rest(0, frozenset(range(prices.shape[1])))


def pieces_by_scipy(mask):
    return ndimage.label(mask.numpy())[1]


def pieces_by_walking(mask):
    left, pieces = {tuple(place) for place in mask.nonzero().tolist()}, 0
    while left:
        pieces, front = pieces + 1, [left.pop()]
        while front:
            y, x = front.pop()
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            front += near
    return pieces


def pieces_by_growing(mask):
    names = torch.arange(1, mask.numel() + 1).view_as(mask) * mask
    for _ in range(mask.numel()):
        wide = torch.nn.functional.pad(names, (1, 1, 1, 1))
        around = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
        names = torch.stack([names, *around]).amax(0) * mask
    return len(names[mask].unique())


def floor_layer_by_layer(layers, peak, bandwidth):
    seconds, waits = 0.0, []
    for rows, inputs, outputs in layers.tolist():
        moving = 4 * (rows * inputs + inputs * outputs + rows * outputs) / bandwidth
        computing = 2 * rows * inputs * outputs / peak
        seconds += max(computing, moving)
        waits.append(moving > computing)
    return seconds, torch.tensor(waits)


def plan_in_a_loop(rows):
    named, order, ends = sorted(set(rows.tolist())), [], [0]
    for row in named:
        order += (rows == row).nonzero().flatten().tolist()
        ends.append(len(order))
    return tuple(torch.tensor(numbers, dtype=torch.int64) for numbers in (named, order, ends))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "starts"),
    [
        ("1.4", pieces_by_scipy, "✘ 1.4 the exercise asks you to do without label"),
        ("1.4", pieces_by_walking, "✔"),
        ("1.4", pieces_by_growing, "✔"),
        ("2.1", bytes_one_by_one, "✔"),
        ("2.1", bytes_of_memory, "✔"),
        ("2.2", targets_in_a_loop, "✔"),
        ("2.2", targets_that_ignore_what_is_listed, "✘ 2.2 an id that nobody lists is in no mask"),
        ("2.2", targets_without_empty_ones, "✘ 2.2 a listed segment without a pixel is missing"),
        ("2.3", runs_in_a_loop, "✔"),
        ("2.4", faults_in_a_loop, "✔"),
        ("2.4", faults_by_a_set_of_tensors, "✘ 2.4 nothing was subtracted"),
        ("4.1", lost_cell_by_cell, "✔"),
        ("4.1", lost_padded_across, "✘ 4.1 height and width are swapped in the padding"),
        ("4.2", sample_with_int, "✘ 4.2 int() and long() round -0.3 up to 0"),
        ("4.2", sample_on_a_rim_of_zeros, "✔"),
        ("4.2", sample_by_the_library, "✘ 4.2 the exercise asks you to do without"),
        ("4.3", pyramid_by_recursion, "✔"),
        ("5.1", centres_by_meshgrid, "✔"),
        ("5.2", places_level_by_level, "✔"),
        ("5.2", places_by_the_library, "✘ 5.2 the right numbers, but as_fractions divided"),
        ("5.3", head_neighbour_by_neighbour, "✔"),
        ("5.3", head_by_the_library, "✘ 5.3 the exercise asks you to do without attend_slow"),
        ("5.3", head_cell_by_cell, "✘ 5.3 the exercise asks for no loops"),
        ("5.3", head_query_by_query, "✘ 5.3 the exercise asks for no loops"),
        ("5.3", head_in_python, "✘ 5.3 the exercise asks you to do without tolist"),
        ("5.4", looks_by_cutting_a_circle, "✔"),
        ("7.1", masked_softmax_from_its_definition, "✔"),
        ("7.2", next_mask_from_four_pixels, "✔"),
        ("9.2", dice_row_by_row, "✘ 9.2 the numbers are right, but no loops"),
        ("9.2", dice_by_einsum, "✔"),
        ("9.4", greedy_with_luck, "✘ 9.4 lucky orders are not a proof"),
        ("9.4", total_by_the_library, "✘ 9.4 the exercise asks you to do without"),
        ("9.4", total_by_recursion, "✔"),
        ("E.1", floor_layer_by_layer, "✔"),
        ("E.3", plan_in_a_loop, "✔"),
    ],
)
def test_a_right_result_found_in_a_forbidden_way_is_refused(exercise_id, answer, starts) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith(starts), said
