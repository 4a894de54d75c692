"""The command line as a student uses it: what works, and mistakes that end in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import minim2f
from minim2f.__main__ import main
from minim2f.data import open_dataset


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


def test_train_then_evaluate(tmp_path, capsys):
    out = tmp_path / "new" / "model.safetensors"
    assert (
        main(["train", "--steps", "2", "--length", "8", "--batch-size", "2", "-o", str(out)]) == 0
    )
    assert main(["eval", str(out), "--length", "2"]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out}" in printed and "PQ" in printed and "mIoU" in printed


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
