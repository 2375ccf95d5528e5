"""A training step and an evaluation in several forms of our model, in turn, each in a process of its own.

    python benchmarks/speed/forms.py --preset small --systems salt-64 silicon-64 -o FILE.json

Seconds after a warm-up (a median; of the processor, or with ``--device cuda`` by the clock), peak memory above the
imports and the model (or of the GPU), and their ratios to the first form asked for, whose energies the others must
reproduce.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from chosen import make_folder_of, refuse_not_positive
from measure import measured
from processor import device_name
from structures import SYSTEMS

from janus_md.calculators.source import choose_device
from janus_md.errors import UserError
from janus_md.model.presets import PRESETS

HERE = Path(__file__).resolve().parent
FORMS = {"train": ("naive", "plain", "compiled", "recomputing"), "evaluate": ("naive", "plain")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--preset", choices=PRESETS, default="small", help="size of the model")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["salt-64", "silicon-64"])
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS["train"], default=["naive", "plain", "compiled"]
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of every process")
    parser.add_argument("--repeats", type=int, default=5, help="measured calls of each form")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON of all figures")
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
        refuse_not_positive(options, "threads", "repeats")
        make_folder_of(options.output)
    except UserError as error:
        sys.exit(f"forms.py: {error}")
    rows = []
    print(f"{'system':14}{'work':10}{'form':10}{'s':>9}{'ratio':>7}{'MB':>7}{'ratio':>7}")
    for system in options.systems:
        for kind, forms in FORMS.items():
            base: dict[str, float] = {}
            for form in (name for name in options.forms if name in forms):
                found = measured(
                    sys.executable, HERE / "run_form.py", options.threads,
                    form, kind, options.preset, system, device, options.threads,
                    options.repeats,
                )  # fmt: skip
                base = base or found
                if abs(found["energy"] - base["energy"]) > 1e-4 * found["atoms"]:
                    raise SystemExit(
                        f"{form} disagrees with {options.forms[0]} on {system}: {found} {base}"
                    )
                faster = round(base["seconds"] / found["seconds"], 2)
                smaller = round(base["above_imports_mb"] / max(found["above_imports_mb"], 1), 2)
                rows.append(
                    {
                        "system": system,
                        "work": kind,
                        "form": form,
                        **found,
                        "faster": faster,
                        "smaller": smaller,
                    }
                )
                print(
                    f"{system:14}{kind:10}{form:10}{found['seconds']:>9}{faster:>7}"
                    f"{found['above_imports_mb']:>7}{smaller:>7}",
                    flush=True,
                )
    if options.output:
        result = {
            "preset": options.preset,
            "device": device_name(device),
            "threads": options.threads, "torch": torch.__version__, "rows": rows,
        }  # fmt: skip
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
