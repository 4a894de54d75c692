"""What a run shows while it goes on: its losses, the first one explained, and evaluations."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from ..data.augment import resize
from ..data.sample import Dataset, Sample
from ..model.config import Config
from ..model.mask2former import Mask2Former
from ..prediction import input_size
from . import distributed
from .class_names import aligned
from .evaluation import comparison, evaluate, summary
from .losses import expected_loss
from .run_folder import Run

SHOWN = ("loss", "loss_ce", "loss_mask", "loss_dice")  # beside the bar
DRAWN = 4  # pictures at each evaluation


def step_bar(first: int, steps: int, show: bool = True) -> tqdm:
    """A bar over the numbers of the steps that are left.

    Args:
        first: number of the next step.
        steps: of the whole run.
        show: False keeps the bar hidden; of several processes only the first shows it.
    """
    hidden = not show or distributed.rank() > 0
    return tqdm(range(first, steps), "training", steps, initial=first, disable=hidden)


def show_step(
    bar: tqdm, number: int, values: dict[str, float], config: Config, details: bool
) -> None:
    """Shows the losses of a step beside the bar, and after the first step what to expect.

    Args:
        bar: what `step_bar` returned.
        number: of the step; 0 is the first.
        values: what the step returned.
        config: of the model.
        details: as in `first_loss`.
    """
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
        if None not in terms:  # without deep supervision there is only the last prediction
            lines.append(f"{name:<22}" + "".join(f"{term:8.2f}" for term in terms))
    return "\n".join(lines)


def evaluate_and_draw(
    model: Mask2Former, dataset: Dataset, words: str, done: int, run: Run, quiet: bool
) -> None:
    """Scores the model during a run; prints and logs the scores, and draws some pictures.

    Whatever goes wrong here is told and logged, and the run goes on: its weights are worth more.

    Args:
        model: as it is after the step.
        dataset: what it is evaluated on, in all processes together.
        words: what these pictures are, told beside the scores.
        done: how many steps it has taken.
        run: where scores are logged and pictures are saved.
        quiet: print nothing.
    """
    try:
        scores = evaluate(model, dataset, progress=not quiet)
    except Exception as error:
        run.write("eval", done, scores={}, on=words, fault=f"{type(error).__name__}: {error}")
        _tell_fault(f"step {done} could not be evaluated", error)
        return
    short = summary(scores)
    if not quiet:
        told = ", ".join(f"{name} {value:.3f}" for name, value in short.items())
        tqdm.write(f"step {done}: {told}" + (f" on {words}" if words else ""))
    run.write("eval", done, scores=short, wins=scores["wins"], on=words)
    if run.writes:
        try:
            _draw(model, dataset, run.folder / "pictures" / f"{done:06d}.png")
        except Exception as error:
            _tell_fault(f"the pictures of step {done} could not be drawn", error)


def _draw(model: Mask2Former, dataset: Dataset, path: Path) -> None:
    from .. import plots  # brings matplotlib, which only drawing needs

    config, categories, _ = aligned(model.config, dataset)
    task = getattr(dataset, "task", "panoptic")
    samples = [_small(dataset[i], config) for i in range(min(DRAWN, len(dataset)))]
    rows = [comparison(model, sample, config, task) for sample in samples]
    plots.save(plots.compare(rows, categories), path)


def _small(sample: Sample, config: Config) -> Sample:
    """As large as the model sees it, if that is smaller: hundreds of masks are held at once."""
    size = input_size(*sample.image.shape[1:], config)
    return resize(sample, *size) if size < tuple(sample.image.shape[1:]) else sample


def _tell_fault(what: str, error: Exception) -> None:
    if distributed.rank() == 0:
        tqdm.write(f"{what}, and training goes on: {error}", file=sys.stderr)
