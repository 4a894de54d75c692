"""Data sets of one's own: instance files, label maps, their tasks, and every fault named."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from minim2f.data import open_dataset
from minim2f.data.check import find_faults
from minim2f.data.coco_instances import CocoInstances
from minim2f.data.coco_mini import fetch_coco_mini
from minim2f.data.coco_panoptic import CocoPanoptic, write_coco
from minim2f.data.faults import Faults
from minim2f.data.label_maps import LabelMaps
from minim2f.data.open import open_files
from minim2f.data.sample import Sample
from minim2f.data.tasks import as_task

HEIGHT, WIDTH = 12, 16
CAR, ROAD, SKY = 3, 149, 187
CATEGORIES = [
    {"id": CAR, "name": "car", "isthing": 1},
    {"id": ROAD, "name": "road", "isthing": 0},
    {"id": SKY, "name": "sky", "isthing": 0},
]


class Listed(list):
    """A list of samples that knows its categories, and no task."""

    categories = CATEGORIES


def block(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, outside first."""
    flat = mask.T.ravel().tolist()
    counts, inside = [0], 0
    for value in flat:
        if value != inside:
            counts.append(0)
            inside = value
        counts[-1] += 1
    return counts


def compressed(mask: np.ndarray) -> dict:
    code = rle.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    return {"size": [HEIGHT, WIDTH], "counts": runs(mask)}


def save_image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def instance_document() -> dict:
    """Three pictures: polygons and both kinds of RLE, a crowd, a mask over another; nothing."""

    def annotation(id: int, image_id: int, category_id: int, segmentation, iscrowd: int = 0):
        facts = {"id": id, "image_id": image_id, "category_id": category_id}
        return facts | {"segmentation": segmentation, "iscrowd": iscrowd}

    triangle, square = [1, 1, 9.5, 2, 4, 8], [10, 3, 14, 3, 14, 9, 10, 9]
    names = [(5, "a.png"), (6, "b.png"), (9, "c.png")]
    return {
        "images": [
            {"id": id, "file_name": name, "width": WIDTH, "height": HEIGHT} for id, name in names
        ],
        "annotations": [
            annotation(101, 5, 7, compressed(block(3, 3, 2, 3))),
            annotation(102, 5, 3, uncompressed(block(0, 0, 10, 12)), iscrowd=1),
            annotation(103, 5, 3, [triangle, square]),
            annotation(900100329323, 6, 7, uncompressed(block(0, 0, 1, 1))),
        ],
        "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "car"}],
    }


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """A folder with instances.json and images/."""
    for name in ("a.png", "b.png", "c.png"):
        save_image(tmp_path / "images" / name)
    write_json(tmp_path / "instances.json", instance_document())
    return tmp_path


def make_sample(image_id: int) -> Sample:
    """Sky above a road; on the road two cars and a crowd of cars; the last row is void."""
    ids = torch.full((HEIGHT, WIDTH), 30)
    ids[:4] = 70_000
    ids[5:8, 1:4], ids[5:8, 6:9], ids[8:10, 10:] = 1, 2, 300
    ids[-1] = 0
    facts = [(70_000, SKY, 0), (1, CAR, 0), (2, CAR, 0), (30, ROAD, 0), (300, CAR, 1)]
    segments = [{"id": id, "category_id": c, "iscrowd": crowd} for id, c, crowd in facts]
    image = torch.full((3, HEIGHT, WIDTH), image_id, dtype=torch.uint8)
    return Sample.from_panoptic(image, ids, segments, CATEGORIES, image_id, f"{image_id}.png")


