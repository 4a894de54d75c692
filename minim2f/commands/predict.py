"""`minim2f predict`: segments one picture or many; draws the results, or stores them as data."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from operator import itemgetter
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..checkpoints import load
from ..data.images import to_image
from ..inference import Result, as_result
from ..model.config import Config
from ..model.mask2former import Mask2Former
from ..prediction import predict_many
from ..results import Predictions
from ..training import distributed
from .arguments import count, share
from .origin import numbered_as_learned, source_of, task_of
from .picture_files import drawings_of, file_names, pictures_in, skipped_in
from .pictures import TASKS

SCENES_ONLY = (
    "note: tiny knows drawn scenes only, and the {count} classes in them. On a photograph its "
    "answers mean nothing, however high their scores; --model {other} knows photographs"
)
KNOWS_PHOTOGRAPHS = "facebook/mask2former-swin-tiny-coco-panoptic"
MOST_DRAWN = 2400  # pixels of the longest side: twice those of a drawing, which 12 MP would slow


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Which pictures, which model, and where the drawings go."""
    add = sub.add_argument
    add("pictures", nargs="+", type=Path, metavar="PICTURE", help="files, or folders of pictures")
    add("--task", choices=TASKS, help="what to look for; unless given, what the model learned")
    add("--model", default="tiny", help="a saved model, a published one's name, or tiny")
    add("--threshold", type=share, help="leave out what scores lower, 0 to 1")
    add("--top-k", type=count, default=100, metavar="N", help="instances that are considered")
    add("--device", default="cpu", help="cpu, cuda or mps")
    add_batch_argument(sub)
    add(
        "--save",
        choices=("png", "json", "both", "none"),
        default="png",
        help="png: drawings; json: results as data, in COCO's forms or as label maps (-o is a "
        "folder then); none: only what is printed",
    )
    add(
        "-o",
        "--out",
        type=Path,
        help="file of the drawing (out/prediction.png); for several, a folder (out/predictions)",
    )


def add_batch_argument(sub: argparse.ArgumentParser) -> None:
    """How many pictures go through the network together."""
    sub.add_argument(
        "--batch-size",
        type=count,
        default=1,
        metavar="N",
        help="pictures of one size that follow each other go through the network together, N at "
        "most: the same results for N times the memory, on a CPU with 4 twice as fast for small "
        "pictures (96 pixels) and slower for large ones (800)",
    )


def run_predict(args: argparse.Namespace) -> None:
    """Segments pictures; draws the results, or stores them as data."""
    pictures = pictures_in(args.pictures)
    for line in filter(None, map(skipped_in, args.pictures)):
        print(line)
    as_data = args.save in ("json", "both")
    outs = drawings_of(pictures, args.out, as_data or any(path.is_dir() for path in args.pictures))
    with distributed.joined(args.device) as device:
        model = load(args.model).to(device)
    model.config = numbered_as_learned(model.config, source_of(args.model))
    if args.task is None:
        args.task = task_of(args.model, model.config)
        print(f"task: {args.task}, which the model was trained for (--task chooses another)")
    if told := _numbered(model.config.classes):
        print(told)
    if args.model == "tiny":
        print(SCENES_ONLY.format(count=model.config.num_classes, other=KNOWS_PHOTOGRAPHS))
    data = Predictions(outs[0].parent, args.task, model.config.classes) if as_data else None
    with data or nullcontext():
        faults = _predict_all(model, pictures, outs, data, args)
    if data:
        print(f"wrote {data.path}")
    if faults:
        told = "\n".join(faults)
        raise ValueError(f"{len(faults)} of {len(pictures)} pictures were left out:\n{told}")


def _predict_all(
    model: Mask2Former,
    pictures: Sequence[Path],
    outs: Sequence[Path],
    data: Predictions | None,
    args: argparse.Namespace,
) -> list[str]:
    """Segments every picture; returns what was wrong with those that could not be read."""
    alone, faults = len(pictures) == 1, []
    threshold = 0.5 if args.task == "instance" and args.threshold is None else args.threshold
    names = dict(zip(pictures, file_names(pictures)))
    found = _readable(zip(pictures, outs), None if alone else faults)
    predicted = predict_many(model, found, args.batch_size, itemgetter(2))
    bar = tqdm(predicted, "predicting", len(pictures), disable=alone)
    for (picture, out, image), logits in bar:
        result = as_result(*logits, model.config, args.task, threshold, args.top_k)
        if data:
            data.add(result, names[picture], png_name=out.with_suffix(".png").name)
        told = str(picture)
        if args.save in ("png", "both"):
            _draw(image, result, model.config, out, args.task)
            renamed = not alone and out.stem != picture.stem
            told = f"wrote {out}" + (f" of {picture}" if renamed else "")
        bar.write(f"{told}: {_counts(result, model.config)}")
        if alone:
            print(_listing(result, model.config))
    return faults


def _readable(
    paths: Iterable[tuple[Path, Path]], faults: list[str] | None
) -> Iterator[tuple[Path, Path, Tensor]]:
    """Reads pictures one by one; `faults` gets those that cannot be read, None raises them."""
    for picture, out in paths:
        try:
            image = to_image(picture, exif=True)
        except (OSError, ValueError) as error:
            if faults is None:
                raise
            faults.append(str(error))
        else:
            yield picture, out, image


def _draw(image: Tensor, result: Result, config: Config, out: Path, task: str) -> None:
    from .. import plots  # brings matplotlib, which only drawing needs

    every = -(-max(image.shape) // MOST_DRAWN)
    rows = (..., slice(None, None, every), slice(None, None, every))
    image = F.avg_pool2d(image.float(), every, ceil_mode=True).to(image.dtype)
    fig, axes = plots.figure(size=8, aspect=image.shape[1] / image.shape[2])
    if task == "instance":
        found = (result.masks[rows], result.segments, config.classes)
        plots.draw_instances(axes[0, 0], image, *found)
    else:
        found = (result.ids[rows], result.segments, config.classes)
        plots.draw_segments(axes[0, 0], image, *found)
    plots.save(fig, out)


def _numbered(categories: Sequence[dict]) -> str:
    """Which classes are drawn by number, as no font here has the letters of their names."""
    from ..fonts import can_draw

    told = [f"class {c['id']} is {c['name']}" for c in categories if not can_draw(c["name"])]
    return f"no font here can draw these names: {', '.join(told)}" if told else ""


def _counts(result: Result, config: Config) -> str:
    names = {c["id"]: c["name"] for c in config.classes}
    counts = Counter(names[s["category_id"]] for s in result.segments)
    return ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "nothing"


def _listing(result: Result, config: Config) -> str:
    """A line for each segment."""
    names = {c["id"]: c["name"] for c in config.classes}
    lines = [
        f"{s['id']:4}  {names[s['category_id']]:24} score {s['score']:.2f}  {s['area']:8} pixels  "
        f"box {s['box']}"
        for s in result.segments
    ]
    nothing = "nothing was found; a lower --threshold shows what the model was less sure of"
    return "\n".join(lines) or nothing
