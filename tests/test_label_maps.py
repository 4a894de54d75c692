"""Label maps as people have them: class lists, kinds of PNG, masks, folders, lists of splits."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minim2f.cli import main
from minim2f.data import open_dataset
from minim2f.data.check import find_faults, survey
from minim2f.data.splits import splits_of

HEIGHT, WIDTH = 12, 16


def save_image(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def columns(*numbers: int, dtype: type = np.uint8) -> np.ndarray:
    """A column of each number in turn."""
    return np.resize(np.array(numbers, dtype), WIDTH)[None].repeat(HEIGHT, 0)


def save_map(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(columns(*(numbers or (0, 1, 255)))).save(path)


def one_map(folder: Path, *numbers: int, names: str | bytes | None = None) -> Path:
    """A picture a.jpg with its map, and perhaps classes.txt."""
    save_image(folder / "images" / "a.jpg")
    save_map(folder / "labels" / "a.png", *numbers)
    if names is not None:
        content = names if isinstance(names, bytes) else names.encode()
        (folder / "classes.txt").write_bytes(content)
    return folder


def names_of(folder: Path, **options: object) -> list[str]:
    return [category["name"] for category in open_dataset(folder, **options).categories]


# --- classes.txt --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        "0 sky\n1 dirt road",
        "0: sky\n1: dirt road\n",
        "0:sky\r\n1:dirt road\r\n",
        "0,sky\n1,dirt road",
        "0\tsky\n1\tdirt road",
        "0. sky\n1. dirt road",
        "00) sky\n01) dirt road",
        "0 - sky\n1 - dirt road\n\n",
        "\ufeff0=sky\n1=dirt road",
    ],
)
def test_numbered_lines_lose_their_numbers(tmp_path, names):
    folder = one_map(tmp_path, names=names)
    assert names_of(folder) == ["sky", "dirt road"] and find_faults(folder) == []


@pytest.mark.parametrize(
    "names",
    [
        "bike\n2 wheeler\n4x4",
        "3d-box\n2-wheeler",
        "class 0\nclass 1",
        "7up\n0cola",
        "0.5mm\n1.0 mm",
        "0\n1",
    ],
)
def test_names_that_begin_with_a_number_are_names(tmp_path, names):
    assert names_of(one_map(tmp_path, names=names)) == names.splitlines()


@pytest.mark.parametrize(
    "names",
    [
        "1 sky\n2 road",
        "0 sky\n2 road",
        "7: sky\n8: road\n11: car",
        "1 sky\n0 road",
        "0 sky\n0 road",
        "0 sky\n1 road\ncar",
    ],
)
def test_other_numbering_is_one_fault(tmp_path, names):
    folder = one_map(tmp_path, 0, 1, 2, 3, names=names)
    (line,) = find_faults(folder)
    assert "classes.txt numbers" in line and "0, 1, 2, ..." in line
    with pytest.raises(ValueError, match="classes.txt numbers"):
        open_dataset(folder)


def test_numbers_are_those_in_the_maps_where_0_is_void(tmp_path):
    folder = one_map(tmp_path, 0, 1, 2, names="1 sky\n2 road")
    assert "--zero-is-void" in find_faults(folder)[0]
    for names in ("1 sky\n2 road", "0 unlabelled\n1 sky\n2 road", "sky\nroad"):
        (folder / "classes.txt").write_text(names)
        assert names_of(folder, zero_is_void=True) == ["sky", "road"]
        assert find_faults(folder, zero_is_void=True) == []


@pytest.mark.parametrize(
    "content",
    [
        "天空\n道路".encode("gbk"),
        "ciel\nforêt".encode("latin-1"),
        "sky\nroad".encode("utf-16"),
        "sky\nroad".encode("utf-16-le"),
        b"",
        b"\n \n",
        b"\xef\xbb\xbf",
    ],
)
def test_a_class_list_of_another_encoding_or_empty_is_one_fault(tmp_path, content):
    folder = one_map(tmp_path, names=content)
    for k in range(5):
        save_image(folder / "images" / f"{k}.jpg")
        save_map(folder / "labels" / f"{k}.png", 0, 1, 2, 3)
    (line,) = find_faults(folder)
    assert "classes.txt" in line and "save it as UTF-8" in line
    with pytest.raises(ValueError, match="save it as UTF-8"):
        open_dataset(folder)


def test_a_fault_of_the_class_list_hides_no_other(tmp_path):
    folder = one_map(tmp_path, names=b"")
    save_map(folder / "labels" / "a.png")
    Image.fromarray(columns(0)[1:]).save(folder / "labels" / "a.png")
    one, other = find_faults(folder)
    assert "UTF-8" in one and "as large as the image" in other


# --- kinds of PNG -------------------------------------------------------------------------------


def as_kind(kind: str, numbers: np.ndarray) -> Image.Image:
    opaque = np.full_like(numbers, 255)
    return {
        "RGB": lambda: Image.fromarray(np.stack([numbers] * 3, -1)),
        "RGBA": lambda: Image.fromarray(np.stack([numbers] * 3 + [opaque], -1)),
        "LA": lambda: Image.merge("LA", (Image.fromarray(numbers), Image.fromarray(opaque))),
        "16 bits": lambda: Image.fromarray(numbers.astype(np.uint16)),
    }[kind]()


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA", "16 bits"])
def test_a_map_is_read_from_any_png_that_has_its_numbers(tmp_path, kind):
    folder = one_map(tmp_path, 0, 1, 2, 255)
    plain = open_dataset(folder)[0]
    as_kind(kind, columns(0, 1, 2, 255)).save(folder / "labels" / "a.png")
    assert find_faults(folder) == []
    assert torch.equal(open_dataset(folder)[0].ids, plain.ids)
    assert torch.equal(open_dataset(folder, ignore=2)[0].ids, plain.ids * (plain.ids != 3))


def small_png(path: Path, bits: int, numbers: np.ndarray) -> None:
    """A grey PNG of few bits, written by hand: Pillow has none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    binary = np.unpackbits(numbers[..., None], axis=-1)[..., -bits:]
    rows = np.packbits(binary.reshape(len(numbers), -1), axis=-1)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_of_few_bits_are_not_stretched(tmp_path, bits):
    numbers = [0, 1, 2**bits - 1] if bits < 8 else [0, 1, 200]
    folder = one_map(tmp_path)
    small_png(folder / "labels" / "a.png", bits, columns(*numbers))
    ids = open_dataset(folder)[0].ids
    assert ids[0, :3].tolist() == [number + 1 for number in numbers] and find_faults(folder) == []


