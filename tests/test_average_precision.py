"""Mask AP against numbers computed by hand, and against pycocotools fed directly."""

from __future__ import annotations

import io
import json
import pickle
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from minim2f.metrics import AveragePrecision

CAR, BIRD, SKY = 16, 3, 187  # the ids are not in ascending order
CATEGORIES = [
    {"id": CAR, "name": "car", "isthing": 1},
    {"id": BIRD, "name": "bird"},
    {"id": SKY, "name": "sky", "isthing": 0},
]
WIDTH = 100


def span(start: int, stop: int) -> np.ndarray:
    """The mask of pixels start ... stop-1 of a picture that is one row of 100 pixels."""
    mask = np.zeros((1, WIDTH), bool)
    mask[0, start:stop] = True
    return mask


def side(entries: list[tuple]) -> tuple[np.ndarray, list[dict]]:
    """Masks and dicts from pairs (mask, dict)."""
    masks = np.array([mask for mask, _ in entries]).reshape(-1, 1, WIDTH).astype(bool)
    return masks, [segment for _, segment in entries]


def seen(start: int, stop: int, score: float, category: int = CAR) -> tuple:
    return span(start, stop), {"category_id": category, "score": score}


def real(start: int, stop: int, category: int = CAR, **more: float) -> tuple:
    return span(start, stop), {"category_id": category} | more


def measured(*pictures: tuple[list, list]) -> dict:
    metric = AveragePrecision(CATEGORIES)
    for detections, truths in pictures:
        metric.update(*side(detections), *side(truths))
    return metric.compute()


def ap(*pictures: tuple[list, list]) -> float:
    return measured(*pictures)["ap"]


# --- by hand ---


def test_perfect_detections_are_one() -> None:
    detections = [seen(0, 10, 0.9), seen(20, 30, 0.2), seen(40, 90, 0.5, BIRD)]
    result = measured((detections, [real(0, 10), real(20, 30), real(40, 90, BIRD)]))
    assert [result[k] for k in ("ap", "ap50", "ap75", "ap_small")] == pytest.approx([1] * 4)
    assert result["per_class"] == pytest.approx({CAR: 1, BIRD: 1})


def test_a_missed_instance_leaves_the_recalls_beyond_without_precision() -> None:
    # recall 1/2 is reached: of the recalls 0, 0.01 ... 1 these are 51 of 101
    assert ap(([seen(0, 10, 0.9)], [real(0, 10), real(20, 30)])) == pytest.approx(51 / 101)


def test_a_wrong_class_finds_nothing() -> None:
    result = measured(([seen(0, 10, 0.9, BIRD)], [real(0, 10)]))
    assert result["ap"] == 0.0  # the mean over cars alone: there is no true bird
    assert result["per_class"] == {CAR: 0.0, BIRD: 0.0}


def test_the_mean_is_over_the_classes_of_the_truth() -> None:
    truths = [real(0, 10), real(20, 30, BIRD)]
    result = measured(([seen(0, 10, 0.9)], truths))
    assert result["per_class"] == pytest.approx({CAR: 1, BIRD: 0})
    assert list(result["per_class"]) == [CAR, BIRD]  # the order of the categories given
    assert result["ap"] == pytest.approx(1 / 2)
    assert ap(([seen(0, 10, 0.9)], truths[:1])) == pytest.approx(1)


def test_only_the_order_of_scores_counts() -> None:
    truth = [real(0, 10)]
    wrong_first = [seen(50, 60, 0.9), seen(0, 10, 0.8)]
    wrong_last = [seen(50, 60, 0.7), seen(0, 10, 0.8)]
    assert ap((wrong_first, truth)) == pytest.approx(1 / 2)  # one right of two, at every recall
    assert ap((wrong_last, truth)) == pytest.approx(1)


def test_scores_are_sorted_over_all_pictures() -> None:
    sure_and_wrong = ([seen(50, 60, 0.9)], [real(0, 10)])
    right = ([seen(0, 10, 0.8)], [real(0, 10)])
    # recall 1/2 is reached after two detections, one of them right
    assert ap(sure_and_wrong, right) == pytest.approx(51 / 101 / 2)


