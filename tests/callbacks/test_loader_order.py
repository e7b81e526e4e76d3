"""Which samples a loader returns, and which of them are chosen."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from lightning_hparams.callbacks._loader_order import (
    LoaderOrder,
    choose,
    keeps_order,
    order_of,
    reachable,
)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


def loader(count=20, **options):
    return DataLoader(list(range(count)), **options)


def distributed(ranks, rank, count=5, **options):
    return DistributedSampler(range(count), num_replicas=ranks, rank=rank, **options)


def test_a_limited_number_of_batches_limits_the_reachable_samples():
    assert reachable(loader(batch_size=4), float("inf"), 1) == 20
    assert reachable(loader(batch_size=4), 2, 1) == 8
    assert reachable(loader(batch_size=4), 9, 1) == 20
    in_batches = BatchSampler(SequentialSampler(range(20)), 4, drop_last=False)
    assert reachable(loader(batch_sampler=in_batches), 2, 1) == 8


def test_samples_of_all_processes_are_reachable_without_duplicates():
    part = loader(5, sampler=distributed(2, 0), batch_size=2)
    assert reachable(part, float("inf"), 2) == 5
    assert reachable(part, 1, 2) == 4


def test_a_subset_reaches_its_samples_and_a_stream_is_unknown():
    part = loader(sampler=SubsetRandomSampler([3, 5, 7]))
    assert reachable(part, float("inf"), 1) == 3
    assert reachable(DataLoader(Stream()), float("inf"), 1) is None
    assert reachable([1, 2], float("inf"), 1) is None


def test_the_order_is_kept_unless_the_loader_shuffles():
    assert keeps_order(loader())
    assert keeps_order([1, 2])
    assert not keeps_order(loader(shuffle=True))
    in_batches = BatchSampler(RandomSampler(range(20)), 4, drop_last=False)
    assert not keeps_order(loader(batch_sampler=in_batches))
    assert keeps_order(loader(5, sampler=distributed(2, 0, shuffle=False)))
    assert not keeps_order(loader(5, sampler=distributed(2, 0, shuffle=True)))
    assert keeps_order(DataLoader(Stream()))  # its sampler only says when to ask for a sample


@pytest.mark.parametrize("indices", [[4, 2], torch.tensor([4, 2]), range(2)])
def test_the_indices_of_a_sampler_are_its_order(indices):
    assert list(order_of(loader(sampler=SubsetRandomSampler(indices)))) == list(indices)


def test_the_order_of_other_loaders_is_unknown():
    assert order_of(loader()) is None
    assert order_of(object()) is None


@given(size=st.integers(1, 30), ranks=st.integers(1, 4))
def test_positions_of_several_processes_match_the_distributed_sampler(size, ranks):
    for rank in range(ranks):
        expected = list(distributed(ranks, rank, size, shuffle=False))
        order = LoaderOrder(size=size, rank=rank, world_size=ranks)
        assert [order.index_of(position) for position in range(len(expected))] == expected


def test_positions_map_to_indices_by_the_order_of_the_sampler():
    order = LoaderOrder(order=torch.tensor([8, 6, 4]))
    assert [order.index_of(position) for position in range(3)] == [8, 6, 4]
    assert all(type(index) is int for index in order.at([0, 1]))


def chosen(select, count=3, size=20, order=None, strict=True):
    return choose(select, count, size, LoaderOrder(order=order), strict=strict)


def test_samples_are_chosen_by_select():
    assert chosen("spread") == [3, 10, 16]
    assert chosen("first") == [0, 1, 2]
    assert chosen("per_class") == []
    assert chosen([7, 2, 19]) == [7, 2, 19]


def test_all_samples_are_chosen_if_there_are_fewer_than_requested():
    assert chosen("spread", 9, 4) == [0, 1, 2, 3]
    assert chosen("first", 9, 4) == [0, 1, 2, 3]


def test_the_first_samples_are_chosen_if_the_size_is_unknown():
    assert chosen("spread", size=None) == [0, 1, 2]
    assert chosen([99], size=None) == [99]


def test_only_samples_of_the_sampler_are_chosen():
    order = range(12, 20)
    assert chosen("spread", 2, order=order) == [14, 18]
    assert chosen("first", 2, order=order) == [12, 13]
    assert chosen([13, 19], order=order) == [13, 19]


def test_indices_outside_the_pass_are_refused_or_left_out():
    with pytest.raises(ValueError, match=r"outside the validation set: \[20\], which shows 20"):
        chosen([2, 20])
    assert chosen([2, 20], strict=False) == [2]
    with pytest.raises(ValueError, match=r"outside the validation set: \[3\], which shows 8"):
        chosen([3], size=20, order=range(12, 20))
