"""minim2f: Mask2Former, small enough to read in an afternoon and exact enough to trust."""

from . import data, metrics, ops, shapes, training
from .checkpoints import export, load, save
from .inference import segment
from .model.config import Config, preset
from .model.mask2former import Mask2Former, Prediction
from .training.walkthrough import walkthrough

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Mask2Former",
    "Prediction",
    "data",
    "export",
    "load",
    "metrics",
    "ops",
    "preset",
    "save",
    "segment",
    "shapes",
    "training",
    "walkthrough",
]
