from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn.utils.rnn import pack_sequence

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
    "arrays of different size": [np.ones((3, 8, 9 + i)) for i in range(N)],
    "sequences of different length": [torch.ones(2 + i, 16) for i in range(N)],
    "volumes and labels": [{"volume": torch.ones(2, 4, 8, 9), "label": 1} for _ in range(N)],
    "grey volumes": [{"volume": torch.ones(1, 4, 8, 9)} for _ in range(N)],
    "videos and labels": [{"video": torch.ones(16, 3, 8, 9), "label": torch.tensor(1)}] * N,
    "a batch of videos": {"video": torch.ones(N, 16, 3, 8, 9), "label": torch.ones(N)},
    "tuples, as a dataset gives them": [(torch.ones(3, 8, 9), 1)] * N,
    "tuples of arrays": [(np.ones((8, 9, 3)), np.int64(1))] * N,
    "graphs": SimpleNamespace(num_graphs=N, x=torch.ones(40, 3)),
    "a dict of tensors that says its size": SimpleNamespace(batch_size=torch.Size([N, 2])),
    "packed sequences": pack_sequence([torch.ones(7 - i, 3) for i in range(N)]),
    "packed sequences and labels": (pack_sequence([torch.ones(9, 3)] * N), torch.ones(N)),
    "channels in plenty": torch.ones(N, 13, 8, 9),
    "nested": {"a": {"b": (image(N), {"c": torch.ones(N)})}},
}


@pytest.mark.parametrize("name", BATCHES)
def test_the_batch_size_is_found(name):
    assert batch_size(BATCHES[name]) == N


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_grey_images_and_their_masks_are_two_inputs(n):
    assert batch_size([torch.ones(n, 8, 9), torch.ones(n, 8, 9, dtype=torch.long)]) == n


@pytest.mark.parametrize("batch", [torch.tensor(1.0), None, [], {}, "text", object(), 3])
def test_the_size_of_anything_else_is_none(batch):
    assert batch_size(batch) is None


@pytest.mark.parametrize(
    "batch",
    [
        [torch.ones(13, 8, 9), torch.ones(13, 7, 6)],  # images of 13 bands, or two inputs
        [{"video": torch.ones(16, 3, 8, 9)}, {"video": torch.ones(16, 3, 8, 9)}],
    ],
)
def test_the_size_of_an_ambiguous_batch_is_none(batch):
    assert batch_size(batch) is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_have_a_size(layout):
    nested = torch.nested.nested_tensor([torch.ones(2 + i, 3) for i in range(N)], layout=layout)
    assert batch_size(nested) == N
    assert batch_size([nested, torch.ones(N)]) == N


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


def test_batches_of_several_loaders_have_no_common_size():
    first, second = (torch.zeros(size, 3, 4, 4) for size in (4, 6))
    assert batch_size({"labeled": (first, torch.zeros(4)), "unlabeled": second}) is None
    assert batch_size({"labeled": first, "unlabeled": first}) == 4
