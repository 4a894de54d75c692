"""All measurements, one after the other."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..files import whole
from . import contest, measure, report
from .contest import SIDES, discs, forward, pictures, step, train

NAMES = ("r50", "swin_t")
SIZES = ((256, 256), (512, 512), (800, 1024))
PROCESSES = 3  # that each comparison is spread over
GROWTH = {"pixels": (256, 512, 768), "queries": (50, 100, 200), "objects": (1, 10, 40)}


def bench(
    folder: str | os.PathLike,
    names: tuple[str, ...] = NAMES,
    device: str = "cpu",
    rounds: int = 3,
    quick: bool = False,
) -> dict:
    """Measures ours beside Transformers', and writes bench.json, bench.md and bench.png.

    Args:
        folder: for the three files.
        names: backbones, of "r50" and "swin_t".
        device: "cpu" or "cuda".
        rounds: pairs of each measurement in each of three processes.
        quick: only the forward pass at 256 and the training step, both small; for a first look.

    Returns:
        What bench.json holds.

    Raises:
        ValueError: outputs are not equal; a backbone of another name; no rounds; no such device.
        OSError: the folder cannot be written.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"no comparison is called {unknown.pop()!r}; there are {', '.join(NAMES)}")
    if rounds < 1:
        raise ValueError(f"{rounds} rounds measure nothing; give 1 or more")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here; --device cpu always works")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict = {
        "machine": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": alone(torch.get_num_threads),
        "torch": torch.__version__,
        "transformers": contest.transformers().__version__,
        "rounds": rounds,
        **{part: {} for part in ("equal", "time", "memory", "stages", "growth", "variants")},
    }
    for name in names:
        results["equal"][name] = alone(_equal, name, device)
        sizes, side = (SIZES[:1], 128) if quick else (SIZES, 384)
        for height, width in tqdm(sizes, desc=f"{name} forward"):
            told = f"{name} forward {height}" + f" x {width}" * (height != width)
            results["time"][told] = fresh(_forwards, name, height, width, device, rounds)
        told = f"{name} training step {side}"
        results["time"][told] = fresh(_steps, name, side, 10, device, rounds)
        if not quick:
            _look_closer(results, name, device, rounds)
        _store(results, folder)  # what took minutes is not lost if the rest fails
    if not quick:
        results["growth"] = _growth(device)
        _store(results, folder)
        report.picture(results, folder / "bench.png")
    return results


def _look_closer(results: dict, name: str, device: str, rounds: int) -> None:
    results["stages"][name] = alone(_stages, name, device)
    results["variants"] |= alone(_variants, name, device, rounds)
    if device == "cuda" or sys.platform == "linux":  # no other system tells the peak
        for what in ("forward", "training step"):
            results["memory"][f"{name} {what}"] = measure.peak_memory(name, what, device)


def _store(results: dict, folder: Path) -> None:
    texts = {"json": json.dumps(results, indent=1) + "\n", "md": report.table(results)}
    for ending, text in texts.items():
        with whole(folder / f"bench.{ending}") as partial:
            partial.write_text(text, "utf-8")


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
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _exact) as pool:
        return pool.submit(work, *args).result()


def fresh(work: Callable, *args: object) -> dict:
    """The summary of pairs from several processes: one may be unlucky from its start to its end."""
    pairs = [pair for _ in range(PROCESSES) for pair in alone(work, *args)]
    return measure.summary(pairs)


def _exact() -> None:
    torch.backends.cudnn.allow_tf32 = False  # on a GPU, too, float32 is float32


def _both(name: str, device: str, num_queries: int = 100) -> dict[str, nn.Module]:
    theirs = contest.make_theirs(name, num_queries)
    ours = contest.make_ours(name, theirs, num_queries)
    return {"theirs": theirs.to(device), "ours": ours.to(device)}


def _equal(name: str, device: str) -> float:
    return contest.check_equal(name, _both(name, device), torch.device(device))


def _forwards(
    name: str, height: int, width: int, device: str, rounds: int, num_queries: int = 100
) -> list[dict]:
    models, images = _both(name, device, num_queries), pictures(1, height, width, device)
    work = {side: partial(forward, side, models[side], images) for side in SIDES}
    return measure.paired(work, rounds, torch.device(device))


def _steps(name: str, size: int, objects: int, device: str, rounds: int) -> list[dict]:
    models, images = _both(name, device), pictures(2, size, size, device)
    truth = discs(2, size, objects, device)
    work = {side: partial(step, side, train(models[side]), images, truth) for side in SIDES}
    return measure.paired(work, rounds, torch.device(device))


def _stages(name: str, device: str) -> dict:
    models = {side: train(model) for side, model in _both(name, device).items()}
    return measure.stages(models, 3, 384, torch.device(device))


def _variants(name: str, device: str, rounds: int) -> dict:
    """Our own forward pass at 512 ("theirs"), against itself compiled, or in bfloat16 ("ours")."""
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
        times = measure.summary(measure.paired(pair, rounds, torch.device(device)))
        differ = max(contest.difference(a.float(), b) for a, b in zip(out, plain))
        variants[f"{name} forward 512, {way}"] = times | {"difference": differ}
    return variants


def _growth(device: str) -> dict:
    """How the time grows with one thing at a time; a pair in each process is enough to see it."""
    return {
        "r50 forward, side of the picture in pixels": {
            side: fresh(_forwards, "r50", side, side, device, 1) for side in GROWTH["pixels"]
        },
        "r50 training step at 256, objects in a picture": {
            objects: fresh(_steps, "r50", 256, objects, device, 1) for objects in GROWTH["objects"]
        },
        "r50 forward at 256, queries": {
            n: fresh(_forwards, "r50", 256, 256, device, 1, n) for n in GROWTH["queries"]
        },
    }
