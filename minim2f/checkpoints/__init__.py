"""Models in files: ours, and the official (detectron2) and Hugging Face ones, both ways.

Ours are safetensors with the Config as JSON in the file's header.
"""

from .read import load
from .write import export, save

__all__ = ["export", "load", "save"]
