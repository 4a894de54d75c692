"""A run's folder: its log, its checkpoint, its model. What is in it survives any kill."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..checkpoints import save
from ..files import whole, write
from ..model.mask2former import Mask2Former
from . import distributed
from .step import Trainer

LOG, CHECKPOINT = "log.jsonl", "checkpoint.safetensors"
FREE = {"workers", "save_every", "evaluate_every"}  # may change when a run goes on


def arguments_of(folder: str | os.PathLike) -> dict:
    """The command line's arguments when the run in a folder began.

    Raises:
        FileNotFoundError: no run ever began there.
    """
    log = Path(folder, LOG)
    try:
        return json.loads(log.read_text("utf-8").partition("\n")[0])["arguments"]
    except (OSError, LookupError, ValueError) as error:
        raise FileNotFoundError(f"{folder} holds no run to go on with: no {log.name}") from error


class Run:
    """The folder of one training run. Of several processes the first one writes, all may call.

    Random numbers are no part of a checkpoint: those of a step follow from the run's seed and the
    step's number (see `training.batches`), and so does the place in the data.

    Args:
        folder: its path.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder, self.writes = Path(folder), distributed.rank() == 0

    def open(self, model: Mask2Former, resume: bool = False) -> None:
        """Makes the folder, and finds out whether a run can be written to it.

        Args:
            model: tells how much space is needed.
            resume: go on with the run that lies there, if any does.

        Raises:
            FileExistsError: there is a run already, and nobody said that it should go on.
            OSError: the folder cannot be written, or the disk has no room for two checkpoints.
        """
        if not self.writes:
            return
        if not resume and (self.folder / LOG).exists():
            raise FileExistsError(
                f"{self.folder} holds a run already: go on with it (--resume {self.folder}), name "
                "another folder, or remove this one"
            )
        write(self.folder / "can-be-written", b"")
        (self.folder / "can-be-written").unlink()
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        needed, free = 7 * size, shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                f"{self.folder}: the disk has {free / 1e6:.0f} MB left, and this run may need "
                f"{needed / 1e6:.0f} MB (the model, and two checkpoints of three times its size)"
            )

    def write(self, kind: str, step: int, **values: object) -> None:
        """Adds a line to the log."""
        if self.writes:
            line = json.dumps({"kind": kind, "step": step} | values)
            with open(self.folder / LOG, "a", encoding="utf-8") as log:
                log.write(line + "\n")

    def save(self, step: int, trainer: Trainer) -> None:
        """Writes everything that the next step depends on, whole or not at all."""
        if not self.writes:
            return
        model, adam = trainer.model, trainer.adam
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, tensor in adam.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = tensor
        about = {
            "step": step,
            "recipe": dataclasses.asdict(trainer.recipe),
            "scaler": trainer.scaler.state_dict(),
        }
        with whole(self.folder / CHECKPOINT) as part:
            save_file(
                {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
                part,
                metadata={"minim2f.run": json.dumps(about)},
            )

    def finish(self, model: Mask2Former) -> None:
        """Writes the trained model alone, for `minim2f.load`."""
        if self.writes:
            save(model, self.folder)

    def restore(self, trainer: Trainer) -> int:
        """Puts model, optimiser and scaler back, and cuts the log.

        Returns:
            How many steps the checkpoint has behind it; 0 if there is none yet.

        Raises:
            ValueError: the checkpoint is broken, of another model, or of another recipe.
        """
        path = self.folder / CHECKPOINT
        step = _restore(path, trainer) if path.exists() else 0
        if self.writes and (self.folder / LOG).exists():
            self._cut_log(step)
        return step

    def _cut_log(self, step: int) -> None:
        """Forgets the lines of steps that will be taken again, and half a last line."""
        log = self.folder / LOG
        lines = log.read_text("utf-8").split("\n")[:-1]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write(log, "".join(f"{line}\n" for line in kept))


def _restore(path: Path, trainer: Trainer) -> int:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["minim2f.run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole checkpoint of a run ({error!r})") from error
    old, now = about["recipe"], dataclasses.asdict(trainer.recipe)
    changed = [name for name in now if name not in FREE and old.get(name) != now[name]]
    if changed:
        told = ", ".join(f"{name} = {old.get(name)} (now {now[name]})" for name in changed)
        raise ValueError(f"{path} is of a run with {told}; go on with the same recipe")
    own = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    try:
        trainer.model.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{path} is of another model: {error}") from error
    for name, parameter in trainer.model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (value := tensors.get(f"adam.{key}.{name}")) is not None:
                trainer.adam.state[parameter][key] = value.to(parameter.device)
    trainer.scaler.load_state_dict(about["scaler"])
    return about["step"]
