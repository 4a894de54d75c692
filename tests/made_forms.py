"""Made data sets of every form that `minim2f.data.forms` knows, for the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from minim2f.data.coco_panoptic import id_to_rgb

HEIGHT, WIDTH = 12, 16
CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "grass", "isthing": 0}]


def save_image(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_map(path: Path, numbers: np.ndarray | None = None) -> None:
    """A label map: class 0 above, class 1 below, a column of void."""
    if numbers is None:
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        numbers[6:], numbers[:, 0] = 1, 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers).save(path)


def write_json(path: Path, document: object, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding=encoding)


def instances(*names: str) -> dict:
    """A document with one cat in each picture."""
    images = [
        {"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for k, name in enumerate(names)
    ]
    annotations = [
        {
            "id": k,
            "image_id": k,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [1, 1, 6, 6],
            "area": 36,
            "segmentation": [[1, 1, 7, 1, 7, 7, 1, 7]],
        }
        for k in range(len(names))
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_instances(json_path: Path, image_folder: Path, *names: str, prefix: str = "") -> None:
    for name in names:
        save_image(image_folder / prefix / name)
    write_json(json_path, instances(*(prefix + name for name in names)))


def write_panoptic(json_path: Path, image_folder: Path, png_folder: Path, *names: str) -> None:
    """Grass everywhere, and a cat on it."""
    ids = np.full((HEIGHT, WIDTH), 700)
    ids[2:5, 3:9] = 5
    images, annotations = [], []
    for k, name in enumerate(names):
        save_image(image_folder / name)
        png_folder.mkdir(parents=True, exist_ok=True)
        png = Path(name).with_suffix(".png").name
        Image.fromarray(id_to_rgb(ids)).save(png_folder / png)
        images.append({"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT})
        segments = [{"id": 700, "category_id": 2}, {"id": 5, "category_id": 1}]
        annotations.append({"image_id": k, "file_name": png, "segments_info": segments})
    write_json(json_path, {"images": images, "annotations": annotations, "categories": CATEGORIES})


def jpgs(names: str) -> list[str]:
    return [f"{name}.jpg" for name in names]


def roboflow(f: Path) -> None:
    for split, names in (("train", "ab"), ("valid", "c"), ("test", "d")):
        write_instances(f / split / "_annotations.coco.json", f / split, *jpgs(names))


def roboflow_one_folder(f: Path, names: str = "ab") -> None:
    write_instances(f / "_annotations.coco.json", f, *jpgs(names))


def ultralytics(f: Path) -> None:
    for split, names in (("train2017", "ab"), ("val2017", "c")):
        json_path = f / "annotations" / f"instances_{split}.json"
        write_instances(json_path, f / "images" / split, *jpgs(names))
        (f / "labels" / split).mkdir(parents=True)
        (f / "labels" / split / "a.txt").write_text("0 0.1 0.1 0.2 0.2")


def annotations_by_split(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        write_instances(f / "annotations" / f"{split}.json", f / "images" / split, *jpgs(names))


def cvat(f: Path, names: str = "ab") -> None:
    path = f / "annotations" / "instances_default.json"
    write_instances(path, f / "images" / "default", *jpgs(names))


def cvat_flat(f: Path, names: str = "ab") -> None:
    write_instances(f / "annotations" / "instances_default.json", f / "images", *jpgs(names))


def fiftyone(f: Path, names: str = "ab") -> None:
    write_instances(f / "labels.json", f / "data", *jpgs(names))


def fiftyone_splits(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        write_instances(f / split / "labels.json", f / split / "data", *jpgs(names))


def labelme(f: Path, names: str = "ab") -> None:
    write_instances(f / "annotations.json", f, *jpgs(names), prefix="JPEGImages/")


def labelme_bare_names(f: Path, names: str = "ab") -> None:
    write_instances(f / "annotations.json", f / "JPEGImages", *jpgs(names))


def coco_2014(f: Path) -> None:
    for split, names in (("train2014", "ab"), ("val2014", "c")):
        files = [f"COCO_{split}_{name}" for name in jpgs(names)]
        write_instances(f / "annotations" / f"instances_{split}.json", f / split, *files)
    write_json(f / "annotations" / "captions_val2014.json", {"images": [], "annotations": []})
    write_json(f / "annotations" / "image_info_test2014.json", {"images": []})


def coco_panoptic_2017(f: Path) -> None:
    for split, names in (("train2017", "ab"), ("val2017", "c")):
        stem = f / "annotations" / f"panoptic_{split}"
        write_panoptic(stem.with_suffix(".json"), f / split, stem, *jpgs(names))


def panopticapi_sample(f: Path, names: str = "ab") -> None:
    pngs = f / "panoptic_examples"
    write_panoptic(f / "panoptic_examples.json", f / "input_images", pngs, *jpgs(names))
    write_json(f / "images_info_examples.json", {"images": [], "categories": []})


def ours_panoptic(f: Path, names: str = "ab") -> None:
    write_panoptic(f / "panoptic.json", f / "images", f / "panoptic", *jpgs(names))


def ours_instances(f: Path, names: str = "ab") -> None:
    write_instances(f / "instances.json", f / "images", *jpgs(names))


def instances_beside_their_folders(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        write_instances(f / f"instances_{split}.json", f / split, *jpgs(names))


def panoptic_pngs_by_split(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        path = f / "annotations" / f"panoptic_{split}.json"
        write_panoptic(path, f / "images" / split, f / "panoptic" / split, *jpgs(names))


def panoptic_named_by_split(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        pngs = f / f"panoptic_{split}"
        write_panoptic(f / f"{split}.json", f / "images" / split, pngs, *jpgs(names))


def panoptic_pngs_beside_the_json(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        own = f / split
        write_panoptic(own / "annotations.json", own / "images", own, *jpgs(names))


def any_name(f: Path, names: str = "ab") -> None:
    write_instances(f / "my nuts.json", f / "images", *jpgs(names))
    write_json(f / "settings.json", {"version": 3})


def maps_in(labels: str, ending: str = "", images: str = "images") -> Callable[..., None]:
    def make(f: Path, names: str = "ab") -> None:
        for name in names:
            save_image(f / images / f"{name}.jpg")
            save_map(f / labels / f"{name}{ending}.png")

    return make


def maps_by_split(
    images: str, labels: str, ending: str = "", splits: tuple[str, str] = ("train", "val")
) -> Callable[[Path], None]:
    def make(f: Path) -> None:
        for split, names in zip(splits, ("ab", "c")):
            for name in names:
                save_image(f / images.format(split=split) / f"{name}.jpg")
                save_map(f / labels.format(split=split) / f"{name}{ending}.png")

    return make


def maps_camvid(f: Path) -> None:
    for split, names in (("train", "ab"), ("val", "c")):
        for name in names:
            save_image(f / split / f"{name}.png")
            save_map(f / f"{split}annot" / f"{name}.png")


def cityscapes(f: Path) -> None:
    for city, name in (("train/aachen", "a"), ("train/bochum", "b"), ("val/lindau", "c")):
        save_image(f / "leftImg8bit" / city / f"{name}_0_leftImg8bit.png")
        for kind in ("labelTrainIds", "labelIds", "color"):
            save_map(f / "gtFine" / city / f"{name}_0_gtFine_{kind}.png")


def palette(f: Path, names: str = "ab") -> None:
    maps_in("SegmentationClass", images="JPEGImages")(f, names)
    for path in (f / "SegmentationClass").iterdir():
        image = Image.open(path)
        image.load()
        image.putpalette([255 - k // 3 for k in range(768)])
        image.save(path)


TWO = {"pictures": 2, "splits": []}
THREE = {"pictures": 3, "splits": ["train", "val"]}
YEAR = {"pictures": 3, "splits": ["train2017", "val2017"]}
FORMS = {
    "roboflow": (roboflow, {"pictures": 4, "splits": ["test", "train", "valid"]}),
    "roboflow, one folder": (roboflow_one_folder, TWO),
    "ultralytics": (ultralytics, YEAR),
    "annotations by split": (annotations_by_split, THREE),
    "cvat": (cvat, TWO),
    "cvat, flat": (cvat_flat, TWO),
    "fiftyone": (fiftyone, TWO),
    "fiftyone, splits": (fiftyone_splits, THREE),
    "labelme": (labelme, TWO),
    "labelme, bare names": (labelme_bare_names, TWO),
    "coco 2014": (coco_2014, {"pictures": 3, "splits": ["train2014", "val2014"]}),
    "coco panoptic 2017": (coco_panoptic_2017, YEAR),
    "panopticapi": (panopticapi_sample, TWO),
    "ours, panoptic": (ours_panoptic, TWO),
    "ours, instances": (ours_instances, TWO),
    "instances beside their folders": (instances_beside_their_folders, THREE),
    "panoptic PNGs by split": (panoptic_pngs_by_split, THREE),
    "panoptic named by split": (panoptic_named_by_split, THREE),
    "panoptic PNGs beside the JSON": (panoptic_pngs_beside_the_json, THREE),
    "any name": (any_name, TWO),
    "labels": (maps_in("labels"), TWO),
    "masks": (maps_in("masks"), TWO),
    "annotations": (maps_in("annotations"), TWO),
    "_mask": (maps_in("masks", "_mask"), TWO),
    "_label": (maps_in("labels", "_label"), TWO),
    "_P": (maps_in("labels", "_P"), TWO),
    "_gtFine_labelTrainIds": (maps_in("labels", "_gtFine_labelTrainIds"), TWO),
    "_gtFine_labelIds": (maps_in("labels", "_gtFine_labelIds"), TWO),
    "split first": (
        maps_by_split("{split}/images", "{split}/masks", "_mask", ("train", "valid")),
        {"pictures": 3, "splits": ["train", "valid"]},
    ),
    "split first, labels": (maps_by_split("{split}/images", "{split}/labels", "_labels"), THREE),
    "split first, annotations": (
        maps_by_split("{split}/images", "{split}/annotations", "_seg"),
        THREE,
    ),
    "train_labels": (maps_by_split("{split}", "{split}_labels", "_labelIds"), THREE),
    "train_masks": (maps_by_split("{split}", "{split}_masks"), THREE),
    "mmsegmentation": (maps_by_split("img_dir/{split}", "ann_dir/{split}"), THREE),
    "camvid": (maps_camvid, THREE),
    "cityscapes": (cityscapes, THREE),
    "ade20k": (
        maps_by_split("images/{split}", "annotations/{split}", "", ("training", "validation")),
        {"pictures": 3, "splits": ["training", "validation"]},
    ),
    "palette": (palette, TWO),
}
