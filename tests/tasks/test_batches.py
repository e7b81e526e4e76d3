"""Batches that tasks accept, and the errors for all others."""

import numpy as np
import pytest
import torch

from lightning_hparams.tasks._batches import check_mask, image_of, mask_of

IMAGE, MASK = torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize("batch", [{"image": IMAGE, "mask": MASK}, (IMAGE, MASK), [IMAGE, MASK]])
def test_a_batch_may_be_a_dict_or_a_pair(batch):
    assert image_of(batch) is IMAGE
    assert torch.equal(mask_of(batch), MASK.long())


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"img": IMAGE, "mask": MASK}, r"\{'img': 'Tensor', 'mask': 'Tensor'\}"),
        ({"image": IMAGE.numpy(), "mask": MASK}, r"\{'image': 'ndarray', 'mask': 'Tensor'\}"),
        ([[IMAGE], MASK], r"\{0: 'list', 1: 'Tensor'\}"),
        ({"image": None}, r"\{'image': 'None'\}"),
        ((), "tuple"),
        ({}, "dict"),
        ("text", "str"),
        (None, "None"),
        (np.zeros(3), "ndarray"),
    ],
)
def test_a_batch_without_images_raises_with_its_contents(batch, got):
    with pytest.raises(
        ValueError, match=f"a batch must be a dict of tensors .*, got {got}; rename"
    ):
        image_of(batch)


@pytest.mark.parametrize("batch", [{"image": IMAGE}, (IMAGE,), (IMAGE, None), IMAGE])
def test_a_batch_without_masks_raises(batch):
    with pytest.raises(ValueError, match=r"'image' and 'mask', or a pair \(image, mask\), got"):
        mask_of(batch)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8), (2, 3, 0, 0)])
def test_images_without_pixels_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must have pixels, got \(.*; leave out empty"):
        image_of({"image": torch.zeros(shape)})


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.int64, torch.bool]
)
def test_masks_of_any_integer_type_become_int64(dtype):
    mask = mask_of((IMAGE, torch.ones(2, 4, 4).to(dtype)))
    assert mask.dtype == torch.int64
    check_mask(mask, 2, -1, [])


@pytest.mark.parametrize("classes", [255, 256, 300])
def test_a_uint8_mask_may_use_all_its_values_as_classes(classes):
    mask = mask_of((IMAGE, torch.full((2, 4, 4), min(classes, 256) - 1, dtype=torch.uint8)))
    check_mask(mask, classes, None, [])


@pytest.mark.parametrize("ignore_index", [None, -1, 256 + 255, -257])
def test_a_value_is_not_ignored_by_an_index_that_wraps_around_to_it(ignore_index):
    mask = mask_of((IMAGE, torch.full((2, 4, 4), 255, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="mask 0 of the batch has mask value 255"):
        check_mask(mask, 21, ignore_index, [])


def test_the_remedy_for_a_foreground_of_255_is_a_comparison():
    mask = torch.tensor([[[0, 0]], [[0, 255]]])
    with pytest.raises(ValueError, match=r"b.png has mask value 255 \(50.0%.*\(mask == 255\) if"):
        check_mask(mask, 2, None, ["a.png", "b.png"])
