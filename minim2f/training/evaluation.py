"""How good a model is: scores over a data set, and all results of one picture."""

from __future__ import annotations

import dataclasses

import torch
from tqdm import tqdm

from ..data.sample import Dataset, Sample
from ..inference import as_result
from ..metrics import AveragePrecision, MeanIoU, PanopticQuality
from ..model.config import Config
from ..model.mask2former import Mask2Former
from ..prediction import predict_masks
from . import distributed


def evaluate(model: Mask2Former, dataset: Dataset, progress: bool = False) -> dict:
    """Segments every picture of a data set and scores the results; processes share the work.

    Args:
        model: its classes are the data set's categories.
        dataset: its task says what is measured: PQ, AP and mIoU for "panoptic", AP for "instance",
            mIoU for "semantic".
        progress: show a bar.

    Returns:
        What `PanopticQuality.compute` returns; "miou" from `MeanIoU`; "ap" from
        `AveragePrecision`, where there are things; all as fractions. "wins": (query, class, times),
        in how many pictures the query gave the class the highest probability; "no object" is left
        out.
    """
    metrics, config = _metrics(dataset), as_numbered_in(dataset, model.config)
    wins = torch.zeros(model.config.num_queries, model.config.num_classes + 1, dtype=torch.int64)
    cuts = [len(dataset) * n // distributed.count() for n in range(distributed.count() + 1)]
    mine = range(*cuts[distributed.rank() :][:2])
    for index in tqdm(mine, desc="evaluating", disable=not progress or distributed.rank() > 0):
        sample = dataset[index]
        logits = predict_masks(model, sample.image)
        for task, metric in metrics.items():
            result = as_result(*logits, config, task)
            if task == "instance":
                truth = (sample.segment_masks(), sample.segments)
                metric.update(result.masks, result.segments, *truth)
            else:
                metric.update(result.ids, result.segments, sample.ids, sample.segments)
        wins[range(len(wins)), logits[0].argmax(-1).cpu()] += 1
    for task in metrics:
        metrics[task], *others = distributed.gather(metrics[task])
        for other in others:
            metrics[task].merge(other)
    wins = sum(distributed.gather(wins))[:, :-1]
    times = [(q, k, wins[q, k].item()) for q, k in wins.nonzero().tolist()]
    return _scores(metrics) | {"wins": times}


def as_numbered_in(dataset: Dataset, config: Config) -> Config:
    """The Config whose results have the data set's category ids, if its classes are the data's.

    They are if they have the same names in the same order, or no names and the same number.
    """
    names = [category.get("name") for category in dataset.categories]
    same = not config.categories or [c["name"] for c in config.categories] == names
    if not same or len(names) != config.num_classes:
        return config
    merged = tuple(mine | theirs for mine, theirs in zip(config.classes, dataset.categories))
    return dataclasses.replace(config, categories=merged)


def _metrics(dataset: Dataset) -> dict:
    task, categories = getattr(dataset, "task", "panoptic"), dataset.categories
    metrics: dict = {}
    if task == "panoptic":
        metrics["panoptic"] = PanopticQuality(categories)
    if task != "instance":
        metrics["semantic"] = MeanIoU(categories)
    if task != "semantic" and any(category.get("isthing", 1) for category in categories):
        metrics["instance"] = AveragePrecision(categories)
    return metrics


def _scores(metrics: dict) -> dict:
    scores = metrics["panoptic"].compute() if "panoptic" in metrics else {}
    if "semantic" in metrics:
        scores["miou"] = metrics["semantic"].compute()["miou"]
    if "instance" in metrics:
        scores["ap"] = metrics["instance"].compute()
    return scores


def summary(scores: dict) -> dict[str, float]:
    """The main numbers of what `evaluate` returns, each with a short name."""
    short = {}
    for name, group in (("pq", "All"), ("pq_things", "Things"), ("pq_stuff", "Stuff")):
        if group in scores:
            short[name] = scores[group]["pq"]
    if "miou" in scores:
        short["miou"] = scores["miou"]
    if "ap" in scores:
        short["ap"] = scores["ap"]["ap"]
    return short


def table(scores: dict) -> str:
    """What `evaluate` returns, as lines to print; metrics that were not measured have none."""
    lines = []
    for group in ("All", "Things", "Stuff"):
        if group in scores:
            numbers = (f"{name.upper()} {scores[group][name]:.3f}" for name in ("pq", "sq", "rq"))
            lines.append(f"{group:7}{'  '.join(numbers)}  ({scores[group]['n']} classes)")
    if "miou" in scores:
        lines.append(f"mIoU   {scores['miou']:.3f}")
    if "ap" in scores:
        names = {"AP": "ap", "AP50": "ap50", "AP75": "ap75"}
        numbers = (f"{shown:6} {scores['ap'][name]:.3f}" for shown, name in names.items())
        lines.append("  ".join(numbers))
    return "\n".join(lines)


def comparison(model: Mask2Former, sample: Sample, config: Config | None = None) -> dict:
    """One picture with its truth and the three results, as `plots.compare` draws them.

    Args:
        model, sample: the model's classes are those of the sample's data set.
        config: to number the results as in the data set, see `as_numbered_in`; or the model's.
    """
    config = config or model.config
    logits = predict_masks(model, sample.image)
    semantic, instance, panoptic = (
        as_result(*logits, config, task, 0.5 if task == "instance" else None)
        for task in ("semantic", "instance", "panoptic")
    )
    return {
        "image": sample.image,
        "truth": (sample.ids, sample.segments),
        "semantic": (semantic.ids, semantic.segments),
        "instance": (instance.masks, instance.segments),
        "panoptic": (panoptic.ids, panoptic.segments),
    }
