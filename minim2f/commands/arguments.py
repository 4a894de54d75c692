"""What options may be: numbers are checked where they enter, and recipes describe themselves."""

from __future__ import annotations

import argparse
import inspect
import math
import re


def count(text: str) -> int:
    """How many there are of something: 1, 2, 3, ..."""
    return _whole(text, 1)


def index(text: str) -> int:
    """A number that may be 0: 0, 1, 2, ..."""
    return _whole(text, 0)


def share(text: str) -> float:
    """A part of a whole, from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share; give 0 to 1")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> float:
    """A number from 0 on."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def described(kind: type) -> dict[str, str]:
    """What the docstring of a class says about each of its attributes, for `help` of argparse."""
    _, _, lines = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", lines, re.MULTILINE)
    return {name: " ".join(text.split()).replace("%", "%%") for name, text in entries}


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is no number that fits; give {least} or more")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no number")
    return value
