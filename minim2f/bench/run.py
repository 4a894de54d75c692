"""All measurements, one after the other."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

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
    where = torch.device(device)
    results: dict = {
        "machine": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": contest.transformers().__version__,
        "rounds": rounds,
        "equal": {},
        **{part: {} for part in ("time", "memory", "stages", "growth", "variants")},
    }
    for name in names:
        models = _both(name, where)
        results["equal"][name] = contest.check_equal(name, models, where)
        _times(results, name, models, where, rounds, quick)
        if not quick:
            models["ours"].train(), models["theirs"].train()
            results["stages"][name] = measure.stages(models, 3, 384, where)
            _variants(results, name, where, rounds)
            for what in ("forward", "training step"):
                results["memory"][f"{name} {what}"] = measure.peak_memory(name, what, device)
    if not quick:
        _growth(results, where)
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


def _both(name: str, device: torch.device, num_queries: int = 100) -> dict[str, nn.Module]:
    theirs = contest.make_theirs(name, num_queries)
    ours = contest.make_ours(name, theirs, num_queries)
    return {"theirs": theirs.to(device), "ours": ours.to(device)}


def _forwards(models: dict[str, nn.Module], images: torch.Tensor) -> dict[str, Callable]:
    return {side: lambda side=side: forward(side, models[side], images) for side in SIDES}


def _steps(models: dict[str, nn.Module], size: int, objects: int, device: torch.device) -> dict:
    images, truth = pictures(2, size, size, device), discs(2, size, objects, device)
    return {side: lambda side=side: step(side, models[side], images, truth) for side in SIDES}


def _times(
    results: dict, name: str, models: dict, device: torch.device, rounds: int, quick: bool
) -> None:
    for height, width in tqdm(SIZES[:1] if quick else SIZES, desc=f"{name} forward"):
        told = f"{name} forward {height}" + f" x {width}" * (height != width)
        images = pictures(1, height, width, device)
        results["time"][told] = measure.paired(_forwards(models, images), rounds, device)
    for model in models.values():
        model.train()
    work = _steps(models, 128 if quick else 384, 10, device)
    results["time"][f"{name} training step"] = measure.paired(work, rounds, device)
    for model in models.values():
        model.eval()


def _variants(results: dict, name: str, device: torch.device, rounds: int) -> None:
    """Our own forward pass at 512, compiled, and in bfloat16, against itself."""
    model, images = contest.make_ours(name).to(device), pictures(1, 512, 512, device)
    plain = forward("ours", model, images)
    compiled = torch.compile(model)

    def half() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(device.type, torch.bfloat16):
            return forward("ours", model, images)

    ways = {"torch.compile": lambda: forward("ours", compiled, images), "bfloat16": half}
    for way, work in ways.items():
        try:
            out = work()
        except Exception as error:  # torch.compile needs a C++ compiler, and fails in many ways
            print(f"{name}, {way}: left out, it fails here ({type(error).__name__})")
            continue
        pair = {"theirs": lambda: forward("ours", model, images), "ours": work}
        times = measure.paired(pair, rounds, device)
        results["variants"][f"{name} forward 512, {way}"] = {
            "seconds": times["ours"],
            "ratio": times["ratio"],
            "difference": max(contest.difference(a.float(), b) for a, b in zip(out, plain)),
        }


def _growth(results: dict, device: torch.device) -> None:
    """How the time grows with one thing at a time; three rounds are enough to see it."""
    models = _both("r50", device)
    growth = results["growth"]
    growth["r50 forward, side of the picture in pixels"] = {
        side: measure.paired(_forwards(models, pictures(1, side, side, device)), 3, device)
        for side in GROWTH["pixels"]
    }
    for model in models.values():
        model.train()
    growth["r50 training step at 256, objects in a picture"] = {
        objects: measure.paired(_steps(models, 256, objects, device), 3, device)
        for objects in GROWTH["objects"]
    }
    growth["r50 forward at 256, queries"] = {
        n: measure.paired(
            _forwards(_both("r50", device, n), pictures(1, 256, 256, device)), 3, device
        )
        for n in GROWTH["queries"]
    }
