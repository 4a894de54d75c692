"""Results as data: written as COCO and label maps have it, read back to the same scores."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from minim2f.data import open_dataset
from minim2f.data.coco_panoptic import CocoPanoptic, rgb_to_id, write_coco
from minim2f.data.images import read_png
from minim2f.data.label_maps import LabelMaps
from minim2f.data.sample import SampleList, bounding_box
from minim2f.data.tasks import as_task
from minim2f.inference import Result
from minim2f.metrics import AveragePrecision, MeanIoU, PanopticQuality
from minim2f.model.config import preset
from minim2f.results import Predictions, coco_detections, coco_segments, label_map

CATEGORIES = [
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 149, "name": "road", "isthing": 0},
    {"id": 187, "name": "sky", "isthing": 0},
]


def result_of(masks, classes, scores) -> Result:
    """A result as `segment` makes it: the first mask lies on top."""
    ids = np.zeros(masks.shape[1:], np.int32)
    segments = []
    for number, (mask, category, score) in enumerate(zip(masks, classes, scores), start=1):
        ids[mask & (ids == 0)] = number
        facts = {"id": number, "category_id": category, "score": score}
        isthing = bool(next(c["isthing"] for c in CATEGORIES if c["id"] == category))
        facts |= {"isthing": isthing, "area": int(mask.sum()), "box": bounding_box(mask)}
        segments.append(facts)
    return Result(ids, segments, masks)


NOTHING = Result(np.zeros((5, 6), np.int32), [], np.zeros((0, 5, 6), bool))


def near(mask: torch.Tensor, step: int) -> np.ndarray:
    """The mask moved to the right: neither right nor quite wrong."""
    return np.roll(mask.numpy(), step, axis=1)


def guesses(task: str):
    """Ten scenes, and for each a result with small errors, wrong classes and missing segments."""
    scenes = open_dataset("scenes")
    scenes = SampleList([scenes[i] for i in range(10)], scenes.categories)
    dice, results = np.random.default_rng(0), []
    view = as_task(scenes, task)
    ids = [c["id"] for c in view.categories]
    isthing = {c["id"]: bool(c["isthing"]) for c in view.categories}
    for sample in (view[i] for i in range(len(view))):
        masks, entries = [], []
        rest = np.ones(sample.ids.shape, bool)
        for segment, mask in zip(sample.segments, sample.segment_masks()):
            mask = near(mask, int(dice.integers(0, 4)))
            mask = mask if task == "instance" else mask & rest
            if dice.random() < 0.15 or not mask.any():
                continue
            rest &= ~mask
            category = segment["category_id"] if dice.random() < 0.9 else int(dice.choice(ids))
            masks.append(mask)
            entries.append((category, float(dice.random())))
        order = np.argsort([-score for _, score in entries], kind="stable")
        shown, segments = np.zeros(sample.ids.shape, np.int32), []
        for number, k in enumerate(order, start=1):
            category, score = entries[k]
            shown[masks[k] & (shown == 0)] = number
            facts = {"id": number, "category_id": category, "score": score}
            facts |= {"isthing": isthing[category], "area": int(masks[k].sum())}
            segments.append(facts | {"box": bounding_box(masks[k])})
        masks = np.array([masks[k] for k in order], bool).reshape(-1, *shown.shape)
        results.append(Result(shown, segments, masks))
    return view, results


# ---- one result ------------------------------------------------------------------------------


def overlapping() -> Result:
    masks = np.zeros((3, 5, 6), bool)
    masks[0, 1:4, 2:5] = masks[1, 2:3, 3:4] = masks[2, 0] = True  # the second is hidden
    return result_of(masks, [3, 3, 187], [0.9, 0.8, 0.7])


def test_segments_of_a_png_are_those_that_it_shows():
    infos = coco_segments(overlapping())
    assert [(i["id"], i["category_id"], i["area"]) for i in infos] == [(1, 3, 9), (3, 187, 6)]
    assert infos[0] == {
        "id": 1, "category_id": 3, "score": 0.9, "iscrowd": 0, "area": 9, "bbox": [2, 1, 3, 3]
    }  # fmt: skip
    assert coco_segments(NOTHING) == []


def test_detections_are_things_hidden_ones_too_and_stuff_is_left_out():
    result = overlapping()
    found = coco_detections(result, image_id=7)
    assert [(d["image_id"], d["category_id"], d["score"]) for d in found] == [
        (7, 3, 0.9),
        (7, 3, 0.8),
    ]
    for detection, mask in zip(json.loads(json.dumps(found)), result.masks):
        assert detection["segmentation"]["size"] == [5, 6]
        assert (rle.decode(detection["segmentation"]) == mask).all()
        assert "bbox" not in detection  # or pycocotools would not measure the mask
    assert coco_detections(NOTHING, 1) == []


def test_label_maps_hold_category_ids_and_void_stays_void():
    labels = label_map(overlapping(), CATEGORIES)
    assert labels.dtype == np.uint8
    assert (labels[0] == 187).all() and labels[2, 3] == 3 and labels[4, 0] == 255
    many = [{"id": k, "name": str(k), "isthing": 1} for k in range(300)]
    wide = label_map(overlapping(), many)
    assert wide.dtype == np.uint16 and wide[4, 0] == 65535 and wide[0, 0] == 187
    assert label_map(NOTHING, CATEGORIES).tolist() == [[255] * 6] * 5


@pytest.mark.parametrize(
    ("largest", "kind"), [(254, np.uint8), (255, np.uint16), (65534, np.uint16)]
)
def test_no_category_is_mistaken_for_void(largest, kind):
    result = result_of(np.ones((1, 2, 2), bool), [3], [1.0])
    result.segments[0]["category_id"] = largest
    labels = label_map(result, [{"id": 0}, {"id": largest}])
    assert labels.dtype == kind and (labels == largest).all()


def test_categories_that_fit_into_no_label_map_are_named():
    for ids in ([0, 65535], [-1, 3]):
        with pytest.raises(ValueError, match=rf"from {ids[0]} to {ids[1]}.*0 ... 65534"):
            label_map(NOTHING, [{"id": k} for k in ids])


def test_models_without_class_names_have_categories():
    plain = preset("tiny", num_classes=2).classes
    assert list(plain) == [
        {"id": 0, "name": "class 0", "isthing": 1},
        {"id": 1, "name": "class 1", "isthing": 1},
    ]
    named = preset("tiny", num_classes=3, categories=CATEGORIES)
    assert list(named.classes) == CATEGORIES


# ---- a folder of results ---------------------------------------------------------------------


def test_panoptic_results_come_back_to_the_same_quality(tmp_path):
    dataset, results = guesses("panoptic")
    truth = write_coco(dataset, tmp_path / "truth")
    with Predictions(tmp_path / "out", "panoptic", dataset.categories) as out:
        for sample, result in zip(dataset, results, strict=True):
            out.add(result, f"{sample.image_id:012d}.png", sample.image_id)
    again = CocoPanoptic(out.path, tmp_path / "truth" / "images")
    assert again.categories == CocoPanoptic(truth).categories
    mine, theirs = PanopticQuality(dataset.categories), PanopticQuality(dataset.categories)
    for sample, result, read in zip(dataset, results, again, strict=True):
        assert (read.ids.numpy() == result.ids).all() and read.image_id == sample.image_id
        kept = ("id", "category_id", "score")
        assert [[s[k] for k in kept] for s in read.segments] == [
            [s[k] for k in kept] for s in result.segments
        ]
        mine.update(result.ids, result.segments, sample.ids, sample.segments)
        theirs.update(read.ids, read.segments, sample.ids, sample.segments)
    assert mine.compute() == theirs.compute()
    assert 0.3 < mine.compute()["All"]["pq"] < 0.9


def test_panoptic_files_are_as_the_format_says(tmp_path):
    with Predictions(tmp_path, "panoptic", CATEGORIES) as out:
        out.add(overlapping(), "street/a.jpg")
        out.add(NOTHING, "street\\b.jpg", 70)
    document = json.loads(out.path.read_text())
    assert [i["file_name"] for i in document["images"]] == ["street/a.jpg", "street/b.jpg"]
    assert [(a["image_id"], a["file_name"]) for a in document["annotations"]] == [
        (1, "street/a.png"),
        (70, "street/b.png"),
    ]
    assert document["annotations"][1]["segments_info"] == []
    png = np.array(Image.open(tmp_path / "panoptic" / "street" / "a.png"))
    assert (rgb_to_id(png) == overlapping().ids).all()
    assert not np.array(Image.open(tmp_path / "panoptic" / "street" / "b.png")).any()


def judged(truth: dict, detections) -> np.ndarray:
    """The twelve numbers of pycocotools, from its own reader."""
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(detections), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


def test_pycocotools_reads_instances_to_the_same_precision(tmp_path):
    dataset, results = guesses("instance")
    metric = AveragePrecision(dataset.categories)
    truth = {"images": [], "annotations": [], "categories": dataset.categories}
    with Predictions(tmp_path, "instance", dataset.categories) as out:
        for sample, result in zip((dataset[i] for i in range(len(dataset))), results, strict=True):
            out.add(result, sample.file_name, sample.image_id)
            metric.update(result.masks, result.segments, sample.segment_masks(), sample.segments)
            height, width = sample.ids.shape
            truth["images"].append({"id": sample.image_id, "height": height, "width": width})
            for segment, mask in zip(sample.segments, sample.segment_masks().numpy()):
                number = len(truth["annotations"]) + 1
                code = rle.encode(np.asfortranarray(mask, np.uint8))
                own = {"id": number, "image_id": sample.image_id, "segmentation": code}
                truth["annotations"].append(segment | own)
    stats, scores = judged(truth, str(out.path)), metric.compute()
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium"]
    assert stats[:5].clip(min=0).tolist() == [scores[name] for name in names]
    assert 0.05 < scores["ap"] < 0.95


def test_label_maps_come_back_to_the_same_iou(tmp_path):
    dataset, results = guesses("semantic")
    index = {c["id"]: k for k, c in enumerate(dataset.categories)}
    numbered = [c | {"id": k, "isthing": 0} for k, c in enumerate(dataset.categories)]
    for result in results:  # label maps number their classes from 0
        for segment in result.segments:
            segment["category_id"] = index[segment["category_id"]]
    with Predictions(tmp_path, "semantic", numbered) as out:
        for sample, result in zip((dataset[i] for i in range(len(dataset))), results, strict=True):
            name = f"{sample.image_id}.png"
            out.add(result, name, sample.image_id)
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / name)
    (tmp_path / "classes.txt").write_text("\n".join(c["name"] for c in numbered))
    read = LabelMaps(tmp_path)
    again = {int(s.file_name.split(".")[0]): s for s in (read[i] for i in range(len(read)))}
    mine, theirs = MeanIoU(numbered), MeanIoU(numbered)
    for sample, result in zip((dataset[i] for i in range(len(dataset))), results, strict=True):
        truth = [s | {"category_id": index[s["category_id"]]} for s in sample.segments]
        back = again[sample.image_id]
        mine.update(result.ids, result.segments, sample.ids, truth)
        theirs.update(back.ids, back.segments, sample.ids, truth)
    assert mine.compute() == theirs.compute()
    assert 0.3 < mine.compute()["miou"] < 0.95
    document = json.loads(out.path.read_text())
    assert document["void"] == 255 and len(document["annotations"]) == 10


def test_wide_label_maps_are_sixteen_bits_in_the_file(tmp_path):
    many = [{"id": k, "name": str(k), "isthing": 1} for k in range(300)]
    with Predictions(tmp_path, "semantic", many) as out:
        out.add(overlapping(), "a.jpg")
    labels = read_png(tmp_path / "labels" / "a.png", ("16-bit grey",), "")
    assert (labels == label_map(overlapping(), many)).all() and labels[4, 0] == 65535
    assert json.loads(out.path.read_text())["void"] == 65535


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_the_json_comes_last_and_only_when_all_went_well(tmp_path, task):
    with Predictions(tmp_path, task, CATEGORIES) as out:
        out.add(overlapping(), "a.jpg")
        assert not out.path.exists()
    first = out.path.read_bytes()
    assert first and not list(tmp_path.rglob("*.part"))
    with pytest.raises(RuntimeError, match="the disk is full"):
        with Predictions(tmp_path, task, CATEGORIES) as out:
            out.add(NOTHING, "a.jpg")
            raise RuntimeError("the disk is full")
    assert not out.path.exists()  # the old one would speak of other pictures


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="task is 'boxes'"):
        Predictions(tmp_path, "boxes", CATEGORIES)
    with pytest.raises(ValueError, match="0 ... 65534"):
        Predictions(tmp_path, "semantic", [{"id": 70_000}])
    out = Predictions(tmp_path, "panoptic", CATEGORIES)
    out.add(NOTHING, "a.jpg", 5)
    with pytest.raises(ValueError, match="two pictures have image_id 5"):
        out.add(NOTHING, "b.jpg", 5)
    with pytest.raises(ValueError, match="a.png and a.jpg would both be a.png"):
        out.add(NOTHING, "a.png", 6)
    for name in ("../a.jpg", "/a.jpg", "x/../../a.jpg", "..\\a.jpg"):
        with pytest.raises(ValueError, match="leads out of the folder"):
            out.add(NOTHING, name, 8)
    out.close()
    assert len(json.loads(out.path.read_text())["images"]) == 1
