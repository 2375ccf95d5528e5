"""Ranks count graphs together: each builds its part of them, and all know what one process would."""

import pytest
from parallel_support.gradients import frames
from parallel_support.stores import counted, facts, fault_of_a_frame

from janus_training.graph_store import GraphStore
from janus_training.parallel.processes import on_ranks


@pytest.mark.parametrize("number", [0, 2, 4])
def test_all_know_what_one_process_counts(number: int) -> None:
    """Also with fewer frames than ranks, or none to validate on."""
    alone = facts(GraphStore(frames()[:number], ["a"], 4.0, 3.0, 1.0))
    found = on_ranks(3, counted, number)
    assert sum(rank.pop("built") for rank in found) == number
    assert found == [alone] * 3


def test_a_frame_without_a_graph_is_every_ranks_fault() -> None:
    """Who counts other frames would wait for ever."""
    said = on_ranks(2, fault_of_a_frame, 3)
    assert "frame 3" in said[0]
    assert said == [said[0]] * 2
