"""Adapters read outputs, and images have one value range for the whole run."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from lightning_hparams.samples import DrawOptions, Reader, adapter_for
from lightning_hparams.samples.adapters import ADAPTERS

OPTIONS = DrawOptions()


class Warnings(list):
    def __call__(self, about, message):
        self.append(message)


def read(reader, images, step="validation_step", **options):
    output = {
        "kind": "classification",
        "images": images,
        "preds": torch.zeros(len(images), dtype=torch.long),
        "targets": torch.zeros(len(images), dtype=torch.long),
    }
    data = options.pop("normalisation", (None, None))
    return reader.read(output, None, nn.Identity(), OPTIONS, step, normalisation=data)


def colour(*rgb, dtype=torch.float32, size=8):
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, size, size).to(dtype)


def shown(batch):
    return batch.sample(0, 0).image[:, 0, 0].tolist()


def first_then(first, later, **options):
    """The shown colour of a later batch, and the warnings."""
    warnings = Warnings()
    data = options.pop("normalisation", (None, None))
    reader = Reader(warn=warnings, **options)
    read(reader, first, normalisation=data)
    return shown(read(reader, later, normalisation=data)), warnings


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint16, torch.int16])
def test_values_in_0_to_255_are_shown_unchanged(dtype):
    one = colour(200, 100, 40, dtype=dtype)
    later, warnings = first_then(one, colour(7, 8, 9, dtype=dtype))
    assert shown(read(Reader(warn=Warnings()), one)) == [200, 100, 40]
    assert later == [7, 8, 9]  # dark, not stretched
    (warning,) = warnings
    assert "image values are 40.0..200.0, not 0..1" in warning
    assert "0 as black and 255 as white" in warning


def test_the_full_16_bit_range_is_shown_unchanged():
    whole = colour(200 * 257, 100 * 257, 40 * 257, dtype=torch.int32).to(torch.uint16)
    assert shown(read(Reader(warn=Warnings()), whole)) == [200, 100, 40]


def test_colours_in_another_range_keep_their_hue():
    reflectance = torch.rand(4, 3, 16, 16) * 3000
    later, warnings = first_then(reflectance, colour(1500.0, 750.0, 750.0))
    assert later[0] == pytest.approx(2 * later[1], abs=2)
    assert later[1] == later[2]
    assert len(warnings) == 1


def test_uint8_and_0_to_1_need_no_warning():
    for first, dtype, scale in ((colour(3, 2, 1), torch.uint8, 1), (colour(1, 0, 0), None, 255)):
        first = first if dtype is None else first.to(dtype)
        later, warnings = first_then(first, first)
        assert later == [int(value) * scale for value in first[0, :, 0, 0]]
        assert warnings == []


def test_given_mean_and_std_apply_to_low_contrast_images_too():
    grey = (colour(0.6, 0.55, 0.5) - 0.5) / 0.25  # lies in 0..1
    later, warnings = first_then(grey, grey, mean=[0.5] * 3, std=[0.25] * 3)
    assert later == [153, 140, 128]
    assert warnings == []


def test_mean_and_std_of_the_datamodule_apply_unless_images_are_in_0_to_1():
    normalised, plain = colour(-1.0, 0.0, 1.0), colour(0.25, 0.5, 0.75)
    data = ([0.5] * 3, [0.25] * 3)
    assert first_then(normalised, normalised, normalisation=data)[0] == [64, 128, 191]
    assert first_then(plain, plain, normalisation=data)[0] == [64, 128, 191]


def test_a_given_value_range_is_used():
    later, warnings = first_then(colour(0, 50, 100), colour(0, 50, 100), value_range=(0, 100))
    assert later == [0, 128, 255]
    assert warnings == []


@pytest.mark.parametrize("odd", [torch.inf, -torch.inf, torch.nan])
def test_nonfinite_values_do_not_affect_other_pixels(odd):
    image = colour(0.2, 0.4, 0.6).clone()
    image[..., 7, :] = odd
    batch = read(Reader(warn=Warnings()), image)
    assert batch.sample(0, 0).image[:, 0, 0].tolist() == [51, 102, 153]
    large = torch.full((1, 3, 600, 600), 0.2)
    large[..., 500:, :] = odd
    assert (read(Reader(warn=Warnings()), large).sample(0, 0).image[:, :400] == 51).all()


def test_images_of_a_batch_do_not_affect_each_other():
    bright, dark = colour(250, 250, 250), colour(30, 20, 10)
    for images in (torch.cat([bright, dark]), torch.cat([dark, bright])):
        batch = read(Reader(warn=Warnings()), images)
        position = int(images[1].max() < 100)
        assert batch.sample(position, 0).image[:, 0, 0].tolist() == [30, 20, 10]


# -- errors before training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": torch.rand(2, 40, 50, 3)},
            r"got \(40, 50, 3\), whose last axis appears",
        ),
        ({"images": torch.rand(2, 40, 50, 4)}, r"return images.permute\(0, 3, 1, 2\)"),
        ({"images": torch.rand(2, 3, 0, 5)}, r"must have pixels, got \(3, 0, 5\)"),
        ({"indices": torch.arange(1)}, r"indices must be \(2,\), one per sample, got 1"),
        ({"indices": ["a", "b"]}, "indices must be positions in the dataset, got 'a'"),
        ({"indices": torch.tensor([3, 10_000])}, r"positions in the dataset, 0..9, got 10000"),
        ({"preds": torch.full((2,), torch.nan)}, "preds must be class indices, .* got nan"),
        ({"preds": torch.tensor([0.2, 0.8])}, "return scores as 'logits' or 'probs'"),
    ],
)
def test_errors_name_the_value_that_cannot_be_drawn(change, message):
    output = {
        "kind": "classification",
        "images": torch.rand(2, 3, 8, 8),
        "preds": torch.zeros(2),
        "targets": torch.zeros(2),
        **change,
    }
    batch = Reader(warn=Warnings()).read(output, None, nn.Identity(), OPTIONS, "validation_step")

    def check():
        batch.check("validation_step")
        batch.check_in_dataset("validation_step", 10)

    with pytest.raises((ValueError, TypeError), match=f"validation_step: .*{message}"):
        check()


def test_the_mask_shape_reveals_channels_last_for_any_number_of_channels():
    masks = torch.zeros(2, 40, 50, dtype=torch.long)
    output = {"kind": "multiclass", "images": torch.rand(2, 40, 50, 13)}
    output |= {"preds": masks, "targets": masks}
    batch = Reader(warn=Warnings()).read(output, None, nn.Identity(), OPTIONS, "validation_step")
    with pytest.raises(ValueError, match="whose last axis appears to hold the channels"):
        batch.check("validation_step")


@pytest.mark.parametrize("kind", ["multiclass", "classification", "detection", "regression"])
def test_arrays_and_empty_batches_are_accepted(kind):
    count, rng = 2, np.random.default_rng(0)
    boxes = {"boxes": np.array([[1.0, 2.0, 9.0, 9.0]]), "labels": np.array([1])}
    values = {
        "multiclass": np.zeros((count, 16, 16), np.int64),
        "classification": np.zeros(count, np.int64),
        "detection": [{**boxes, "scores": np.array([0.5])}] * count,
        "regression": rng.random(count),
    }[kind]
    output = {"kind": kind, "images": rng.random((count, 3, 16, 16), np.float32)}
    output |= {"preds": values, "targets": values}
    reader = Reader(warn=Warnings())
    batch = reader.read(output, None, nn.Identity(), OPTIONS, "validation_step")
    batch.check("validation_step")
    assert batch.losses() == [0, 0]
    batch.rehearse(rate=True, by_class=True)
    empty = {key: value if key == "kind" else value[:0] for key, value in output.items()}
    assert reader.read(empty, None, nn.Identity(), OPTIONS, "validation_step") is None


@pytest.mark.parametrize("missing", ["scores", "labels", "boxes"])
def test_a_missing_part_of_the_boxes_is_named(missing):
    pred = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    target = {key: value for key, value in pred.items() if key != "scores"}
    output = {"kind": "detection", "images": torch.rand(1, 3, 8, 8), "targets": [target]}
    output["preds"] = [{key: value for key, value in pred.items() if key != missing}]
    batch = Reader(warn=Warnings()).read(output, None, nn.Identity(), OPTIONS, "validation_step")
    with pytest.raises(ValueError, match=f"validation_step, preds: .* add {missing}"):
        batch.check("validation_step")


# -- adapters


def given(outputs, batch):
    return {"by": 2}


def asked(outputs, batch, module, *, more=None):
    return {"by": 3}


def test_adapters_take_two_or_three_arguments():
    class Callable:
        def __call__(self, outputs, batch, module):
            return {"by": 3}

    for adapter, by in ((given, 2), (asked, 3), (functools.partial(asked, more=1), 3)):
        assert adapter_for(adapter)(1, 2, 3) == {"by": by}
    assert adapter_for(Callable())(1, 2, 3) == {"by": 3}
    assert adapter_for(f"{__name__}.asked")(1, 2, 3) == {"by": 3}


@pytest.mark.parametrize(
    ("adapter", "error", "message"),
    [
        ("segmentatoin", ValueError, "`adapter` must be one of .* did you mean 'segmentation'"),
        ("no.such.function", ValueError, "the dotted path of a function, got 'no.such.function'"),
        (7, TypeError, "`adapter` must be one of .* or a function, got 7"),
        (lambda outputs: outputs, TypeError, r"must take \(outputs, batch, module\) or"),
    ],
)
def test_invalid_adapters_are_refused(adapter, error, message):
    with pytest.raises(error, match=message):
        adapter_for(adapter)


class Dropping(nn.Module):
    """Returns fixed scores and draws random numbers, as dropout does in training."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        assert not self.training
        torch.rand(1)
        return self.answer


