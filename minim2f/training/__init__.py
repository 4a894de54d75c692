"""Prediction and truth to a better model: points, matching, losses, recipe, loop."""

from . import loop, losses, matching, points, recipe

__all__ = ["losses", "loop", "matching", "points", "recipe"]
