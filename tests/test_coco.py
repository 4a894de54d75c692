"""COCO panoptic files: written and read back exactly, and refused with a reason when they lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minim2f.data.coco_panoptic import CocoPanoptic, id_to_rgb, rgb_to_id, write_coco
from minim2f.data.images import read_image, to_image
from minim2f.data.open import open_coco
from minim2f.data.sample import Sample

CATEGORIES = [
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 149, "name": "road", "isthing": 0},
    {"id": 187, "name": "sky-other-merged", "isthing": 0},
]
CAR, CROWD, ROAD, SKY = 1, 300, 70_000, 2**24 - 1  # one, two and three bytes


class HandMade(list):
    """A list of samples that knows its categories."""

    categories = CATEGORIES


def segment(id: int, category_id: int, ids: torch.Tensor, iscrowd: int = 0) -> dict:
    y, x = torch.where(ids == id)
    left, top = int(x.min()), int(y.min())
    box = [left, top, int(x.max()) - left + 1, int(y.max()) - top + 1]
    area = len(x)
    return {"id": id, "category_id": category_id, "iscrowd": iscrowd, "area": area, "bbox": box}


def make_sample(image_id: int) -> Sample:
    """4 x 6 pixels: sky above, a car and a crowd of cars on a road below, one pixel void."""
    ids = torch.full((4, 6), ROAD)
    ids[:2] = SKY
    ids[2, 1:3] = CAR
    ids[2:, 4:] = CROWD
    ids[3, 0] = 0
    segments = [segment(SKY, 187, ids), segment(CAR, 3, ids), segment(ROAD, 149, ids)]
    segments += [segment(CROWD, 3, ids, iscrowd=1)]
    generator = torch.Generator().manual_seed(image_id)
    image = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8, generator=generator)
    return Sample.from_panoptic(image, ids, segments, CATEGORIES, image_id, "by hand")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A written data set of two pictures, for tests to spoil."""
    write_coco(HandMade([make_sample(7), make_sample(12)]), tmp_path)
    return tmp_path


def edit(folder: Path, change) -> None:
    """Applies `change` to the parsed panoptic.json."""
    document = json.loads((folder / "panoptic.json").read_text())
    change(document)
    (folder / "panoptic.json").write_text(json.dumps(document))


def segments_of(document: dict) -> list[dict]:
    return document["annotations"][0]["segments_info"]


# ids and colours


def test_ids_are_little_endian_rgb():
    colours = np.array([[[7, 0, 0], [0, 1, 0], [0, 0, 1], [1, 2, 3]]], dtype=np.uint8)
    assert rgb_to_id(colours).tolist() == [[7, 256, 65536, 1 + 2 * 256 + 3 * 65536]]
    assert rgb_to_id(colours).dtype == np.int64


def test_colours_and_ids_undo_each_other():
    ids = np.random.default_rng(0).integers(0, 2**24, (50, 60))
    assert np.array_equal(rgb_to_id(id_to_rgb(ids)), ids)


@pytest.mark.parametrize("ids", [[[2**24]], [[-1]], [[1.5]]])
def test_an_id_that_does_not_fit_is_refused(ids):
    with pytest.raises(ValueError, match="ids"):
        id_to_rgb(np.array(ids))


def test_colours_of_the_wrong_type_are_refused():
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        rgb_to_id(np.zeros((4, 4), np.uint8))


# images


def checker(*channels: int) -> np.ndarray:
    """(2, 3, C) uint8: the colour given, but for one black corner."""
    pixels = np.tile(np.array(channels, np.uint8), (2, 3, 1))
    pixels[0, 0] = 0
    return pixels


@pytest.mark.parametrize(
    ("mode", "pixels", "colour"),
    [
        ("L", checker(100)[..., 0], (100, 100, 100)),
        ("RGB", checker(10, 20, 30), (10, 20, 30)),
        ("1", checker(1)[..., 0].astype(bool), (255, 255, 255)),
    ],
)
def test_a_png_of_any_mode_becomes_rgb(tmp_path, mode, pixels, colour):
    image = Image.fromarray(pixels)
    assert image.mode == mode
    image.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.shape == (3, 2, 3) and read.dtype == torch.uint8
    assert tuple(read[:, 1, 2].tolist()) == colour
    assert read[:, 0, 0].tolist() == [0, 0, 0]


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[255, 0, 0], [255] * 3, [204] * 3]
    Image.fromarray(pixels).convert("LA").save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png")[:, 0, 1].tolist() == [255] * 3


