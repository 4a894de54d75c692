"""Runs that are killed, stopped, split, shared among processes, or go wrong."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import minim2f
from minim2f.data import Sample
from minim2f.data.sample import SampleList
from minim2f.model.pixel_decoder import FPN, DeformablePixelDecoder
from minim2f.training import distributed, loop, run_folder
from minim2f.training.batches import Places, collate, stream
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.losses import Criterion, divisors, expected_loss
from minim2f.training.progress import first_loss
from minim2f.training.recipe import TINY, TrainConfig
from minim2f.training.run_folder import CHECKPOINT, LOG, MODEL, Stopped
from minim2f.training_report import report

CATEGORIES = [{"id": i, "name": f"c{i}", "isthing": 1} for i in (3, 7, 9)]
STEPS = 240
RECIPE = dataclasses.replace(TINY, steps=STEPS, batch_size=2, warmup=5, save_every=7)
posix = pytest.mark.skipif(os.name != "posix", reason="kill -9 and forks are POSIX's")


def squares(count: int = 4, size: int = 64) -> SampleList:
    """Pictures with one bright square or more; the class is the colour."""
    samples = []
    for n in range(count):
        ids = torch.zeros(size, size, dtype=torch.int64)
        image = torch.full((3, size, size), 90, dtype=torch.uint8)
        segments = []
        for k in range(1 + n % 3):
            ids[4 * n : 4 * n + 12, 10 * k : 10 * k + 8] = k + 1
            image[(n + k) % 3][ids == k + 1] = 250
            category = CATEGORIES[(n + k) % 3]["id"]
            segments.append({"id": k + 1, "category_id": category, "iscrowd": 0})
        truth = (ids, segments, CATEGORIES, n, f"square {n}")
        samples.append(Sample.from_panoptic(image, *truth))
    return SampleList(samples, CATEGORIES)


class Stub(nn.Module):
    """A backbone of four convolutions, so that hundreds of steps take seconds."""

    channels = (32, 32, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3 if i == 0 else 32, 32, 3, stride=4 if i == 0 else 2, padding=1)
            for i in range(4)
        )

    def forward(self, x):
        features = {}
        for i, conv in enumerate(self.convs):
            x = conv(x).relu()
            features[f"res{i + 2}"] = x
        return features


def small_model(seed: int = 0, **changes) -> minim2f.Mask2Former:
    torch.manual_seed(seed)
    sizes = {"channels": 32, "num_queries": 4, "num_layers": 1, "ffn_channels": 32}
    sizes |= {"categories": CATEGORIES}
    config = minim2f.preset(
        "tiny",
        num_classes=3,
        short_side=64,
        **{"num_points": 32, "dropout": 0.1} | sizes | changes,
    )
    model = minim2f.Mask2Former(config)
    decoder = FPN if config.pixel_decoder == "fpn" else DeformablePixelDecoder
    model.backbone, model.pixel_decoder = Stub(), decoder(Stub.channels, 32)
    return model


def weights(folder: Path) -> dict:
    return load_file(folder / MODEL)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- killed ----------------------------------------------------------------------------------


def child(folder: Path, resume: bool, die: str | None = None) -> None:
    """Trains; `die` names a place in the writing of the second checkpoint where it is killed."""
    torch.set_num_threads(1)
    if die:
        _die_while_writing(die)
    train(small_model(), squares(), RECIPE, progress=False, folder=folder, resume=resume)


def _die_while_writing(place: str) -> None:
    written = run_folder.save_file
    calls = []

    def half(tensors, path, metadata):
        written(tensors, path, metadata)
        calls.append(path)
        if len(calls) == 2:
            if place == "half a file":
                os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    run_folder.save_file = half


def start(*arguments) -> multiprocessing.Process:
    """A process forked from a server that has imported torch, so it is there at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["minim2f.training.loop", "minim2f.model.pixel_decoder"])
    process = context.Process(target=child, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(folder, False).join()
    return folder


@posix
def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_weights(tmp_path, uninterrupted):
    folder, luck, kills = tmp_path / "run", random.Random(0), 0
    while kills < 20:
        process = start(folder, (folder / LOG).exists())
        while process.is_alive() and not (folder / LOG).exists():
            time.sleep(0.005)
        time.sleep(luck.uniform(0.03, 0.4))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run is too short to be killed 20 times"
        kills += 1
    process = start(folder, True)
    process.join()
    assert process.exitcode == 0
    assert same(weights(folder), weights(uninterrupted))
    logs = [(f / LOG).read_text().splitlines() for f in (folder, uninterrupted)]
    steps = [[r for r in map(json.loads, log) if r["kind"] == "train"] for log in logs]
    for rows in steps:
        for row in rows:
            del row["seconds"]
    assert steps[0] == steps[1]  # each step is logged once, with the same numbers


@posix
@pytest.mark.parametrize("place", ["half a file", "before its renaming"])
def test_a_run_killed_while_it_writes_goes_on_from_the_checkpoint_before(
    tmp_path, uninterrupted, place
):
    folder = tmp_path / "run"
    process = start(folder, False, place)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (folder / f"{CHECKPOINT}.part").exists()
    process = start(folder, True)
    process.join()
    assert process.exitcode == 0 and same(weights(folder), weights(uninterrupted))


@posix
def test_a_kill_before_the_first_checkpoint_starts_anew(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    process = start(folder, False)
    while not (folder / LOG).exists():
        time.sleep(0.005)
    process.kill()
    process.join()
    (folder / CHECKPOINT).unlink(missing_ok=True)
    process = start(folder, True)
    process.join()
    assert process.exitcode == 0 and same(weights(folder), weights(uninterrupted))


@posix
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_leaves(tmp_path, kind):
    recipe = dataclasses.replace(RECIPE, steps=6, save_every=100)
    arguments = (squares(), recipe, False)
    train(small_model(), *arguments, folder=tmp_path / "whole")

    def ask(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), kind)

    with pytest.raises(Stopped, match=r"after step 4.*--resume"):
        train(small_model(), *arguments, after_step=ask, folder=tmp_path / "run")
    train(small_model(1), *arguments, folder=tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_without_a_folder_ctrl_c_is_what_it_always_is():
    def ask(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(small_model(), squares(), RECIPE, progress=False, after_step=ask)


# ---- folders ---------------------------------------------------------------------------------

SHORT = dataclasses.replace(RECIPE, steps=3, save_every=2, evaluate_every=2)


def test_a_folder_holds_log_checkpoint_pictures_and_model(tmp_path):
    model = small_model()
    train(model, squares(), SHORT, False, folder=tmp_path / "run", unseen=squares())
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("start", 0),
        ("train", 1),
        ("train", 2),
        ("eval", 2),
        ("train", 3),
        ("eval", 3),
    ]
    assert lines[0]["recipe"]["steps"] == 3 and lines[0]["categories"] == ["c3", "c7", "c9"]
    assert {"loss", "loss_ce", "loss_ce_0", "norm", "lr", "seconds"} <= set(lines[1])
    assert {"pq", "miou", "ap"} <= set(lines[3]["scores"])
    assert all(0 <= q < 4 and 0 <= k < 3 and 1 <= n <= 4 for q, k, n in lines[3]["wins"])
    assert (tmp_path / "run" / "pictures" / "000003.png").stat().st_size > 10_000
    assert same(weights(tmp_path / "run"), model.state_dict())


@pytest.mark.parametrize("names", [(), CATEGORIES, [c | {"id": c["id"] + 50} for c in CATEGORIES]])
def test_evaluation_numbers_the_same_classes_as_the_data_do(names):
    """A model without names, with the data's, and with the data's names under other ids."""
    expected = evaluate(small_model(), squares(5))
    assert expected["wins"]
    assert evaluate(small_model(categories=names), squares(5)) == expected


def test_evaluation_does_not_number_other_classes_as_the_data_do():
    others = [c | {"id": c["id"] + 50, "name": f"my {c['name']}"} for c in CATEGORIES]
    with pytest.raises(
        ValueError, match="knows other classes than these pictures have: my c3, my c7, my c9"
    ):
        evaluate(small_model(categories=others), squares(2))


def test_a_model_without_names_is_trained_evaluated_drawn_and_reported(tmp_path):
    model = small_model(categories=())
    train(model, squares(), SHORT, False, folder=tmp_path, unseen=squares())
    start = json.loads((tmp_path / LOG).read_text().splitlines()[0])
    assert start["categories"] == ["class 0", "class 1", "class 2"]
    assert (tmp_path / "pictures" / "000003.png").stat().st_size > 10_000
    assert report(tmp_path).exists()


def test_the_model_is_stored_as_float16_if_asked(tmp_path):
    model = small_model()
    train(model, squares(), SHORT, False, folder=tmp_path, half=True)
    stored = weights(tmp_path)
    for name, tensor in model.state_dict().items():
        kept = tensor.half() if tensor.is_floating_point() else tensor
        assert stored[name].dtype == kept.dtype and torch.equal(stored[name], kept), name
    checkpoint = load_file(tmp_path / CHECKPOINT)
    for name, parameter in model.named_parameters():  # a resumed run loses nothing
        assert torch.equal(checkpoint[f"model.{name}"], parameter), name


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    train(small_model(), squares(), SHORT, False, folder=tmp_path)
    before = (tmp_path / LOG).read_bytes()
    with pytest.raises(FileExistsError, match="--resume"):
        train(small_model(), squares(), SHORT, False, folder=tmp_path)
    assert (tmp_path / LOG).read_bytes() == before


def test_another_recipe_or_model_does_not_go_on(tmp_path):
    train(small_model(), squares(), SHORT, False, folder=tmp_path)
    other = dataclasses.replace(SHORT, learning_rate=1e-3)
    with pytest.raises(ValueError, match=rf"learning_rate = {SHORT.learning_rate} \(now 0.001\)"):
        train(small_model(), squares(), other, False, folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="of another model"):
        train(small_model(num_queries=5), squares(), SHORT, False, folder=tmp_path, resume=True)


@pytest.mark.parametrize("kinds", [("float16", "float32"), ("float32", "float16")])
def test_a_run_goes_on_longer_and_in_another_precision(tmp_path, kinds):
    first, then = (dataclasses.replace(SHORT, precision=kind) for kind in kinds)
    train(small_model(), squares(), first, False, folder=tmp_path)
    longer = dataclasses.replace(then, steps=5)
    train(small_model(1), squares(), longer, False, folder=tmp_path, resume=True)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="5 steps behind it"):
        train(small_model(), squares(), then, False, folder=tmp_path, resume=True)


@pytest.mark.parametrize("batch_size", [2, 3, 10])
def test_evaluation_in_batches_gives_the_same_scores(batch_size):
    mixed = [*squares(3), *squares(2, 96), *squares(4, 80)]
    mixed = SampleList(mixed + [wide(sample) for sample in squares(2)], CATEGORIES)
    expected = evaluate(small_model(), mixed)
    seen, model = [], small_model()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert evaluate(model, mixed, batch_size=batch_size) == expected
    assert max(seen) == min(batch_size, 9) and sum(seen) == len(mixed) and seen[-1] == 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_holds_a_batch_of_pictures_and_no_more(batch_size):
    class Fresh:
        task, categories, alive, most = "panoptic", CATEGORIES, 0, 0

        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Sample:
            sample = squares(1)[0]
            weakref.finalize(sample, self.gone)
            self.alive += 1
            self.most = max(self.most, self.alive)
            return sample

        def gone(self) -> None:
            self.alive -= 1

    pictures = Fresh()
    evaluate(small_model(), pictures, batch_size=batch_size)
    assert batch_size <= pictures.most <= batch_size + 2


def wide(sample: Sample) -> Sample:
    image, ids = (torch.cat([part, part * 0], -1) for part in (sample.image, sample.ids))
    return Sample.from_panoptic(
        image, ids, sample.segments, CATEGORIES, sample.image_id, sample.file_name
    )


def test_a_fault_of_one_process_ends_the_evaluation_of_all(monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda mine: [mine, "ValueError: b.png is broken"])
    with pytest.raises(RuntimeError, match="b.png is broken"):
        evaluate(small_model(), squares())


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_broken_checkpoint_is_named(tmp_path, damage):
    train(small_model(), squares(), SHORT, False, folder=tmp_path)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "text": b"not a file", "empty": b""}[damage])
    with pytest.raises(ValueError, match=f"{CHECKPOINT} is no whole checkpoint"):
        train(small_model(), squares(), SHORT, False, folder=tmp_path, resume=True)


