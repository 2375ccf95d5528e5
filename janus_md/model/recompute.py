"""Energies and gradients that compute blocks again, as many as memory asks for."""

from __future__ import annotations

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import functional_call

from janus_md.model.engine import Derivatives, Inputs
from janus_md.model.matris import MatRISMoE, own_atoms
from janus_md.ops.recomputed import Function, Kept, Recomputing


class RecomputingDerivatives:
    """An engine that runs one bucket of one block at a time, and again for each derivative.

    The last blocks' buckets are kept instead, as many as ``kept`` bytes of what an evaluation keeps allow beside the
    edges that each block starts from: last, as a backward pass lets go of them first. What is made of the edge vectors
    before the blocks is always made again. Where nothing is kept, an evaluation takes about half as long again, a
    training step up to twice the time. Works for exported models too, whose parameters get no gradients.
    """

    def __init__(self, model: MatRISMoE | torch.jit.ScriptModule, kept: float = 0.0) -> None:
        self._model = model
        self._kept = kept

    def __call__(self, inputs: Inputs) -> Derivatives:
        model, training = self._model, torch.is_grad_enabled()
        with torch.enable_grad():
            atoms = model.embedding(
                inputs.species,
                inputs.graph,
                inputs.task,
                inputs.charge,
                inputs.spin,
                inputs.composition,
            )
        firsts = _firsts(inputs.neighbours)
        geometry = [_Geometry(model, inputs, *place) for place in enumerate(firsts)]
        atoms, taken = self._forwards(atoms, geometry, firsts)
        with torch.enable_grad():
            rows = model.finish(atoms.requires_grad_(), inputs.species, inputs.graph, inputs.task)
            (back,) = torch.autograd.grad(rows.sum(), atoms, create_graph=training)
        by_edges, by_context = _backwards(taken, back)
        gradients = [
            bucket.backward(by_edges[place], by_context[place])
            for place, bucket in enumerate(geometry)
        ]
        return Derivatives(rows, atoms, gradients)

    def _forwards(
        self, atoms: Tensor, geometry: list[_Geometry], firsts: list[int]
    ) -> tuple[Tensor, list[list[_Step]]]:
        """First features of all atoms [N_all, C] → the final ones [N, C], and the steps of each block on the way."""
        edges, context = map(list, zip(*(bucket.forward() for bucket in geometry), strict=True))
        taken: list[list[_Step]] = []
        for index, keep in enumerate(self._keep(edges)):
            steps = [
                _Step(self._model, index, first, [atoms, features, *shared], kept)
                for first, features, shared, kept in zip(firsts, edges, context, keep, strict=True)
            ]
            updated, edges = map(list, zip(*(step.forward() for step in steps), strict=True))
            atoms = torch.cat(updated)
            taken.append(steps)
        return atoms, taken

    def _keep(self, edges: list[Tensor]) -> list[list[bool]]:
        """Of each block, which buckets to keep."""
        blocks = self._model.num_blocks
        sizes = [activations(self._model, x.shape[0] * x.shape[1]) / blocks for x in edges]
        # Buckets of the last block first, in the order in which the backward pass comes to them.
        started = blocks * sum(x.nbytes for x in edges)
        spent = accumulate(size for _ in range(blocks) for size in sizes)
        keep = [[started + next(spent) <= self._kept for _ in sizes] for _ in range(blocks)]
        return keep[::-1]


def activations(model: MatRISMoE | torch.jit.ScriptModule, slots: int) -> int:
    """Bytes that a backward pass through all blocks would keep of so many edges, padding included."""
    size = next(iter(model.parameters())).element_size()
    return size * model.floats_per_edge * slots


class _Geometry:
    """Edge vectors of one bucket → its edges' features and the blocks' context, which are made again for gradients."""

    def __init__(
        self, model: MatRISMoE | torch.jit.ScriptModule, inputs: Inputs, bucket: int, first: int
    ) -> None:
        table, owners = inputs.neighbours[bucket], inputs.owners[bucket]
        function, parameters = _geometry_of(model, inputs.line_counts[bucket])
        centres = own_atoms(inputs.species, first, table, [table, owners])
        tensors = [inputs.vectors[bucket], table, owners, centres, inputs.species[table]]
        wanted = True, *[False] * (len(tensors) + len(parameters) - 1)
        self._taken = Recomputing(function, wanted, [*tensors, *parameters])

    def forward(self) -> tuple[Tensor, list[Tensor]]:
        """Edges [n, K, D] and the context."""
        edges, *context = (tensor for tensor in self._taken.forward() if tensor is not None)
        return edges, context

    def backward(self, edges: Tensor | None, context: list[Tensor | None]) -> Tensor:
        """Gradients of the results → of the vectors, [n, K, 3]."""
        by_vectors = self._taken.pull_back((edges, *context))[0]
        assert by_vectors is not None
        return by_vectors


