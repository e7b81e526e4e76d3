"""Loaders, batches and samplers that all data modules share."""

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from lightning import LightningModule

from lightning_hparams import DigitsData, ExactResume, SyntheticShapesData
from lightning_hparams.data import (
    BalancedSampler,
    MaskDataset,
    SegmentationData,
    balanced_weights,
    collate,
)
from tests.callbacks.schedule_runs import SaveEach
from tests.runs import quiet_trainer


def drawn(sampler, counts):
    """How often an epoch shows each class."""
    indices = list(sampler)
    if counts.ndim == 1:
        return torch.bincount(counts[indices])
    return (counts[indices] > 0).sum(0)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=8).filter(
        lambda s: sum(s) > 10 * len(s)
    ),
    epoch=st.integers(0, 5),
)
def test_a_balanced_epoch_shows_each_class_equally_often(sizes, epoch):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    sampler = BalancedSampler(labels)
    sampler.set_epoch(epoch)
    shown = drawn(sampler, labels)
    assert shown.sum() == len(labels)
    assert (shown - len(labels) / len(sizes)).abs().max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_balanced_epoch_shows_labels_and_boxes_equally_often(seed):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.tensor([5, 0.6, 0.1]).expand(400, 3), generator=generator)
    shown = drawn(BalancedSampler(counts), counts).double()
    assert float((shown / shown.mean() - 1).abs().max()) <= 0.1


def test_balanced_weights_keep_images_without_classes():
    counts = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0]])
    weights = balanced_weights(counts)
    assert weights[:2].sum() == pytest.approx(float(weights[2]), rel=0.02)
    assert 0 < weights[3] < weights[2]
    assert balanced_weights(torch.zeros(4, 3)).tolist() == [0.25] * 4


def test_a_class_that_never_occurs_does_not_disturb_the_balance():
    counts = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    assert balanced_weights(counts)[3] == pytest.approx(0.5, rel=0.02)


def test_a_class_in_all_images_does_not_single_out_those_with_many_classes():
    generator = torch.Generator().manual_seed(0)
    counts = (torch.rand(300, 4, generator=generator) < 0.3).long()
    counts[:, 0] = 7  # a background
    indices = list(BalancedSampler(counts))
    assert len(set(indices)) > 200
    shown = (counts[indices, 1:] > 0).sum(0).double()
    assert float((shown / shown.mean() - 1).abs().max()) <= 0.1


def test_classes_that_cannot_be_balanced_leave_many_images():
    counts = torch.ones(300, 3, dtype=torch.int64)
    counts[:3, 0] = counts[3:6, 1] = 0  # each in almost all images
    counts[::20, 2] = 0
    counts[1::30, 2] = 0
    assert len(set(BalancedSampler(counts))) > 100


def test_processes_share_one_balanced_draw_and_each_epoch_has_another():
    labels = torch.tensor([0] * 30 + [1] * 4)
    single = BalancedSampler(labels)
    both = [BalancedSampler(labels, 2, rank) for rank in range(2)]
    orders = set()
    for epoch in range(3):
        for sampler in (single, *both):
            sampler.set_epoch(epoch)
        merged = [index for pair in zip(*both, strict=True) for index in pair]
        assert merged == list(single)
        orders.add(tuple(merged))
    assert len(orders) == 3


def test_the_seed_changes_the_balanced_draw(monkeypatch):
    labels = torch.arange(20) % 3
    first = list(BalancedSampler(labels))
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert list(BalancedSampler(labels)) != first