def colours() -> np.ndarray:
    pixels = np.stack([columns(0, 1)] * 3, -1)
    pixels[0, 0, 2] = 7
    return pixels


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (colours(), "number of the class instead of its colour"),
        (columns(0, 256, dtype=np.uint16), "numbers up to 256"),
        (np.stack([columns(0, 1)] * 3 + [columns(255, 0)], -1), "transparent"),
    ],
)
def test_a_map_that_would_lose_something_is_refused_with_a_way_out(tmp_path, pixels, words):
    folder = one_map(tmp_path, names="sky\nroad")
    Image.fromarray(pixels).save(folder / "labels" / "a.png")
    (line,) = find_faults(folder)
    assert words in line and "a.png" in line


# --- masks of 0 and something else --------------------------------------------------------------


@pytest.mark.parametrize("object", [1, 255, 128])
@pytest.mark.parametrize("names", [None, "ground\nnut"])
def test_masks_can_be_read_as_background_and_object(tmp_path, object, names):
    folder = one_map(tmp_path, 0, 0, object, names=names)
    assert names_of(folder, binary=True) == (names or "background\nobject").splitlines()
    sample = open_dataset(folder, binary=True)[0]
    assert sample.labels.tolist() == [0, 1]
    assert torch.equal(sample.ids, torch.from_numpy(columns(1, 1, 2)).long())
    assert find_faults(folder, binary=True) == [] == survey(folder, binary=True).warnings


def test_smooth_edges_and_sixteen_bits_are_object_and_a_number_stays_void(tmp_path):
    folder = one_map(tmp_path, 0, 3, 100, 254, 255)
    assert open_dataset(folder, binary=True)[0].ids[0, :5].tolist() == [1, 2, 2, 2, 2]
    assert open_dataset(folder, binary=True, ignore=100)[0].ids[0, :5].tolist() == [1, 2, 0, 2, 2]
    Image.fromarray(columns(0, 65535, dtype=np.uint16)).save(folder / "labels" / "a.png")
    assert open_dataset(folder, binary=True)[0].ids[0, :2].tolist() == [1, 2]


