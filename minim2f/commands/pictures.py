"""Which pictures a run learns from and which it is measured on: the same for train and eval."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..data import Dataset, open_dataset
from ..data.splits import held_out, splits_of
from ..data.subsets import Subset, image_path

TASKS = ("panoptic", "instance", "semantic")
NAMED = ("scenes", "coco-mini")  # not found by a path
SHARE, SEED = 0.2, 0  # of pictures without splits that are held out, and which
LEAST = 3  # pictures of which one may be held out
TRAIN = ("train", "training", "train2017", "train2014")
VAL = ("val", "valid", "validation", "dev", "val2017", "val2014")
FORMS = (
    "images",
    "labels",
    "ignore",
    "zero_is_void",
    "binary",
    "skip_faulty",
)  # how the files are to be read
PLACES = ("images", "labels")
SEEN = "training pictures: no measure of what it does with others"


class Source(NamedTuple):
    """Pictures as a command names them; a run's log keeps those that it learns from.

    Attributes:
        data: "scenes", "coco-mini" or an absolute path.
        split: name of a split; None takes all pictures.
        length: only the first pictures; None takes all, or a number of scenes that suits.
        task: as in `open_dataset`.
        hold_out: the share of the pictures that is not learned from; 0 learns from all.
        forms: how the files are to be read, further arguments of `open_dataset`.
    """

    data: str
    split: str | None = None
    length: int | None = None
    task: str | None = None
    hold_out: float = 0.0
    forms: dict = {}

    def open(self, scenes: int) -> Dataset:
        """All of these pictures, held-out ones too.

        Args:
            scenes: how many scenes are drawn if `length` is None.
        """
        options = {"length": self.length or scenes} if self.data == "scenes" else self.forms
        split = self.split or ("train" if self.data in NAMED else None)
        dataset = open_dataset(self.data, split, task=self.task, **options)
        if self.length is None or len(dataset) <= self.length:
            return dataset
        return Subset(dataset, range(self.length), f"the first {self.length}")

    def parts(self, scenes: int) -> tuple[Dataset, Dataset | None]:
        """The pictures that are learned from, and those that are held out, if any are."""
        dataset = self.open(scenes)
        if not self.hold_out or len(dataset) < LEAST:
            return dataset, None
        return held_out(dataset, self.hold_out, SEED)


class Measured(NamedTuple):
    """Pictures that a model is scored on, and the words for them that stand beside its scores."""

    dataset: Dataset
    words: str


class Pictures(NamedTuple):
    """What a run learns from, what it is measured on, and where the former came from."""

    learned: Dataset
    measured: Measured | None
    source: Source


def pictures_of_run(args: argparse.Namespace) -> Pictures:
    """Opens what a run learns from and what it is measured on.

    The latter is, in this order: what `--eval` or `--eval-split` name; the data's own validation
    split; a share of the pictures, held out.

    Args:
        args: what `minim2f.commands.train.add_arguments` adds.

    Raises:
        FileNotFoundError, ValueError: data or a split are not there.
    """
    splits = splits_in(args.data, forms_of(args))
    split = _named_split(args.data, splits, args.split, TRAIN)
    others = [name for name in splits if name != split]
    own = None if args.hold_out else _first(VAL, others)
    hold_out = args.hold_out
    if hold_out is None:
        hold_out = 0.0 if args.eval or args.eval_split or own else SHARE
    if not 0 <= hold_out < 1:
        raise ValueError(f"--hold-out {hold_out}: this is a share of the pictures, 0 to below 1")
    source = Source(args.data, split, args.length, args.task, hold_out, forms_of(args))
    learned, held = source.parts(scenes=3000)
    source = source._replace(hold_out=hold_out if held else 0.0)
    measured = None
    if args.eval == "train":
        measured = Measured(learned, f"{len(learned)} {SEEN}")
    elif args.eval != "none" and (args.eval or args.eval_split or own):
        measured = _measured(source, _asked(args), 100, frozenset(marks_of(learned)))
    elif held and args.eval != "none":
        measured = Measured(held, _words(held, "held-out pictures", args.data))
    return Pictures(learned, measured, source)


def pictures_to_score(
    args: argparse.Namespace, source: Source | None, learned: frozenset[str] = frozenset()
) -> Measured:
    """Opens what `minim2f eval` scores a model on, and says whether the model learned from it.

    Args:
        args: data, split, length, task, and how the files are to be read.
        source: of the run that made the model, if that is known.
        learned: marks of the pictures that the model learned from, see `marks_of`.

    Raises:
        FileNotFoundError, ValueError: data or a split are not there.
    """
    if source and not forms_of(args):
        args = argparse.Namespace(**vars(args) | _forms_again(source, args.data))
    splits, split = splits_in(args.data, forms_of(args)), args.split
    if source and source.hold_out and _same_place(source.data, args.data):
        source = source._replace(task=args.task, forms=forms_of(args))
        if split is None or (split in VAL and split not in splits):
            _, held = source.parts(scenes=200)
            return _first_of(Measured(held, _words(held, "held-out pictures", args.data)), args)
        if split in TRAIN and (split == source.split or split not in splits):
            part, _ = source.parts(scenes=200)
            return _first_of(Measured(part, f"{len(part)} {SEEN}"), args)
    wanted = _named_split(args.data, splits, split, VAL)
    asked = Source(args.data, wanted, args.length, args.task, forms=forms_of(args))
    return _measured(source, asked, scenes=200, learned=learned)


def marks_of(dataset: Dataset) -> list[str]:
    """What tells the pictures of a data set from others, wherever they are copied to.

    Returns:
        A line for each picture whose file is there: its size in bytes, and its name.
    """
    paths = (image_path(dataset, index) for index in range(len(dataset)))
    return [f"{path.stat().st_size} {path.name}" for path in paths if path and path.is_file()]


def splits_in(data: str, forms: dict | None = None) -> list[str]:
    """The names of the splits of a data set, [] if it has none.

    Args:
        data: as in `Source`.
        forms: likewise; where the files are said to be counts.
    """
    if data in NAMED:
        return ["train", "val"]
    return splits_of(data, **{k: v for k, v in (forms or {}).items() if k in PLACES})


def forms_of(args: argparse.Namespace) -> dict:
    """The options of `open_dataset` that were given."""
    given = {name: getattr(args, name, None) for name in FORMS}
    return {name: value for name, value in given.items() if value not in (None, False)}


def add_form_arguments(sub: argparse.ArgumentParser) -> None:
    """How the files of a data set are to be read."""
    files = sub.add_argument_group("files", "How your own files are to be read:")
    found = "as found from here, or else from the data"
    files.add_argument("--images", metavar="FOLDER", help=f"where the pictures are, {found}")
    files.add_argument("--labels", metavar="PATH", help=f"annotation file or maps, {found}")
    files.add_argument("--ignore", type=int, metavar="N", help="this label is void, too")
    files.add_argument(
        "--zero-is-void", action="store_true", default=None, help="0 is void, 1 the first class"
    )
    files.add_argument(
        "--binary", action="store_true", default=None, help="0 is background, all else the object"
    )
    files.add_argument(
        "--skip-faulty", action="store_true", default=None, help="leave out what is at fault"
    )


def absolute(name: str | None) -> str | None:
    """A path as it is from everywhere; names of data sets and models, and None, as they are."""
    is_path = name is not None and name not in NAMED and os.path.exists(name)
    return os.path.abspath(name) if is_path else name


def _named_split(
    data: str, splits: Sequence[str], given: str | None, usual: Sequence[str]
) -> str | None:
    """The split to open: the given one, or the usual one, or the only one; None if all are meant.

    Raises:
        ValueError: there is no such split, or it must be said which one is meant.
    """
    if given == "all":
        return None
    if given is not None:
        if given not in splits:
            has = f"has the splits {', '.join(splits)}" if splits else "has no splits"
            raise ValueError(
                f"{data} {has}, and none is called {given!r}; 'all' takes all pictures"
            )
        return given
    if found := _first(usual, splits):
        return found
    if len(splits) < 2:
        return next(iter(splits), None)
    raise ValueError(
        f"{data} has the splits {', '.join(splits)}: say which one with --split NAME, or take all "
        "pictures with --split all"
    )


def _first(names: Sequence[str], among: Sequence[str]) -> str | None:
    return next((name for name in names if name in among), None)


def _asked(args: argparse.Namespace) -> Source:
    """What `--eval` and `--eval-split` name, or the validation split of the run's own data."""
    data, forms = args.eval or args.data, forms_of(args)
    if data != args.data:
        forms = {name: value for name, value in forms.items() if name not in PLACES}
    splits = splits_in(data, forms)
    wanted = args.eval_split or _first(VAL, splits) or "all"
    return Source(data, _named_split(data, splits, wanted, VAL), None, args.task, forms=forms)