class Watch(LightningModule):
    """Notes what it is shown."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.shown = []

    def training_step(self, batch, batch_idx):
        self.shown += batch["index"].tolist()
        return self.layer(torch.ones(1)).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_shows_a_balanced_order_that_depends_on_the_epoch(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    data = SyntheticShapesData(
        num_train=12, num_val=1, size=16, batch_size=4, task="classification", sampler="balanced"
    )
    module = Watch()
    quiet_trainer(max_epochs=2).fit(module, data)
    first, second = module.shown[:12], module.shown[12:]
    assert first != second
    shown = torch.bincount(data.train_set.class_counts()[first], minlength=3)
    assert (shown - 4).abs().max() <= 1


def balanced():
    return SyntheticShapesData(
        num_train=12, num_val=1, size=16, batch_size=2, task="classification", sampler="balanced"
    )


@pytest.mark.parametrize("steps", [4, 6])  # within an epoch and at its end
def test_a_resumed_run_continues_the_balanced_order(tmp_path, steps):
    whole, rest = Watch(), Watch()
    callbacks = [ExactResume(), SaveEach(tmp_path)]
    quiet_trainer(max_epochs=3, callbacks=callbacks).fit(whole, balanced())
    again = quiet_trainer(max_epochs=3, callbacks=[ExactResume()])
    again.fit(rest, balanced(), ckpt_path=tmp_path / f"{steps}.ckpt")
    assert rest.shown == whole.shown[2 * steps :]


DDP = """
    import sys, torch, lightning
    from tests.data.test_base import Watch, balanced

    if __name__ == "__main__":
        module = Watch()
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )
        torch.manual_seed(trainer.global_rank)  # processes seldom agree in this
        trainer.fit(module, balanced())
        torch.save(module.shown, f"shown{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_on_one_balanced_draw(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(DDP))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    both = [torch.load(tmp_path / f"shown{rank}.pt") for rank in (0, 1)]
    data = balanced()
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    expected = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert [index for pair in zip(*both, strict=True) for index in pair] == expected


def test_boxes_and_images_of_different_sizes_stay_lists():
    def sample(height, count):
        target = {"boxes": torch.zeros(count, 4), "labels": torch.zeros(count)}
        return {"image": torch.zeros(3, height, 8), "target": target, "index": 0, "path": "a"}

    batch = collate([sample(8, 0), sample(9, 2)])
    assert [image.shape[1] for image in batch["image"]] == [8, 9]
    assert [len(target["boxes"]) for target in batch["target"]] == [0, 2]
    assert batch["path"] == ["a", "a"]
    assert collate([sample(8, 0), sample(8, 1)])["image"].shape == (2, 3, 8, 8)


class Masks(SegmentationData):
    """As a user may write it."""

    def __init__(self, **options):
        super().__init__(2, 0, **options)
        self.num_classes, self.class_names, self.in_channels = 3, ["a", "b", "c"], 1

    def setup(self, stage):
        masks = torch.zeros(5, 2, 2, dtype=torch.uint8)
        masks[0] = torch.tensor([[0, 0], [1, 255]])
        images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
        self.train_set = MaskDataset(images, masks, ["a"] * 5, num_classes=3)


def test_pixels_of_each_class_are_counted():
    data = Masks()
    data.setup("fit")
    assert data.class_counts() == [18, 1, 0]


def test_balanced_masks_show_rare_classes_as_often_as_common_ones():
    data = Masks(sampler="balanced")
    data.setup("fit")
    weights = data.train_dataloader().sampler.weights
    assert weights.tolist() == pytest.approx([0.5, *[0.125] * 4], rel=0.02)


def test_counting_before_setup_says_so():
    with pytest.raises(RuntimeError, match=r"call setup\(\)"):
        Masks().class_counts()


def test_a_dataset_that_does_not_count_its_classes_says_how():
    data = Masks(sampler="balanced")
    data.train_set = [{"image": torch.zeros(1)}] * 4
    with pytest.raises(TypeError, match=r"needs the classes .* a method class_counts\(\)"):
        data.train_dataloader()


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="did you mean 'balanced'"):
        DigitsData(sampler="balance")


@pytest.mark.parametrize("sampler", ["random", "balanced"])
def test_a_process_whose_part_is_smaller_than_a_batch_still_gets_one(sampler):
    data = Masks(sampler=sampler)
    data.batch_size = 4
    data.setup("fit")
    data.trainer = SimpleNamespace(world_size=2, global_rank=1)
    assert not data.train_dataloader().drop_last  # three of five images
    data.trainer = SimpleNamespace(world_size=1, global_rank=0)
    assert data.train_dataloader().drop_last
