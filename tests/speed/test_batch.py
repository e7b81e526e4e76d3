from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lightning_hparams.speed import batch_size


@dataclass
class Sample:
    image: torch.Tensor
    name: str = "x"


def image(n, channels=3):
    return torch.ones(n, channels, 8, 6)


N = 5
BATCHES = {
    "tensor": image(N),
    "array": np.ones((N, 3)),
    "pair": [image(N), torch.ones(N)],
    "dict": {"image": image(N), "mask": torch.ones(N, 8, 6), "path": ["a"] * N},
    "scalar first": {"scale": torch.tensor(2.0), "image": image(N)},
    "weights first": (torch.ones(21), image(N)),
    "two views": ([image(N), image(N)], torch.ones(N)),
    "detection": ([torch.ones(3, 8, 9)] * N, [{"boxes": torch.ones(2, 4)}] * N),
    "detection, tuples": (
        tuple(torch.ones(3, 8, 9 + i) for i in range(N)),
        tuple({"boxes": torch.ones(i, 4), "masks": torch.ones(i, 8, 9)} for i in range(N)),
    ),
    "detection, stacked": (image(N), [{"labels": torch.ones(7)}] * N),
    "detection, 13 bands": ([torch.ones(13, 8, 9)] * N, [{"boxes": torch.ones(2, 4)}] * N),
    "one dict a sample": [{"image": torch.ones(3, 8, 9), "label": 1}] * N,
    "list of images": [torch.ones(3, 8, 9 + i) for i in range(N)],
    "list of grey images": [torch.ones(1, 8, 9)] * N,
    "a batch of dicts of batches": [{"data": image(N), "label": torch.ones(N)}],
    "dataclass": Sample(image(N)),
    "list of dataclasses": [Sample(torch.ones(3, 8, 9))] * N,
    "names only": {"path": ["a"] * N},
    "nested": {"a": {"b": (image(N), {"c": torch.ones(N)})}},
}


@pytest.mark.parametrize("name", BATCHES)
def test_the_batch_size_is_found(name):
    assert batch_size(BATCHES[name]) == N


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_grey_images_and_their_masks_are_two_inputs(n):
    assert batch_size([torch.ones(n, 8, 9), torch.ones(n, 8, 9, dtype=torch.long)]) == n


@pytest.mark.parametrize("batch", [torch.tensor(1.0), None, [], {}, "text", object(), 3])
def test_a_batch_that_does_not_tell_has_no_size(batch):
    assert batch_size(batch) is None


@given(st.integers(1, 64), st.permutations(["image", "mask", "label", "scale", "weights"]))
def test_the_order_of_a_dict_does_not_matter(n, order):
    parts = {
        "image": image(n),
        "mask": torch.ones(n, 8, 6),
        "label": torch.ones(n),
        "scale": torch.tensor(1.0),
        "weights": torch.ones(21),
    }
    assert batch_size({key: parts[key] for key in order}) == n
