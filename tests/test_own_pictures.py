"""Somebody's own pictures, from check to resume, and every trap that was found on the way."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import minim2f
from minim2f import cli, fonts, plots
from minim2f.cli import main
from minim2f.commands import predict
from minim2f.commands.arguments import described
from minim2f.commands.pictures import Source
from minim2f.commands.predict import drawings_of
from minim2f.data import open_dataset
from minim2f.data.coco_panoptic import rgb_to_id, write_coco
from minim2f.data.sample import SampleList
from minim2f.inference import as_result
from minim2f.prediction import predict_masks
from minim2f.results import FILES, label_map
from minim2f.training import loop, progress
from minim2f.training.class_names import aligned
from minim2f.training.evaluation import evaluate
from minim2f.training.recipe import TINY, TrainConfig
from minim2f.training.run_folder import CHECKPOINT, LOG, MODEL

ROOT = Path(__file__).resolve().parents[1]


def label_maps(
    folder: Path, count: int = 20, size=(40, 56), names="sky ground ball", split=""
) -> Path:
    """Sky above ground with a ball; each picture a little different from the others."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    height, width = size
    for n in range(count):
        labels = np.zeros(size, np.uint8)
        labels[height // 2 + n % 5 :] = 1
        labels[5:15, 3 * n % (width - 12) : 3 * n % (width - 12) + 10] = 2
        labels[:2] = 255
        picture = np.stack([labels % 3 * 80, 200 - labels % 3 * 60, (labels == 2) * 250], -1)
        Image.fromarray(picture.astype(np.uint8)).save(folder / "images" / split / f"{n}.png")
        Image.fromarray(labels).save(folder / "labels" / split / f"{n}.png")
    (folder / "classes.txt").write_text("\n".join(names.split()), "utf-8")
    return folder


def lines(run: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (run / LOG).read_text("utf-8").splitlines()]
    return [line for line in found if line["kind"] == kind]


def told(capsys, *arguments: object, code: int = 0) -> str:
    """What a command printed; of one that ends in an error, its sentence."""
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err if code else captured.out


QUICK = ("--init", "tiny", "--batch-size", 2)


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    return label_maps(tmp_path_factory.mktemp("data") / "maps")


@pytest.fixture(scope="module")
def run(tmp_path_factory, maps) -> Path:
    """A run of 20 steps on twenty label maps and nothing else; do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", "--data", str(maps), "--steps", "20", *map(str, QUICK)]
    assert main([*arguments, "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(tmp_path, run) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


# ---- the whole way ---------------------------------------------------------------------------


def test_twenty_label_maps_and_nothing_else_go_all_the_way(tmp_path, maps, copy, capsys):
    assert "20 pictures" in told(capsys, "data", "check", maps)
    assert "report.png" in told(capsys, "plot", copy)
    assert "mIoU" in told(capsys, "eval", copy)  # on its own held-out pictures
    out = tmp_path / "drawn"
    printed = told(capsys, "predict", maps / "images", "--model", copy, "-o", out)
    assert len(list(out.iterdir())) == printed.count("wrote") == 20
    told(capsys, "train", "--resume", copy, "--steps", 22)
    assert [line["step"] for line in lines(copy, "train")] == list(range(1, 23))
    assert [line["step"] for line in lines(copy, "eval")] == [20, 22]


# ---- A1: what is measured was not learned ----------------------------------------------------


def test_a_share_is_held_out_named_recorded_and_measured(tmp_path, maps, capsys):
    out = tmp_path / "run"
    printed = told(capsys, "train", "--data", maps, "--steps", 1, *QUICK, "-o", out)
    assert "16 of" in printed and "20%" in printed and "seed 0" in printed
    assert "on 4 held-out pictures of maps" in printed
    source = lines(out, "start")[0]["source"]
    assert source["hold_out"] == 0.2 and (source["learned"], source["measured"]) == (16, 4)
    assert lines(out, "eval")[0]["on"] == "4 held-out pictures of maps"
    learned, held = Source(str(maps), hold_out=0.2).parts(0)
    names = [{sample.file_name for sample in part} for part in (learned, held)]
    assert len(names[0] | names[1]) == 20 and not names[0] & names[1]


def test_train_learns_from_nothing_that_is_held_out(tmp_path, maps, monkeypatch):
    seen, taken = set(), loop.step

    def note(state, number, batch, stop=False):
        seen.update(sample.file_name for samples in batch for sample in samples)
        return taken(state, number, batch, stop)

    monkeypatch.setattr(loop, "step", note)
    arguments = ["train", "--data", str(maps), "--steps", "8", "--batch-size", "4", "-o"]
    assert main([*arguments, str(tmp_path / "run"), "--eval", "none", "--hold-out", "0.2"]) == 0
    _, held = Source(str(maps), hold_out=0.2).parts(0)
    assert len(seen) == 16 and not seen & {sample.file_name for sample in held}


def test_eval_takes_the_pictures_that_train_held_out(run, capsys):
    def scores(*more):
        return told(capsys, "eval", run, *more).splitlines()

    last = lines(run, "eval")[-1]["scores"]["miou"]
    assert scores()[0] == f"mIoU   {last:.3f}  on 4 held-out pictures of maps"
    for line in scores("--split", "train"):
        assert "on 16 training pictures" in line
    for line in scores("--split", "all"):
        assert "20 pictures, among them training pictures" in line
    assert "the first 2 of 4 held-out" in scores("--length", 2)[0]


def test_eval_from_the_model_file_knows_its_run_too(run, capsys):
    assert "held-out" in told(capsys, "eval", run / MODEL)


def test_a_model_of_other_pictures_is_measured_on_all(tmp_path, run, capsys):
    others = label_maps(tmp_path / "others", 3)
    assert "on 3 pictures of others" in told(capsys, "eval", run, "--data", others)


def test_training_pictures_are_called_so_whichever_way_they_come(tmp_path, maps, capsys):
    for n, more in enumerate(
        [["--eval", "train"], ["--eval", maps], ["--eval", maps / "images/.."]]
    ):
        out = tmp_path / str(n)
        printed = told(capsys, "train", "--data", maps, "--steps", 1, *QUICK, *more, "-o", out)
        scored = next(line for line in printed.splitlines() if line.startswith("step 1:"))
        assert "on 20 training pictures" in scored
        for line in told(capsys, "eval", out).splitlines():
            assert "on 20 training pictures" in line


@pytest.mark.parametrize(("train", "val"), [("train", "valid"), ("train2017", "val2017")])
def test_splits_by_their_usual_names_are_found(tmp_path, capsys, train, val):
    for split, count in ((train, 4), (val, 3), ("test", 2)):
        label_maps(tmp_path / "maps", count, split=split)
    arguments = ("train", "--data", tmp_path / "maps", "--steps", 1, *QUICK, "-o")
    printed = told(capsys, *arguments, tmp_path / "run")
    assert f"4 of split {train}" in printed and f"on 3 pictures of maps, split {val}" in printed
    assert "held out" not in printed
    run = tmp_path / "run"
    assert f"split {val}" in told(capsys, "eval", run)
    assert "on 2 pictures of maps, split test" in told(capsys, "eval", run, "--split", "test")
    assert "on 4 training pictures" in told(capsys, "eval", run, "--split", train)
    printed = told(capsys, *arguments, tmp_path / "two", "--eval-split", "test")
    assert "step 1" in printed and "on 2 pictures of maps, split test" in printed


def test_splits_by_other_names_are_asked_for_and_taken(tmp_path, capsys):
    for split, count in (("aachen", 4), ("bochum", 3)):
        label_maps(tmp_path / "cities", count, split=split)
    arguments = ("train", "--data", tmp_path / "cities", "--steps", 1, *QUICK, "-o")
    asked = told(capsys, *arguments, tmp_path / "no", code=1)
    assert "aachen, bochum" in asked and "--split" in asked
    asked = told(capsys, *arguments, tmp_path / "no", "--split", "ulm", code=1)
    assert "'ulm'" in asked and "aachen" in asked
    more = ("--split", "aachen", "--eval-split", "bochum")
    printed = told(capsys, *arguments, tmp_path / "run", *more)
    assert "4 of split aachen" in printed and "on 3 pictures of cities, split bochum" in printed
    assert "7 of" in told(capsys, *arguments, tmp_path / "all", "--split", "all", "--hold-out", 0)


@pytest.mark.parametrize("share", ["1", "-0.1", "20"])
def test_a_share_that_is_none_is_refused(tmp_path, maps, capsys, share):
    refused = told(
        capsys, "train", "--data", maps, "--hold-out", share, "-o", tmp_path / "r", code=1
    )
    assert "--hold-out" in refused and not (tmp_path / "r").exists()


def test_without_holding_out_all_pictures_are_learned(tmp_path, maps, capsys):
    out = tmp_path / "run"
    told(capsys, "train", "--data", maps, "--steps", 1, *QUICK, "--hold-out", 0, "-o", out)
    assert lines(out, "start")[0]["source"]["learned"] == 20 and not lines(out, "eval")


def test_a_run_from_before_holding_out_is_not_praised(copy, capsys):
    """Its log has no word on the pictures, and it learned from all of them."""
    first, *rest = (copy / LOG).read_text("utf-8").splitlines()
    old = json.loads(first)
    del old["source"], old["config"], old["arguments"]["hold_out"]
    (copy / LOG).write_text("\n".join([json.dumps(old), *rest]) + "\n", "utf-8")
    assert "on 20 training pictures" in told(capsys, "eval", copy)


# ---- A2: what a run will do ------------------------------------------------------------------


def test_train_begins_with_what_it_will_do(tmp_path, capsys):
    maps = label_maps(tmp_path / "maps", 5, (300, 400))
    arguments = ("--steps", 1, "--batch-size", 2, "--init", "tiny", "--eval", "none")
    printed = told(capsys, "train", "--data", maps, *arguments, "-o", tmp_path / "run")
    said = {line.split()[0]: line for line in printed.splitlines()}
    assert "3 (semantic): sky, ground, ball" in said["classes"]
    assert "240 x 320" in said["size"] and "300 x 400" in said["size"]
    assert "height x width" in said["size"]
    assert "16; the fullest of 5 pictures has 3 segments" in said["queries"]
    assert "1 with 2 pictures each: 0.4 epochs" in said["steps"]
    assert "none" in said["evaluation"]
    assert printed.index("evaluation") < printed.index("the first step")


@pytest.mark.parametrize(
    ("own", "seen"), [(40, 96), (120, 120), (240, 240), (360, 240), (540, 270), (2000, 320)]
)
def test_a_model_for_scenes_sees_photographs_at_a_size_that_suits_them(own, seen):
    from argparse import Namespace

    from minim2f.commands.plan import Look, _short_side

    look = Look([(own, 2 * own)], [3], 1)
    assert _short_side(Namespace(data="mine"), minim2f.preset("tiny"), look) == seen
    assert _short_side(Namespace(data="scenes"), minim2f.preset("tiny"), look) is None
    assert _short_side(Namespace(data="mine"), minim2f.preset("r50"), look) is None


def test_there_are_queries_for_the_fullest_picture(tmp_path, capsys):
    names = " ".join(f"c{k}" for k in range(24))
    maps = label_maps(tmp_path / "maps", 3, names=names)
    stripes = np.repeat(np.arange(24, dtype=np.uint8), 3)[:, None].repeat(72, 1)
    Image.fromarray(stripes).save(tmp_path / "maps" / "labels" / "0.png")
    Image.fromarray(stripes[..., None].repeat(3, 2)).save(tmp_path / "maps" / "images" / "0.png")
    arguments = ("train", "--data", maps, "--steps", 1, *QUICK, "--hold-out", 0)
    printed = told(capsys, *arguments, "-o", tmp_path / "run")
    assert "30; the fullest of 3 pictures has 24 segments" in printed
    assert minim2f.load(tmp_path / "run").config.num_queries == 30
    printed = told(capsys, *arguments, "--queries", 20, "-o", tmp_path / "few")
    assert "20; the fullest" in printed and "warning" in printed  # one's own choice stands


def test_pictures_that_do_not_fit_into_memory_are_read_when_needed(maps, monkeypatch):
    from minim2f.commands import plan

    dataset, config = open_dataset(maps, None), minim2f.preset("tiny")
    look = plan.look_at(dataset)
    assert isinstance(plan._as_seen(dataset, config, TINY, look), SampleList)
    monkeypatch.setattr(plan, "KEPT", 1000)
    assert plan._as_seen(dataset, config, TINY, look) is dataset


# ---- A5: other classes, other options --------------------------------------------------------


def test_eval_refuses_a_model_of_other_classes(tmp_path, run, capsys):
    others = label_maps(tmp_path / "others", 3, names="nut bolt washer")
    refused = told(capsys, "eval", run, "--data", others, code=1)
    assert "sky, ground, ball" in refused and "nut, bolt, washer" in refused


def test_the_pictures_of_eval_must_have_the_run_s_classes_before_its_first_step(
    tmp_path, maps, capsys
):
    others, out = label_maps(tmp_path / "others", 3, names="nut bolt washer"), tmp_path / "run"
    arguments = ("train", "--data", maps, "--eval", others, *QUICK, "-o", out)
    assert "nut, bolt, washer" in told(capsys, *arguments, code=1)
    assert not out.exists()


def named(*names: str, first: int = 1) -> list[dict]:
    return [{"id": first + k, "name": name, "isthing": 1} for k, name in enumerate(names)]


def test_classes_are_the_same_by_name_whatever_their_numbers_and_order():
    """The shipped model, its classes turned round and numbered anew, has the same scores."""
    scenes = open_dataset("scenes", "val", length=3)
    model, again = minim2f.load("tiny"), minim2f.load("tiny")
    assert aligned(model.config, scenes) == (model.config, scenes.categories, "")
    turned = [c | {"id": 500 + k} for k, c in enumerate(reversed(scenes.categories))]
    again.config = dataclasses.replace(again.config, categories=tuple(turned))
    config, categories, words = aligned(again.config, scenes)
    assert words == "" and categories == scenes.categories
    assert list(config.classes) == scenes.categories[::-1]
    head = again.decoder.class_head
    for weights in (head.weight.data, head.bias.data):
        weights[:-1] = weights[:-1].flip(0)
    expected, scores = evaluate(model, scenes), evaluate(again, scenes)
    assert [(q, 12 - k, n) for q, k, n in scores.pop("wins")] == sorted(
        expected.pop("wins"), key=lambda win: (win[0], -win[1])
    )
    assert scores == expected and scores["All"]["pq"] > 0.5


def test_what_is_a_thing_is_the_truth_s_choice():
    scenes = open_dataset("scenes", "val", length=2)
    model = minim2f.load("tiny")
    other = tuple(c | {"isthing": 1 - c["isthing"]} for c in scenes.categories)
    expected = evaluate(model, scenes)
    model.config = dataclasses.replace(model.config, categories=other)
    assert aligned(model.config, scenes).categories == scenes.categories
    assert evaluate(model, scenes) == expected


def test_classes_that_only_one_side_has_are_told_and_count():
    """The shipped model calls cars zebras: cars are missed, zebras wrong, all else is as it was."""
    scenes, model = open_dataset("scenes", "val", length=12), minim2f.load("tiny")
    expected, car = evaluate(model, scenes), {c["name"]: c["id"] for c in scenes.categories}["car"]
    assert expected["per_class"][car]["pq"] > 0.5
    zebra = named("zebra", first=car)[0]  # a number that the data need
    ours = [zebra if c["id"] == car else c for c in scenes.categories]
    model.config = dataclasses.replace(model.config, categories=tuple(ours))
    config, categories, words = aligned(model.config, scenes)
    assert "does not know car" in words and "have no zebra" in words
    assert categories[:-1] == scenes.categories and categories[-1]["name"] == "zebra"
    assert categories[-1] in config.classes and len({c["id"] for c in categories}) == 14
    scores = evaluate(model, scenes)
    assert scores["All"]["n"] == expected["All"]["n"] + 1
    assert (
        scores["per_class"].pop(car)["pq"]
        == scores["per_class"].pop(categories[-1]["id"])["pq"]
        == 0
    )
    del expected["per_class"][car]
    assert scores["per_class"] == expected["per_class"]


def test_a_class_of_the_model_alone_keeps_its_number_where_it_is_free():
    scenes = open_dataset("scenes", "val", length=2)
    ours = scenes.categories[1:] + named("zebra", first=900)
    config = minim2f.preset("tiny", num_classes=13, categories=ours)
    assert aligned(config, scenes).categories[-1] == named("zebra", first=900)[0]


def test_classes_that_share_a_name_stay_apart():
    two = SampleList([], named("car", "Car", "bus"), "panoptic")
    one = minim2f.preset("tiny", num_classes=2, categories=named("bus", "car", first=7))
    config, categories, words = aligned(one, two)
    assert [c["id"] for c in config.classes] == [3, 1] and categories == two.categories
    assert words == "the model does not know Car, which count as missed"
    both = minim2f.preset("tiny", num_classes=3, categories=named("car", "Car", "bus", first=7))
    assert [c["id"] for c in aligned(both, two).config.classes] == [1, 2, 3]


def test_a_model_without_names_is_taken_by_order_or_refused():
    scenes = open_dataset("scenes", "val", length=2)
    config, categories, words = aligned(minim2f.preset("tiny"), scenes)
    assert "order" in words and list(config.classes) == categories == scenes.categories
    with pytest.raises(ValueError, match="133 classes without names"):
        aligned(minim2f.preset("r50"), scenes)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--preset", "r50"),
        ("--length", 3),
        ("--queries", 9),
        ("--short-side", 64),
        ("--hold-out", 0.5),
        ("--split", "all"),
        ("--task", "semantic"),
        ("--seed", 4),
        ("--learning-rate", 1.0),
        ("--batch-size", 4),
        ("--imagenet", None),
    ],
)
def test_what_may_not_change_is_refused_by_name(copy, capsys, option, value):
    given = [option] if value is None else [option, value]
    before = (copy / LOG).read_bytes()
    refused = told(capsys, "train", "--resume", copy, *given, "--steps", 22, code=1)
    assert option in refused and "--steps" in refused
    assert (copy / LOG).read_bytes() == before


def test_what_was_given_before_may_be_given_again(copy, maps, capsys):
    again = ("--data", maps, "--steps", 20, "--batch-size", 2, "--init", "tiny")
    assert "all 20 steps" in told(capsys, "train", "--resume", copy, *again)


def test_a_run_goes_on_in_another_folder_with_data_that_moved(
    tmp_path, run, maps, capsys, monkeypatch
):
    moved, out = shutil.copytree(maps, tmp_path / "moved"), tmp_path / "new" / "run"
    monkeypatch.chdir(tmp_path)
    before = (run / LOG).read_bytes()
    arguments = ("--data", "moved", "--steps", 21, "--device", "cpu", "--save-every", 7)
    told(capsys, "train", "--resume", run, *arguments, "-o", "new/run")
    assert (run / LOG).read_bytes() == before and len(lines(out, "train")) == 21
    assert lines(out, "start")[-1]["source"]["data"] == str(moved)
    monkeypatch.chdir(maps)
    shutil.rmtree(tmp_path / "new" / "run" / "pictures")
    told(capsys, "train", "--resume", out, "--steps", 22)  # the log's paths hold from everywhere
    assert len(lines(out, "train")) == 22
    assert "holds a run" in told(capsys, "train", "--resume", run, "-o", out, code=1)


def test_other_data_are_not_gone_on_with(tmp_path, copy, capsys):
    fewer = label_maps(tmp_path / "fewer", 10)
    refused = told(capsys, "train", "--resume", copy, "--data", fewer, "--steps", 30, code=1)
    assert "16 pictures, and there are 8" in refused
    others = label_maps(tmp_path / "others", 20, names="nut bolt washer")
    refused = told(capsys, "train", "--resume", copy, "--data", others, "--steps", 30, code=1)
    assert "nut" in refused and "sky" in refused


# ---- B9: a fault in evaluation, and longer runs ----------------------------------------------


def test_data_of_eval_are_read_before_the_first_step(tmp_path, maps, capsys):
    broken = label_maps(tmp_path / "broken", 3)
    (broken / "images" / "1.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    refused = told(capsys, "train", "--data", maps, "--eval", broken, *QUICK, "-o", out, code=1)
    assert "1.png" in refused and not out.exists()


@pytest.mark.parametrize("place", ["evaluate", "comparison"])
def test_a_fault_in_evaluation_does_not_cost_the_run(tmp_path, maps, capsys, monkeypatch, place):
    out = tmp_path / "run"

    def breaks(*_, **__):
        assert (out / CHECKPOINT).exists()  # saved before anything is measured
        raise RuntimeError("the picture has vanished")

    with monkeypatch.context() as patch:
        patch.setattr(progress, place, breaks)
        arguments = ("train", "--data", maps, "--steps", 2, *QUICK, "-o", out)
        assert main([*map(str, arguments)]) == 0
    assert "the picture has vanished" in capsys.readouterr().err
    assert (out / MODEL).exists()
    line = lines(out, "eval")[-1]
    assert "vanished" in line["fault"] if place == "evaluate" else "miou" in line["scores"]
    told(capsys, "plot", out)
    told(capsys, "train", "--resume", out)  # what failed is measured now
    assert "miou" in lines(out, "eval")[-1]["scores"]


def test_the_last_evaluation_is_made_up_for_after_a_kill(copy, capsys):
    log = (copy / LOG).read_text("utf-8").splitlines()
    kept = [line for line in log if json.loads(line)["kind"] != "eval"]
    (copy / LOG).write_text("\n".join(kept) + "\n", "utf-8")
    told(capsys, "train", "--resume", copy)
    assert [line["step"] for line in lines(copy, "eval")] == [20]


def test_a_longer_run_is_no_other_run(copy, capsys):
    weights = minim2f.load(copy).state_dict()
    printed = told(capsys, "train", "--resume", copy, "--steps", 23)
    assert "23 steps, not 20" in printed
    changed = minim2f.load(copy).state_dict()
    assert any(not torch.equal(weights[name], changed[name]) for name in weights)
    assert "cannot take any back" in told(capsys, "train", "--resume", copy, "--steps", 5, code=1)


def test_a_run_goes_on_without_the_model_that_it_began_with(tmp_path, maps, run, capsys):
    start, out = shutil.copytree(run, tmp_path / "start"), tmp_path / "run"
    arguments = ("train", "--data", maps, "--init", start, "--batch-size", 2, "--steps", 1)
    told(capsys, *arguments, "-o", out)
    shutil.rmtree(start)
    told(capsys, "train", "--resume", out, "--steps", 2)
    assert len(lines(out, "train")) == 2


def test_a_run_that_failed_before_its_first_step_is_in_nobody_s_way(tmp_path, maps, capsys):
    arguments = ("train", "--data", maps, "--steps", 1, "-o", tmp_path / "run")
    small = ("--short-side", 32, "--batch-size", 1, "--length", 1)
    square = label_maps(tmp_path / "square", 1, (32, 32))
    told(capsys, "train", "--data", square, "--steps", 1, *small, "-o", tmp_path / "run", code=1)
    told(capsys, *arguments, *QUICK)
    assert len(lines(tmp_path / "run", "train")) == 1


# ---- B12: sentences, not tracebacks ----------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99", "cpu:", "meta", "GPU 0", ""])
@pytest.mark.parametrize("command", ["train", "eval", "predict"])
def test_a_device_that_is_none_is_named(tmp_path, maps, run, capsys, command, device):
    first = {"train": ["--data", maps, "-o", tmp_path / "run"], "eval": [run]}
    first["predict"] = [maps / "images" / "1.png", "-o", tmp_path / "out.png"]
    refused = told(capsys, command, *first[command], "--device", device, code=1)
    assert "cpu" in refused and not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["o.json", "o.tif", "o.txt", "o.npz"])
def test_a_drawing_of_another_kind_is_named_before_the_model_is_read(maps, capsys, out):
    arguments = ("predict", maps / "images" / "1.png", "--model", "nowhere", "-o", out)
    assert ".png" in told(capsys, *arguments, code=1)


def test_one_picture_of_one_pixel_is_a_sentence(tmp_path, capsys):
    maps = label_maps(tmp_path / "maps", 4, (32, 32))
    small = ("--short-side", 32, "--batch-size", 1, "--steps", 1)
    refused = told(capsys, "train", "--data", maps, *small, "-o", tmp_path / "run", code=1)
    assert "32 x 32" in refused and "--batch-size 2" in refused
    parts = ("--short-side", 32, "--batch-size", 2, "--accumulate", 2, "--steps", 1)
    told(capsys, "train", "--data", maps, *parts, "-o", tmp_path / "run", code=1)
    told(capsys, "train", "--data", maps, *small, "--batch-size", 2, "-o", tmp_path / "run")


@pytest.mark.parametrize("page", ["cp1252", "ascii", "cp437"])
def test_names_that_a_code_page_lacks_end_no_command(tmp_path, page):
    torch.manual_seed(0)
    categories = [{"id": k, "name": name, "isthing": 1} for k, name in enumerate(["天空", "čaj"])]
    config = minim2f.preset("tiny", num_classes=2, categories=categories)
    model = minim2f.save(minim2f.Mask2Former(config), tmp_path / "model.safetensors")
    picture = tmp_path / "图片.png"
    Image.new("RGB", (64, 48), "red").save(picture)
    arguments = ["predict", str(picture), "--model", str(model), "-o", str(tmp_path / "图.png")]
    done = subprocess.run(
        [sys.executable, "-m", "minim2f", *arguments, "--task", "semantic"],
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": page, "PYTHONUTF8": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"score" in done.stdout and (tmp_path / "图.png").exists()


@pytest.mark.filterwarnings("error")
def test_names_that_no_font_has_are_drawn_as_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fonts, "_letters", lambda: frozenset(map(ord, "abcčéßклас 0123456789")))
    assert fonts.drawable("čab", 3) == "čab" and fonts.drawable("клас", 3) == "клас"
    assert fonts.drawable("天空", 3) == "class 3" and fonts.drawable("a天", 3) == "class 3"
    categories = [{"id": 7, "name": "天空", "isthing": 1}]
    config = minim2f.preset("tiny", num_classes=1, categories=categories)
    minim2f.save(minim2f.Mask2Former(config), tmp_path / "model.safetensors")
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    arguments = ("predict", tmp_path / "a.png", "--model", tmp_path, "--task", "semantic")
    printed = told(capsys, *arguments, "-o", tmp_path / "drawn.png")
    assert "class 7 is 天空" in printed


def test_letters_of_the_font_that_every_machine_has_are_drawn():
    assert "DejaVu Sans" in fonts.families()
    assert fonts.can_draw("sky, Straße, небо, ουρανός") and not fonts.can_draw("\ue123")


@pytest.mark.filterwarnings("error")
def test_odd_names_go_through_a_whole_run(tmp_path, capsys):
    maps = label_maps(tmp_path / "maps", 5, names="$a_{ \ue123 x$y$")
    out = tmp_path / "run"
    told(capsys, "train", "--data", maps, "--steps", 1, *QUICK, "-o", out)
    assert "fault" not in lines(out, "eval")[-1]
    told(capsys, "plot", out)


# ---- D15, D16: predict and eval --------------------------------------------------------------


def test_eval_prints_and_writes_every_class(tmp_path, capsys):
    scenes = write_coco(open_dataset("scenes", "val", length=3), tmp_path / "scenes").parent
    file = tmp_path / "new" / "scores.json"
    arguments = ("eval", "tiny", "--data", scenes, "--per-class", "--json", file)
    printed = told(capsys, *arguments)
    scores = json.loads(file.read_text("utf-8"))
    rows = {row["name"]: row for row in scores["per_class"]}
    assert len(rows) == 13 and {"pq", "sq", "rq", "iou", "ap"} <= rows["car"].keys()
    assert "ap" not in rows["sea"]
    sky = next(line for line in printed.splitlines() if line.startswith("sky"))
    assert f"{rows['sky-other-merged']['pq']:.3f}" in sky and sky.endswith("-")
    assert f"PQ {scores['scores']['All']['pq']:.3f}" in printed and scores["pictures"] == 3
    found = [row["pq"] for row in rows.values() if row["rq"] or row["iou"]]
    assert scores["scores"]["All"]["pq"] <= max(found)


def test_top_k_bounds_what_counts(tmp_path):
    scenes = open_dataset("scenes", "val", length=4)
    model = minim2f.load("tiny")
    assert evaluate(model, scenes, top_k=1)["ap"]["ap"] < evaluate(model, scenes)["ap"]["ap"]


def test_predict_takes_files_and_folders_at_once(tmp_path, maps, run, capsys):
    (tmp_path / "here").mkdir()
    for name in ("b.JPG", "a.jpeg"):
        Image.new("RGB", (64, 48), "blue").save(tmp_path / "here" / name)
    (tmp_path / "here" / "notes.txt").write_text("no picture")
    out = tmp_path / "out"
    pictures = (tmp_path / "here", maps / "images" / "3.png")
    printed = told(capsys, "predict", *pictures, "--model", run, "-o", out)
    assert sorted(path.name for path in out.iterdir()) == ["3.png", "a.png", "b.png"]
    assert printed.count("wrote") == 3


def test_of_several_pictures_a_broken_one_costs_only_itself(tmp_path, run, capsys):
    for name in "ac":
        Image.new("RGB", (64, 48), "blue").save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    arguments = ("predict", tmp_path, "--model", run, "-o", tmp_path / "out")
    refused = told(capsys, *arguments, code=1)
    assert "1 of 3" in refused and "b.png" in refused
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_batches_change_no_prediction_and_a_broken_picture_costs_only_itself(
    tmp_path, maps, run, capsys
):
    mixed = Path(shutil.copytree(maps / "images", tmp_path / "mixed"))
    (mixed / "12.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 70), "blue").save(mixed / "13.png")
    found = []
    for size in (1, 4):
        out = tmp_path / f"out{size}"
        arguments = ("--model", run, "--save", "both", "-o", out, "--batch-size", size)
        arguments += ("--task", "panoptic")
        refused = told(capsys, "predict", mixed, *arguments, code=1)
        assert "1 of 20" in refused and "12.png" in refused
        assert len(list(out.glob("*.png"))) == 19
        found.append(json.loads((out / FILES["panoptic"]).read_text("utf-8")))
        for annotation in found[-1]["annotations"]:
            for segment in annotation["segments_info"]:
                segment["score"] = round(segment["score"], 4)
    assert found[0] == found[1] and len(found[0]["images"]) == 19
    assert any(annotation["segments_info"] for annotation in found[0]["annotations"])


def test_eval_scores_in_batches_as_picture_by_picture(tmp_path, maps, run, capsys):
    files = [tmp_path / "1.json", tmp_path / "4.json"]
    for file in files:
        told(capsys, "eval", run, "--json", file, "--batch-size", file.stem)
    one, four = (json.loads(file.read_text("utf-8")) for file in files)
    assert one == four and one["scores"]["miou"] > 0


@pytest.mark.parametrize("command", ["predict", "eval"])
@pytest.mark.parametrize("size", ["0", "-1", "two"])
def test_a_batch_without_a_picture_is_refused(command, size, capsys):
    with pytest.raises(SystemExit):
        main([command, "tiny", f"--batch-size={size}"])
    assert "give 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("value", range(1, 9))
def test_a_picture_lies_as_its_labels_would_mean_it(tmp_path, value, run):
    """Predicted alone, and as part of a data set with upright labels: the same pixels."""
    size = (56, 40) if value >= 5 else (40, 56)
    folder = label_maps(tmp_path / "maps", count=1, size=size)
    labels, path = folder / "labels" / "0.png", folder / "images" / "0.png"
    stored = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(stored).save(path, exif=exif)
    model = minim2f.load(run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for 2, 3 and 4 no size can decide
        sample = open_dataset(folder)[0]
    assert sample.image.shape[1:] == Image.open(labels).size[::-1] == size
    expected = as_result(*predict_masks(model, sample.image), model.config, "semantic")
    alone = minim2f.segment(model, path, "semantic")
    assert np.array_equal(alone.ids, expected.ids) and alone.segments == expected.segments
    options = ["--task", "semantic", "--save", "json", "-o", str(tmp_path / "out")]
    assert main(["predict", str(path), "--model", str(run), *options]) == 0
    drawn = np.array(Image.open(tmp_path / "out" / "labels" / "0.png"))
    assert np.array_equal(drawn, label_map(expected, model.config.classes))


def test_every_picture_has_a_drawing_of_its_own(tmp_path):
    one, two = Path("x/a.png"), Path("y/a.jpg")
    assert drawings_of([one], Path("o.svg")) == [Path("o.svg")]
    assert drawings_of([one], tmp_path) == [tmp_path / "a.png"]
    assert drawings_of([one], Path("out/v1.2")) == [Path("out/v1.2/a.png")]
    assert len(set(drawings_of([one, two], Path("o")))) == 2
    with pytest.raises(ValueError, match="a folder"):
        drawings_of([one, two], Path("o.png"))
    with pytest.raises(ValueError, match="overwritten"):
        drawings_of([tmp_path / "a.png"], tmp_path)
    with pytest.raises(ValueError, match="overwritten"):
        drawings_of([tmp_path / "a.png"], tmp_path / "a.png")


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
@pytest.mark.parametrize("size", [(4805, 33), (50, 2401)])  # width and height, in pixels
def test_the_drawing_of_a_large_picture_is_made_of_fewer_pixels(tmp_path, size, task, monkeypatch):
    from minim2f import plots

    drawn = []
    monkeypatch.setattr(plots, "save", lambda fig, path: drawn.append(fig))
    Image.new("RGB", size, "skyblue").save(tmp_path / "wide.png")
    assert main(["predict", str(tmp_path / "wide.png"), "--task", task, "-o", "o.png"]) == 0
    found = drawn[0].axes[0].images[0].get_array()
    assert 1200 < max(found.shape[:2]) <= 2400
    assert max(found.shape[:2]) / min(found.shape[:2]) == pytest.approx(
        max(size) / min(size), rel=0.1
    )


def test_an_empty_folder_is_named(tmp_path, capsys):
    assert "no picture in it" in told(capsys, "predict", tmp_path, code=1)


def test_tiny_says_that_it_knows_drawn_scenes_only(tmp_path, maps, run, capsys):
    picture = maps / "images" / "1.png"
    printed = told(capsys, "predict", picture, "-o", tmp_path / "a.png")
    assert "drawn scenes only" in printed and "--model" in printed
    assert "drawn scenes" not in told(
        capsys, "predict", picture, "--model", run, "-o", tmp_path / "b.png"
    )


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_results_are_saved_as_data(tmp_path, task, capsys):
    """A broken picture among them is left out, and the JSON file tells of all others."""
    scenes = open_dataset("scenes", "val", length=2)
    for n, scene in enumerate(scenes):
        Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(tmp_path / f"{n}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = ("predict", tmp_path, "--task", task, "--save", "json", "-o", out)
    assert "broken.png" in told(capsys, *arguments, code=1)
    assert not list(out.glob("*.png"))  # nothing was drawn
    document = json.loads((out / FILES[task]).read_text("utf-8"))
    if task == "instance":
        assert {entry["image_id"] for entry in document} == {1, 2}
        return
    assert [image["file_name"] for image in document["images"]] == ["0.png", "1.png"]
    folder = out / {"panoptic": "panoptic", "semantic": "labels"}[task]
    pixels = np.array(Image.open(folder / "1.png"))
    expected = minim2f.segment(minim2f.load("tiny"), tmp_path / "1.png", task).ids
    if task == "panoptic":
        assert np.array_equal(rgb_to_id(pixels), expected)
    else:
        assert len(np.unique(pixels)) == len(np.unique(expected))


def test_nothing_is_written_where_nothing_is_to_be_saved(tmp_path, maps, run, capsys):
    out, picture = tmp_path / "out.png", maps / "images" / "1.png"
    arguments = ("predict", picture, "--model", run, "--save", "none", "-o", out)
    assert "wrote" not in told(capsys, *arguments) and not out.exists()


# ---- a first-time user's findings --------------------------------------------------------------


def saved(folder: Path, *things: int, name: str = "model") -> Path:
    """A small model with random weights, a class for each number: 1 is a thing, 0 is stuff."""
    torch.manual_seed(0)
    categories = [{"id": k, "name": f"c{k}", "isthing": thing} for k, thing in enumerate(things)]
    config = minim2f.preset("tiny", num_classes=len(things), categories=categories)
    return minim2f.save(minim2f.Mask2Former(config), folder / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("things", "task"), [((0, 0), "semantic"), ((1, 1), "instance"), ((1, 0), "panoptic")]
)
def test_predict_looks_for_what_the_classes_allow(tmp_path, capsys, things, task):
    model = saved(tmp_path, *things)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    out = tmp_path / "out"
    arguments = ("predict", tmp_path / "a.png", "--model", model, "--save", "json", "-o", out)
    assert f"task: {task}" in told(capsys, *arguments)
    assert [path.name for path in out.glob("*.json")] == [FILES[task]]
    assert "task:" not in told(capsys, *arguments, "--task", "semantic")
    assert (out / FILES["semantic"]).exists()


def test_a_task_is_told_by_the_log_then_by_a_published_name_then_by_classes(copy, monkeypatch):
    from minim2f.commands.origin import task_of

    both = minim2f.load("tiny").config
    first, *rest = (copy / LOG).read_text("utf-8").splitlines()
    line = json.loads(first)
    line["source"]["task"] = "instance"
    (copy / LOG).write_text("\n".join([json.dumps(line), *rest]) + "\n", "utf-8")
    assert task_of(str(copy), both) == task_of(str(copy / MODEL), both) == "instance"
    assert task_of("facebook/mask2former-swin-tiny-ade-semantic", both) == "semantic"
    assert task_of("maskformer2_R50_coco_instance", both) == "instance"
    assert task_of("tiny", both) == "panoptic"
    assert task_of("nowhere", minim2f.preset("tiny", num_classes=2)) == "panoptic"
    monkeypatch.chdir(copy)  # a name is no file of the folder that one happens to be in
    assert task_of("tiny", both) == "panoptic"
    (copy / LOG).write_text('{"kind": "start", "step": 0}\n', "utf-8")  # train() in Python
    assert task_of(str(copy), both) == "panoptic"


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_a_run_draws_the_results_that_its_data_have_truth_for(tmp_path, task, monkeypatch):
    drawn, compare = [], plots.compare

    def note(rows, *more):
        drawn.extend(row.keys() - {"image", "truth"} for row in rows)
        return compare(rows, *more)

    monkeypatch.setattr(plots, "compare", note)
    arguments = ["train", "--task", task, "--length", "3", "--steps", "1", "--batch-size", "2"]
    assert main([*arguments, "--eval", "train", "-o", str(tmp_path / "run")]) == 0
    expected = {"panoptic", "instance", "semantic"} if task == "panoptic" else {task}
    assert drawn == [expected] * 3
    assert list((tmp_path / "run" / "pictures").iterdir())


def test_training_pictures_are_known_wherever_they_are_copied_to(tmp_path, maps, run, capsys):
    moved = Path(shutil.copytree(maps, tmp_path / "moved"))
    printed = told(capsys, "eval", run, "--data", moved)
    assert all("16 of them training pictures" in line for line in printed.splitlines())
    for picture in (moved / "images").iterdir():  # other pictures, called the same
        Image.fromarray(np.array(Image.open(picture))[..., ::-1]).save(picture)
        picture.write_bytes(picture.read_bytes() + b"other")
    assert "training pictures" not in told(capsys, "eval", run, "--data", moved)
    out = tmp_path / "run"
    copied = Path(shutil.copytree(maps, tmp_path / "copied"))
    arguments = ("train", "--data", maps, "--eval", copied, *QUICK, "--steps", 1, "-o", out)
    assert "20 of them training pictures" in told(capsys, *arguments)


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_eval_refuses_a_task_that_the_data_have_no_truth_for(tmp_path, maps, run, capsys, task):
    moved = Path(shutil.copytree(maps, tmp_path / "moved"))
    for more in ((), ("--split", "train"), ("--split", "all"), ("--data", moved)):
        refused = told(capsys, "eval", run, "--task", task, *more, code=1)
        assert "semantic" in refused and task in refused


def test_data_that_moved_are_asked_for(tmp_path, capsys):
    maps, out = label_maps(tmp_path / "maps", 5), tmp_path / "run"
    told(capsys, "train", "--data", maps, *QUICK, "--steps", 1, "-o", out)
    maps.rename(tmp_path / "moved")
    for arguments in (("eval", out), ("train", "--resume", out, "--steps", 2)):
        assert "--data" in told(capsys, *arguments, code=1)
        told(capsys, *arguments, "--data", tmp_path / "moved")
    assert "held-out" in told(capsys, "eval", out)  # the run has gone on from there


def test_a_folder_with_a_run_is_refused_before_anything_is_read(run, capsys):
    assert main(["train", "--data", "nowhere", "-o", str(run)]) == 1
    captured = capsys.readouterr()
    assert "holds a run" in captured.err and not captured.out


def test_a_run_without_a_checkpoint_says_that_it_begins_anew(copy, capsys):
    assert "anew" not in told(capsys, "train", "--resume", copy)
    (copy / CHECKPOINT).unlink()
    assert "begins anew" in told(capsys, "train", "--resume", copy)


def test_label_maps_are_numbered_as_those_that_were_learned(tmp_path, capsys):
    maps, out = label_maps(tmp_path / "maps", 4), tmp_path / "out"
    for path in (maps / "labels").iterdir():
        numbers = np.array(Image.open(path))
        Image.fromarray(np.where(numbers == 255, 0, numbers + 1).astype(np.uint8)).save(path)
    arguments = ("train", "--data", maps, "--zero-is-void", *QUICK, "--steps", 1)
    told(capsys, *arguments, "-o", tmp_path / "run")
    more = ("--model", tmp_path / "run", "--save", "json", "-o", out)
    told(capsys, "predict", maps / "images", *more)
    document = json.loads((out / "labels.json").read_text("utf-8"))
    assert [(c["id"], c["name"]) for c in document["categories"]] == [
        (1, "sky"),
        (2, "ground"),
        (3, "ball"),
    ]
    expected = minim2f.segment(
        minim2f.load(tmp_path / "run"), maps / "images" / "0.png", "semantic"
    )
    plain = label_map(expected, minim2f.load(tmp_path / "run").config.classes)
    written = np.array(Image.open(out / "labels" / "0.png"))
    assert np.array_equal(written, np.where(plain == 255, 255, plain + 1))
    assert {1, 2, 3} >= set(np.unique(written)) - {255}


@pytest.mark.parametrize("split", ["", "val"])
def test_eval_reads_the_files_of_a_run_as_the_run_did(tmp_path, capsys, split):
    """Where 0 is void, the same model must not be measured on classes shifted by one."""
    maps, run = tmp_path / "maps", tmp_path / "run"
    for part in ("train", "val") if split else ("",):
        label_maps(maps, 5, split=part)
    for path in (maps / "labels").rglob("*.png"):
        numbers = np.array(Image.open(path))
        Image.fromarray(np.where(numbers == 255, 0, numbers + 1).astype(np.uint8)).save(path)
    (maps / "classes.txt").unlink()  # then a wrong reading finds a class more, and no fault
    told(capsys, "train", "--data", maps, "--zero-is-void", *QUICK, "--steps", 2, "-o", run)
    expected = f"mIoU   {lines(run, 'eval')[-1]['scores']['miou']:.3f}"
    scored = [told(capsys, "eval", run)]
    scored += [told(capsys, "eval", run, "--data", maps, "--zero-is-void")]
    assert all(text.startswith(expected) for text in scored)
    again = told(capsys, "eval", run, "--split", "all")
    maps.rename(tmp_path / "moved")
    moved = told(capsys, "eval", run, "--split", "all", "--data", tmp_path / "moved")
    assert moved.split(" on ")[0] == again.split(" on ")[0]
    assert "does not know" not in again + moved


def test_pictures_in_two_splits_are_known(tmp_path, capsys):
    for part in ("train", "val"):
        label_maps(tmp_path / "maps", 3, split=part)  # the same pictures
    picture = tmp_path / "maps" / "images" / "val" / "0.png"
    Image.new("RGB", (56, 40), "red").save(picture)
    run = tmp_path / "run"
    told(capsys, "train", "--data", tmp_path / "maps", *QUICK, "--steps", 1, "-o", run)
    assert "2 of them training pictures" in told(capsys, "eval", run)
    assert "2 of them training pictures" in lines(run, "eval")[-1]["on"]


def test_pictures_of_one_name_keep_it_in_the_results(tmp_path, run, capsys):
    (tmp_path / "in" / "b").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "in" / "x.jpg")
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "in" / "x.png")
    Image.new("RGB", (64, 48), "green").save(tmp_path / "in" / "b" / "x.png")
    options = ("--model", run, "--save", "both", "-o", tmp_path / "out")
    printed = told(capsys, "predict", tmp_path / "in", *options)
    assert f"of {tmp_path / 'in' / 'x.jpg'}:" in printed
    document = json.loads((tmp_path / "out" / "labels.json").read_text("utf-8"))
    assert [image["file_name"] for image in document["images"]] == ["x.jpg", "x.png"]
    maps_of = {a["image_id"]: a["file_name"] for a in document["annotations"]}
    assert maps_of == {1: "1-x.png", 2: "2-x.png"}
    assert all((tmp_path / "out" / "labels" / name).exists() for name in maps_of.values())
    told(capsys, "predict", tmp_path / "in", tmp_path / "in" / "b", *options)
    document = json.loads((tmp_path / "out" / "labels.json").read_text("utf-8"))
    assert [i["file_name"] for i in document["images"]] == ["x.jpg", "x.png", "b/x.png"]


def test_a_number_before_a_name_takes_nobody_else_s_name(tmp_path):
    pictures = [Path("in") / name for name in ("2-x.jpg", "x.jpg", "x.png")]
    assert len(set(drawings_of(pictures, tmp_path))) == 3


def test_drawings_do_not_go_among_the_pictures(tmp_path, run, capsys, monkeypatch):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "x.jpg")
    monkeypatch.chdir(tmp_path)
    for pictures, out in (("x.jpg", "."), (".", "../" + tmp_path.name), (tmp_path, tmp_path)):
        refused = told(capsys, "predict", pictures, "--model", run, "-o", out, code=1)
        assert "folder of pictures" in refused
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]


def test_what_is_left_out_of_a_folder_is_told(tmp_path, run, capsys):
    for place in ("in", "in/old", "in/old/older"):
        (tmp_path / place).mkdir()
        Image.new("RGB", (64, 48), "red").save(tmp_path / place / "x.jpg")
    for name in ("a.gif", "notes.txt", ".hidden"):
        (tmp_path / "in" / name).write_bytes(b"")
    out = tmp_path / "out"
    printed = told(capsys, "predict", tmp_path / "in", "--model", run, "-o", out)
    assert "1 folder (old) and 2 other files (a.gif, notes.txt)" in printed
    assert "left out" not in told(
        capsys, "predict", tmp_path / "in" / "old" / "older", "--model", run, "-o", out
    )
    (tmp_path / "in" / "x.jpg").unlink()
    refused = told(capsys, "predict", tmp_path / "in", "--model", run, "-o", out, code=1)
    assert f"there are some in {tmp_path / 'in' / 'old'}" in refused


NO_COUNT, NO_SHARE = ("0", "-1", "1.5", "two", "nan"), ("-0.1", "7", "nan", "half")
WRONG = {
    "predict x.png --top-k": NO_COUNT,
    "predict x.png --batch-size": NO_COUNT,
    "predict x.png --threshold": NO_SHARE,
    "eval tiny --length": NO_COUNT,
    "eval tiny --top-k": NO_COUNT,
    "train --short-side": NO_COUNT,
    "train --queries": NO_COUNT,
    "train --length": NO_COUNT,
    "train --steps": NO_COUNT,
    "train --batch-size": NO_COUNT,
    "train --accumulate": NO_COUNT,
    "train --crop": NO_COUNT,
    "train --save-every": NO_COUNT,
    "train --evaluate-every": NO_COUNT,
    "train --warmup": ("-1", "0.5"),
    "train --workers": ("-1", "0.5"),
    "train --seed": ("-1", "0.5"),
    "train --flip": NO_SHARE,
    "train --learning-rate": ("0", "-1", "inf", "nan", "fast"),
    "train --clip-norm": ("0", "-1", "inf"),
    "train --weight-decay": ("-1", "inf", "nan"),
    "train --backbone-multiplier": ("-1", "nan"),
    "train --jitter": ("some",),
    "train --schedule": ("cosine",),
    "train --precision": ("float64",),
    "demo --steps": NO_COUNT,
    "bench --rounds": NO_COUNT,
    "data scenes --length": NO_COUNT,
    "book experiment 09 --seeds": NO_COUNT,
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]]
)
def test_a_number_that_can_mean_nothing_is_refused_where_it_enters(option, value, capsys):
    *command, flag = option.split()
    with pytest.raises(SystemExit) as refused:
        main([*command, f"{flag}={value}"])
    captured = capsys.readouterr()
    assert refused.value.code == 2 and not captured.out
    assert flag in captured.err and value in captured.err


def test_every_number_of_a_command_is_checked():
    """No option takes any int or float there is, but --hold-out and --ignore, checked later."""
    free, parsers = set(), [cli._parser()]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.type in (int, float):
                free.update(action.option_strings)
    assert free == {"--hold-out", "--ignore"}


def test_the_help_says_what_each_number_of_the_recipe_is(capsys):
    with pytest.raises(SystemExit) as done:
        main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert done.value.code == 0
    assert "--warmup N steps over which the rate grows from nearly 0." in printed
    assert '--jitter {large-scale,shortest-edge,none} "large-scale": a size of 0.1' in printed
    assert "the model sees them later. --crop N side of the square, in pixels." in printed
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert described(TrainConfig).keys() == names


def test_a_refusal_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--short-side", "-5"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("minim2f train: ") and "-5" in error


@pytest.mark.parametrize("place", ["pictures_in", "load", "as_result"])
def test_ctrl_c_is_one_line_wherever_it_comes(tmp_path, capsys, monkeypatch, place):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    monkeypatch.setattr(predict, place, interrupted)
    stopped = told(capsys, "predict", tmp_path, "-o", tmp_path / "out", code=130)
    assert stopped.split() == ["minim2f:", "stopped"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_in_training_saves_and_has_the_code_of_ctrl_c(tmp_path, maps, capsys, monkeypatch):
    taken = loop.step

    def interrupt(state, number, batch, stop=False):
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return taken(state, number, batch, stop)

    monkeypatch.setattr(loop, "step", interrupt)
    arguments = ("train", "--data", maps, *QUICK, "--steps", 9, "-o", tmp_path / "run")
    assert "--resume" in told(capsys, *arguments, code=130)
    assert (tmp_path / "run" / CHECKPOINT).exists()


def run_of(*arguments: object) -> subprocess.CompletedProcess:
    """The command in a process of its own, where warnings and tracebacks are as a user has them."""
    command = [sys.executable, "-m", "minim2f", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_warnings_are_for_users(tmp_path):
    maps = label_maps(tmp_path / "maps", 3)
    (maps / "images" / "1.png").write_bytes(b"no picture")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(maps / "images" / "2.png").save(maps / "images" / "2.png", exif=exif)
    done = run_of("eval", "tiny", "--data", maps, "--skip-faulty")
    assert "warning: " in done.stderr and "left out" in done.stderr and "EXIF" in done.stderr
    assert "UserWarning" not in done.stderr and ".py:" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "a.png", "-o", "blocked/sub/y.png"),
        ("predict", "a.png", "-o", "blocked/sub", "--save", "json"),
        ("eval", "tiny", "--length", 1, "--json", "blocked/x.json"),
        ("train", "--steps", 1, "--length", 2, "-o", "blocked/run"),
        ("data", "scenes", "--length", 1, "--folder", "blocked/scenes"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(tmp_path, capsys, monkeypatch, command):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    (tmp_path / "blocked").write_text("a file where a folder is to be")
    monkeypatch.chdir(tmp_path)
    refused = told(capsys, *command, code=1)
    assert "Errno" not in refused and "minim2f: blocked/" in refused
    assert "cannot be written (" in refused


def test_a_disk_that_fills_up_is_a_sentence(tmp_path, maps, capsys):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = ("train", "--data", maps, *QUICK, "--steps", 2, "--save-every", 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        refused = told(capsys, *arguments, "-o", tmp_path / "run", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{CHECKPOINT} cannot be written" in refused
    assert not (tmp_path / "run" / CHECKPOINT).exists()