@pytest.fixture
def panoptic(tmp_path: Path) -> Path:
    """A folder with panoptic.json, images/ and panoptic/."""
    write_coco(Listed([make_sample(7), make_sample(12)]), tmp_path)
    return tmp_path


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder with images/ and labels/, in train/ and val/, and classes.txt."""
    for name in ("train/a", "train/b", "val/c"):
        save_image(tmp_path / "images" / f"{name}.jpg")
        (tmp_path / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label_map()).save(tmp_path / "labels" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("wall\nfloor\nlamp\n")
    return tmp_path


def label_map() -> np.ndarray:
    """Class 0 above, class 2 below, a column of void; no pixel of class 1."""
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes[6:], classes[:, 0] = 2, 255
    return classes


# instance files


def agree_with_pycocotools(data: CocoInstances, json_path: Path) -> int:
    """Compares each mask with pycocotools' own decoding; returns how many there are."""
    theirs, count = COCO(str(json_path)), 0
    assert [c["id"] for c in data.categories] == sorted(theirs.cats)
    for sample in data:
        annotations = theirs.imgToAnns[sample.image_id]
        masks = sample.segment_masks().numpy()
        assert [a["id"] for a in annotations] == [s["annotation_id"] for s in sample.segments]
        for mask, annotation, segment in zip(masks, annotations, sample.segments, strict=True):
            assert np.array_equal(mask, theirs.annToMask(annotation))
            assert segment["category_id"] == annotation["category_id"]
            assert segment["iscrowd"] == annotation["iscrowd"]
            assert isinstance(segment["segmentation"]["counts"], str)
        things = [k for k, annotation in enumerate(annotations) if not annotation["iscrowd"]]
        assert np.array_equal(sample.masks.numpy(), masks[things])
        named = [data.categories[k]["id"] for k in sample.labels.tolist()]
        assert named == [annotations[k]["category_id"] for k in things]
        count += len(annotations)
    return count


def test_all_three_codes_are_read_as_pycocotools_reads_them(instances):
    data = CocoInstances(instances / "instances.json", instances / "images")
    assert data.task == "instance" and all(c["isthing"] == 1 for c in data.categories)
    assert agree_with_pycocotools(data, instances / "instances.json") == 4


def test_small_masks_lie_above_large_ones_in_the_ids(instances):
    sample = open_dataset(instances)[0]
    assert [s["id"] for s in sample.segments] == [1, 2, 3]
    assert sample.masks.sum(dim=(1, 2)).tolist()[0] == 6
    crowd, small = block(0, 0, 10, 12) == 1, block(3, 3, 2, 3) == 1
    large = sample.masks[1].numpy()
    expected = np.where(small, 1, np.where(large, 3, np.where(crowd, 2, 0)))
    assert np.array_equal(sample.ids, expected)
    assert (small & large & crowd).any()  # so they do overlap


def test_what_the_annotation_does_not_say_is_measured(instances):
    first, crowd, _ = open_dataset(instances)[0].segments
    assert (first["area"], first["bbox"]) == (6, [3, 3, 3, 2])
    assert (crowd["area"], crowd["iscrowd"]) == (120, 1)


def test_a_picture_without_annotation_is_an_empty_sample(instances):
    sample = open_dataset(instances)[2]
    assert sample.masks.shape == (0, HEIGHT, WIDTH) and sample.labels.shape == (0,)
    assert sample.segments == [] and not sample.ids.any()
    assert sample.segment_masks().shape == (0, HEIGHT, WIDTH)


def test_a_mask_without_pixel_is_a_segment_nobody_trains_on(instances):
    edit(
        instances / "instances.json", annotations__3__segmentation=[[2.1, 2.1, 2.2, 2.1, 2.2, 2.2]]
    )
    sample = open_dataset(instances)[1]
    assert len(sample.segments) == 1 and len(sample.masks) == len(sample.labels) == 0


def test_coco_mini_s_instances_agree_with_pycocotools(tmp_path):
    mirror = os.environ.get("MINIM2F_MIRROR")
    if not mirror:
        pytest.skip("needs a copy of coco-mini: let MINIM2F_MIRROR name one")
    folder = fetch_coco_mini(tmp_path, mirror, instances=True, progress=False) / "instance-only"
    data = CocoInstances(folder / "instances.json", folder / "images")
    assert (len(data), agree_with_pycocotools(data, folder / "instances.json")) == (123, 1124)
    assert (len(open_dataset(folder, "train")), len(open_dataset(folder, "val"))) == (59, 64)
    assert find_faults(folder) == []


