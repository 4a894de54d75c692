"""What was measured, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

from ..plots import INK, figure, save

LIGHT, DARK = "#9DB8CC", "#1D4E79"

ABOUT = """\
# Time and memory beside Transformers

{machine}, {threads} threads, torch {torch}, transformers {transformers}; {rounds} pairs in each of
three processes, in the growth tables one. A forward pass has one picture, a training step two with
10 objects each, unless said. Times faster: the median of the ratios within pairs, so it is not
quite the ratio of the median times; and the middle half of the ratios (bench.json has them all)."""


def table(results: dict) -> str:
    """The measurements as Markdown: ratios first, for times differ from machine to machine."""
    tables = [ABOUT.format(**results)]
    sides = ["theirs", "ours", "times faster", "middle half"]
    tables.append(
        _table(["", *sides], {name: _sides(row) for name, row in results["time"].items()})
    )
    memory = {
        name: [f"{row['theirs']:.0f} MB", f"{row['ours']:.0f} MB", f"**{row['ratio']:.2f}**"]
        for name, row in results["memory"].items()
    }
    tables.append(_table(["peak memory", "theirs", "ours", "share"], memory))
    for name, found in results["stages"].items():
        rows = {s: [f"{found[side][s]:.3f} s" for side in sides[:2]] for s in found["ours"]}
        tables.append(_table([f"{name}: training step 384 by stage", *sides[:2]], rows))
    for name, found in results["growth"].items():
        tables.append(_table([name, *sides], {n: _sides(row) for n, row in found.items()}))
    ways = {
        name: [*_sides(row), f"{row['difference']:.1e}"]
        for name, row in results["variants"].items()
    }
    header = ["ours, other ways", "plain", "this way", *sides[2:], "outputs differ by"]
    tables.append(_table(header, ways))
    return "\n\n".join(filter(None, tables)) + "\n"


def _sides(row: dict) -> list[str]:
    low, high = row["range"]
    times = [f"{row[side]:.3g} s" for side in ("theirs", "ours")]
    return [*times, f"**{row['ratio']:.2f}**", f"{low:.2f} to {high:.2f}"]


def _table(header: list[str], rows: dict[object, list[str]]) -> str:
    """A Markdown table with the keys of `rows` in its first column; nothing without rows."""
    lines = [header, ["---"] * len(header), *([str(key), *row] for key, row in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if rows else ""


def picture(results: dict, path: str | Path) -> Path:
    """Bars of how many times faster each thing is, with its range, and of memory."""
    rows = list(results["time"].items())
    fig, axes = figure(1, 2, size=4.4, aspect=0.1 * len(rows) + 0.12, gap=1.9)
    left, right = axes[0]
    for y, (_, row) in enumerate(rows):
        left.barh(y, row["ratio"], color=LIGHT, height=0.6)
        left.plot(row["range"], [y, y], color=INK, linewidth=1.5, marker="|")
        left.text(row["range"][1] + 0.05, y, f"{row['ratio']:.2f}", va="center", fontsize=9)
    left.set_yticks(range(len(rows)), [name for name, _ in rows])
    left.axvline(1, color=INK, linestyle=(0, (3, 2)), linewidth=1)
    left.set_title("times faster than Transformers (line: middle half)", fontsize=10, loc="left")
    for y, (_, row) in enumerate(results["memory"].items()):
        right.barh(y - 0.2, row["theirs"], color=LIGHT, height=0.36, label="theirs")
        right.barh(y + 0.2, row["ours"], color=DARK, height=0.36, label="ours")
        right.text(row["ours"], y + 0.2, f" {row['ratio']:.2f} of theirs", va="center", fontsize=9)
    right.set_yticks(range(len(results["memory"])), list(results["memory"]))
    right.set_title("peak memory above the model's own, in MB", fontsize=10, loc="left")
    right.legend(*[handles[:2] for handles in right.get_legend_handles_labels()], frameon=False)
    for ax in (left, right):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
    return save(fig, path)
