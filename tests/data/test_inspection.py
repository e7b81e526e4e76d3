"""``setup`` reports faults in the files that would spoil a run silently."""

import warnings

import numpy as np
import pytest
import tifffile
import torch

from lightning_hparams import MaskFolderData
from lightning_hparams.data import read_image
from tests.data.files import oriented, save, save_palette

# The small images of these tests are often the same.
pytestmark = pytest.mark.filterwarnings("ignore:images in train are in another split too")

rng = np.random.default_rng(0)


def folders(root, masks, images=None):
    for index, mask in enumerate(masks):
        shape = np.shape(mask)[:2]
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        save(root / "images" / f"{index}.png", image if images is None else images[index])
        save(root / "masks" / f"{index}.png", np.asarray(mask, np.uint8))
    return root


def ready(root, **options):
    options = {"num_classes": 2, "num_workers": 0, "val_fraction": 0.5, **options}
    data = MaskFolderData(root / "images", root / "masks", **options)
    data.setup("fit")
    return data


def test_classes_that_occur_in_no_mask_are_named(tmp_path):
    folders(tmp_path, [[[0, 2]]] * 4)
    names = ["ground", "road", "car"]
    message = r"the classes \['road'\] occur in none of the 4 masks"
    with pytest.warns(UserWarning, match=message):
        ready(tmp_path, num_classes=3, class_names=names)
    with pytest.warns(UserWarning, match=r"occur in none of the 2 masks read of 4"):
        ready(tmp_path, num_classes=3, class_names=names, check_files=2)


def test_a_class_that_occurs_only_in_validation_is_named(tmp_path):
    folders(tmp_path, [[[0, 1]], [[0, 0]]])
    for name, line in {"train": "1", "val": "0"}.items():
        (tmp_path / f"{name}.txt").write_text(line)
    with pytest.warns(UserWarning, match=r"the classes \['class 1'\] occur in no training mask"):
        ready(tmp_path, train_split=tmp_path / "train.txt", val_split=tmp_path / "val.txt")


@pytest.mark.parametrize("options", [{"task": "binary"}, {"num_classes": 2}])
def test_an_ignore_index_that_ignores_the_foreground_is_refused(tmp_path, options):
    folders(tmp_path, [[[0, 255]]] * 4)
    with pytest.raises(ValueError, match=r"ignore_index=255 leaves nothing to learn: .*omit"):
        ready(tmp_path, ignore_index=255, **options)


def test_a_complete_folder_gets_no_warning(tmp_path):
    folders(tmp_path, [[[0, 1, 255]]] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ready(tmp_path, ignore_index=255)


BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def test_palettes_in_another_order_are_detected_in_any_file(tmp_path):
    folders(tmp_path, [[[0, 1]]] * 6)
    for index in range(6):
        colors = [RED, BLACK] if index == 3 else [BLACK, RED]
        save_palette(tmp_path / "masks" / f"{index}.png", [[0, 1]], colors)
    for check_files in (1, 500):
        with pytest.raises(
            ValueError, match=r"shows index . in the colour .*their palettes differs"
        ):
            ready(tmp_path, check_files=check_files)
    data = ready(tmp_path, palette=[BLACK, RED])
    masks = {path.stem: data.reader(path).tolist() for _, path in data.train_set.files}
    masks |= {path.stem: data.reader(path).tolist() for _, path in data.val_set.files}
    assert masks.pop("3") == [[1, 0]]
    assert set(map(str, masks.values())) == {"[[0, 1]]"}


def test_a_palette_with_a_white_background_warns(tmp_path):
    folders(tmp_path, [[[0, 1]]] * 4)
    for index in range(4):
        save_palette(tmp_path / "masks" / f"{index}.png", [[0, 1]], [WHITE, BLACK])
    with pytest.warns(UserWarning, match=r"index 0 \(background\) in white .*pass palette="):
        ready(tmp_path)


def test_palettes_that_differ_only_in_unused_colours_are_accepted(tmp_path):
    folders(tmp_path, [[[0, 1]]] * 4)
    for index in range(4):
        save_palette(tmp_path / "masks" / f"{index}.png", [[0, 1]], [BLACK, RED, (index, 9, 9)])
    ready(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["pixels", "view", "both"])
@pytest.mark.parametrize("shape", [(6, 8), (8, 8)])
def test_image_and_mask_are_turned_together_or_not_at_all(tmp_path, orientation, drawn_on, shape):
    grey = (rng.random((*shape, 1)) > 0.5).astype(np.uint8)
    masks = tmp_path / "masks"
    for index in range(2):
        path = oriented(tmp_path / "images" / f"{index}.png", grey.repeat(3, 2) * 255, orientation)
        if drawn_on == "both":
            oriented(masks / f"{index}.png", grey[..., 0], orientation)
        elif drawn_on == "view" and orientation >= 5 and shape == (6, 8):
            save(masks / f"{index}.png", read_image(path, 1)[0].numpy() // 255)
        else:
            save(masks / f"{index}.png", grey[..., 0])
    unclear = orientation > 1 and drawn_on != "both" and (orientation < 5 or shape == (8, 8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = ready(tmp_path, augment=False)
    assert any("EXIF orientation" in str(one.message) for one in caught) == unclear
    for sample in (data.train_set[0], data.val_set[0]):
        assert torch.equal(sample["image"][0] // 255, sample["mask"])


def test_non_finite_images_are_named_before_and_during_training(tmp_path):
    values = np.ones((4, 4), np.float32)
    folders(tmp_path, [np.eye(4)] * 6)
    for index in range(6):
        (tmp_path / "images" / f"{index}.png").unlink()
        values[0, 0] = np.nan if index == 4 else 1
        tifffile.imwrite(tmp_path / "images" / f"{index}.tif", values)
    with pytest.raises(ValueError, match=r"4.tif contains NaN or infinity"):
        ready(tmp_path, in_channels=1)
    data = ready(tmp_path, in_channels=1, check_files=0)
    with pytest.raises(ValueError, match=r"4.tif contains NaN or infinity"):
        list(data.train_set) + list(data.val_set)


def test_floating_point_and_integer_images_cannot_be_mixed(tmp_path):
    folders(tmp_path, [np.eye(4)] * 2)
    for index, dtype in enumerate(["uint16", "float32"]):
        (tmp_path / "images" / f"{index}.png").unlink()
        tifffile.imwrite(tmp_path / "images" / f"{index}.tif", np.ones((4, 4), dtype))
    with pytest.raises(ValueError, match=r"0.tif has more than 8 bits .*1.tif contains fractions"):
        ready(tmp_path, in_channels=1)


def test_images_with_many_bands_can_be_trained_on(tmp_path):
    folders(tmp_path, [np.eye(4)] * 2)
    values = rng.integers(0, 256, (4, 4, 5), dtype=np.uint8)
    for index in range(2):
        (tmp_path / "images" / f"{index}.png").unlink()
        path = tmp_path / "images" / f"{index}.tif"
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    batch = next(iter(ready(tmp_path, in_channels=5, augment=False).val_dataloader()))
    assert np.array_equal(batch["image"][0].permute(1, 2, 0).numpy(), values)