@pytest.mark.parametrize("task", [None, "instance"])
def test_instance_files_are_found_in_every_layout(instances, task):
    document = instance_document()
    for name in ("annotations/instances_val2017.json", "elsewhere/mine.json"):
        write_json(instances / name, document)
    shutil.copytree(instances / "images", instances / "val2017")
    for name in ("a.png", "b.png", "c.png"):
        save_image(instances / "elsewhere" / name)
    paths = ["", "instances.json", "annotations/instances_val2017.json", "elsewhere/mine.json"]
    for path in paths:
        assert open_dataset(instances / path, "val", task=task)[0].image_id == 5
    (instances / "instances.json").unlink()
    assert open_dataset(instances, "val", task=task)[0].image_id == 5


# label maps


def test_label_maps_become_classes_and_void(maps):
    data = open_dataset(maps, "train")
    assert (len(data), len(open_dataset(maps, "val")), len(LabelMaps(maps))) == (2, 1, 3)
    assert data.task == "semantic"
    assert [c["name"] for c in data.categories] == ["wall", "floor", "lamp"]
    sample = data[1]
    assert sample.labels.tolist() == [0, 2] and sample.file_name == "train/b.jpg"
    assert torch.equal(sample.ids == 0, torch.from_numpy(label_map() == 255))
    assert torch.equal(sample.masks[1], torch.from_numpy(label_map() == 2))
    assert sample.segments[0] == {
        "id": 1, "category_id": 0, "iscrowd": 0, "area": 6 * 15, "bbox": [1, 0, 15, 6]
    }  # fmt: skip


def test_without_names_classes_are_counted_over_all_splits(maps):
    (maps / "classes.txt").unlink()
    Image.fromarray(np.full((HEIGHT, WIDTH), 4, np.uint8)).save(maps / "labels" / "val" / "c.png")
    expected = [f"class {k}" for k in range(5)]
    assert [c["name"] for c in open_dataset(maps, "train").categories] == expected


