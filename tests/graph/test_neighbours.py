"""Neighbour lists against ASE's, line graphs, batches."""

from __future__ import annotations

import time
from itertools import product

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_md.errors import UserError
from janus_md.graph import batch_graphs, build_graph, neighbour_pairs
from janus_md.graph.neighbours import SMALLEST_DISTANCE
from janus_md.graph.tables import (
    ROW_COST,
    FewTables,
    Layout,
    NarrowRows,
    keep_together,
    split_by_width,
    suited_to,
)


@st.composite
def structures(draw) -> ase.Atoms:
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 8))
    cell = np.eye(3) * rng.uniform(2.5, 6.0, 3) + rng.uniform(-0.8, 0.8, (3, 3))
    if draw(st.booleans()):
        cell = cell[[1, 0, 2]]
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    positions = rng.uniform(-1.5, 1.5, (size, 3)) @ cell
    return ase.Atoms(rng.choice([8, 11, 14], size), positions, cell=cell, pbc=pbc)


@settings(max_examples=60, deadline=None)
@given(atoms=structures())
def test_edges_agree_with_ase(atoms: ase.Atoms) -> None:
    i, j, vectors = primitive_neighbor_list(
        "ijD", atoms.pbc, atoms.cell.array, atoms.positions, 5.0
    )
    if len(vectors) and np.linalg.norm(vectors, axis=1).min() < SMALLEST_DISTANCE:
        return
    graph = build_graph(atoms, 5.0, 3.0)

    def rows(centres, neighbours, vectors):
        table = np.column_stack([centres, neighbours, vectors.round(6) + 0.0])
        return table[np.lexsort(table.T)]

    np.testing.assert_allclose(
        rows(graph.centres, graph.neighbours, graph.vectors), rows(i, j, vectors), atol=1e-5
    )
    lengths = np.linalg.norm(graph.vectors, axis=1)
    for atom in range(len(atoms)):
        mine = lengths[graph.offsets[atom] : graph.offsets[atom + 1]]
        assert (np.diff(mine) >= 0).all()
        assert (mine[: graph.num_line[atom]] < 3.0).all()
        assert (mine[graph.num_line[atom] :] >= 3.0).all()


def all_pairs(atoms: ase.Atoms, cutoff: float) -> np.ndarray:
    """Of every atom with every image up to four cells away: centre, neighbour, vector."""
    found = []
    for shift in product(*(range(-4, 5) if periodic else (0,) for periodic in atoms.pbc)):
        vectors = atoms.positions[None] - atoms.positions[:, None] + shift @ atoms.cell.array
        lengths = np.linalg.norm(vectors, axis=-1)
        for i, j in np.argwhere((lengths < cutoff) & (lengths > 0)):
            found.append([i, j, *vectors[i, j]])
    return np.array(found).reshape(-1, 5)


@pytest.mark.parametrize("far", [7.0, 300.0, 1e6])
@pytest.mark.parametrize("pbc", list(np.ndindex(2, 2, 2))[:-1], ids=str)
def test_atoms_far_away_change_no_other_edges(pbc: tuple[int, ...], far: float) -> None:
    """A lost atom 1e6 Å away ended the process; the cell is oblique."""
    rng = np.random.default_rng(4)
    cell = np.array([[4.0, 0.4, -0.7], [1.1, 3.7, 0.2], [-0.6, 0.9, 4.3]])
    positions = rng.uniform(0, 1, (9, 3)) @ cell
    across = np.linalg.svd(np.where(np.array(pbc)[:, None], cell, 0.0))[2][sum(pbc) :]
    for group, direction in enumerate([*across, -across[0], across[0] + across[-1]]):
        positions[2 * group : 2 * group + 2] += (1 + group) * far * direction
    atoms = ase.Atoms("Si9", positions, cell=cell, pbc=pbc)
    pairs = neighbour_pairs(atoms.positions, cell, atoms.pbc, 5.0)
    np.testing.assert_array_equal(
        pairs[3], positions[pairs[1]] - positions[pairs[0]] + pairs[2] @ cell
    )
    found = np.column_stack([pairs[0], pairs[1], pairs[3]]).round(5) + 0.0
    expected = all_pairs(atoms, 5.0).round(5) + 0.0
    np.testing.assert_allclose(
        found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=2e-5
    )


