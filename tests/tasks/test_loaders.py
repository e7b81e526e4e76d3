"""Batches that a loader will yield, known from its samplers."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from lightning_hparams.tasks._loaders import counted_samples, norms_of_one_pixel, smallest_batch


@given(st.integers(1, 30), st.integers(1, 9), st.booleans(), st.integers(1, 40))
def test_the_smallest_batch_is_the_smallest_of_the_epoch(samples, size, drop_last, batches):
    loader = DataLoader(range(samples), batch_size=size, drop_last=drop_last)
    lengths = [len(batch) for batch, _ in zip(loader, range(batches), strict=False)]
    if lengths:
        assert smallest_batch(loader, batches) == min(lengths)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(9))


@pytest.mark.parametrize(
    "loader", [None, [1, 2], DataLoader(Stream(), 4), DataLoader(range(3), batch_size=None)]
)
def test_the_smallest_batch_of_an_opaque_loader_is_unknown(loader):
    assert smallest_batch(loader, 3) is None


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(1, 4))
def test_each_sample_counts_once_over_all_processes(n, processes, shuffle, drop, size):
    counted = []
    for rank in range(processes):
        sampler = DistributedSampler(
            range(n), num_replicas=processes, rank=rank, shuffle=shuffle, drop_last=drop
        )
        loader = DataLoader(range(n), batch_size=size, sampler=sampler)
        samples = [int(sample) for batch in loader for sample in batch]
        counted += samples[: counted_samples(loader)]
    assert len(set(counted)) == len(counted)
    if not drop:
        assert sorted(counted) == list(range(n))


@pytest.mark.parametrize("loader", [None, [1], DataLoader(range(4), 2), DataLoader(Stream(), 2)])
def test_a_loader_of_one_process_repeats_nothing(loader):
    assert counted_samples(loader) is None


@pytest.mark.parametrize("side", [1, 2])
def test_batch_normalisations_that_see_a_single_pixel_are_found(side):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(side), nn.BatchNorm2d(3))
    with norms_of_one_pixel(model) as norms:
        model(torch.rand(2, 3, 4, 4))
    assert norms == (["2"] if side == 1 else [])
    with norms_of_one_pixel(model.eval()) as norms:
        model(torch.rand(2, 3, 4, 4))
    assert norms == []
    assert not any(part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize("wrapped", [lambda one: [one], lambda one: {"a": one}, lambda one: (one,)])
def test_a_loader_alone_in_a_list_counts_each_sample_once_too(wrapped):
    sampler = DistributedSampler(range(10), num_replicas=3, rank=2, shuffle=False)
    loader = DataLoader(range(10), batch_size=2, sampler=sampler)
    assert counted_samples(wrapped(loader)) == counted_samples(loader) == 3
    assert smallest_batch(wrapped(DataLoader(range(9), batch_size=4)), 3) == 1