def _measured(
    source: Source | None, asked: Source, scenes: int, learned: frozenset[str]
) -> Measured:
    """Opens pictures, and says in words whether the run with this source learned from them."""
    dataset = asked.open(scenes)
    if source and _same_place(source.data, asked.data):
        known = source.length is None or (asked.length or len(dataset)) <= source.length
        if source.split == asked.split and known and not source.hold_out:
            return Measured(dataset, f"{len(dataset)} {SEEN}")
        if source.split == asked.split or None in (source.split, asked.split):
            return Measured(dataset, f"{len(dataset)} pictures, among them {SEEN}")
    words = _words(dataset, "pictures", asked.data, asked.split)
    if learned and (same := sum(mark in learned for mark in marks_of(dataset))):
        words += f", by their names and sizes {same} of them {SEEN}"
    return Measured(dataset, words)


def _forms_again(source: Source, data: str) -> dict:
    """How a run's own files are to be read, wherever they are now; {} for other data."""
    if _same_place(source.data, data):
        return source.forms
    moved = source.data not in NAMED and not Path(source.data).exists()
    return {k: v for k, v in source.forms.items() if moved and k not in PLACES}


def _first_of(measured: Measured, args: argparse.Namespace) -> Measured:
    if args.length is None or args.length >= len(measured.dataset):
        return measured
    words = f"the first {args.length} of {measured.words}"
    return Measured(Subset(measured.dataset, range(args.length), words), words)


def _words(dataset: Dataset, what: str, data: str, split: str | None = None) -> str:
    name = data if data in NAMED else Path(data).name
    return f"{len(dataset)} {what} of {name}" + (f", split {split}" if split else "")


def _same_place(one: str, other: str) -> bool:
    """Whether two names mean the same data: one file or folder, or a file within the folder."""
    if one == other or one in NAMED or other in NAMED:
        return one == other
    a, b = Path(one).resolve(), Path(other).resolve()
    return a == b or a in b.parents or b in a.parents
