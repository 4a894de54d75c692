"""The whole way of own data, in every form: check, train, stop, resume, plot, eval, predict."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from made_forms import FORMS, HEIGHT, WIDTH, save_map, write_json
from PIL import Image
from safetensors.torch import load_file

import minim2f
from minim2f.cli import main
from minim2f.data import open_dataset
from minim2f.results import FILES
from minim2f.training import loop
from minim2f.training.run_folder import LOG, MODEL

STEPS = 20
QUICK = ("--init", "tiny", "--short-side", 32, "--batch-size", 1)
AT_LENGTH = {  # a form for each task, beside a run that was never stopped
    "coco panoptic 2017": "panoptic",
    "roboflow": "instance",
    "labels": "semantic",
}


def told(capsys, *arguments: object, code: int = 0) -> str:
    """What a command printed; of one that ends in an error, its sentence."""
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err if code else captured.out


def log(run: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (run / LOG).read_text("utf-8").splitlines()]
    return [line for line in found if line["kind"] == kind]


def stopped_after(count: int, monkeypatch) -> None:
    """Ctrl-C comes during the step with this number, once."""
    taken = loop.step

    def interrupted(state, number, batch, stop=False):
        if number + 1 == count:
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(loop, "step", taken)
        return taken(state, number, batch, stop)

    monkeypatch.setattr(loop, "step", interrupted)


def made(form: str, folder: Path) -> tuple[Path, int, list[str]]:
    """The set, the number of its pictures, its splits; one without splits has four pictures."""
    make, facts = FORMS[form]
    make(folder, *([] if facts["splits"] else ["abcd"]))
    return folder, facts["pictures"] if facts["splits"] else 4, facts["splits"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_goes_the_whole_way(tmp_path, form, capsys, monkeypatch):
    data, count, splits = made(form, tmp_path / "data")
    names = [category["name"] for category in open_dataset(data).categories]
    task = open_dataset(data).task
    steps = STEPS

    printed = told(capsys, "data", "check", data)
    assert f"{data}: {count} pictures, no fault found" in printed
    assert all(split in printed for split in splits) and all(name in printed for name in names)

    run = tmp_path / "run"
    stopped_after(steps // 2, monkeypatch)
    arguments = ("train", "--data", data, *QUICK, "--steps", steps, "-o")
    assert f"--resume {run}" in told(capsys, *arguments, run, code=130)
    printed = told(capsys, "train", "--resume", run)
    learned = 3 if not splits else 2
    of = "" if not splits else f"split {train_of(splits)} of "
    measured = "held-out pictures of data" if not splits else f"split {val_of(splits)}"
    assert f"{learned} of {of}{data} to learn from" in printed
    assert f"({task}): {', '.join(names)}" in printed and measured in printed
    assert [line["step"] for line in log(run, "train")] == list(range(1, steps + 1))
    assert [line["step"] for line in log(run, "eval")] == [steps]
    assert [c["name"] for c in minim2f.load(run).config.categories] == names
    if form in AT_LENGTH:
        assert AT_LENGTH[form] == task
        whole = tmp_path / "whole"
        told(capsys, *arguments, whole)
        one, other = load_file(run / MODEL), load_file(whole / MODEL)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)

    assert str(run / "report.png") in told(capsys, "plot", run)
    assert Image.open(run / "report.png").size > (300, 300)
    scores_are_numbers(run, tmp_path / "scores.json", task, measured, names, capsys)
    prediction_is_data(run, data, tmp_path / "out", task, capsys)


def train_of(splits: list[str]) -> str:
    return next(name for name in splits if name.startswith("train"))


def val_of(splits: list[str]) -> str:
    return next(name for name in splits if name.startswith("val"))


def scores_are_numbers(run, file, task, measured, names, capsys) -> None:
    printed = told(capsys, "eval", run, "--per-class", "--json", file)
    first = {"panoptic": "All", "instance": "AP", "semantic": "mIoU"}[task]
    assert printed.startswith(first) and measured in printed.splitlines()[0]
    document = json.loads(file.read_text("utf-8"))
    assert document["pictures"] == 1 and measured in document["measured_on"]
    assert [row["name"] for row in document["per_class"]] == names
    key = {"panoptic": "pq", "instance": "ap", "semantic": "iou"}[task]
    assert any(key in row for row in document["per_class"])
    scores = log(run, "eval")[-1]["scores"]
    for name, value in scores.items():
        assert 0 <= value <= 1, name
    assert document["scores"].keys() >= {"miou"} & scores.keys()
    if "miou" in scores:  # as it was measured at the end of training
        assert document["scores"]["miou"] == pytest.approx(scores["miou"], abs=1e-9)


def prediction_is_data(run, data, out, task, capsys) -> None:
    picture = open_dataset(data).image_path(0)
    arguments = ("--model", run, "--task", task, "--threshold", 0, "--save", "json", "-o", out)
    printed = told(capsys, "predict", picture, *arguments)
    assert str(out / FILES[task]) in printed
    document = json.loads((out / FILES[task]).read_text("utf-8"))
    categories = {c["id"]: c["name"] for c in open_dataset(data).categories}
    if task == "instance":
        assert document and {d["category_id"] for d in document} <= categories.keys()
        assert all(0 <= d["score"] <= 1 for d in document)
        return
    assert {c["id"]: c["name"] for c in document["categories"]} == categories
    assert [row["file_name"] for row in document["images"]] == [picture.name]
    (entry,) = document["annotations"]
    folder = {"panoptic": "panoptic", "semantic": "labels"}[task]
    numbers = np.array(Image.open(out / folder / entry["file_name"]))
    assert numbers.shape[:2] == open_dataset(data)[0].image.shape[1:]
    if task == "semantic":
        assert set(np.unique(numbers).tolist()) <= categories.keys() | {document["void"]}
    else:
        assert {s["category_id"] for s in entry["segments_info"]} <= categories.keys()


# ---- with faults -------------------------------------------------------------------------------


def spoil_instances(data: Path) -> list[str]:
    """Of four pictures one is missing, and one annotation is a line."""
    path = data / "annotations.json"
    document = json.loads(path.read_text("utf-8"))
    document["annotations"][0]["segmentation"] = [[1, 1, 4, 4]]
    document["images"].append({"id": 77, "file_name": "JPEGImages/none.jpg"})
    write_json(path, document)
    return ["a polygon of 2 points", "none.jpg"]


def spoil_panoptic(data: Path) -> list[str]:
    """One picture has no PNG, and a row no file name."""
    path = data / "panoptic.json"
    document = json.loads(path.read_text("utf-8"))
    document["images"].append({"id": 77})
    write_json(path, document)
    (data / "panoptic" / "e.png").unlink()
    return ["e.png", "file_name"]


def spoil_maps(data: Path) -> list[str]:
    """One picture has no label map, and one has a map of another size."""
    (data / "labels" / "e.png").unlink()
    save_map(data / "labels" / "f.png", np.zeros((3, 3), np.uint8))
    return ["e.png", "f.png"]


def spoil_split(data: Path) -> list[str]:
    """A row of the pictures to measure on is at fault."""
    path = data / "valid" / "_annotations.coco.json"
    document = json.loads(path.read_text("utf-8"))
    document["images"].append({"id": 77, "file_name": "none.jpg"})
    write_json(path, document)
    return ["none.jpg"]


FAULTY = {
    "instances": ("labelme", "abcd", spoil_instances, 4),
    "panoptic": ("ours, panoptic", "abcde", spoil_panoptic, 4),
    "label maps": ("labels", "abcdef", spoil_maps, 4),
    "a split": ("roboflow", None, spoil_split, 4),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_training_goes_on_without_what_is_faulty(tmp_path, kind, capsys):
    form, names, spoil, count = FAULTY[kind]
    data, run = tmp_path / "data", tmp_path / "run"
    FORMS[form][0](data, *([names] if names else []))
    words = spoil(data)
    train = ("train", "--data", data, *QUICK, "--steps", 2, "-o", run)

    assert any(word in told(capsys, *train, code=1) for word in words) and not run.exists()
    assert main(["data", "check", str(data)]) == 1
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)

    with pytest.warns(UserWarning, match="left out"):
        printed = told(capsys, "data", "check", data, "--skip-faulty")
    assert f"{count} pictures, without those at fault" in printed
    with pytest.warns(UserWarning, match="left out") as said:
        printed = told(capsys, *train, "--skip-faulty")
    said = "\n".join(str(warning.message) for warning in said)
    assert all(word in said for word in words)
    learned = 3 if names else 2
    assert f"{learned} of " in printed and [e["step"] for e in log(run, "eval")] == [2]

    with pytest.warns(UserWarning, match="left out"):  # eval and --resume skip them by themselves
        assert "on 1 " in told(capsys, "eval", run).splitlines()[0]
    with pytest.warns(UserWarning, match="left out"):
        told(capsys, "train", "--resume", run, "--steps", 3)
    assert [line["step"] for line in log(run, "train")] == [1, 2, 3]


@pytest.mark.parametrize("form", ["labels", "mmsegmentation"])
def test_eval_reads_a_run_s_pictures_as_the_run_did(tmp_path, form, capsys):
    """Zero is void in these maps; without that word they hold a number of no class."""
    data, _, splits = made(form, tmp_path / "data")
    maps = next(path for path in (data / "labels", data / "ann_dir") if path.is_dir())
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[4:8], numbers[8:] = 1, 2
    for path in maps.rglob("*.png"):
        save_map(path, numbers)
    (data / "classes.txt").write_text("sky\nroad\n")
    train = ("train", "--data", data, *QUICK, "--steps", 1, "-o")
    assert "zero_is_void" in told(capsys, *train, tmp_path / "no", code=1)
    run = tmp_path / "run"
    assert "(semantic): sky, road" in told(capsys, *train, run, "--zero-is-void")
    (score,) = [line["scores"]["miou"] for line in log(run, "eval")]
    for split in ([], ["--split", "train"], ["--split", "all"]):
        printed = told(capsys, "eval", run, *split)
        assert printed.startswith("mIoU") and (split or f"{score:.3f}" in printed)
    file = tmp_path / "scores.json"
    told(capsys, "eval", run, "--data", data, "--json", file)
    names = [row["name"] for row in json.loads(file.read_text("utf-8"))["per_class"]]
    assert names == ["sky", "road"]