def test_palettes_are_looked_up(tmp_path):
    image = Image.fromarray(checker(1)[..., 0])
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[:, 1, 1].tolist() == [200, 100, 50]
    image.save(tmp_path / "clear.png", transparency=1)
    assert read_image(tmp_path / "clear.png")[:, 1, 1].tolist() == [255, 255, 255]


def test_grey_and_cmyk_jpegs(tmp_path):
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.jpg")
    assert torch.all(read_image(tmp_path / "grey.jpg") == 90)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red, green, blue = read_image(tmp_path / "cmyk.jpg")[:, 4, 4].tolist()
    assert red > 240 and green < 15 and blue < 15


def test_16_bit_grey_is_scaled_to_8(tmp_path):
    pixels = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[1].tolist() == [[0, 1, 128, 255]]


def test_exif_orientation_only_when_asked(tmp_path):
    image = Image.fromarray(checker(200, 200, 200))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "a.png", exif=exif)
    stored, upright = read_image(tmp_path / "a.png"), read_image(tmp_path / "a.png", exif=True)
    assert stored.shape == (3, 2, 3) and upright.shape == (3, 3, 2)
    assert torch.equal(upright, stored.rot90(-1, (1, 2)))


@pytest.mark.parametrize("content", [b"", b"a sentence, no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        read_image(tmp_path / "broken.jpg")


def test_a_cut_off_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match=name):
            read_image(tmp_path / name)


def test_a_missing_image_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.jpg"):
        read_image(tmp_path / "no.jpg")
    with pytest.raises(ValueError, match=tmp_path.name):
        read_image(tmp_path)


def test_every_source_gives_the_same_image(tmp_path):
    pixels = checker(255, 51, 102)
    expected = torch.from_numpy(pixels).permute(2, 0, 1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    opaque = np.concatenate([pixels, np.full((2, 3, 1), 255, np.uint8)], axis=2)
    sources = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(pixels),
        pixels,
        opaque,
        pixels.astype(np.uint16) * 257,
        (pixels / 255).astype(np.float32),
        expected,
    ]
    for source in sources:
        assert torch.equal(to_image(source), expected), source


def test_grey_arrays_get_three_channels():
    grey = checker(80)
    for array in (grey, grey[..., 0]):
        assert torch.equal(to_image(array), torch.from_numpy(grey).permute(2, 0, 1).expand(3, 2, 3))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (np.full((4, 4, 3), 200.0), "from 200 to 200"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (torch.zeros(3, 4, 4), "float32"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\(4, 4, 3\)"),
        (None, "NoneType"),
        (Image.new("F", (2, 2)), "8 bits"),
    ],
)
def test_what_is_no_image_is_refused(source, reason):
    with pytest.raises(ValueError, match=reason):
        to_image(source)


# written and read back


def test_round_trip_is_exact(folder):
    read = open_coco(folder)
    assert len(read) == 2 and read.categories == CATEGORIES
    for sample, image_id in zip(read, (7, 12), strict=True):
        expected = make_sample(image_id)
        assert torch.equal(sample.image, expected.image)
        assert torch.equal(sample.ids, expected.ids) and sample.ids.dtype == torch.int64
        assert torch.equal(sample.labels, expected.labels)
        assert torch.equal(sample.masks, expected.masks)
        assert sample.segments == expected.segments
        assert sample.image_id == image_id


def test_labels_and_masks_leave_out_crowds_and_void(folder):
    sample = open_coco(folder)[0]
    assert sample.labels.tolist() == [2, 0, 1]  # sky, car, road: positions in CATEGORIES
    assert sample.masks.sum(dim=(1, 2)).tolist() == [12, 2, 5]
    assert len(sample.segments) == 4
    assert not sample.masks[:, sample.ids == 0].any()
    assert not sample.masks[:, sample.ids == CROWD].any()


def test_writing_what_was_read_gives_the_same_bytes(folder, tmp_path):
    write_coco(open_coco(folder), tmp_path / "again")
    for file in ["panoptic.json", "images/000000000007.png", "panoptic/000000000012.png"]:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_categories_are_sorted_by_id(folder):
    edit(folder, lambda document: document["categories"].reverse())
    assert open_coco(folder).categories == CATEGORIES


def test_two_samples_of_one_number_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="image_id 5"):
        write_coco(HandMade([make_sample(5), make_sample(5)]), tmp_path)


