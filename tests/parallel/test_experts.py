"""Plans of what experts move: every rank makes the same one, and it is what the step needs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_support.gradients import (
    bytes_of_ways,
    differences_by_way,
    recomputed_by_either,
)

from janus_md.model.experts import RoutedExperts
from janus_training.parallel.experts import ExpertPlan, Transfers, Turn, imbalance
from janus_training.parallel.mesh import Group, Mesh
from janus_training.parallel.processes import on_ranks
from janus_training.parallel.tokens import Tokens


def plans(unit: int, experts: int, elements: np.ndarray, hidden: int) -> list[ExpertPlan]:
    """Of each rank of a unit. elements: atoms of each, [unit, tables, elements]."""
    torch.manual_seed(0)
    layer = RoutedExperts((4, hidden, 4), elements.shape[-1], experts, 2, 1.0)
    found = []
    for place in range(unit):
        mesh = Mesh(Group(unit, place), Group(unit, place))
        plan = ExpertPlan("experts.routed", layer, mesh, Turn(), everything=False, half=False)
        plan.make(Tokens(elements, 20 * elements), Transfers(tokens=4, weights=2))
        found.append(plan)
    return found


@settings(max_examples=40, deadline=None)
@given(
    unit=st.integers(1, 5),
    tables=st.integers(1, 2),
    experts=st.integers(2, 9),
    counts=st.lists(st.integers(0, 30), min_size=60, max_size=60),
    hidden=st.sampled_from([1, 500]),
)
def test_ranks_agree(unit: int, tables: int, experts: int, counts: list[int], hidden: int) -> None:
    elements = np.array(counts[: unit * tables * 6]).reshape(unit, tables, 6)
    found = plans(unit, experts, elements, hidden)
    routes = found[0].layer.router.table.topk(2, dim=1).indices.numpy()
    for rank, plan in enumerate(found):
        assert plan.moves.by_tokens == found[0].moves.by_tokens
        # What its elements are routed to is there, and nothing that only others need.
        used = set(routes[elements[rank].any(axis=0)].flatten().tolist())
        assert used == set(plan.moves.needed[rank].tolist()) or not used
        assert plan.moves.tokens[rank].sum() == 2 * elements[rank].sum()
        for other, theirs in enumerate(found):
            assert plan.moves.sent[other] == theirs.moves.received[rank]
            assert np.array_equal(
                plan.tokens_between(other, rank), theirs.tokens_between(other, rank)
            )
        # What is sent are its own experts that the others need.
        first, after = plan.span
        needed = [e for experts in plan.moves.needed for e in experts if first <= e < after]
        assert (plan.moves.rows + first).tolist() == needed
        assert sum(plan.moves.sent) == len(needed)
        assert sum(plan.moves.received) == len(plan.moves.needed[rank])


def test_the_cheaper_way_is_taken() -> None:
    """Few atoms and heavy experts: tokens go. Many atoms and light experts: weights go."""
    few, many = np.full((4, 1, 6), 1), np.full((4, 1, 6), 10_000)
    assert plans(4, 8, few, hidden=500)[0].moves.by_tokens
    assert not plans(4, 8, many, hidden=1)[0].moves.by_tokens


def test_imbalance_is_that_of_the_tokens() -> None:
    """Of those a rank has where weights travel, of those its experts are sent where tokens do."""
    (plan,) = plans(1, 4, np.array([[[3, 0, 0, 0, 0, 1]]]), hidden=4)
    assert imbalance([plan]) == 0.0
    # Three atoms of an element on one rank, one on the other: two tokens each.
    elements = np.array([[[3, 0, 0, 0, 0, 0]], [[1, 0, 0, 0, 0, 0]]])
    at_home, sent = (plans(2, 4, elements, hidden)[0] for hidden in (1, 500))
    assert not at_home.moves.by_tokens and sent.moves.by_tokens
    assert imbalance([at_home]) == pytest.approx(6 / 4 - 1)
    owners = sent.layer.router.table[0].topk(2).indices.numpy() // 2
    loads = 4 * np.bincount(owners, minlength=2)
    assert imbalance([sent]) == pytest.approx(loads.max() / 4 - 1)
    both = loads + np.array([6, 2])
    assert imbalance([at_home, sent]) == pytest.approx(both.max() / 8 - 1)


@pytest.mark.parametrize(
    ("fields", "chosen", "smallest"),
    [
        ({}, [0, 1, 2, 3], 2),
        ({}, [1], 2),
        ({"line_blocks": 0}, [0, 1, 2, 3], 32),
    ],
    ids=["several tables", "empty shares", "narrow rows"],
)
def test_both_ways_have_the_gradients_of_one_process(
    fields: dict[str, int], chosen: list[int], smallest: int
) -> None:
    for found in on_ranks(4, differences_by_way, fields, chosen, smallest):
        for case, difference in found.items():
            assert difference < 1e-10, case


@pytest.mark.parametrize("hidden", [8, 512])
def test_what_is_chosen_sends_least(hidden: int) -> None:
    ranks = on_ranks(2, bytes_of_ways, {"feature_hidden": hidden, "message_hidden": 8 * hidden})
    for policy in ranks[0]:
        tokens, weights, chosen = (sum(r[policy][way] for r in ranks) for way in range(3))
        assert tokens != weights
        assert chosen <= min(tokens, weights), policy


def test_ranks_recompute_together() -> None:
    """A rank beyond its budget exchanges tokens more often: alone it would wait for ever."""
    (first, recomputes), (second, follows) = on_ranks(2, recomputed_by_either)
    assert max(first, second) > 2 * min(first, second)
    assert recomputes and follows
