"""Draws the two pictures of janus.md: ``python docs/draw_janus.py``."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

HERE = Path(__file__).parent
COLOURS = {"energy": "#7aa6c2", "forces": "#e0a458", "bf": "#b5838d", "be": "#6d9f71"}


def main() -> None:
    phases(HERE / "janus_phases.png")
    shardings(HERE / "janus_shardings.png")


def phases(file: Path) -> None:
    """Blocks against time: in which order the four phases visit them, and what is restored meanwhile."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    names = {
        "energy": "energies", "forces": "forces", "bf": "backward of the forces", "be": "backward of the energies",
    }  # fmt: skip
    lengths = {"energy": 1.0, "forces": 1.6, "bf": 2.2, "be": 1.9}
    time = 0.0
    for phase, length in lengths.items():
        order = range(4) if phase in ("energy", "bf") else reversed(range(4))
        begin = time
        for block in order:
            axes.add_patch(Rectangle((time, block + 0.1), length, 0.8, color=COLOURS[phase], lw=0))
            # The gather of a block's weights is under way while the block before it computes.
            axes.add_patch(
                Rectangle(
                    (time - 0.8 * length, block + 0.3),
                    0.8 * length,
                    0.12,
                    color="0.35",
                    lw=0,
                    alpha=0.8,
                )
            )
            time += length
        axes.text((begin + time) / 2, 4.25, names[phase], ha="center", color=COLOURS[phase])
        axes.axvline(time, color="0.8", lw=0.8)
    axes.set_xlim(-1.0, time)
    axes.set_ylim(0, 4.7)
    axes.set_yticks([0.5, 1.5, 2.5, 3.5], [f"block {n}" for n in range(4)])
    axes.set_xlabel("time (grey: weights of a block on their way while another block computes)")
    axes.set_xticks([])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, dpi=130)


def shardings(file: Path) -> None:
    """What each of three ranks of a unit holds, and what passes between them."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    parameters, graphs, experts = figure.subplots(1, 3)
    ranks = ("#7aa6c2", "#e0a458", "#6d9f71")
    _frame(parameters, "parameters: each matrix lives on one rank")
    widths = [(0, 0.9), (1, 0.5), (2, 0.7), (0, 0.3), (1, 0.6), (2, 0.5)]
    for row, (rank, width) in enumerate(widths):
        parameters.add_patch(
            Rectangle((0.05, 2.5 - 0.42 * row), width, 0.34, color=ranks[rank], lw=0)
        )
        parameters.add_patch(
            Rectangle((1.6, 2.5 - 0.42 * row), width, 0.34, fc=ranks[rank], ec="0.2", lw=0.8)
        )
    _arrow(parameters, (1.0, 1.9), (1.55, 1.9), "restore")
    _arrow(parameters, (1.55, 1.1), (1.0, 1.1), "gradients")
    parameters.text(2.05, 0.02, "whole, for one block", ha="center", fontsize=8)
    _frame(graphs, "graphs: an atom, its edges and angles on one rank")
    for x in range(9):
        for y in range(5):
            rank = x // 3
            graphs.plot(0.25 + 0.31 * x, 0.6 + 0.45 * y, "o", color=ranks[rank], ms=7)
            if x in (3, 6):
                graphs.plot(0.25 + 0.31 * x - 0.155, 0.6 + 0.45 * y, ">", color="0.4", ms=4)
    for x in (1.0, 1.95):
        graphs.axvline(x + 0.02, 0.12, 0.93, color="0.5", ls="--", lw=0.9)
    graphs.text(
        1.5, 0.05, "features of atoms next to a border, once a block", ha="center", fontsize=8
    )
    _frame(experts, "experts: only those that a rank's elements need move")
    for expert in range(9):
        rank = expert // 3
        experts.add_patch(
            FancyBboxPatch(
                (0.15 + 0.31 * expert, 2.2),
                0.2,
                0.4,
                boxstyle="round,pad=0.02",
                color=ranks[rank],
                lw=0,
            )
        )
    needs = {0: (0, 4, 5), 1: (3, 4), 2: (6, 1)}
    for rank, needed in needs.items():
        for place, expert in enumerate(needed):
            x = 0.3 + 0.98 * rank + 0.29 * place
            experts.add_patch(
                FancyBboxPatch(
                    (x, 0.6),
                    0.2,
                    0.4,
                    boxstyle="round,pad=0.02",
                    fc=ranks[expert // 3],
                    ec="0.2",
                    lw=0.8,
                )
            )
            if expert // 3 != rank:
                experts.add_patch(
                    FancyArrowPatch(
                        (0.25 + 0.31 * expert, 2.15),
                        (x + 0.1, 1.08),
                        arrowstyle="->",
                        mutation_scale=9,
                        color="0.4",
                    )
                )
        label = ("Si O", "Na Cl", "Fe O")[rank]
        experts.text(0.65 + 0.98 * rank, 0.2, f"rank {rank}: {label}", ha="center", fontsize=8)
    figure.savefig(file, dpi=130)


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9.5)
    axes.set_xlim(0, 3)
    axes.set_ylim(0, 3)
    axes.axis("off")


def _arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float], text: str) -> None:
    axes.add_patch(FancyArrowPatch(begin, end, arrowstyle="->", mutation_scale=12, color="0.2"))
    axes.text((begin[0] + end[0]) / 2, begin[1] + 0.1, text, ha="center", fontsize=8)


if __name__ == "__main__":
    main()