def test_a_duplicate_is_wrong_only_if_a_better_score_took_the_truth() -> None:
    truth = [real(0, 50)]
    good, poor = (0, 50), (0, 31)  # IoU 1 and 31/50 = 0.62
    assert ap(([seen(*good, 0.9), seen(*good, 0.8)], truth)) == pytest.approx(1)
    assert ap(([seen(*good, 0.9), seen(*poor, 0.8)], truth)) == pytest.approx(1)
    # 0.5, 0.55 and 0.6: the poor one is right. The 7 thresholds above: it is wrong, and first.
    duplicate_above = ([seen(*poor, 0.9), seen(*good, 0.8)], truth)
    assert ap(duplicate_above) == pytest.approx((3 + 7 / 2) / 10)


@pytest.mark.parametrize(
    ("pixels", "thresholds"), [(49, 0), (50, 1), (54, 1), (62, 3), (77, 6), (94, 9), (95, 10)]
)
def test_an_iou_passes_the_thresholds_up_to_it(pixels: int, thresholds: int) -> None:
    result = measured(([seen(0, pixels, 0.9)], [real(0, 100)]))
    assert result["ap"] == pytest.approx(thresholds / 10)
    assert result["ap50"] == pytest.approx(float(pixels >= 50))
    assert result["ap75"] == pytest.approx(float(pixels >= 75))


def test_a_crowd_is_neither_found_nor_missed() -> None:
    crowd, car = real(50, 100, iscrowd=1), real(0, 10, iscrowd=0)
    found = seen(0, 10, 0.5)
    assert ap(([found], [car, crowd])) == pytest.approx(1)  # not missed
    inside = [seen(50, 55, 0.9), seen(60, 65, 0.8), seen(50, 100, 0.7)]
    assert ap(([found, *inside], [car, crowd])) == pytest.approx(1)  # none of them is wrong
    assert ap(([found, *inside], [car])) == pytest.approx(1 / 4)
    birds = real(50, 100, BIRD, iscrowd=1)
    assert ap(([found, *inside], [car, birds])) == pytest.approx(1 / 4)  # not their crowd


def test_masks_may_overlap() -> None:
    entries = [(0, 60), (30, 90)]
    detections = [seen(*entry, 0.9) for entry in entries]
    assert ap((detections, [real(*entry) for entry in entries])) == pytest.approx(1)


def test_stuff_is_left_out_on_both_sides() -> None:
    result = measured(([seen(0, 90, 0.9, SKY), seen(0, 10, 0.1)], [real(0, 10), real(50, 90, SKY)]))
    assert result["ap"] == pytest.approx(1)
    assert set(result["per_class"]) == {CAR, BIRD}


def test_a_hundred_detections_of_a_category_count() -> None:
    truth = [real(0, 10)]
    wrong = [seen(50, 60, 0.9)] * 99
    assert ap((wrong + [seen(0, 10, 0.1)], truth)) == pytest.approx(1 / 100)
    assert ap((wrong + wrong[:1] + [seen(0, 10, 0.1)], truth)) == 0.0


def test_areas_are_the_truths_own() -> None:
    metric = AveragePrecision(CATEGORIES)
    sides = {"ap_small": 20, "ap_medium": 50, "ap_large": 100}
    for name, length in sides.items():
        mask = np.zeros((1, 120, 120), bool)
        mask[0, :length, :length] = True
        found = mask if name != "ap_medium" else np.zeros_like(mask)
        detection = [{"category_id": CAR, "score": 0.9}]
        metric.update(found, detection, mask, [{"category_id": CAR}])
    result = metric.compute()
    assert [result[name] for name in sides] == pytest.approx([1, 0, 1])
    grown = measured(([seen(0, 10, 0.9)], [real(0, 10, area=100.5**2)]))
    assert (grown["ap_small"], grown["ap_large"]) == pytest.approx((0, 1))


NOTHING = {k: 0.0 for k in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")} | {
    "per_class": {CAR: 0.0, BIRD: 0.0}
}


