"""A training run on one page, drawn from the log that it wrote."""

from __future__ import annotations

import json
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from .fonts import drawable, families
from .plots import INK, draw_curves, figure, query_color, save

# What a line of each kind must have.
FIELDS = {
    "start": {"step", "categories", "num_predictions", "expected_loss"},
    "train": {"step", "loss", "loss_ce", "loss_mask", "loss_dice", "norm", "lr"},
    "eval": {"step", "scores"},
}
TERMS = {"ce": ("classes", "#1D4E79"), "mask": ("BCE", "#6FA6D6"), "dice": ("dice", "#CFE3F5")}
METRICS = {"pq": "PQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff", "miou": "mIoU", "ap": "AP"}
PANEL, GAP, CELL = 4.2, 1.4, 0.17  # inches; names are written into the gaps


class Log(NamedTuple):
    """The valid lines of a log, in the order of steps.

    Attributes:
        start: the last line of kind "start".
        train: a line for each logged step, at least one.
        evals: a line for each evaluation, perhaps none.
    """

    start: dict
    train: list[dict]
    evals: list[dict]


def read_log(run: str | Path) -> Log:
    """Reads RUN/log.jsonl.

    A resumed run starts from an earlier step: lines logged for later steps no longer count.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: a line is damaged, and not because the run was killed while it wrote this line;
            or no training step was logged.
    """
    path = Path(run) / "log.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; give the folder that training wrote into")
    texts = path.read_text("utf-8", errors="replace").splitlines()
    lines = [_parse(text) for text in texts]
    start, train, evals = {}, {}, {}
    for number, line in enumerate(lines, start=1):
        if line is None:
            killed_here = number == len(lines) or (lines[number] or {}).get("kind") == "start"
            if not killed_here:
                found = textwrap.shorten(texts[number - 1], 60)
                raise ValueError(f"{path}, line {number} is no line of a training log: {found}")
        elif line["kind"] == "start":
            start = line
            train = {step: old for step, old in train.items() if step <= start["step"]}
            evals = {step: old for step, old in evals.items() if step <= start["step"]}
        else:
            {"train": train, "eval": evals}[line["kind"]][line["step"]] = line
    if not (start and train):
        raise ValueError(f"{path} holds no training step; did the run end before its first?")
    return Log(start, [train[k] for k in sorted(train)], [evals[k] for k in sorted(evals)])


