"""One process or several: who am I, and what do the others have? (torchrun, torch.distributed)"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import distributed as dist
from torch import nn


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Joins the processes that torchrun started, and leaves them at the end; else does nothing.

    Args:
        device: "cpu", "cuda" or "mps"; of several GPUs each process gets its own.

    Yields:
        The device of this process.

    Raises:
        ValueError: this machine has no such device.
    """
    _refuse_missing(device)
    if "RANK" not in os.environ:
        yield torch.device(device)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        yield torch.device(device)
    finally:
        dist.destroy_process_group()


def _refuse_missing(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or not (number or "0").isdigit() or device[-1:] == ":":
        raise ValueError(
            f"no device is called {device!r}: there are cpu, cuda (an NVIDIA or AMD GPU; cuda:1 is "
            "the second one) and mps (a Mac's GPU)"
        )
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if int(number or 0) >= here[kind]:
        found = f"{here[kind]} of them" if here[kind] else f"no {kind.upper()} device"
        raise ValueError(f"--device {device}: there is {found} here; --device cpu always works")


def rank() -> int:
    """The number of this process; 0 writes the files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(values: Sequence[float], device: torch.device) -> list[float]:
    """The mean of each value over all processes."""
    if count() == 1:
        return list(values)
    mean = torch.tensor(values, dtype=torch.float32, device=device)  # MPS and others lack float64
    dist.all_reduce(mean)
    return (mean / count()).tolist()


def gather(mine: object) -> list:
    """The values of all processes, ordered by rank; every process gets the whole list."""
    if count() == 1:
        return [mine]
    everyone = [None] * count()
    dist.all_gather_object(everyone, mine)
    return everyone


def parallel(model: nn.Module) -> nn.Module:
    """The model, or around it DistributedDataParallel, which averages gradients."""
    if count() == 1:
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )


def no_sync(replica: nn.Module) -> AbstractContextManager:
    """Within it, gradients stay in this process; the next backward pass outside averages all.

    Args:
        replica: what `parallel` returned.
    """
    return replica.no_sync() if count() > 1 else nullcontext()
