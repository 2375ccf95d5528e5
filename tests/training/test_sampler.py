"""Batches by budget: complete, within limits, repeatable, well filled."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_md.errors import UserError
from janus_training.config import BatchConfig
from janus_training.sampler import BudgetSampler, Position

LIMITS = BatchConfig(structures=7, atoms=120, edges=3000, angles=20_000)
COST = st.tuples(st.integers(1, 120), st.integers(0, 3000), st.integers(0, 20_000))


@settings(max_examples=60, deadline=None)
@given(costs=st.lists(COST, min_size=1, max_size=80), seed=st.integers(0, 99))
def test_every_structure_once_and_within_every_limit(
    costs: list[tuple[int, int, int]], seed: int
) -> None:
    table = np.array(costs)
    sampler = BudgetSampler(table, LIMITS, seed)
    for epoch in range(2):
        batches = sampler.epoch(epoch)
        assert sorted(np.concatenate(batches)) == list(range(len(costs)))
        for batch in batches:
            assert len(batch) <= 7
            assert (table[batch].sum(axis=0) <= [120, 3000, 20_000]).all()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), stop=st.integers(0, 30), seed=st.integers(0, 9))
def test_a_position_is_all_it_takes_to_go_on(count: int, stop: int, seed: int) -> None:
    costs = np.random.default_rng(seed).integers(1, 100, size=(count, 3))
    budget = BatchConfig(atoms=200)
    whole = list(islice(BudgetSampler(costs, budget, seed).walk(Position()), stop + 5))
    position = whole[stop - 1][0] if stop else Position()
    rest = list(islice(BudgetSampler(costs, budget, seed).walk(position), 5))
    for (after_a, batch_a), (after_b, batch_b) in zip(whole[stop:], rest, strict=True):
        assert after_a == after_b
        assert (batch_a == batch_b).all()


def test_epochs_and_seeds_differ() -> None:
    costs = np.ones((50, 3), dtype=np.int64)
    sampler = BudgetSampler(costs, BatchConfig(structures=50), 0)
    orders = [sampler.epoch(0)[0], sampler.epoch(1)[0]]
    orders.append(BudgetSampler(costs, BatchConfig(structures=50), 1).epoch(0)[0])
    assert len({tuple(order) for order in orders}) == 3


def test_batches_are_full() -> None:
    atoms = np.random.default_rng(0).integers(1, 60, size=2000)
    costs = np.stack([atoms, 40 * atoms, 100 * atoms], axis=1)
    batches = BudgetSampler(costs, BatchConfig(atoms=200), 0).epoch(0)
    assert atoms.sum() / (200 * len(batches)) > 0.97


def test_one_structure_beyond_the_budget_is_named() -> None:
    with pytest.raises(UserError, match=r"raise batch.atoms to at least 30"):
        BudgetSampler(np.array([[10, 1, 1], [30, 1, 1]]), BatchConfig(atoms=20), 0)
