"""Seeds differ where they should, and repeat where they should."""

import itertools

from lightning_hparams.search import sampler_seed, training_seed


def test_seeds_differ_by_study_trial_worker_and_purpose():
    seeds = {
        make(*numbers)
        for make in (lambda a, b, c: training_seed(a, 10 * b + c), sampler_seed)
        for numbers in itertools.product(range(10), repeat=3)
    }
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_seeds_are_the_same_in_every_process():
    assert training_seed(0, 0) == 25482695
    assert sampler_seed(0, 0, 0) == 1155004874