def test_a_full_disk_is_reported_before_training_starts(tmp_path, monkeypatch):
    usage = type(run_folder.shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda path: usage)
    steps = []
    with pytest.raises(OSError, match="the disk has 0 MB left"):
        train(small_model(), squares(), SHORT, False, steps.append, tmp_path / "run")
    assert not steps


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_reported_before_training_starts(tmp_path):
    tmp_path.chmod(0o500)
    steps = []
    with pytest.raises(OSError):
        train(small_model(), squares(), SHORT, False, steps.append, tmp_path / "run")
    assert not steps


def test_a_file_in_the_folder_s_place_is_reported_before_training_starts(tmp_path):
    (tmp_path / "run").write_text("a file")
    steps = []
    with pytest.raises(OSError):
        train(small_model(), squares(), SHORT, False, steps.append, tmp_path / "run")
    assert not steps


def test_a_disk_that_fills_up_later_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    written, recipe = run_folder.save_file, dataclasses.replace(SHORT, steps=4)

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def fill(step: int) -> None:
        monkeypatch.setattr(run_folder, "save_file", full if step >= 2 else written)

    with pytest.raises(OSError, match="No space"):
        train(small_model(), squares(), recipe, False, fill, tmp_path / "run")
    monkeypatch.setattr(run_folder, "save_file", written)
    train(small_model(), squares(), recipe, False, None, tmp_path / "run", True)
    train(small_model(), squares(), recipe, False, None, tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


# ---- the stream ------------------------------------------------------------------------------


def test_every_picture_comes_once_an_epoch_in_new_orders():
    order = [index for _, index in Places(squares(), RECIPE, 0)]
    epochs = [order[i : i + 4] for i in range(0, 40, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3


def test_a_stream_goes_on_where_it_was_left_and_workers_change_nothing():
    def seen(first, **changes):
        recipe = dataclasses.replace(SHORT, steps=6, **changes)
        batches = stream(squares(), recipe, small_model().config, first)
        return [(s.image_id, s.image) for batch in batches for s in batch]

    whole, rest, worked = seen(0), seen(4), seen(0, workers=2)
    assert len(whole) == 12 and len(rest) == 4
    for a, b in [*zip(whole[8:], rest), *zip(whole, worked)]:
        assert a[0] == b[0] and torch.equal(a[1], b[1])
    flipped = {torch.equal(image, squares()[i].image) for i, image in whole}
    assert flipped == {True, False}


def test_a_batch_that_cannot_be_shared_is_named():
    with pytest.raises(ValueError, match="equal parts"):
        TrainConfig(batch_size=8, accumulate=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"labels": s.labels + 3}, r"square 0: class indices \[3\] must lie in 0 ... 2"),
        (lambda s: {"masks": s.masks[:, 1:]}, r"square 0: masks of shape \(1, 63, 64\)"),
        (lambda s: {"labels": s.labels[:0]}, "square 0: 0 labels for 1 masks"),
    ],
)
def test_a_sample_that_contradicts_itself_is_named(change, message):
    sample = squares()[0]
    with pytest.raises(ValueError, match=message):
        collate(small_model(), [dataclasses.replace(sample, **change(sample))])


