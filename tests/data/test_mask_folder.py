"""MaskFolderData reads common folders, and names faulty files before training."""

import json
import pickle

import numpy as np
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from PIL import Image
from torchvision.transforms import v2

from lightning_hparams import MaskFolderData, SegmentationTask
from tests.data.files import oriented
from tests.runs import matching, quiet_trainer

# The small images of these tests are often the same.
pytestmark = pytest.mark.filterwarnings("ignore:images in train are in another split too")


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Ten images of 20 x 30 pixels, with masks of classes 0, 1 and 2."""
    rng = np.random.default_rng(0)
    for index in range(10):
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        save(tmp_path / "images" / f"{index}.png", image)
        save(tmp_path / "masks" / f"{index}.png", (image[..., 0] % 3).astype(np.uint8))
    return tmp_path


def make(folder, **options):
    options = {"num_classes": 3, "num_workers": 0, **options}
    if options["num_classes"] is None:
        del options["num_classes"]
    return MaskFolderData(str(folder / "images"), str(folder / "masks"), **options)


def test_a_batch_holds_images_masks_and_where_they_come_from(folder):
    data = make(folder, augment=False)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (8, 2)
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (2, 3, 20, 30)
    assert batch["image"].dtype == torch.uint8
    assert torch.equal(batch["mask"], batch["image"][:, 0] % 3)
    assert batch["path"][0].startswith(str(folder / "images"))
    assert batch["size"].tolist() == [[20, 30]] * 2


def test_the_split_depends_only_on_the_seed(folder):
    def split(seed):
        data = make(folder, seed=seed)
        torch.rand(seed + 1)
        data.setup("fit")
        return [path for path, _ in data.val_set.files]

    assert split(3) == split(3)
    assert len({tuple(split(seed)) for seed in range(8)}) > 3


def test_split_files_are_followed(folder):
    for name, stems in {"train": "0\n1\n2\n", "val": "3\n4\n", "test": "5\n\n"}.items():
        (folder / f"{name}.txt").write_text(stems)
    data = make(
        folder,
        train_split=str(folder / "train.txt"),
        val_split=str(folder / "val.txt"),
        test_split=str(folder / "test.txt"),
    )
    data.setup("fit")
    names = [
        [p.stem for p, _ in part.files] for part in (data.train_set, data.val_set, data.test_set)
    ]
    assert names == [["0", "1", "2"], ["3", "4"], ["5"]]


def test_files_in_no_split_need_no_counterpart(folder):
    for index in (0, 1, 2):
        (folder / "masks" / f"{index}.png").unlink()
    (folder / "train.txt").write_text("3\n4\n5\n")
    (folder / "val.txt").write_text("6\n7\n")
    data = make(folder, train_split=folder / "train.txt", val_split=folder / "val.txt")
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (3, 2)


def test_images_and_masks_may_be_in_one_folder(folder):
    for index in range(10):
        mask = folder / "masks" / f"{index}.png"
        mask.rename(folder / "images" / f"{index}_mask.png")
    (folder / "images" / "._0.png").write_bytes(b"what macOS leaves behind")
    data = MaskFolderData(
        folder / "images", folder / "images", num_classes=3, mask_suffix="_mask", num_workers=0
    )
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (8, 2)
    data.setup("predict")
    assert len(data.predict_set) == 10


def test_images_are_resized_and_masks_keep_their_classes(folder):
    data = make(folder, size=[64, 32])
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (8, 3, 64, 32)
    assert batch["mask"].shape == (8, 64, 32)
    assert batch["mask"].unique().tolist() == [0, 1, 2]
    assert batch["size"].tolist() == [[20, 30]] * 8


def test_augmentation_moves_image_and_mask_together(folder):
    grey = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30) % 3
    for index in range(10):
        save(folder / "images" / f"{index}.png", np.repeat(grey[..., None], 3, 2) * 100)
        save(folder / "masks" / f"{index}.png", grey)
    moves = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.RandomCrop((10, 10))]
    )
    data = make(folder, augment=moves)
    data.setup("fit")
    masks = set()
    for _ in range(5):
        for batch in data.train_dataloader():
            assert torch.equal(batch["image"][:, 0], batch["mask"] * 100)
            masks |= {mask.numpy().tobytes() for mask in batch["mask"]}
    assert len(masks) > 10


def test_prediction_reads_images_without_masks_one_size_at_a_time(folder):
    save(folder / "new" / "a.png", np.zeros((10, 12, 3), np.uint8))
    save(folder / "new" / "b.png", np.zeros((9, 7, 3), np.uint8))
    data = make(folder, predict_images=str(folder / "new"))
    data.setup("predict")
    shapes = [tuple(batch["image"].shape[-2:]) for batch in data.predict_dataloader()]
    assert shapes == [(10, 12), (9, 7)]


@pytest.mark.parametrize(
    ("folders", "kept"),
    [
        (["images", "masks"], ["images"]),
        (["images", "overlays"], ["images"]),
        (["north", "south", "labels"], ["north", "south"]),
        (["test", "testannot"], ["test"]),
        (["test/images", "test/masks", "val/images", "val/masks"], ["test/images", "val/images"]),
        (["masks"], ["masks"]),
        (["north", "south"], ["north", "south"]),
    ],
)
def test_prediction_reads_no_masks_beside_the_images(tmp_path, folders, kept):
    for name in folders:
        save(tmp_path / "new" / name / "a.png", np.zeros((4, 4), np.uint8))
    data = MaskFolderData(tmp_path, num_classes=2, predict_images=tmp_path / "new")
    data.setup("predict")
    paths = data.predict_set.paths
    assert paths == [tmp_path / "new" / name / "a.png" for name in kept]


def test_prediction_reads_subfolders_of_a_folder_that_holds_images_too(tmp_path):
    names = ["a.png", "north/a.png", "north/deep/b.png"]
    for name in names:
        save(tmp_path / "new" / name, np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "new" / "masks" / "a.png", np.zeros((4, 4), np.uint8))
    for data in (
        MaskFolderData(tmp_path, num_classes=2, predict_images=tmp_path / "new"),
        MaskFolderData(tmp_path / "new" / "north", num_classes=2),
    ):
        data.setup("predict")
        paths = [path.relative_to(tmp_path / "new").as_posix() for path in data.predict_set.paths]
        assert paths == (names if data.predict_images else names[1:])


def test_prediction_without_its_own_folder_uses_all_images(folder):
    data = make(folder, size=32)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert batch["path"] == [str(folder / "images" / f"{k}.png") for k in range(8)]
    assert "mask" not in batch


@pytest.mark.parametrize("size", [None, 32])
def test_a_trainer_uses_every_loader_and_the_checkpoint_keeps_the_arguments(folder, size):
    data = make(folder, batch_size=2, size=size, class_values={0: 0, 1: 1, 2: 2})
    task = matching(data)
    trainer = quiet_trainer()
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    masks = [mask for output in trainer.predict(task, data) for mask in output["masks"]]
    assert [tuple(mask.shape) for mask in masks] == [(20, 30)] * 10
    trainer.save_checkpoint(folder / "run.ckpt")
    again = MaskFolderData.load_from_checkpoint(folder / "run.ckpt", weights_only=True)
    assert again.reader == data.reader


def test_prediction_names_files_of_different_depths(folder):
    save(folder / "new" / "a.png", np.zeros((10, 12), np.uint8))
    save(folder / "new" / "b.png", np.zeros((10, 12), np.uint16))
    data = make(folder, predict_images=folder / "new", size=32)
    with pytest.raises(
        ValueError, match=r"b.png has more than 8 bits per channel and .*a.png does n"
    ):
        data.setup("predict")


def test_arguments_are_plain_values_that_recreate_the_data_module(folder):
    data = MaskFolderData(
        folder / "images", folder / "masks", num_classes=3, class_values={0: 0, 128: 1}, size=[8, 9]
    )
    hparams = json.loads(json.dumps(dict(data.hparams)))
    again = MaskFolderData(**hparams)
    assert again.reader == data.reader
    assert again.size == (8, 9)
    assert again.class_names == ["class 0", "class 1", "class 2"]
    assert "augment" not in make(folder, augment=v2.RandomHorizontalFlip()).hparams


# Lightning 2.6 uses names that jsonargparse 4.49 deprecates.
@pytest.mark.filterwarnings("ignore:(?s).*Jsonargparse", "ignore:(?s).*was deprecated in v4")
def test_arguments_come_from_a_configuration_file(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run"])  # hide pytest's arguments from Lightning
    (folder / "run.yaml").write_text(
        f"""
        model: {{num_classes: 3}}
        data:
          class_path: lightning_hparams.MaskFolderData
          init_args:
            images: {folder / "images"}
            masks: {folder / "masks"}
            num_classes: 3
            class_values: {{0: 0, 128: 1}}
            size: [8, 9]
            augment:
              class_path: torchvision.transforms.v2.RandomVerticalFlip
              init_args: {{p: 1.0}}
        """
    )
    data = LightningCLI(
        SegmentationTask,
        subclass_mode_data=True,
        run=False,
        seed_everything_default=0,
        save_config_callback=None,
        args=["--config", str(folder / "run.yaml")],
    ).datamodule
    assert data.reader.class_values == {0: 0, 128: 1}
    assert data.size == (8, 9)
    assert data.augment.p == 1.0


def test_workers_read_what_the_main_process_reads(folder):
    batches = []
    for num_workers in (0, 2):
        data = make(folder, size=[16, 24], num_workers=num_workers, val_fraction=0.5)
        data.setup("fit")
        batches.append(next(iter(data.val_dataloader())))
    assert torch.equal(batches[0]["image"], batches[1]["image"])
    assert torch.equal(batches[0]["mask"], batches[1]["mask"])
    assert len(pickle.loads(pickle.dumps(data.train_set))) == 5


def test_images_of_16_bits_keep_their_range_through_augmentation(folder):
    for index in range(10):
        image = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        save(folder / "images" / f"{index}.png", image)
    data = make(folder, size=32, in_channels=1)
    data.setup("fit")
    image = next(iter(data.train_dataloader()))["image"]
    assert image.dtype == torch.float32
    assert image.shape == (8, 1, 32, 32)
    assert float(image.min()) >= 0
    assert 0.5 < float(image.max()) <= 1


# -- faults are named ------------------------------------------------------------------------------


def break_value(folder):
    mask = np.zeros((20, 30), np.uint8)
    mask[:1, :18] = 255
    save(folder / "masks" / "3.png", mask)


def break_size(folder):
    save(folder / "masks" / "4.png", np.zeros((20, 29), np.uint8))


def break_stem(folder):
    (folder / "masks" / "5.png").rename(folder / "masks" / "five.png")


def break_many_stems(folder):
    for index in range(7):
        (folder / "masks" / f"{index}.png").unlink()


def break_color(folder):
    save(folder / "masks" / "6.png", np.full((20, 30, 3), (9, 8, 7), np.uint8))


def break_jpeg(folder):
    (folder / "masks" / "7.png").unlink()
    noisy = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8) * 100
    save(folder / "masks" / "7.jpg", noisy, quality=50)


def break_file(folder):
    (folder / "masks" / "8.png").write_bytes(b"not an image")


def break_cut_file(folder):
    path = folder / "masks" / "8.png"
    path.write_bytes(path.read_bytes()[:60])


def break_image(folder):
    path = folder / "images" / "2.png"
    path.write_bytes(path.read_bytes()[:-300])


def break_depth(folder):
    save(folder / "images" / "2.png", np.zeros((20, 30), np.uint16))


def one_class_more(folder):
    save(folder / "masks" / "1.png", np.full((20, 30), 3, np.uint8))


def break_twice(folder):
    save(folder / "images" / "0.jpg", np.zeros((20, 30, 3), np.uint8))


def break_fractions(folder):
    (folder / "masks" / "9.png").unlink()
    save(folder / "masks" / "9.tif", np.full((20, 30), 0.5, np.float32))


def break_sizes(folder):
    save(folder / "images" / "9.png", np.zeros((8, 8, 3), np.uint8))
    save(folder / "masks" / "9.png", np.zeros((8, 8), np.uint8))


def break_masks(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()


def binary_as_classes(folder):
    for path in (folder / "masks").iterdir():
        save(path, np.array([[0] * 15 + [255] * 15] * 20, np.uint8))


@pytest.mark.parametrize(
    ("broken", "options", "message"),
    [
        (
            break_value,
            {},
            r"masks/3.png has value 255 \(3.0% of pixels\), but num_classes=3; "
            r"pass ignore_index=255, or class_values=\{0: 0, 255: 1\} with your classes",
        ),
        (
            one_class_more,
            {},
            r"1.png has value 3 \(100.0% of .*; pass num_classes=4, ignore_index=3",
        ),
        (break_image, {}, r"images/2.png cannot be read as an image \(.*\); replace or remove it"),
        (break_depth, {}, r"2.png has more than 8 bits per channel and .*/\d.png does not"),
        (break_value, {"class_values": {0: 0, 1: 1, 2: 2}}, r"3.png has value 255 .* add it there"),
        (binary_as_classes, {"num_classes": 2}, r"pass task='binary', or class_values=\{0: 0, 255"),
        (break_value, {"task": "binary", "num_classes": 2}, r"0.png has value 2 .* 0 and 255"),
        (break_size, {}, r"masks/4.png is 20 x 29 pixels .*images/4.png is 20 x 30"),
        (break_stem, {}, r"images without a mask: 5.png; masks without an image: five.png; rename"),
        (
            break_many_stems,
            {},
            r"\(10 images\) and .*\(3 masks\) do not match: images without a mask: "
            r"0.png, 1.png, 2.png, 3.png, 4.png and 2 more",
        ),
        (
            break_color,
            {},
            r"masks/6.png is a colour image with colours \[\(9, 8, 7\)\]; pass palet",
        ),
        (
            break_color,
            {"palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]},
            "0.png is not a colour image",
        ),
        (break_jpeg, {"class_values": {0: 0, 100: 1, 200: 2, 1: 1, 2: 2}}, r"7.jpg has \d+ differ"),
        (break_file, {}, r"masks/8.png cannot be read as an image"),
        (break_cut_file, {}, r"masks/8.png cannot be read as an image"),
        (break_twice, {}, r"files with the same stem: 0.jpg, 0.png; remove all but one"),
        (break_fractions, {}, r"masks/9.tif contains fractions; save masks as whole numbers"),
        (
            break_sizes,
            {},
            r"0.png is 20 x 30 .*/9.png is 8 x 8 .*: images in a batch must have the same",
        ),
        (break_masks, {}, r"`masks`: .* has no images; supported are"),
    ],
)
def test_setup_names_files_and_their_faults(folder, broken, options, message):
    broken(folder)
    with pytest.raises(ValueError, match=message):
        make(folder, **options).setup("fit")


def test_an_unchecked_mask_is_named_when_it_is_read(folder):
    break_value(folder)
    data = make(folder, check_files=1, val_fraction=0.5)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"masks/3.png has value 255"):
        list(data.train_set) + list(data.val_set)


def test_images_of_several_sizes_can_be_loaded_one_by_one(folder):
    break_sizes(folder)
    data = make(folder, batch_size=1, val_fraction=0.5)
    data.setup("fit")
    assert {tuple(batch["image"].shape) for batch in data.train_dataloader()}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"val_fraction": 0.0},
            ValueError,
            r"`0 < val_fraction < 1` must hold, got val_fraction=0.0",
        ),
        (
            {"val_fraction": 1.0},
            ValueError,
            r"`0 < val_fraction < 1` must hold, got val_fraction=1.0",
        ),
        ({"size": 3.5}, TypeError, "`size` must be a whole number, got 3.5"),
        ({"size": [32, 3.5]}, TypeError, "`size` must be a whole number, got 3.5"),
        ({"ignore_index": 0.5}, TypeError, "`ignore_index` must be a whole number, got 0.5"),
        ({"class_names": "abc"}, TypeError, "`class_names` must be a list of names, got 'abc'"),
        ({"num_classes": 2.5}, TypeError, "`num_classes` must be a whole number, got 2.5"),
        ({"batch_size": "8"}, TypeError, "`batch_size` must be a whole number, got '8'"),
        ({"train_split": "a"}, ValueError, "go together; give both or neither"),
        ({"num_classes": None}, ValueError, "`class_names` or `num_classes` is needed"),
        ({"class_names": ["a"]}, ValueError, "`num_classes` is 3, but class_names has 1"),
        ({"class_values": {7: 3}}, ValueError, r"maps 7 to 3, but the classes are 0..2"),
        ({"palette": [[0, 0, 0]]}, ValueError, "`palette` needs 3 different colours"),
        ({"palette": [[0, 0]] * 3}, ValueError, r"\[red, green, blue\] of 0..255, got \[0, 0\]"),
        ({"palette": [[0, 0, 256]] * 3}, ValueError, r"0..255, got \[0, 0, 256\]"),
        ({"palette": [[0, 0, 0]], "class_values": {0: 0}}, ValueError, "exclude each other"),
        ({"num_classes": 1}, ValueError, r"`2 <= num_classes <= 256` must hold, got num_classes=1"),
        ({"class_names": ["a", "b", "a"]}, ValueError, "`class_names` must differ"),
        ({"size": [1, 2, 3]}, ValueError, r"or one number for both, got \[1, 2, 3\]"),
        ({"check_files": -1}, ValueError, "`0 <= check_files` must hold"),
        ({"task": "binry"}, ValueError, "did you mean 'binary'"),
        ({"task": "binary"}, ValueError, "`num_classes` is 3, but class_names has 2"),
        ({"in_channels": 0}, ValueError, "`1 <= in_channels` must hold, got in_channels=0"),
        ({"val_fraction": "0.2"}, TypeError, "`val_fraction` must be a number, got '0.2'"),
        ({"seed": "a"}, TypeError, "`seed` must be a whole number, got 'a'"),
        ({"mask_suffix": None}, TypeError, "`mask_suffix` must be a string"),
        ({"mask_pattern": "mask.png"}, ValueError, "`mask_pattern` needs a wildcard"),
        ({"mask_pattern": "*", "mask_suffix": "a"}, ValueError, "exclude each other"),
        ({"size": 0}, ValueError, "`1 <= size` must hold, got size=0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(folder, options, error, message):
    with pytest.raises(error, match=message):
        make(folder, **options)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`images`: .*images is not a folder; check the path"
    ):
        make(tmp_path).setup("fit")


@pytest.mark.parametrize(
    ("train", "val", "error", "message"),
    [
        ("0\n1\n", "1\n2\n", ValueError, "1 are in both the train and the validation split"),
        ("0\nx\n", "1\n", ValueError, r"train.txt names x, for which there is no image"),
        ("0\n", "", ValueError, r"left for validation in the splits \{'train': 1, 'val"),
        ("0\n", None, FileNotFoundError, r"split file .*val.txt does not exist"),
    ],
)
def test_split_files_that_do_not_fit_are_named(folder, train, val, error, message):
    (folder / "train.txt").write_text(train)
    if val is not None:
        (folder / "val.txt").write_text(val)
    data = make(folder, train_split=str(folder / "train.txt"), val_split=str(folder / "val.txt"))
    with pytest.raises(error, match=message):
        data.setup("fit")


def test_a_split_file_that_is_not_text_is_named(folder):
    (folder / "train.txt").write_bytes("0\n1\n".encode("utf-16"))
    (folder / "val.txt").write_text("2\n")
    data = make(folder, train_split=folder / "train.txt", val_split=folder / "val.txt")
    with pytest.raises(ValueError, match=r"train.txt is not UTF-8 text \(.*\); save it as UTF-8"):
        data.setup("fit")


def test_too_few_images_for_a_split_are_refused(tmp_path):
    for kind in ("images", "masks"):
        save(tmp_path / kind / "only.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"no image is left for validation .*; change val_frac"):
        make(tmp_path).setup("fit")


def test_pixels_of_each_class_are_counted_in_the_training_masks(folder):
    data = make(folder)
    data.setup("fit")
    masks = torch.stack([data.train_set[index]["mask"] for index in range(8)])
    assert data.class_counts() == [int((masks == index).sum()) for index in range(3)]
    assert sum(data.class_counts()) == 8 * 20 * 30


def test_images_with_a_rare_class_are_shown_as_often_as_others(folder):
    for index in range(10):
        mask = np.zeros((20, 30), np.uint8)
        mask[:, 15:] = 1 if index else 2
        save(folder / "masks" / f"{index}.png", mask)
    data = make(folder, sampler="balanced", batch_size=1, val_fraction=0.1, augment=False)
    data.setup("fit")
    masks = [batch["mask"] for batch in data.train_dataloader()]
    rare, common = (sum(bool((mask == index).any()) for mask in masks) for index in (2, 1))
    assert rare + common == 9
    assert abs(rare - common) <= 1


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["1_sat.jpg", "1_mask.png", "2_sat.jpg"], ["1_sat.jpg", "2_sat.jpg"]),
        (["img_1.png", "mask_1.png"], ["img_1.png"]),
        (["1.jpg", "1_label.png", "2_label.png"], ["1.jpg", "2_label.png"]),
        (["images/1.jpg", "images/1_mask.png", "other/2.jpg"], ["images/1.jpg"]),
        (["north/1.jpg", "south/1_mask.png"], ["north/1.jpg", "south/1_mask.png"]),
        (["1_mask.png", "2_mask.png"], ["1_mask.png", "2_mask.png"]),
    ],
)
def test_prediction_leaves_out_masks_called_after_an_image(tmp_path, names, kept):
    for name in names:
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    data = MaskFolderData(tmp_path, num_classes=2, predict_images=tmp_path)
    data.setup("predict")
    assert data.predict_set.paths == [tmp_path / name for name in kept]


def test_prediction_leaves_out_masks_with_the_given_suffix(tmp_path):
    for name in ("1.png", "1_m.png"):
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    data = MaskFolderData(tmp_path, num_classes=2, predict_images=tmp_path, mask_suffix="_m")
    data.setup("predict")
    assert data.predict_set.paths == [tmp_path / "1.png"]


def test_a_list_of_test_images_leaves_the_other_folders_as_they_are(tmp_path):
    for split in ("train", "val"):
        for index in range(3):
            name = f"{split}{index}.png"
            save(tmp_path / split / "images" / name, np.full((8, 8, 3), index, np.uint8))
            save(tmp_path / split / "masks" / name, np.eye(8, dtype=np.uint8))
    (tmp_path / "test.txt").write_text("val0\n")
    data = MaskFolderData(
        tmp_path, num_classes=2, test_split=tmp_path / "test.txt", num_workers=0, check_files=0
    )
    data.setup("fit")
    sets = (data.train_set, data.val_set, data.test_set)
    names = [sorted(path.stem for path, _ in one.files) for one in sets]
    assert names == [["train0", "train1", "train2"], ["val1", "val2"], ["val0"]]


def test_images_to_predict_have_the_orientation_that_their_masks_mean(folder):
    for index, shape in ((0, (30, 20)), (1, (20, 30))):
        (folder / "images" / f"{index}.png").unlink()
        oriented(folder / "images" / f"{index}.jpg", np.zeros((20, 30, 3), np.uint8), 6)
        save(folder / "masks" / f"{index}.png", np.zeros(shape, np.uint8))
    data = make(folder, batch_size=1)
    data.setup("predict")
    sizes = {s["path"][-5:]: tuple(s["size"].tolist()) for s in data.predict_set}
    assert (sizes["0.jpg"], sizes["1.jpg"]) == ((30, 20), (20, 30))
