"""Files are read at full depth and with every band, or refused by name."""

import io
import os
import time
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from lightning_hparams.data import read_header, read_image
from tests.data.files import oriented, save, save_png

rng = np.random.default_rng(0)
COLOR = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEEP = rng.integers(0, 65536, (6, 8, 3), dtype=np.uint16)


def test_images_of_every_kind_are_read(tmp_path):
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    grey16 = rng.integers(0, 65536, (6, 8), dtype=np.uint16)
    assert read_image(save(tmp_path / "rgb.png", color), 3).equal(
        torch.from_numpy(color).permute(2, 0, 1)
    )
    alpha = np.dstack([color, np.full((6, 8), 7, np.uint8)])
    assert read_image(save(tmp_path / "rgba.png", alpha), 3).equal(
        torch.from_numpy(color).permute(2, 0, 1)
    )
    assert read_image(save(tmp_path / "grey.tif", color[..., 0]), 3).shape == (3, 6, 8)
    assert read_image(tmp_path / "rgb.png", 1).shape == (1, 6, 8)
    deep = read_image(save(tmp_path / "deep.png", grey16), 1)
    torch.testing.assert_close(deep[0], torch.from_numpy(grey16.astype(np.float32) / 65535))


def test_a_rotated_photograph_is_turned_with_its_size(tmp_path):
    image = Image.fromarray(np.zeros((6, 8, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_header(tmp_path / "turned.jpg").size == (8, 6)
    assert read_image(tmp_path / "turned.jpg", 3).shape == (3, 8, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
def test_every_orientation_is_applied_as_in_a_viewer(tmp_path, orientation, ending):
    path = oriented(tmp_path / f"a.{ending}", COLOR, orientation)
    with Image.open(path) as image:
        seen = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert read_header(path).size == seen.shape[:2]
    assert np.array_equal(read_image(path, 3).permute(1, 2, 0).numpy(), seen)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_colours_keep_all_bits(tmp_path, kind):
    path = tmp_path / f"deep.{kind}"
    if kind == "png":
        save_png(path, DEEP)
    else:
        tifffile.imwrite(path, DEEP, photometric="rgb")
    image = read_image(path, 3)
    torch.testing.assert_close(
        image, torch.from_numpy(DEEP.astype(np.float32) / 65535).permute(2, 0, 1)
    )
    assert read_header(path).depth == "more than 8 bits"
    grey = image.permute(1, 2, 0) @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(read_image(path, 1)[0], grey, atol=2 / 65535, rtol=0)


@pytest.mark.parametrize(("bands", "color_type"), [(2, 4), (4, 6)])
def test_16_bit_transparency_is_kept_as_a_band(tmp_path, bands, color_type):
    values = rng.integers(0, 65536, (6, 8, bands), dtype=np.uint16)
    path = save_png(tmp_path / "a.png", values, color_type=color_type)
    expected = torch.from_numpy(values.astype(np.float32) / 65535).permute(2, 0, 1)
    torch.testing.assert_close(read_image(path, bands), expected)
    torch.testing.assert_close(read_image(path, bands - 1), expected[:-1])


@pytest.mark.parametrize("bands", [2, 4, 5, 13])
@pytest.mark.parametrize("stored", ["contig", "separate", "pages"])
def test_a_tiff_with_any_number_of_bands_is_read_completely(tmp_path, bands, stored):
    values = rng.integers(0, 256, (6, 8, bands), dtype=np.uint8)
    path = tmp_path / "bands.tif"
    if stored == "pages":
        tifffile.imwrite(path, values.transpose(2, 0, 1), photometric="minisblack")
    else:
        array = values if stored == "contig" else values.transpose(2, 0, 1)
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig=stored)
    assert read_header(path).size == (6, 8)
    assert np.array_equal(read_image(path, bands).permute(1, 2, 0).numpy(), values)
    with pytest.raises(ValueError, match=rf"bands.tif has {bands} bands, .*in_channels={bands}"):
        read_image(path, 3)


def test_a_fourth_band_is_dropped_only_if_it_is_transparency(tmp_path):
    values = rng.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    for name, extra in {"alpha": "unassalpha", "infrared": "unspecified"}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="rgb", extrasamples=[extra])
        whole = read_image(tmp_path / f"{name}.tif", 4)
        assert np.array_equal(whole.permute(1, 2, 0).numpy(), values)
    assert np.array_equal(read_image(tmp_path / "alpha.tif", 3), values[..., :3].transpose(2, 0, 1))
    with pytest.raises(ValueError, match=r"infrared.tif has 4 bands, but in_channels=3"):
        read_image(tmp_path / "infrared.tif", 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_values_are_unchanged(tmp_path, dtype):
    values = rng.random((6, 8)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif", 1)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image[0], torch.from_numpy(values.astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_non_finite_image_is_named(tmp_path, value, channels):
    values = np.ones((6, 8))
    values[2, 3] = value
    tifffile.imwrite(tmp_path / "bad.tif", values)
    with pytest.raises(ValueError, match=r"bad.tif contains NaN or infinity \(2.1% of values\)"):
        read_image(tmp_path / "bad.tif", channels)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_is_refused_by_name(tmp_path, ending):
    frames = [Image.fromarray(255 * (level < COLOR).astype(np.uint8)) for level in (50, 150, 200)]
    path = tmp_path / f"moving.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for read in (read_header, lambda path: read_image(path, 3)):
        with pytest.raises(ValueError, match=rf"moving.{ending} is an animation of 3 images"):
            read(path)


def test_images_of_different_kinds_in_one_tiff_are_refused_by_name(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(COLOR, photometric="rgb")
        file.write(DEEP[:3, :4, 0], photometric="minisblack")
    with pytest.raises(ValueError, match=r"two.tif has 2 images of different kinds"):
        read_image(tmp_path / "two.tif", 3)


def test_a_thumbnail_in_a_tiff_does_not_matter(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(COLOR, photometric="rgb", subifds=1)
        file.write(COLOR[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_image(tmp_path / "pyramid.tif", 3).permute(1, 2, 0), COLOR)


def test_a_named_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe.png is not a regular file"):
        read_header(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=r"folder.png is not a regular file"):
        read_image(tmp_path / "folder.png", 3)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"link.png cannot be read as an image"):
        read_header(tmp_path / "link.png")


def test_postscript_with_an_image_suffix_does_not_start_ghostscript(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: started.append(1))
    path = tmp_path / "picture.png"
    Image.fromarray(COLOR).save(path, format="EPS")
    for read in (read_header, lambda path: read_image(path, 3)):
        with pytest.raises(ValueError, match=r"picture.png cannot be read as an image"):
            read(path)
    assert not started


@pytest.mark.parametrize(("height", "width"), [(13_000, 13_000), (1, 100_000_000), (70_000, 1)])
def test_a_decompression_bomb_is_refused_quickly(tmp_path, height, width):
    data = zlib.compress(b"\0" * 1_000_000)
    path = save_png(tmp_path / "bomb.png", DEEP, width=width, height=height, compressed=data)
    started = time.perf_counter()
    for read in (read_header, lambda path: read_image(path, 3)):
        with pytest.raises(ValueError, match=r"bomb.png .*cut it into tiles"):
            read(path)
    assert time.perf_counter() - started < 5


def test_the_size_limit_is_that_of_pillow(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 47)
    with pytest.raises(ValueError, match=r"a.tif has 6 x 8 pixels .*more than the limit of 47"):
        read_header(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path, 3).shape == (3, 6, 8)


def _jpeg(before_pixels):
    buffer = io.BytesIO()
    Image.fromarray(COLOR).save(buffer, "JPEG")
    return buffer.getvalue()[:2] + before_pixels + buffer.getvalue()[2:]


@pytest.mark.parametrize(
    "content",
    [
        _jpeg((b"\xff\xe1\xff\xffExif\0\0" + b"A" * 65527) * 800),
        b"\xff\xd8" + b"\xff" * 20_000_000,
        b"P6 #" + b"x" * 20_000_000,
        b"P6 " + b" " * 20_000_000,
    ],
    ids=["JPEG segments", "JPEG markers", "PPM comment", "PPM spaces"],
)
def test_a_header_without_end_is_refused_quickly(tmp_path, content):
    path = tmp_path / "long.png"
    path.write_bytes(content)
    started = time.process_time()
    for read in (read_header, lambda path: read_image(path, 3)):
        with pytest.raises(ValueError, match=r"long.png has a header of more than .*save it again"):
            read(path)
    assert time.process_time() - started < 5


def test_metadata_of_usual_length_are_no_reason_to_refuse_a_photograph(tmp_path):
    (tmp_path / "a.jpg").write_bytes(_jpeg((b"\xff\xe2\xff\xff" + b"A" * 65533) * 60))
    assert read_image(tmp_path / "a.jpg", 3).shape == (3, 6, 8)
    noise = rng.integers(0, 256, (2400, 2400, 3), dtype=np.uint8)  # 17 MB of pixels
    for ending in ("png", "webp", "bmp", "ppm", "tif"):
        fast = {"webp": {"lossless": True, "method": 0}, "png": {"compress_level": 0}}
        path = save(tmp_path / f"noise.{ending}", noise, **fast.get(ending, {}))
        assert path.stat().st_size > 16 << 20
        assert np.array_equal(read_image(path, 3).permute(1, 2, 0), noise)


def test_bands_and_pages_count_towards_the_size_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 6, 8), np.uint8), photometric="minisblack")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 59)
    with pytest.raises(ValueError, match=r"a.tif has 6 x 8 pixels .*and 5 bands .*limit of 236"):
        read_image(path, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert read_image(path, 5).shape == (5, 6, 8)


def test_a_tiff_strip_that_expands_beyond_its_pixels_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, DEEP, photometric="rgb", compression="zlib")
    assert read_image(path, 3).shape == (3, 6, 8)
    bomb = zlib.compress(b"\0" * 100_000_000)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages[0]
        end = path.stat().st_size
        page.tags["StripByteCounts"].overwrite(len(bomb))
        page.tags["StripOffsets"].overwrite(end)
    with path.open("ab") as file:
        file.write(bomb)
    with pytest.raises(ValueError, match=r"bomb.tif stores .* for a strip of 288 bytes"):
        read_image(path, 3)


def test_complex_numbers_are_refused(tmp_path):
    path = tmp_path / "radar.tif"
    tifffile.imwrite(path, np.ones((6, 8), np.complex64))
    with pytest.raises(ValueError, match=r"radar\.tif holds complex numbers; save their magnitude"):
        read_image(path, 1)
    with pytest.raises(ValueError, match="holds complex numbers"):
        read_header(path)


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    for ending in ("png", "jpg", "tif"):
        path = oriented(tmp_path / f"a.{ending}", COLOR, orientation)
        assert read_header(path).orientation == 1
        assert read_image(path, 3).shape == (3, 6, 8)
