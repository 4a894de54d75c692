"""One prediction read three ways: semantic, instance and panoptic (official inference)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .data.images import to_image
from .data.sample import bounding_box
from .model.config import Config
from .model.mask2former import Mask2Former
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
    """S[c] = sum over queries of p(c) sigmoid(mask); the argmax over c labels a pixel.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, H, W).

    Returns:
        (K, H, W). "No object" is left out and the rest not renormalised, so sums may exceed 1.
    """
    p = class_logits.softmax(-1)[:, :-1]
    return torch.einsum("nk,nhw->khw", p, mask_logits.sigmoid())


def instances(
    class_logits: Tensor, mask_logits: Tensor, top_k: int = 100, things: Tensor | None = None
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
    with scope():
        check("class logits", class_logits, "N K+1")
        check("mask logits", mask_logits, "N H W")
    p = class_logits.softmax(-1)[:, :-1]
    scores, order = p.flatten().topk(min(top_k, p.numel()))
    queries, labels = order // p.shape[1], order % p.shape[1]
    if things is not None:
        scores, queries, labels = (t[things[labels]] for t in (scores, queries, labels))
    logits = mask_logits[queries]
    masks = logits > 0
    inside = (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
    scores, order = (scores * inside).sort(descending=True, stable=True)
    return scores, labels[order], masks[order]


def panoptic(
    class_logits: Tensor,
    mask_logits: Tensor,
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
        overlap_threshold: the share of its mask (sigmoid >= 0.5) that it must win.

    Returns:
        ids (H, W) int64, 0 for void, and a dict (id, class, score, isthing) for each segment.
    """
    with scope():
        check("class logits", class_logits, "N K+1")
        check("mask logits", mask_logits, "N H W")
    scores, labels = class_logits.softmax(-1).max(-1)
    kept = (labels < class_logits.shape[-1] - 1) & (scores > score_threshold)
    scores, labels, masks = scores[kept], labels[kept], mask_logits[kept].sigmoid()
    ids = torch.zeros(mask_logits.shape[1:], dtype=torch.int64, device=mask_logits.device)
    segments: list[dict] = []
    stuff: dict[int, dict] = {}
    if not len(scores):
        return ids, segments
    winner = (scores[:, None, None] * masks).argmax(0)
    for q, (score, label) in enumerate(zip(scores.tolist(), labels.tolist())):
        whole = masks[q] >= 0.5
        won = winner == q
        final = won & whole
        if not final.any() or won.sum() / whole.sum() < overlap_threshold:
            continue
        isthing = bool(things[label])
        if not isthing and label in stuff:
            segment = stuff[label]
            segment["score"] = max(segment["score"], score)
        else:
            segment = {"id": len(segments) + 1, "class": label, "score": score, "isthing": isthing}
            segments.append(segment)
            stuff.setdefault(label, segment)
        ids[final] = segment["id"]
    return ids, segments


def input_size(height: int, width: int, config: Config) -> tuple[int, int]:
    """The height and width at which a model of this config looks at a picture."""
    scale = min(config.short_side / min(height, width), config.long_side / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@torch.inference_mode()
def predict(model: Mask2Former, image: Tensor) -> tuple[Tensor, Tensor]:
    """Runs a model on one picture.

    The picture is resized (shortest side `config.short_side`, longest at most `config.long_side`),
    padded and predicted; its mask logits are enlarged to the padded size, freed of the padding, and
    resized to the picture. The model runs in eval mode and is left in the mode it was in.

    Args:
        model: any model.
        image: (3, H, W) uint8, RGB.

    Returns:
        Class logits (N, K+1) and mask logits (N, H, W).
    """
    height, width = image.shape[1:]
    size = input_size(height, width, model.config)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    training = model.training
    model.eval()
    try:
        batch = model.batch([pixels.to(model.mean.device)])
        prediction = model(batch)
    finally:
        model.train(training)
    logits = _resize(prediction.mask_logits, batch.shape[2:])[..., : size[0], : size[1]]
    return prediction.class_logits[0], _resize(logits, (height, width))[0]


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[-2:] == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


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
    logits = predict(model, to_image(image, exif=True))
    return read(*logits, model.config, task, score_threshold, top_k)


def read(
    class_logits: Tensor,
    mask_logits: Tensor,
    config: Config,
    task: str,
    score_threshold: float | None = None,
    top_k: int = 100,
) -> Result:
    """Reads one prediction as a task asks: from what `predict` returns, as `segment` describes."""
    categories = config.categories or [{"id": k, "isthing": 1} for k in range(config.num_classes)]
    things = torch.tensor([bool(c["isthing"]) for c in categories], device=mask_logits.device)
    if task == "panoptic":
        threshold = 0.8 if score_threshold is None else score_threshold
        ids, found = panoptic(class_logits, mask_logits, things, threshold)
        masks = ids == torch.tensor([s["id"] for s in found], device=ids.device)[:, None, None]
        entries = [(s["class"], s["score"]) for s in found]
    elif task == "semantic":
        scores = semantic_scores(class_logits, mask_logits)
        share, labels = (scores / scores.sum(0).clamp(min=1e-12)).max(0)
        present = labels.unique()
        masks = labels == present[:, None, None]
        entries = [(k, share[labels == k].mean().item()) for k in present.tolist()]
    else:
        scores, labels, masks = instances(class_logits, mask_logits, top_k, things)
        kept = (scores >= (score_threshold or 0.0)) & masks.flatten(1).any(1)
        masks = masks[kept]
        entries = list(zip(labels[kept].tolist(), scores[kept].tolist()))
    return _result(masks.cpu().numpy(), entries, categories)


def _result(masks: np.ndarray, entries: list[tuple[int, float]], categories: list[dict]) -> Result:
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
