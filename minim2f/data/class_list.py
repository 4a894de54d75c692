"""`classes.txt`: the names of a data set's classes, a line a name, by their numbers."""

from __future__ import annotations

import re
from pathlib import Path

from .faults import Faults

FORM = "save it as UTF-8, one class name a line, the first for number 0"
# "0 sky", "0: sky", "0 - sky", but not "0.5 mm".
NUMBERED = re.compile(r"(\d+)(?:\s*[:.,;=)|](?!\d)\s*|\s+-\s+|\s+)(\S.*)")


def read_lines(path: Path, form: str) -> list[str]:
    """The lines of a text file, without spaces around them, and without empty lines at its end.

    Args:
        path: the file.
        form: for messages: what it is to be.

    Raises:
        ValueError: it cannot be read, is not UTF-8, or has nothing in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that Windows editors put first
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8; {form}") from error
    except OSError as error:
        raise ValueError(f"{path}: {error}") from error
    if "\0" in text:  # UTF-16 without its mark
        raise ValueError(f"{path} is not in UTF-8; {form}")
    if not text.strip():
        raise ValueError(f"{path} is empty; {form}")
    return [line.strip() for line in text.rstrip().splitlines()]


def read_class_names(path: Path, zero_is_void: bool) -> list[str]:
    """The name of each class.

    Lines may begin with the number that their class has in the label maps; the names are without.

    Args:
        path: of `classes.txt`.
        zero_is_void: the first name is that of number 1; a numbered line 0 names what is void.

    Raises:
        ValueError: it cannot be read, a line is empty, or is numbered in another way.
    """
    lines = read_lines(path, FORM)
    if empty := [number for number, line in enumerate(lines, start=1) if not line]:
        raise Faults(*(f"{path}: line {n} is empty; one class name a line" for n in empty))
    matches = [NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    if 2 * len(numbers) <= len(lines):  # names such as "2 wheeler" are names
        return lines
    first = int(zero_is_void and numbers[0] == 1)
    if numbers != list(range(first, len(lines) + first)):
        raise ValueError(_other_numbers(path, numbers, lines))
    return [match[2] for match in matches][int(zero_is_void and not first) :]


def _other_numbers(path: Path, numbers: list[int], lines: list[str]) -> str:
    shown = ", ".join(map(str, numbers[:3])) + (", ..." if len(numbers) > 3 else "")
    advice = "number all lines 0, 1, 2, ... in this order, or none of them"
    if numbers == list(range(1, len(lines) + 1)):
        advice += (
            "; if 0 in the label maps means that a pixel has no label, say --zero-is-void "
            "(zero_is_void=True in Python)"
        )
    return (
        f"{path} numbers {len(numbers)} of its {len(lines)} lines, {shown}; a line's number is "
        f"that of its class in the label maps: {advice}"
    )