def test_nothing_to_score_is_zero() -> None:
    assert measured() == NOTHING
    assert measured(([], [])) == NOTHING
    assert measured(([seen(0, 10, 0.9)], [])) == NOTHING  # no truth
    assert measured(([], [real(0, 10)])) == NOTHING  # no detection
    assert measured(([seen(0, 10, 0.9, SKY)], [real(0, 10, SKY)])) == NOTHING


def test_pictures_without_detections_or_truth_stand_beside_others() -> None:
    full = ([seen(0, 10, 0.8)], [real(0, 10)])
    assert ap(full, ([], []), ([], [real(0, 10)])) == pytest.approx(51 / 101)
    assert ap(full, ([seen(0, 10, 0.9)], [])) == pytest.approx(1 / 2)
    assert ap(full, ([seen(5, 5, 0.9)], [])) == pytest.approx(1 / 2)  # an empty mask is wrong too


# --- many pictures ---


def perturbed(
    masks: np.ndarray, segments: list[dict], things: list[int], rng: np.random.Generator, reach: int
) -> tuple[np.ndarray, list[dict]]:
    """What a poor model might find: moved up to `reach` pixels, missed, doubled, misnamed."""
    found, entries = [], []
    for mask, segment in zip(masks, segments):
        for _ in range(rng.choice(3, p=[0.15, 0.7, 0.15])):
            found.append(np.roll(mask, rng.integers(-reach, reach + 1, 2), axis=(0, 1)))
            confused = things[rng.integers(len(things))]
            category = segment["category_id"] if rng.random() < 0.85 else confused
            entries.append({"category_id": category, "score": float(rng.integers(1, 50)) / 50})
    return np.array(found, bool).reshape(-1, *masks.shape[1:]), entries


def direct(document: dict, results: list[dict], categories: list[int]) -> np.ndarray:
    """The first six numbers of pycocotools for these categories, -1 read as 0."""
    truth = COCO()
    truth.dataset = json.loads(json.dumps(document))
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "segm")
        judge.params.catIds = categories
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.maximum(judge.stats[:6], 0)


def run_lengths(mask: np.ndarray) -> dict:
    code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code | {"counts": code["counts"].decode()}


def read_ids(png: Path) -> np.ndarray:
    colours = np.array(Image.open(png), np.int64)
    return colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]


def test_coco_mini_scores_as_pycocotools_scores_it(coco_mini: Path) -> None:
    """Real crowds, many classes, sizes: what we count equals what JSON files would have given."""
    panoptic = json.loads((coco_mini / "panoptic.json").read_text())
    things = [c["id"] for c in panoptic["categories"] if c["isthing"]]
    metric = AveragePrecision(panoptic["categories"][::-1])
    truths, results, rng = [], [], np.random.default_rng(0)
    for annotation in panoptic["annotations"]:
        ids = read_ids(coco_mini / "panoptic" / annotation["file_name"])
        segments = annotation["segments_info"]
        masks = np.stack([ids == segment["id"] for segment in segments])
        found, entries = perturbed(masks, segments, things, rng, reach=3)
        metric.update(torch.from_numpy(found), entries, torch.from_numpy(masks), segments)
        image = {"image_id": annotation["image_id"]}
        truths += [s | image | {"segmentation": run_lengths(m)} for m, s in zip(masks, segments)]
        results += [e | image | {"segmentation": run_lengths(m)} for m, e in zip(found, entries)]
    truths, results = ([e for e in es if e["category_id"] in things] for es in (truths, results))
    truths = [truth | {"id": number} for number, truth in enumerate(truths, start=1)]
    assert any(truth["iscrowd"] for truth in truths)
    document = {
        "images": panoptic["images"],
        "annotations": truths,
        "categories": [{"id": category} for category in things],
    }
    result, expected = metric.compute(), direct(document, results, things)
    assert (expected > 0.1).all() and (expected < 0.9).all()  # neither perfect nor hopeless
    per_class = result.pop("per_class")
    np.testing.assert_allclose(list(result.values()), expected, rtol=0, atol=1e-12)
    assert list(per_class) == things[::-1]
    for category in things:
        alone = direct(document, results, [category])[0]
        assert per_class[category] == pytest.approx(alone, abs=1e-12)


