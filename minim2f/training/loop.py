"""The loop: pictures in, a better model out, and on the way nothing is lost."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from .. import plots
from ..data.sample import Dataset
from ..model.config import Config
from ..model.mask2former import Mask2Former
from . import distributed
from .batches import collate, stream
from .evaluation import evaluate, row, summary
from .losses import expected_loss
from .recipe import TrainConfig
from .run_folder import Run
from .step import Trainer

__all__ = ["Stopped", "collate", "evaluate", "train"]
REMEMBERED = 10_000  # steps in the history; a long run's is in its log
DRAWN = 4  # pictures at each evaluation
SHOWN = ("loss", "loss_ce", "loss_mask", "loss_dice")  # in the bar


class Stopped(Exception):
    """Somebody asked the run to stop, and its checkpoint is written."""


def train(
    model: Mask2Former,
    dataset: Dataset,
    recipe: TrainConfig,
    progress: bool = True,
    after_step: Callable[[int], None] | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    unseen: Dataset | None = None,
    details: bool = False,
    note: dict | None = None,
) -> list[dict[str, float]]:
    """Trains a model in place; in all processes that torchrun started, where it did.

    Args:
        model: starts from the weights that it has; ends in eval mode.
        dataset: its categories must be the model's classes.
        recipe: steps, rates, seed.
        progress: show a bar, and what loss is to be expected at the start.
        after_step: called with the number of steps done, for example to evaluate.
        folder: where a log, checkpoints, pictures and in the end model.safetensors are written;
            None writes nothing. Ctrl-C then saves before it leaves.
        resume: go on with the run in `folder`: it ends with the same weights as one that was never
            interrupted.
        unseen: is evaluated every `recipe.evaluate_every` steps.
        details: tell the loss at the start prediction by prediction.
        note: what the log is to say of the run at its start, in JSON's types.

    Returns:
        One dict per step, of the last 10,000 at most: every loss term, their sum as "loss", the
        gradient's length "norm", the learning rate "lr".

    Raises:
        ValueError: an empty data set, other classes than the model's, pictures that contradict
            their truth; `NotFinite`, which is one, for a loss or gradient that is not finite.
        OSError: the folder cannot be written, or holds another run.
        Stopped: after Ctrl-C or SIGTERM, where there is a folder.
    """
    _refuse(model, dataset)
    trainer, run, first = _begin(Trainer(model, recipe), folder, resume, note)
    history: deque = deque(maxlen=REMEMBERED)
    feed = stream(dataset, recipe, model.config, first)
    numbers, quiet = range(first, recipe.steps), not progress or distributed.rank() > 0
    with _asked_to_stop(run is not None) as asked:
        bar = tqdm(numbers, "training", recipe.steps, initial=first, disable=quiet)
        for number in bar:
            begin, done = time.perf_counter(), number + 1
            batch = [next(feed) for _ in range(recipe.accumulate)]
            values, stop = trainer.step(number, batch, bool(asked))
            history.append(values)
            _tell(bar, number, values, model.config, details)
            if run:
                run.write("train", done, **values, seconds=time.perf_counter() - begin)
            last = done == recipe.steps
            if unseen and (last or done % recipe.evaluate_every == 0):
                _look(model, unseen, done, run, quiet)
            if run and (last or stop or done % recipe.save_every == 0):
                run.save(done, trainer)
            if after_step:
                after_step(done)
            if stop and not last:
                raise Stopped(f"stopped after step {done}, and saved: --resume {folder} goes on")
    model.eval()
    if run:
        run.finish(model)
    return list(history)


def _refuse(model: Mask2Former, dataset: Dataset) -> None:
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to learn from")
    found, wanted = len(dataset.categories), model.config.num_classes
    if found != wanted:
        raise ValueError(
            f"the data set has {found} categories, the model {wanted} classes; "
            f"make the model with preset(..., num_classes={found})"
        )


def _begin(
    trainer: Trainer, folder: str | os.PathLike | None, resume: bool, note: dict | None
) -> tuple[Trainer, Run | None, int]:
    """The trainer, as far as it had come; its folder, if any; and the steps behind it."""
    if folder is None:
        return trainer, None, 0
    run, config = Run(folder), trainer.model.config
    run.open(trainer.model, resume)
    first = run.restore(trainer) if resume else 0
    facts = {
        "recipe": dataclasses.asdict(trainer.recipe),
        "categories": [c.get("name", str(c["id"])) for c in config.categories],
        "num_predictions": config.num_layers + 1,
        "expected_loss": expected_loss(config),
    }
    run.write("start", first, **facts, **(note or {}))
    return trainer, run, first


def _tell(bar: tqdm, number: int, values: dict[str, float], config: Config, details: bool) -> None:
    bar.set_postfix({name: f"{values[name]:.2f}" for name in SHOWN})
    if number == 0 and not bar.disable:
        bar.write(first_loss(values, config, details))


def first_loss(values: dict[str, float], config: Config, details: bool = False) -> str:
    """The loss of the first step beside the one that random weights should give.

    Args:
        values: the loss terms of the step, weighted, and their sum "loss".
        config: of the model.
        details: add a line for every prediction.
    """
    text = (
        f"the first step's loss is {values['loss']:.1f}; random weights and {config.num_classes} "
        f"classes should start near {expected_loss(config):.0f}"
    )
    if not details:
        return text
    lines = [f"{text}\n{'prediction':<22}{'class':>8}{'mask':>8}{'dice':>8}"]
    for layer in range(config.num_layers + 1):
        last = layer == config.num_layers
        name = "of the raw queries" if layer == 0 else f"after layer {layer}"
        terms = [values.get(f"loss_{t}" + f"_{layer}" * (not last)) for t in ("ce", "mask", "dice")]
        if None not in terms:  # without deep supervision only the last one counts
            lines.append(f"{name:<22}" + "".join(f"{term:8.2f}" for term in terms))
    return "\n".join(lines)


@contextmanager
def _asked_to_stop(listen: bool) -> Iterator[list]:
    """Ctrl-C or SIGTERM, once, only leaves a note in a list; a second time it acts as ever."""
    notes: list[int] = []
    if not listen or threading.current_thread() is not threading.main_thread():
        yield notes
        return

    def note(number: int, frame: object) -> None:
        notes.append(number)
        signal.signal(number, before[number])
        print("\nfinishing this step, then saving", file=sys.stderr)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield notes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look(model: Mask2Former, unseen: Dataset, done: int, run: Run | None, quiet: bool) -> None:
    """Evaluates, tells and draws."""
    scores = evaluate(model, unseen, progress=not quiet)
    short = summary(scores)
    if not quiet:
        told = ", ".join(f"{name} {value:.3f}" for name, value in short.items())
        tqdm.write(f"step {done}: {told}")
    if run and distributed.rank() == 0:
        run.write("eval", done, scores=short, wins=scores["wins"])
        rows = [row(model, unseen[i]) for i in range(min(DRAWN, len(unseen)))]
        page = plots.compare(rows, unseen.categories)
        plots.save(page, run.folder / "pictures" / f"{done:06d}.png")