def test_huge_coordinates_are_refused() -> None:
    atoms = ase.Atoms("H2", [[0, 0, 0], [1e200, 0, 0]])
    with pytest.raises(UserError, match="beyond 1e\\+08 Å: check its units"):
        build_graph(atoms, 6.0, 4.5)


LAYOUTS = [
    split_by_width,
    keep_together,
    NarrowRows(4),
    NarrowRows(9),
    FewTables(3),
    FewTables(9, slots=40),
]


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(structures(), min_size=1, max_size=6), layout=st.sampled_from(LAYOUTS))
def test_a_batch_holds_every_edge_once(parts: list[ase.Atoms], layout: Layout) -> None:
    try:
        graphs = [build_graph(atoms, 5.0, 3.0) for atoms in parts]
    except UserError:
        return
    batch = batch_graphs(graphs, layout=layout)
    assert sorted(batch.order.tolist()) == list(range(sum(map(len, parts))))
    numbers = np.concatenate([graph.numbers for graph in graphs])
    np.testing.assert_array_equal(batch.numbers.numpy(), numbers[batch.order.numpy()])
    found = []
    first = 0
    for table, owners, vectors, line in zip(
        batch.neighbours, batch.owners, batch.vectors, batch.line_counts, strict=True
    ):
        narrow = isinstance(layout, NarrowRows)
        owners = owners if narrow else torch.arange(len(table))
        assert (owners.diff() >= 0).all()
        atoms = int(owners[-1]) + 1
        species = batch.numbers[first : first + atoms]
        assert (species[1:] >= species[:-1]).all()
        used = vectors.norm(dim=-1) < 100.0
        assert narrow or not (vectors[:, line:].norm(dim=-1) < 3.0).any()
        assert not narrow or table.shape[1] == layout.width
        rows = (first + owners)[:, None].expand_as(table)[used]
        found += zip(
            batch.order[rows].tolist(),
            batch.order[table[used]].tolist(),
            vectors[used].round(decimals=6).tolist(),
            strict=True,
        )
        first += atoms
    assert first == batch.num_atoms
    expected = []
    start = 0
    for graph in graphs:
        expected += zip(
            (graph.centres + start).tolist(),
            (graph.neighbours + start).tolist(),
            graph.vectors.round(6).tolist(),
            strict=True,
        )
        start += graph.num_atoms
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_atoms_on_top_of_each_other_are_named() -> None:
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 1e-3]])
    with pytest.raises(UserError, match=r"atoms 0 and 1 .* on top of each other"):
        build_graph(atoms, 6.0, 4.5)


@pytest.mark.parametrize("second", [[6, 0, 0], [0, 0, 0]])
def test_cell_without_volume_is_refused(second: list[float]) -> None:
    atoms = ase.Atoms("Na", cell=[[3, 0, 0], second, [0, 0, 3]], pbc=True)
    with pytest.raises(UserError, match="without volume"):
        build_graph(atoms, 6.0, 4.5)


@pytest.mark.parametrize("height", [0.15, 0.01, 1e-4])
def test_a_nearly_flat_cell_is_refused_at_once(height: float) -> None:
    """As a barostat that has lost its way leaves it: its images are on top of each other."""
    cell = [[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 5.0, height]]
    atoms = ase.Atoms("Si", cell=cell, pbc=True)
    with pytest.raises(UserError, match=f"Si repeats itself after {height:g} Å"):
        build_graph(atoms, 6.0, 4.0)


