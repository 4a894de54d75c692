"""What was measured, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

from ..plots import INK, figure, save

LIGHT, DARK = "#9DB8CC", "#1D4E79"


def table(results: dict) -> str:
    """The measurements as Markdown: ratios first, for times differ from machine to machine."""
    lines = [
        f"{results['machine']}, {results['threads']} threads, torch {results['torch']}, "
        f"transformers {results['transformers']}; {results['rounds']} rounds",
        "",
        "| | theirs | ours | times faster | range |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["time"].items():
        low, high = row["range"]
        lines.append(
            f"| {name} | {row['theirs']:.3g} s | {row['ours']:.3g} s | **{row['ratio']:.2f}** "
            f"| {low:.2f} to {high:.2f} |"
        )
    if results["memory"]:
        lines += ["", "| peak memory | theirs | ours | share |", "|---|---|---|---|"]
    for name, row in results["memory"].items():
        lines.append(
            f"| {name} | {row['theirs']:.0f} MB | {row['ours']:.0f} MB | **{row['ratio']:.2f}** |"
        )
    for name, sides in results["stages"].items():
        lines += ["", f"| {name}: training step by stage | theirs | ours |", "|---|---|---|"]
        lines += [
            f"| {stage} | {sides['theirs'][stage]:.3f} s | {sides['ours'][stage]:.3f} s |"
            for stage in sides["ours"]
        ]
    for name, rows in results["growth"].items():
        lines += ["", f"| {name} | theirs | ours | times faster |", "|---|---|---|---|"]
        lines += [
            f"| {n} | {row['theirs']:.3g} s | {row['ours']:.3g} s | {row['ratio']:.2f} |"
            for n, row in rows.items()
        ]
    if results["variants"]:
        lines += ["", "| ours, other ways | seconds | times faster | outputs differ by |"]
        lines.append("|---|---|---|---|")
    for name, row in results["variants"].items():
        lines.append(
            f"| {name} | {row['seconds']:.3g} | {row['ratio']:.2f} | {row['difference']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def picture(results: dict, path: str | Path) -> Path:
    """Bars of how many times faster each thing is, with its range, and of memory."""
    rows = list(results["time"].items())
    fig, axes = figure(1, 2, size=4.4, aspect=0.1 * len(rows) + 0.12, gap=1.9)
    left, right = axes[0]
    for y, (_, row) in enumerate(rows):
        left.barh(y, row["ratio"], color=DARK, height=0.6)
        left.plot(row["range"], [y, y], color=INK, linewidth=1)
        left.text(row["range"][1] + 0.05, y, f"{row['ratio']:.2f}", va="center", fontsize=9)
    left.set_yticks(range(len(rows)), [name for name, _ in rows])
    left.axvline(1, color=INK, linestyle=(0, (3, 2)), linewidth=1)
    left.set_title("times faster than Transformers (line: range)", fontsize=10, loc="left")
    for y, (_, row) in enumerate(results["memory"].items()):
        right.barh(y - 0.2, row["theirs"], color=LIGHT, height=0.36, label="theirs")
        right.barh(y + 0.2, row["ours"], color=DARK, height=0.36, label="ours")
        right.text(row["ours"], y + 0.2, f" {row['ratio']:.2f}", va="center", fontsize=9)
    right.set_yticks(range(len(results["memory"])), list(results["memory"]))
    right.set_title("peak memory above the model's own, in MB", fontsize=10, loc="left")
    right.legend(*[handles[:2] for handles in right.get_legend_handles_labels()], frameon=False)
    for ax in (left, right):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
    return save(fig, path)
