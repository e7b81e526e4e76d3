"""Predicted masks are written to files, once and completely, and not kept in memory."""

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lightning_hparams import MaskFolderData, PredictionWriter, SegmentationTask
from lightning_hparams.callbacks.prediction_writer import relative_name
from lightning_hparams.data import MaskReader
from tests.runs import matching, quiet_trainer, shapes


def make(root, names, size=(20, 30)):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / name)
    return root


def folder_data(root, **options):
    options = {"num_classes": 3, "num_workers": 0, "size": 32, "batch_size": 2, **options}
    return MaskFolderData(root, predict_images=root, **options)


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_masks_are_written_at_the_size_of_their_files_and_read_back(tmp_path):
    root = make(tmp_path / "in", ["a.png", "b.jpg", "c.png"])
    data = folder_data(root)
    task = matching(data)
    expected = quiet_trainer().predict(task, data)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out")])
    assert trainer.predict(task, data) is None
    assert written(tmp_path / "out") == ["a.png", "b.png", "c.png"]
    masks = [mask for output in expected for mask in output["masks"]]
    for name, mask in zip("abc", masks, strict=True):
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert image.size == (30, 20)
        assert torch.equal(MaskReader(3)(tmp_path / "out" / f"{name}.png"), mask)


def test_images_of_several_folders_keep_them(tmp_path):
    root = make(tmp_path / "in", ["north/1.png", "south/1.png"])
    data = folder_data(root)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out")])
    trainer.predict(matching(data), data, return_predictions=False)
    assert written(tmp_path / "out") == ["north/1.png", "south/1.png"]


def test_probabilities_are_written_only_if_asked_for(tmp_path):
    data = folder_data(make(tmp_path / "in", ["a.png"]))
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out", probabilities=True)])
    trainer.predict(matching(data), data)
    assert written(tmp_path / "out") == ["a.npy", "a.png"]
    values = np.load(tmp_path / "out" / "a.npy")
    assert values.shape == (3, 20, 30)
    np.testing.assert_allclose(values.astype(np.float32).sum(0), 1, atol=2e-3)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("binary", ["shapes 2/0.png", "shapes 2/1.png"]),
        ("multilabel", [f"shapes 2/{i}_{n}.png" for i in (0, 1) for n in ("disc", "square")]),
    ],
)
def test_masks_of_two_values_are_shown_in_black_and_white(tmp_path, task, names):
    data = shapes(task, num_val=2)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    trainer.predict(matching(data), data)
    assert set(names) <= set(written(tmp_path))
    for name in names:
        with Image.open(tmp_path / name) as image:
            shown = {color for _, color in image.convert("RGB").getcolors()}
        assert shown <= {(0, 0, 0), (255, 255, 255)}


class Fixed(LightningModule):
    """Returns a mask filled with the value of each image."""

    def __init__(self, form="masks"):
        super().__init__()
        self.form = form
        self.kept = []

    def predict_step(self, batch, batch_idx):
        masks = batch[:, 0].to(torch.uint8)
        self.kept.append(weakref.ref(masks))
        forms = {
            "masks": masks,
            "dict": {"masks": list(masks)},
            "multilabel": {"masks": [torch.stack([mask * 0, mask * 0 + 1]) for mask in masks]},
            "float": masks / 2,
            "none": {"logits": masks},
        }
        return forms[self.form]


@pytest.mark.parametrize("form", ["masks", "dict"])
def test_predictions_are_numbered_where_no_path_is_known(tmp_path, form):
    images = torch.arange(5).view(5, 1, 1, 1).expand(5, 1, 4, 6)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    module = Fixed(form)
    trainer.predict(module, DataLoader(images, batch_size=2))
    assert written(tmp_path) == [f"{index:06d}.png" for index in range(5)]
    values = [np.asarray(Image.open(path)).max() for path in sorted(tmp_path.iterdir())]
    assert values == [0, 1, 2, 3, 4]
    gc.collect()
    assert [one() for one in module.kept[:-1]] == [None, None]


@pytest.mark.parametrize("names", [{"square": 1, "disc": 0}, lambda: ["disc", "square"]])
def test_class_names_of_a_module_may_be_of_any_type(tmp_path, names):
    module = Fixed("multilabel")
    module.class_names = names
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    trainer.predict(module, DataLoader(torch.zeros(1, 1, 4, 6)))
    values = {path.name: np.asarray(Image.open(path)).max() for path in tmp_path.iterdir()}
    assert values == {"000000_disc.png": 0, "000000_square.png": 1}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["a/b", "a_b"], ["0", "1"]),
        (["Disc", "disc"], ["0", "1"]),
        (["x" * 5000, "disc"], ["0", "disc"]),
        (["=1\n2", "\0"], ["0", "1"]),
        (["\ud800", "a:b"], ["0", "1"]),
    ],
)
def test_labels_whose_names_are_no_file_names_are_numbered(tmp_path, names, parts):
    module = Fixed("multilabel")
    module.class_names = names
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    trainer.predict(module, DataLoader(torch.zeros(1, 1, 4, 6)))
    values = {path.name: np.asarray(Image.open(path)).max() for path in tmp_path.iterdir()}
    assert values == {f"000000_{part}.png": index for index, part in enumerate(parts)}