def test_a_change_of_a_sample_does_not_reach_the_data_set(folder):
    data = open_coco(folder)
    data[0].segments[0]["category_id"] = 3
    assert data[0].segments[0]["category_id"] == 187


def test_reading_waits_until_a_sample_is_asked_for(folder):
    (folder / "images" / "000000000012.png").unlink()
    data = open_coco(folder)
    assert data[0].image_id == 7
    with pytest.raises(FileNotFoundError, match=r"000000000012\.png"):
        data[1]


# found in every layout


def test_split_field_selects(folder):
    def change(document):
        document["images"][0]["split"], document["images"][1]["split"] = "train", "val"

    edit(folder, change)
    assert [sample.image_id for sample in open_coco(folder, "val")] == [12]
    assert [sample.image_id for sample in open_coco(folder, "train")] == [7]
    assert len(open_coco(folder)) == 2
    with pytest.raises(ValueError, match=r"'test'.*train.*val"):
        open_coco(folder, "test")


def test_without_a_split_field_all_images_are_taken(folder):
    assert len(open_coco(folder, "val")) == 2


def test_a_json_path_will_do(folder):
    assert len(open_coco(folder / "panoptic.json")) == 2


def test_coco_s_own_layout(folder):
    (folder / "annotations").mkdir()
    (folder / "images").rename(folder / "val2017")
    (folder / "panoptic").rename(folder / "annotations" / "panoptic_val2017")
    (folder / "panoptic.json").rename(folder / "annotations" / "panoptic_val2017.json")
    assert open_coco(folder, "val")[1].image_id == 12
    assert len(open_coco(folder / "annotations" / "panoptic_val2017.json")) == 2
    with pytest.raises(FileNotFoundError, match="panoptic_train2017"):
        open_coco(folder, "train")


def test_missing_parts_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*panoptic\.json"):
        open_coco(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such annotation file"):
        open_coco(tmp_path / "none.json")
    (folder / "panoptic").rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match="its PNGs are missing"):
        open_coco(folder)


def test_panoptic_files_go_before_instance_files_but_for_their_task(folder):
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 3]]}
    images = [{"id": 7, "file_name": "000000000007.png"}]
    document = {"images": images, "annotations": [annotation], "categories": CATEGORIES}
    (folder / "instances.json").write_text(json.dumps(document))
    assert (len(open_coco(folder)), len(open_coco(folder, task="instance"))) == (2, 1)
    (folder / "panoptic.json").unlink()
    assert open_coco(folder).task == "instance"


def test_instance_annotations_under_a_panoptic_name_are_refused_with_the_reason(folder):
    edit(folder, lambda document: document.update(annotations=[{"segmentation": []}]))
    with pytest.raises(ValueError, match="looks like COCO instance JSON"):
        open_coco(folder)


@pytest.mark.parametrize("content", ["{ cut", "[]", '{"images": []}'])
def test_a_json_file_of_another_kind_is_named(folder, content):
    (folder / "panoptic.json").write_text(content)
    with pytest.raises(ValueError, match=r"panoptic\.json"):
        open_coco(folder)


# refused when the parts do not fit each other


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_repeated_ids_are_refused(folder, key):
    edit(folder, lambda document: document[key].append(document[key][0]))
    with pytest.raises(ValueError, match=rf"{key}: \[\d+\] occur more than once"):
        open_coco(folder)


def test_a_repeated_segment_id_is_refused(folder):
    edit(folder, lambda document: segments_of(document).append(segments_of(document)[0]))
    with pytest.raises(ValueError, match=rf"000000000007\.png.*\[{SKY}\] occur more than once"):
        open_coco(folder)[0]


