"""Faults of a data set: collected in a list while a file is read, and raised together.

A fault is a sentence that names the file and the ids, and says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SHOWN = 10  # faults in the message of one exception; `minim2f data check` lists all


class MissingFile(str):
    """A fault: a file that is not there."""


class Faults(ValueError):
    """What is wrong with one file or one picture; `args` holds all faults."""

    def __str__(self) -> str:
        lines = list(self.args[:SHOWN])
        if len(self.args) > SHOWN:
            lines.append(f"and {len(self.args) - SHOWN} more; `minim2f data check` lists them all")
        return "\n".join(lines)


def read_or_collect(read: Callable[[Path], T], path: Path, faults: list[str]) -> T | None:
    """What `read` makes of a file; None, with a new entry in `faults`, if it raises an error."""
    try:
        return read(path)
    except FileNotFoundError as error:
        faults.append(MissingFile(error))
    except (OSError, ValueError) as error:
        faults.append(str(error))
    return None


def raise_faults(faults: list[str], place: str = "") -> None:
    """Raises what was collected as one exception; does nothing if the list is empty.

    Args:
        faults: in the order in which they were found.
        place: goes before each of them.

    Raises:
        FileNotFoundError: a missing file is the only fault.
        Faults: every other case.
    """
    if len(faults) == 1 and isinstance(faults[0], MissingFile):
        raise FileNotFoundError(place + faults[0])
    if faults:
        raise Faults(*(place + fault for fault in faults))


def faults_of(error: Exception) -> list[str]:
    """The faults that an exception of a reader stands for."""
    return list(error.args) if isinstance(error, Faults) else [str(error)]


SAME = 3  # more faults of one cause than this are one line


def grouped(faults: list[str]) -> list[str]:
    """Faults for people: many of one cause become one line, with their number and the first two.

    Of one cause are faults whose sentences differ only in names, numbers and places.
    """
    causes: dict[str, list[str]] = {}
    for fault in faults:
        causes.setdefault(_cause(fault), []).append(fault)
    lines: list[str] = []
    for same in causes.values():
        if len(same) > SAME:
            lines.append(f"{len(same)} faults of one cause, the first two: {same[0]} | {same[1]}")
        else:
            lines += same
    return lines


def _cause(fault: str) -> str:
    """The sentence without quotations, numbers in brackets, file names and numbers."""
    bare = re.sub(r"'[^']*'|\[[^]]*\]|\([^)]*\)", "", fault)
    return " ".join(w for w in bare.split() if not re.search(r"\d|[/\\]|\.\w", w))