def test_a_steep_cell_is_not_flat() -> None:
    """Rows far from each other's right angle, of a lattice that is a simple cubic one."""
    steep = ase.Atoms("Si", cell=[[3.0, 0, 0], [30.0, 3.0, 0], [0, 0, 3.0]], pbc=True)
    plain = ase.Atoms("Si", cell=[3.0, 3.0, 3.0], pbc=True)
    assert build_graph(steep, 5.0, 4.0).num_edges == build_graph(plain, 5.0, 4.0).num_edges


@pytest.mark.parametrize("row", [[3, 0, 0], [0, 0, 1e-9], [0, 0, 0], [7, -2, 1e4]])
def test_a_cell_row_that_repeats_nothing_has_no_meaning(row: list[float]) -> None:
    atoms = ase.Atoms("Si2", [[0, 0, 0], [1, 1, 2]], cell=[3, 3, 20], pbc=[1, 1, 0])
    expected = build_graph(atoms, 5.0, 4.0)
    atoms.cell[2] = row
    found = build_graph(atoms, 5.0, 4.0)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_ten_thousand_atoms_in_two_seconds() -> None:
    """A bound on the algorithm, not a benchmark: a loop over atoms or angles in Python takes minutes."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((11, 11, 11))[:10_000]
    start = time.process_time()
    graph = build_graph(atoms, 6.0, 4.5)
    assert time.process_time() - start < 2.0
    assert graph.num_angles > 2_000_000


def test_buckets_of_a_million_atoms_in_two_seconds() -> None:
    """A bound on the algorithm: a pass over all atoms for each bucket takes a minute."""
    rng = np.random.default_rng(0)
    counts, numbers = rng.integers(30, 60, 1_000_000), rng.integers(1, 5, 1_000_000)
    start = time.process_time()
    buckets, _ = split_by_width(counts, numbers)
    assert time.process_time() - start < 2.0
    assert sum(map(len, buckets)) == len(counts)


@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=12), cost=st.integers(0, 60))
def test_no_other_tables_cost_less(counts: list[int], cost: int) -> None:
    """Of all ways to cut the atoms, sorted by their neighbours."""
    given = np.array(counts)
    buckets, narrow = FewTables(cost)(given, np.ones(len(given), dtype=np.int64))
    assert narrow is None
    assert sorted(np.concatenate(buckets).tolist()) == list(range(len(counts)))
    found = sum(len(rows) * max(1, given[rows].max()) + cost for rows in buckets)
    falling = np.sort(given)[::-1]
    best = [0.0]
    for end in range(1, len(counts) + 1):
        best.append(min(best[i] + (end - i) * max(1, falling[i]) + cost for i in range(end)))
    assert found == best[-1]


def test_large_graphs_come_in_tables_of_bounded_size() -> None:
    counts, numbers = np.full(1000, 30), np.ones(1000, dtype=np.int64)
    buckets, _ = FewTables(10**9, slots=3000)(counts, numbers)
    assert [len(rows) for rows in buckets] == [100] * 10


def test_a_wide_model_has_more_tables_on_a_gpu() -> None:
    """Its slots cost more beside a launch; on a CPU tables fit into caches whatever the model."""
    rng = np.random.default_rng(0)
    counts, numbers = rng.integers(10, 90, 1000), rng.integers(1, 5, 1000)
    narrow, wide = (
        len(suited_to(torch.device("cuda"), floats)(counts, numbers)[0])
        for floats in (10**4, 10**6)
    )
    assert narrow < wide
    assert suited_to(torch.device("cpu"), 10**6) is split_by_width


@given(counts=st.lists(st.integers(0, 90), min_size=1, max_size=60))
def test_narrow_rows_cost_least(counts: list[int]) -> None:
    """No width has fewer slots, counted with what a row costs; equal counts want rows as wide as they are."""

    def cost(width: int) -> int:
        return sum(max(1, -(-count // width)) for count in counts) * (width + ROW_COST)

    chosen = NarrowRows.suited(np.bincount(counts)).width
    assert cost(chosen) == min(map(cost, range(4, 91)))
    assert NarrowRows.suited(np.bincount([34] * len(counts))).width == 34