class _Step:
    """One bucket of one block."""

    def __init__(
        self,
        model: MatRISMoE | torch.jit.ScriptModule,
        index: int,
        first: int,
        tensors: list[Tensor],
        kept: bool,
    ) -> None:
        """tensors: features of all atoms [N, C], the bucket's edges [n, K, D], and its context.

        kept: keep what the derivative needs instead of computing it again.
        """
        function, parameters = _function_of(model, index, first)
        # The first atoms' features do not depend on the geometry; parameters have no part in forces.
        wanted = [tensor.is_floating_point() for tensor in tensors] + [False] * len(parameters)
        wanted[0] = index > 0
        kind = Kept if kept else Recomputing
        self._taken = kind(function, tuple(wanted), [*tensors, *parameters])
        self._tensors = len(tensors)
        self.atoms = 0
        """Of the bucket, known once it has run."""

    def forward(self) -> tuple[Tensor, Tensor]:
        """New atoms [n, C] and edges [n, K, D]."""
        atoms, edges = self._taken.forward()
        assert atoms is not None and edges is not None
        self.atoms = len(atoms)
        return atoms, edges

    def backward(self, atoms: Tensor, edges: Tensor | None) -> list[Tensor | None]:
        """Gradients of the results → of the tensors; None for zero."""
        return self._taken.pull_back((atoms, edges))[: self._tensors]


def _backwards(
    taken: list[list[_Step]], atoms: Tensor | None
) -> tuple[list[Tensor | None], list[list[Tensor | None]]]:
    """Gradient of the final features → of each bucket's first edges and of the buckets' contexts.

    Takes the steps off the lists, so that an evaluation lets go of a bucket's features once they are done with, and
    its gradients take their place.
    """
    edges: list[Tensor | None] = [None] * len(taken[0])
    context: list[list[Tensor | None]] = [[] for _ in edges]
    while taken:
        steps = taken.pop()
        assert atoms is not None
        sizes = [step.atoms for step in steps]
        given = atoms.split(sizes)
        atoms = None
        for place, gradient in enumerate(given):
            own, edges[place], *shared = steps.pop(0).backward(gradient, edges[place])
            atoms = plus(atoms, own) if torch.is_grad_enabled() else _added(atoms, own)
            sums = context[place] or [None] * len(shared)
            context[place] = [plus(a, b) for a, b in zip(sums, shared, strict=True)]
    return edges, context


def _added(total: Tensor | None, own: Tensor | None) -> Tensor | None:
    """The same as :func:`plus`, in the memory of ``total``: a new sum of all atoms for each bucket leaves gaps."""
    if total is None or own is None:
        return own if total is None else total
    return total.add_(own)


def _geometry_of(
    model: MatRISMoE | torch.jit.ScriptModule, line_count: int
) -> tuple[Function, list[Tensor]]:
    """Geometry as a function of vectors, neighbours, owners and species, and of these parameters, which come last."""
    dtype = next(iter(model.parameters())).dtype
    if isinstance(model, torch.jit.ScriptModule):
        return partial(_exported_geometry, model.geometry, dtype, line_count), []
    parameters = dict(model.geometry.named_parameters())
    function = partial(_geometry, model.geometry, dtype, line_count, list(parameters))
    return function, list(parameters.values())


def _exported_geometry(
    geometry: torch.jit.ScriptModule, dtype: torch.dtype, line_count: int, *tensors: Tensor
) -> list[Tensor]:
    vectors, *tables = tensors
    edges, context = geometry(vectors.to(dtype), *tables, line_count)
    return [edges, *context]


def _geometry(
    geometry: nn.Module, dtype: torch.dtype, line_count: int, names: list[str], *tensors: Tensor
) -> list[Tensor]:
    """Edge features and context of a bucket, with the parameters given."""
    kept = len(tensors) - len(names)
    vectors, *tables = tensors[:kept]
    parameters = dict(zip(names, tensors[kept:], strict=True))
    given = vectors.to(dtype), *tables, line_count
    edges, context = functional_call(geometry, parameters, given)
    return [edges, *context]


def _function_of(
    model: MatRISMoE | torch.jit.ScriptModule, index: int, first: int
) -> tuple[Function, list[Tensor]]:
    """A block on one bucket as a function of features and context, and of these parameters, which come last."""
    if isinstance(model, torch.jit.ScriptModule):
        return partial(_exported_bucket, model, index, first), []
    block = model.blocks[index]
    parameters = dict(block.named_parameters())
    return partial(_bucket, block, first, list(parameters)), list(parameters.values())


def _exported_bucket(
    model: torch.jit.ScriptModule, index: int, first: int, *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    atoms, edges, *context = tensors
    return model.bucket(index, first, atoms, edges, context)


def _bucket(
    block: nn.Module, first: int, names: list[str], *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """:meth:`MatRISMoE.bucket`, with the block's parameters given."""
    kept = len(tensors) - len(names)
    atoms, edges, *context = tensors[:kept]
    own = own_atoms(atoms, first, edges, context)
    parameters = dict(zip(names, tensors[kept:], strict=True))
    return functional_call(block, parameters, (own, atoms, edges, context))


def _firsts(edges: list[Tensor]) -> list[int]:
    """Row at which each bucket begins."""
    return [0, *accumulate(len(features) for features in edges[:-1])]


def plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Sum of gradients of which None is zero."""
    if a is None or b is None:
        return b if a is None else a
    return a + b