def test_a_palette_is_not_looked_up(maps):
    image = Image.fromarray(label_map())
    image.putpalette([255 - k // 3 for k in range(768)])
    image.save(maps / "labels" / "train" / "a.png")
    (a, b) = open_dataset(maps, "train")
    assert torch.equal(a.ids, b.ids)


def test_without_split_folders_every_image_is_taken(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    Image.fromarray(label_map()).save(tmp_path / "labels" / "a.png")
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "val")) == 1


# tasks


def test_things_alone_are_left_for_the_instance_task():
    view = as_task(Listed([make_sample(7)]), "instance")
    sample = view[0]
    assert view.task == "instance" and view.categories == CATEGORIES[:1]
    assert sample.labels.tolist() == [0, 0] and sample.masks.sum(dim=(1, 2)).tolist() == [9, 9]
    assert [s["id"] for s in sample.segments] == [1, 2, 300]
    assert sample.ids.unique().tolist() == [0, 1, 2, 300]
    assert sample.segment_masks().sum(dim=(1, 2)).tolist() == [9, 9, 12]


def test_a_class_is_one_segment_for_the_semantic_task():
    view = as_task(Listed([make_sample(7)]), "semantic")
    sample = view[0]
    assert view.task == "semantic" and view.categories == CATEGORIES
    assert sample.labels.tolist() == [0, 1, 2]
    assert [s["id"] for s in sample.segments] == [1, 2, 3]
    assert [s["area"] for s in sample.segments] == [9 + 9 + 12, 7 * 16 - 30, 4 * 16]
    assert sample.segments[0]["bbox"] == [1, 5, 15, 5] and not sample.segments[0]["iscrowd"]
    assert torch.equal(sample.ids == 0, make_sample(7).ids == 0)


@pytest.mark.parametrize("task", ["instance", "semantic"])
def test_a_view_is_a_sequence(task):
    view = as_task(Listed([make_sample(k) for k in (1, 2, 3)]), task)
    assert len(view) == 3
    assert [s.image_id for s in view] == [1, 2, 3]
    assert [s.image_id for s in view[1:]] == [2, 3] and view[-1].image_id == 3
    with pytest.raises(IndexError):
        view[3]


def test_a_view_changes_nothing_in_the_data_set():
    data = Listed([make_sample(7)])
    for task in ("instance", "semantic"):
        as_task(data, task)[0].ids.zero_()
    assert torch.equal(data[0].ids, make_sample(7).ids)


def test_the_same_task_or_none_is_the_data_set_itself():
    data = Listed([make_sample(7)])
    assert as_task(data, None) is data and as_task(data, "panoptic") is data


def test_scenes_have_every_task():
    for task in ("panoptic", "instance", "semantic"):
        assert open_dataset("scenes", task=task, length=2).task == task


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_instances_are_good_for_nothing_else(instances, task):
    with pytest.raises(ValueError, match=f"instance data.*'{task}'"):
        open_dataset(instances, task=task)


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_label_maps_are_good_for_nothing_else(maps, task):
    with pytest.raises(ValueError, match=f"semantic data.*'{task}'"):
        open_dataset(maps, task=task)


def test_a_task_that_is_none_is_refused():
    with pytest.raises(ValueError, match="panoptic or instance or semantic.*'boxes'"):
        open_dataset("scenes", task="boxes")


# faults, each found by check with its place, and refused by the reader


def edit(path: Path, **changes) -> None:
    """Sets what lies at a path such as annotations__0__id; a change to ... removes it."""
    document = json.loads(path.read_text())
    for name, value in changes.items():
        *way, last = [int(key) if key.isdigit() else key for key in name.split("__")]
        place = document
        for key in way:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    write_json(path, document)


def wide_png(path: Path, colours: int) -> None:
    """A PNG of 16 bits a channel, written by hand, for Pillow writes no colours of 16 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, {1: 0, 3: 2}[colours], 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(2 * colours * WIDTH)) * HEIGHT)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


SEVEN = "000000000007.png"
SEGMENTS = "annotations__0__segments_info"
POINT = [[1, 1, 4, 4]]
PANOPTIC_FAULTS = {
    "missing image": (lambda f: (f / "images" / SEVEN).unlink(), ["image 7", f"images/{SEVEN}"]),
    "missing PNG": (lambda f: (f / "panoptic" / SEVEN).unlink(), ["image 7", f"panoptic/{SEVEN}"]),
    "id not drawn": (
        lambda f: edit(f / "panoptic.json", **{f"{SEGMENTS}__1__id": 555}),
        [SEVEN, "segments [555]", "no such id"],
    ),
    "id not listed": (
        lambda f: edit(f / "panoptic.json", **{f"{SEGMENTS}__1": ...}),
        [SEVEN, "ids [1]", "no such id"],
    ),
    "unknown category": (
        lambda f: edit(f / "panoptic.json", **{f"{SEGMENTS}__2__category_id": 91}),
        [SEVEN, "segment [2]", "[91]"],
    ),
    "PNG of another size": (
        lambda f: Image.new("RGB", (6, 5)).save(f / "panoptic" / SEVEN),
        [SEVEN, "(5, 6)", f"({HEIGHT}, {WIDTH})"],
    ),
    "another size in the JSON": (
        lambda f: edit(f / "panoptic.json", images__0__width=99),
        ["image 7", "99 wide", f"{WIDTH} x {HEIGHT}"],
    ),
    "repeated image": (
        lambda f: edit(f / "panoptic.json", images__1__id=7),
        ["panoptic.json", "id in images: [7]"],
    ),
    "repeated category": (
        lambda f: edit(f / "panoptic.json", categories__1__id=CAR),
        ["panoptic.json", f"id in categories: [{CAR}]"],
    ),
    "repeated segment": (
        lambda f: edit(f / "panoptic.json", **{f"{SEGMENTS}__2__id": 1}),
        [SEVEN, "segment ids", "[1] occur"],
    ),
    "16-bit colours": (
        lambda f: wide_png(f / "panoptic" / SEVEN, colours=3),
        [SEVEN, "16-bit RGB", "8-bit RGB"],
    ),
    "16-bit grey": (
        lambda f: wide_png(f / "panoptic" / SEVEN, colours=1),
        [SEVEN, "16-bit grey", "8-bit RGB"],
    ),
    "palette": (
        lambda f: Image.new("P", (WIDTH, HEIGHT)).save(f / "panoptic" / SEVEN),
        [SEVEN, "palette", "8-bit RGB"],
    ),
    "not JSON": (
        lambda f: (f / "panoptic.json").write_text("{ cut"),
        ["panoptic.json", "not JSON"],
    ),
    "no annotation": (
        lambda f: edit(f / "panoptic.json", annotations__1=...),
        ["panoptic.json", "images [12] have no annotation"],
    ),
    "annotation of no image": (
        lambda f: edit(f / "panoptic.json", images__1=...),
        ["panoptic.json", "image 12", "not in images"],
    ),
    "no file_name": (
        lambda f: edit(f / "panoptic.json", images__1__file_name=...),
        ["panoptic.json", "images[1] (id 12)", "'file_name'"],
    ),
    "text for a number": (
        lambda f: edit(f / "panoptic.json", **{f"{SEGMENTS}__0__category_id": "sky"}),
        [SEVEN, "(id 70000)", "'sky'", "whole number"],
    ),
    "empty": (
        lambda f: edit(f / "panoptic.json", images=[], annotations=[]),
        ["panoptic.json"],
    ),
}
INSTANCE_FAULTS = {
    "missing image": (lambda f: (f / "images" / "b.png").unlink(), ["image 6", "b.png"]),
    "two points": (
        lambda f: edit(f / "instances.json", annotations__2__segmentation=POINT),
        ["image 5", "a.png", "annotation 103", "2 points"],
    ),
    "far away": (
        lambda f: edit(f / "instances.json", annotations__2__segmentation=[[1, 1, 1e9, 2, 4, 8]]),
        ["annotation 103", "1e+09"],
    ),
    "no polygon": (
        lambda f: edit(f / "instances.json", annotations__2__segmentation=[]),
        ["annotation 103", "empty"],
    ),
    "RLE of another size": (
        lambda f: edit(f / "instances.json", annotations__0__segmentation__size=[WIDTH, HEIGHT]),
        ["image 5", "a.png", "annotation 101", f"[{WIDTH}, {HEIGHT}]"],
    ),
    "RLE too short": (
        lambda f: edit(f / "instances.json", annotations__1__segmentation__counts=[4, 5]),
        ["annotation 102", "9 pixels", str(HEIGHT * WIDTH)],
    ),
    "compressed RLE too short": (
        lambda f: edit(f / "instances.json", annotations__0__segmentation__counts="45"),
        ["annotation 101", "9 pixels", str(HEIGHT * WIDTH)],
    ),
    "compressed RLE cut": (
        lambda f: edit(f / "instances.json", annotations__0__segmentation__counts="oo"),
        ["annotation 101", "'counts'"],
    ),
    "unknown category": (
        lambda f: edit(f / "instances.json", annotations__3__category_id=91),
        ["image 6", "b.png", "annotation [900100329323]", "[91]"],
    ),
    "repeated annotation": (
        lambda f: edit(f / "instances.json", annotations__1__id=101),
        ["instances.json", "id in annotations: [101]"],
    ),
    "another size in the JSON": (
        lambda f: edit(f / "instances.json", images__2__height=10),
        ["image 9", "c.png", "10 high"],
    ),
    "empty mask": (
        lambda f: edit(
            f / "instances.json", annotations__3__segmentation=uncompressed(block(0, 0, 0, 0))
        ),
        ["image 6", "b.png", "annotation 900100329323", "no pixel"],
    ),
    "annotation of no image": (
        lambda f: edit(f / "instances.json", annotations__3__image_id=77),
        ["id 900100329323", "image 77"],
    ),
    "empty": (
        lambda f: edit(f / "instances.json", images=[], annotations=[]),
        ["instances.json"],
    ),
}
TRAIN_A = "labels/train/a.png"
MAP_FAULTS = {
    "no map": (lambda f: (f / TRAIN_A).unlink(), ["images/train/a.jpg", TRAIN_A]),
    "no image": (lambda f: (f / "images/train/a.jpg").unlink(), [TRAIN_A, "no image"]),
    "two images": (lambda f: save_image(f / "images/train/a.png"), ["a.png", "a.jpg", "same name"]),
    "number of no class": (
        lambda f: Image.fromarray(label_map() + 1).save(f / TRAIN_A),
        [TRAIN_A, "[3]", "0 ... 2"],
    ),
    "16 bits": (
        lambda f: Image.fromarray(label_map().astype(np.uint16) * 257).save(f / TRAIN_A),
        [TRAIN_A, "16-bit grey"],
    ),
    "colours": (
        lambda f: Image.new("RGB", (WIDTH, HEIGHT), "red").save(f / TRAIN_A),
        [TRAIN_A, "8-bit RGB", "8-bit grey"],
    ),
    "another size": (
        lambda f: Image.fromarray(label_map()[1:]).save(f / TRAIN_A),
        [TRAIN_A, f"({HEIGHT - 1}, {WIDTH})"],
    ),
    "an empty name": (
        lambda f: (f / "classes.txt").write_text("wall\n\nlamp"),
        ["classes.txt", "line 2"],
    ),
}
FAULTS = [
    pytest.param(kind, *fault, id=f"{kind}-{name}")
    for kind, faults in (
        ("panoptic", PANOPTIC_FAULTS), ("instances", INSTANCE_FAULTS), ("maps", MAP_FAULTS)
    )
    for name, fault in faults.items()
]  # fmt: skip


@pytest.mark.parametrize("kind", ["panoptic", "instances", "maps"])
def test_check_finds_no_fault_where_there_is_none(request, kind):
    folder = request.getfixturevalue(kind)
    assert find_faults(folder) == find_faults(folder, "train") == []
    assert find_faults(str(folder), "val") == []


@pytest.mark.parametrize(("kind", "spoil", "words"), FAULTS)
def test_check_names_the_fault_and_its_place(request, kind, spoil, words):
    folder = request.getfixturevalue(kind)
    spoil(folder)
    lines = find_faults(folder)
    assert any(all(word in line for word in words) for line in lines), lines
    assert len(lines) <= 3  # a fault may show in two or three ways, not more


REFUSED = [fault for fault in FAULTS if not fault.id.endswith(("-empty", "-empty mask"))]


@pytest.mark.parametrize(("kind", "spoil", "words"), REFUSED)
def test_the_reader_stops_at_the_fault(request, kind, spoil, words):
    folder = request.getfixturevalue(kind)
    spoil(folder)
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        list(open_dataset(folder))
    lines = str(caught.value).splitlines()
    assert lines and set(lines) <= set(find_faults(folder))
    assert any(word in lines[0] for word in words)


def test_the_reader_tells_all_faults_of_a_file_at_once(panoptic):
    edit(panoptic / "panoptic.json", images__1__id=7, categories__1__id=CAR)
    with pytest.raises(Faults) as caught:
        open_dataset(panoptic)
    for words in ("id in images: [7]", f"id in categories: [{CAR}]", "image 12, which is not in"):
        assert sum(words in line for line in str(caught.value).splitlines()) == 1
    assert str(caught.value).splitlines() == find_faults(panoptic)[:3]


def test_the_reader_tells_all_faults_of_a_picture_at_once(panoptic):
    (panoptic / "panoptic" / SEVEN).unlink()
    edit(panoptic / "panoptic.json", images__0__width=99)
    with pytest.raises(ValueError, match="there is no such PNG\nimage 7: .* 99 wide"):
        open_dataset(panoptic)[0]


@pytest.mark.parametrize(
    ("kind", "spoil", "left"),
    [
        ("panoptic", PANOPTIC_FAULTS["no file_name"][0], 1),
        ("instances", INSTANCE_FAULTS["repeated annotation"][0], 3),
        ("maps", MAP_FAULTS["no map"][0], 2),
    ],
)
def test_rows_at_fault_are_left_out_where_faults_are_collected(request, kind, spoil, left):
    folder, faults = request.getfixturevalue(kind), []
    spoil(folder)
    assert len(list(open_files(folder, faults=faults))) == left
    assert faults == find_faults(folder) != []


def test_a_long_list_of_faults_is_cut_short_and_check_has_all_of_it(panoptic):
    edit(panoptic / "panoptic.json", images=[{"id": k} for k in range(30)])
    with pytest.raises(Faults) as caught:
        open_dataset(panoptic)
    *lines, last = str(caught.value).splitlines()
    assert len(lines) == 10 and "and 20 more; `minim2f data check`" in last
    assert sum("has no 'file_name'" in line for line in find_faults(panoptic)) == 30


def test_an_empty_mask_is_told_beside_other_faults_of_its_picture(instances):
    path, nothing = instances / "instances.json", uncompressed(block(0, 0, 0, 0))
    edit(path, annotations__0__segmentation=nothing, annotations__2__segmentation=POINT)
    found = "\n".join(find_faults(instances))
    assert "annotation 101 has no pixel" in found and "annotation 103: a polygon of 2" in found


def test_faults_survive_the_way_through_a_worker_process():
    """PyTorch raises a worker's exception again, with its whole traceback for the only argument."""
    several = Faults("one", "two")
    assert str(pickle.loads(pickle.dumps(several))) == str(several) == "one\ntwo"
    assert str(Faults("Traceback ...")) == "Traceback ..."


def test_check_goes_on_after_a_fault(panoptic):
    (panoptic / "images" / SEVEN).unlink()
    (panoptic / "panoptic" / SEVEN).unlink()
    Image.new("L", (WIDTH, HEIGHT)).save(panoptic / "panoptic" / "000000000012.png")
    edit(panoptic / "panoptic.json", images__1__width=99, categories__2__id=CAR)
    found = "\n".join(lines := find_faults(panoptic))
    for place in (f"images/{SEVEN}", f"panoptic/{SEVEN}", "mode L", "99 wide", "id in categories"):
        assert place in found
    assert sum("category id [187]" in line for line in lines) == 2  # that category is gone


def test_check_reads_every_annotation_file_of_a_folder(panoptic):
    document = instance_document()
    write_json(panoptic / "annotations" / "instances_val2017.json", document)
    write_json(panoptic / "annotations" / "instances_train2017.json", document)
    found = "\n".join(find_faults(panoptic))
    assert "instances_val2017" in found and "instances_train2017" in found
    assert "instances_train2017" not in "\n".join(find_faults(panoptic, "val"))


@pytest.mark.parametrize("name", ["nowhere", "none.json"])
def test_check_of_nothing_says_so(tmp_path, name):
    (line,) = find_faults(tmp_path / name)
    assert name in line


WRONG = [None, True, -1, 0, 2**80, 1.5, float("nan"), "", "7", "\0", "\ud800", "a" * 300]
WRONG += [[], [[]], [1], [[1, 2]], {}, {"counts": 3}, {"size": [3, 4], "counts": ["x"]}]


def places(value: object, way: tuple = ()):
    """The way to every value within a document."""
    yield way
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*way, key))