# ---- parts, processes, precision -------------------------------------------------------------


def gradients(batch: list[list[Sample]], precision: str = "float32", double: bool = True) -> dict:
    """The gradient of one step on whole masks, without dropout: nothing in it is random."""
    model = small_model(num_points=None, dropout=0.0)
    model = model.double() if double else model
    size = sum(map(len, batch)) * distributed.count()
    changes = {"clip_norm": 1e9, "batch_size": size, "accumulate": len(batch)}
    state = loop.start(model, dataclasses.replace(RECIPE, precision=precision, **changes))
    if precision == "float16":  # the usual scale, 65536, is halved until nothing runs over
        state.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    loop.step(state, 0, batch)
    return {name: p.grad for name, p in model.named_parameters()}


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    samples = squares()
    whole = gradients([samples[:4]])
    halves = gradients([samples[:2], samples[2:4]])
    for name, gradient in whole.items():
        torch.testing.assert_close(halves[name], gradient, rtol=1e-9, atol=1e-12)


def in_two(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.joined("cpu"):
        found = gradients([squares()[rank * 2 : rank * 2 + 2]])
        in_parts = gradients([squares()[rank * 2 + i : rank * 2 + i + 1] for i in (0, 1)])
        scores = evaluate(small_model(), squares(5))
        told = {"pq": scores["All"], "ap": scores["ap"]["ap"], "wins": scores["wins"]}
        told |= {"gradients": found, "in parts": in_parts}
        torch.save(told, folder / f"{rank}.pt")


@posix
def test_two_processes_have_the_gradient_of_the_double_batch_and_its_scores(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    both = [context.Process(target=in_two, args=(rank, port, tmp_path)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    whole, scores = gradients([squares()[:4]]), evaluate(small_model(), squares(5))
    for name, gradient in whole.items():
        assert torch.equal(one["gradients"][name], two["gradients"][name])
        torch.testing.assert_close(one["gradients"][name], gradient, rtol=1e-6, atol=1e-9)
        assert torch.equal(one["in parts"][name], two["in parts"][name])
        torch.testing.assert_close(one["in parts"][name], gradient, rtol=1e-6, atol=1e-9)
    assert one["pq"] == two["pq"] == scores["All"]
    assert one["ap"] == two["ap"] == scores["ap"]["ap"]
    assert one["wins"] == two["wins"] == scores["wins"]


def test_torchrun_trains_with_one_writer(tmp_path):
    out = tmp_path / "run"
    command = "train --steps 2 --length 4 --batch-size 4 --evaluate-every 9 --seed 3 --eval scenes"
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
    ]
    done = subprocess.run(
        [*launch, "-m", "minim2f", *command.split(), "-o", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]
    assert minim2f.load(out).config.num_classes == 13


def test_the_mean_of_the_parts_losses_is_the_loss_of_the_whole():
    model = small_model(num_points=None, dropout=0.0).double().eval()
    samples, criterion = squares(), Criterion(model.config)

    def losses(chosen, by=()):
        images, targets = collate(model, chosen)
        return criterion(model(images), targets, None, *by), divisors(targets, model.config)

    whole, _ = losses(samples)
    (_, a), (_, b) = losses(samples[:1]), losses(samples[1:4])
    by = [(x + y) / 2 for x, y in zip(a, b)]
    parts = [losses(samples[:1], by)[0], losses(samples[1:4], by)[0]]
    for name in whole:
        mean = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(mean, whole[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_nearly_the_same_gradient(precision):
    full = gradients([squares()[:4]], double=False)
    half = gradients([squares()[:4]], precision, double=False)
    a, b = (torch.cat([g.flatten() for g in found.values()]) for found in (full, half))
    assert b.isfinite().all() and not torch.equal(a, b)
    assert torch.cosine_similarity(a, b, dim=0) > 0.95


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_under_autocast_the_islands_stay_float32(precision):
    config = minim2f.preset("tiny", pixel_decoder="msdeform", num_queries=4)
    model, kinds = minim2f.Mask2Former(config), {}

    def note(module, args, out):
        kinds["attention"] = {t.dtype for t in [out, *args] if isinstance(t, torch.Tensor)}

    model.pixel_decoder.layers[0].attention.register_forward_hook(note)
    with torch.autocast("cpu", getattr(torch, precision)):
        out = model(torch.randn(1, 3, 64, 64))
    assert kinds["attention"] == {torch.float32}
    assert out.class_logits.dtype == out.mask_logits.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns(precision):
    recipe = dataclasses.replace(RECIPE, steps=30, precision=precision)
    history = train(small_model(), squares(), recipe, progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


# ---- numbers that are not finite -------------------------------------------------------------


def broken_by(hook, module: str = "pixel_decoder.output.res4", accumulate=1, **changes) -> str:
    model = small_model(**changes)
    recipe = dataclasses.replace(SHORT, flip=0.0, accumulate=accumulate)
    model.get_submodule(module).register_forward_hook(hook)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ValueError) as caught:
        train(model, squares(2 * accumulate), recipe, progress=False)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    return str(caught.value)


def test_the_first_tensor_layer_and_picture_that_broke_are_named():
    def breaks(module, args, out):
        out = out.clone()
        out[1] = float("inf")
        return out

    told = broken_by(breaks)
    assert "step 1" in told and "pixel_decoder.output.res4" in told and "P4" in told
    assert told.count("square") == 1  # of two pictures only the second


def test_a_cost_that_is_not_finite_is_named_with_one_piece_of_advice():
    told = broken_by(lambda module, args, out: out * float("nan"), "decoder.mask_head")
    assert told.startswith("step 1: the cost of query 0 for segment 0 is nan, so this step")
    assert "decoder.mask_head" in told and told.count("learning rate") == 1


class BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient[0] = float("nan")
        return gradient


def test_the_first_gradient_that_broke_is_named():
    told = broken_by(lambda module, args, out: BadGradient.apply(out))
    assert "gradient" in told and "pixel_decoder.output.res4" in told
    assert told.count("square") == 1


def test_the_first_part_of_a_step_is_asked_too():
    first = []

    def breaks(module, args, out):
        first.append(out.detach())
        return BadGradient.apply(out) if torch.equal(out, first[0]) else out

    told = broken_by(breaks, accumulate=2)
    assert "gradient" in told and "pixel_decoder.output.res4" in told
    assert told.count("square") == 1


def test_a_picture_is_named_although_its_rows_were_cut_into_strips():
    def breaks(module, args, out):
        out = out.clone()
        out[-1] = float("inf")  # the last row of the last picture
        return out

    told = broken_by(breaks, "pixel_decoder.layers.0.ffn.0", pixel_decoder="msdeform")
    assert "pixel_decoder.layers.0.ffn (picture square" in told
    assert told.count("square") == 1


def test_a_weight_that_was_broken_before_is_named():
    model = small_model()
    model.decoder.class_head.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"weight decoder.class_head.bias is not finite already"):
        train(model, squares(), SHORT, progress=False)


# ---- what the loss should be -----------------------------------------------------------------


def test_the_expected_loss_of_the_published_model():
    assert 150 < expected_loss(minim2f.preset("r50")) < 190


def test_the_first_loss_is_told_beside_the_expected_one(capsys):
    values = train(small_model(), squares(), SHORT, progress=False)[0]
    told = first_loss(values, small_model().config, details=True)
    assert f"{values['loss']:.1f}" in told
    lines = told.splitlines()
    assert len(lines) == 4 and "raw queries" in lines[2] and "after layer 1" in lines[3]
    numbers = [float(n) for line in lines[2:] for n in line.split()[-3:]]
    assert sum(numbers) == pytest.approx(values["loss"], abs=0.05)
