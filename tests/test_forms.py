"""Every form in which people keep their data: found, checked, opened, counted."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from made_forms import (
    FORMS,
    HEIGHT,
    WIDTH,
    cityscapes,
    labelme,
    maps_in,
    roboflow,
    save_image,
    save_map,
    write_instances,
    write_json,
)
from PIL import Image

from minim2f.data import forms, open_dataset
from minim2f.data.check import find_faults, grouped, survey
from minim2f.data.map_files import MapFiles, MapOptions, _roots_of_row
from minim2f.data.splits import splits_of


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_checked_opened_and_counted(tmp_path, form):
    make, expected = FORMS[form]
    make(tmp_path)
    assert splits_of(tmp_path) == expected["splits"]
    assert find_faults(tmp_path) == []
    data = open_dataset(tmp_path)
    assert len(data) == expected["pictures"] == len(list(data))
    assert data[0].masks.any() and data[0].image.shape == (3, HEIGHT, WIDTH)
    parts = [open_dataset(tmp_path, split) for split in expected["splits"]]
    assert sum(map(len, parts)) == (expected["pictures"] if parts else 0)
    counted = survey(tmp_path, num_queries=100)
    assert sum(counted.pictures.values()) == expected["pictures"]
    assert str(counted).startswith(f"{expected['pictures']} pictures")


def rows_in_use(folder: Path) -> set[tuple[str, object]]:
    """The rows of the tables by which a made set is found."""
    used, seen = set(), set()
    for row in forms.ANNOTATIONS:
        own = {found.path for found in forms.find(folder, row)} - seen
        if own & {found.path for found in chain(*forms.annotation_files(folder))}:
            used.add(("ANNOTATIONS", row))
            used |= {("PICTURES", r) for p in own for r in rows_below(p, forms.PICTURES, "*.jpg")}
            used |= {("PNGS", r) for p in own for r in rows_below(p, forms.PANOPTIC_PNGS, "*.png")}
        seen |= own
    if used:
        return used
    files = MapFiles.find(folder, MapOptions())
    (row,) = [row for row in forms.LABEL_MAPS if list(_roots_of_row(folder, *row)) == files.roots]
    return {("LABEL_MAPS", row), ("MAP_ENDINGS", files.ending)}


def rows_below(json_path: Path, table: tuple[str, ...], files: str) -> list[str]:
    """The rows that name a folder with such files in it."""
    return [
        row
        for row in table
        if any(list(place.glob(files)) for place in forms.folders_of(json_path, (row,)))
    ]


def test_there_is_a_form_for_every_row_of_the_tables(tmp_path):
    """A new row needs a made set here, and then goes the whole way in test_own_data_cycle."""
    used = set()
    for number, (make, _) in enumerate(FORMS.values()):
        make(tmp_path / str(number))
        used |= rows_in_use(tmp_path / str(number))
    wanted = {("ANNOTATIONS", row) for row in forms.ANNOTATIONS}
    wanted |= {("PICTURES", row) for row in forms.PICTURES}
    wanted |= {("PNGS", row) for row in forms.PANOPTIC_PNGS}
    wanted |= {("LABEL_MAPS", row) for row in forms.LABEL_MAPS}
    wanted |= {("MAP_ENDINGS", ending) for row in forms.MAP_ENDINGS for ending in row}
    assert wanted - used == set()


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form][1]["splits"]])
def test_train_and_val_mean_what_the_data_call_so_and_others_are_refused(tmp_path, form):
    make, expected = FORMS[form]
    make(tmp_path)
    assert len(open_dataset(tmp_path, "train")) == 2 and len(open_dataset(tmp_path, "val")) == 1
    assert find_faults(tmp_path, "val") == []
    for name in ("tset", "train1999"):
        with pytest.raises((FileNotFoundError, ValueError)) as caught:
            open_dataset(tmp_path, name)
        assert all(split in str(caught.value) for split in expected["splits"])
        assert find_faults(tmp_path, name) == str(caught.value).splitlines()


@pytest.mark.parametrize("form", [form for form in FORMS if not FORMS[form][1]["splits"]])
def test_data_without_splits_refuse_a_name_that_is_a_mistake(tmp_path, form):
    FORMS[form][0](tmp_path)
    for name in ("test", "aachen"):
        with pytest.raises(ValueError, match="has no splits"):
            open_dataset(tmp_path, name)
        assert any("has no splits" in line for line in find_faults(tmp_path, name))


def test_a_city_is_a_split(tmp_path):
    cityscapes(tmp_path)
    for name in ("aachen", "train/aachen"):
        (sample,) = open_dataset(tmp_path, name)
        assert sample.file_name == "train/aachen/a_0_leftImg8bit.png"
    save_image(tmp_path / "leftImg8bit" / "val" / "aachen" / "d_0_leftImg8bit.png")
    with pytest.raises(ValueError, match=r"any of \['train/aachen', 'val/aachen'\]"):
        open_dataset(tmp_path, "aachen")


def test_two_years_of_one_split_are_asked_about(tmp_path):
    for year in ("2014", "2017"):
        path = tmp_path / "annotations" / f"instances_val{year}.json"
        write_instances(path, tmp_path / f"val{year}", f"{year}.jpg")
    with pytest.raises(ValueError, match="val2014.*val2017"):
        open_dataset(tmp_path, "val")
    assert open_dataset(tmp_path, "val2014")[0].file_name == "2014.jpg"


# --- what cannot be told apart ------------------------------------------------------------------


def test_two_folders_of_label_maps_are_asked_about(tmp_path):
    maps_in("labels")(tmp_path)
    maps_in("masks")(tmp_path)
    with pytest.raises(ValueError, match=r"labels.*masks.*labels=\.\.\."):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, labels=tmp_path / "masks")) == 2
    assert find_faults(tmp_path, labels=tmp_path / "masks") == []
    assert "masks" in find_faults(tmp_path)[0]


def test_two_endings_are_asked_about(tmp_path):
    maps_in("masks", "_mask")(tmp_path)
    maps_in("masks", "_label")(tmp_path)
    with pytest.raises(ValueError, match="_mask.*_label"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("names", [("a.json", "b.json"), ("annotations.json", "labels.json")])
def test_two_annotation_files_are_asked_about(tmp_path, names):
    for name in names:
        write_instances(tmp_path / name, tmp_path / "images", "a.jpg")
    with pytest.raises(ValueError, match=r"several annotation files.*path of one") as caught:
        open_dataset(tmp_path)
    assert all(name in str(caught.value) for name in names)
    assert len(open_dataset(tmp_path / names[0])) == 1
    assert len(open_dataset(tmp_path, labels=tmp_path / names[1])) == 1


def test_splits_with_other_categories_are_no_one_set_and_check_says_so_too(tmp_path):
    roboflow(tmp_path)
    path = tmp_path / "valid" / "_annotations.coco.json"
    document = json.loads(path.read_text())
    document["categories"][0]["name"] = "dog"
    write_json(path, document)
    with pytest.raises(ValueError, match="different categories.*cat, dog"):
        open_dataset(tmp_path)
    assert any("different categories" in line for line in find_faults(tmp_path))
    assert len(open_dataset(tmp_path, "valid")) == 1


# --- options ------------------------------------------------------------------------------------


def test_the_image_folder_can_be_named(tmp_path):
    write_instances(tmp_path / "a" / "instances.json", tmp_path / "elsewhere", "a.jpg")
    with pytest.raises(FileNotFoundError, match="its images are missing"):
        open_dataset(tmp_path / "a")
    assert len(list(open_dataset(tmp_path / "a", images=tmp_path / "elsewhere"))) == 1
    assert find_faults(tmp_path / "a", images=tmp_path / "elsewhere") == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_dataset(tmp_path / "a", images=tmp_path / "nowhere")
    for name in ("x", "y"):
        save_image(tmp_path / "photos" / f"{name}.jpg")
        save_map(tmp_path / "m" / "labels" / f"{name}.png")
    assert len(list(open_dataset(tmp_path / "m", images=tmp_path / "photos"))) == 2


def numbered(*rows: int) -> np.ndarray:
    """Each number in two rows of its own."""
    return np.repeat(np.array(rows, np.uint8), 2)[:, None].repeat(WIDTH, 1)


def one_map(folder: Path, numbers: np.ndarray, names: str | None = None) -> Path:
    save_image(folder / "images" / "a.png", numbers.shape)
    save_map(folder / "labels" / "a.png", numbers)
    if names is not None:
        (folder / "classes.txt").write_text(names)
    return folder


def test_a_number_can_be_void(tmp_path):
    folder = one_map(tmp_path, numbered(0, 1, 11, 255), "sky\nroad")
    with pytest.raises(ValueError, match=r"numbers \[11\]"):
        open_dataset(folder)[0]
    sample = open_dataset(folder, ignore=11)[0]
    assert sample.labels.tolist() == [0, 1] and (sample.ids[4:] == 0).all()
    assert find_faults(folder, ignore=11) == []
    with pytest.raises(ValueError, match=r"0 \.\.\. 255"):
        open_dataset(folder, ignore=256)


def test_zero_can_be_void(tmp_path):
    folder = one_map(tmp_path, numbered(0, 1, 2, 255), "sky\nroad")
    with pytest.raises(ValueError, match="zero_is_void"):
        open_dataset(folder)[0]
    sample = open_dataset(folder, zero_is_void=True)[0]
    assert sample.labels.tolist() == [0, 1]
    assert sample.ids[::2, 0].tolist() == [0, 1, 2, 0]
    (folder / "classes.txt").unlink()
    names = [c["name"] for c in open_dataset(folder, zero_is_void=True).categories]
    assert names == ["class 1", "class 2"]
    sample = open_dataset(folder, zero_is_void=True, ignore=2)[0]
    assert sample.ids[::2, 0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("option", [{"ignore": 3}, {"zero_is_void": True}, {"binary": True}])
def test_options_of_label_maps_are_refused_for_coco(tmp_path, option):
    labelme(tmp_path)
    with pytest.raises(ValueError, match="for label maps"):
        open_dataset(tmp_path, **option)


def test_masks_of_one_bit_and_small_palettes(tmp_path):
    numbers = numbered(0, 1, 1)
    folder = one_map(tmp_path, numbers)
    for image in (Image.fromarray(numbers == 1), Image.fromarray(numbers)):
        if image.mode == "L":
            image.putpalette([0, 0, 0, 250, 120, 3])
        image.save(folder / "labels" / "a.png")
        assert open_dataset(folder)[0].ids[::2, 0].tolist() == [1, 2, 2]


# --- JSON as other programs write it ------------------------------------------------------------


def spelled(folder: Path, change, encoding: str = "utf-8") -> Path:
    """A labelme set whose JSON document was changed."""
    labelme(folder)
    document = json.loads((folder / "annotations.json").read_text())
    change(document)
    write_json(folder / "annotations.json", document, encoding)
    return folder


def text_ids(document: dict) -> None:
    for k, (image, annotation) in enumerate(zip(document["images"], document["annotations"])):
        image["id"] = annotation["image_id"] = f"{k:03}-x"
        annotation["id"] = f"uuid-{k}"


def leading_zeros(document: dict) -> None:
    for image, annotation, id in zip(document["images"], document["annotations"], ("007", "7")):
        image["id"] = annotation["image_id"] = id


def floats(document: dict) -> None:
    for image in document["images"]:
        image.update(width=float(WIDTH), height=str(HEIGHT), id=float(image["id"]))
    for annotation in document["annotations"]:
        annotation.update(category_id="1", iscrowd=0.0)


def backslashes(document: dict) -> None:
    for image in document["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")


@pytest.mark.parametrize("change", [text_ids, leading_zeros, floats, backslashes])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_other_spellings_mean_the_same(tmp_path, change, encoding):
    labelme(tmp_path / "plain")
    folder = spelled(tmp_path / "other", change, encoding)
    assert find_faults(folder) == []
    for plain, other in zip(open_dataset(tmp_path / "plain"), open_dataset(folder), strict=True):
        assert torch.equal(plain.masks, other.masks) and plain.file_name == other.file_name
        assert type(other.image_id) is int
    assert len({sample.image_id for sample in open_dataset(folder)}) == 2


@pytest.mark.parametrize("value", [640.5, "wide", None, "1e3", float("inf")])
def test_a_width_that_is_no_whole_number_is_a_fault(tmp_path, value):
    folder = spelled(tmp_path, lambda document: document["images"][0].update(width=value))
    assert any("'width'" in line for line in find_faults(folder))


def drop(key: str, value: object = None):
    def change(document: dict) -> None:
        for annotation in document["annotations"]:
            if value is None:
                del annotation[key]
            else:
                annotation[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("segmentation"), "boxes only"),
        (drop("segmentation", []), "boxes only"),
        (lambda document: document.update(annotations=[]), "2 images and no annotation"),
        (lambda document: document.pop("annotations"), "no annotations: a list of pictures"),
        (
            lambda d: d.update(annotations=[{"id": 1, "image_id": 0, "caption": "a cat"}]),
            "captions only",
        ),
    ],
)
def test_a_json_file_without_masks_is_named_as_what_it_is(tmp_path, change, words):
    labelme(tmp_path)
    path = tmp_path / "instances.json"
    document = json.loads((tmp_path / "annotations.json").read_text())
    change(document)
    write_json(path, document)
    with pytest.raises(ValueError, match=words):
        open_dataset(path)
    (line,) = find_faults(path)
    assert words in line


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"version": 3}'])
@pytest.mark.parametrize("name", ["settings.json", "labels.json", "annotations.json"])
def test_other_json_files_do_not_hide_label_maps(tmp_path, content, name):
    maps_in("labels")(tmp_path)
    (tmp_path / name).write_text(content)
    assert len(open_dataset(tmp_path)) == 2 and find_faults(tmp_path) == []


def test_a_folder_with_a_list_of_pictures_alone_is_told_so(tmp_path):
    labelme(tmp_path)
    write_json(tmp_path / "annotations.json", {"images": [], "categories": []})
    with pytest.raises(ValueError, match="a list of pictures, no truth"):
        open_dataset(tmp_path)
    assert "a list of pictures" in find_faults(tmp_path)[0]


def test_a_missing_label_map_does_not_change_the_ending(tmp_path):
    cityscapes(tmp_path)
    (tmp_path / "gtFine" / "val" / "lindau" / "c_0_gtFine_labelTrainIds.png").unlink()
    (line,) = find_faults(tmp_path)
    assert "c_0_gtFine_labelTrainIds.png" in line and "missing" in line


# --- faults, left out ---------------------------------------------------------------------------


def two_points(document: dict) -> None:
    document["annotations"][0]["segmentation"] = [[1, 1, 4, 4]]


def id_twice(document: dict) -> None:
    document["annotations"][1]["id"] = document["annotations"][0]["id"]


def missing_picture(document: dict) -> None:
    document["images"].append({"id": 77, "file_name": "JPEGImages/none.jpg"})


@pytest.mark.parametrize(
    ("change", "pictures", "segments"),
    [(two_points, 2, 1), (id_twice, 2, 1), (missing_picture, 2, 2)],
)
def test_what_is_faulty_is_left_out_and_told(tmp_path, change, pictures, segments):
    folder = spelled(tmp_path, change)
    faults = find_faults(folder)
    with pytest.raises((FileNotFoundError, ValueError)):
        list(open_dataset(folder))
    with pytest.warns(UserWarning, match="left out") as told:
        data = open_dataset(folder, skip_faulty=True)
    samples = list(data)
    assert len(samples) == pictures and sum(len(s.segments) for s in samples) == segments
    (said,) = [str(w.message) for w in told if "left out" in str(w.message)]
    assert faults and all(fault in said for fault in faults)


def test_faulty_label_maps_are_left_out(tmp_path):
    maps_in("labels")(tmp_path)
    save_image(tmp_path / "images" / "c.jpg")
    save_map(tmp_path / "labels" / "b.png", np.zeros((3, 3), np.uint8))
    with pytest.warns(UserWarning, match=r"c\.png|b\.png"):
        (sample,) = open_dataset(tmp_path, skip_faulty=True)
    assert sample.file_name == "a.jpg"


def test_nothing_left_is_an_error(tmp_path):
    maps_in("labels")(tmp_path)
    for name in "ab":
        save_map(tmp_path / "labels" / f"{name}.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="as large as the image"):
        open_dataset(tmp_path, skip_faulty=True)


def test_without_faults_nothing_is_said(tmp_path, recwarn):
    labelme(tmp_path)
    assert len(open_dataset(tmp_path, skip_faulty=True)) == 2
    assert not [w for w in recwarn if "left out" in str(w.message)]


def test_many_faults_of_one_cause_are_one_line(tmp_path):
    names = [f"{k}.png" for k in range(30)]
    write_instances(tmp_path / "instances.json", tmp_path / "images", *names)
    document = json.loads((tmp_path / "instances.json").read_text())
    for annotation in document["annotations"][:25]:
        annotation["segmentation"] = [[1, 1, 4, 4]]
    document["annotations"][26]["category_id"] = 9
    write_json(tmp_path / "instances.json", document)
    faults = find_faults(tmp_path)
    assert len(faults) == 26
    many, single = grouped(faults)
    assert many.startswith("25 faults of one cause") and "annotation 0" in many
    assert single == faults[-1] and "[9]" in single


# --- links --------------------------------------------------------------------------------------


def test_linked_folders_are_seen(tmp_path):
    data, far = tmp_path / "data", tmp_path / "far"
    for split, names in (("train", "abc"), ("val", "d")):
        for name in names:
            save_image(far / "images" / split / f"{name}.jpg")
            save_map(far / "labels" / split / f"{name}.png")
        for kind in ("images", "labels"):
            (data / kind).mkdir(parents=True, exist_ok=True)
            (data / kind / split).symlink_to(far / kind / split, target_is_directory=True)
    assert len(open_dataset(data)) == 4 and len(open_dataset(data, "train")) == 3
    assert splits_of(data) == ["train", "val"] and find_faults(data) == []


def test_linked_splits_of_json_files_are_seen_and_a_circle_ends(tmp_path):
    roboflow(tmp_path / "far")
    (tmp_path / "data").mkdir()
    for split in ("train", "valid"):
        (tmp_path / "data" / split).symlink_to(tmp_path / "far" / split, target_is_directory=True)
    assert splits_of(tmp_path / "data") == ["train", "valid"]
    assert len(list(open_dataset(tmp_path / "data"))) == 3
    maps_in("labels")(tmp_path / "maps")
    (tmp_path / "maps" / "images" / "again").symlink_to(tmp_path / "maps" / "images")
    assert len(open_dataset(tmp_path / "maps")) == 2
