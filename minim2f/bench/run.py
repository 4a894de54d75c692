"""All measurements, one after the other."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from . import contest, measure, report
from .contest import SIDES, discs, forward, pictures, step

NAMES = ("r50", "swin_t")
SIZES = ((256, 256), (512, 512), (800, 1024))
GROWTH = {"pixels": (256, 384, 512, 768), "queries": (50, 100, 200), "objects": (1, 10, 40)}


def bench(
    folder: str | os.PathLike,
    names: tuple[str, ...] = NAMES,
    device: str = "cpu",
    rounds: int = 7,
    quick: bool = False,
) -> dict:
    """Measures ours beside Transformers', and writes bench.json, bench.md and bench.png.

    Args:
        folder: for the three files.
        names: backbones, of "r50" and "swin_t".
        device: "cpu" or "cuda".
        rounds: pairs of each measurement.
        quick: only the forward pass at 256 and the training step, both small; for a first look.

    Returns:
        What bench.json holds.

    Raises:
        ValueError: outputs are not equal.
    """
    results: dict = {
        "machine": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": contest.transformers().__version__,
        "rounds": rounds,
        **{part: {} for part in ("equal", "time", "memory", "stages", "growth", "variants")},
    }
    times = results["time"]
    for name in names:
        results["equal"][name] = alone(_equal, name, device)
        for height, width in tqdm(SIZES[:1] if quick else SIZES, desc=f"{name} forward"):
            told = f"{name} forward {height}" + f" x {width}" * (height != width)
            times[told] = alone(_forwards, name, height, width, device, rounds)
        side = 128 if quick else 384
        times[f"{name} training step"] = alone(_steps, name, side, 10, device, rounds)
        if not quick:
            results["stages"][name] = alone(_stages, name, device)
            results["variants"] |= alone(_variants, name, device, rounds)
            for what in ("forward", "training step"):
                results["memory"][f"{name} {what}"] = measure.peak_memory(name, what, device)
    if not quick:
        results["growth"] = _growth(device)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (folder / "bench.md").write_text(report.table(results), "utf-8")
    if not quick:
        report.picture(results, folder / "bench.png")
    return results


def _processor() -> str:
    """The processor's name, where it can be had."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def alone(work: Callable, *args: object) -> Any:
    """The result of some work in a process of its own.

    What the C library's allocator has seen changes what comes later: after a training step a
    forward pass of the peer is a tenth faster. So every comparison begins with a clean slate.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def _both(name: str, device: str, num_queries: int = 100) -> dict[str, nn.Module]:
    theirs = contest.make_theirs(name, num_queries)
    ours = contest.make_ours(name, theirs, num_queries)
    return {"theirs": theirs.to(device), "ours": ours.to(device)}


def _equal(name: str, device: str) -> float:
    return contest.check_equal(name, _both(name, device), torch.device(device))


def _forwards(
    name: str, height: int, width: int, device: str, rounds: int, num_queries: int = 100
) -> dict:
    models, images = _both(name, device, num_queries), pictures(1, height, width, device)
    work = {side: partial(forward, side, models[side], images) for side in SIDES}
    return measure.paired(work, rounds, torch.device(device))


def _steps(name: str, size: int, objects: int, device: str, rounds: int) -> dict:
    models, images = _both(name, device), pictures(2, size, size, device)
    truth = discs(2, size, objects, device)
    work = {side: partial(step, side, models[side].train(), images, truth) for side in SIDES}
    return measure.paired(work, rounds, torch.device(device))


def _stages(name: str, device: str) -> dict:
    models = {side: model.train() for side, model in _both(name, device).items()}
    return measure.stages(models, 3, 384, torch.device(device))


def _variants(name: str, device: str, rounds: int) -> dict:
    """Our own forward pass at 512, compiled, and in bfloat16, against itself."""
    model, images = contest.make_ours(name).to(device), pictures(1, 512, 512, device)
    plain = forward("ours", model, images)
    compiled = torch.compile(model)

    def half() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(device, torch.bfloat16):
            return forward("ours", model, images)

    variants = {}
    ways = {"torch.compile": lambda: forward("ours", compiled, images), "bfloat16": half}
    for way, work in ways.items():
        try:
            out = work()
        except Exception as error:  # torch.compile needs a C++ compiler, and fails in many ways
            print(f"{name}, {way}: left out, it fails here ({type(error).__name__})")
            continue
        pair = {"theirs": lambda: forward("ours", model, images), "ours": work}
        times = measure.paired(pair, rounds, torch.device(device))
        variants[f"{name} forward 512, {way}"] = {
            "seconds": times["ours"],
            "ratio": times["ratio"],
            "difference": max(contest.difference(a.float(), b) for a, b in zip(out, plain)),
        }
    return variants


def _growth(device: str) -> dict:
    """How the time grows with one thing at a time; three rounds are enough to see it."""
    return {
        "r50 forward, side of the picture in pixels": {
            side: alone(_forwards, "r50", side, side, device, 3) for side in GROWTH["pixels"]
        },
        "r50 training step at 256, objects in a picture": {
            objects: alone(_steps, "r50", 256, objects, device, 3) for objects in GROWTH["objects"]
        },
        "r50 forward at 256, queries": {
            n: alone(_forwards, "r50", 256, 256, device, 3, n) for n in GROWTH["queries"]
        },
    }
