"""How the learning rate goes, when training ends, and what the average of weights does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sat2map.learning.pacing import EPOCHS, FLOOR, RECENT, WARM_UP, Average, Pace, RunningStatistics, lr_factor
from sat2map.options import LearnOptions


def begun(seconds: float, options: LearnOptions, **facts: float) -> Pace:
    """Return the pace of a training that began some seconds ago."""
    pace = Pace.of(options, **facts)
    pace._began -= seconds
    return pace


def test_the_cosine_rises_to_the_peak_and_falls_to_the_floor():
    assert lr_factor("cosine", 0) == FLOOR
    assert lr_factor("cosine", WARM_UP / 2) == pytest.approx(0.5)
    assert lr_factor("cosine", WARM_UP) == 1
    assert lr_factor("cosine", (1 + WARM_UP) / 2) == pytest.approx((1 + FLOOR) / 2)
    assert lr_factor("cosine", 1) == pytest.approx(FLOOR)
    assert lr_factor("cosine", 1.3) == pytest.approx(FLOOR)


@given(st.floats(0, 1), st.floats(0, 1))
def test_each_schedule_keeps_its_direction(one, other):
    early, late = sorted((one, other))
    for schedule in ("cosine", "constant", "plateau"):
        assert FLOOR <= lr_factor(schedule, early) <= 1
    if late <= WARM_UP:
        assert lr_factor("cosine", early) <= lr_factor("cosine", late)
    if early >= WARM_UP:
        assert lr_factor("cosine", early) >= lr_factor("cosine", late)
        assert lr_factor("constant", early) == 1
    assert lr_factor("plateau", early) == 1


def test_epochs_count_steps():
    pace = begun(1e6, LearnOptions(epochs=4), steps=5)
    assert [pace.done(step) for step in (0, 5, 10, 20)] == [0, 0.25, 0.5, 1]


def test_minutes_count_seconds_those_before_an_interruption_too():
    assert begun(0, LearnOptions(minutes=2), steps=5, spent=30).done(1000) == pytest.approx(0.25, abs=0.01)
    later = begun(90, LearnOptions(minutes=2), steps=5, spent=30)
    assert later.elapsed == pytest.approx(120, abs=1)
    assert later.done(0) >= 1


def test_what_ends_first_counts():
    pace = begun(30, LearnOptions(minutes=1, epochs=10), steps=1)
    assert pace.done(2) == pytest.approx(0.5, abs=0.01)
    assert pace.done(8) == 0.8


def test_without_a_word_the_usual_epochs_are_trained():
    assert Pace.of(LearnOptions(), steps=2).done(2 * EPOCHS) == 1
    assert Pace.of(LearnOptions(minutes=1), steps=2).epochs is None


class Counted(nn.Module):
    """A weight and what batch normalisation holds: a float and an integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def set(self, value: float, steps: int) -> None:
        with torch.no_grad():
            self.norm.weight.fill_(value)
            self.norm.running_mean.fill_(value)
            self.norm.num_batches_tracked.fill_(steps)


def test_the_average_forgets_the_start_and_reaches_weights_that_stay():
    network = Counted()
    network.set(-100, 0)
    average = Average(network, 0.05)
    for step in range(1, 301):
        network.set(1, step)
        average.update(network, 1 / 300)
        if step == 10:
            assert average.state["norm.weight"][0] > -0.5
    torch.testing.assert_close(average.state["norm.weight"], torch.ones(2))
    torch.testing.assert_close(average.state["norm.running_mean"], torch.ones(2))
    assert average.state["norm.num_batches_tracked"] == 300


@pytest.mark.parametrize("steps", [200, 1000])
@pytest.mark.parametrize("horizon", [0.05, 0.2])
def test_the_average_looks_back_over_the_same_share_of_the_training(steps, horizon):
    network = Counted()
    average = Average(network, horizon)
    for step in range(1, steps + 1):
        network.set(step / steps, step)
        average.update(network, 1 / steps)
    lag = 1 - float(average.state["norm.weight"][0])
    assert lag == pytest.approx(horizon, rel=0.1)


def test_the_average_is_even_over_noise():
    network, rng = Counted(), torch.Generator().manual_seed(0)
    average = Average(network, 0.05)
    for step in range(1, 401):
        network.set(float(torch.randn((), generator=rng)), step)
        average.update(network, 1 / 400)
    assert abs(float(average.state["norm.weight"][0])) < 0.6  # the deviation of about 40 of them is 0.16


def test_the_average_is_a_copy():
    network = Counted()
    average = Average(network, 0.05)
    network.set(5, 9)
    assert average.state["norm.weight"][0] == 1
    assert average.state["norm.num_batches_tracked"] == 0


def remembered(means: list[float], momentum: float | None = 0.1) -> float:
    """Return the mean that a normalisation has in the end, after batches of these."""
    layer = nn.BatchNorm2d(1, momentum=momentum)
    statistics = RunningStatistics(nn.Sequential(layer))
    for step, mean in enumerate(means):
        statistics.set_step(step)
        layer(torch.full((2, 1, 3, 3), float(mean)))
    return float(layer.running_mean)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_statistics_forget_where_they_start_and_lie_among_those_of_the_steps(means):
    slack = 1e-4 * max(map(abs, means)) + 1e-6
    assert min(means) - slack <= remembered(means) <= max(means) + slack
    assert remembered(means[:1]) == pytest.approx(means[0], rel=1e-5)


def test_later_steps_count_more():
    assert remembered([0, 0, 0, 1, 1, 1]) > 0.7 > 0.5 > remembered([1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("own", [0.1, 0.01])
def test_a_layer_s_own_momentum_holds_in_the_end(own):
    layer = nn.BatchNorm2d(1, momentum=own)
    statistics = RunningStatistics(layer)
    momenta = []
    for step in range(400):
        statistics.set_step(step)
        momenta.append(layer.momentum)
    assert momenta[0] == 1 and momenta[-1] == own and momenta == sorted(momenta, reverse=True)
    assert momenta.index(own) == pytest.approx(RECENT / own - RECENT, abs=1)


def test_plain_means_of_all_steps_stay_plain_means():
    assert remembered([1, 2, 6], momentum=None) == pytest.approx(3)
