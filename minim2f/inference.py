"""One prediction read three ways: semantic, instance and panoptic (official inference)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .data.images import to_image
from .data.sample import bounding_box
from .model.config import Config
from .model.mask2former import Mask2Former
from .ops.enlarge import Enlarged, strips
from .prediction import predict_masks
from .shapes import check, scope


@dataclass
class Result:
    """What `segment` found in a picture of H x W pixels.

    Attributes:
        ids: (H, W) int32, which segment a pixel belongs to; 0 is none.
        segments: a dict for each: id, category_id, score, isthing, area (pixels), box [x, y, w, h].
        masks: (G, H, W) bool, one per segment. Instances may overlap; `ids` shows the best one.
    """

    ids: np.ndarray
    segments: list[dict]
    masks: np.ndarray


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Votes: the sum over queries of p(c) sigmoid(mask); the argmax over c labels a pixel.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, H, W).

    Returns:
        (K, H, W). "No object" is left out and the rest not renormalised, so sums may exceed 1.
    """
    p = class_logits.softmax(-1)[:, :-1]
    return torch.einsum("nk,nhw->khw", p, mask_logits.sigmoid())


def instances(
    class_logits: Tensor,
    mask_logits: Tensor | Enlarged,
    top_k: int = 100,
    things: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best (query, class) pairs; one query may appear several times with different classes.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, H, W).
        top_k: how many pairs are kept.
        things: (K,) bool; of the kept pairs only those of these classes stay. None keeps all.

    Returns:
        Scores (M,), best first: class probability times mean mask probability inside the mask;
        class indices (M,); masks (M, H, W) bool, where the logit is positive.
    """
    scores, labels, queries, _ = _best_pairs(class_logits, mask_logits, top_k, things)
    return scores, labels, _masks(mask_logits, queries)


def _best_pairs(
    class_logits: Tensor, mask_logits: Tensor | Enlarged, top_k: int, things: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, classes, queries and areas (M,) of `instances`, without their masks."""
    _check(class_logits, mask_logits)
    p = class_logits.softmax(-1)[:, :-1]
    scores, order = p.flatten().topk(min(top_k, p.numel()))
    queries, labels = order // p.shape[1], order % p.shape[1]
    if things is not None:
        scores, queries, labels = (t[things[labels]] for t in (scores, queries, labels))
    used, place = queries.unique(return_inverse=True)
    inside = p.new_zeros(len(used), mask_logits.shape[1])  # sums over a row of the picture
    areas = torch.zeros_like(inside, dtype=torch.int64)
    for rows, logits in strips(mask_logits, used):
        mask = (logits > 0).float()
        inside[:, rows] = (logits.sigmoid() * mask).sum(-1)
        areas[:, rows] = mask.sum(-1)
    areas = areas.sum(1)
    sure = inside.sum(1) / (areas + 1e-6)
    scores, order = (scores * sure[place]).sort(descending=True, stable=True)
    return scores, labels[order], queries[order], areas[place[order]]


def _masks(mask_logits: Tensor | Enlarged, queries: Tensor) -> Tensor:
    """(M, H, W) bool, where the logits of these queries are positive."""
    used, place = queries.unique(return_inverse=True)
    size = mask_logits.shape[1:]
    masks = torch.empty(len(queries), *size, dtype=torch.bool, device=mask_logits.device)
    for rows, logits in strips(mask_logits, used):
        masks[:, rows] = (logits > 0)[place]
    return masks


def panoptic(
    class_logits: Tensor,
    mask_logits: Tensor | Enlarged,
    things: Tensor,
    score_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[dict]]:
    """Every pixel to one query, then only queries that keep most of their mask.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, H, W).
        things: (K,) bool, which classes have instances; each other one becomes one segment.
        score_threshold: a query must be surer than this of its class.
        overlap_threshold: the pixels that it wins, inside its mask (sigmoid >= 0.5) or not, must
            be at least this share of those in its mask.

    Returns:
        ids (H, W) int64, 0 for void, and a dict (id, class, score, isthing) for each segment.
    """
    _check(class_logits, mask_logits)
    scores, labels = class_logits.softmax(-1).max(-1)
    kept = (labels < class_logits.shape[-1] - 1) & (scores > score_threshold)
    scores, labels, queries = scores[kept], labels[kept], kept.nonzero()[:, 0]
    size, device = mask_logits.shape[1:], mask_logits.device
    ids = torch.zeros(size, dtype=torch.int64, device=device)
    segments: list[dict] = []
    stuff: dict[int, dict] = {}
    if not len(queries):
        return ids, segments
    winner, whole, won, final = _contest(scores, mask_logits, queries)
    for q, (score, label) in enumerate(zip(scores.tolist(), labels.tolist())):
        if not final[q] or won[q] / whole[q] < overlap_threshold:
            continue
        isthing = bool(things[label])
        if not isthing and label in stuff:
            segment = stuff[label]
            segment["score"] = max(segment["score"], score)
        else:
            segment = {"id": len(segments) + 1, "class": label, "score": score, "isthing": isthing}
            segments.append(segment)
            stuff.setdefault(label, segment)
        ids.masked_fill_(winner == q, segment["id"])
    return ids, segments


