"""The embedded data set: storybook landscapes, drawn from a seed."""

from .dataset import CATEGORIES, Scenes, draw

__all__ = ["CATEGORIES", "Scenes", "draw"]
