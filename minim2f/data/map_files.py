"""Which label map belongs to which picture: folders and names, by the tables of forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

from .forms import (
    LABEL_MAPS,
    MAP_ENDINGS,
    PICTURE_ENDINGS,
    as_written,
    choose_split,
    find,
    is_for_training,
    is_split_word,
    refuse_unsplit,
    walk,
)
from .map_options import MapOptions
from .split_lists import list_files, read_list

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}

REST = "train"  # the split of the pictures that no list names, where no list is to learn from

Files = dict[Path, list[Path]]  # by split and name, without endings


class Root(NamedTuple):
    """A folder of images and its folder of label maps; `prefix` is the split, or empty."""

    prefix: Path
    images: Path
    labels: Path


class MapFiles(NamedTuple):
    """The images and label maps of a data set.

    Attributes:
        roots: the folders that hold them.
        images, labels: their files, by split and name.
        ending: what follows an image's name in that of its label map.
        lists: text files that name the images of a split; they count where folders do not.
    """

    roots: list[Root]
    images: Files
    labels: Files
    ending: str
    lists: dict[str, Path]

    @classmethod
    def find(cls, folder: Path, options: MapOptions) -> MapFiles:
        """Looks for all of them.

        Raises:
            FileNotFoundError: there are no such folders.
            ValueError: it cannot be told which label maps are meant.
        """
        roots = _roots(folder, options)
        if not roots:
            raise FileNotFoundError(f"{folder}: no images here with a folder of label maps")
        images: Files = {}
        for key, path in _files(roots, 1, IMAGES):
            ending = next(e for e in PICTURE_ENDINGS if key.name.endswith(e))
            key = key.with_name(key.name.removesuffix(ending) or key.name)
            images.setdefault(key, []).append(path)
        maps = list(_files(roots, 2, {".png"}))
        ending = _ending(images, {key for key, _ in maps or _files(roots, 2, IMAGES)}, folder)
        labels: Files = {}
        for key, path in maps:
            if key.name.endswith(ending) and key.name != ending:
                own = key.with_name(key.name.removesuffix(ending))
                labels.setdefault(own, []).append(path)
        lists = {} if any(map(is_split_word, _folders(images))) else list_files(folder)
        return cls(roots, images, labels, ending, lists)

    def splits(self) -> list[str]:
        """The lists, or the first folders on the way to an image.

        Where there are lists, but none to learn from, "train" is what they leave.
        """
        rest = [REST] if self.lists and not any(map(is_for_training, self.lists)) else []
        return sorted([*self.lists, *rest]) or _folders(self.images)

    def of_split(self, split: str | None, faults: list[str]) -> tuple[Files, Files]:
        """The images and label maps of a split; all of them for None, or if there are no splits.

        Where lists name the splits, an image without label map that is in none of them is no part
        of the data.

        Args:
            split: its name, or one for the same.
            faults: gets what is wrong with lists.

        Raises:
            ValueError: there is no such split, or its name may mean several.
        """
        names = self.splits()
        if self.lists:
            chosen = names if split is None else [choose_split(split, names, self.roots[0].images)]
            keys = set().union(*self.listed(chosen, faults).values())
            keys |= self.labels.keys() if split is None else set()
            return _only(self.images, keys), _only(self.labels, keys)
        if split is None or not names:
            refuse_unsplit(split, self.roots[0].images)
            return self.images, self.labels
        chosen = Path(self._folder_of(split, names))
        keys = {key for key in self.images | self.labels if key.is_relative_to(chosen)}
        return _only(self.images, keys), _only(self.labels, keys)

    def listed(self, names: list[str], faults: list[str]) -> dict[str, set[Path]]:
        """The images of each split that lists name; `faults` gets what is wrong with the lists."""
        pictures = {key: self.name_of(key) for key in self.images}
        needed = names if set(names) <= set(self.lists) else list(self.lists)
        found = {name: read_list(self.lists[name], pictures, faults) for name in needed}
        rest = self.images.keys() & self.labels.keys() - set().union(*found.values())
        return {name: found.get(name, rest) for name in names}

    def oddities(self) -> list[str]:
        """Sentences on images that are in several lists, or in none."""
        if not self.lists:
            return []
        times = Counter(key for keys in self.listed(self.splits(), []).values() for key in keys)
        twice = sum(number > 1 for number in times.values())
        never = sum(key not in times for key in self.images if key in self.labels)
        names = ", ".join(path.name for path in self.lists.values())
        found = [f"pictures that are in several of {names}: {twice}"] if twice else []
        return found + ([f"pictures that are in none of {names}: {never}"] if never else [])

    def _folder_of(self, split: str, names: list[str]) -> str:
        deeper = {parent.as_posix() for key in self.images for parent in key.parents} - {"."}
        fits = sorted(name for name in deeper if split in (name, name.rpartition("/")[2]))
        if split in names or not fits:
            return choose_split(split, names, self.roots[0].images)
        if len(fits) > 1:
            raise ValueError(f"split {split!r} may be any of {fits}; name one of them")
        return fits[0]

    def name_of(self, key: Path) -> str:
        """The name of an image, with its split and suffix, for messages."""
        path = self.images[key][0]
        root = next(root for root in self.roots if path.is_relative_to(root.images))
        return (root.prefix / path.relative_to(root.images)).as_posix()

    def map_of(self, key: Path) -> Path:
        """Where the label map of an image belongs."""
        root = next(root for root in self.roots if key.is_relative_to(root.prefix))
        own = key.relative_to(root.prefix)
        return root.labels / own.with_name(f"{own.name}{self.ending}.png")

    def other_map_of(self, key: Path) -> Path | None:
        """A file that would be the label map of an image if it were a PNG."""
        suffixes = sorted(IMAGES | {suffix.upper() for suffix in IMAGES})
        paths = [self.map_of(key).with_suffix(suffix) for suffix in suffixes]
        return next((p for p in paths if p.is_file() and p not in self.images[key]), None)


def _folders(images: Files) -> list[str]:
    """The first folders on the way to an image."""
    return sorted({key.parts[0] for key in images if len(key.parts) > 1})


def _only(files: Files, keys: Set[Path]) -> Files:
    return {key: paths for key, paths in files.items() if key in keys}


def has_label_maps(folder: Path, options: MapOptions) -> bool:
    """True if there are images with a folder of label maps."""
    return bool(_roots(folder, options))


def _roots(folder: Path, options: MapOptions) -> list[Root]:
    """The folders of the first row that fits; if several do with the same images, it asks."""
    if options.images is not None or options.labels is not None:
        return _chosen_roots(folder, options)
    rows: dict[str, list[list[Root]]] = {}
    for images, labels in LABEL_MAPS:
        if roots := list(_roots_of_row(folder, images, labels)):
            rows.setdefault(images, []).append(roots)
    for candidates in rows.values():
        full = [roots for roots in candidates if any(_has_png(root.labels) for root in roots)]
        if len(full) > 1:
            names = ", ".join(str(roots[0].labels) for roots in full)
            raise ValueError(
                f"{folder} has several folders of label maps: {names}; say which one "
                "(--labels FOLDER, labels=... in Python)"
            )
        return (full or candidates)[0]
    return []


def _roots_of_row(folder: Path, images: str, labels: str) -> Iterator[Root]:
    for found in find(folder, images):
        if not found.path.is_dir():
            continue
        partner = as_written(folder, labels.replace("{split}", found.split or ""))
        if partner.is_dir():
            yield Root(Path(found.split or ""), found.path, partner)


def _chosen_roots(folder: Path, options: MapOptions) -> list[Root]:
    """Where the caller names one folder or both; the other is looked for in the first that fits."""
    chosen = {}
    for place, key in enumerate(("images", "labels")):
        given = getattr(options, key)
        names = dict.fromkeys(row[place] for row in LABEL_MAPS if "{" not in row[place])
        paths = [as_written(folder, n) for n in names] if given is None else [Path(given)]
        found = [path for path in paths if path.is_dir()]
        if given is not None and not found:
            raise FileNotFoundError(f"{given}: there is no such folder of {key}")
        if key == "labels" and given is None:
            found = [path for path in found if _has_png(path)]
            if len(found) > 1:
                names = ", ".join(map(str, found))
                raise ValueError(
                    f"{folder} has several folders of label maps: {names}; say which one "
                    "(--labels FOLDER, labels=... in Python)"
                )
        if not found:
            return []
        chosen[key] = found[0]
    return [Root(Path(), **chosen)]


def _has_png(folder: Path) -> bool:
    return any(path.suffix.lower() == ".png" for path in walk(folder))


def _files(roots: list[Root], which: int, suffixes: set[str]) -> Iterator[tuple[Path, Path]]:
    """The files of a kind: split and name without the suffix, and the path."""
    for root in roots:
        for path in walk(root[which]):
            if path.suffix.lower() in suffixes:
                own = path.relative_to(root[which])
                yield root.prefix / own.with_name(path.stem), path


def _ending(images: Files, maps: set[Path], folder: Path) -> str:
    """What follows an image's name in that of its map: the ending that pairs the most images.

    Of the endings in one row the first that pairs any stands for the row.
    """
    best: list[tuple[int, str]] = []
    for row in MAP_ENDINGS:
        counts = [sum(k.with_name(k.name + e) in maps for k in images) for e in row]
        best.append(next((pair for pair in zip(counts, row) if pair[0]), (0, row[0])))
    most = max(count for count, _ in best)
    endings = [ending for count, ending in best if count == most]
    if most and len(endings) > 1 and endings[0] != "":
        raise ValueError(
            f"{folder}: label maps end in any of {endings}, and nothing says which are meant; move "
            "the others elsewhere"
        )
    return endings[0]
