"""Models in files: safetensors, with the Config as JSON in the file's header."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from .model.config import Config
from .model.mask2former import Mask2Former

SHIPPED = Path(__file__).parent / "weights"


def save(model: Mask2Former, path: str | Path, half: bool = False) -> Path:
    """Writes a model to a file, whole or not at all.

    Args:
        model: any model.
        path: ends in .safetensors, or names a folder that gets a model.safetensors.
        half: store float16, half the size; `load` makes it float32 again.

    Returns:
        The file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    partial = path.with_name(path.name + ".part")
    try:
        config = json.dumps(dataclasses.asdict(model.config))
        partial.write_bytes(to_bytes(tensors, metadata={"minim2f.config": config}))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Mask2Former:
    """Reads a model, in eval mode and float32.

    Args:
        path: a file or folder that `save` wrote, or the name of a model that comes with the
            package: "tiny", trained on the embedded scenes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a model of ours, or lacks, exceeds or mis-shapes tensors.
    """
    file = SHIPPED / f"{path}.safetensors"
    if not file.exists():  # a folder called tiny is reached as ./tiny
        file = Path(path)
        file = file / "model.safetensors" if file.is_dir() else file
    if not file.exists():
        names = ", ".join(sorted(f.stem for f in SHIPPED.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"there is no model at {path} (shipped with the package: {names})")
    try:
        with safe_open(file, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is not a whole safetensors file ({error}); fetch or save it anew"
        ) from error
    if "minim2f.config" not in header:
        raise ValueError(
            f"{file} has no minim2f.config in its header: minim2f.save did not write it"
        )
    model = Mask2Former(Config(**json.loads(header["minim2f.config"])))
    _fill(model, tensors, file)
    return model.eval()


def _fill(model: Mask2Former, tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Loads tensors into a model; every key and every shape must fit."""
    own = model.state_dict()
    problems = [f"missing: {name}" for name in own.keys() - tensors.keys()]
    problems += [f"surplus: {name}" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name}: {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        raise ValueError(f"{file} does not fit its own config:\n  " + "\n  ".join(sorted(problems)))
    model.load_state_dict(tensors)
