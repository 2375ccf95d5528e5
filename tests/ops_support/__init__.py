"""Triton kernels compiled to machine code by the compiler that Triton brings, for which no GPU has to be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def compiled(
    kernel: Any, constants: dict[str, Any], warps: int, types: dict[str, str] | None = None
) -> dict[str, Any]:
    """What Triton made of a kernel, by name, for the compute capability that is the process's argument.

    Pointers are those to single precision, and numbers 32 bits, where ``types`` says nothing else. Only in a process
    without Triton's interpreter, like those of :func:`lines_of`.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    chosen = {name: value for name, value in constants.items() if name in names}
    plain = {name: "*fp32" if name.endswith("_ptr") else "i32" for name in names}
    source = ASTSource(
        kernel,
        plain | (types or {}) | dict.fromkeys(chosen, "constexpr"),
        constexprs={(names.index(name),): value for name, value in chosen.items()},
        attrs={},
    )
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    return triton.compile(source, target=target, options={"num_warps": warps}).asm


def lines_of(script: str, architecture: int) -> list[str]:
    """What a script prints that compiles kernels for this compute capability; it must end well."""
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {tests!r})\n{script}",
            str(architecture),
        ],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
