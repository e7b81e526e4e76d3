import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lightning_hparams import BrainTissueData, SyntheticShapesData
from lightning_hparams.data import ShapesDataset, brain_slices, brain_split
from tests.runs import matching, quiet_trainer

needs_nilearn = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("nilearn"),
    reason="nilearn is not installed: pip install 'lightning-hparams[examples]'",
)


@pytest.fixture(scope="module")
def brain():
    data = BrainTissueData()
    data.setup("fit")
    return data


@needs_nilearn
def test_brain_slices_have_three_classes_where_the_image_shows_them():
    images, masks = brain_slices(128)
    assert images.shape == (146, 1, 128, 128)
    assert images.dtype == masks.dtype == torch.uint8
    assert masks.shape == (146, 128, 128)
    assert masks.unique().tolist() == [0, 1, 2]
    brightness = [float(images[:, 0][masks == c].float().mean()) for c in range(3)]
    assert brightness[0] < 60 < brightness[1] < brightness[2]  # T1: white matter is brightest


@needs_nilearn
def test_brain_slices_are_upright():
    _, masks = brain_slices(128)
    low = (masks[20] > 0).float()  # the cerebellum lies behind: below in the picture
    rows = (low.sum(1) * torch.arange(128)).sum() / low.sum()
    assert rows > 64
    middle = (masks[75] > 0).float()  # left and right are alike in the average head
    assert (middle - middle.flip(1)).abs().mean() < 0.05


@given(count=st.integers(146, 400), gap=st.integers(0, 10))
def test_validation_slices_are_never_near_a_training_slice(count, gap):
    train, val = brain_split(count, gap)
    assert len(set(val)) == 30
    assert min(abs(a - b) for a in train for b in val) == gap + 1
    assert set(train) | set(val) <= set(range(count))


@needs_nilearn
def test_a_brain_batch_has_the_form_that_a_task_expects(brain):
    batch = next(iter(brain.val_dataloader()))
    assert batch["image"].shape == (8, 1, 128, 128)
    assert batch["mask"].shape == (8, 128, 128)
    assert batch["index"].tolist() == list(range(8))
    assert batch["path"][0].startswith("MNI152 axial slice")
    assert batch["size"].tolist() == [[128, 128]] * 8


@needs_nilearn
def test_mirroring_keeps_image_and_mask_together(brain):
    plain = BrainTissueData(augment=False)
    plain.setup("fit")
    for index in range(0, 100, 7):
        ours, theirs = brain.train_set[index], plain.train_set[index]
        flipped = not torch.equal(ours["image"], theirs["image"])
        expected = theirs["mask"].flip(1) if flipped else theirs["mask"]
        assert torch.equal(ours["mask"], expected)


@needs_nilearn
def test_brain_statistics_are_those_of_the_training_slices(brain):
    images = brain.train_set.images / 255
    assert brain.mean == [pytest.approx(float(images.mean()), abs=0.01)]
    assert brain.std == [pytest.approx(float(images.std()), abs=0.01)]


def test_a_missing_nilearn_error_gives_the_install_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nilearn", None)
    monkeypatch.setitem(__import__("sys").modules, "nilearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"lightning-hparams\[examples\]"):
        BrainTissueData().setup("fit")


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), index=st.integers(0, 99))
def test_a_shapes_image_depends_on_seed_and_index_alone(seed, index):
    options = {"size": 32, "task": "multiclass", "seed": seed}
    one, other = ShapesDataset(100, 0, **options), ShapesDataset(100, 0, **options)
    for k in (3, 7):
        other[k]
    assert torch.equal(one[index]["image"], other[index]["image"])
    assert torch.equal(one[index]["mask"], other[index]["mask"])


def test_workers_draw_the_same_images_as_the_main_process():
    batches = []
    for num_workers in (0, 2):
        data = SyntheticShapesData(num_val=12, size=32, batch_size=5, num_workers=num_workers)
        data.setup("fit")
        batches.append(torch.cat([batch["image"] for batch in data.val_dataloader()]))
    assert torch.equal(*batches)


def test_train_validation_and_test_images_differ():
    data = SyntheticShapesData(size=32)
    data.setup("fit")
    images = [part[0]["image"] for part in (data.val_set, data.test_set)]
    assert not torch.equal(*images)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_shapes_masks_contain_the_classes(task):
    data = SyntheticShapesData(size=48, task=task)
    data.setup("fit")
    masks = torch.stack([data.val_set[i]["mask"] for i in range(40)])
    assert masks.dtype == torch.uint8
    if task == "multilabel":
        assert masks.shape == (40, 3, 48, 48)
        assert (masks.sum((0, 2, 3)) > 0).all()
        assert (masks.sum(1) > 1).any()  # labels overlap
    else:
        assert masks.unique().tolist() == list(range(data.num_classes))


def test_colour_does_not_give_the_class_away():
    dataset = ShapesDataset(300, 0, size=32, task="multiclass", seed=0)
    colors = {kind: [] for kind in (1, 2, 3)}
    for sample in (dataset[i] for i in range(300)):
        for kind, found in colors.items():
            inside = sample["mask"] == kind
            if inside.sum() > 20:
                found.append(sample["image"][:, inside].float().mean(1))
    means = torch.stack([torch.stack(found).mean(0) for found in colors.values()])
    assert (means - means.mean(0)).abs().max() < 20


def test_the_last_incomplete_batch_is_dropped_unless_it_is_the_only_one():
    data = SyntheticShapesData(num_train=11, size=16, batch_size=4)
    data.setup("fit")
    assert [len(b["image"]) for b in data.train_dataloader()] == [4, 4]
    small = SyntheticShapesData(num_train=3, size=16, batch_size=4)
    small.setup("fit")
    assert [len(b["image"]) for b in small.train_dataloader()] == [3]


