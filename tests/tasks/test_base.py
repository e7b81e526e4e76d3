"""What every task has from its base: normalisation, checks, parts of the model."""

import math

import pytest
import torch
from torch import nn

from lightning_hparams.tasks.base import VisionTask, two_parts


class Model(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


class Task(VisionTask):
    def model_parts(self):
        return two_parts(self.model, [self.model[0], self.model[1]], ("backbone", "head"))


def task(kind=Task, **options):
    return kind(Model(), mean=[0.5] * 3, std=[0.25, 0.5, 1.0], **options)


def test_images_of_different_sizes_are_normalised_one_by_one():
    images = [torch.rand(3, 4, 5), torch.randint(0, 256, (3, 2, 2), dtype=torch.uint8)]
    found = task().normalise_each(images)
    for image, ours in zip(images, found, strict=True):
        assert torch.equal(ours, task().normalise(image[None])[0])


def test_an_image_of_other_channels_in_a_list_is_refused():
    with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\), got \(1, 1, 4, 4\)"):
        task().normalise_each([torch.rand(3, 4, 4), torch.rand(1, 4, 4)])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_in_a_list_that_is_not_finite_is_named(value):
    images = [torch.rand(3, 4, 4), torch.rand(3, 5, 4)]
    images[1][0, 0, 0] = value
    with pytest.raises(ValueError, match=r"b.png holds NaN or infinity"):
        task().check_images(images, ["a.png", "b.png"])


def test_large_finite_values_are_no_infinity():
    images = torch.full((2, 3, 4, 4), 3e38)
    task().check_finite(images)
    task().check_finite(list(images))


def test_a_list_outside_0_to_1_raises_a_warning():
    with pytest.warns(UserWarning, match="must lie in 0..1; divide by 255"):
        task().check_images([torch.rand(3, 4, 4), 255 * torch.rand(3, 5, 4)])


def test_the_parts_of_a_task_name_its_groups_and_the_first_has_the_pretrained_rate():
    groups = task(lr=0.1, encoder_lr_mult=0.5).configure_optimizers().param_groups
    assert {group["name"]: group["lr"] for group in groups} == {
        "backbone": 0.05,
        "backbone/no_decay": 0.05,
        "head": 0.1,
        "head/no_decay": 0.1,
    }


def test_a_model_without_an_encoder_has_one_part():
    groups = task(VisionTask, lr=0.1, encoder_lr_mult=0.5).configure_optimizers().param_groups
    assert {group["name"]: group["lr"] for group in groups} == {
        "decoder": 0.1,
        "decoder/no_decay": 0.1,
    }


def test_a_checkpoint_of_a_task_without_weights_to_name_is_left_alone():
    checkpoint = {"hyper_parameters": {"lr": 0.1}}
    task().on_save_checkpoint(checkpoint)
    assert checkpoint == {"hyper_parameters": {"lr": 0.1}}
