"""Chapter 5: what do learned points gain, and where do they go? Two models a seed, compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from minim2f import Mask2Former, preset, shapes
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import Sample, open_dataset
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

DRAWN = 9  # the unseen scene whose points are stored, to be drawn
LAYERS = (1, 6)  # of those points


def experiment(steps: int = 250, seeds: int = 3, unseen: int = 60) -> None:
    """Trains tiny models with deformable attention: PQ, and where the points read at the end.

    In "learned" the offsets learn, as published; in "fixed" they stay as they were at the start.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes is measured.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen, drawn_scene=DRAWN)

    def learn(fixed: bool) -> Callable[[int], dict]:
        return lambda seed: _learn(fixed, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    variants = {"learned": learn(fixed=False), "fixed": learn(fixed=True)}
    repeat("05_deformable_attention", options, settings, variants)


def _learn(fixed: bool, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run, and what came of it."""
    scenes = open_dataset("scenes", "train")
    unseen = open_dataset("scenes", "val", length=unseen_scenes)
    config = preset("tiny", categories=scenes.categories, pixel_decoder="msdeform")
    torch.manual_seed(seed)  # the same for both variants: they start from the same weights
    model = Mask2Former(config)
    if fixed:
        for layer in model.pixel_decoder.layers:
            layer.attention.offsets.requires_grad_(False)
    samples = list(unseen)
    before = habits(model, samples)[0]
    train(model, scenes, dataclasses.replace(TINY, steps=steps, seed=seed), progress=False)
    scores = evaluate(model, unseen)
    groups = {"pq": "All", "pq_things": "Things", "pq_stuff": "Stuff"}
    measured = {name: round(scores[group]["pq"], 4) for name, group in groups.items()}
    measured["parameters"] = sum(p.numel() for p in model.pixel_decoder.parameters())
    measured |= {"before": before, "after": habits(model, samples)}
    if not fixed and seed == 0:
        measured["drawn"] = _drawn(model, open_dataset("scenes", "val")[DRAWN])
    return measured


@torch.no_grad()
def _watched(model: Mask2Former, sample: Sample) -> shapes.Walkthrough:
    model.eval()
    with shapes.watch() as rows:
        model(model.batch([sample.image]))
    return rows


def habits(model: Mask2Former, samples: list[Sample]) -> list[dict]:
    """Where the cells of P3 read, layer by layer; every read counts with its weight.

    Args:
        model: with a deformable pixel decoder.
        samples: pictures whose sides are multiples of 32, all of one size.

    Returns:
        A dict for each layer: "levels", the shares of P5, P4 and P3; "outside", the share that
        lies beyond the picture; "reach", the mean distance in pixels from the cell that asks; "own"
        and "own_things", the share within the segment that the cell's centre lies in, over the
        cells of all segments and of things alone.
    """
    found: list[list[Tensor]] = [[] for _ in model.pixel_decoder.layers]
    things = {c["id"] for c in model.config.classes if c["isthing"]}
    for sample in samples:
        rows = _watched(model, sample)
        cells = sample.ids[4::8, 4::8].flatten()  # the segment of each cell of P3
        segments = [s["id"] for s in sample.segments if s["category_id"] in things]
        inside_thing = torch.isin(cells, torch.tensor(segments, dtype=cells.dtype))
        for layer, measured in enumerate(found, start=1):
            measured.append(_reads(rows, layer, sample.ids, cells, inside_thing))
    means = [torch.cat(layer).nanmean(0).tolist() for layer in found]
    names = ("P5", "P4", "P3", "outside", "reach", "own", "own_things")
    named = [{n: round(x, 4) for n, x in zip(names, layer)} for layer in means]
    return [{"levels": [layer.pop(n) for n in names[:3]], **layer} for layer in named]


def _reads(
    rows: shapes.Walkthrough, layer: int, ids: Tensor, cells: Tensor, inside_thing: Tensor
) -> Tensor:
    """What is measured of each cell of P3, (S, 7); NaN where a cell does not count."""
    places = rows[f"locations_{layer}"].tensor[0, -len(cells) :]  # (S, heads, levels, points, 2)
    weights = rows[f"weights_{layer}"].tensor[0, -len(cells) :]
    weights = weights / weights.shape[1]  # of all heads together 1
    size = torch.tensor(ids.shape[::-1])
    pixel = (places * size).floor().long()
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    x, y = pixel.where(inside[..., None], 0).unbind(-1)
    own = inside & (ids[y, x] == cells[:, None, None, None])
    h, w = ids.shape[0] // 8, ids.shape[1] // 8
    row, column = torch.arange(len(cells)) // w, torch.arange(len(cells)) % w
    centre = torch.stack([(column + 0.5) / w, (row + 0.5) / h], dim=1)
    away = ((places - centre[:, None, None, None]) * size).norm(dim=-1)
    share = [(weights * t).sum((1, 2, 3)) for t in (~inside, away, own)]
    share[2] = share[2].where(cells > 0, torch.nan)
    return torch.stack([*weights.sum((1, 3)).T, *share, share[2].where(inside_thing, torch.nan)], 1)


def _drawn(model: Mask2Former, sample: Sample) -> list[dict]:
    """Places and weights of three cells of P3: of the largest and smallest thing, and of stuff."""
    rows = _watched(model, sample)
    isthing = torch.tensor([bool(c["isthing"]) for c in model.config.classes])[sample.labels]
    area = sample.masks.sum((1, 2)).float()
    largest, smallest = area.where(isthing, 0).argmax(), area.where(isthing, torch.inf).argmin()
    width = sample.ids.shape[1] // 8
    drawn = []
    for segment in (largest, smallest, area.where(~isthing, 0).argmax()):
        row, column = middle_cell(sample.masks[segment])
        at = row * width + column - sample.ids.numel() // 64  # counted from the end: P3 is last
        for layer in LAYERS:
            places = rows[f"locations_{layer}"].tensor[0, at]
            weights = rows[f"weights_{layer}"].tensor[0, at, ..., None]
            points = torch.cat([places, weights], dim=-1)
            rounded = [round(number, 3) for number in points.flatten().tolist()]
            drawn.append({"layer": layer, "cell": [row, column], "x, y, weight": rounded})
    return drawn


def middle_cell(mask: Tensor) -> tuple[int, int]:
    """The cell of P3 that is nearest to a segment's centroid, of those whose centre it covers.

    The centroid itself may lie outside: of a meadow, for example, that a road runs through.

    Args:
        mask: (H, W), bool, covers the centre of at least one cell.

    Returns:
        Row and column of the cell.
    """
    centroid = mask.nonzero().float().mean(0)
    covered = mask[4::8, 4::8].nonzero()
    away = (8 * covered + 4 - centroid).norm(dim=1)
    row, column = covered[away.argmin()].tolist()
    return row, column
