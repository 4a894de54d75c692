"""A run's folder: its log, its checkpoint, its model. What is in it survives any kill."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from ..checkpoints import save
from ..files import whole, write, writing
from ..model.mask2former import Mask2Former
from . import distributed
from .losses import expected_loss
from .recipe import TrainConfig

LOG, CHECKPOINT, MODEL = "log.jsonl", "checkpoint.safetensors", "model.safetensors"
# May change when a run goes on; with other steps, the rates are from then on those of that length.
FREE = {"steps", "precision", "workers", "save_every", "evaluate_every"}


class Stopped(Exception):
    """Somebody asked the run to stop, and its checkpoint is written."""


@contextmanager
def asked_to_stop(listen: bool = True) -> Iterator[list[int]]:
    """Ctrl-C or SIGTERM only adds to a list the first time; the second time it acts as usual.

    Args:
        listen: False leaves both signals as they are.

    Yields:
        The signals so far; empty while nobody asked. Outside of the main thread it stays empty.
    """
    asked: list[int] = []
    if not listen or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])
        print("\nfinishing this step, then saving", file=sys.stderr)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def last_start(folder: str | os.PathLike) -> dict:
    """The line with which the run in a folder began, or last went on: arguments, recipe, classes.

    Raises:
        FileNotFoundError: no run of the command line ever began there.
    """
    log = Path(folder, LOG)
    try:
        lines = [line for line in _lines(log) if line["kind"] == "start" and "arguments" in line]
        return lines[-1]
    except (OSError, LookupError, TypeError) as error:
        raise FileNotFoundError(f"{folder} holds no run to go on with: no {log.name}") from error


def refuse_existing_run(folder: Path) -> None:
    """Keeps a new run out of a folder that holds one.

    A run that failed before its first step is no loss, and counts as none.

    Raises:
        FileExistsError: there are steps in the log, or a checkpoint.
    """
    log = folder / LOG
    steps = log.exists() and any(line["kind"] != "start" for line in _lines(log))
    if steps or (folder / CHECKPOINT).exists():
        raise FileExistsError(
            f"{folder} holds a run already: go on with it (--resume {folder}), name another "
            "folder, or remove this one"
        )


def _lines(log: Path) -> list[dict]:
    """The lines of a log; one that a kill cut short is left out."""
    lines = []
    for text in log.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


class Run:
    """The folder of one training run. Of several processes the first one writes, all may call.

    Random numbers are no part of a checkpoint: those of a step follow from the run's seed and the
    step's number (see `training.batches`), and so does the place in the data.

    Args:
        folder: its path; None keeps nothing.
        recipe: written into log and checkpoints; a checkpoint of another recipe is refused.
    """

    def __init__(self, folder: str | os.PathLike | None, recipe: TrainConfig) -> None:
        self.folder = None if folder is None else Path(folder)
        self.recipe = recipe
        self.writes = folder is not None and distributed.rank() == 0

    def begin(
        self,
        model: Mask2Former,
        optimizer: Optimizer,
        scaler: GradScaler,
        resume: bool = False,
        note: dict | None = None,
    ) -> int:
        """Begins a run, or goes on with the one in this folder, and logs that.

        Args:
            model, optimizer, scaler: as they are before the first step; `resume` gives them the
                state of the last checkpoint.
            resume: go on with the run that lies there, if any does.
            note: more facts for the log.

        Returns:
            How many steps the run has behind it.

        Raises:
            FileExistsError: there is a run already, and `resume` is False.
            OSError: the folder cannot be written, or the disk has no room for two checkpoints.
            ValueError: the checkpoint is broken, of another model, of another recipe, or of more
                steps than the recipe has.
        """
        if self.folder is None:
            return 0
        if self.writes:
            self._require_room(model, resume)
        done = self._restore(model, optimizer, scaler) if resume else 0
        if resume and not done and self.writes:
            print(
                f"{self.folder} has no checkpoint yet: the run begins anew (--save-every says how "
                "often one is saved)"
            )
        if done > self.recipe.steps:
            raise ValueError(
                f"{self.folder} has {done} steps behind it already: --steps {self.recipe.steps} "
                "cannot take any back"
            )
        if done == self.recipe.steps and self.writes:
            print(f"all {done:,} steps are taken already; a larger number of --steps adds more")
        config = model.config
        facts = {
            "recipe": dataclasses.asdict(self.recipe),
            "categories": [category["name"] for category in config.classes],
            "config": dataclasses.asdict(config),
            "num_predictions": config.num_layers + 1,
            "expected_loss": expected_loss(config),
        }
        self.write("start", done, **facts, **(note or {}))
        return done

    def _require_room(self, model: Mask2Former, resume: bool) -> None:
        """Makes the folder, and finds out whether a run of this size can be written to it."""
        if not resume:
            refuse_existing_run(self.folder)
        write(self.folder / "can-be-written", b"")
        (self.folder / "can-be-written").unlink()
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        needed, free = 7 * size, shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                f"{self.folder}: the disk has {free / 1e6:.0f} MB left, and this run may need "
                f"{needed / 1e6:.0f} MB (the model, and two checkpoints of three times its size)"
            )

    def was_evaluated(self, step: int) -> bool:
        """Whether the log has the scores of a step."""
        if self.folder is None or not (self.folder / LOG).exists():
            return False
        evals = (line for line in _lines(self.folder / LOG) if line["kind"] == "eval")
        return any(line["step"] == step and "fault" not in line for line in evals)

    def write(self, kind: str, step: int, **values: object) -> None:
        """Adds a line to the log."""
        if self.writes:
            line = json.dumps({"kind": kind, "step": step} | values)
            path = self.folder / LOG
            with writing(path), open(path, "a", encoding="utf-8") as log:
                log.write(line + "\n")

    def save(self, step: int, model: Mask2Former, optimizer: Optimizer, scaler: GradScaler) -> None:
        """Writes everything that the next step depends on, whole or not at all.

        Raises:
            OSError: it cannot be written; the checkpoint before is still there.
        """
        if not self.writes:
            return
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, tensor in optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = tensor
        about = {
            "step": step,
            "recipe": dataclasses.asdict(self.recipe),
            "scaler": scaler.state_dict(),
        }
        tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        path = self.folder / CHECKPOINT
        try:
            with whole(path) as part:
                save_file(tensors, part, metadata={"minim2f.run": json.dumps(about)})
        except SafetensorError as error:  # a full disk, for one
            raise OSError(f"{path} cannot be written: {error}") from error

    def finish(self, model: Mask2Former, half: bool = False) -> None:
        """Writes the trained model alone, for `minim2f.load`; as float16 if `half`."""
        if self.writes:
            save(model, self.folder / MODEL, half)

    def _restore(self, model: Mask2Former, optimizer: Optimizer, scaler: GradScaler) -> int:
        """Goes back to the last checkpoint, in the log too; returns its step, 0 without one."""
        path, step = self.folder / CHECKPOINT, 0
        if path.exists():
            about, tensors = _read(path)
            _refuse_other_recipe(path, about["recipe"], self.recipe)
            _put_back(path, tensors, model, optimizer)
            if about["scaler"] and scaler.is_enabled():  # neither is so in other precisions
                scaler.load_state_dict(about["scaler"])
            step = about["step"]
        if self.writes and (self.folder / LOG).exists():
            self._cut_log(step)
        return step

    def _cut_log(self, step: int) -> None:
        """Removes the lines of steps that will be taken again, and a last line cut short."""
        log = self.folder / LOG
        lines = log.read_text("utf-8").split("\n")[:-1]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write(log, "".join(f"{line}\n" for line in kept))


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """What a checkpoint says about itself, and its tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["minim2f.run"])
            return about, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole checkpoint of a run ({error!r})") from error


def _refuse_other_recipe(path: Path, old: dict, recipe: TrainConfig) -> None:
    now = dataclasses.asdict(recipe)
    changed = [name for name in now if name not in FREE and old.get(name) != now[name]]
    if changed:
        told = ", ".join(f"{name} = {old.get(name)} (now {now[name]})" for name in changed)
        raise ValueError(f"{path} is of a run with {told}; go on with the same recipe")


def _put_back(
    path: Path, tensors: dict[str, Tensor], model: Mask2Former, optimizer: Optimizer
) -> None:
    own = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{path} is of another model: {error}") from error
    for name, parameter in model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (value := tensors.get(f"adam.{key}.{name}")) is not None:
                optimizer.state[parameter][key] = value.to(parameter.device)
