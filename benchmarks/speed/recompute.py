"""Memory and time of a training step, plain against recomputing its blocks, in turn, each in a process of its own.

    python benchmarks/speed/recompute.py --preset small --systems salt-216 silicon-1000 -o FILE.json

Peak memory above the imports, processor seconds after a warm-up (a median), and what recomputing changes of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from measure import measured
from structures import SYSTEMS

HERE = Path(__file__).resolve().parent
FORMS = ("plain", "recomputing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=["salt-216", "silicon-1000"]
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows = []
    print(
        f"{'system':14}{'plain MB':>10}{'again MB':>10}{'ratio':>7}{'plain s':>10}{'again s':>10}{'ratio':>7}"
    )
    for system in options.systems:
        plain, again = (
            measured(
                sys.executable, HERE / "run_form.py", options.threads,
                form, "train", options.preset, system, options.threads, options.repeats,
            )
            for form in FORMS
        )  # fmt: skip
        if abs(plain["energy"] - again["energy"]) > 1e-4 * plain["atoms"]:
            raise SystemExit(f"the two disagree on {system}: {plain} {again}")
        row = {
            "system": system,
            "plain": plain,
            "recomputing": again,
            "smaller": round(plain["above_imports_mb"] / again["above_imports_mb"], 2),
            "slower": round(again["cpu_s"] / plain["cpu_s"], 2),
        }
        rows.append(row)
        print(
            f"{system:14}{plain['above_imports_mb']:>10}{again['above_imports_mb']:>10}{row['smaller']:>7}"
            f"{plain['cpu_s']:>10}{again['cpu_s']:>10}{row['slower']:>7}",
            flush=True,
        )
    if options.output:
        result = {"preset": options.preset, "threads": options.threads, "rows": rows}
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