def report(run: str | Path) -> Path:
    """Draws RUN/report.png from RUN/log.jsonl.

    Returns:
        Path of the picture.

    Raises:
        FileNotFoundError, ValueError: as `read_log`.
    """
    log = read_log(run)
    wins = _wins(log)
    panels = [_draw_loss, _draw_predictions, _draw_rates] + [_draw_scores] * bool(_scores(log))
    wide = wins.size and wins.shape[1] > 60  # a map that leaves room for four panels in a row
    columns = 2 if len(panels) == 4 and not wide else len(panels)
    aspects = [0.62] * (len(panels) // columns) + [CELL * len(wins) / PANEL] * bool(wins.size)
    fig, axes = figure(len(aspects), columns, PANEL, aspects, GAP)
    fig.subplots_adjust(hspace=0.65 * fig.subplotpars.hspace)
    for draw, ax in zip(panels, axes.flat):
        draw(ax, log)
    if wins.size:
        for ax in axes[-1]:
            ax.remove()
        _draw_wins(fig.add_subplot(axes[-1, 0].get_gridspec()[-1, :]), wins, log)
    _write_heading(fig, Path(run), log)
    return save(fig, Path(run) / "report.png")


def _parse(text: str) -> dict | None:
    """A line of the log, or None if the text is not one."""
    try:
        line = json.loads(text)
        return line if FIELDS[line["kind"]] <= line.keys() else None
    except (ValueError, TypeError, KeyError):
        return None


def _scores(log: Log) -> dict[str, list[tuple[int, float]]]:
    """{metric: (step, value) of each evaluation in which it has a value}."""
    scores = {}
    for line in log.evals:
        for key, value in line["scores"].items():
            if value is not None and np.isfinite(value):
                scores.setdefault(key, []).append((line["step"], value))
    return scores


def _wins(log: Log) -> np.ndarray:
    """How often each query won each class in the last evaluation: (N, K), or (0, K)."""
    found = _counted(log)["wins"]
    wins = np.zeros((1 + max((q for q, _, _ in found), default=-1), len(log.start["categories"])))
    for query, kind, times in found:
        wins[query, kind] = times
    return wins


def _counted(log: Log) -> dict:
    """The last evaluation that counted wins; none if it failed."""
    return next((line for line in reversed(log.evals) if "wins" in line), {"wins": []})


def _draw_loss(ax: Axes, log: Log) -> None:
    expected, window = log.start["expected_loss"], _window(log)
    _log_scale(ax, [*_column(log.train, "loss"), expected])
    _draw_smoothed(ax, log, "loss")
    ax.axhline(expected, color=INK, linestyle=":", linewidth=1)
    place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right", "va": "bottom"}
    note, where = f"expected at the start: {expected:.3g}", ax.get_yaxis_transform()
    ax.annotate(note, (1, expected), xycoords=where, **place)
    _title(ax, f"Loss, and its mean over {window:,} steps" if window > 1 else "Loss")


def _draw_predictions(ax: Axes, log: Log) -> None:
    """Bars of the last steps, not curves over all: those of later layers would hide each other."""
    last = log.train[-_window(log) :]
    deepest = log.start["num_predictions"] - 1
    suffixes = {k: f"_{k}" for k in range(deepest)} | {deepest: ""}
    layers = [k for k in suffixes if f"loss_ce{suffixes[k]}" in last[-1]]
    names = [f"after layer {k}" if k else "raw queries" for k in layers]
    ends = np.zeros(len(layers))
    for term, (label, color) in TERMS.items():
        widths = [_column(last, f"loss_{term}{suffixes[k]}").mean() for k in layers]
        ax.barh(names, widths, left=ends, label=label, color=color, edgecolor=INK, linewidth=0.5)
        ends += widths
    for y, end in enumerate(ends):
        ax.annotate(f"{end:.3g}", (end, y), (3, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * ends.max())
    ax.set_xlabel(f"mean of the last {len(last):,} steps" if len(last) > 1 else "last step")
    ax.spines[["top", "right"]].set_visible(False)
    look = {"frameon": False, "fontsize": 9, "handlelength": 1.2, "columnspacing": 1}
    ax.legend(loc="lower right", bbox_to_anchor=(1.02, 0.98), ncols=len(TERMS), **look)
    _title(ax, "Loss of each prediction")


def _draw_rates(ax: Axes, log: Log) -> None:
    ax.set_axis_off()
    upper, lower = ax.inset_axes([0, 0.5, 1, 0.5]), ax.inset_axes([0, 0, 1, 0.36])
    _log_scale(upper, _column(log.train, "norm"))
    _draw_smoothed(upper, log, "norm")
    upper.set(xlabel="", xticklabels=[])
    clipped = log.start.get("recipe", {}).get("clip_norm")
    note = f", clipped to {clipped:g}," if clipped else ""
    _title(upper, f"Gradient norm{note} and learning rate")
    rates = _column(log.train, "lr")
    lower.set_ylim(0, 1.1 * rates.max() or 1)
    lower.yaxis.set_major_locator(MaxNLocator(3))
    lower.yaxis.set_major_formatter("{x:g}")
    curve = {f"{rates[-1]:.2g}": (_column(log.train, "step"), rates)}
    _draw_over_steps(lower, log, curve, "rate")


def _draw_scores(ax: Axes, log: Log) -> None:
    curves = {}
    for key, points in _scores(log).items():
        steps, values = np.array(points).T
        curves[f"{METRICS.get(key, key)} {values[-1]:.2f}"] = (steps, values)
    ax.set_ylim(0, 1.1 * max(values.max() for _, values in curves.values()) or 1)
    _draw_over_steps(ax, log, curves, "score", most_marked=100)
    pictures = log.evals[-1].get("on")
    title = f"Evaluations on {pictures}" if pictures else "Evaluations"
    _title(ax, textwrap.shorten(title, 46, placeholder=" ..."))


def _draw_wins(ax: Axes, wins: np.ndarray, log: Log) -> None:
    queries, kinds = wins.shape
    shade = np.sqrt(wins / wins.max())  # a single win beside hundreds is still seen
    edges = [np.arange(n + 1) - 0.5 for n in (kinds, queries)]
    look = {"edgecolors": "#DDDDDD", "linewidth": 0.5}
    ax.pcolormesh(*edges, 0.85 * shade, cmap="Greys", vmin=0, vmax=1, **look)
    ax.invert_yaxis()
    x, y, width, height = ax.get_position().bounds
    cell = min(0.9, width * ax.figure.get_figwidth() / kinds)  # inches
    ax.set_position([x, y, cell * kinds / ax.figure.get_figwidth(), height])
    size = min(8, 72 * cell / (0.65 * len(f"{wins.max():.0f}")))
    for query, kind in np.argwhere(wins):
        color = "white" if shade[query, kind] > 0.6 else INK
        look = {"ha": "center", "va": "center_baseline", "fontsize": size, "color": color}
        ax.text(kind, query, f"{wins[query, kind]:.0f}", **look)
    names = [drawable(str(name), k) for k, name in enumerate(log.start["categories"])]
    look = {"rotation": 90, "fontsize": 8, "fontfamily": families(), "parse_math": False}
    ax.set_xticks(range(kinds), names, **look)
    ax.set_yticks(range(queries), range(queries), fontsize=8)
    ax.set_ylabel("query")
    _title(ax, f"Which query won which class how often, at step {_counted(log)['step']:,}")


def _draw_smoothed(ax: Axes, log: Log, key: str) -> None:
    steps, raw = _column(log.train, "step"), _column(log.train, key)
    ax.plot(steps, raw, color=query_color(0), alpha=0.35, linewidth=0.6)
    smooth = _smooth(raw, _window(log))
    _draw_over_steps(ax, log, {f"{smooth[-1]:.3g}": (steps, smooth)}, key)


def _draw_over_steps(ax: Axes, log: Log, curves: dict, ylabel: str, most_marked: int = 20) -> None:
    """Curves over all steps of the run; those of few points mark each: a single one has no line."""
    ax.set_xlim(0, log.train[-1]["step"])
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    draw_curves(ax, curves, "step", ylabel)
    for line in ax.lines:
        if len(line.get_xdata()) <= most_marked:
            line.set(marker="o", markersize=3.5, clip_on=False)


def _log_scale(ax: Axes, values: ArrayLike) -> None:
    values = [value for value in values if 0 < value < np.inf] or [1]
    low, high = min(values), max(values)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(low / 1.15, high * 1.15)
    subs = (1, 2, 5) if high < 200 * low else (1,)
    decades, even = LogLocator(subs=subs), MaxNLocator(4, steps=[1, 2, 5, 10])
    ax.yaxis.set_major_locator(decades if high > 3 * low else even)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=11)


def _window(log: Log) -> int:
    return max(1, len(log.train) // 50)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Each value's mean with the window - 1 before it, of those that are finite."""
    finite, ones, n = np.isfinite(values), np.ones(window), len(values)
    total, count = np.convolve(np.where(finite, values, 0), ones)[:n], np.convolve(finite, ones)[:n]
    return total / np.where(count, count, np.nan)


def _column(lines: list[dict], key: str) -> np.ndarray:
    return np.array([line[key] for line in lines], float)


def _write_heading(fig: Figure, run: Path, log: Log) -> None:
    step, seconds = log.train[-1]["step"], sum(line.get("seconds", 0) for line in log.train)
    width, height = fig.get_size_inches()
    command = log.start.get("command", "")
    command = textwrap.fill(command, int(width * 72 / 5.5), break_on_hyphens=False)
    typed = {"family": "monospace", "fontsize": 9, "parse_math": False}
    fig.text(0, 1 + 0.42 / height, command, va="bottom", **typed)
    heading = f"{run.resolve().name}: step {step:,} after {timedelta(seconds=round(seconds))}"
    lines = command.count("\n") + 1
    fig.text(0, 1 + (0.5 + 0.16 * lines) / height, heading, fontsize=13, va="bottom")