@pytest.mark.parametrize("kind", ["panoptic", "instances"])
def test_check_survives_any_json(request, kind):
    path = request.getfixturevalue(kind) / f"{kind}.json"
    document = json.loads(path.read_text())
    ways, dice = list(places(document))[1:], random.Random(0)
    for _ in range(250):
        spoilt = copy.deepcopy(document)
        *way, last = dice.choice(ways)
        place = spoilt
        for key in way:
            place = place[key]
        place[last] = dice.choice(WRONG)
        write_json(path, spoilt)
        for line in find_faults(path.parent):
            assert "\n" not in line and line.encode()


@pytest.mark.parametrize("content", ["", "3", "null", "[]", "{}", "[" * 100_000, "\ufeff{}", '"x"'])
def test_check_survives_json_of_another_shape(panoptic, content):
    for name in ("panoptic.json", "instances.json"):
        (panoptic / name).write_text(content)
    first, second = find_faults(panoptic)
    assert str(panoptic / "panoptic.json") in first and str(panoptic / "instances.json") in second


def test_segment_masks_of_panoptic_data_have_the_crowd(panoptic):
    data = CocoPanoptic(panoptic / "panoptic.json", panoptic / "images", panoptic / "panoptic")
    assert data.task == "panoptic" and len(data) == 2
    masks = data[0].segment_masks()
    assert torch.equal(masks[:4], data[0].masks) and masks[4].sum() == 12
