"""What a caller says about files with label maps: where they are, and what their numbers mean."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class MapOptions:
    """What a caller says about files that they do not say themselves.

    Attributes:
        images, labels, ignore, zero_is_void, binary: see `minim2f.data.open.open_dataset`.
    """

    images: str | os.PathLike | None = None
    labels: str | os.PathLike | None = None
    ignore: int | None = None
    zero_is_void: bool = False
    binary: bool = False

    def __post_init__(self) -> None:
        if self.ignore is not None and not 0 <= self.ignore <= 255:
            raise ValueError(f"ignore is {self.ignore}: the numbers of a label map are 0 ... 255")
        if self.binary and self.zero_is_void:
            raise ValueError(
                "--binary says that 0 is the background, --zero-is-void that it is void; give one "
                "of them"
            )

    def within(self, path: Path) -> MapOptions:
        """The same, with places that are found from the data's own folder where not from here.

        Args:
            path: of the data: a folder or a JSON file.

        Raises:
            FileNotFoundError: a place that was given is at neither.
        """
        if not path.exists():
            return self
        folder = path if path.is_dir() else path.parent
        given = {"images": self.images, "labels": self.labels}
        return replace(self, **{k: _found(p, folder, k) for k, p in given.items() if p is not None})

    def refuse_for_coco(self, path: Path) -> None:
        """Raises if there is an option that only label maps have.

        Raises:
            ValueError: says which.
        """
        if self.ignore is not None or self.zero_is_void or self.binary:
            raise ValueError(
                f"{path} is COCO JSON; --ignore, --zero-is-void and --binary are for label maps, "
                "where numbers are classes"
            )


def _found(given: str | os.PathLike, folder: Path, what: str) -> Path:
    for path in (Path(given), folder / given):
        if path.is_dir() or (path.is_file() and what == "labels"):
            return path
    kind = "folder of images" if what == "images" else "folder of labels or annotation file"
    raise FileNotFoundError(f"{given}: there is no such {kind}, neither here nor in {folder}")
