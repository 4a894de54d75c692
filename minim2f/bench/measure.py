"""Clocks and scales: pairs in turn, peak memory in fresh processes, time of every stage."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..training import losses
from .contest import SIDES, discs, forward, loss, make_ours, make_theirs, pictures, step, train

STAGES = {
    "theirs": {
        "backbone": "model.pixel_level_module.encoder",
        "pixel decoder": "model.pixel_level_module.decoder",
        "decoder": "model.transformer_module",
        "matching": "criterion.matcher",
    },
    "ours": {"backbone": "backbone", "pixel decoder": "pixel_decoder", "decoder": "decoder"},
}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long some work takes; on a GPU from the first of its kernels to the last."""
    if device.type != "cuda":
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def paired(
    work: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> list[dict[str, float]]:
    """Seconds of both in turn, now this one first and now that one, after an uncounted round.

    A machine that is slow for a while is slow for both, so the ratio within a pair means more than
    the times do.
    """
    for side in SIDES:
        work[side]()
    pairs = []
    for n in range(rounds):
        order = SIDES if n % 2 else SIDES[::-1]
        pairs.append({side: seconds(work[side], device) for side in order})
    return pairs


def summary(pairs: list[dict[str, float]]) -> dict:
    """Median seconds of both sides; the median and the middle half of theirs / ours, and all."""
    ratios = [pair["theirs"] / pair["ours"] for pair in pairs]
    return {
        **{side: statistics.median(pair[side] for pair in pairs) for side in SIDES},
        "ratio": statistics.median(ratios),
        "range": torch.tensor(ratios).quantile(torch.tensor([0.25, 0.75])).tolist(),
        "ratios": ratios,
    }


@contextmanager
def stopwatch(side: str, model: nn.Module, device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds by stage on the way to a loss; what belongs to no other stage is "losses"."""
    spent: dict[str, float] = defaultdict(float)
    begun: dict[str, float] = {}

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def begin(stage: str) -> None:
        begun[stage] = now()

    def end(stage: str) -> None:
        spent[stage] += now() - begun[stage]

    def match(*args: object) -> object:
        begin("matching")
        pairs = matcher(*args)
        end("matching")
        return pairs

    hooks, matcher = [], losses.match
    for stage, name in STAGES[side].items():
        module = model.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(lambda m, a, stage=stage: begin(stage)))
        hooks.append(module.register_forward_hook(lambda m, a, o, stage=stage: end(stage)))
    losses.match = match
    start = now()
    try:
        yield spent
        spent["losses"] = now() - start - sum(spent.values())
    finally:
        losses.match = matcher
        for hook in hooks:
            hook.remove()


def stages(models: dict[str, nn.Module], rounds: int, size: int, device: torch.device) -> dict:
    """Median seconds of every stage of a training step, for both sides.

    The backward pass runs through all of them, and is one.
    """
    images, truth = pictures(2, size, size, device), discs(2, size, 10, device)
    result = {}
    for side in SIDES:
        runs = []
        for _ in range(rounds + 1):
            models[side].zero_grad()
            with stopwatch(side, models[side], device) as spent:
                wrong = loss(side, models[side], images, truth)
            runs.append(dict(spent) | {"backward": seconds(wrong.backward, device)})
        result[side] = {k: statistics.median(run[k] for run in runs[1:]) for k in runs[0]}
    return result


def peak_memory(name: str, what: str, device: str) -> dict[str, float]:
    """Megabytes that one forward pass or one training step adds at its peak, for both sides.

    Each is measured in a process of its own, above what the process held before: the peak of the
    resident set on a CPU (Linux alone can tell), of PyTorch's allocator on a GPU. What the C
    library gives back to the system, and when, differs from run to run: the median of three counts.
    """
    found = {}
    for side in SIDES:
        command = [sys.executable, "-m", "minim2f.bench.measure", side, name, what, device]
        peaks = []
        for _ in range(3):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
            peaks.append(json.loads(done.stdout.splitlines()[-1]))
        found[side] = statistics.median(peaks)
    return found | {"ratio": found["ours"] / found["theirs"]}


def _peak(side: str, name: str, what: str, device: str) -> float:
    model = (make_theirs(name) if side == "theirs" else make_ours(name)).to(device)
    if what == "forward":
        work = partial(forward, side, model, pictures(1, 512, 512, device))
    else:
        images, truth = pictures(2, 384, 384, device), discs(2, 384, 10, device)
        work = partial(step, side, train(model), images, truth)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of building the model
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_peak(*sys.argv[1:])))
