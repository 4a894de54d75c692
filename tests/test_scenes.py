"""The embedded data set: reproducible, in exact COCO form, and hard enough to be worth learning."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
import torch

from minim2f.data.scenes import CATEGORIES, Scenes, draw
from minim2f.data.scenes.drawing import Stroke, box, disc, outline, render

COCO = {3: "car", 9: "boat", 13: "stop sign", 16: "bird", 28: "umbrella", 37: "sports ball"}
COCO |= {38: "kite", 149: "road", 154: "sand", 155: "sea", 187: "sky-other-merged"}
COCO |= {192: "mountain-merged", 193: "grass-merged"}
THINGS = {i for i in COCO if i < 100}


@pytest.fixture(scope="module")
def samples():
    return list(Scenes("train", length=300))


# ---- the rasteriser


def painted(points, height, width, **options):
    stroke = Stroke(1, np.stack(points) / (width, height), 0.0, np.full((2, 3), 255.0), **options)
    image, labels = render([stroke], height, width)
    return image[0] / 255, labels


def test_coverage_is_exact_for_boxes():
    cover, labels = painted([box(0.25, 0.5, 2.75, 2)], 2, 4)
    assert cover.tolist() == [[0.375, 0.5, 0.375, 0], [0.75, 1, 0.75, 0]]
    assert labels.tolist() == [[0, 1, 0, 0], [1, 1, 1, 0]]  # half of a pixel is enough


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        (outline("3,2 27,9 11,30"), 0.5 * abs(24 * 28 - 8 * 7)),  # cross product by hand
        (outline("3,2 11,30 27,9"), 0.5 * abs(24 * 28 - 8 * 7)),  # the other way round
        (disc(16, 16, 12), 0.5 * 32 * 144 * np.sin(np.pi / 16)),  # a regular polygon of 32 sides
        (box(-50, 4, 60, 9), 32 * 5),  # cut by both borders
        (box(40, 4, 60, 9), 0),  # outside
    ],
)
def test_coverage_sums_to_the_area(polygon, area):
    cover, labels = painted([polygon], 32, 32)
    assert cover.sum() == pytest.approx(area, abs=1.5)
    assert 0 <= cover.min() and cover.max() <= 1
    assert (labels == (cover >= 0.5)).all()


def test_neighbours_leave_no_gap():
    halves = [outline("0,0 20,0 7,20 0,20"), outline("20,0 20,20 7,20")]
    cover = [painted([half], 20, 20)[0] for half in halves]
    assert np.allclose(sum(cover), 1)


def test_tints_and_glows():
    assert not painted([box(0, 0, 4, 4)], 4, 4, labelled=False)[1].any()
    glow = painted([box(0, 0, 9, 9)], 9, 9, soft=True, labelled=False)[0]
    assert glow[4, 4] == glow.max() == 1 and glow[0, 0] == 0 and 0 < glow[4, 1] < glow[4, 3]


# ---- the same everywhere

# seed, height, width: the start of the sha256 of ids and segments, and the mean of R, G and B
HASHES = {
    (0, 96, 96): ("8fb558fb1fb7b82c", [164.63, 182.26, 154.01]),
    (1, 96, 96): ("cbb2f7a3fefb9188", [148.14, 147.28, 124.03]),
    (7, 96, 96): ("0948f0abb71e7eee", [167.23, 162.8, 152.14]),
    (42, 64, 64): ("ef8620c3043b5a91", [158.12, 167.51, 170.84]),
    (42, 96, 96): ("f9608f38f1903559", [158.07, 167.49, 170.75]),
    (123456789, 96, 96): ("9f458e923651c499", [141.23, 174.99, 164.94]),
    (1000000000, 128, 128): ("1802e424a65cee38", [110.07, 115.07, 142.01]),
    (5, 256, 384): ("ae31692e2e359156", [170.23, 180.89, 188.89]),
    (6, 200, 120): ("c0ac3b90bea88f8d", [163.4, 173.67, 149.79]),
}


@pytest.mark.parametrize(("seed", "height", "width"), HASHES)
def test_a_seed_is_the_same_scene_on_every_machine(seed, height, width):
    sample = draw(seed, height, width)
    digest = hashlib.sha256(sample.ids.numpy().astype("<i8").tobytes())
    digest.update(json.dumps(sample.segments, sort_keys=True).encode())
    assert digest.hexdigest()[:16] == HASHES[seed, height, width][0]
    means = sample.image.float().mean((1, 2)).tolist()
    assert means == pytest.approx(HASHES[seed, height, width][1], abs=0.5)


def test_a_seed_is_the_same_scene_at_every_size():
    for seed in range(40):
        scenes = [draw(seed, *size) for size in ((96, 96), (64, 64), (128, 192), (192, 128))]
        known = [[(s["id"], s["category_id"], s["iscrowd"]) for s in x.segments] for x in scenes]
        assert known[0] == known[1] == known[2] == known[3]


def test_size_scales_the_picture():
    small, large = draw(3, 96, 96), draw(3, 192, 192)
    again = torch.nn.functional.avg_pool2d(large.image.float(), 2)
    assert (again - small.image.float()).abs().mean() < 4
    assert (large.ids[::2, ::2] == small.ids).float().mean() > 0.95


def test_train_and_val_share_no_scene():
    train, val = Scenes("train"), Scenes("val")
    assert (len(train), len(val)) == (4096, 256)
    last = Scenes("train", length=10**9)[-1].image_id
    assert train[0].image_id == 0 and last < val[0].image_id
    assert not torch.equal(train[0].image, val[0].image)


# ---- exact COCO form


def test_categories_are_cocos():
    assert {c["id"]: c["name"] for c in CATEGORIES} == COCO
    assert [c["id"] for c in CATEGORIES] == sorted(COCO)
    assert {c["id"] for c in CATEGORIES if c["isthing"]} == THINGS
    assert all(set(c) == {"id", "name", "isthing", "supercategory", "color"} for c in CATEGORIES)
    assert Scenes.categories is CATEGORIES


def test_form_of_a_sample(samples):
    for sample in samples[:50]:
        assert sample.image.shape == (3, 96, 96) and sample.image.dtype == torch.uint8
        assert sample.ids.shape == (96, 96) and sample.ids.dtype == torch.int64
        assert json.loads(json.dumps(sample.segments)) == sample.segments


def test_segments_info_describes_the_id_map(samples):
    for sample in samples:
        ids = sample.ids.numpy()
        listed = [s["id"] for s in sample.segments]
        assert len(set(listed)) == len(listed)
        assert set(np.unique(ids)) - {0} == set(listed)
        for s in sample.segments:
            ys, xs = np.nonzero(ids == s["id"])
            x, y = int(xs.min()), int(ys.min())
            assert s["bbox"] == [x, y, int(xs.max()) + 1 - x, int(ys.max()) + 1 - y]
            assert s["area"] == len(ys)


def test_ids_are_colours_near_the_category(samples):
    colours = {c["id"]: np.array(c["color"]) for c in CATEGORIES}
    for segment in (s for sample in samples for s in sample.segments):
        rgb = np.array([segment["id"] >> shift & 255 for shift in (0, 8, 16)])
        assert 0 < segment["id"] < 2**24
        assert abs(rgb - colours[segment["category_id"]]).max() <= 20


def test_stuff_is_one_segment_a_class(samples):
    for sample in samples:
        stuff = [s["category_id"] for s in sample.segments if s["category_id"] not in THINGS]
        assert len(set(stuff)) == len(stuff)
        assert 187 in stuff  # there is always a sky


def test_crowds_are_listed_and_not_trained_on(samples):
    crowded = [x for x in samples if any(s["iscrowd"] for s in x.segments)]
    assert 0.04 < len(crowded) / len(samples) < 0.2
    for sample in crowded:
        crowd = next(s for s in sample.segments if s["iscrowd"])
        assert CATEGORIES[3]["id"] == crowd["category_id"] == 16  # a flock of birds
        assert not (sample.masks & (sample.ids == crowd["id"])).any()
        assert len(sample.labels) == len(sample.masks) == len(sample.segments) - 1


def test_labels_and_masks_follow_the_segments(samples):
    for sample in samples:
        trained = [s for s in sample.segments if not s["iscrowd"]]
        names = [CATEGORIES[k]["id"] for k in sample.labels.tolist()]
        assert names == [s["category_id"] for s in trained]
        assert sample.masks.sum((1, 2)).tolist() == [s["area"] for s in trained]
        assert sample.masks.sum(0).max() == 1


# ---- neither too easy nor too hard


def test_nothing_is_too_small(samples):
    for sample in samples:
        assert 3 <= len(sample.segments) <= 10
        for s in sample.segments:
            least = 0.0035 if s["category_id"] in THINGS else 0.01
            assert s["area"] >= least * 96 * 96


def test_all_classes_occur(samples):
    seen = Counter(c for x in samples for c in {s["category_id"] for s in x.segments})
    assert set(seen) == set(COCO)
    assert min(seen.values()) > 0.15 * len(samples)
    stuff = Counter(len({s["category_id"] for s in x.segments} - THINGS) for x in samples)
    assert min(stuff) >= 2


def test_void_is_there_but_rare(samples):
    void = np.array([(x.ids == 0).float().mean().item() for x in samples])
    assert 0.01 < void.mean() < 0.06
    assert 0.2 < (void > 0).mean() < 0.8


def test_things_of_a_class_touch_and_hide_each_other(samples):
    touching = 0
    for sample in samples:
        for label in sample.labels.unique():
            masks = sample.masks[sample.labels == label].float()
            grown = torch.nn.functional.max_pool2d(masks, 3, 1, 1)
            touching += int(grown.sum(0).max() > 1)
    assert touching > 0.1 * len(samples)


def test_light_differs(samples):
    brightness = np.array([x.image.float().mean().item() for x in samples])
    assert brightness.std() > 20 and brightness.min() > 40


# ---- a sequence


def test_it_is_a_sequence():
    scenes = Scenes("val", length=3, size=(48, 64))
    assert [x.image_id for x in scenes] == [10**9, 10**9 + 1, 10**9 + 2]
    assert scenes[-1].image_id == scenes[2].image_id
    assert scenes[0].image.shape == (3, 48, 64) and Scenes(size=40)[0].ids.shape == (40, 40)
    assert torch.equal(scenes[1].image, scenes[1].image)
    for index in (3, -4):
        with pytest.raises(IndexError, match="of a data set of 3"):
            scenes[index]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "splits"),
        ({"length": 0}, "length"),
        ({"length": 10**9 + 1}, "length"),
        ({"size": 16}, "32"),
        ({"size": (96, 8)}, "32"),
        ({"size": (96, 96, 3)}, "height, width"),
    ],
)
def test_impossible_data_sets(options, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**options)


def test_impossible_scenes():
    with pytest.raises(ValueError, match="from 0 on"):
        draw(-1)
    with pytest.raises(ValueError, match="too small"):
        draw(0, 96, 31)
