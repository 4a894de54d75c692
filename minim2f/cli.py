"""The command line: demo, data, train, plot, eval, predict, walkthrough, bench and book.

Each command imports what only it needs, so that `minim2f --help` does not wait for matplotlib.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from .data.coco_mini import FetchError
from .model.config import PRESETS
from .shapes import ShapeError
from .train_command import TASKS, add_arguments, open_data, run_train
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
    """Looks for faults in a data set, before anybody trains on it."""
    from .data import open_dataset
    from .data.check import find_faults

    faults = find_faults(args.path)
    for fault in faults:
        print(fault)
    if faults:
        raise ValueError(f"{args.path} has {len(faults)} faults, listed above")
    print(f"{args.path}: {len(open_dataset(args.path, None))} pictures, no fault found")


def run_plot(args: argparse.Namespace) -> None:
    """Draws what a training run looked like: losses, metrics, rates, who wins which class."""
    from .training_report import report

    print(f"wrote {report(args.run_folder)}")


def run_eval(args: argparse.Namespace) -> None:
    """Prints PQ, mIoU and AP of a model on a data set."""
    from .checkpoints import load
    from .training import distributed
    from .training.evaluation import evaluate, table

    with distributed.joined(args.device) as device:
        dataset = open_data(args.data, args.split, args.length, args.task, scenes=200)
        scores = evaluate(load(args.model).to(device), dataset, progress=True)
    if distributed.rank() == 0:
        print(table(scores))


def run_predict(args: argparse.Namespace) -> None:
    """Segments one picture and draws the result."""
    from . import plots
    from .checkpoints import load
    from .data.images import to_image
    from .inference import segment

    model = load(args.model)
    image = to_image(args.picture, exif=True)
    threshold = 0.5 if args.task == "instance" and args.threshold is None else args.threshold
    result = segment(model, image, args.task, threshold)
    categories = model.config.classes
    fig, axes = plots.figure(size=8, aspect=image.shape[1] / image.shape[2])
    if args.task == "instance":
        plots.draw_instances(axes[0, 0], image, result.masks, result.segments, categories)
    else:
        plots.draw_segments(axes[0, 0], image, result.ids, result.segments, categories)
    print(f"wrote {plots.save(fig, args.out)}")
    names = {c["id"]: c["name"] for c in categories}
    for s in result.segments:
        name = names[s["category_id"]]
        print(
            f"{s['id']:4}  {name:24} score {s['score']:.2f}  {s['area']:8} pixels  box {s['box']}"
        )
    if not result.segments:
        print("nothing was found; a lower --threshold shows what the model was less sure of")


def run_walkthrough(args: argparse.Namespace) -> None:
    """Prints every named tensor of one forward pass."""
    import torch

    from .model.config import preset
    from .model.mask2former import Mask2Former
    from .training.walkthrough import walkthrough

    height, width = (int(n) for n in args.size.lower().split("x"))
    changes = {"pixel_decoder": args.pixel_decoder} if args.pixel_decoder else {}
    model = Mask2Former(preset(args.preset, **changes)).eval()
    print(walkthrough(model, torch.zeros(1, 3, height, width)))


def run_bench(args: argparse.Namespace) -> None:
    """Measures time and memory beside Hugging Face Transformers, at equal outputs."""
    from .bench import report
    from .bench.run import bench

    results = bench(args.out, tuple(args.names), args.device, args.rounds, args.quick)
    print(report.table(results))
    print(f"wrote this and more into {args.out}")


def run_book(args: argparse.Namespace) -> None:
    """Builds the notebooks, and what else a chapter needs: see minim2f book build --help."""
    from .book.command import main as book  # only who asks for it needs Jupyter

    book(args.arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minim2f", description="Mask2Former, small and exact.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function: Callable, name: str, among=commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(run=function)
        return sub

    sub = command(run_demo, "demo")
    sub.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.png")
    sub.add_argument("--steps", type=int, default=TINY.steps, help="training steps on scenes")
    _data_actions(command, commands)
    add_arguments(command(run_train, "train"))

    sub = command(run_plot, "plot")
    sub.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a training run")

    sub = command(run_eval, "eval")
    sub.add_argument("model", help="a saved model, a run's folder, or tiny")
    sub.add_argument("--data", default="scenes", help="scenes, coco-mini, or your own files")
    sub.add_argument("--split", choices=["train", "val"], default="val")
    sub.add_argument("--length", type=int, help="how many scenes, or the first of other pictures")
    sub.add_argument("--task", choices=TASKS, help="what to measure; all that the data allow")
    sub.add_argument("--device", default="cpu")

    sub = command(run_predict, "predict")
    sub.add_argument("picture", type=Path)
    sub.add_argument("--task", choices=TASKS, default="panoptic")
    sub.add_argument("--model", default="tiny", help="a saved model, or tiny")
    sub.add_argument("--threshold", type=float, help="leave out what scores lower")
    sub.add_argument("-o", "--out", type=Path, default=Path("out/prediction.png"))

    sub = command(run_walkthrough, "walkthrough")
    sub.add_argument("--preset", choices=PRESETS, default="r50")
    sub.add_argument("--pixel-decoder", choices=["msdeform", "fpn"], help="the preset's, or this")
    sub.add_argument("--size", default="800x1024", help="height x width, multiples of 32")

    sub = command(run_bench, "bench")
    sub.add_argument("names", nargs="*", default=["r50", "swin_t"], help="r50, swin_t or both")
    sub.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    sub.add_argument("--rounds", type=int, default=3, help="pairs in each of three processes")
    sub.add_argument("--quick", action="store_true", help="a first look: two small measurements")
    sub.add_argument("-o", "--out", type=Path, default=Path("out/bench"), help="folder for results")

    _book_actions(command(run_book, "book"))
    return parser


def _book_actions(book: argparse.ArgumentParser) -> None:
    names = "build, audit, student, lecture, html, experiment, new or pictures"
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
    sub.add_argument("--length", type=int, default=20, help="how many")
    command(run_check, "check", actions).add_argument("path", help="folder or JSON file")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; an expected mistake ends in one sentence and exit code 1."""
    args = _parser().parse_args(arguments)
    args.command = shlex.join(["minim2f", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        args.run(args)
    except (FetchError, ImportError, OSError, ShapeError, Stopped, ValueError) as error:
        print(f"minim2f: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
