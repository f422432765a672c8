"""TIFF files show the same image whatever their samples, and are refused truly where nobody reads them right."""

import numpy as np
import pytest
from image_files import tiff

from dynamicvit.decoding.tiff import read_header
from dynamicvit.errors import ImageError
from dynamicvit.images import decode

HEIGHT, WIDTH = 32, 64
RAMP = (np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 2) + 5).astype(np.uint8)  # 5 to 224
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
# Type of the samples, its black and its white.
TYPES = {
    "uint16": (np.uint16, 0, 2**16 - 1),
    "uint32": (np.uint32, 0, 2**32 - 1),
    "uint32 of 16 bits": (np.uint32, 0, 2**16 - 1),
    "uint32 of 8 bits": (np.uint32, 0, 2**8 - 1),
    "int8": (np.int8, -(2**7), 2**7 - 1),
    "int16": (np.int16, -(2**15), 2**15 - 1),
    "int16 from 0": (np.int16, 0, 2**15 - 1),
    "int32": (np.int32, -(2**31), 2**31 - 1),
    "float32": (np.float32, 0.0, 1.0),
    "float32 to 255": (np.float32, 0.0, 255.0),
    "float64": (np.float64, 0.0, 1.0),
}


def stored(name, levels, order):
    """Return 0..255 as the numbers of a type, in the byte order of the file, and the file's tags for them."""
    dtype, black, white = TYPES[name]
    numbers = black + levels.astype(np.float64) / 255 * (float(white) - black)
    kind = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[np.dtype(dtype).kind]
    numbers = numbers if kind == FLOAT else np.rint(numbers)
    return numbers.astype(np.dtype(dtype).newbyteorder(order)), {"bits": np.dtype(dtype).itemsize * 8, "format": kind}


def turned_round(numbers):
    """Return numbers whose white is zero, as the format has it: the range is turned round."""
    if numbers.dtype.kind == "f":
        return (255.0 if numbers.max() > 1 else 1.0) - numbers
    return ~numbers


def packed_12_bits(numbers):
    """Return two samples in three bytes."""
    first, second = numbers.ravel()[::2], numbers.ravel()[1::2]
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()


def strips(array, rows=7):
    return [array[top : top + rows].tobytes() for top in range(0, len(array), rows)]


def tiles(array, side=32):
    return [array[y : y + side, x : x + side].tobytes() for y in range(0, HEIGHT, side) for x in range(0, WIDTH, side)]