def random_pictures(number: int) -> list[tuple]:
    """Truths of up to three boxes in 24 x 32 pixels, found by a poor model."""
    rng, pictures = np.random.default_rng(1), []
    for _ in range(number):
        masks = np.zeros((rng.integers(4), 24, 32), bool)
        for mask in masks:
            y, x = rng.integers(16), rng.integers(24)
            mask[y : y + 8 + rng.integers(8), x : x + 8 + rng.integers(8)] = True
        segments = [{"category_id": [CAR, BIRD, SKY][rng.integers(3)]} for _ in masks]
        found = perturbed(masks, segments, [CAR, BIRD], rng, reach=1)
        pictures.append((*found, masks, segments))
    return pictures


def test_two_processes_merge_into_one() -> None:
    pictures = random_pictures(20)
    whole, left, right = (AveragePrecision(CATEGORIES) for _ in range(3))
    for k, arguments in enumerate(pictures):
        whole.update(*arguments)
        (left if k < 7 else right).update(*arguments)
    assert 0.1 < whole.compute()["ap"] < 0.9
    left.compute()  # does not disturb what comes later
    left.merge(pickle.loads(pickle.dumps(right)))
    assert left.compute() == whole.compute() == whole.compute()
    for categories in (CATEGORIES[:2], [c | {"isthing": 1} for c in CATEGORIES]):
        with pytest.raises(ValueError, match="same categories"):
            left.merge(AveragePrecision(categories))


def test_masks_are_kept_as_run_lengths() -> None:
    metric = AveragePrecision(CATEGORIES)
    masks = np.ones((50, 500, 500), bool)
    entries = [{"category_id": CAR, "score": 0.5}] * 50
    metric.update(masks, entries, masks, entries)
    assert len(pickle.dumps(metric)) < masks.size / 100


def test_it_is_silent_and_leaves_its_input_alone(capsys: pytest.CaptureFixture) -> None:
    metric, arguments = AveragePrecision(CATEGORIES), random_pictures(3)[2]
    before = pickle.dumps(arguments)
    metric.update(*arguments)
    metric.compute()
    assert pickle.dumps(arguments) == before
    assert capsys.readouterr().out == ""


# --- input ---

FOUND, TRUE = side([seen(0, 10, 0.9)]), side([real(0, 10)])
WRONG = {
    r"1 predicted masks and 0 predicted segments": (FOUND[0], [], *TRUE),
    r"1 true masks and 2 true segments": (*FOUND, TRUE[0], TRUE[1] * 2),
    r"predicted masks are \(1, 9\) and": (FOUND[0][..., :9], FOUND[1], *TRUE),
    r"needs a finite 'score'.*\[None\]": (FOUND[0], TRUE[1], *TRUE),
    r"needs a finite 'score'.*nan": (FOUND[0], [FOUND[1][0] | {"score": float("nan")}], *TRUE),
    r"predicted segments have category ids \[4\]": (*side([seen(0, 10, 0.9, 4)]), *TRUE),
    r"true segments have category ids \[4\]": (*FOUND, *side([real(0, 10, 4)])),
    r"predicted masks must be .* float64; logits": (FOUND[0] * 1.0, FOUND[1], *TRUE),
    r"true masks must be \(number, H, W\) booleans, got \(1, 100\)": (*FOUND, TRUE[0][0], TRUE[1]),
    r"no masks at all are \(0, H, W\)": ([], [], *TRUE),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_wrong_input_is_refused_in_a_sentence_and_counts_nothing(sentence: str) -> None:
    metric = AveragePrecision(CATEGORIES)
    with pytest.raises(ValueError, match=sentence):
        metric.update(*WRONG[sentence])
    assert metric.compute() == NOTHING


def test_categories_are_checked() -> None:
    with pytest.raises(ValueError, match="none of these categories is a thing"):
        AveragePrecision(CATEGORIES[2:])
    with pytest.raises(ValueError, match="ids of their own"):
        AveragePrecision(CATEGORIES + CATEGORIES)
