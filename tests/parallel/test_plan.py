"""What `janus-md plan` predicts against what a run takes."""

import pytest
from parallel_support import on_ranks
from parallel_support.gradients import DENSE
from parallel_support.plan import Case, predicted, sent

from janus_training.planner.layout import Layout

CASES: dict[int, list[Case]] = {
    1: [(Layout(1, 1, False, False, False, False), False, {}, {})],
    2: [
        (Layout(2, 1, False, False, False, False), False, {}, DENSE),
        (Layout(2, 2, True, True, True, True), True, {}, {}),
    ],
    4: [
        (Layout(4, 1, False, False, True, False), False, {}, {}),
        (Layout(4, 2, True, True, True, True), False, {}, {}),
        (Layout(4, 2, True, False, False, False), False, {"overlap": False}, {}),
        (Layout(4, 4, False, True, False, False), False, {"compress_experts": "fp16"}, {}),
        (Layout(4, 4, True, True, True, False), True, {}, {}),
    ],
}


@pytest.mark.parametrize("ranks", CASES)
def test_predicted_bytes_are_the_bytes_sent(ranks: int) -> None:
    measured = on_ranks(ranks, sent, CASES[ranks])
    for number, case in enumerate(CASES[ranks]):
        for place in range(ranks):
            assert predicted(case, place).traffic.bytes == measured[place][number], (case, place)