def test_check_recommends_it(tmp_path):
    folder = one_map(tmp_path, 0, 255)
    (warning,) = survey(folder).warnings
    assert "--binary" in warning and "binary=True" in warning
    folder = one_map(tmp_path, 0, 9, 254, names="ground\nnut")
    assert "--binary" in find_faults(folder)[0]


def test_one_class_everywhere_is_not_taken_for_a_mask(tmp_path):
    (warning,) = survey(one_map(tmp_path, 0)).warnings
    assert "only class" in warning and "void" not in warning and "--binary" not in warning


def test_what_contradicts_binary_is_refused(tmp_path):
    folder = one_map(tmp_path, 0, 255, names="a\nb\nc")
    (line,) = find_faults(folder, binary=True)
    assert "3 names" in line and "--binary" in line
    with pytest.raises(ValueError, match="--binary.*--zero-is-void"):
        open_dataset(folder, binary=True, zero_is_void=True)


def test_messages_name_what_the_command_line_calls_it(tmp_path):
    folder = one_map(tmp_path, 0, 1, 2, 3, names="sky\nroad\ncar")
    assert "--zero-is-void" in find_faults(folder)[0]
    (folder / "classes.txt").write_text("sky\nroad\ncar\nvoid")
    assert "--ignore 3" in "\n".join(survey(folder).warnings)
    save_map(folder / "labels" / "a.png", 1, 2, 3, 4)
    (warning,) = survey(folder, zero_is_void=True).warnings
    assert "--ignore 4" in warning  # the number in the maps, not the class index
    assert survey(folder, zero_is_void=True, ignore=4).never == ["void"]
    (folder / "masks").mkdir()
    save_map(folder / "masks" / "a.png")
    assert "--labels" in find_faults(folder)[0]


# --- what a survey says -------------------------------------------------------------------------


def test_a_survey_counts_in_singular_and_plural(tmp_path):
    text = str(survey(one_map(tmp_path, 0, names="sky")))
    assert text.startswith("1 picture (all 1), 1 class, semantic")
    save_image(tmp_path / "images" / "b.jpg")
    save_map(tmp_path / "labels" / "b.png", 0)
    (tmp_path / "classes.txt").write_text("sky\nroad")
    assert str(survey(tmp_path)).startswith("2 pictures (all 2), 2 classes, semantic")


def test_a_survey_names_sizes_that_occur_and_says_how(tmp_path):
    sizes = [(36, 48), (64, 48), (48, 64), (48, 64)]
    for k, size in enumerate(sizes):
        save_image(tmp_path / "images" / f"{k}.jpg", size)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "labels" / f"{k}.png")
    (line,) = [line for line in str(survey(tmp_path)).splitlines() if line.startswith("size")]
    assert line == ("size (height x width): 3 sizes, from 36 x 48 to 64 x 48, most often 48 x 64")


# --- lists of splits ----------------------------------------------------------------------------

LISTED = {"train": "abc", "val": "d"}


def pictures(folder: Path, names: str = "abcd", images: str = "images") -> None:
    for name in names:
        save_image(folder / images / f"{name}.jpg")
        save_map(folder / "labels" / f"{name}.png")


