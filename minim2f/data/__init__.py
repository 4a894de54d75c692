"""What goes in: pictures with their truth, from the embedded scenes, coco-mini, or your files."""

from .open import open_dataset
from .sample import Dataset, Sample
from .scenes import Scenes

__all__ = ["Dataset", "Sample", "Scenes", "open_dataset"]