def test_a_trainer_uses_every_loader():
    data = SyntheticShapesData(num_train=4, num_val=2, size=32, batch_size=2, task="multilabel")
    module = matching(data)
    trainer = quiet_trainer()
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    paths = [path for output in trainer.predict(module, data) for path in output["paths"]]
    assert paths == ["shapes 2/0", "shapes 2/1"]


def test_datasets_can_be_pickled():
    data = SyntheticShapesData(size=16)
    data.setup("fit")
    copy = pickle.loads(pickle.dumps(data.train_set))
    assert len(copy) == len(data.train_set)


def test_arguments_are_saved_in_the_checkpoint():
    hparams = dict(SyntheticShapesData(size=32).hparams)
    assert SyntheticShapesData(**hparams).size == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "`16 <= size` must hold"),
        ({"num_train": 0}, "`1 <= num_train` must hold"),
        ({"task": "multi"}, "did you mean 'multi"),
        ({"batch_size": 0}, "`1 <= batch_size` must hold"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SyntheticShapesData(**options)


@pytest.mark.parametrize("kind", [SyntheticShapesData, BrainTissueData])
def test_a_fractional_size_is_refused(kind):
    with pytest.raises(TypeError, match=r"`size` must be a whole number, got 64\.5"):
        kind(size=64.5)


def test_a_loader_asked_for_before_setup_says_so():
    with pytest.raises(RuntimeError, match=r"no train data yet; call setup\(\)"):
        SyntheticShapesData().train_dataloader()


def test_noise_leaves_shapes_visible():
    sample = ShapesDataset(1, 0, size=64, task="binary", seed=3)[0]
    image, mask = sample["image"].float(), sample["mask"].bool()
    edge = np.abs(float(image[:, mask].mean()) - float(image[:, ~mask].mean()))
    assert edge > 1


def test_workers_persist_between_epochs():
    data = SyntheticShapesData(num_train=6, size=16, batch_size=2, num_workers=1)
    data.setup("fit")
    loader = data.train_dataloader()
    workers = []
    for _ in range(2):
        list(loader)
        workers.append([worker.pid for worker in loader._iterator._workers])
    assert workers[0] == workers[1]


def drawn(task, count=40, size=48):
    return [ShapesDataset(count, 0, size=size, task=task)[index] for index in range(count)]


def test_boxes_enclose_what_is_drawn():
    """Pixels inside the boxes differ from the smooth background, those outside do not."""
    inside, outside = [], []
    for sample in drawn("detection", size=96):
        smooth = torch.nn.functional.avg_pool2d(
            sample["image"].float(), 3, 1, 1, count_include_pad=False
        )
        steps = (smooth[:, 1:, 1:] - smooth[:, :-1, :-1]).abs().amax(0)  # edges
        within = torch.zeros_like(steps, dtype=torch.bool)
        for x1, y1, x2, y2 in sample["target"]["boxes"].int().tolist():
            within[max(y1 - 3, 0) : y2 + 2, max(x1 - 3, 0) : x2 + 2] = True
            inside.append(float(steps[max(y1 - 2, 0) : y2 + 1, max(x1 - 2, 0) : x2 + 1].max()))
        outside.append(float(steps[~within].max()))
    assert min(inside) > 15
    assert max(outside) < 30


def test_shapes_to_detect_have_boxes_in_the_image_and_labels_in_range():
    targets = [sample["target"] for sample in drawn("detection")]
    counts = [len(target["labels"]) for target in targets]
    assert min(counts) == 0  # backgrounds train, too
    assert max(counts) >= 4
    boxes = torch.cat([target["boxes"] for target in targets])
    assert boxes.min() >= 0
    assert boxes.max() <= 48
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 3
    assert torch.cat([target["labels"] for target in targets]).unique().tolist() == [0, 1, 2]


def test_regressed_values_are_those_of_the_shape():
    """Centre and radius of a bright disc, found again by its pixels."""
    for sample in drawn("regression", count=20, size=96):
        x, y, radius = sample["value"].tolist()
        image = sample["image"].float()
        centre = image[:, int(y), int(x)]
        like = ((image - centre[:, None, None]).abs().amax(0) < 50).float()
        rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
        near = torch.hypot(rows - y, columns - x) < radius * 0.4
        assert like[near].mean() > 0.8


@pytest.mark.parametrize("task", ["classification", "multilabel_classification", "detection"])
def test_counts_are_those_of_the_samples(task):
    data = SyntheticShapesData(num_train=30, size=32, task=task)
    data.setup("fit")
    samples = [data.train_set[index] for index in range(30)]
    if task == "classification":
        expected = torch.bincount(torch.tensor([sample["label"] for sample in samples]))
    elif task == "detection":
        labels = [sample["target"]["labels"] for sample in samples]
        expected = torch.bincount(torch.cat(labels), minlength=3)
    else:
        expected = sum(sample["label"] for sample in samples)
    assert data.class_counts() == expected.tolist()


@pytest.mark.parametrize(
    ("task", "called", "key", "shape"),
    [
        ("classification", "multiclass", "label", (4,)),
        ("multilabel_classification", "multilabel", "label", (4, 3)),
        ("regression", "regression", "value", (4, 3)),
    ],
)
def test_a_batch_has_the_form_that_each_task_expects(task, called, key, shape):
    data = SyntheticShapesData(num_val=4, size=32, batch_size=4, task=task)
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch[key].shape == shape
    assert data.task == called
    assert SyntheticShapesData(**data.hparams).task == called


def test_values_cannot_be_balanced():
    with pytest.raises(ValueError, match="needs classes, which task='regression' lacks"):
        SyntheticShapesData(task="regression", sampler="balanced")
