"""Training on one page: the loop, and the step that it repeats."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..data.sample import Dataset, Sample
from ..model.mask2former import Mask2Former
from . import distributed
from .batches import Microbatch, microbatches_of, refuse_mismatch, stream
from .find_nan import explain, require_finite
from .losses import Criterion, divisors
from .matching import NotFinite
from .progress import evaluate_and_draw, show_step, step_bar
from .recipe import TrainConfig, make_optimizer
from .run_folder import Run, Stopped, asked_to_stop

REMEMBERED = 10_000  # steps in the history that `train` returns; the log has them all


@dataclass
class State:
    """What a step reads and changes.

    Attributes:
        model: trained in place.
        recipe: all numbers.
        replica: the model, within DistributedDataParallel where several processes train.
        criterion: the losses.
        optimizer: AdamW.
        scaler: keeps small gradients alive in float16; does nothing in other precisions.
        generator: of the random points of matching and losses.
    """

    model: Mask2Former
    recipe: TrainConfig
    replica: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    generator: torch.Generator


def start(model: Mask2Former, recipe: TrainConfig) -> State:
    """The state before the first step; the model keeps the weights that it has."""
    device = model.mean.device
    return State(
        model=model,
        recipe=recipe,
        replica=distributed.parallel(model),
        criterion=Criterion(model.config),
        optimizer=make_optimizer(model, recipe),
        scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16"),
        generator=torch.Generator(device),
    )


def train(
    model: Mask2Former,
    dataset: Dataset,
    recipe: TrainConfig,
    progress: bool = True,
    after_step: Callable[[int], None] | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    unseen: Dataset | None = None,
    unseen_words: str = "",
    details: bool = False,
    note: dict | None = None,
    half: bool = False,
) -> list[dict[str, float]]:
    """Trains a model in place, together with all other processes that torchrun started.

    Args:
        model: starts from the weights that it has; ends in eval mode.
        dataset: its categories must be the model's classes.
        recipe: steps, rates, seed.
        progress: show a bar, and what loss is to be expected at the start.
        after_step: called with the number of steps done, for example to evaluate.
        folder: where a log, checkpoints, pictures and in the end model.safetensors are written;
            None writes nothing. Ctrl-C then saves before it leaves.
        resume: go on with the run in `folder`; it ends with the same weights as a run that was
            never interrupted.
        unseen: evaluated every `recipe.evaluate_every` steps, after a checkpoint was saved. It
            has classes of the model, see `minim2f.training.class_names.aligned`.
        unseen_words: what these pictures are; stands beside every score.
        details: show the loss at the start for each prediction.
        note: more facts for the first line of the log, in JSON's types.
        half: store model.safetensors as float16.

    Returns:
        One dict per step, of the last 10,000 at most: every loss term, their sum as "loss", the
        gradient's length "norm", the learning rate "lr".

    Raises:
        ValueError: an empty data set, other classes than the model's, pictures that contradict
            their truth; `NotFinite`, which is one, for a loss or gradient that is not finite.
        OSError: the folder cannot be written, or holds another run.
        Stopped: after Ctrl-C or SIGTERM, where there is a folder.
    """
    refuse_mismatch(dataset, model.config)
    state = start(model, recipe)
    run = Run(folder, recipe)
    first = run.begin(model, state.optimizer, state.scaler, resume, note)
    history: deque = deque(maxlen=REMEMBERED)
    batches = stream(dataset, recipe, model.config, first)
    quiet = not progress or distributed.rank() > 0
    measure = _measuring(model, unseen, unseen_words, run, first, quiet)
    with asked_to_stop(listen=folder is not None) as asked:
        bar = step_bar(first, recipe.steps, progress)
        for number in bar:
            began, done = time.perf_counter(), number + 1
            batch = [next(batches) for _ in range(recipe.accumulate)]
            values, stop = step(state, number, batch, bool(asked))
            history.append(values)
            show_step(bar, number, values, model.config, details)
            run.write("train", done, **values, seconds=time.perf_counter() - began)
            _save_and_measure(state, run, done, stop, measure)
            if after_step:
                after_step(done)
            if stop and done < recipe.steps:
                raise Stopped(f"stopped after step {done}, and saved: --resume {folder} goes on")
    model.eval()
    run.finish(model, half)
    return list(history)


def _save_and_measure(
    state: State, run: Run, done: int, stop: bool, measure: Callable[[int], None] | None
) -> None:
    """Whatever is due after a step; saves before it measures, so that no fault costs a step."""
    recipe = state.recipe
    measured = measure and _is_due(done, recipe.evaluate_every, recipe.steps)
    if stop or measured or _is_due(done, recipe.save_every, recipe.steps):
        run.save(done, state.model, state.optimizer, state.scaler)
    if measured:
        measure(done)


def _measuring(
    model: Mask2Former, unseen: Dataset | None, words: str, run: Run, done: int, quiet: bool
) -> Callable[[int], None] | None:
    """What measures the model after a number of steps, if there are pictures for it.

    A run that ended, or failed, between saving and measuring is measured at once.
    """
    if not unseen:
        return None
    measure = partial(evaluate_and_draw, model, unseen, words, run=run, quiet=quiet)
    due = done and _is_due(done, run.recipe.evaluate_every, run.recipe.steps)
    if due and not run.was_evaluated(done):
        measure(done)
    return measure


def _is_due(done: int, every: int, steps: int) -> bool:
    """Every so many steps, and after the last one."""
    return done % every == 0 or done == steps


def step(
    state: State, number: int, batch: list[list[Sample]], stop: bool = False
) -> tuple[dict[str, float], bool]:
    """One optimiser step.

    Args:
        state: changed in place.
        number: of the step; 0 is the first. Rates and random numbers follow from it.
        batch: this process's pictures, in `accumulate` parts.
        stop: this process wants to stop.

    Returns:
        Every loss term, their sum "loss", the gradient's length "norm" and the rate "lr"; and
        whether any process wants to stop.

    Raises:
        NotFinite: a loss or a gradient is NaN or infinite; no weight has moved.
    """
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * state.recipe.rate(number)
    model.train()
    optimizer.zero_grad()
    parts = microbatches_of(model, batch, state.recipe.seed, number)
    divide_by, stop = _agree(state, parts, stop)
    share, terms = 1 / len(parts), Counter()
    try:
        for part in parts:
            last = part is parts[-1]  # processes exchange gradients once a step
            with nullcontext() if last else distributed.no_sync(state.replica):
                losses = _losses(state, state.replica, divide_by, part)
                scaler.scale(sum(losses.values()) * share).backward()
            shares = torch.stack(list(losses.values())).detach() * share
            terms.update(dict(zip(losses, shares.tolist())))  # one transfer from the device
        require_finite(terms)
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), state.recipe.clip_norm).item()
        if scaler.get_scale() <= 1:  # above, float16 may overflow: the scaler then lowers its scale
            require_finite({"the gradient's length": norm})
    except NotFinite as error:
        reason = explain(error, model, parts, partial(_losses, state, model, divide_by))
        optimizer.zero_grad()
        raise NotFinite(f"step {number + 1}: {reason}") from None
    scaler.step(optimizer)  # takes no step if scaled gradients overflowed
    scaler.update()
    averages = distributed.average(list(terms.values()), state.generator.device)
    values = dict(zip(terms, averages))
    values |= {"loss": sum(averages), "norm": norm, "lr": optimizer.param_groups[-1]["lr"]}
    return values, stop


def _agree(state: State, parts: list[Microbatch], stop: bool) -> tuple[list[float], bool]:
    """What all processes divide their losses by, and whether any of them wants to stop."""
    own = [divisors(part.targets, state.model.config) for part in parts]
    means = [sum(values) / len(parts) for values in zip(*own)]
    shared = distributed.average([*means, float(stop)], state.generator.device)
    num_masks, weight_sum, stopping = shared
    return [max(1.0, num_masks), weight_sum], stopping > 0


def _losses(
    state: State, model: nn.Module, divide_by: list[float], part: Microbatch
) -> dict[str, Tensor]:
    """The loss terms of a part: the same numbers each time."""
    precision = getattr(torch, state.recipe.precision)
    torch.manual_seed(part.seed)  # of dropout
    state.generator.manual_seed(part.seed)
    with torch.autocast(part.images.device.type, precision, precision != torch.float32):
        return state.criterion(model(part.images), part.targets, state.generator, *divide_by)
