"""A process of its own decodes what cannot be bounded, and its failure is no failure of ours."""

import io
import struct
import sys

import numpy as np
import pytest
from image_files import encode, noise
from PIL import Image

from dynamicvit.decoding import isolated
from dynamicvit.decoding.isolated import decode_apart


@pytest.mark.parametrize("file_format", ["AVIF", "JPEG2000"])
def test_pixels_come_back_as_pillow_reads_them(file_format):
    ramp = np.linspace(0, 255, 48 * 36).reshape(36, 48).astype(np.uint8)
    data = encode(np.stack([ramp, ramp.T.reshape(36, 48), ramp[::-1]], axis=-1), file_format)
    expected = Image.open(io.BytesIO(data), formats=[file_format])
    np.testing.assert_array_equal(np.asarray(decode_apart(data, file_format, (48, 36))), np.asarray(expected))


def test_what_is_larger_than_enough_is_shrunk_to_it():
    data = encode(noise(400, 300), "JPEG2000", num_resolutions=3)
    assert decode_apart(data, "JPEG2000", (90, 70)).size == (90, 70)


@pytest.mark.parametrize("file_format", ["AVIF", "JPEG2000"])
def test_what_cannot_be_decoded_is_an_error(file_format):
    data = encode(noise(64, 64), file_format)
    with pytest.raises(OSError, match="Error"):
        decode_apart(data[: len(data) // 2], file_format, (64, 64))


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is that of Linux")
def test_a_file_that_asks_for_much_memory_gets_none():
    codestream = encode(noise(300, 200), "JPEG2000", no_jp2=True)
    in_tiles_of_1_pixel = codestream[:24] + struct.pack(">II", 1, 1) + codestream[32:]
    with pytest.raises((MemoryError, OSError)):
        decode_apart(in_tiles_of_1_pixel, "JPEG2000", (300, 200))


def test_a_process_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(isolated, "MAX_SECONDS", 0.01)
    with pytest.raises(MemoryError):
        decode_apart(encode(noise(64, 64), "AVIF"), "AVIF", (64, 64))
