"""How good a model is: scores over a data set, and all results of one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import torch
from tqdm import tqdm

from ..data.sample import Dataset, Sample
from ..data.tasks import ALLOWS
from ..inference import Result, as_result
from ..metrics import AveragePrecision, MeanIoU, PanopticQuality
from ..model.config import Config
from ..model.mask2former import Mask2Former
from ..prediction import Logits, predict_many, predict_masks
from . import distributed
from .class_names import aligned


def evaluate(
    model: Mask2Former,
    dataset: Dataset,
    progress: bool = False,
    top_k: int = 100,
    batch_size: int = 1,
) -> dict:
    """Segments every picture of a data set and scores the results; processes share the work.

    Args:
        model: its classes are the data set's categories, or some of them; see `aligned`.
        dataset: its task says what is measured: PQ, AP and mIoU for "panoptic", AP for "instance",
            mIoU for "semantic".
        progress: show a bar.
        top_k: for AP, so many (query, class) pairs of a picture are considered.
        batch_size: so many pictures at most go through the network together, see `predict_many`.

    Returns:
        What `PanopticQuality.compute` returns; "miou" and "iou" (of each class) from `MeanIoU`;
        "ap" from `AveragePrecision`, where there are things; all as fractions. "wins": (query,
        class, times), in how many pictures the query gave the class the highest probability; "no
        object" is left out.

    Raises:
        OSError, ValueError: a picture cannot be read, or has none of the model's classes.
        RuntimeError: another process had to stop.
    """
    config, categories, _ = aligned(model.config, dataset)
    metrics = _metrics(getattr(dataset, "task", "panoptic"), categories)
    wins = torch.zeros(model.config.num_queries, model.config.num_classes + 1, dtype=torch.int64)
    fault = ""
    try:
        for sample, logits in _own_share(model, dataset, progress, batch_size):
            _score(sample, logits, config, metrics, top_k)
            wins[range(len(wins)), logits[0].argmax(-1).cpu()] += 1
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        if distributed.count() == 1:
            raise
    if faults := [told for told in distributed.gather(fault) if told]:
        raise RuntimeError("; ".join(faults))  # in all processes, so that none waits for another
    for task in metrics:
        metrics[task], *others = distributed.gather(metrics[task])
        for other in others:
            metrics[task].merge(other)
    wins = sum(distributed.gather(wins))[:, :-1]
    times = [(q, k, wins[q, k].item()) for q, k in wins.nonzero().tolist()]
    return _scores(metrics) | {"wins": times}


def _own_share(
    model: Mask2Former, dataset: Dataset, progress: bool, batch_size: int
) -> Iterable[tuple[Sample, Logits]]:
    """This process's share of the pictures, each with its prediction."""
    cuts = [len(dataset) * n // distributed.count() for n in range(distributed.count() + 1)]
    mine = range(*cuts[distributed.rank() :][:2])
    samples = (dataset[index] for index in mine)
    predicted = predict_many(model, samples, batch_size, attrgetter("image"))
    hidden = not progress or distributed.rank() > 0
    return tqdm(predicted, "evaluating", len(mine), disable=hidden)


def _score(sample: Sample, logits: Logits, config: Config, metrics: dict, top_k: int) -> None:
    """Updates the metrics with one picture; no task's result is kept when the next one is made."""
    for task, metric in metrics.items():
        _update(metric, task, as_result(*logits, config, task, top_k=top_k), sample)


def _update(
    metric: PanopticQuality | MeanIoU | AveragePrecision, task: str, result: Result, sample: Sample
) -> None:
    if task == "instance":
        truth = (sample.segment_masks(), sample.segments)
        metric.update(result.masks, result.segments, *truth)
    else:
        metric.update(result.ids, result.segments, sample.ids, sample.segments)


def _metrics(task: str, categories: list[dict]) -> dict:
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
        semantic = metrics["semantic"].compute()
        scores["miou"], scores["iou"] = semantic["miou"], semantic["per_class"]
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


def table(scores: dict, words: str = "") -> str:
    """What `evaluate` returns, as lines to print; metrics that were not measured have none.

    Args:
        scores: what `evaluate` returned.
        words: what was measured on; stands on every line.
    """
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
    return "\n".join(f"{line}  on {words}" if words else line for line in lines)


def per_class(scores: dict, categories: Sequence[dict]) -> list[dict]:
    """What `evaluate` returns, class by class.

    Returns:
        For each category a dict (id, name) with those that were measured of pq, sq, rq, iou, ap.
    """
    rows = []
    for category in categories:
        k = category["id"]
        row = {"id": k, "name": str(category.get("name", k))}
        row |= scores.get("per_class", {}).get(k, {})
        if "iou" in scores:
            row["iou"] = scores["iou"][k]
        if k in scores.get("ap", {}).get("per_class", {}):
            row["ap"] = scores["ap"]["per_class"][k]
        rows.append(row)
    return rows


def per_class_table(rows: Sequence[dict]) -> str:
    """What `per_class` returns, as lines to print."""
    measured = [key for key in ("pq", "sq", "rq", "iou", "ap") if any(key in row for row in rows)]
    width = max([len("class"), *(len(row["name"]) for row in rows)])
    lines = [f"{'class':{width}}" + "".join(f"{key.upper():>8}" for key in measured)]
    for row in rows:
        cells = (f"{row[key]:8.3f}" if key in row else f"{'-':>8}" for key in measured)
        lines.append(f"{row['name']:{width}}" + "".join(cells))
    return "\n".join(lines)


def comparison(
    model: Mask2Former, sample: Sample, config: Config | None = None, task: str = "panoptic"
) -> dict:
    """One picture with its truth and the results, as `plots.compare` draws them.

    Args:
        model, sample: the model's classes are those of the sample's data set.
        config: to number the results as in the data set, see `aligned`; or the model's.
        task: of the data set; there is a result for each task that its truth allows.
    """
    config = config or model.config
    logits = predict_masks(model, sample.image)
    row = {"image": sample.image, "truth": (sample.ids, sample.segments)}
    for shown in ALLOWS[task]:
        result = as_result(*logits, config, shown, 0.5 if shown == "instance" else None)
        row[shown] = (result.masks if shown == "instance" else result.ids, result.segments)
    return row
