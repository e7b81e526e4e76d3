"""Published values: complete, named, and usable as arguments."""

import pytest

from lightning_hparams import Cifar10Data, presets
from lightning_hparams.optim import check_optimizer


@pytest.fixture(params=presets.names())
def preset(request):
    return presets.get(request.param)


def test_every_value_says_where_it_comes_from(preset):
    assert "arXiv:" in preset.paper
    for key, chosen in preset.values.items():
        assert key.partition(".")[0] in ("task", "data", "trainer")
        assert chosen.reason
        assert f"{chosen.value}  ({chosen.reason})" in str(preset)
    assert preset.schedule_reason in str(preset)


def test_the_optimizer_takes_the_values(preset):
    task = preset.task
    args = task.get("optimizer_args", {})
    check_optimizer(task["optimizer"], task["lr"], task.get("weight_decay"), args)


def test_the_schedule_peaks_at_the_published_rate_and_ends_below_it(preset):
    values = [preset.schedule(step, 1000) for step in range(1000)]
    assert max(values) == pytest.approx(1, abs=0.01)
    assert 0 <= values[-1] < 0.2


def test_sgd_scales_the_rate_with_the_batch_and_adam_with_its_root():
    assert presets.get("detection/fcos").at_batch_size(4).task["lr"] == pytest.approx(0.0025)
    scaled = presets.get("classification/convnext").at_batch_size(1024)
    assert scaled.task["lr"] == pytest.approx(0.002)
    assert scaled.data["batch_size"] == 1024
    assert "2205.10287" in scaled.values["task.lr"].reason


def test_an_unknown_name_suggests_a_similar_one():
    with pytest.raises(ValueError, match="did you mean 'segmentation/nnunet'"):
        presets.get("segmentation/nnnet")


def test_a_batch_without_images_is_refused(preset):
    with pytest.raises(ValueError, match="batch_size"):
        preset.at_batch_size(0)


def test_the_values_for_cifar_fit_its_data(tmp_path):
    data = Cifar10Data(tmp_path, **presets.get("classification/cifar-wide-resnet").data)
    assert data.augment is True
    assert data.batch_size == 128
