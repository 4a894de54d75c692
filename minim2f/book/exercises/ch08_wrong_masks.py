"""What usually goes wrong in 8.3 and 8.4, filters and good masks: each mistake with its hint."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Wrong

# ---- 8.3 which channels make a mask


def _parts(embedding: Tensor, pixel_features: Tensor) -> Tensor:
    return embedding[:, None, None] * pixel_features


def _largest_weights(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _parts(embedding, pixel_features)[embedding.abs().topk(k).indices].sum(0)


def _most_positive_weights(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _parts(embedding, pixel_features)[embedding.topk(k).indices].sum(0)


def _largest_features(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    strength = pixel_features.abs().mean((1, 2))
    return _parts(embedding, pixel_features)[strength.topk(k).indices].sum(0)


def _signs_cancel(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.mean((1, 2)).abs().topk(k).indices].sum(0)


def _most_positive(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.mean((1, 2)).topk(k).indices].sum(0)


def _weakest(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.abs().mean((1, 2)).topk(k, largest=False).indices].sum(0)


def _root_mean_square(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.square().mean((1, 2)).topk(k).indices].sum(0)


def _first_channels(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _parts(embedding, pixel_features)[:k].sum(0)


def _absolute_values_summed(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _not_summed(embedding, pixel_features, k).abs().sum(0)


def _peak(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.abs().amax((1, 2)).topk(k).indices].sum(0)


def _pixel_by_pixel(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts.gather(0, parts.abs().topk(k, dim=0).indices).sum(0)


def _all_channels(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _parts(embedding, pixel_features).sum(0)


def _not_summed(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    parts = _parts(embedding, pixel_features)
    return parts[parts.abs().mean((1, 2)).topk(k).indices]


def _averaged(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _not_summed(embedding, pixel_features, k).mean(0)


def _without_the_weights(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    strength = _parts(embedding, pixel_features).abs().mean((1, 2))
    return pixel_features[strength.topk(k).indices].sum(0)


def _as_probabilities(embedding: Tensor, pixel_features: Tensor, k: int) -> Tensor:
    return _not_summed(embedding, pixel_features, k).sum(0).sigmoid()


KEEP_CHANNELS = [
    Wrong(_largest_weights, "a large weight on a channel that is nearly 0 contributes nothing"),
    Wrong(_most_positive_weights, "negative weights count as well, and so do the features"),
    Wrong(_largest_features, "a strong channel that the query weighs with 0 contributes nothing"),
    Wrong(_signs_cancel, "a channel can lift here and lower there: absolute value, then the mean"),
    Wrong(_most_positive, "a channel that says no counts too: take absolute values"),
    Wrong(_weakest, "you keep the k weakest channels: the k strongest are wanted"),
    Wrong(_root_mean_square, "you rank by squares, which favour peaks: absolute values are wanted"),
    Wrong(_first_channels, "you keep the first k channels: the k that contribute most are wanted"),
    Wrong(_absolute_values_summed, "absolute values only rank: sum the parts with their signs"),
    Wrong(_peak, "you rank by the strongest pixel: the mean over all pixels is wanted"),
    Wrong(_pixel_by_pixel, "the same k channels serve all pixels: rank over the whole picture"),
    Wrong(_all_channels, "you sum all channels: k of them are wanted"),
    Wrong(_not_summed, "k maps are left: a logit is their sum"),
    Wrong(_averaged, "a logit is the sum of its parts, not their mean"),
    Wrong(_without_the_weights, "you sum the features alone: where are the query's weights?"),
    Wrong(_as_probabilities, "logits are wanted: leave the sigmoid out"),
]

# ---- 8.4 after which layer a mask is good


def _iou(inside: Tensor, masks: Tensor) -> Tensor:
    return (inside & masks).sum((2, 3)) / (inside | masks).sum((2, 3))


def _first(good: Tensor) -> Tensor:
    return (good.cumsum(0) == 0).sum(0)


def _zero_for_never(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return (_iou(mask_logits > 0, masks) >= threshold).int().argmax(0)


def _minus_one_for_never(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    good = _iou(mask_logits > 0, masks) >= threshold
    return torch.where(good.any(0), good.int().argmax(0), -1)


def _last_for_never(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits > 0, masks) >= threshold).clamp(max=len(mask_logits) - 1)


def _four_for_never(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    good = _iou(mask_logits > 0, masks) >= threshold
    return torch.where(good.any(0), _first(good), 4)


def _at_most_three(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits > 0, masks) >= threshold).clamp(max=3)


def _at_most_four(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits > 0, masks) >= threshold).clamp(max=4)


def _best(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    iou = _iou(mask_logits > 0, masks)
    never = (iou < threshold).all(0)
    return torch.where(never, len(iou), iou.argmax(0))


def _best_even_if_bad(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _iou(mask_logits > 0, masks).argmax(0)


def _soft_iou(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    p = mask_logits.sigmoid()
    overlap = (p * masks).sum((2, 3))
    return _first(overlap / (p + masks - p * masks).sum((2, 3)) >= threshold)


def _more_than(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits > 0, masks) > threshold)


def _zero_is_inside(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits >= 0, masks) >= threshold)


def _logits_as_probabilities(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    inside = mask_logits > 0.5
    return _first(_iou(inside, masks) >= threshold)


def _all_inside(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits.sigmoid() > 0, masks) >= threshold)


def _last_good(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    good = _iou(mask_logits > 0, masks) >= threshold
    number = torch.arange(1, len(good) + 1)[:, None] * good
    return torch.where(good.any(0), number.amax(0) - 1, len(good))


def _from_one(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(_iou(mask_logits > 0, masks) >= threshold) + 1


def _how_many_are_bad(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return (_iou(mask_logits > 0, masks) < threshold).sum(0)


def _for_good(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    bad = _iou(mask_logits > 0, masks) < threshold
    number = torch.arange(1, len(bad) + 1)[:, None] * bad
    return number.amax(0)


def _recall(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(((mask_logits > 0) & masks).sum((2, 3)) / masks.sum((1, 2)) >= threshold)


def _precision(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    inside = mask_logits > 0
    return _first((inside & masks).sum((2, 3)) / inside.sum((2, 3)) >= threshold)


def _dice(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    inside = mask_logits > 0
    sizes = inside.sum((2, 3)) + masks.sum((1, 2))
    return _first(2 * (inside & masks).sum((2, 3)) / sizes >= threshold)


def _accuracy(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    return _first(((mask_logits > 0) == masks).float().mean((2, 3)) >= threshold)


def _together(mask_logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    good = _iou(mask_logits > 0, masks).mean(1, keepdim=True) >= threshold
    return _first(good.expand(-1, len(masks)))


FIRST_GOOD = [
    Wrong(_zero_for_never, "argmax of nothing but False is 0: a mask that is never good gets 3L+1"),
    Wrong(_minus_one_for_never, "a mask that is never good gets 3L+1, not -1"),
    Wrong(_last_for_never, "a mask that is never good gets 3L+1, not 3L"),
    Wrong(_four_for_never, "3L+1 is the number of predictions, and that need not be four"),
    Wrong(_at_most_three, "your answer is never above 3: there may be more than four predictions"),
    Wrong(_at_most_four, "your answer is never above 4: there may be more than four predictions"),
    Wrong(_best, "you name the best prediction: the first that is good enough is wanted"),
    Wrong(_best_even_if_bad, "you name the best one, good or not: where is the threshold?"),
    Wrong(_soft_iou, "you add up probabilities: decide first which pixels are inside, then count"),
    Wrong(_more_than, "an IoU of exactly the threshold is good enough"),
    Wrong(_zero_is_inside, "a logit of exactly 0 is not positive: it is outside"),
    Wrong(_logits_as_probabilities, "these are logits: a probability of 1/2 is a logit of 0"),
    Wrong(_all_inside, "a sigmoid is never 0 or less: ask the logit, or ask for more than 1/2"),
    Wrong(_last_good, "the first good prediction is wanted, not the last"),
    Wrong(_from_one, "prediction 0 is that of the raw queries: start to count at 0"),
    Wrong(_how_many_are_bad, "a mask can become bad again: do not count later ones"),
    Wrong(_for_good, "good once is enough: it need not stay good"),
    Wrong(_recall, "you divide by the segment: what a mask covers too much must count"),
    Wrong(_precision, "you divide by the mask: what it leaves out of the segment must count"),
    Wrong(_dice, "that is the dice: IoU divides the overlap by the union"),
    Wrong(_accuracy, "right pixels outside count for nothing: IoU is overlap by union"),
    Wrong(_together, "each segment has an answer of its own: no mean over the segments"),
]
