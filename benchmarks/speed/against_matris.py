"""Evaluate 216 atoms of rattled rock salt with ``10m`` and with MatRIS 0.9, in turn, each in a process of its own.

    python -m venv PEER && PEER/bin/pip install torch matris
    python benchmarks/speed/against_matris.py --peer-python PEER/bin/python

Prints a table and writes JSON with ``-o``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from measure import measured

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="interpreter of MatRIS's environment")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    peer, threads = options.peer_python, options.threads
    ours = measured(sys.executable, HERE / "run_janus.py", threads, threads, 3)
    peers = {
        "matris": measured(peer, HERE / "run_matris.py", threads, threads, 1),
        "matris-recompute": measured(
            peer, HERE / "run_matris.py", threads, threads, 1, "recompute"
        ),
    }
    ratios = {
        name: {key: round(peer[key] / ours[key], 2) for key in ours} for name, peer in peers.items()
    }
    print(f"{'':18}{'10m':>10}{'matris':>10}{'ratio':>8}{'recompute':>11}{'ratio':>8}")
    for key in ours:
        columns = [
            f"{peers[n][key]:>{w}}{ratios[n][key]:>8}"
            for n, w in (("matris", 10), ("matris-recompute", 11))
        ]
        print(f"{key:18}{ours[key]:>10}{''.join(columns)}")
    if options.output:
        result = {
            "system": "NaCl, 216 atoms, rattled 0.1 Å",
            "threads": options.threads,
            "machine": platform.machine(),
            "janus_10m": ours,
            **peers,
            "ratios": ratios,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
