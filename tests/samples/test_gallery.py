"""A gallery keeps the chosen and the worst samples of one pass over a loader."""

import torch

from lightning_hparams.samples import Batch, DrawOptions, Gallery


def batch(targets, losses=None, indices=None):
    targets = torch.tensor(targets)
    output = {
        "kind": "classification",
        "images": torch.rand(len(targets), 3, 8, 8),
        "preds": torch.zeros_like(targets),
        "targets": targets,
        "indices": indices,
        "losses": None if losses is None else torch.tensor(losses),
    }
    return Batch.of(output, DrawOptions())


def test_without_indices_samples_are_identified_by_position():
    gallery = Gallery([1, 4])
    gallery.add(batch([0, 1, 2]))
    gallery.add(batch([3, 4, 5]))
    assert {index: int(one.target) for index, one in gallery.samples.items()} == {1: 1, 4: 4}


def test_given_indices_identify_the_samples():
    gallery = Gallery([7])
    gallery.add(batch([0, 1], indices=torch.tensor([9, 7])))
    assert {index: int(one.target) for index, one in gallery.samples.items()} == {7: 1}


def test_positions_map_to_indices_by_the_order_of_the_loader():
    gallery = Gallery([12], index_of=lambda position: 10 + position)
    gallery.add(batch([0, 1, 2]))
    assert int(gallery.samples[12].target) == 2


def test_a_batch_is_needed_only_for_missing_samples():
    gallery = Gallery([1, 4])
    assert gallery.needs(gallery.next_indices(3))
    gallery.add(batch([0, 1, 2]))
    assert not gallery.needs([0, 1, 2, 3])
    gallery.skip(1)
    assert gallery.next_indices(2) == [4, 5]
    assert gallery.needs([4, 5])
    gallery.add(batch([4, 5]))
    assert not gallery.needs(range(100))
    assert int(gallery.samples[4].target) == 4


def test_classes_take_turns_in_one_pass():
    gallery = Gallery(per_class=3)
    assert gallery.needs([99])
    for targets in ([0, 0, 0], [1, 0, 0], [2, 2, 1]):
        gallery.add(batch(targets))
    gallery.settle([gallery.classes])
    assert gallery.chosen == [0, 3, 6]
    assert sorted(gallery.samples) == [0, 3, 6]


def test_classes_found_by_other_processes_count_too():
    gallery = Gallery(per_class=2)
    gallery.add(batch([0, 0]))
    gallery.settle([gallery.classes, {5: [1]}])
    assert gallery.chosen == [0, 5]


def test_the_worst_of_all_rated_batches_are_kept():
    gallery = Gallery(worst_k=2)
    gallery.add(batch([0, 0], [0.3, 0.0]))
    gallery.add(batch([0, 0], [0.1, 0.7]))
    gallery.add(batch([0, 0], [9.0, 9.0]), rate=False)
    gallery.add(batch([0], [0.2]))
    assert [(one.index, round(one.loss, 1)) for one in gallery.worst] == [(3, 0.7), (0, 0.3)]


def test_ties_go_to_the_lowest_index():
    gallery = Gallery(worst_k=2)
    gallery.add(batch([0, 0, 0], [0.5, 0.5, 0.5], torch.tensor([8, 2, 5])))
    assert [one.index for one in gallery.worst] == [2, 5]