def assert_shows(data, expected):
    pixels = decode(data).pixels.astype(int)
    expected = np.repeat(expected[..., None], 3, axis=-1) if expected.ndim == 2 else expected
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["strips", "tiles"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_grey_of_any_type_looks_the_same(name, white_is_zero, layout, order):
    numbers, tags = stored(name, RAMP, order)
    if white_is_zero:
        numbers = turned_round(numbers).astype(numbers.dtype)
    place = {"rows": 7} if layout == "strips" else {"tile_width": 32, "tile_height": 32}
    segments = strips(numbers) if layout == "strips" else tiles(numbers)
    assert_shows(tiff(segments, WIDTH, HEIGHT, order, photometric=int(not white_is_zero), **place, **tags), RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_12_packed_bits_is_not_too_dark(white_is_zero, order):
    numbers = np.rint(RAMP / 255 * 4095).astype(int)
    data = packed_12_bits(4095 - numbers if white_is_zero else numbers)
    assert_shows(tiff([data], WIDTH, HEIGHT, order, bits=12, photometric=int(not white_is_zero)), RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_planes_of_colours_are_put_together(bits, order):
    numbers = COLOURS if bits == 8 else (COLOURS.astype(int) * 257).astype(np.dtype(np.uint16).newbyteorder(order))
    planes = [numbers[..., channel].tobytes() for channel in range(3)]
    assert_shows(tiff(planes, WIDTH, HEIGHT, order, bits=[bits] * 3, samples=3, photometric=2, planar=2), COLOURS)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["uint16", "uint32", "int16", "float32"])
def test_colours_of_any_type_look_the_same(name, order):
    numbers, tags = stored(name, COLOURS, order)
    tags = {key: [value] * 3 for key, value in tags.items()}
    assert_shows(tiff([numbers.tobytes()], WIDTH, HEIGHT, order, samples=3, photometric=2, **tags), COLOURS)


def test_a_single_plane_of_white_is_zero_is_no_negative():
    assert_shows(tiff([(~RAMP).tobytes()], WIDTH, HEIGHT, photometric=0, planar=2), RAMP)


def test_a_palette_is_followed():
    palette = [(255 - level) * 257 for level in range(256)]
    assert_shows(tiff([RAMP.tobytes()], WIDTH, HEIGHT, photometric=3, palette=palette * 3), ~RAMP)


def test_cmyk_shows_its_colours():
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[..., 1:3] = 255  # magenta and yellow make red
    red = np.zeros((HEIGHT, WIDTH, 3), int)
    red[..., 0] = 255
    assert_shows(tiff([inks.tobytes()], WIDTH, HEIGHT, samples=4, bits=[8] * 4, photometric=5), red)


@pytest.mark.parametrize("subsampling", [1, 2])
def test_luma_and_chroma_that_are_not_compressed_are_read(subsampling):
    step = subsampling
    blocks = b"".join(
        bytes([*RAMP[y : y + step, x : x + step].ravel().tolist(), 128, 128])
        for y in range(0, HEIGHT, step)
        for x in range(0, WIDTH, step)
    )
    tags = {"samples": 3, "bits": [8] * 3, "photometric": 6, "subsampling": [step, step]}
    assert_shows(tiff([blocks], WIDTH, HEIGHT, **tags), RAMP)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_any_samples_are_turned_upright(bits):
    numbers = RAMP.astype(np.uint64) * ((2**bits - 1) // 255)
    data = tiff([numbers.astype(f"<u{bits // 8}").tobytes()], WIDTH, HEIGHT, bits=bits, orientation=6)
    assert_shows(data, np.rot90(RAMP, -1))


def test_an_alpha_of_zero_everywhere_is_no_alpha():
    pixels = np.concatenate([COLOURS, np.zeros_like(COLOURS[..., :1])], axis=-1)
    assert_shows(tiff([pixels.tobytes()], WIDTH, HEIGHT, samples=4, bits=[8] * 4, photometric=2, extra=2), COLOURS)


@pytest.mark.parametrize(
    ("pixel_bytes", "tags"),
    [
        (2, {"bits": 16, "format": FLOAT}),
        (12, {"bits": [32] * 3, "format": [FLOAT] * 3, "samples": 3, "photometric": 2, "planar": 2}),
        (4, {"bits": [16] * 2, "samples": 2, "extra": 2}),
        (16, {"bits": [32] * 4, "format": [FLOAT] * 4, "samples": 4, "photometric": 2, "extra": 1}),
        (9, {"bits": [8] * 9, "samples": 9, "photometric": 1}),
        (1, {"compression": 34712}),
        (4, {"bits": 32, "format": FLOAT, "photometric": 0, "compression": 50000}),
    ],
    ids=["half floats", "planes of floats", "16-bit alpha", "float alpha", "nine samples", "JPEG 2000", "zstd"],
)
def test_what_nobody_reads_right_is_not_called_damaged(pixel_bytes, tags):
    size = HEIGHT * WIDTH * pixel_bytes
    segments = [bytes(size // 3)] * 3 if tags.get("planar") else [bytes(size)]
    with pytest.raises(ImageError, match="This kind of TIFF file is not supported"):
        decode(tiff(segments, WIDTH, HEIGHT, **tags))


@pytest.mark.parametrize("kept", [0.3, 0.7])
@pytest.mark.parametrize("name", ["uint16", "float64"])
def test_a_cut_file_is_called_damaged(name, kept):
    numbers, tags = stored(name, RAMP, "<")
    data = tiff(strips(numbers), WIDTH, HEIGHT, rows=7, **tags)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode(data[: int(len(data) * kept)])


@pytest.mark.parametrize("bits", [8, 32])
def test_a_file_that_lacks_strips_is_called_damaged_and_not_filled_with_black(bits):
    data = tiff([bytes(7 * WIDTH * bits // 8)] * 3, WIDTH, HEIGHT, bits=bits, rows=7)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode(data)


def test_whole_tiles_that_opencv_refuses_for_their_size_are_not_called_damaged():
    data = tiff([bytes(256)] * 8, WIDTH, HEIGHT, format=SIGNED, tile_width=16, tile_height=16)
    with pytest.raises(ImageError, match="not supported"):
        decode(data)


def test_big_endian_bigtiff_is_not_called_damaged():
    with pytest.raises(ImageError, match="not supported"):
        decode(b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10" + bytes(7) + b"\x01" + bytes(28))


def test_only_the_first_page_is_read():
    first, second = tiff([RAMP.tobytes()], WIDTH, HEIGHT), tiff([bytes(RAMP.size)], WIDTH, HEIGHT)
    at = int.from_bytes(first[4:8], "little")
    link = at + 2 + 12 * int.from_bytes(first[at : at + 2], "little")
    linked = first[:link] + len(first).to_bytes(4, "little") + first[link + 4 :]
    pages = linked + second[int.from_bytes(second[4:8], "little") :]
    assert_shows(pages, RAMP)


def test_a_directory_that_says_something_twice_is_no_header():
    data = tiff([RAMP.tobytes()], WIDTH, HEIGHT)
    directory = int.from_bytes(data[4:8], "little")
    second_width = directory + 2 + 2 * 12  # in place of the third entry
    twice = data[:second_width] + data[directory + 2 : directory + 14] + data[second_width + 12 :]
    assert read_header(data) is not None
    assert read_header(twice) is None


@pytest.mark.parametrize("data", [b"II*\0", b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0\xff\xff", b"II+\0\x08\0\0\0"])
def test_a_directory_that_is_none_is_no_header(data):
    assert read_header(data) is None
