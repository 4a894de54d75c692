"""A data set as a whole: splits and shares of it, what is odd in it, how its pictures lie."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from minim2f.data import open_dataset
from minim2f.data.check import find_faults, survey
from minim2f.data.images import orientation, read_image, to_image
from minim2f.data.sample import Sample, SampleList
from minim2f.data.splits import held_out, splits_of

HEIGHT, WIDTH = 12, 16

# --- the share held out -------------------------------------------------------------------------


def scenes(length: int = 10):
    return open_dataset("scenes", length=length, size=32)


def test_a_share_is_held_out_the_same_each_time():
    train, unseen = held_out(scenes())
    assert (len(train), len(unseen)) == (8, 2)
    assert sorted(train.indices + unseen.indices) == list(range(10))
    assert (train.name, unseen.name) == ("train", "held out")
    again = held_out(scenes())
    assert (train.indices, unseen.indices) == (again[0].indices, again[1].indices)
    assert held_out(scenes(), seed=1)[1].indices != unseen.indices


def test_a_part_is_a_data_set_of_the_same_kind():
    data = open_dataset("scenes", task="semantic", length=5, size=32)
    _, unseen = held_out(data, share=0.4)
    assert unseen.task == "semantic" and unseen.categories == data.categories
    assert [s.image_id for s in unseen] == [data[k].image_id for k in unseen.indices]
    assert torch.equal(unseen[-1].image, data[unseen.indices[-1]].image)


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (7, 0.5, 4)])
def test_at_least_one_picture_is_on_either_side(count, share, held):
    assert len(held_out(scenes(count), share)[1]) == held


@pytest.mark.parametrize(("count", "share"), [(1, 0.2), (5, 0.0), (5, 1.0), (5, float("nan"))])
def test_what_cannot_be_parted_is_refused(count, share):
    with pytest.raises(ValueError, match="parted|share"):
        held_out(scenes(count), share)


def test_scenes_have_their_own_splits():
    assert splits_of("scenes") == ["train", "val"]
    assert open_dataset("scenes", length=1)[0].image_id == 0


# --- warnings of a survey -----------------------------------------------------------------------


def save_image(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def maps(folder: Path, *arrays: np.ndarray, names: str | None = None) -> Path:
    for k, numbers in enumerate(arrays):
        save_image(folder / "images" / f"{k}.jpg", numbers.shape)
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(numbers.astype(np.uint8)).save(folder / "labels" / f"{k}.png")
    if names:
        (folder / "classes.txt").write_text(names)
    return folder


def painted(*numbers: int) -> np.ndarray:
    """A column of each number in turn."""
    return np.resize(np.array(numbers), WIDTH)[None].repeat(HEIGHT, 0)


def test_a_survey_counts(tmp_path):
    folder = maps(tmp_path, painted(0, 1, 1, 255), painted(1), names="sky\nroad\ncar")
    found = survey(folder)
    assert found.pictures == {"all": 2} and found.task == "semantic"
    assert found.segments == {0: 1, 1: 2}
    assert found.pixels == {0: 4 * HEIGHT, 1: 24 * HEIGHT}
    assert found.void == 4 / 32 and found.per_picture == [2, 1] and found.most == 2
    assert found.sizes == {(HEIGHT, WIDTH): 2} and found.never == ["car"] and not found.turned
    text = str(found)
    for words in ("2 pictures (all 2)", "1.5 on average, 2 at most", "12 x 16", "void: 12.5%"):
        assert words in text


def test_a_survey_takes_a_data_set_too(tmp_path):
    train, _ = held_out(scenes())
    found = survey(train, num_queries=2)
    assert found.pictures == {"train": 8}
    assert "pictures have more segments" in " ".join(found.warnings)
    assert "queries" not in " ".join(survey(train, num_queries=100).warnings)


def warned(folder: Path, **options: object) -> str:
    assert find_faults(folder, **options) == []
    return "\n".join(survey(folder, **options).warnings)


@pytest.mark.parametrize("names", [None, "background\nnut"])
def test_masks_of_0_and_255_are_warned_of(tmp_path, names):
    assert "only class" in warned(maps(tmp_path, painted(0, 255), painted(0, 0, 255), names=names))


def test_a_set_that_is_all_void_is_warned_of(tmp_path):
    assert "everything is void" in warned(maps(tmp_path, painted(255), names="sky\nroad"))


def test_a_set_that_is_all_void_for_its_options_is_warned_of(tmp_path):
    folder = maps(tmp_path, painted(0), names="sky\nroad")
    assert "everything is void" in warned(folder, zero_is_void=True)


def test_names_that_come_twice_are_warned_of(tmp_path):
    folder = maps(tmp_path, painted(0, 1, 2), names="sky\nroad\nsky")
    assert "same name: 'sky'" in warned(folder)


def test_classes_that_never_occur_are_named(tmp_path):
    folder = maps(tmp_path, painted(0, 1, 255), names="sky\nroad\ncar\nbus")
    assert "2 of 4 classes never occur: 'car', 'bus'" in warned(folder)


def test_labels_shifted_by_one_are_warned_of(tmp_path):
    shifted = painted(0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
    folder = maps(tmp_path, shifted, shifted)
    assert "shifted by one" in warned(folder)
    assert "shifted" not in warned(folder, zero_is_void=True)


def test_a_large_first_class_is_not_taken_for_shifted(tmp_path):
    assert "shifted" not in warned(maps(tmp_path, painted(0, 0, 0, 1, 2)))


@pytest.mark.parametrize("name", ["Void", "unlabeled", "unlabelled", "ignore"])
def test_a_class_called_void_is_warned_of(tmp_path, name):
    folder = maps(tmp_path, painted(0, 1, 2), names=f"sky\nroad\n{name}")
    assert f"'{name}' is learned as a class" in warned(folder)
    assert "learned as a class" not in warned(folder, ignore=2)


def test_roboflow_s_root_class_is_warned_of(tmp_path):
    save_image(tmp_path / "train" / "a.jpg")
    image = {"id": 0, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
    annotation = {"id": 0, "image_id": 0, "category_id": 1, "iscrowd": 0}
    annotation["segmentation"] = [[1, 1, 7, 1, 7, 7]]
    categories = [
        {"id": 0, "name": "nuts", "supercategory": "none"},
        {"id": 1, "name": "M6", "supercategory": "nuts"},
    ]
    document = {"images": [image], "annotations": [annotation], "categories": categories}
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(document))
    assert "'nuts' never occurs and only groups" in warned(tmp_path)


def test_a_set_without_oddities_has_no_warning(tmp_path):
    assert warned(maps(tmp_path, painted(0, 0, 1, 2), painted(0, 1, 255))) == ""


# --- EXIF ---------------------------------------------------------------------------------------


def tag(path: Path, value: int) -> None:
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = value
        image.save(path, exif=exif)


def write_instances(folder: Path, size: tuple[int | None, int | None]) -> Path:
    """One picture, stored 12 x 16, whose annotations refer to `size`, if to any."""
    save_image(folder / "images" / "a.png")
    image = {"id": 0, "file_name": "a.png"}
    image |= {} if size[0] is None else {"height": size[0], "width": size[1]}
    annotation = {"id": 0, "image_id": 0, "category_id": 1, "iscrowd": 0}
    annotation["segmentation"] = [[1, 1, 7, 1, 7, 7]]
    document = {"images": [image], "annotations": [annotation]}
    document["categories"] = [{"id": 1, "name": "cat"}]
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["json", "map"])
@pytest.mark.parametrize("upright", [True, False])
def test_the_labels_size_says_how_a_picture_lies(tmp_path, value, kind, upright):
    turned = value >= 5
    size = (WIDTH, HEIGHT) if upright and turned else (HEIGHT, WIDTH)
    if kind == "json":
        path = write_instances(tmp_path, size) / "images" / "a.png"
    else:
        maps(tmp_path, np.zeros(size))
        path = tmp_path / "images" / "0.png"
        (tmp_path / "images" / "0.jpg").unlink()
        save_image(path)
    tag(path, value)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        image = open_dataset(tmp_path)[0].image
    stored = turned and not upright
    assert torch.equal(image, read_image(path, exif=not stored))
    about = [w for w in said if "EXIF" in str(w.message)]
    assert len(about) == (value in (2, 3, 4))
    assert survey(tmp_path).turned == (value != 1) and orientation(path) == value


@pytest.mark.parametrize("size", [(None, None), (HEIGHT, HEIGHT)])
def test_where_no_size_decides_the_picture_is_turned_and_a_word_said(tmp_path, size):
    path = write_instances(tmp_path, size) / "images" / "a.png"
    if size[0]:
        save_image(path, size)
    tag(path, 6)
    with pytest.warns(UserWarning, match="EXIF tag.*upright is assumed"):
        image = open_dataset(tmp_path)[0].image
    assert torch.equal(image, read_image(path, exif=True))


def test_a_size_that_is_neither_is_a_fault(tmp_path):
    path = write_instances(tmp_path, (9, 9)) / "images" / "a.png"
    tag(path, 6)
    assert any("9 wide and 9 high" in line for line in find_faults(tmp_path))


def test_an_exif_tag_that_means_nothing_is_none(tmp_path):
    path = write_instances(tmp_path, (HEIGHT, WIDTH)) / "images" / "a.png"
    tag(path, 0)
    assert orientation(path) == 1


def test_the_word_is_said_once_a_folder(tmp_path):
    maps(tmp_path, painted(0, 1), painted(0, 1))
    for k in range(2):
        tag(tmp_path / "images" / f"{k}.jpg", 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        list(open_dataset(tmp_path))
    assert len([w for w in said if "EXIF" in str(w.message)]) == 1


# --- sixteen bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_may_hold_fewer(tmp_path, bits, suffix):
    top = 2**bits - 1
    pixels = np.array([[0, top // 2, top]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    for source in (tmp_path / f"a.{suffix}", pixels):
        grey = to_image(source)[0, 0].tolist()
        assert grey[0] == 0 and abs(grey[1] - 127) <= 1 and grey[2] == 255


def wide_png(path: Path, value: int) -> None:
    """16-bit colours, all of one value, written by hand: Pillow cannot."""

    def chunk(name: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + struct.pack(">H", value) * 3 * WIDTH) * HEIGHT)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize("bits", [9, 12])
def test_colours_of_sixteen_bits_that_hold_twelve_are_refused(tmp_path, bits):
    wide_png(tmp_path / "a.png", 2**bits - 1)
    with pytest.raises(ValueError, match="12 bits or less"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("value", [0, 30_000, 65_535])
def test_other_colours_of_sixteen_bits_are_read(tmp_path, value):
    wide_png(tmp_path / "a.png", value)
    assert torch.all(read_image(tmp_path / "a.png") == value // 256)


def test_a_black_picture_of_sixteen_bits_stays_black():
    assert not to_image(np.zeros((3, 3), np.uint16)).any()


# --- worker processes ---------------------------------------------------------------------------


def sample(k: int) -> Sample:
    ids = torch.full((8, 10), k + 1)
    ids[:4] = 5000
    segments = [{"id": k + 1, "category_id": 1}, {"id": 5000, "category_id": 2}]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    image = torch.full((3, 8, 10), k, dtype=torch.uint8)
    return Sample.from_panoptic(image, ids, segments, categories, k, f"{k}.png")


def in_memory(count: int) -> SampleList:
    return SampleList(map(sample, range(count)), [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])


def first(batch: list[Sample]) -> Sample:
    return batch[0]


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_a_hundred_pictures_reach_workers_that_are_not_forked(way):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))  # as macOS has it
    try:
        data = in_memory(100)
        loader = DataLoader(data, num_workers=2, multiprocessing_context=way, collate_fn=first)
        for k, got in enumerate(loader):
            want = sample(k)
            assert torch.equal(got.image, want.image) and torch.equal(got.ids, want.ids)
            assert torch.equal(got.masks, want.masks) and got.segments == want.segments
        assert k == 99
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_of_samples_survives_a_copy(count):
    import copy
    import pickle

    data = in_memory(count)
    for k in range(3):
        for other in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data), copy.copy(data)):
            assert type(other) is SampleList and other.categories == data.categories
            assert len(other) == len(data)
            for a, b in zip(data, other, strict=True):
                assert a.file_name == b.file_name and a.segments == b.segments
                for name in ("image", "labels", "masks", "ids"):
                    one, two = getattr(a, name), getattr(b, name)
                    assert one.dtype == two.dtype and torch.equal(one, two)
        data.append(sample(90 + k))  # after a first copy, too


def test_a_deep_copy_is_no_view_of_the_first():
    import copy

    data = in_memory(3)
    other = copy.deepcopy(data)
    other[0].image.zero_(), other[1].ids.zero_()
    assert all(torch.equal(a.ids, sample(k).ids) for k, a in enumerate(data))
    assert torch.equal(data[0].image, sample(0).image)
