"""The command line: demo, data, train, plot, eval, predict, export, walkthrough, bench and book.

Each command imports what only it needs, so that `minim2f --help` does not wait for matplotlib.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from .commands import evaluate, export, predict, train
from .commands.arguments import count
from .commands.pictures import add_form_arguments, forms_of
from .data.coco_mini import FetchError
from .model.config import PRESETS
from .shapes import ShapeError
from .training.recipe import TINY
from .training.run_folder import Stopped


def run_demo(args: argparse.Namespace) -> None:
    """Trains on scenes, scores on unseen ones, draws out/demo.png."""
    from .demo import demo

    demo(args.out, args.steps)


def run_fetch(args: argparse.Namespace) -> None:
    """Fetches coco-mini."""
    from .data.coco_mini import fetch_coco_mini

    fetch_coco_mini(args.folder, args.mirror, args.instances)


def run_scenes(args: argparse.Namespace) -> None:
    """Writes scenes as COCO files."""
    from .data import open_dataset
    from .data.coco_panoptic import write_coco

    scenes = open_dataset("scenes", args.split, length=args.length)
    print(f"wrote {write_coco(scenes, args.folder)}")


def run_check(args: argparse.Namespace) -> None:
    """Looks for faults in a data set, and for what is odd, before anybody trains on it."""
    from .data import open_dataset
    from .data.check import find_faults, grouped, survey
    from .data.survey import counted

    forms = forms_of(args)
    if not args.skip_faulty:
        faults = find_faults(args.path, **forms)
        for line in grouped(faults):
            print(line)
        if faults:
            raise ValueError(f"{args.path} has {counted(len(faults), 'fault')}, listed above")
    number = len(open_dataset(args.path, None, **forms))
    faultless = "without those at fault" if args.skip_faulty else "no fault found"
    print(f"{args.path}: {counted(number, 'picture')}, {faultless}")
    print(survey(args.path, **forms))


def run_plot(args: argparse.Namespace) -> None:
    """Draws what a training run looked like: losses, metrics, rates, who wins which class."""
    from .training_report import report

    print(f"wrote {report(args.run_folder)}")


def run_walkthrough(args: argparse.Namespace) -> None:
    """Prints every named tensor of one forward pass."""
    import torch

    from .model.config import preset
    from .model.mask2former import Mask2Former
    from .training.walkthrough import walkthrough

    size = re.fullmatch(r"(\d+)x(\d+)", args.size.lower())
    if not size:
        raise ValueError(f"--size {args.size}: this is height x width in pixels, such as 800x1024")
    height, width = map(int, size.groups())
    changes = {"pixel_decoder": args.pixel_decoder} if args.pixel_decoder else {}
    model = Mask2Former(preset(args.preset, **changes)).eval()
    print(walkthrough(model, torch.zeros(1, 3, height, width)))


def run_bench(args: argparse.Namespace) -> None:
    """Measures time and memory beside Hugging Face Transformers; or time to learn."""
    from .bench import learn, report
    from .bench.run import bench

    if args.learn:
        print(learn.table(learn.learn(args.out)))
        print(f"wrote this and more into {args.out}")
        return
    results = bench(args.out, tuple(args.names), args.device, args.rounds, args.quick)
    print(report.table(results))
    print(f"wrote this and more into {args.out}")


def run_book(args: argparse.Namespace) -> None:
    """Builds the notebooks, and what else a chapter needs: see minim2f book build --help."""
    from .book.command import main as book  # only who asks for it needs Jupyter

    book(args.arguments)


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line, and not the usage of thirty options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells all options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="minim2f", description="Mask2Former, small and exact.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function: Callable, name: str, among=commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(run=function)
        return sub

    sub = command(run_demo, "demo")
    sub.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.png")
    sub.add_argument("--steps", type=count, default=TINY.steps, help="training steps on scenes")
    _data_actions(command, commands)
    train.add_arguments(command(train.run_train, "train"))

    sub = command(run_plot, "plot")
    sub.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a training run")

    evaluate.add_arguments(command(evaluate.run_eval, "eval"))
    predict.add_arguments(command(predict.run_predict, "predict"))
    export.add_arguments(command(export.run_export, "export"))

    sub = command(run_walkthrough, "walkthrough")
    sub.add_argument("--preset", choices=PRESETS, default="r50")
    sub.add_argument("--pixel-decoder", choices=["msdeform", "fpn"], help="the preset's, or this")
    sub.add_argument("--size", default="800x1024", help="height x width, multiples of 32")

    sub = command(run_bench, "bench")
    sub.add_argument("names", nargs="*", default=["r50", "swin_t"], help="r50, swin_t or both")
    sub.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    sub.add_argument("--rounds", type=count, default=3, help="pairs in each of three processes")
    sub.add_argument("--quick", action="store_true", help="a first look: two small measurements")
    sub.add_argument(
        "--learn",
        action="store_true",
        help="instead: minutes until the tiny model finds unseen scenes, before and now, in turn",
    )
    sub.add_argument("-o", "--out", type=Path, default=Path("out/bench"), help="folder for results")

    _book_actions(command(run_book, "book"))
    return parser


def _book_actions(book: argparse.ArgumentParser) -> None:
    names = "build, audit, student, lecture, html, slides, play, site, experiment, new or pictures"
    book.add_argument("arguments", nargs=argparse.REMAINDER, metavar="action ...", help=names)


def _data_actions(command: Callable, commands: argparse._SubParsersAction) -> None:
    about = "Fetches, writes or checks pictures with their truth."
    data = commands.add_parser("data", help=about, description=about)
    actions = data.add_subparsers(required=True, metavar="action")
    sub = command(run_fetch, "fetch", actions)
    sub.add_argument("--folder", type=Path, help="where the files go")
    sub.add_argument("--mirror", help="folder or URL to take the files from")
    sub.add_argument("--instances", action="store_true", help="123 more, without panoptic truth")
    sub = command(run_scenes, "scenes", actions)
    sub.add_argument("--folder", type=Path, default=Path("out/scenes"), help="where the files go")
    sub.add_argument("--split", choices=["train", "val"], default="train")
    sub.add_argument("--length", type=count, default=20, help="how many")
    sub = command(run_check, "check", actions)
    sub.add_argument("path", help="folder or JSON file")
    add_form_arguments(sub)


def _print_whatever_comes() -> None:
    """Characters that a terminal's code page lacks are printed as escapes, and end no command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not so in a notebook
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings are printed for whoever uses the command, not for whoever wrote it."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _sentence(error: Exception) -> str:
    """What an error says; of the system's own, the file and the reason without their number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; an expected mistake ends in one sentence and exit code 1.

    Ctrl-C ends in one line and exit code 130, as shells have it.
    """
    _print_whatever_comes()
    args = _parser().parse_args(arguments)
    args.command = shlex.join(["minim2f", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with _plain_warnings():
            args.run(args)
    except KeyboardInterrupt:
        print("\nminim2f: stopped", file=sys.stderr)
        return 130
    except Stopped as error:
        print(f"minim2f: {error}", file=sys.stderr)
        return 130
    except (FetchError, ImportError, OSError, ShapeError, ValueError) as error:
        print(f"minim2f: {_sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
