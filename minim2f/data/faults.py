"""Faults of a data set: collected in a list while a file is read, and raised together.

A fault in such a list is an exception that is not raised yet: FileNotFoundError for a missing file,
ValueError for all else. Its message names the file and the ids, and says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SHOWN = 10  # faults in the message of one exception; `minim2f data check` lists all


class Faults(ValueError):
    """What is wrong with one file or one picture; `args` holds a sentence for each fault."""

    def __str__(self) -> str:
        lines = list(self.args[:SHOWN])
        if len(self.args) > SHOWN:
            lines.append(f"and {len(self.args) - SHOWN} more; `minim2f data check` lists them all")
        return "\n".join(lines)


def raise_faults(faults: list[Exception], place: str = "") -> None:
    """Raises what was collected as one exception; does nothing if the list is empty.

    Args:
        faults: in the order in which they were found.
        place: goes before each of their messages.

    Raises:
        FileNotFoundError: a missing file is the only fault.
        Faults: every other case.
    """
    sentences = [f"{place}{fault}" for fault in faults]
    if len(faults) == 1 and isinstance(faults[0], FileNotFoundError):
        raise FileNotFoundError(*sentences)
    if faults:
        raise Faults(*sentences)


def sentences_of(error: Exception) -> tuple[str, ...]:
    """The sentence of each fault that an exception stands for: all of `Faults`, one of others."""
    return error.args if isinstance(error, Faults) else (str(error),)


def read_or_collect(read: Callable[[Path], T], path: Path, faults: list[Exception]) -> T | None:
    """What `read` makes of a file; None, with a new entry in `faults`, if it raises an error."""
    try:
        return read(path)
    except (OSError, ValueError) as fault:
        faults.append(fault)
        return None