def adapted(name, answer, batch):
    module = Dropping(answer).train()
    state = torch.get_rng_state()
    output = ADAPTERS[name](None, batch, module)
    assert module.training
    assert torch.equal(state, torch.get_rng_state())
    reader = Reader(adapter=name, warn=Warnings())
    read = reader.read(None, batch, module, OPTIONS, "validation_step")
    read.check("validation_step")
    read.rehearse(rate=True, by_class=True)
    return output


IMAGES = torch.rand(2, 3, 8, 8)
MASK = torch.randint(0, 3, (2, 8, 8))


@pytest.mark.parametrize("form", ["dict", "pair", "axis"])
@pytest.mark.parametrize("answer", [lambda x: x, lambda x: {"out": x}, lambda x: (x, 1)])
def test_the_segmentation_adapter_takes_the_argmax(form, answer):
    logits = nn.functional.one_hot(MASK, 3).permute(0, 3, 1, 2).float()
    batch = {
        "dict": {"image": IMAGES, "mask": MASK, "index": torch.tensor([4, 5])},
        "pair": (IMAGES, MASK),
        "axis": [IMAGES, MASK[:, None]],
    }[form]
    output = adapted("segmentation", answer(logits), batch)
    assert output["kind"] == "multiclass"
    assert torch.equal(output["preds"], MASK)
    assert torch.equal(output["targets"], MASK)
    assert output["indices"] == ([4, 5] if form == "dict" else None)


