"""`minim2f eval`: how good a model is, as lines to read and as JSON."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from ..checkpoints import load
from ..files import write
from ..training import distributed
from ..training.class_names import aligned
from ..training.evaluation import evaluate, per_class, per_class_table, table
from .arguments import count
from .origin import learned_by, require_data, source_of
from .pictures import TASKS, absolute, add_form_arguments, pictures_to_score
from .predict import add_batch_argument


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """What is measured, on which pictures, and what becomes of the numbers."""
    add = sub.add_argument
    add("model", help="a saved model, a run's folder, or tiny")
    add("--data", help="scenes, coco-mini, or your own files; of a run, its own data unless given")
    add(
        "--split",
        metavar="NAME",
        help="val unless given, or what the run held out; 'all' takes all pictures",
    )
    add("--length", type=count, help="how many scenes, or the first of other pictures")
    add("--task", choices=TASKS, help="what to measure; all that the data allow")
    add("--top-k", type=count, default=100, metavar="N", help="instances of a picture that count")
    add("--per-class", action="store_true", help="print a line for each class")
    add("--json", type=Path, metavar="FILE", help="write all numbers")
    add("--device", default="cpu", help="cpu, cuda or mps")
    add_batch_argument(sub)
    add_form_arguments(sub)


def run_eval(args: argparse.Namespace) -> None:
    """Prints PQ, mIoU and AP of a model on a data set."""
    source = source_of(args.model)
    if source and not args.data:
        require_data(source.data, args.model)
    args.data = absolute(args.data) or (source.data if source else "scenes")
    if source and args.task is None:
        args.task = source.task
    with distributed.joined(args.device) as device:
        model = load(args.model)
        measured = pictures_to_score(args, source, learned_by(args.model))
        dataset = measured.dataset
        classes = aligned(model.config, dataset)
        first = distributed.rank() == 0
        if classes.words and first:
            print(classes.words)
        options = {"top_k": args.top_k, "batch_size": args.batch_size}
        scores = evaluate(model.to(device), dataset, progress=True, **options)
    if not first:
        return
    print(table(scores, measured.words))
    rows = per_class(scores, classes.categories)
    if args.per_class:
        print(per_class_table(rows))
    if args.json:
        totals = {
            name: scores[name] for name in ("All", "Things", "Stuff", "miou") if name in scores
        }
        if "ap" in scores:
            totals["ap"] = {n: v for n, v in scores["ap"].items() if n != "per_class"}
        about = {"model": str(args.model), "data": args.data, "pictures": len(dataset)}
        about |= {"measured_on": measured.words, "scores": totals, "per_class": rows}
        write(args.json, json.dumps(_finite(about), indent=1, ensure_ascii=False) + "\n")
        print(f"wrote {args.json}")


def _finite(value: object) -> object:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
