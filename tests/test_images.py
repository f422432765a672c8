import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encode, noise, png_that_claims
from PIL import Image, ImageFile, ImageOps
from torchvision import transforms

from dynamicvit.decoding.files import MAX_PIXELS
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.images import DecodedImage, caution, decode, display_crop, prepare, read
from dynamicvit.models.config import HALF, ModelConfig, Preprocessing

CONFIG = ModelConfig()
LEVEL = 1 / 255


def torchvision_input(
    pixels: np.ndarray, size: int, preprocessing: Preprocessing, *, crop: bool = True
) -> torch.Tensor:
    transform = transforms.Compose(
        [
            transforms.Resize(int(size / preprocessing.crop_ratio), transforms.InterpolationMode.BICUBIC),
            *([transforms.CenterCrop(size)] if crop else []),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    return transform(Image.fromarray(pixels)).unsqueeze(0)


class TestDecode:
    def test_rgb_pixels_come_through_unchanged(self):
        pixels = noise(9, 7)
        image = decode(encode(pixels))
        assert image.source_format == "PNG"
        assert image.pixels.dtype == np.uint8
        np.testing.assert_array_equal(image.pixels, pixels)

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
    def test_every_announced_format_is_read(self, file_format):
        image = decode(encode(np.full((16, 24, 3), 128, np.uint8), file_format))
        assert image.source_format == file_format
        assert image.pixels.shape == (16, 24, 3)
        assert abs(int(image.pixels.mean()) - 128) <= 2

    def test_grey_becomes_three_equal_channels(self):
        pixels = noise(5, 4, channels=1)
        np.testing.assert_array_equal(decode(encode(pixels)).pixels, np.stack([pixels] * 3, axis=-1))

    def test_black_and_white_becomes_0_and_255(self):
        image = Image.fromarray(noise(6, 6, channels=1)).convert("1", dither=Image.Dither.NONE)
        np.testing.assert_array_equal(decode(encode(image)).pixels[..., 0], np.asarray(image) * 255)

    @pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled_and_not_clipped(self, file_format):
        levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
        np.testing.assert_array_equal(decode(encode(levels * 257, file_format)).pixels[..., 0], levels)

    def test_16_bit_grey_with_a_transparent_level_is_scaled_too(self):
        levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
        data = encode(levels * 257, transparency=0)
        np.testing.assert_array_equal(decode(data).pixels[..., 0], np.where(levels == 0, 255, levels))

    def test_16_bit_grey_of_a_pgm_is_scaled_and_not_clipped(self):
        levels = np.arange(256).reshape(16, 16)
        data = b"P5 16 16 65535\n" + (levels * 257).astype(">u2").tobytes()
        np.testing.assert_array_equal(decode(data).pixels[..., 0], levels)

    @pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
    def test_float_tiff_is_scaled_by_the_range_it_uses(self, white):
        values = np.linspace(0.0, white, 256, dtype=np.float32).reshape(16, 16)
        np.testing.assert_array_equal(decode(encode(values, "TIFF")).pixels[..., 0].ravel(), np.arange(256))

    def test_float_tiff_outside_any_usual_range_is_stretched_and_nan_is_black_at_worst(self):
        values = np.array([[-10.0, 0.0], [10.0, np.nan]], dtype=np.float32)
        np.testing.assert_array_equal(decode(encode(values, "TIFF")).pixels[..., 0], [[0, 128], [255, 128]])

    def test_negative_integers_are_stretched(self):
        values = np.array([[-100, 0], [0, 100]], dtype=np.int32)
        np.testing.assert_array_equal(decode(encode(values, "TIFF")).pixels[..., 0], [[0, 128], [128, 255]])

    @pytest.mark.parametrize("channels", [2, 4])
    def test_transparent_pixels_are_white_and_opaque_ones_unchanged(self, channels):
        pixels = np.zeros((2, 2, channels), np.uint8)
        pixels[0, :, -1] = 255
        image = decode(encode(pixels))
        assert (image.pixels[0] == 0).all()
        assert (image.pixels[1] == 255).all()

    def test_half_transparent_black_is_grey(self):
        pixels = np.zeros((1, 1, 4), np.uint8)
        pixels[..., 3] = 128
        assert decode(encode(pixels)).pixels[0, 0].tolist() == [127, 127, 127]

    def test_a_transparent_palette_entry_is_white(self):
        image = Image.new("P", (2, 1))
        image.putpalette([200, 0, 0, 0, 0, 200])
        image.putdata([0, 1])
        image = decode(encode(image, transparency=0))
        assert image.pixels.tolist() == [[[255, 255, 255], [0, 0, 200]]]

    def test_a_colour_declared_transparent_is_white(self):
        image = Image.new("RGB", (2, 1), (10, 20, 30))
        image.putpixel((1, 0), (1, 2, 3))
        image = decode(encode(image, transparency=(10, 20, 30)))
        assert image.pixels.tolist() == [[[255, 255, 255], [1, 2, 3]]]

    def test_cmyk_jpeg_shows_its_colour(self):
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        red, green, blue = decode(encode(image, "JPEG", quality=100)).pixels[8, 8]
        assert red > 240
        assert green < 15
        assert blue < 15

    def test_an_animation_gives_its_first_frame(self):
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        image = decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        assert image.pixels[0, 0].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(noise(5, 3), exif=exif)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(decode(data).pixels, np.asarray(upright))

    def test_an_unknown_orientation_is_ignored(self):
        exif = Image.Exif()
        exif[0x0112] = 77
        assert decode(encode(noise(5, 3), exif=exif)).pixels.shape == (3, 5, 3)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_a_damaged_exif_block_does_not_spoil_the_image(self):
        assert decode(encode(noise(5, 3), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).pixels.shape == (3, 5, 3)

    @pytest.mark.parametrize(
        ("size", "shown"),
        [((2600, 1950), (2048, 1536)), ((4400, 1100), (4096, 1024)), ((1000, 3000), (1000, 3000))],
    )
    @pytest.mark.parametrize("file_format", ["JPEG", "BMP"])
    def test_a_large_photo_is_shrunk_but_keeps_a_shorter_side_of_1024(self, size, shown, file_format):
        height, width, _ = decode(encode(Image.new("RGB", size), file_format)).pixels.shape
        assert (width, height) == shown

    def test_shrinking_keeps_the_image(self):
        ramp = np.tile(np.linspace(0, 255, 4096).astype(np.uint8), (2048, 1))
        pixels = decode(encode(ramp, "JPEG", quality=95)).pixels
        expected = np.linspace(0, 255, 2048)
        assert np.abs(pixels[500, :, 0] - expected).max() < 4

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_shrinking_in_parts_equals_shrinking_at_once(self, channels):
        pixels = noise(2500, 2300, channels)
        if channels == 4:
            pixels[..., 3] = 255
        whole = Image.fromarray(pixels).convert("RGB").resize((2048, 1884), Image.Resampling.HAMMING)
        difference = decode(encode(pixels, compress_level=1)).pixels.astype(int) - np.asarray(whole)
        assert np.abs(difference).max() <= 1

    @pytest.mark.parametrize(("size", "shown"), [((3, 20_001), (3, 8193)), ((40_000, 10), (8192, 10))])
    def test_of_a_very_long_image_the_middle_is_taken(self, size, shown):
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[size[1] // 2, size[0] // 2] = 255
        image = decode(encode(pixels))
        assert image.pixels.shape == (shown[1], shown[0], 3)
        assert image.pixels[shown[1] // 2, shown[0] // 2].tolist() == [255] * 3

    @pytest.mark.parametrize("orientation", [1, 6])
    def test_the_middle_is_taken_before_the_image_is_turned(self, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (4, 10_000) if orientation == 1 else (10_000, 4)
        assert decode(encode(Image.new("RGB", size), exif=exif)).pixels.shape == (8192, 4, 3)

    @pytest.mark.parametrize("white", [65535, 1.0])
    def test_shrinking_keeps_16_bit_and_float_values_in_their_range(self, white):
        values = np.zeros((2100, 2100), np.uint16 if white > 1 else np.float32)
        values[:, 1000:] = white
        values[:, :500] = white / 2
        pixels = decode(encode(values, "TIFF")).pixels
        assert pixels.shape == (2048, 2048, 3)
        assert [pixels[9, x, 0] for x in (9, 700, 1500)] == [127 if white > 1 else 128, 0, 255]

    def test_shrinking_lets_no_hidden_colour_through(self):
        pixels = np.zeros((2100, 2100, 4), np.uint8)
        pixels[:, 1050:] = (255, 0, 0, 255)
        pixels[:, :1050, 1] = 255  # green, but transparent
        shown = decode(encode(pixels, compress_level=1)).pixels.astype(int)
        assert (shown[..., 1] == shown[..., 2]).all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 700)])
    def test_tiny_and_elongated_images_are_read(self, size):
        assert decode(encode(Image.new("RGB", size, "teal"))).pixels.shape == (size[1], size[0], 3)


class TestRefusals:
    def test_an_empty_file_is_named_so(self):
        with pytest.raises(ImageError, match="empty"):
            decode(b"")

    @pytest.mark.parametrize("data", [b"hello", b"%PDF-1.7 ...", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 100])
    def test_what_is_not_a_image_is_refused_with_advice(self, data):
        with pytest.raises(ImageError, match="save it as JPEG, PNG or WebP"):
            decode(data)

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
    def test_a_truncated_file_is_refused(self, file_format):
        data = encode(noise(64, 64), file_format)
        with pytest.raises(ImageError, match=r"damaged|not an image"):
            decode(data[: len(data) * 2 // 3])

    # The second lies between our limit and Pillow's warning, the third between its warning and its error.
    @pytest.mark.parametrize("size", [(1, MAX_PIXELS + 1), (9450, 9450), (9500, 9500), (60000, 60000)])
    def test_a_decompression_bomb_is_refused_before_anything_is_decoded(self, size, monkeypatch):
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the bomb was decoded"))
        with pytest.raises(ImageError, match="scale it down to at most 89 megapixels"):
            decode(png_that_claims(*size))

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ImageError, match=r"nothing\.png cannot be opened: No such file"):
            read(tmp_path / "nothing.png")

    @settings(max_examples=150, deadline=None)
    @given(
        file_format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]),
        changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    )
    def test_damaged_bytes_give_a_image_or_an_image_error(self, file_format, changes):
        data = bytearray(encode(noise(12, 10), file_format))
        for position, value in changes:
            data[position % len(data)] = value
        try:
            image = decode(bytes(data))
        except ImageError:
            return
        assert image.pixels.dtype == np.uint8
        assert image.pixels.ndim == 3

    def test_read_gives_what_decode_gives(self, tmp_path):
        data = encode(noise(20, 10))
        (tmp_path / "photo.png").write_bytes(data)
        np.testing.assert_array_equal(read(tmp_path / "photo.png").pixels, decode(data).pixels)


class TestCaution:
    @pytest.mark.parametrize("size", [(63, 64), (500, 1)])
    def test_a_small_image_is_said_to_be_too_small_to_judge_by(self, size):
        image = decode(encode(Image.new("RGB", size)))
        assert f"{size[0]} x {size[1]} pixels is too small to judge by" in caution(image, CONFIG)

    def test_an_image_of_64_pixels_is_not(self):
        assert caution(decode(encode(Image.new("RGB", (64, 64)))), CONFIG) == ""

    def test_an_image_as_large_as_the_input_of_its_model_is_not(self):
        assert caution(decode(encode(Image.new("RGB", (32, 32)))), ModelConfig(image_size=32)) == ""


class TestPrepare:
    @settings(max_examples=40, deadline=None)
    @given(width=st.integers(40, 320), height=st.integers(40, 320), seed=st.integers(0, 9))
    def test_equals_torchvision_exactly(self, width, height, seed):
        pixels = noise(width, height, seed=seed)
        expected = torchvision_input(pixels, 224, CONFIG.preprocessing)
        assert torch.equal(prepare(DecodedImage(pixels, "PNG"), CONFIG).tensor, expected)

    @pytest.mark.parametrize("size", [(1000, 600), (57, 456), (256, 256), (224, 224), (640, 427)])
    @pytest.mark.parametrize("preprocessing", [Preprocessing(crop_ratio=0.95, mean=HALF, std=HALF), Preprocessing(1.0)])
    def test_equals_torchvision_for_other_preprocessing_and_sizes(self, size, preprocessing):
        pixels = noise(*size)
        config = ModelConfig(preprocessing=preprocessing)
        model_input = prepare(DecodedImage(pixels, "PNG"), config, 160)
        assert torch.equal(model_input.tensor, torchvision_input(pixels, 160, preprocessing))

    @pytest.mark.parametrize("size", [(30, 300), (300, 30), (17, 1700)])
    def test_elongated_images_equal_torchvision_to_one_level(self, size):
        pixels = noise(*size)
        config = ModelConfig(preprocessing=Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
        difference = prepare(DecodedImage(pixels, "PNG"), config).tensor - torchvision_input(
            pixels, 224, config.preprocessing
        )
        assert difference.abs().max() <= 1.01 * LEVEL

    def test_a_line_of_pixels_is_prepared_without_a_giant_image(self):
        model_input = prepare(DecodedImage(noise(1, 50_000), "PNG"), CONFIG)
        assert model_input.tensor.shape == (1, 3, 224, 224)
        assert model_input.tensor.isfinite().all()

    def test_says_where_the_crop_lies_and_how_patches_are_laid(self):
        model_input = prepare(DecodedImage(noise(512, 256), "PNG"), CONFIG)
        crop = model_input.crop
        assert (crop.left, crop.top, crop.right, crop.bottom) == (144, 16, 368, 240)
        assert model_input.grid == (14, 14)
        assert model_input.patch_size == 16
        assert model_input.tensor.dtype == torch.float32

    @settings(max_examples=200, deadline=None)
    @given(width=st.integers(1, 3000), height=st.integers(1, 3000))
    def test_the_crop_lies_inside_the_image_and_in_its_middle(self, width, height):
        pixels = np.broadcast_to(np.uint8(0), (height, width, 3))
        crop = prepare(DecodedImage(pixels, "PNG"), CONFIG, 16).crop
        assert crop.left >= 0
        assert crop.top >= 0
        assert crop.right <= width + 1e-6
        assert crop.bottom <= height + 1e-6
        one_pixel_of_input = min(width, height) / 18 * 1.1
        assert abs(crop.left + crop.right - width) <= one_pixel_of_input
        assert abs(crop.top + crop.bottom - height) <= one_pixel_of_input

    @settings(max_examples=30, deadline=None)
    @given(
        width=st.integers(40, 320),
        height=st.integers(40, 320),
        x=st.sampled_from([0.0, 0.31, 0.5, 1.0]),
        y=st.sampled_from([0.0, 0.31, 0.5, 1.0]),
    )
    def test_a_moved_crop_is_that_place_of_the_resized_image(self, width, height, x, y):
        pixels, config = noise(width, height), ModelConfig(preprocessing=Preprocessing(0.5))
        model_input = prepare(DecodedImage(pixels, "PNG"), config, 112, crop_at=(x, y))
        whole = torchvision_input(pixels, 112, config.preprocessing, crop=False)[0]
        top, left = round((whole.shape[1] - 112) * y), round((whole.shape[2] - 112) * x)
        assert torch.equal(model_input.tensor[0], whole[:, top : top + 112, left : left + 112])
        assert 0 <= model_input.crop.left <= model_input.crop.right <= width + 1e-6
        assert 0 <= model_input.crop.top <= model_input.crop.bottom <= height + 1e-6

    @pytest.mark.parametrize("place", [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5), (0.5,), (0.5, float("inf"))])
    def test_a_crop_outside_the_image_is_refused(self, place):
        with pytest.raises(SettingError, match="shares from 0 to 1"):
            prepare(DecodedImage(noise(32, 32), "PNG"), CONFIG, crop_at=place)

    @pytest.mark.parametrize("size", [0, 8, 100, -16])
    def test_a_size_that_patches_do_not_divide_is_refused(self, size):
        with pytest.raises(SettingError, match="multiple of 16"):
            prepare(DecodedImage(noise(32, 32), "PNG"), CONFIG, size)


class TestDisplayCrop:
    def test_shows_the_very_part_that_the_model_saw(self):
        plain = ModelConfig(preprocessing=Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
        image = DecodedImage(noise(300, 400), "PNG")
        model_input = prepare(image, plain)
        seen = model_input.tensor[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(display_crop(image, model_input.crop, 224) - seen).max() <= 1.01

    def test_takes_its_detail_from_the_source_and_not_from_the_model_input(self):
        stripes = np.zeros((1024, 1024, 3), np.uint8)
        stripes[:, ::2] = 255
        image = DecodedImage(stripes, "PNG")
        shown = display_crop(image, prepare(image, CONFIG).crop, 896)
        assert shown[448].std() > 100

    @pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (333, 1001), (100, 80)])
    @pytest.mark.parametrize("side", [64, 448])
    def test_any_image_can_be_shown_at_any_size(self, size, side):
        image = DecodedImage(np.full((size[1], size[0], 3), 90, np.uint8), "PNG")
        shown = display_crop(image, prepare(image, CONFIG).crop, side)
        assert shown.shape == (side, side, 3)
        assert shown.dtype == np.uint8
        assert (shown == 90).all()