def test_smaller_score_maps_are_enlarged():
    output = adapted("segmentation", torch.randn(2, 3, 2, 2), (IMAGES, MASK))
    assert output["preds"].shape == MASK.shape


def test_one_score_per_pixel_is_binary_and_one_per_label_is_multilabel():
    mask = MASK.clamp(max=1)
    assert adapted("segmentation", torch.randn(2, 1, 8, 8), (IMAGES, mask))["kind"] == "binary"
    labels = torch.randint(0, 2, (2, 4, 8, 8))
    for name in ("segmentation", "multilabel"):
        output = adapted(name, torch.randn(2, 4, 8, 8), (IMAGES, labels.float()))
        assert output["kind"] == "multilabel"


def test_the_classification_adapter_predicts_classes_or_labels():
    batch = {"image": IMAGES, "label": torch.tensor([2, 0])}
    output = adapted("classification", torch.tensor([[0.0, 0, 1], [0, 2, 0]]), batch)
    assert output["preds"].tolist() == [2, 1]
    single = adapted("classification", torch.tensor([[2.0], [-1]]), (IMAGES, torch.tensor([1, 1])))
    assert single["preds"].tolist() == [1, 0]
    labels = {"image": IMAGES, "label": torch.tensor([[1, 0, 1], [0, 0, 1]])}
    for name in ("classification", "multilabel"):
        several = adapted(name, torch.tensor([[3.0, -1, 2], [1, -1, -1]]), labels)
        assert several["preds"].tolist() == [[1, 0, 1], [1, 0, 0]]


