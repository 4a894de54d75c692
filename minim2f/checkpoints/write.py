"""Models to files: ours, the official (detectron2) and Hugging Face ones, and graphs."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..files import write
from ..model.config import Config
from ..model.mask2former import Mask2Former
from . import graph, names
from .config_json import config_to_json

Tensors = dict[str, Tensor]

# Fields of Config that may have any value in an exported model. All others must have their default:
# a new field is refused until somebody enters it here, and sees to it that the other programs know.
SIZES = {"backbone", "channels", "ffn_channels", "num_classes", "num_layers", "num_queries"}
TOLD_BY_TENSORS = {
    "official": SIZES | {"frozen_norm", "pixel_decoder"},
    "huggingface": SIZES | {"frozen_norm"},  # it has no FPN
}
OUTSIDE_OF_THE_MODEL = {
    *("categories", "short_side", "long_side"),  # pictures and names, not tensors
    *("class_weight", "mask_weight", "dice_weight", "eos_coef", "num_points"),  # the loss
    *("deep_supervision", "drop_path", "dropout"),  # how it was trained
}


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
    tensors = _copies(model.state_dict(), torch.float16 if half else None)
    config = json.dumps(dataclasses.asdict(model.config))
    return write(path, to_bytes(tensors, metadata={"minim2f.config": config}))


def export(model: Mask2Former, path: str | Path, format: str = "official") -> Path:
    """Writes a model for other programs.

    A graph (.onnx, .pt2) runs without minim2f. It takes normalised images (B, 3, H, W), float32,
    B, H and W free, H and W multiples of 32 from 64 on (Swin: 256 or, with windows of 12, 416; all
    up to 4096), and gives class logits (B, N, K+1) and mask logits (B, N, H/4, W/4). The other
    files hold weights, and `load` reads them too.

    Args:
        model: any model that the other program can be told about.
        path: ends in .onnx or .pt2: a graph, in eval mode, whatever the format. Otherwise
            "official": ends in .pkl, or names a folder that gets a model.pkl. "huggingface": a
            folder, which gets a config.json and a model.safetensors.
        format: "official" for detectron2 (numpy 1.26 or newer reads it; the names of the classes
            stay behind) or "huggingface" for transformers.

    Returns:
        The file, or the folder.

    Raises:
        ImportError: .onnx without the packages of the extra `onnx`.
        ValueError: another format, or a model with parts or switches that its code does not have.
    """
    path, state = Path(path), model.state_dict()
    if path.suffix in graph.SUFFIXES:
        return graph.write_graph(model, path)
    if format not in ("official", "huggingface"):
        raise ValueError(f"format is {format!r}; there are 'official' and 'huggingface'")
    _must_run_elsewhere(model.config, format)
    if format == "official":
        path = path if path.suffix == ".pkl" else path / "model.pkl"
        tensors = _copies(names.to_official(state, model.config), torch.float32)
        content = {"model": {n: t.numpy() for n, t in tensors.items()}, "__author__": "minim2f"}
        return write(path, pickle.dumps(content, protocol=4))
    tensors = _copies(names.to_huggingface(state, model.config), torch.float32)
    write(path / "model.safetensors", to_bytes(tensors, metadata={"format": "pt"}))
    write(path / "config.json", json.dumps(config_to_json(model.config), indent=2))
    return path


def _must_run_elsewhere(config: Config, format: str) -> None:
    """Refuses what the other programs do not have: switches of the ablations, and any new one."""
    free = TOLD_BY_TENSORS[format] | OUTSIDE_OF_THE_MODEL
    odd = [
        f"{field.name} = {getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if field.name not in free and getattr(config, field.name) != field.default
    ]
    if odd:
        raise ValueError(f"the {format} code cannot run a model with {', '.join(odd)}")


def _copies(tensors: Tensors, dtype: torch.dtype | None) -> Tensors:
    """On the CPU, each in a memory of its own; floats as `dtype`, or as they are."""
    copies = {}
    for name, tensor in tensors.items():
        kind = dtype if tensor.is_floating_point() else None
        copies[name] = tensor.detach().to("cpu", kind).clone(memory_format=torch.contiguous_format)
    return copies