def lists(folder: Path, line: str = "{}", **splits: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("".join(line.format(*n * 2) + "\n" for n in names))


def names_in(folder: Path, split: str | None) -> str:
    return "".join(sample.file_name[-5] for sample in open_dataset(folder, split))


@pytest.mark.parametrize("line", ["{}", "{}.jpg", "images/{}.jpg", "images\\{}.jpg"])
@pytest.mark.parametrize("where", [".", "splits", "ImageSets/Segmentation"])
def test_lists_are_splits(tmp_path, line, where):
    pictures(tmp_path)
    lists(tmp_path / where, line, **LISTED)
    lists(tmp_path / where, trainval="abcd")
    assert splits_of(tmp_path) == ["train", "val"] and find_faults(tmp_path) == []
    assert names_in(tmp_path, "train") == "abc" and names_in(tmp_path, "val") == "d"
    assert names_in(tmp_path, "validation") == "d" and names_in(tmp_path, None) == "abcd"
    assert survey(tmp_path).pictures == {"train": 3, "val": 1}
    with pytest.raises(ValueError, match="train.*val"):
        open_dataset(tmp_path, "test")


def test_lists_may_name_the_label_map_too_and_names_may_have_spaces(tmp_path):
    pictures(tmp_path)
    lists(tmp_path, "images/{}.jpg labels/{}.png", **LISTED)
    assert names_in(tmp_path, "train") == "abc"
    save_image(tmp_path / "images" / "a b.jpg")
    save_map(tmp_path / "labels" / "a b.png")
    (tmp_path / "val.txt").write_text("a b.jpg")
    assert [s.file_name for s in open_dataset(tmp_path, "val")] == ["a b.jpg"]


def test_pictures_without_maps_that_no_list_names_are_no_part_of_the_data(tmp_path):
    pictures(tmp_path)
    lists(tmp_path, **LISTED)
    save_image(tmp_path / "images" / "e.jpg")
    assert find_faults(tmp_path) == [] and names_in(tmp_path, None) == "abcd"
    lists(tmp_path, train="abce")
    (line,) = find_faults(tmp_path)
    assert "e.jpg: its label map is missing" in line


def test_lists_choose_among_folders_that_are_no_splits(tmp_path):
    for camera in ("left", "right"):
        save_image(tmp_path / "images" / camera / "a.jpg")
        save_map(tmp_path / "labels" / camera / "a.png")
    (tmp_path / "train.txt").write_text("left/a\n")
    (tmp_path / "val.txt").write_text("right/a.jpg\n")
    assert [s.file_name for s in open_dataset(tmp_path, "val")] == ["right/a.jpg"]
    (tmp_path / "val.txt").write_text("a.jpg\n")
    assert "one of several" in find_faults(tmp_path)[0]


def test_without_a_list_to_learn_from_that_is_the_rest(tmp_path):
    pictures(tmp_path)
    lists(tmp_path, val="d")
    assert splits_of(tmp_path) == ["train", "val"] and find_faults(tmp_path) == []
    assert names_in(tmp_path, "train") == "abc" and names_in(tmp_path, "val") == "d"
    assert survey(tmp_path).warnings == []


def test_folders_that_are_splits_need_no_lists(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / "images" / split / f"{split[0]}.jpg")
        save_map(tmp_path / "labels" / split / f"{split[0]}.png")
    lists(tmp_path, train="xyz")
    assert names_in(tmp_path, "train") == "t" and find_faults(tmp_path) == []
    assert "train.txt: not read" in "\n".join(survey(tmp_path).warnings)


def test_faults_of_lists_are_named(tmp_path):
    pictures(tmp_path)
    lists(tmp_path, train="abx", val="d")
    (line,) = find_faults(tmp_path)
    assert "train.txt: line 3, 'x', names no picture" in line
    with pytest.raises(FileNotFoundError, match="line 3"):
        open_dataset(tmp_path, "train")
    assert names_in(tmp_path, "val") == "d"
    (tmp_path / "train.txt").write_bytes("天".encode("gbk"))
    (line,) = find_faults(tmp_path)
    assert "train.txt" in line and "UTF-8" in line


def test_what_is_odd_about_lists_is_warned_of(tmp_path):
    pictures(tmp_path)
    lists(tmp_path, train="abd", val="d")
    warnings = "\n".join(survey(tmp_path).warnings)
    assert "in several of train.txt, val.txt: 1" in warnings
    assert "in none of train.txt, val.txt: 1" in warnings


# --- where things are ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["aa", "aa/images", "aa.json"])
@pytest.mark.parametrize("options", [{}, {"labels": "gt"}, {"binary": True}])
def test_a_path_that_is_not_there_is_said_first(tmp_path, name, options):
    (line,) = find_faults(tmp_path / name, **options)
    assert f"{name}: there is no such" in line and "--data" in line
    for ask in (open_dataset, splits_of):
        with pytest.raises(FileNotFoundError, match="there is no such"):
            ask(tmp_path / name)


@pytest.mark.parametrize("folders", [("imgs", "gt"), (".", "."), ("photos/all", "truth")])
def test_an_unknown_layout_says_what_a_folder_looks_like_and_which_options_help(tmp_path, folders):
    save_image(tmp_path / folders[0] / "a.jpg")
    save_map(tmp_path / folders[1] / "a.png")
    (line,) = find_faults(tmp_path)
    for words in ("layout", "images/", "labels/", "--images FOLDER --labels FOLDER"):
        assert words in line
    assert folders == (".", ".") or folders[1] in line


@pytest.mark.parametrize("part", ["images", "labels", "images/train", "labels/train"])
def test_a_part_of_a_data_set_is_told_its_parent(tmp_path, part):
    save_image(tmp_path / "a" / "images" / "train" / "a.jpg")
    save_map(tmp_path / "a" / "labels" / "train" / "a.png")
    (line,) = find_faults(tmp_path / "a" / part)
    assert f"give its parent, {tmp_path / 'a'}" in line
    (tmp_path / "a" / "other").mkdir()
    assert "parent" not in find_faults(tmp_path / "a" / "other")[0]


def test_a_picture_instead_of_a_folder_is_named(tmp_path):
    save_image(tmp_path / "a.jpg")
    assert "give the folder" in find_faults(tmp_path / "a.jpg")[0]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("Images", "Labels"),
        ("IMAGES", "masks"),
        ("jpegimages", "segmentationclass"),
        ("Train/Images", "Train/Masks"),
        ("Train", "train_Labels"),
    ],
)
def test_capitals_do_not_matter(tmp_path, images, labels):
    save_image(tmp_path / images / "a.jpg")
    save_map(tmp_path / labels / "a.png")
    (tmp_path / "Classes.txt").write_text("sky\nroad")
    assert names_of(tmp_path) == ["sky", "road"]
    assert find_faults(tmp_path) == [] and len(open_dataset(tmp_path)) == 1


