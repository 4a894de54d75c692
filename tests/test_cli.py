"""The command line as a student uses it: what works, and mistakes that end in one sentence."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import minim2f
from minim2f.cli import main
from minim2f.data import open_dataset
from minim2f.data.coco_panoptic import write_coco


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    categories = open_dataset("scenes").categories
    model = minim2f.Mask2Former(
        minim2f.preset("tiny", num_classes=len(categories), categories=categories)
    )
    return minim2f.save(model, tmp_path_factory.mktemp("model") / "random.safetensors")


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_predict_writes_a_picture_and_lists_what_it_found(tmp_path, model_file, capsys, task):
    Image.fromarray(np.full((50, 70, 4), 128, np.uint8)).save(tmp_path / "in.png")
    out = tmp_path / "new" / "out.png"
    arguments = ["predict", str(tmp_path / "in.png"), "--task", task, "--model", str(model_file)]
    assert main([*arguments, "-o", str(out), "--threshold", "0.01"]) == 0
    assert Image.open(out).width > 300
    printed = capsys.readouterr().out
    assert f"wrote {out}" in printed
    assert "score" in printed or "nothing was found" in printed


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_predict_numbers_classes_without_names(tmp_path, capsys, task):
    torch.manual_seed(0)
    model = minim2f.Mask2Former(minim2f.preset("tiny", num_classes=3))
    file = minim2f.save(model, tmp_path / "nameless.safetensors")
    Image.fromarray(np.full((50, 70, 3), 128, np.uint8)).save(tmp_path / "in.png")
    arguments = ["predict", str(tmp_path / "in.png"), "--task", task, "--model", str(file)]
    assert main([*arguments, "-o", str(tmp_path / "out.png"), "--threshold", "0"]) == 0
    assert (tmp_path / "out.png").exists()
    printed = capsys.readouterr().out
    if task != "panoptic":  # a model that never learnt finds nothing in one piece
        assert "class " in printed


def test_predict_names_a_broken_file(tmp_path, model_file, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert main(["predict", str(tmp_path / "broken.jpg"), "--model", str(model_file)]) == 1
    assert "broken.jpg" in capsys.readouterr().err


def test_predict_names_a_missing_model(tmp_path, capsys):
    Image.new("RGB", (40, 40)).save(tmp_path / "in.png")
    assert main(["predict", str(tmp_path / "in.png"), "--model", "nowhere"]) == 1
    assert "no model at nowhere" in capsys.readouterr().err


def test_walkthrough_prints_the_table(capsys):
    assert main(["walkthrough", "--preset", "tiny", "--size", "64x96"]) == 0
    printed = capsys.readouterr().out
    assert "F_pixel" in printed and "(1, 64, 16, 24)" in printed


@pytest.mark.parametrize("preset", ["r50", "r101", "swin_t", "swin_s", "swin_b"])
@pytest.mark.parametrize("decoder", ["fpn", "msdeform"])
def test_walkthrough_of_other_presets_and_both_pixel_decoders(capsys, preset, decoder):
    arguments = ["walkthrough", "--preset", preset, "--pixel-decoder", decoder, "--size", "64x96"]
    assert main(arguments) == 0
    assert "(1, 100, 16, 24)" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["100x96", "big", "64"])
def test_walkthrough_names_a_bad_size(capsys, size):
    assert main(["walkthrough", "--preset", "tiny", "--size", size]) == 1
    assert "minim2f:" in capsys.readouterr().err


def test_train_resume_plot_and_evaluate(tmp_path, capsys):
    out = tmp_path / "new" / "run"
    arguments = "--steps 2 --length 4 --batch-size 2 --evaluate-every 9 --seed 5 --details".split()
    assert main(["train", *arguments, "--eval", str(_scenes(tmp_path)), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out / 'model.safetensors'}" in printed
    before = (out / "log.jsonl").read_text()
    assert main(["train", "--resume", str(out)]) == 0  # nothing is left to do
    assert (out / "log.jsonl").read_text().startswith(before)
    assert main(["plot", str(out)]) == 0 and (out / "report.png").exists()
    assert main(["eval", str(out), "--length", "2"]) == 0
    printed = capsys.readouterr().out
    assert "PQ" in printed and "mIoU" in printed and "AP50" in printed
    assert main(["train", *arguments, "-o", str(out)]) == 1
    assert f"--resume {out}" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--half"]])
def test_train_writes_its_model_once_as_it_was_told(tmp_path, monkeypatch, flags):
    renamed, replace = [], os.replace

    def note(source, target):
        renamed.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    arguments = ["train", "--steps", "1", "--length", "2", "--batch-size", "2", *flags]
    data = str(_scenes(tmp_path, 1))
    assert main([*arguments, "--data", data, "-o", str(tmp_path / "run")]) == 0
    assert renamed.count("model.safetensors") == 1
    stored = load_file(tmp_path / "run" / "model.safetensors").values()
    kinds = {tensor.dtype for tensor in stored if tensor.is_floating_point()}
    assert kinds == {torch.float16 if flags else torch.float32}


def _scenes(folder, length=2):
    return write_coco(open_dataset("scenes", "val", length=length), folder / "scenes").parent


def test_data_of_one_s_own_fine_tune_the_shipped_model(tmp_path, capsys):
    """Instance JSON alone: the classes are others than the model's, so its class head is new."""
    folder = _scenes(tmp_path, 3)
    document = json.loads((folder / "panoptic.json").read_text())
    rows = []
    for picture in document["annotations"]:
        for segment in picture["segments_info"]:
            x, y, w, h = segment["bbox"]
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            row = {k: segment[k] for k in ("category_id", "iscrowd", "area", "bbox")}
            row |= {"id": len(rows) + 1, "image_id": picture["image_id"]}
            if not segment["iscrowd"]:
                rows.append(row | {"segmentation": [polygon]})
    used = {row["category_id"] for row in rows}
    categories = [
        c | {"name": f"my {c['name']}"} for c in document["categories"] if c["id"] in used
    ]
    own = {"images": document["images"], "annotations": rows, "categories": categories}
    (tmp_path / "mine" / "images").mkdir(parents=True)
    for image in (folder / "images").iterdir():
        (tmp_path / "mine" / "images" / image.name).write_bytes(image.read_bytes())
    path = tmp_path / "mine" / "instances.json"
    path.write_text(json.dumps(own))
    assert main(["data", "check", str(path)]) == 0
    assert "3 pictures, no fault" in capsys.readouterr().out
    out = tmp_path / "run"
    arguments = ["train", "--data", str(path), "--init", "tiny", "--steps", "2", "-o", str(out)]
    assert main([*arguments, "--batch-size", "2", "--eval", str(path)]) == 0
    assert "re-initialised" in capsys.readouterr().out
    names = [c["name"] for c in minim2f.load(out).config.categories]
    assert names == [c["name"] for c in sorted(categories, key=lambda c: c["id"])]
    assert main(["eval", str(out), "--data", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "AP50" in printed and "PQ" not in printed


@pytest.mark.parametrize("jitter", ["none", "shortest-edge", "large-scale"])
def test_a_folder_of_label_maps_is_trained_on(tmp_path, capsys, jitter):
    for kind in ("images", "labels"):
        (tmp_path / "maps" / kind).mkdir(parents=True)
    for n in range(3):
        labels = np.zeros((64, 96), np.uint8)
        labels[20 + n :] = 1
        labels[:4] = 255
        picture = np.stack([labels * 200, 255 - labels, labels], -1)
        Image.fromarray(picture).save(tmp_path / "maps" / "images" / f"{n}.jpg")
        Image.fromarray(labels).save(tmp_path / "maps" / "labels" / f"{n}.png")
    (tmp_path / "maps" / "classes.txt").write_text("sky\nground\n")
    maps, out = str(tmp_path / "maps"), str(tmp_path / "run")
    assert main(["data", "check", maps]) == 0
    arguments = ["train", "--data", maps, "--steps", "2", "--batch-size", "2", "-o", out]
    assert main([*arguments, "--jitter", jitter, "--crop", "64", "--color"]) == 0
    assert main(["eval", out, "--data", maps]) == 0
    printed = capsys.readouterr().out
    assert "mIoU" in printed and "PQ" not in printed and "AP" not in printed
    assert main(["train", "--data", maps, "--task", "panoptic", "-o", str(tmp_path / "no")]) == 1
    assert "semantic" in capsys.readouterr().err


def test_data_check_lists_the_faults(tmp_path, capsys):
    folder = _scenes(tmp_path)
    next((folder / "images").iterdir()).unlink()
    assert main(["data", "check", str(folder)]) == 1
    captured = capsys.readouterr()
    assert ".png" in captured.out and "1 fault" in captured.err


def test_fetch_from_a_mirror_that_is_not_there(tmp_path, capsys):
    arguments = [
        "data",
        "fetch",
        "--mirror",
        str(tmp_path / "no"),
        "--folder",
        str(tmp_path / "here"),
    ]
    assert main(arguments) == 1
    assert "--mirror" in capsys.readouterr().err


def test_scenes_as_coco_files_are_a_data_set(tmp_path, capsys):
    assert main(["data", "scenes", "--folder", str(tmp_path / "s"), "--length", "3"]) == 0
    written, drawn = open_dataset(tmp_path / "s"), open_dataset("scenes", length=3)
    assert len(written) == 3
    for mine, theirs in zip(written, drawn):
        assert torch.equal(mine.image, theirs.image) and torch.equal(mine.ids, theirs.ids)
        assert torch.equal(mine.labels, theirs.labels) and torch.equal(mine.masks, theirs.masks)


def test_a_data_set_that_does_not_exist_is_named(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path / "mine"), "-o", str(tmp_path / "m")]) == 1
    assert "mine" in capsys.readouterr().err
