"""`minim2f export`: a model as a file for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints import export, load
from ..checkpoints.graph import SUFFIXES, smallest_side
from ..model.mask2former import MEAN, STD

ENDINGS = (".pkl", *SUFFIXES)


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Which model, and where it goes: the ending says for which program."""
    sub.add_argument("model", help="a saved model, a run's folder, a published one's name, or tiny")
    sub.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="x.onnx: a graph for ONNX (pip install 'minim2f[onnx]'); x.pt2: a graph for PyTorch; "
        "x.pkl: weights for the official code; a folder: weights for Transformers",
    )


def run_export(args: argparse.Namespace) -> None:
    """Writes a model for other programs: as a graph (ONNX, torch.export), or its weights."""
    ending = args.to.suffix
    if ending and ending not in ENDINGS and not args.to.is_dir():
        raise ValueError(
            f"--to {args.to}: a file ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; a name "
            "without an ending is a folder for Transformers"
        )
    model = load(args.model)
    written = export(model, args.to, "official" if ending in ENDINGS else "huggingface")
    print(f"wrote {written}")
    if ending in SUFFIXES:
        print(
            "images (B, 3, H, W), float32 -> class_logits, mask_logits at H/4 x W/4\n"
            f"any B; H and W multiples of 32 from {smallest_side(model)} on; RGB, 0 ... 255, less "
            f"{MEAN}, by {STD}"
        )
