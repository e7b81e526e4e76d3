"""Problems on which rates are stable for a step and not for a training: unscaled targets or inputs.

A sweep of them, short trainings and the training that the user wants are simulated with NumPy.
"""

import math
from functools import cache, partial
from statistics import median

import numpy as np
import pytest

from lightning_hparams.range_test import Sweep, Trained, analyse, lr_values, probe, refine
from lightning_hparams.schedules import one_cycle

RATES = lr_values(1e-7, 10, 100)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 8))
Y = np.sin(X @ RNG.normal(size=8)) + 0.4 * X[:, 0] + 0.1 * RNG.normal(size=400)
RARE = X * np.where(np.arange(400) % 133 == 0, 60.0, 1.0)[:, None]
AXES = X * np.logspace(0, 2, 8)
HELD, KEPT = np.arange(80), np.arange(80, 400)


class Net:
    """One hidden layer of ReLU, or none, squared error, SGD with momentum."""

    def __init__(self, x, y, width=16, momentum=0.9):
        self.x, self.y, self.momentum = x, y, momentum
        rng = np.random.default_rng(1)
        shapes = [(8, width), (width,), (width, 1)] if width else [(8, 1)]
        self.weights = [rng.normal(size=each) / math.sqrt(each[0]) for each in shapes]
        self.moved = [np.zeros(each) for each in shapes]

    def loss(self, rows, lr=0.0):
        """Loss of some samples, and a step if there is a rate."""
        x, y = self.x[rows], self.y[rows, None]
        hidden = np.maximum(x @ self.weights[0] + self.weights[1], 0) if len(self.moved) > 1 else x
        error = hidden @ self.weights[-1] - y
        if lr:
            back = 2 * error / len(rows)
            gradients = [hidden.T @ back]
            if len(self.moved) > 1:
                inner = back @ self.weights[-1].T * (hidden > 0)
                gradients = [x.T @ inner, inner.sum(0), *gradients]
            self.moved = [self.momentum * m + g for m, g in zip(self.moved, gradients, strict=True)]
            self.weights = [w - lr * m for w, m in zip(self.weights, self.moved, strict=True)]
        return float((error**2).mean())

    def trained(self, rates, seed, rows):
        """Losses of the steps, up to the first that is not finite."""
        rng, losses = np.random.default_rng(seed), []
        for rate in rates:
            losses.append(self.loss(rng.choice(rows, 32, replace=False), rate))
            if not math.isfinite(losses[-1]):
                break
        return losses


def cycle(peak, steps):
    return [peak * one_cycle(step, steps) for step in range(steps)]


def short(make, peak, steps=100):
    """A training judged by samples that are kept out of it."""
    net, parts = make(), np.split(HELD, 16)
    before = [net.loss(part) for part in parts]
    losses = net.trained(cycle(peak, steps), 3, KEPT)
    whole = math.isfinite(losses[-1])
    return Trained(losses, before, [net.loss(part) for part in parts] if whole else ())


def end(make, rates):
    losses = make().trained(rates, 3, np.arange(400))
    return float(np.mean(losses[-10:])) if len(losses) == len(rates) else math.inf


def hold(make, rate):
    return end(make, [rate] * 300)


def gained(make, peak):
    """Share of what there was to gain that 300 steps to this peak reach, over three orders."""
    before = make().loss(np.arange(400))
    return median(before - after for after in finals(make, peak)) / (before - best(make))


def finals(make, peak):
    for seed in (11, 12, 13):
        net = make()
        net.trained(cycle(peak, 300), seed, np.arange(400))
        after = net.loss(np.arange(400))
        yield after if math.isfinite(after) else 1e30


@cache
def best(make):
    return min(median(finals(make, rate)) for rate in np.geomspace(1e-9, 0.3, 18))


KINDS = {
    "targets of hundreds": partial(Net, X, 300 * Y),
    "targets of thousands": partial(Net, X, 3000 * Y),
    "years": partial(Net, X, 10 * Y + 2000),
    "linear, targets of thousands": partial(Net, X, 1000 * Y, 0),
    "linear, years": partial(Net, X, 10 * Y + 2000, 0),
    "inputs of thousands": partial(Net, 1000 * X, Y),
    "inputs of different scales": partial(Net, AXES, Y),
    "linear, inputs of different scales": partial(Net, AXES, AXES @ np.ones(8), 0),
    "rare large samples": partial(Net, RARE, Y),
    "linear, rare large samples": partial(Net, RARE, RARE @ np.ones(8), 0),
    "momentum of 0.99": partial(Net, X, 100 * Y, 16, 0.99),
    "prices": partial(Net, X, np.exp(3 * Y)),
}


def outcomes(make):
    """The sweep, and what short trainings of two kinds make of it."""
    losses = make().trained(RATES, 2, np.arange(400))
    swept = analyse([Sweep(RATES[: len(losses)], losses)])
    checked = probe(swept, lambda rate: end(make, cycle(rate, 50)), partial(hold, make))
    return swept, checked, refine(swept, partial(short, make), first=1e-3)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("make", KINDS.values(), ids=list(KINDS))
def test_no_rate_is_called_right_that_does_not_train(make):
    for result in outcomes(make)[1:]:
        assert not result.applies or gained(make, result.suggestion) > 0.3, result.summary()


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_configured_rate_at_which_training_diverges_is_followed_downwards():
    """The sweep of inputs in the thousands is refused, and 0.001 diverges within a few steps."""
    make = KINDS["inputs of thousands"]
    assert not short(make, 1e-3).after
    swept, _, refined = outcomes(make)
    assert not swept.applies
    assert refined.applies
    assert gained(make, refined.suggestion) > 0.5


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_scaled_problem_of_the_same_kind_is_not_refused():
    for result in outcomes(partial(Net, X, Y)):
        assert result.applies
        assert gained(partial(Net, X, Y), result.suggestion) > 0.5