def test_an_image_without_annotation_is_refused(folder):
    edit(folder, lambda document: document["annotations"].pop())
    with pytest.raises(ValueError, match=r"images \[12\] have no annotation"):
        open_coco(folder)


def test_an_unknown_category_is_refused(folder):
    edit(folder, lambda document: segments_of(document)[0].update(category_id=91))
    with pytest.raises(ValueError, match=r"000000000007\.png.*\[91\]"):
        open_coco(folder)[0]


def test_a_segment_that_is_not_drawn_is_refused(folder):
    extra = {"id": 555, "category_id": 3, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]}
    edit(folder, lambda document: segments_of(document).append(extra))
    with pytest.raises(ValueError, match=r"000000000007\.png.*segments \[555\]"):
        open_coco(folder)[0]


def test_a_drawn_id_without_segment_is_refused(folder):
    edit(folder, lambda document: segments_of(document).pop())
    with pytest.raises(ValueError, match=rf"000000000007\.png.*ids \[{CROWD}\]"):
        open_coco(folder)[0]


def test_a_missing_png_is_named(folder):
    (folder / "panoptic" / "000000000007.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"panoptic.000000000007\.png"):
        open_coco(folder)[0]


def test_a_png_of_another_size_is_refused(folder):
    Image.new("RGB", (6, 5)).save(folder / "panoptic" / "000000000007.png")
    with pytest.raises(ValueError, match=r"000000000007\.png is \(5, 6\).*\(4, 6\)"):
        open_coco(folder)[0]


def test_a_grey_png_and_a_broken_one_are_refused(folder):
    Image.new("L", (6, 4)).save(folder / "panoptic" / "000000000007.png")
    with pytest.raises(ValueError, match=r"000000000007\.png is of mode L"):
        open_coco(folder)[0]
    (folder / "panoptic" / "000000000007.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"000000000007\.png cannot be read"):
        open_coco(folder)[0]


def test_a_grey_jpeg_is_a_picture_like_any_other(folder):
    Image.new("L", (6, 4), 60).save(folder / "images" / "grey.jpg")
    edit(folder, lambda document: document["images"][0].update(file_name="grey.jpg"))
    sample = open_coco(folder)[0]
    assert torch.all(sample.image == 60) and sample.file_name == "grey.jpg"


def test_exif_never_turns_an_annotated_picture(folder):
    path = folder / "images" / "000000000007.png"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    assert open_coco(folder)[0].image.shape == (3, 4, 6)


# whole data sets


def test_scenes_survive_the_round_trip(tmp_path):
    scenes = pytest.importorskip("minim2f.data.scenes").Scenes("val", length=2)
    read = open_coco(write_coco(scenes, tmp_path).parent)
    for drawn, stored in zip(scenes, read, strict=True):
        assert torch.equal(drawn.image, stored.image) and torch.equal(drawn.ids, stored.ids)
        assert torch.equal(drawn.labels, stored.labels) and torch.equal(drawn.masks, stored.masks)
        assert drawn.segments == stored.segments


def test_coco_mini_says_of_its_pictures_what_is_true(coco_mini):
    train, val = open_coco(coco_mini, "train"), open_coco(coco_mini, "val")
    assert (len(train), len(val)) == (26, 27)
    assert len(train.categories) == 133
    assert sum(category["isthing"] for category in train.categories) == 80
    segments = crowds = 0
    for sample in (*train, *val):
        for segment in sample.segments:
            y, x = torch.where(sample.ids == segment["id"])
            left, top = int(x.min()), int(y.min())
            width, height = int(x.max()) - left + 1, int(y.max()) - top + 1
            assert (len(x), [left, top, width, height]) == (segment["area"], segment["bbox"])
        segments += len(sample.segments)
        crowds += sum(segment["iscrowd"] for segment in sample.segments)
        assert len(sample.labels) == sum(not segment["iscrowd"] for segment in sample.segments)
    assert (segments, crowds) == (548, 3)


def test_coco_mini_files_open_one_by_one(coco_mini):
    folders = coco_mini / "images", coco_mini / "panoptic"
    sample = CocoPanoptic(coco_mini / "panoptic.json", *folders, split="val")[0]
    assert sample.file_name.endswith(".jpg") and sample.image.shape[1:] == sample.ids.shape
