"""PQ and mIoU against numbers computed by hand, and against slow loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minim2f.metrics import MeanIoU, PanopticQuality

CAR, BIRD, SKY, ROAD = 3, 16, 187, 149
CATEGORIES = [
    {"id": CAR, "name": "car", "isthing": 1},
    {"id": BIRD, "name": "bird", "isthing": 1},
    {"id": SKY, "name": "sky", "isthing": 0},
    {"id": ROAD, "name": "road", "isthing": 0},
]
NOTHING = {"pq": 0.0, "sq": 0.0, "rq": 0.0}


def row(digits: str) -> np.ndarray:
    """A map of one row, a digit a pixel; spaces are for the eye."""
    return np.array([[int(digit) for digit in digits.replace(" ", "")]])


def info(categories: dict[int, int], crowds: tuple = ()) -> list[dict]:
    return [
        {"id": i, "category_id": category, "iscrowd": int(i in crowds)}
        for i, category in categories.items()
    ]


def picture(pred: str, pred_categories: dict, true: str, true_categories: dict, crowds=()) -> tuple:
    return row(pred), info(pred_categories), row(true), info(true_categories, crowds)


def measured(*pictures: tuple) -> PanopticQuality:
    quality = PanopticQuality(CATEGORIES)
    for arguments in pictures:
        quality.update(*arguments)
    return quality


def counts(*arguments) -> dict[int, tuple]:
    """{category: (TP, FP, FN, summed IoU)} of one picture, for the categories that were counted."""
    table = measured(picture(*arguments)).counts
    return {c["id"]: tuple(line) for c, line in zip(CATEGORIES, table.tolist()) if any(line)}


# sky 6/8; one car of two found (IoU 2/3) and one invented; a bird found, and a car taken for one
WORKED = picture(
    "111111 55 220 66 44", {1: SKY, 5: CAR, 2: CAR, 6: BIRD, 4: BIRD},
    "111111 11 222 33 44", {1: SKY, 2: CAR, 3: CAR, 4: BIRD},
)  # fmt: skip


# ---------------------------------------------------------------------------- PQ by hand


def test_worked_example() -> None:
    result = measured(WORKED).compute()
    assert result["per_class"][CAR] == pytest.approx({"pq": 1 / 3, "sq": 2 / 3, "rq": 1 / 2})
    assert result["per_class"][BIRD] == pytest.approx({"pq": 2 / 3, "sq": 1, "rq": 2 / 3})
    assert result["per_class"][SKY] == pytest.approx({"pq": 3 / 4, "sq": 3 / 4, "rq": 1})
    assert result["per_class"][ROAD] == NOTHING
    assert result["All"] == pytest.approx({"pq": 7 / 12, "sq": 29 / 36, "rq": 13 / 18, "n": 3})
    assert result["Things"] == pytest.approx({"pq": 1 / 2, "sq": 5 / 6, "rq": 7 / 12, "n": 2})
    assert result["Stuff"] == pytest.approx({"pq": 3 / 4, "sq": 3 / 4, "rq": 1, "n": 1})


def test_perfect_prediction_is_one() -> None:
    things = picture("1122 00", {1: CAR, 2: CAR}, "3344 00", {3: CAR, 4: CAR})
    result = measured(things).compute()
    assert result["All"] == result["Things"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 1}
    assert result["Stuff"] == NOTHING | {"n": 0}


def test_nothing_measured_yet_is_zero_of_zero_categories() -> None:
    assert PanopticQuality(CATEGORIES).compute()["All"] == NOTHING | {"n": 0}


def test_void_does_not_enlarge_the_union() -> None:
    assert counts("111111", {1: CAR}, "111100", {1: CAR}) == {CAR: (1, 0, 0, 1.0)}
    # 3 of 6 would be no match, 3 of 4 is one
    assert counts("111111", {1: CAR}, "111002", {1: CAR, 2: SKY}) == {
        CAR: (1, 0, 0, 3 / 4),
        SKY: (0, 0, 1, 0),
    }


def test_crowd_and_unpredicted_pixels_do_enlarge_the_union() -> None:
    crowd_beside = counts("1111", {1: CAR}, "1112", {1: CAR, 2: CAR}, (2,))
    assert crowd_beside == {CAR: (1, 0, 0, 3 / 4)}
    assert counts("1110", {1: CAR}, "1111", {1: CAR}) == {CAR: (1, 0, 0, 3 / 4)}


def test_prediction_mostly_in_void_is_forgiven() -> None:
    missed_sky = {SKY: (0, 0, 1, 0)}
    assert counts("2222", {2: CAR}, "0001", {1: SKY}) == missed_sky
    assert counts("2222", {2: CAR}, "0011", {1: SKY}) == missed_sky | {CAR: (0, 1, 0, 0)}  # half


def test_prediction_mostly_in_a_crowd_is_forgiven() -> None:
    missed_sky = {SKY: (0, 0, 1, 0)}
    car, truth = {5: CAR}, {1: CAR, 2: CAR, 3: SKY}
    assert counts("5555", car, "1113", {1: CAR, 3: SKY}, (1,)) == missed_sky
    assert counts("55555", car, "00113", {1: CAR, 3: SKY}, (1,)) == missed_sky  # void and crowd
    assert counts("55555", car, "11223", truth, (1, 2)) == missed_sky  # two crowds together
    assert counts("5555", car, "1133", {1: CAR, 3: SKY}, (1,)) == {CAR: (0, 1, 0, 0)} | missed_sky
    crowd_of_birds = counts("5555", car, "1113", {1: BIRD, 3: SKY}, (1,))
    assert crowd_of_birds == {CAR: (0, 1, 0, 0)} | missed_sky


def test_crowd_is_neither_found_nor_missed() -> None:
    assert counts("1111", {1: CAR}, "1111", {1: CAR}, (1,)) == {}
    assert counts("0000", {}, "1111", {1: CAR}, (1,)) == {}


def test_split_and_merged_segments() -> None:
    one, two = {1: CAR}, {1: CAR, 2: CAR}
    assert counts("111122", two, "111111", one) == {CAR: (1, 1, 0, 4 / 6)}
    assert counts("111222", two, "111111", one) == {CAR: (0, 2, 1, 0)}
    assert counts("111111", one, "111122", two) == {CAR: (1, 0, 1, 4 / 6)}
    assert counts("111111", one, "111222", two) == {CAR: (0, 1, 2, 0)}


def test_wrong_class_is_wrong_twice() -> None:
    assert counts("1", {1: BIRD}, "1", {1: CAR}) == {BIRD: (0, 1, 0, 0), CAR: (0, 0, 1, 0)}


def test_an_iou_of_one_half_is_no_match() -> None:
    assert counts("1100", {1: CAR}, "1111", {1: CAR}) == {CAR: (0, 1, 1, 0)}
    assert counts("11100", {1: CAR}, "11111", {1: CAR}) == {CAR: (1, 0, 0, 3 / 5)}


def test_empty_prediction_and_empty_truth() -> None:
    assert counts("0000", {}, "1122", {1: CAR, 2: CAR}) == {CAR: (0, 0, 2, 0)}
    assert counts("1122", {1: CAR, 2: SKY}, "0000", {}) == {}
    assert counts("0000", {}, "0000", {}) == {}


# ---------------------------------------------------------------------------- PQ by brute force


def random_picture(rng: np.random.Generator, void_and_crowds: bool = True) -> tuple:
    """A random truth of up to 5 blocks, and a prediction that is the truth with noise on it."""
    lowest = 0 if void_and_crowds else 1
    blocks = rng.integers(lowest, 6, (3, 4)).repeat(3, axis=0).repeat(2, axis=1)  # (9, 8)
    noise = rng.integers(lowest, 6, blocks.shape)
    guess = np.where(rng.random(blocks.shape) < rng.choice([0.1, 0.3, 0.5]), noise, blocks)
    renamed = np.concatenate([[0], rng.permutation(5) * 1000 + 7])
    ids = [category["id"] for category in CATEGORIES]
    category = {i: ids[rng.integers(4)] for i in range(1, 6)}
    confused = {i: c if rng.random() < 0.8 else ids[rng.integers(4)] for i, c in category.items()}
    crowds = [i for i in category if void_and_crowds and rng.random() < 0.2]
    return (
        renamed[guess],
        info({int(renamed[i]): confused[i] for i in np.unique(guess).tolist() if i}),
        blocks,
        info({i: category[i] for i in np.unique(blocks).tolist() if i}, crowds),
    )


def brute_force(pred_ids, pred_segments, true_ids, true_segments) -> dict[int, list]:
    """The definition, segment pair by segment pair, on masks."""
    table = {category["id"]: [0, 0, 0, 0.0] for category in CATEGORIES}
    void, matched_pred, matched_true = true_ids == 0, [], []
    for p in pred_segments:
        for t in true_segments:
            if t["iscrowd"] or t["category_id"] != p["category_id"]:
                continue
            pred, true = pred_ids == p["id"], true_ids == t["id"]
            iou = (pred & true).sum() / ((pred & ~void) | true).sum()
            if iou > 0.5:
                table[p["category_id"]][0] += 1
                table[p["category_id"]][3] += iou
                matched_pred.append(p["id"])
                matched_true.append(t["id"])
    for t in true_segments:
        if not t["iscrowd"] and t["id"] not in matched_true:
            table[t["category_id"]][2] += 1
    for p in pred_segments:
        if p["id"] not in matched_pred:
            forgiving = void.copy()
            for t in true_segments:
                if t["iscrowd"] and t["category_id"] == p["category_id"]:
                    forgiving |= true_ids == t["id"]
            if forgiving[pred_ids == p["id"]].mean() <= 0.5:
                table[p["category_id"]][1] += 1
    assert len(set(matched_pred)) == len(matched_pred)  # IoU > 0.5 makes partners unique
    assert len(set(matched_true)) == len(matched_true)
    return table


def test_pq_equals_brute_force_on_random_maps() -> None:
    rng = np.random.default_rng(0)
    total = np.zeros(4)
    for _ in range(200):
        arguments = random_picture(rng)
        expected = np.array(list(brute_force(*arguments).values()))
        np.testing.assert_allclose(measured(arguments).counts, expected, rtol=1e-12)
        total += expected.sum(axis=0)
    assert (total[:3] > 50).all()  # the maps do contain hits, inventions and misses


def test_swapping_prediction_and_truth_swaps_fp_and_fn() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        pred_ids, pred, true_ids, true = random_picture(rng, void_and_crowds=False)
        forth = measured((pred_ids, pred, true_ids, true)).counts
        back = measured((true_ids, true, pred_ids, pred)).counts
        np.testing.assert_allclose(forth, back[:, [0, 2, 1, 3]])


@pytest.mark.parametrize("metric", [PanopticQuality, MeanIoU])
def test_two_processes_merge_into_one(metric) -> None:
    rng = np.random.default_rng(2)
    pictures = [random_picture(rng) for _ in range(6)]
    whole, left, right = metric(CATEGORIES), metric(CATEGORIES), metric(CATEGORIES)
    for k, arguments in enumerate(pictures):
        whole.update(*arguments)
        (left if k < 2 else right).update(*arguments)
    left.merge(right)
    merged = left.compute()["per_class"]
    for category, expected in whole.compute()["per_class"].items():
        assert merged[category] == pytest.approx(expected)
    with pytest.raises(ValueError, match="same categories"):
        left.merge(metric(CATEGORIES[::-1]))


# ---------------------------------------------------------------------------- mIoU


def test_miou_worked_example() -> None:
    miou = MeanIoU(CATEGORIES)
    miou.update(*WORKED)
    result = miou.compute()
    assert result["per_class"] == pytest.approx({CAR: 2 / 7, BIRD: 2 / 4, SKY: 6 / 8, ROAD: 0})
    assert result["miou"] == pytest.approx((2 / 7 + 2 / 4 + 6 / 8) / 3)  # no road anywhere
    assert result["pixel_accuracy"] == pytest.approx(10 / 15)


def test_miou_of_void_crowds_and_nothing() -> None:
    miou = MeanIoU(CATEGORIES)
    assert miou.compute()["miou"] == miou.compute()["pixel_accuracy"] == 0.0
    # void pixels of the truth are left out; of the crowd's 4 pixels 1 is predicted as no class
    miou.update(*picture("1110 22", {1: CAR, 2: SKY}, "3333 00", {3: CAR}, (3,)))
    result = miou.compute()
    assert result["per_class"] == {CAR: 3 / 4, BIRD: 0.0, SKY: 0.0, ROAD: 0.0}
    assert result["miou"] == result["pixel_accuracy"] == 3 / 4


def test_miou_equals_brute_force_on_random_maps() -> None:
    rng = np.random.default_rng(3)
    pictures = [random_picture(rng) for _ in range(30)]
    miou, ids = MeanIoU(CATEGORIES), [category["id"] for category in CATEGORIES]
    confusion = np.zeros((4, 5), int)  # true class by predicted class, the last one "no class"
    intersection, union, right, labelled = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0), 0, 0
    for arguments in pictures:
        miou.update(*arguments)
        pred_ids, pred_segments, true_ids, true_segments = arguments
        pred_class = {s["id"]: s["category_id"] for s in pred_segments}
        true_class = {s["id"]: s["category_id"] for s in true_segments}
        for p, t in zip(pred_ids.ravel().tolist(), true_ids.ravel().tolist()):
            if t == 0:
                continue
            labelled += 1
            confusion[ids.index(true_class[t]), [*ids, None].index(pred_class.get(p))] += 1
            right += pred_class.get(p) == true_class[t]
            for i in ids:
                intersection[i] += pred_class.get(p) == i and true_class[t] == i
                union[i] += pred_class.get(p) == i or true_class[t] == i
    assert miou.confusion.tolist() == confusion.tolist() and confusion.all()
    result = miou.compute()
    assert result["per_class"] == pytest.approx({i: intersection[i] / union[i] for i in ids})
    assert result["miou"] == pytest.approx(sum(result["per_class"].values()) / 4)
    assert result["pixel_accuracy"] == pytest.approx(right / labelled)


# ---------------------------------------------------------------------------- input


@pytest.mark.parametrize("metric", [PanopticQuality, MeanIoU])
@pytest.mark.parametrize("convert", [np.int32, np.uint8, torch.from_numpy])
def test_any_integers_will_do_and_are_left_alone(metric, convert) -> None:
    pred_ids, pred, true_ids, true = WORKED
    first, second = metric(CATEGORIES), metric(CATEGORIES)
    first.update(*WORKED)
    converted = convert(pred_ids)
    second.update(converted, pred, convert(true_ids), true)
    assert first.compute() == second.compute()
    assert np.asarray(converted).tolist() == pred_ids.tolist()
    assert pred == info({1: SKY, 5: CAR, 2: CAR, 6: BIRD, 4: BIRD})


def test_ids_as_large_as_three_bytes() -> None:
    large = 2**24 - 1
    ids = np.array([[large, large - 1, 0]])
    quality = measured(
        (ids, info({large: CAR, large - 1: CAR}), ids, info({large: CAR, large - 1: CAR}))
    )
    assert quality.counts[0].tolist() == [2, 0, 0, 2]


ONE, TWO = info({1: CAR}), info({1: CAR, 2: CAR})
WRONG = {
    "one picture has one size": (row("11"), ONE, row("111"), ONE),
    "R \\+ 256 G": (np.zeros((2, 2, 3), np.uint8), [], row("11"), ONE),
    "true ids must be .* float": (row("11"), ONE, row("11") * 0.5, ONE),
    "void is 0": (row("11") - 2, ONE, row("11"), ONE),
    r"predicted map holds ids \[2\]": (row("12"), ONE, row("11"), ONE),
    r"true map holds ids \[2\]": (row("11"), ONE, row("12"), ONE),
    r"predicted segments \[2\] have no pixel": (row("11"), TWO, row("11"), ONE),
    r"true segments \[2\] have no pixel": (row("11"), ONE, row("11"), TWO),
    r"category ids \[4\]": (row("11"), info({1: 4}), row("11"), ONE),
    r"true segments share the ids \[1\]": (row("11"), ONE, row("11"), ONE + ONE),
    "id 0, which means void": (row("10"), ONE + info({0: SKY}), row("11"), ONE),
}


@pytest.mark.parametrize("metric", [PanopticQuality, MeanIoU])
@pytest.mark.parametrize("sentence", WRONG)
def test_wrong_input_is_refused_in_a_sentence_and_counts_nothing(metric, sentence) -> None:
    wronged = metric(CATEGORIES)
    with pytest.raises(ValueError, match=sentence):
        wronged.update(*WRONG[sentence])
    assert wronged.compute() == metric(CATEGORIES).compute()


def test_categories_are_checked() -> None:
    with pytest.raises(ValueError, match="isthing"):
        PanopticQuality([{"id": 1, "name": "car"}])
    for metric in (PanopticQuality, MeanIoU):
        with pytest.raises(ValueError, match="ids of their own"):
            metric(CATEGORIES + CATEGORIES)
        with pytest.raises(ValueError, match="one or more"):
            metric([])
