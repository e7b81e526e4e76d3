"""What a batch may be, and what is said of any other."""

import numpy as np
import pytest
import torch

from lightning_hparams.tasks._batches import check_mask, image_of, mask_of

IMAGE, MASK = torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize("batch", [{"image": IMAGE, "mask": MASK}, (IMAGE, MASK), [IMAGE, MASK]])
def test_a_batch_is_a_dict_or_a_pair(batch):
    assert image_of(batch) is IMAGE
    assert torch.equal(mask_of(batch), MASK.long())


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"img": IMAGE, "mask": MASK}, r"\{'img': 'Tensor', 'mask': 'Tensor'\}"),
        ({"image": IMAGE.numpy(), "mask": MASK}, r"\{'image': 'ndarray', 'mask': 'Tensor'\}"),
        ([[IMAGE], MASK], r"\{0: 'list', 1: 'Tensor'\}"),
        ((), "tuple"),
        ({}, "dict"),
        ("text", "str"),
        (None, "NoneType"),
        (np.zeros(3), "ndarray"),
    ],
)
def test_a_batch_without_images_says_what_it_holds(batch, got):
    with pytest.raises(ValueError, match=f"a batch must be a dict of tensors .*, got {got}; name"):
        image_of(batch)


@pytest.mark.parametrize("batch", [{"image": IMAGE}, (IMAGE,), (IMAGE, None), IMAGE])
def test_a_batch_without_masks_says_what_it_holds(batch):
    with pytest.raises(ValueError, match=r"'image' and 'mask', or a pair \(image, mask\), got"):
        mask_of(batch)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8), (2, 3, 0, 0)])
def test_images_without_a_pixel_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must have pixels, got \(.*; leave out empty"):
        image_of({"image": torch.zeros(shape)})


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.int64, torch.bool]
)
def test_masks_of_any_whole_numbers_are_compared_in_one_that_holds_them(dtype):
    mask = mask_of((IMAGE, torch.ones(2, 4, 4).to(dtype)))
    assert mask.dtype == torch.int64
    check_mask(mask, 2, -1, [])


@pytest.mark.parametrize("classes", [255, 256, 300])
def test_a_mask_of_uint8_may_have_all_its_classes(classes):
    mask = mask_of((IMAGE, torch.full((2, 4, 4), min(classes, 256) - 1, dtype=torch.uint8)))
    check_mask(mask, classes, None, [])


@pytest.mark.parametrize("ignore_index", [None, -1, 256 + 255, -257])
def test_a_value_that_is_ignored_under_no_other_name_is_refused(ignore_index):
    mask = mask_of((IMAGE, torch.full((2, 4, 4), 255, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="mask 0 of the batch has mask value 255"):
        check_mask(mask, 21, ignore_index, [])


def test_a_foreground_of_255_is_offered_to_be_one():
    mask = torch.tensor([[[0, 0]], [[0, 255]]])
    with pytest.raises(ValueError, match=r"b.png has mask value 255 \(50.0%.*\(mask == 255\) if"):
        check_mask(mask, 2, None, ["a.png", "b.png"])
