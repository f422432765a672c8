"""Every kind of file shows its image, or is refused in a sentence that is true, and takes a bounded share of memory."""

import json
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import bmp, encode, noise, png, png_that_claims, tiff
from PIL import Image

from dynamicvit import images
from dynamicvit.decoding import files
from dynamicvit.errors import ImageError
from dynamicvit.images import decode

PIXELS = noise(40, 30)
TEXT = b"prompt\0\0" + zlib.compress(bytes(3 * 2**20))
PROFILE = b"icc\0\0" + zlib.compress(bytes(3 * 2**20))


def smooth(width=64, height=48):
    ramp = np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8)
    return np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1)


def after_pixels(data, name, content):
    """Return a PNG file with one more chunk after its pixels."""
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:-12] + chunk + data[-12:]


class TestPng:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (b"zTXt", TEXT),
            (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(3 * 2**20))),
            (b"iCCP", PROFILE),
            (b"zTXt", b"prompt\0\7" + b"?"),
            (b"iCCP", b"no profile at all"),
        ],
        ids=["text", "international text", "profile", "unknown compression", "broken profile"],
    )
    def test_what_is_not_pixels_does_not_spoil_them(self, name, content):
        np.testing.assert_array_equal(decode(png(PIXELS, (name, content))).pixels, PIXELS)
        np.testing.assert_array_equal(decode(after_pixels(encode(PIXELS), name, content)).pixels, PIXELS)

    def test_much_text_does_not_cost_the_orientation(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        data = after_pixels(encode(PIXELS, exif=exif), b"zTXt", TEXT)
        np.testing.assert_array_equal(decode(data).pixels, np.rot90(PIXELS, -1))

    def test_a_transparent_grey_of_16_bits_is_white_and_no_other(self):
        numbers = np.array([[1000, 1001, 65535, 0]], np.uint16)
        data = png(numbers, (b"tRNS", struct.pack(">H", 1000)))
        assert decode(data).pixels[0, :, 0].tolist() == [255, 4, 255, 0]

    def test_a_transparent_colour_of_16_bits_is_white_and_no_other(self):
        numbers = np.array([[[1000, 2000, 3000], [1001, 2000, 3000], [65535, 0, 0]]], np.uint16)
        data = png(numbers, (b"tRNS", struct.pack(">HHH", 1000, 2000, 3000)))
        assert decode(data).pixels[0].tolist() == [[255, 255, 255], [4, 8, 12], [255, 0, 0]]

    @pytest.mark.parametrize("bits", [1, 2, 4])
    def test_a_transparent_grey_of_few_bits_is_white_and_no_other(self, bits):
        levels = 2**bits
        packed = sum(level << 8 * 2 - bits * (level + 1) for level in range(min(levels, 16 // bits)))
        header = struct.pack(">IIBBBBB", 16 // bits, 1, bits, 0, 0, 0, 0)
        data = png(np.zeros((1, 16 // bits), np.uint8), (b"tRNS", struct.pack(">H", 1)))
        data = data.replace(data[16:29], header)
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
        start = data.index(b"IDAT")
        body = zlib.compress(b"\0" + struct.pack(">H", packed))
        chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
        data = data[: start - 4] + chunk + data[-12:]
        shown = decode(data).pixels[0, :, 0].tolist()
        stored = [level if level < levels else 0 for level in range(16 // bits)]
        assert shown == [255 if level == 1 else level * 255 // (levels - 1) for level in stored]


class TestJpeg:
    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Metadata Warning", "ignore:Truncated File Read")
    @pytest.mark.parametrize("count", [2, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    @pytest.mark.parametrize("kind", [2, 3, 5, 12, 16])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_an_exif_block_with_an_absurd_count_spoils_nothing(self, order, kind, count):
        entries = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(
            order + "HHII", 0x011A, kind, count, 99
        )
        start = b"II*\0" if order == "<" else b"MM\0*"
        exif = b"Exif\0\0" + start + struct.pack(order + "IH", 8, 2) + entries
        assert decode(encode(PIXELS, "JPEG", exif=exif)).pixels.shape == (40, 30, 3)

    def test_an_exif_block_that_pillow_cannot_read_spoils_nothing(self):
        # BigTIFF's counts have 8 bytes.
        entry = struct.pack("<HHQQ", 0x0112, 3, 2**63, 6)
        exif = b"Exif\0\0II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + entry + bytes(8)
        assert decode(encode(PIXELS, "JPEG", exif=exif)).pixels.shape == (30, 40, 3)

    def test_a_broken_index_of_further_images_spoils_nothing(self):
        data = encode(Image.fromarray(PIXELS), "MPO", save_all=True, append_images=[Image.fromarray(PIXELS)] * 2)
        start = data.index(b"MPF\0") + 4
        image = decode(data[:start] + b"\xff" * 40 + data[start + 40 :])
        assert image.pixels.shape == (30, 40, 3)
        assert image.source_format == "JPEG"

    def test_a_header_that_ends_within_a_marker_is_called_damaged(self):
        data = encode(PIXELS, "JPEG", exif=b"Exif\0\0" + b"x" * 20)
        for end in range(3, 60):
            with pytest.raises(ImageError, match=r"damaged|not an image"):
                decode(data[:end])


class TestBmp:
    def test_an_alpha_of_zero_everywhere_is_no_alpha(self):
        pixels = np.concatenate([PIXELS[::-1, :, ::-1], np.zeros((30, 40, 1), np.uint8)], axis=-1).tobytes()
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        data = bytearray(bmp(40, 30, 32, pixels, compression=3, extra=masks))
        data[14:18] = struct.pack("<I", 56)  # a header that knows alpha
        np.testing.assert_array_equal(decode(bytes(data)).pixels, PIXELS)

    def test_alpha_that_is_set_somewhere_is_alpha(self):
        pixels = np.zeros((2, 2, 4), np.uint8)
        pixels[0, 0, 3] = 255
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        data = bytearray(bmp(2, 2, 32, pixels.tobytes(), compression=3, extra=masks))
        data[14:18] = struct.pack("<I", 56)
        assert decode(bytes(data)).pixels[..., 0].tolist() == [[255, 255], [0, 255]]

    def test_runs_of_4_bits_are_read_in_rows_of_an_odd_length(self):
        palette = b"".join(bytes([17 * level] * 3 + [0]) for level in range(16))
        literally = bytes([0, 5, 0x12, 0x34, 0x50, 0])  # five pixels, filled up to whole words
        alternating = bytes([5, 0x9A])
        data = bmp(5, 2, 4, literally + b"\0\0" + alternating + b"\0\0\0\1", compression=2, palette=palette)
        assert (decode(data).pixels[..., 0] // 17).tolist() == [[9, 10, 9, 10, 9], [1, 2, 3, 4, 5]]

    def test_runs_of_8_bits_are_read(self):
        palette = b"".join(bytes([level] * 3 + [0]) for level in range(256))
        data = bmp(5, 2, 8, bytes([5, 200, 0, 0, 0, 3, 7, 8, 9, 0, 2, 50, 0, 1]), compression=1, palette=palette)
        assert decode(data).pixels[..., 0].tolist() == [[7, 8, 9, 50, 50], [200] * 5]

    @pytest.mark.parametrize(
        "data",
        [
            bmp(4, 4, 0, encode(PIXELS, "JPEG"), compression=4),
            bmp(4, 4, 0, encode(PIXELS), compression=5),
            bmp(4, 4, 2, bytes(16)),
            bmp(4, 4, 16, bytes(32), compression=3, extra=struct.pack("<III", 0x0F00, 0x00F0, 0x000F)),
            bmp(4, 4, 32, bytes(64), compression=6, extra=struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        ],
        ids=["JPEG inside", "PNG inside", "2 bits", "4 bits a colour", "alpha fields"],
    )
    def test_rare_kinds_are_not_called_damaged(self, data):
        with pytest.raises(ImageError, match="This kind of BMP file is not supported"):
            decode(data)


class TestOtherFormats:
    @pytest.mark.parametrize("white", [100, 255, 300, 1023, 65535])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_ppm_is_scaled_by_its_own_white(self, white, channels):
        levels = np.arange(256).repeat(channels)
        numbers = np.rint(levels * white / 255).astype(np.uint8 if white < 256 else ">u2")
        data = b"P%d 16 16 %d\n" % (5 if channels == 1 else 6, white) + numbers.tobytes()
        assert np.abs(decode(data).pixels[..., 0].ravel() - np.arange(256)).max() <= 255 / white

    @pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
    def test_transparent_pixels_are_white(self, file_format):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[16:, :, 3] = 255
        shown = decode(encode(pixels, file_format, quality=100)).pixels[..., 1].astype(int)
        assert (shown[:12] > 245).all()
        assert (shown[20:] < 10).all()

    @pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
    def test_an_animation_gives_its_first_frame(self, file_format):
        frames = [Image.new("RGB", (32, 32), colour) for colour in ("white", "black")]
        assert decode(encode(frames[0], file_format, save_all=True, append_images=frames[1:])).pixels.min() > 245

    @pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF"])
    def test_orientation_is_applied(self, file_format):
        exif = Image.Exif()
        exif[0x0112] = 6
        shown = decode(encode(smooth(), file_format, exif=exif, quality=95)).pixels.astype(int)
        assert np.abs(shown - np.rot90(smooth(), -1)).mean() < 4

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
    def test_jpeg_2000_is_read_in_every_mode(self, mode):
        if mode == "I;16":
            image = Image.fromarray(smooth()[..., 0].astype(np.uint16) * 257)
        else:
            image = Image.fromarray(smooth()).convert(mode)
        shown = decode(encode(image, "JPEG2000")).pixels
        expected = smooth()[..., :1] if mode == "I;16" else np.asarray(image.convert("RGB"))
        assert np.abs(shown.astype(int) - expected).max() <= 2

    @pytest.mark.parametrize("levels", [1, 6])
    def test_a_large_jpeg_2000_is_shrunk(self, levels):
        image = Image.fromarray(smooth(2200, 2100))
        shown = decode(encode(image, "JPEG2000", num_resolutions=levels)).pixels
        expected = np.asarray(image.resize((2048, 1955), Image.Resampling.HAMMING))
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 2


class TestRefusals:
    @pytest.mark.parametrize("file_format", files.FORMATS)
    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
    def test_a_cut_file_is_called_damaged_or_none(self, file_format, kept):
        data = encode(noise(64, 64), file_format)
        with pytest.raises(ImageError, match=r"damaged or incomplete|is not an image"):
            decode(data[: int(len(data) * kept)])

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
    def test_a_changed_file_is_called_damaged(self, file_format):
        data = bytearray(encode(noise(64, 64), file_format))
        middle = len(data) // 2
        data[middle : middle + 400] = noise(400, 1, 1).tobytes()
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode(bytes(data))

    def test_a_header_that_was_changed_is_called_damaged(self):
        data = bytearray(encode(PIXELS))
        data[24] = 9  # bits a sample, without a new check sum
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode(bytes(data))

    def test_a_very_long_image_is_refused_as_such(self):
        with pytest.raises(ImageError, match="1 x 88000000 pixels is too long"):
            decode(png_that_claims(1, 88_000_000))

    def test_a_file_of_too_many_bytes_is_refused(self, monkeypatch):
        monkeypatch.setattr(images, "MAX_FILE_BYTES", 1_000_000)
        with pytest.raises(ImageError, match="larger than 1 MB"):
            decode(bytes(1_000_001))

    def test_the_number_of_pixels_that_would_do_is_true(self, monkeypatch):
        data = encode(np.zeros((1200, 1000, 3), np.uint8))
        monkeypatch.setattr(files, "MAX_DECODE_BYTES", 4_300_000)
        with pytest.raises(ImageError, match=r"at most 1\.0 megapixels"):
            decode(data)
        assert decode(encode(np.zeros((1000, 1000, 3), np.uint8))).pixels.shape == (1000, 1000, 3)

    def test_a_tile_far_larger_than_its_image_is_not_decoded(self):
        with pytest.raises(ImageError, match=r"not supported|megapixels"):
            decode(tiff([bytes(100)], 64, 64, compression=5, tile_width=60_000, tile_height=60_000))


# Files that take about as much as one may, or ask for more; each line is evaluated in a process of its own.
BOMBS = {
    "PNG, text after the pixels": 'text_after(encode(Image.new("RGB", (8000, 8000)), compress_level=1))',
    "PNG, long": 'encode(Image.new("RGB", (80, 800_000)), compress_level=1)',
    "PNG, 16 bits": "png(np.zeros((7000, 7000), np.uint16), (b'tRNS', bytes(2)))",
    "progressive JPEG": 'claiming(encode(noise(64, 64), "JPEG", progressive=True, subsampling=0), 6000)',
    "WebP": 'encode(Image.new("RGB", (5500, 5500)), "WEBP", lossless=True, quality=0, method=0)',
    "TIFF, one strip": 'encode(Image.new("RGB", (5800, 5800)), "TIFF", compression="tiff_lzw", strip_size=2**30)',
    "TIFF, floats": "tiff([bytes(8 * 3400 * 3400)], 3400, 3400, bits=64, format=3)",
    "JPEG 2000": 'encode(Image.new("L", (3000, 3000)), "JPEG2000", num_resolutions=1)',
    "JPEG 2000, tiny tiles": 'in_tiles_of_1_pixel(encode(noise(300, 200), "JPEG2000", no_jp2=True))',
    "AVIF": 'encode(Image.new("RGBA", (3000, 3000)), "AVIF", speed=10)',
}
MAKE = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    from image_files import *

    def claiming(jpeg, side):
        start = jpeg.index(b"\\xff\\xc2") + 5
        return jpeg[:start] + struct.pack(">HH", side, side) + jpeg[start + 4 :]

    def text_after(png):
        chunk = b"zTXt" + b"a\\0\\0" + zlib.compress(bytes(2**22))
        return png[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[-12:]

    def in_tiles_of_1_pixel(codestream):
        return codestream[:24] + struct.pack(">II", 1, 1) + codestream[32:]

    for number, made in enumerate(json.load(sys.stdin).values()):
        with open(f"{sys.argv[2]}/{number}", "wb") as file:
            file.write(eval(made))
"""
MEASURE = """
    import json, os, sys
    sys.path.insert(0, sys.argv[1])
    from image_files import *
    from dynamicvit.errors import ImageError
    from dynamicvit.images import read

    def kilobytes(name):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

    read(sys.argv[2] + "/small")
    for number in range(int(sys.argv[3])):
        if os.fork() == 0:  # so that nothing that was freed before makes room
            resting = kilobytes("VmHWM")
            try:
                outcome = str(read(f"{sys.argv[2]}/{number}").pixels.shape)
            except ImageError as error:
                outcome = str(error)
            print(json.dumps([outcome, (kilobytes("VmHWM") - resting) / 1000]), flush=True)
            os._exit(0)
        os.wait()
"""


def run(program, *arguments, text=""):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="measures with /proc")
def test_no_file_takes_400_mb(tmp_path):
    tests = Path(__file__).parents[1]
    (tmp_path / "small").write_bytes(encode(noise(300, 300)))
    run(MAKE, tests, tmp_path, text=json.dumps(BOMBS))
    rows = [json.loads(line) for line in run(MEASURE, tests, tmp_path, len(BOMBS)).splitlines()]
    rises = {name: rise for name, (_, rise) in zip(BOMBS, rows, strict=True)}
    outcomes = {name: outcome for name, (outcome, _) in zip(BOMBS, rows, strict=True)}
    assert {name: rise for name, rise in rises.items() if rise > 400} == {}
    assert rises["PNG, text after the pixels"] > 200, "nothing was measured"
    assert outcomes["PNG, text after the pixels"] == "(2048, 2048, 3)"
    assert outcomes["PNG, long"] == "(8192, 80, 3)"
    assert "within the memory and time" in outcomes["JPEG 2000, tiny tiles"]


def test_at_most_two_images_are_decoded_at_once(monkeypatch):
    at_work, most, lock, may_end = 0, 0, threading.Lock(), threading.Event()

    def read_raster(data, enough):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if at_work == 2:
                may_end.set()
        assert may_end.wait(60)
        with lock:
            at_work -= 1
        raise ImageError("enough")

    monkeypatch.setattr(images, "read_raster", read_raster)

    def work():
        with pytest.raises(ImageError, match="enough"):
            decode(b"x")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 2