@pytest.mark.parametrize(
    ("form", "message"), [("float", "got .4, 6. of float32"), ("none", "got .'logits'.")]
)
def test_predictions_without_masks_are_refused(tmp_path, form, message):
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path)])
    with pytest.raises(TypeError, match=f"PredictionWriter needs .*{message}"):
        trainer.predict(Fixed(form), DataLoader(torch.zeros(2, 1, 4, 6)))


def test_two_images_with_the_same_name_are_refused(tmp_path):
    data = folder_data(make(tmp_path / "in", ["a.png", "b.png"]))
    data.setup("predict")
    make(tmp_path / "other", ["a.jpg", "a.png"])
    data.predict_set.paths = [tmp_path / "other" / f"a.{end}" for end in ("jpg", "png")]
    data.setup = lambda stage: None
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out")])
    with pytest.raises(ValueError, match=r"a.jpg and .*a.png would both be written to .*a.png"):
        trainer.predict(matching(data), data)


@pytest.mark.parametrize("lists_files", [True, False])
def test_masks_never_replace_the_images_they_are_predicted_from(tmp_path, monkeypatch, lists_files):
    root = make(tmp_path / "in", ["a.png", "b.png"])
    before = {path: path.read_bytes() for path in root.iterdir()}
    if not lists_files:
        module = "lightning_hparams.callbacks.prediction_writer"
        monkeypatch.setattr(f"{module}.input_files", lambda loaders: None)
        monkeypatch.setattr(f"{module}.relative_name", lambda path, root: Path("../in/a"))
    folder = root if lists_files else tmp_path / "out"
    trainer = quiet_trainer(callbacks=[PredictionWriter(folder)])
    data = folder_data(root)
    with pytest.raises(ValueError, match="replace"):
        trainer.predict(matching(data), data)
    assert {path: path.read_bytes() for path in root.iterdir()} == before


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_masks_never_replace_another_image(tmp_path, task, wrapped):
    """The mask of 1.png belongs to north/1.png, or north/1_b.png, which is an image too."""
    root = make(tmp_path / "in", ["1.png", "north/1.png", "north/1_b.png"])
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    (tmp_path / "link").symlink_to(root)
    data = MaskFolderData(root, num_classes=2, task="binary", size=32, num_workers=0)
    paths = sorted(before)
    data._images_to_predict = lambda: paths
    data.setup("predict")
    task = SegmentationTask(
        encoder="tu-resnet10t", num_classes=2, task=task, class_names=["a", "b"]
    )
    predicted = ConcatDataset([Subset(data.predict_set, [0, 1])]) if wrapped else data.predict_set
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "link" / "north")])
    with pytest.raises(ValueError, match=r"mask of .*in/1.png would replace .*north/1.*.png"):
        trainer.predict(task, DataLoader(predicted))
    assert {path: path.read_bytes() for path in before} == before


def test_an_interrupted_write_leaves_no_partial_file(tmp_path, monkeypatch):
    data = folder_data(make(tmp_path / "in", ["a.png", "b.png"]), batch_size=1)
    saved = Image.Image.save

    def failing(image, file, **options):
        saved(image, file, **options)
        if Path(file.name).name.startswith(".b"):
            raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", failing)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out")])
    with pytest.raises(OSError, match="No space left"):
        trainer.predict(matching(data), data)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_an_error_of_writing_is_not_hidden_by_a_failing_cleanup(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError("No space left on device")

    def stuck(path, missing_ok=False):
        raise PermissionError("in use")

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(Path, "unlink", stuck)
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "out")])
    with pytest.raises(OSError, match="No space left"):
        trainer.predict(Fixed(), DataLoader(torch.zeros(2, 1, 4, 6)))


def test_a_folder_that_cannot_be_created_is_named_before_anything_is_predicted(tmp_path):
    (tmp_path / "file").write_text("")
    module = Fixed()
    trainer = quiet_trainer(callbacks=[PredictionWriter(tmp_path / "file" / "out")])
    with pytest.raises(PermissionError, match=re.escape("cannot be written to")):
        trainer.predict(module, DataLoader(torch.zeros(2, 1, 4, 6)))
    assert module.kept == []


@pytest.mark.parametrize("path", ["../../x.png", "/etc/x.png", "a/../../x.png"])
def test_no_name_leads_out_of_the_folder(path):
    name = relative_name(path, Path("/somewhere"))
    assert not name.is_absolute()
    assert ".." not in name.parts
    assert name.name == "x"


@pytest.mark.slow
def test_two_processes_write_each_image_once(tmp_path):
    data = folder_data(make(tmp_path / "in", [f"{n}.png" for n in range(5)]), batch_size=1)
    trainer = quiet_trainer(
        callbacks=[PredictionWriter(tmp_path / "out")], devices=2, strategy="ddp_fork"
    )
    trainer.predict(matching(data), data, return_predictions=False)
    assert written(tmp_path / "out") == [f"{n}.png" for n in range(5)]
