"""Products of rows with their experts on a GPU: one launch of ours for all, and one of cuBLAS for each.

    python benchmarks/speed/expert_products.py -o FILE.json

Both forms of the three operators of ``janus_md.ops`` in turn, in FP32 (TF32 off): milliseconds by the clock, the best
of three times ten calls, which include Python's time to launch them; rows of 80 elements.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from janus_md.ops import expert_contract, expert_expand, expert_outer, expert_products

LAYERS = {
    "small, messages": (864, 35, 8, 2, 128, 96),
    "small, features": (864, 1, 8, 2, 128, 192),
    "lean with experts, features": (864, 1, 16, 2, 64, 32),
    "moe-s, messages": (216, 35, 32, 4, 768, 2304),
    "moe-s, features": (216, 1, 32, 4, 768, 1728),
    "moe-m, messages": (216, 35, 48, 8, 1536, 1280),
    "moe-l, messages": (216, 35, 72, 16, 2560, 2176),
    "moe-l, features": (216, 1, 72, 16, 2560, 3456),
}
"""Rows, slots of a row, experts, active ones, widths."""
ELEMENTS, TIMES, CALLS = 80, 3, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if not (torch.cuda.is_available() and expert_products.HAS_TRITON):
        sys.exit("expert_products.py: needs a GPU and the package triton")
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{'layer':30}{'operator':10}{'GFLOP':>8}{'each':>9}{'one':>9}{'ratio':>7}")
    rows = [row for name in LAYERS for row in measured(name)]
    if options.output:
        about = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
        options.output.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


def measured(name: str) -> list[dict[str, Any]]:
    """Of each operator: operations, milliseconds with a launch for each expert and with one for all."""
    rows, slots, number, active, inputs, outputs = LAYERS[name]
    torch.manual_seed(0)
    chosen = torch.stack([torch.randperm(number)[:active] for _ in range(ELEMENTS)])
    experts = chosen[torch.randint(0, ELEMENTS, (rows,)).sort().values]
    table = experts.cuda(), torch.bincount(experts.flatten(), minlength=number)
    x = torch.randn(rows, slots, inputs, device="cuda")
    h = torch.randn(rows, active, slots, outputs, device="cuda")
    weights = torch.randn(number, inputs, outputs, device="cuda")
    operators: dict[str, Callable[[], torch.Tensor]] = {
        "expand": lambda: expert_expand(x, weights, *table),
        # As in the backward pass of the other.
        "contract": lambda: expert_contract(h, weights.transpose(1, 2), *table),
        "outer": lambda: expert_outer(x, h, *table),
    }
    found = []
    for operator, call in operators.items():
        each, one = in_form(call, False), in_form(call, True)
        gflop = 2e-9 * rows * slots * active * inputs * outputs
        print(f"{name:30}{operator:10}{gflop:8.3g}{each:9.3f}{one:9.3f}{each / one:7.2f}")
        shape = {"rows": rows, "slots": slots, "experts": number, "active": active}
        found.append(
            {
                "layer": name, "operator": operator, **shape, "in": inputs, "out": outputs,
                "gflop": gflop, "launch_each_ms": each, "one_launch_ms": one,
            }
        )  # fmt: skip
    return found


def in_form(call: Callable[[], torch.Tensor], one_launch: bool) -> float:
    """Milliseconds of a call in one of the forms."""
    rule = expert_products.in_one_launch
    expert_products.in_one_launch = lambda *_: one_launch
    try:
        call()  # kernels are compiled, workspaces taken
        return 1e3 * min(_elapsed(call) for _ in range(TIMES)) / CALLS
    finally:
        expert_products.in_one_launch = rule


def _elapsed(call: Callable[[], torch.Tensor]) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(CALLS):
        call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
