"""The command line: minim2f demo | data | train | eval | predict | walkthrough."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from . import Mask2Former, load, plots, preset, save, segment, walkthrough
from .data import open_dataset
from .data.augment import resize
from .data.coco import write_coco
from .data.fetch import FetchError, fetch_coco_mini
from .data.images import to_image
from .demo import Memory, demo
from .inference import input_size
from .model.config import PRESETS
from .shapes import ShapeError
from .training.loop import evaluate, train
from .training.recipe import TINY


def run_demo(args: argparse.Namespace) -> None:
    """Trains on scenes, scores on unseen ones, draws out/demo.png."""
    demo(args.out, args.steps)


def run_data(args: argparse.Namespace) -> None:
    """Fetches coco-mini, or writes scenes as COCO files."""
    if args.action == "fetch":
        fetch_coco_mini(args.folder, args.mirror, args.instances)
    else:
        scenes = open_dataset("scenes", args.split, length=args.length)
        print(f"wrote {write_coco(scenes, args.folder or Path('out/scenes'))}")


def run_train(args: argparse.Namespace) -> None:
    """Trains a model from random weights, or from `--init`, and saves it."""
    options = {"length": args.length} if args.data == "scenes" else {}
    dataset = open_dataset(args.data, "train", **options)
    recipe = dataclasses.replace(
        TINY, steps=args.steps, batch_size=args.batch_size, learning_rate=args.lr, seed=args.seed
    )
    torch.manual_seed(args.seed)
    if args.init:
        model = load(args.init)
    else:
        categories = dataset.categories
        config = preset(args.preset, num_classes=len(categories), categories=categories)
        model = Mask2Former(config)
    args.out.parent.mkdir(parents=True, exist_ok=True)  # better to fail before than after training
    kinds = dataset.categories
    small = (resize(s, *input_size(*s.image.shape[1:], model.config), kinds) for s in dataset)
    train(model.to(args.device), Memory(small, kinds), recipe)
    print(f"wrote {save(model, args.out, half=args.half)}")


def run_eval(args: argparse.Namespace) -> None:
    """Prints PQ and mIoU of a model on a data set."""
    options = {"length": args.length} if args.data == "scenes" else {}
    dataset = open_dataset(args.data, "val", **options)
    scores = evaluate(load(args.model).to(args.device), dataset, progress=True)
    for group in ("All", "Things", "Stuff"):
        line = "  ".join(f"{name.upper()} {scores[group][name]:.3f}" for name in ("pq", "sq", "rq"))
        print(f"{group:7}{line}  ({scores[group]['n']} classes)")
    print(f"mIoU   {scores['miou']:.3f}")


def run_predict(args: argparse.Namespace) -> None:
    """Segments one picture and draws the result."""
    model = load(args.model)
    image = to_image(args.picture, exif=True)
    threshold = 0.5 if args.task == "instance" and args.threshold is None else args.threshold
    result = segment(model, image, args.task, threshold)
    categories = model.config.categories or [{"id": k} for k in range(model.config.num_classes)]
    fig, axes = plots.figure(size=8, aspect=image.shape[1] / image.shape[2])
    if args.task == "instance":
        plots.draw_instances(axes[0, 0], image, result.masks, result.segments, categories)
    else:
        plots.draw_segments(axes[0, 0], image, result.ids, result.segments, categories)
    print(f"wrote {plots.save(fig, args.out)}")
    names = {c["id"]: c["name"] for c in model.config.categories}
    for s in result.segments:
        name = names.get(s["category_id"], s["category_id"])
        print(
            f"{s['id']:4}  {name:24} score {s['score']:.2f}  {s['area']:8} pixels  box {s['box']}"
        )
    if not result.segments:
        print("nothing was found; a lower --threshold shows what the model was less sure of")


def run_walkthrough(args: argparse.Namespace) -> None:
    """Prints every named tensor of one forward pass."""
    height, width = (int(n) for n in args.size.lower().split("x"))
    changes = {"pixel_decoder": args.pixel_decoder} if args.pixel_decoder else {}
    model = Mask2Former(preset(args.preset, **changes)).eval()
    print(walkthrough(model, torch.zeros(1, 3, height, width)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minim2f", description="Mask2Former, small and exact.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function: Callable, name: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(run=function)
        return sub

    sub = command(run_demo, "demo")
    sub.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.png")
    sub.add_argument("--steps", type=int, default=TINY.steps, help="training steps on scenes")
    _data_arguments(command(run_data, "data"))
    _train_arguments(command(run_train, "train"))

    sub = command(run_eval, "eval")
    sub.add_argument("model", help="a saved model, or tiny")
    sub.add_argument("--data", default="scenes")
    sub.add_argument("--length", type=int, default=200, help="how many scenes")
    sub.add_argument("--device", default="cpu")

    sub = command(run_predict, "predict")
    sub.add_argument("picture", type=Path)
    sub.add_argument("--task", choices=["panoptic", "instance", "semantic"], default="panoptic")
    sub.add_argument("--model", default="tiny", help="a saved model, or tiny")
    sub.add_argument("--threshold", type=float, help="leave out what scores lower")
    sub.add_argument("-o", "--out", type=Path, default=Path("out/prediction.png"))

    sub = command(run_walkthrough, "walkthrough")
    sub.add_argument("--preset", choices=PRESETS, default="r50")
    sub.add_argument("--pixel-decoder", choices=["msdeform", "fpn"], help="the preset's, or this")
    sub.add_argument("--size", default="800x1024", help="height x width, multiples of 32")
    return parser


def _data_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("action", choices=["fetch", "scenes"], help="fetch coco-mini; write scenes")
    sub.add_argument("--folder", type=Path, help="where the files go")
    sub.add_argument("--mirror", help="fetch: folder or URL to take the files from")
    sub.add_argument(
        "--instances", action="store_true", help="fetch 123 more, without panoptic truth"
    )
    sub.add_argument("--split", choices=["train", "val"], default="train", help="scenes: which")
    sub.add_argument("--length", type=int, default=20, help="scenes: how many")


def _train_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--preset", choices=PRESETS, default="tiny")
    sub.add_argument("--init", help="start from this model instead of random weights")
    sub.add_argument("--data", default="scenes", help="scenes, coco-mini, or COCO panoptic files")
    sub.add_argument("--length", type=int, default=3000, help="how many scenes to draw")
    sub.add_argument("--steps", type=int, default=TINY.steps)
    sub.add_argument("--batch-size", type=int, default=TINY.batch_size)
    sub.add_argument("--lr", type=float, default=TINY.learning_rate)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="cpu")
    sub.add_argument("--half", action="store_true", help="store float16")
    sub.add_argument("-o", "--out", type=Path, default=Path("out/model.safetensors"))


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; an expected mistake ends in one sentence and exit code 1."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except (FetchError, OSError, ShapeError, ValueError) as error:
        print(f"minim2f: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
