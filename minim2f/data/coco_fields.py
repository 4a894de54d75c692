"""What a row of a COCO JSON file must hold; rows that do not are left out, and named as faults."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What the value of a field must be, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


WHOLE = Kind("a whole number", lambda value: type(value) is int and abs(value) < 2**63)
NUMBER = Kind("a number", lambda value: type(value) in (int, float) and abs(value) < 2**63)
FLAG = Kind("0 or 1", lambda value: value in (0, 1))
TEXT = Kind("text", lambda value: isinstance(value, str))
LIST = Kind("a list", lambda value: isinstance(value, list))
SHAPE = Kind("a list of polygons, or RLE", lambda value: isinstance(value, (list, dict)))
BOX = Kind(
    "[x, y, width, height]",
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(NUMBER.fits, value)),
)

# The fields of a row; those with "?" may be absent.
Fields = dict[str, Kind]
IMAGE = {"id": WHOLE, "file_name": TEXT, "width?": WHOLE, "height?": WHOLE, "split?": TEXT}
SEGMENT = {"id": WHOLE, "category_id": WHOLE, "iscrowd?": FLAG, "area?": NUMBER, "bbox?": BOX}
CATEGORY = {"id": WHOLE, "name": TEXT}


def sound_rows(rows: list, where: str, fields: Fields, faults: list[str]) -> list[dict]:
    """The rows that have all they need.

    Args:
        rows: what the JSON file has there, anything.
        where: for messages: the file and the key.
        fields: what a row needs.
        faults: gets one for each field that is missing or of another kind.
    """
    sound = []
    for number, row in enumerate(rows):
        place = f"{where}[{number}]"
        if not isinstance(row, dict):
            faults.append(f"{place} is {reprlib.repr(row)}; it must be an object, {{...}}")
            continue
        if WHOLE.fits(row.get("id")):
            place += f" (id {row['id']})"
        wrong = list(_wrong_fields(row, fields))
        faults += [f"{place} {words}" for words in wrong]
        if not wrong:
            sound.append(row)
    return sound


def _wrong_fields(row: dict, fields: Fields) -> Iterator[str]:
    for field, kind in fields.items():
        name = field.removesuffix("?")
        if name in row:
            if not kind.fits(row[name]):
                yield f"has {name!r}: {reprlib.repr(row[name])}; it must be {kind.words}"
        elif not field.endswith("?"):
            yield f"has no {name!r}; give it one, {kind.words}"


def unique_rows(rows: list[dict], field: str, what: str, faults: list[str]) -> list[dict]:
    """The first row of each value of the field; values that occur again are faults."""
    times = Counter(row[field] for row in rows)
    repeated = [value for value, count in times.items() if count > 1]
    for few in in_fives(repeated):
        faults.append(f"{what}: {few} occur more than once, and must be unique")
    first: dict[int, dict] = {}
    for row in rows:
        first.setdefault(row[field], row)
    return list(first.values())


def rows_of_known_category(
    rows: list[dict], categories: list[dict], what: str, faults: list[str]
) -> list[dict]:
    """The segments or annotations whose category exists; each of the others is a fault."""
    ids = {category["id"] for category in categories}
    for row in rows:
        if row["category_id"] not in ids:
            faults.append(
                f"{what} [{row['id']}] has category id [{row['category_id']}], which is not among "
                f"the {len(ids)} categories; add it to them, or remove it"
            )
    return [row for row in rows if row["category_id"] in ids]


def in_fives(ids: list) -> Iterator[list]:
    """The list in pieces of five, so that a message fits on a line."""
    for start in range(0, len(ids), 5):
        yield ids[start : start + 5]


# Fields that hold whole numbers, in whatever row they stand; programs write them in other ways.
WHOLE_FIELDS = ("id", "image_id", "category_id", "width", "height", "iscrowd", "isthing")


def tidy(document: dict) -> dict:
    """A COCO document with what is only written in another way brought into COCO's own.

    640.0 and "640" are whole numbers; images whose ids are text are numbered, 1, 2, ... ; a
    backslash in a file name parts folders. Whatever else is wrong stays as it is.

    Args:
        document: with the lists images, annotations and categories.
    """
    tables = {
        key: [_tidy_row(row) for row in document[key]]
        for key in ("images", "annotations", "categories")
    }
    for row in tables["annotations"]:
        if isinstance(row, dict) and isinstance(row.get("segments_info"), list):
            row["segments_info"] = [_tidy_row(segment) for segment in row["segments_info"]]
    _number_texts(tables["images"], "id", tables["annotations"], "image_id")
    _number_texts(tables["annotations"], "id")
    return document | tables


def _tidy_row(row: object) -> object:
    if not isinstance(row, dict):
        return row
    row = dict(row)
    for field in WHOLE_FIELDS:
        value = row.get(field)
        if isinstance(value, float) and value.is_integer():
            row[field] = int(value)
        elif isinstance(value, str) and value.isascii() and _is_plain_number(value):
            row[field] = int(value)
    if isinstance(row.get("file_name"), str):
        row["file_name"] = row["file_name"].replace("\\", "/")
    return row


def _is_plain_number(text: str) -> bool:
    """True for digits without zeros before them: "007" and "7" may be two ids."""
    return text.isdecimal() and len(text) < 19 and str(int(text)) == text


def _number_texts(rows: list, field: str, others: Sequence = (), other_field: str = "") -> None:
    """Replaces ids that are text by numbers that no other row has, and mentions of them, too."""
    rows = [row for row in rows if isinstance(row, dict)]
    texts = dict.fromkeys(r[field] for r in rows if isinstance(r.get(field), str) and r[field])
    taken = [row[field] for row in rows if WHOLE.fits(row.get(field))]
    first = max([0, *taken]) + 1
    number = {text: n for n, text in enumerate(texts, start=first)}
    for list_of_rows, name in ((rows, field), (others, other_field)):
        for row in list_of_rows:
            if isinstance(row, dict) and isinstance(row.get(name), str):
                row[name] = number.get(row[name], row[name])
