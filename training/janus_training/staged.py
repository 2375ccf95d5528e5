"""Energy and its gradient traced together and compiled, so that a step has one ordinary backward pass.

AOTAutograd refuses to differentiate twice, so the first derivative is made part of the program: ``make_fx`` traces the
model and its gradient with respect to the edge vectors into one graph of plain operators, which is then compiled with
symbolic sizes. One compilation serves every batch: sizes that are special to the compiler (0 and 1, or two that happen
to agree) are kept out of the traced example and padded away at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._inductor.compile_fx import compile_fx, compile_fx_inner
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from janus_md.errors import UserError
from janus_md.graph import GraphBatch
from janus_md.graph.batch import FAR_AWAY
from janus_md.model import MatRISMoE
from janus_md.model.engine import Derivatives, Inputs, PlainDerivatives

SMALLEST = 2
"""Least number of graphs and slots a compiled step is given."""
FEWEST_ATOMS = 32
"""Least number of atoms and rows: with fewer the compiler writes products of single columns in another way."""


class Sizes(NamedTuple):
    """Of a batch in one table; what is compiled is tuned to them but bound to ``width`` alone.

    atoms, graphs; rows of the table; slots of a row; leading slots in the line graph; slots of a narrow row, or None
    where a row is an atom and as wide as the batch wants.
    """

    atoms: int
    graphs: int
    rows: int
    slots: int
    line: int
    width: int | None = None

    @classmethod
    def of(cls, batch: GraphBatch) -> Sizes:
        """Those of a batch in narrow rows or kept together."""
        rows, slots = batch.neighbours[0].shape
        width = slots if len(batch.owners[0]) else None
        return cls(batch.num_atoms, batch.num_graphs, rows, slots, batch.line_counts[0], width)


class StagedDerivatives:
    """``model`` and its gradients as one compiled function; give it to :func:`janus_md.model.predict`.

    Parameters are those of the model itself, so an optimiser step or averaged weights put in their place are seen.
    Making it compiles, for minutes; torch keeps the result in its cache for later runs of the same architecture.
    """

    def __init__(self, model: MatRISMoE, typical: Sizes) -> None:
        """Raises ``UserError`` where there is no C++ compiler."""
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise UserError(
                "train.compile needs a C++ compiler and found none: install g++ or set train.compile=false"
            ) from None
        self._plain = PlainDerivatives(model)
        self._compiled = torch.compile(
            trace(model, typical), backend=_any_size, dynamic=True, fullgraph=True
        )
        self._compiled(*_example(model, typical))

    def __call__(self, inputs: Inputs) -> Derivatives:
        """Energies, features and gradients of a batch in one table, ready for one more derivative.

        A rank's share of the last batch of an epoch may be empty: there is nothing to compile for.
        """
        if not len(inputs.species):
            return self._plain(inputs)
        atoms, (rows, slots) = len(inputs.species), inputs.neighbours[0].shape
        energies, features, gradients = self._compiled(*_arguments(inputs))
        return Derivatives(energies[:atoms], features[:atoms], [gradients[:rows, :slots]])


def _any_size(graph: GraphModule, example: Sequence[Any]) -> Any:
    """Inductor, kept from choosing between code for the example's sizes and code for others.

    Left alone it sums more than 4,096 numbers in another way than fewer, and compiles again on the other side.
    """
    return compile_fx(graph, example, inner_compile=_inner)


def _inner(*arguments: Any, **settings: Any) -> Any:
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        return compile_fx_inner(*arguments, **settings)


def trace(model: MatRISMoE, typical: Sizes) -> GraphModule:
    """The graph of (energies, features, gradient by edge vectors) of a batch in one table, sizes symbolic."""

    def derivatives(
        species: Tensor,
        graph: Tensor,
        neighbours: Tensor,
        owners: Tensor,
        vectors: Tensor,
        line: Tensor,
        task: Tensor,
        charge: Tensor,
        spin: Tensor,
        composition: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if typical.width is not None:
            assert neighbours.shape[1] == typical.width  # a guard that makes the width a constant
        vectors = vectors.detach().requires_grad_()
        rows, features = model(
            species,
            graph,
            [neighbours],
            [owners],
            [vectors],
            [line.shape[0]],
            task,
            charge,
            spin,
            composition,
        )
        (gradient,) = torch.autograd.grad(rows.sum(), vectors, create_graph=True)
        return rows, features, gradient

    traced = make_fx(derivatives, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
        *_example(model, typical)
    )
    # Nodes left by autograd's bookkeeping: differentiating through them would lose parts of parameter gradients.
    for node in list(traced.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    return traced


def _arguments(inputs: Inputs) -> tuple[Tensor, ...]:
    """The inputs as the traced graph takes them, padded to sizes without special cases.

    Padding atoms repeat the last species and see nobody; padding slots hold a neighbour far away; padding graphs have
    no atoms.
    """
    (neighbours,), (owners,), (vectors,) = inputs.neighbours, inputs.owners, inputs.vectors
    line = max(inputs.line_counts[0], SMALLEST)
    atoms, (rows, slots) = len(inputs.species), neighbours.shape
    more_atoms = max(FEWEST_ATOMS - atoms, 0)
    more_rows = max(FEWEST_ATOMS - rows, 0)
    more_slots = 0 if len(owners) else max(line + SMALLEST - slots, 0)
    more_graphs = max(SMALLEST - len(inputs.task), 0)
    neighbours = F.pad(neighbours, (0, more_slots, 0, more_rows))
    vectors = F.pad(vectors.detach(), (0, 0, 0, more_slots, 0, more_rows), value=FAR_AWAY)

    def repeat_last(values: Tensor, times: int) -> Tensor:
        return torch.cat([values, values[-1:].expand(times, *values.shape[1:])])

    return (
        repeat_last(inputs.species, more_atoms),
        repeat_last(inputs.graph, more_atoms),
        neighbours,
        repeat_last(owners, more_rows) if len(owners) else owners,
        vectors,
        vectors.new_empty(line),
        *(
            repeat_last(values, more_graphs)
            for values in (inputs.task, inputs.charge, inputs.spin, inputs.composition)
        ),
    )


def _example(model: MatRISMoE, typical: Sizes) -> tuple[Any, ...]:
    """A batch of random edges of about typical sizes, all different, so that none are taken to be equal."""
    device = next(model.parameters()).device
    line = max(typical.line, SMALLEST + 1)
    slots = typical.width or max(typical.slots, line + 2)
    taken = {line, slots}

    def fresh(size: int) -> int:
        while size in taken:
            size += 1
        taken.add(size)
        return size

    graphs = fresh(typical.graphs + SMALLEST)
    atoms = fresh(max(typical.atoms, FEWEST_ATOMS + 1))
    rows = fresh(max(typical.rows, atoms + 1)) if typical.width else atoms
    owners = torch.arange(rows).clamp(max=atoms - 1)
    random = torch.Generator().manual_seed(0)
    vectors = torch.randn(rows, slots, 3, generator=random, dtype=torch.float64)
    vectors = 2.0 * vectors / vectors.norm(dim=-1, keepdim=True)
    per_graph = torch.zeros(graphs, dtype=torch.float64)
    example = (
        torch.zeros(atoms, dtype=torch.int64),
        torch.zeros(atoms, dtype=torch.int64),
        torch.zeros(rows, slots, dtype=torch.int64),
        owners if typical.width else owners[:0],
        vectors,
        vectors.new_empty(line),
        torch.zeros(graphs, dtype=torch.int64),
        per_graph,
        per_graph.clone(),
        torch.zeros(graphs, model.num_elements, dtype=torch.float64),
    )
    return tuple(value.to(device) for value in example)
