"""The commands of the book: minim2f book build | audit | student | html | slides | site ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nbclient.exceptions import CellControlSignal, DeadKernelError

from minim2f.book import editions, experiments
from minim2f.book.audit import advice, audit
from minim2f.book.build import build
from minim2f.book.chapter import NOTEBOOKS, Chapter, chapters
from minim2f.book.html import write_html
from minim2f.book.new import new
from minim2f.book.pictures import draw_pictures
from minim2f.book.play import write_play
from minim2f.book.site import write_site
from minim2f.book.slides import write_slides
from minim2f.commands.arguments import count


def run_build(args: argparse.Namespace) -> None:
    """Builds notebooks from their scripts, and audits them."""
    _tell_all([_build(chapter) for chapter in chapters(args.folder, args.numbers)], "built")


def run_audit(args: argparse.Namespace) -> None:
    """Says what chapters still lack."""
    _tell_all([_audit(chapter) for chapter in chapters(args.folder, args.numbers)], "good")


def run_student(args: argparse.Namespace) -> None:
    """Writes notebooks without their solutions."""
    wanted = chapters(args.folder, args.numbers)
    editions.write_edition(wanted, editions.student, args.out)


def run_lecture(args: argparse.Namespace) -> None:
    """Writes notebooks with the cells to show in class, and no others."""
    wanted = chapters(args.folder, args.numbers)
    editions.write_edition(wanted, editions.lecture, args.out)


def run_html(args: argparse.Namespace) -> None:
    """Writes web pages, with the alt text of every figure."""
    write_html(chapters(args.folder, args.numbers), args.out)


def run_slides(args: argparse.Namespace) -> None:
    """Writes decks of slides to lecture from, each a file that needs no network."""
    write_slides(chapters(args.folder, args.numbers), args.out)


def run_play(args: argparse.Namespace) -> None:
    """Writes one page to play with predictions, which needs no network."""
    print(f"wrote {write_play(args.out, args.pictures, args.model)}")


def run_site(args: argparse.Namespace) -> None:
    """Writes the whole book, with README and reference, as a site that needs no network."""
    folder = "site-student" if args.student else "site"
    write_site(args.out or Path("out") / folder, solutions=not args.student)


def run_experiment(args: argparse.Namespace) -> None:
    """Runs a chapter's long experiment, and stores its result."""
    options = {"steps": args.steps, "seeds": args.seeds, "unseen": args.unseen}
    experiments.run(args.number, **{k: v for k, v in options.items() if v is not None})


def run_new(args: argparse.Namespace) -> None:
    """Lays a new chapter from the template."""
    print("laid, and to be filled:", *new(args.number, args.title), sep="\n  ")


def run_pictures(args: argparse.Namespace) -> None:
    """Draws the README's pictures anew."""
    draw_pictures()


def main(arguments: list[str]) -> None:
    """Runs one of the book's commands.

    Raises:
        ValueError: a chapter could not be built, or has faults; they are printed.
        OSError: there is no such chapter, or a file cannot be written.
    """
    args = _parser().parse_args(arguments)
    args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("minim2f book", description="The book's notebooks.")
    actions = parser.add_subparsers(required=True, metavar="action")
    for run in (run_build, run_audit, run_student, run_lecture, run_html, run_slides):
        sub = _action(actions, run)
        sub.add_argument("numbers", nargs="*", metavar="NN", help="chapters, all by default")
        sub.add_argument("--folder", type=Path, default=NOTEBOOKS, help="where the chapters are")
        if run in (run_student, run_lecture, run_html, run_slides):
            out = Path("out") / run.__name__.removeprefix("run_")
            sub.add_argument("-o", "--out", type=Path, default=out, help=f"{out} by default")
    sub = _action(actions, run_play)
    sub.add_argument("pictures", nargs="*", type=Path, help="a dozen drawn scenes by default")
    sub.add_argument("--model", default="tiny", help="a small one; tiny knows drawn scenes only")
    sub.add_argument("-o", "--out", type=Path, default=Path("out/play.html"), help="the page")
    sub = _action(actions, run_site)
    sub.add_argument("--student", action="store_true", help="without the solutions")
    help_out = "out/site by default, of students out/site-student"
    sub.add_argument("-o", "--out", type=Path, help=help_out)
    sub = _action(actions, run_experiment)
    sub.add_argument("number", metavar="NN", help="of the chapter")
    sub.add_argument("--steps", type=count, help="training steps of each run")
    sub.add_argument("--seeds", type=count, help="how many seeds, from 0 on")
    sub.add_argument("--unseen", type=count, help="how many unseen scenes to measure on")
    sub = _action(actions, run_new)
    sub.add_argument("number", metavar="NN", help="of the chapter; a letter for an appendix")
    sub.add_argument("--title", help="by default that of the README's list")
    _action(actions, run_pictures)
    return parser


def _action(actions: argparse._SubParsersAction, run: Callable) -> argparse.ArgumentParser:
    name = run.__name__.removeprefix("run_")
    sub = actions.add_parser(name, help=run.__doc__, description=run.__doc__)
    sub.set_defaults(run=run)
    return sub


def _build(chapter: Chapter) -> bool:
    try:
        seconds = build(chapter)
    except (CellControlSignal, DeadKernelError, KeyError) as error:
        print(f"{chapter.script.name}: not built\n{error}", file=sys.stderr)
        return False
    print(f"{chapter.notebook.name}: {seconds} s")
    _audit(Chapter(chapter.script))
    return True


def _audit(chapter: Chapter) -> bool:
    complaints = audit(chapter)
    remarks = list(advice(chapter)) if chapter.notebook.exists() else []
    print(chapter.script.name, *complaints or ["no complaints"], *remarks, sep="\n  ")
    return not complaints


def _tell_all(fine: list[bool], what: str) -> None:
    if not all(fine):
        raise ValueError(f"{fine.count(False)} of {len(fine)} chapters are not {what}")
