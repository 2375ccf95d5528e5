"""The page itself: plain HTML with the figures inside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_md.model import MatRISMoE
from janus_md.run_folder import BEST, LAST, checkpoints_of
from janus_training.evaluate import Result, by_task, errors_of
from janus_training.metrics import read_metrics
from janus_training.progress import read_progress
from janus_training.report.sharing import Sharing, expert_sharing, group_agreement
from janus_training.score import COLUMNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    "body{font-family:sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3em .6em;text-align:right}"
    "img{max-width:100%}pre{background:#f4f4f4;padding:1em;overflow:auto}"
)
HEADINGS = {
    "task": "task", "frames": "frames",
    "energy_mae": "energy MAE<br>meV/atom", "energy_rmse": "energy RMSE<br>meV/atom",
    "force_mae": "force MAE<br>meV/Å", "force_rmse": "force RMSE<br>meV/Å",
    "stress_mae": "stress MAE<br>meV/Å³", "stress_rmse": "stress RMSE<br>meV/Å³",
    "magmom_mae": "magnetic moment MAE<br>mμ<sub>B</sub>", "magmom_rmse": "magnetic moment RMSE<br>mμ<sub>B</sub>",
}  # fmt: skip


def write_report(run: Path, model: MatRISMoE, results: Sequence[Result]) -> Path:
    """``RUN/report.html`` from the run's metrics and the predictions of its last checkpoint for its validation frames.

    Where its best checkpoint is another one, the page has the errors of that one, too. Without validation frames the
    errors are left out and the page says so.
    """
    from janus_training.report import figures

    rows = read_metrics(run)
    parts = [f"<h1>{html.escape(run.name)}</h1>", _facts(model, rows[-1]["step"] if rows else 0)]
    if results:
        parts += [
            "<h2>Errors on the validation frames</h2>",
            _table(_errors(results)),
            _whose(run, rows),
        ]
    else:
        parts.append("<p>The run had no validation frames, so there are no errors to show.</p>")
    if any(row["kind"] == "train" for row in rows):
        parts += ["<h2>Learning curves</h2>", _image(figures.learning_curves(rows))]
    for task, members in by_task(results).items():
        figure = figures.parity(task, members)
        if figure is not None:
            parts += [f"<h2>Parity: {html.escape(task)}</h2>", _image(figure)]
    by_element = figures.errors_by_element(results)
    if by_element is not None:
        parts += ["<h2>Errors by element</h2>", _image(by_element)]
    sharing = expert_sharing(model)
    if sharing is not None:
        parts += ["<h2>Shared experts</h2>", _image(figures.sharing_map(sharing)), _groups(sharing)]
    config = (run / "config.yaml").read_text()
    parts += ["<h2>Configuration</h2>", f"<pre>{html.escape(config)}</pre>"]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(run.name)}'
        f"</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    scratch = run / ".report.part"
    scratch.write_text(page, encoding="utf-8")
    return scratch.replace(run / "report.html")


def _facts(model: MatRISMoE, step: int) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    config = model.config
    return (
        f"<p>{parameters:,} parameters, {config.blocks} blocks, cutoff {config.cutoff} Å, "
        f"{len(config.elements)} elements, tasks {html.escape(', '.join(config.tasks))}; "
        f"{step:,} steps.</p>"
    )


def _whose(run: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Which weights the page is about; errors of those that eval and export take, where these are others."""
    last, best = (read_progress(checkpoints_of(run) / link).step for link in (LAST, BEST))
    whose = f"Errors and plots on this page are of the averaged weights of step {last:,}, <code>checkpoints/last</code>"
    if best == last:
        return f"<p>{whose} and <code>checkpoints/best</code> in one.</p>"
    errors = [
        {"task": row["task"]}
        | {column: _thousandfold(row.get(name)) for name, column in COLUMNS.items()}
        for row in rows
        if row["kind"] == "valid" and row["step"] == best
    ]
    return (
        f"<p>{whose}. <code>eval</code> and <code>export</code> take those of step {best:,}, "
        "<code>checkpoints/best</code>, whose errors on the same frames have the least weighed sum:</p>"
        f"{_table(errors)}"
    )


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else 1000.0 * value


def _groups(sharing: Sharing) -> str:
    found = group_agreement(sharing)
    if found is None:
        return ""
    return (
        f"<p>An element shares {found.same:.3f} of its experts with the others of its group of the periodic table; "
        f"with groups dealt out at random it would be {found.random:.3f} ± {found.spread:.3f}.</p>"
    )


def _errors(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [dict(errors_of("valid", task, found)) for task, found in by_task(results).items()]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """A row a task, without what none of them has a label for."""
    names = [name for name in HEADINGS if any(row.get(name) is not None for row in rows)]
    head = "".join(f"<th>{HEADINGS[name]}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    text = "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
    return f"<td>{html.escape(text)}</td>"


def _image(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<p><img alt="" src="data:image/png;base64,{data}"></p>'