def test_the_regression_adapter_keeps_the_values():
    batch = {"image": IMAGES, "label": torch.tensor([3, 4])}
    output = adapted("regression", torch.tensor([[2.5], [4.0]]), batch)
    assert output["preds"].tolist() == [[2.5], [4.0]]
    assert output["targets"].tolist() == [[3.0], [4.0]]


@pytest.mark.parametrize("form", ["pair", "dict", "older dict"])
def test_the_detection_adapter_counts_labels_from_zero(form):
    corners, labels = torch.tensor([[1.0, 1, 6, 6]]), torch.tensor([1])
    answer = [{"boxes": corners, "labels": labels, "scores": torch.tensor([0.9])}] * 2
    names = ("bbox_xyxy", "label") if form == "dict" else ("boxes", "labels")
    batch = (
        (list(IMAGES), [{"boxes": corners, "labels": labels, "image_id": 3}] * 2)
        if form == "pair"
        else {"image": IMAGES, names[0]: [corners] * 2, names[1]: [labels] * 2}
    )
    output = adapted("detection", answer, batch)
    assert output["preds"][0]["labels"].tolist() == output["targets"][1]["labels"].tolist() == [0]
    answer = [{**answer[0], "labels": torch.tensor([0])}] * 2
    with pytest.raises(ValueError, match=r"needs labels >= 1, .* got 0"):
        adapted("detection", answer, batch)


@pytest.mark.parametrize(
    ("batch", "message"),
    [({"picture": IMAGES}, r"needs a batch with 'image', .* got \['picture'\]"), (3, "got int")],
)
def test_unknown_forms_of_batch_are_named(batch, message):
    with pytest.raises(TypeError, match=message):
        ADAPTERS["segmentation"](None, batch, Dropping(IMAGES))


@pytest.mark.parametrize(
    ("name", "answer", "targets"),
    [
        ("classification", torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)),
        ("classification", torch.zeros(2, 3), torch.zeros(2, 2)),
        ("classification", torch.zeros(2, 3), torch.tensor(1)),
        ("segmentation", torch.zeros(2, 3), torch.zeros(2)),
        ("segmentation", torch.zeros(2, 3, 8, 8), torch.zeros(2)),
        ("detection", torch.zeros(2, 3), torch.zeros(2)),
        ("detection", [{"boxes": torch.zeros(0, 4)}] * 2, [{"boxes": torch.zeros(0, 4)}] * 2),
    ],
)
def test_an_adapter_of_another_task_says_what_it_needs(name, answer, targets):
    with pytest.raises(ValueError, match=rf"adapter='{name}' needs .* returned .*; pass another"):
        adapted(name, answer, (IMAGES, targets))


def test_an_output_returned_by_the_step_is_used_unchanged():
    output = {"kind": "classification"}
    assert ADAPTERS["classification"](output, None, None) is output
