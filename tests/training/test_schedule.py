"""Learning rates, weights, and runs that end by the clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_training.config import BatchConfig, Ramp, ScheduleConfig, TrainConfig
from janus_training.sampler import BudgetSampler, Position
from janus_training.schedule import Clock, Horizon, lr_factor, weight_at

SCHEDULE = ScheduleConfig(warmup=0.1, final=0.05, lr_end=0.02)


def test_warm_up_peak_and_end() -> None:
    assert lr_factor(SCHEDULE, 0.05) == pytest.approx(0.5)
    assert lr_factor(SCHEDULE, 0.1) == pytest.approx(1.0)
    assert lr_factor(SCHEDULE, 0.95) == pytest.approx(0.02)
    assert lr_factor(SCHEDULE, 0.99) == pytest.approx(0.02)


@given(st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_the_rate_only_falls_after_the_warm_up(a: float, b: float) -> None:
    early, late = sorted((a, b))
    assert lr_factor(SCHEDULE, late) <= lr_factor(SCHEDULE, early) + 1e-12
    assert 0.0 < lr_factor(SCHEDULE, late) <= 1.0


def test_weights() -> None:
    ramp = Ramp(start=1.0, end=100.0, begin=0.5, finish=0.7)
    assert [weight_at(ramp, p) for p in (0.0, 0.5, 0.6, 0.7, 1.0)] == pytest.approx(
        [1.0, 1.0, 10.0, 100.0, 100.0]
    )
    assert weight_at(Ramp(start=0.0, end=4.0), 0.5) == pytest.approx(2.0)
    assert weight_at(Ramp(start=1.0, end=2.0, begin=0.5, finish=0.5), 0.5) == 2.0
    assert weight_at(3.0, 0.9) == 3.0


def test_progress_by_steps_and_epochs() -> None:
    assert Horizon(TrainConfig(steps=200), 10, Clock()).progress(50, Position(5, 0)) == 0.25
    assert Horizon(TrainConfig(epochs=4), 10, Clock()).progress(20, Position(2, 0)) == 0.5
    both = Horizon(TrainConfig(epochs=4, steps=10), 10, Clock())
    assert both.progress(10, Position(1, 0)) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_a_run_by_epochs_ends_with_its_last_epoch(seed: int) -> None:
    """Batches filled by atoms: how many there are differs from epoch to epoch."""
    atoms = np.random.default_rng(0).integers(5, 60, 200)
    costs = np.stack([atoms, 40 * atoms, 300 * atoms], axis=1)
    sampler = BudgetSampler(costs, BatchConfig(atoms=100), seed)
    assert len({len(sampler.epoch(number)) for number in range(5)}) > 1
    horizon = Horizon(TrainConfig(epochs=5), len(sampler.epoch(0)), Clock())
    seen = np.zeros(len(atoms), dtype=int)
    position, passed = Position(), [0.0]
    for step, (after, batch) in enumerate(sampler.walk(position)):
        if horizon.progress(step, position) >= 1.0:
            break
        passed.append(horizon.progress(step, position))
        seen[batch] += 1
        position = after
    assert (seen == 5).all()
    assert passed == sorted(passed) and passed[-1] > 0.98


class FakeClock(Clock):
    now = 0.0

    @property
    def minutes(self) -> float:
        return self.now


def test_a_run_by_wall_time_ends_at_the_last_rate_with_time_for_its_validation() -> None:
    clock = FakeClock()
    horizon = Horizon(TrainConfig(max_minutes=10.0), 10, clock)
    horizon.reserve = 1.0
    rates = []
    for step in range(10_000):
        progress = horizon.progress(step, Position())
        if progress >= 1.0:
            break
        rates.append(lr_factor(SCHEDULE, progress))
        clock.now += 0.02 + 0.01 * (step % 3)
        horizon.step_done()
        if step % 50 == 49 and horizon.progress(step, Position(), ahead=1.0) < 1.0 - SCHEDULE.final:
            clock.now += 0.8
            horizon.restart_step()
    assert 8.5 < clock.now <= 9.0
    assert rates[-3:] == pytest.approx([0.02] * 3)
    assert max(rates) == pytest.approx(1.0, abs=0.05)