def _contest(
    scores: Tensor, mask_logits: Tensor | Enlarged, queries: Tensor
) -> tuple[Tensor, list[int], list[int], list[int]]:
    """The query that wins each pixel, by score times mask; -1 where it is below 0.5 itself.

    Returns:
        The winners (H, W) int16, positions in `queries`. For each of the queries the pixels of its
        whole mask, those that it won, and those of them that are in its mask.
    """
    size, device = mask_logits.shape[1:], mask_logits.device
    winner = torch.empty(size, dtype=torch.int16, device=device)
    pixels = torch.zeros(3, len(queries), dtype=torch.int64, device=device)
    for rows, logits in strips(mask_logits, queries):
        masks = logits.sigmoid()
        best = (scores[:, None, None] * masks).max(0).indices  # faster than argmax
        whole = masks >= 0.5
        inside = whole.gather(0, best[None])[0]
        winner[rows] = best.where(inside, -1)
        pixels[0] += whole.flatten(1).sum(1)
        pixels[1] += best.flatten().bincount(minlength=len(queries))
        pixels[2] += best.flatten().bincount(inside.flatten(), len(queries)).long()
    return winner, *pixels.tolist()


def _check(class_logits: Tensor, mask_logits: Tensor | Enlarged) -> None:
    with scope():
        check("class logits", class_logits, "N K+1")
        if isinstance(mask_logits, Tensor):
            check("mask logits", mask_logits, "N H W")


def segment(
    model: Mask2Former,
    image: str | Path | Image.Image | np.ndarray | Tensor,
    task: str = "panoptic",
    score_threshold: float | None = None,
    top_k: int = 100,
) -> Result:
    """Segments one picture.

    Args:
        model: a trained model; its `config.categories` name the classes, and without them a class
            index stands for the category id and every class counts as a thing.
        image: path, PIL image, array (H, W), (H, W, 3) or (H, W, 4), or uint8 tensor (3, H, W).
        task: "panoptic", "instance" or "semantic".
        score_threshold: panoptic: queries must be surer than this of their class (0.8 unless
            given). Instance: lower scores are left out (0 unless given). Semantic ignores it.
        top_k: instance: (query, class) pairs that are considered.

    Returns:
        A `Result` at the picture's own size.

    Raises:
        ValueError: an unknown task, or something that is no picture.
    """
    if task not in ("panoptic", "instance", "semantic"):
        raise ValueError(f"task is {task!r}; there are 'panoptic', 'instance' and 'semantic'")
    logits = predict_masks(model, to_image(image, exif=True))
    return as_result(*logits, model.config, task, score_threshold, top_k)


@torch.inference_mode()
def as_result(
    class_logits: Tensor,
    mask_logits: Tensor | Enlarged,
    config: Config,
    task: str,
    score_threshold: float | None = None,
    top_k: int = 100,
) -> Result:
    """Reads what `predict` or `predict_masks` returns as a task asks; `segment` describes how."""
    categories = config.classes
    things = torch.tensor([bool(c["isthing"]) for c in categories], device=class_logits.device)
    if task == "panoptic":
        threshold = 0.8 if score_threshold is None else score_threshold
        ids, found = panoptic(class_logits, mask_logits, things, threshold)
        masks = ids == torch.tensor([s["id"] for s in found], device=ids.device)[:, None, None]
        entries = [(s["class"], s["score"]) for s in found]
    elif task == "semantic":
        labels, entries = _classes(class_logits, mask_logits)
        present = torch.tensor([label for label, _ in entries], device=labels.device)
        masks = labels == present[:, None, None]
    else:
        scores, labels, queries, areas = _best_pairs(class_logits, mask_logits, top_k, things)
        kept = (scores >= (score_threshold or 0.0)) & (areas > 0)
        masks = _masks(mask_logits, queries[kept])
        entries = list(zip(labels[kept].tolist(), scores[kept].tolist()))
    return _result(masks.cpu().numpy(), entries, categories)


def _classes(
    class_logits: Tensor, mask_logits: Tensor | Enlarged
) -> tuple[Tensor, list[tuple[int, float]]]:
    """The class of each pixel (H, W), and each class that is there with its mean share of votes."""
    classes = class_logits.shape[1] - 1
    labels = torch.empty(mask_logits.shape[1:], dtype=torch.int16, device=mask_logits.device)
    pixels, shares = torch.zeros(2, classes, dtype=torch.float64)
    for rows, logits in strips(mask_logits):
        scores = semantic_scores(class_logits, logits)
        share, best = (scores / scores.sum(0).clamp(min=1e-12)).max(0)
        labels[rows] = best
        best, share = best.flatten().cpu(), share.flatten().cpu().double()
        pixels += best.bincount(minlength=classes)
        shares += best.bincount(share, classes)
    present = pixels.nonzero()[:, 0]
    return labels, list(zip(present.tolist(), (shares / pixels)[present].tolist()))


def _result(
    masks: np.ndarray, entries: list[tuple[int, float]], categories: Sequence[dict]
) -> Result:
    """Masks (G, H, W) with their (class, score) pairs, best first, as a `Result`."""
    ids = np.zeros(masks.shape[1:], np.int32)
    segments = []
    for number in range(len(entries), 0, -1):  # the best is painted last, and so on top
        mask, (label, score) = masks[number - 1], entries[number - 1]
        ids[mask] = number
        segments.append(
            {
                "id": number,
                "category_id": categories[label]["id"],
                "score": score,
                "isthing": bool(categories[label]["isthing"]),
                "area": int(mask.sum()),
                "box": bounding_box(mask),
            }
        )
    return Result(ids, segments[::-1], masks)
