"""What a training batch holds is told from its keys, shapes and types."""

import pytest
import torch

from lightning_hparams.samples import training_output

IMAGES = torch.rand(2, 3, 8, 8)
MASKS = torch.tensor([0, 1]).repeat(2, 8, 4)
BOXES = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 2


@pytest.mark.parametrize(
    ("batch", "task", "kind"),
    [
        ({"image": IMAGES, "mask": MASKS * 2}, None, "multiclass"),
        ({"image": IMAGES, "mask": MASKS}, "multiclass", "multiclass"),
        ({"image": IMAGES, "mask": MASKS}, "binary", "binary"),
        ((IMAGES, MASKS[:, None].float()), None, "binary"),
        ((IMAGES, MASKS[:, None].expand(2, 3, 8, 8)), None, "multilabel"),
        ({"pixel_values": IMAGES, "labels": MASKS * 2}, None, "multiclass"),
        ({"image": IMAGES, "label": torch.tensor([3, 1])}, None, "classification"),
        ([IMAGES, torch.tensor([[1, 0], [0, 0]])], None, "classification"),
        ((IMAGES, torch.tensor([[1.0, 1.0], [0, 0]])), None, "classification"),
        ((IMAGES, torch.tensor([[0.7, 0.3], [0, 1]])), None, "classification"),  # mixed images
        ((IMAGES, torch.tensor([0.0, 1.0])), "binary", "classification"),
        ((IMAGES, torch.tensor([0.0, 1.0])), None, "regression"),
        ((IMAGES, torch.tensor([0, 1])), "regression", "regression"),
        ((IMAGES, torch.tensor([[0.7, 2.3], [0, 1]])), None, "regression"),
        ({"image": IMAGES, "value": torch.tensor([1, 0])}, None, "regression"),
        ({"image": list(IMAGES), "target": BOXES}, None, "detection"),
        ((tuple(IMAGES), tuple(BOXES)), None, "detection"),
        (
            {"image": IMAGES, "boxes": [torch.zeros(0, 4)] * 2, "labels": [[], []]},
            None,
            "detection",
        ),
    ],
)
def test_batches_of_every_kind_are_recognized(batch, task, kind):
    output = training_output(batch, task)
    assert output["kind"] == kind
    assert len(output["images"]) == len(output["targets"]) == 2


@pytest.mark.parametrize(
    "batch",
    [
        None,
        torch.rand(2, 3),
        {"input_ids": torch.zeros(2, 8), "labels": torch.zeros(2)},
        {"image": IMAGES},
        (IMAGES, IMAGES),  # values that are no classes, as for denoising
        (IMAGES, MASKS[:, :4]),  # another size
        (IMAGES, torch.zeros(3)),  # another number
        (IMAGES.permute(0, 2, 3, 1), torch.zeros(2)),  # channels last
        (torch.rand(2, 8), torch.zeros(2)),
        (IMAGES, ["a", "b"]),
        ([], []),
        [(IMAGES, MASKS), (IMAGES, MASKS)],  # of two loaders
    ],
)
def test_anything_else_is_left_to_an_adapter(batch):
    assert training_output(batch) is None
