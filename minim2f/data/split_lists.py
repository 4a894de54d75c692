"""Splits that text files name: `train.txt` and `val.txt`, a picture a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .class_list import read_lines
from .faults import MissingFile, read_or_collect
from .forms import SPLIT_LISTS, find, is_split_word

FORM = "save it as UTF-8, the name of one picture a line, or remove it"


def list_files(folder: Path) -> dict[str, Path]:
    """The lists of a data set's folder by the split that they name: those of the first row."""
    for pattern in SPLIT_LISTS:
        found = [f for f in find(folder, pattern) if f.path.is_file() and is_split_word(f.split)]
        if found:
            return {f.split: f.path for f in found}
    return {}


def read_list(path: Path, pictures: dict[Path, str], faults: list[str]) -> set[Path]:
    """The pictures that a list names.

    A line is a picture's name, with its suffix and folders or without; what follows it after a
    space, as the label map does in some lists, is of no account.

    Args:
        path: of the list.
        pictures: the path of each within the data set, with its suffix.
        faults: gets the lines that name no picture, or one of several.

    Returns:
        Keys of `pictures`.
    """
    known = _by_name(pictures)
    chosen = set()
    for number, line in enumerate(read_or_collect(_read, path, faults) or [], start=1):
        key = next((known[name] for name in _names_in(line) if name in known), None)
        if key is not None:
            chosen.add(key)
        elif line:
            fault = f"line {number}, {line!r}, names no picture, or one of several"
            advice = "correct it, or remove the file if it is no list of pictures"
            faults.append(MissingFile(f"{path}: {fault}; {advice}"))
    return chosen


def _read(path: Path) -> list[str]:
    return read_lines(path, FORM)


def _by_name(pictures: dict[Path, str]) -> dict[str, Path]:
    """All names that mean one picture: without folders only where no other has the same."""
    bare: list[tuple[str, Path]] = []
    known: dict[str, Path] = {}
    for key, name in pictures.items():
        path = Path(name)
        bare += [(text, key) for text in {key.name, path.name, path.stem}]
        known |= dict.fromkeys((key.as_posix(), name, path.with_suffix("").as_posix()), key)
    times = Counter(text for text, _ in bare)
    return {text: key for text, key in bare if times[text] == 1} | known


def _names_in(line: str) -> Iterator[str]:
    """What a line may mean: all of it or its first word, with folders as far as they are known."""
    for text in (line, line.split(" ")[0]):
        parts = text.replace("\\", "/").split("/")
        yield from ("/".join(parts[k:]) for k in range(len(parts)))