def test_capitals_do_not_matter_beside_json(tmp_path):
    pictures(tmp_path, "a", images="Images")
    segment = {"segmentation": [[1, 1, 7, 1, 7, 7]], "id": 0, "image_id": 0, "category_id": 1}
    document = {
        "images": [{"id": 0, "file_name": "a.jpg"}],
        "annotations": [segment | {"iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "instances_train.json").write_text(json.dumps(document))
    assert find_faults(tmp_path) == [] and open_dataset(tmp_path).task == "instance"
    lists(tmp_path, train="a")
    assert "train.txt: not read" in "\n".join(survey(tmp_path).warnings)


@pytest.mark.parametrize("way", [str, Path])
def test_named_folders_are_found_from_the_data_too(tmp_path, monkeypatch, way):
    pictures(tmp_path / "data", images="imgs")
    (tmp_path / "data" / "labels").rename(tmp_path / "data" / "gt")
    options = {"images": way("imgs"), "labels": way("gt")}
    monkeypatch.chdir(tmp_path)
    assert find_faults(tmp_path / "data", **options) == find_faults("data", **options) == []
    assert len(open_dataset("data", **options)) == 4 and splits_of("data", **options) == []
    assert survey("data", **options).pictures == {"all": 4}
    pictures(tmp_path, "a", images="imgs")  # from here comes first
    assert len(open_dataset("data", images="imgs", labels="labels")) == 1
    (line,) = find_faults("data", images="imgs", labels=None)
    assert "label maps" in line and "--labels PATH" in line
    (line,) = find_faults("data", images="nowhere")
    assert "nowhere: there is no such folder" in line and "nor in data" in line


@pytest.mark.parametrize("ending", ["", "_mask"])
@pytest.mark.parametrize(
    ("suffix", "words"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("bmp", "no PNG"), ("tif", "no PNG")]
)
def test_a_label_map_that_is_no_png_is_named_as_what_it_is(tmp_path, ending, suffix, words):
    for name in "ab":
        save_image(tmp_path / "images" / f"{name}.png")
        save_map(tmp_path / "masks" / f"{name}{ending}.{suffix}")
    lines = find_faults(tmp_path)
    assert len(lines) == 2 and f"a{ending}.{suffix}: this label map is" in lines[0]
    assert all(words in line and "missing" not in line for line in lines)


# --- on the command line ------------------------------------------------------------------------


def told(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_lists_and_binary_go_all_the_way(tmp_path, capsys):
    pictures(tmp_path / "data", images="imgs")
    for path in (tmp_path / "data" / "labels").iterdir():
        save_map(path, 0, 0, 255)
    lists(tmp_path / "data", **LISTED)
    form = ("--images", "imgs", "--binary")
    said = told(capsys, "data", "check", tmp_path / "data", *form)
    assert "4 pictures (train 3, val 1), 2 classes" in said and "warning" not in said
    few = ("--init", "tiny", "--steps", 1, "--batch-size", 1, "-o", tmp_path / "run")
    said = told(capsys, "train", "--data", tmp_path / "data", *form, *few)
    assert "3 of split train" in said and "of data, split val" in said
    assert "background, object" in said
    said = told(capsys, "eval", tmp_path / "run", "--data", tmp_path / "data", *form)
    assert "split val" in said
