"""Damaged files and strange settings with a seed, outside the quick suite: ``python tests/fuzz.py --seconds 120``.

Whatever a file or a setting is, the answer is a result or one of our own errors: anything else, an answer that takes
too long, or too much memory is printed with the seed and number that make it again. docs/reliability.md holds one run.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dynamicvit
from dynamicvit.archives import list_images
from dynamicvit.errors import DynamicViTError
from dynamicvit.images import decode

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "AVIF", "TGA", "PCX", "SGI")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
LONGEST_S = 10.0
MOST_MB = 400.0
SENTENCE_LENGTH = 1000  # an error is a sentence, and not a copy of the file

TINY = dynamicvit.ModelConfig(
    image_size=32, patch_size=8, embed_dim=48, depth=6, num_heads=3, num_classes=10, prune_locations=(1, 3, 5)
)


def image_file(chance: random.Random) -> bytes:
    """Return an image of any format and mode that Pillow writes."""
    while True:
        pixels = np.random.default_rng(chance.randrange(2**32)).integers(0, 255, (8, 8, 4), np.uint8)
        image = Image.fromarray(pixels).resize((chance.randint(1, 400), chance.randint(1, 400)))
        data = io.BytesIO()
        try:
            image.convert("RGB").convert(chance.choice(MODES)).save(data, chance.choice(FORMATS))
        except (ValueError, OSError):  # not every format has every mode
            continue
        return data.getvalue()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a file with bits flipped, bytes cut, doubled or replaced by extreme numbers, or its end lost."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5, 30))):
        near_the_start = min(len(changed), chance.choice((64, 512, 10**9)))
        if not near_the_start:
            break
        at = chance.randrange(near_the_start)
        until = at + chance.choice((1, 2, 4, 100))
        match chance.randrange(5):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:until] = chance.choice((b"\0", b"\xff", b"\x7f")) * (until - at)
            case 2:
                del changed[at:until]
            case 3:
                changed[at:at] = changed[at:until]
            case _:
                del changed[at:]
    return bytes(changed)


def decode_image(chance: random.Random, folder: Path) -> None:
    """Decode a damaged image."""
    pixels = decode(damaged(image_file(chance), chance)).pixels
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


def read_archive(chance: random.Random, folder: Path) -> None:
    """Read all images of a damaged ZIP archive."""
    path = folder / "images.zip"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for number in range(chance.randint(0, 4)):
            archive.writestr(chance.choice(("", "../", "/", "a/", "__MACOSX/")) + f"{number}.png", image_file(chance))
    path.write_bytes(damaged(data.getvalue(), chance))
    with ExitStack() as files:
        for source in list_images(path.name, path, files):
            try:
                source.open()
            except DynamicViTError as error:
                check_sentence(error)


def load_weights(chance: random.Random, folder: Path) -> None:
    """Load a damaged file of weights and, where that works, ask the model."""
    path = folder / chance.choice(("weights.safetensors", "weights.pth"))
    model = dynamicvit.create_model(TINY)
    if path.suffix == ".pth":
        torch.save({"model": model.state_dict()}, path)
    else:
        dynamicvit.save_model(model, path)
    path.write_bytes(damaged(path.read_bytes(), chance))
    model = dynamicvit.load_model(path)
    size = model.config.image_size
    model(torch.zeros(1, 3, size, size), keep_ratio=0.7)


def ask_with_setting(chance: random.Random, folder: Path) -> None:
    """Ask a model with a keep ratio and a selector that may be anything."""
    numbers = (0, 1, -1, 0.7, 0.05, 1e-300, float("nan"), float("inf"), 10**400, True, None, "0.7", b"", [], {})
    one = chance.choice(numbers)
    ratio = chance.choice((one, tuple(chance.choice(numbers) for _ in range(chance.randint(0, 4)))))
    name = chance.choice(("predictor", "random", "grid", "class-attention", "merging", "diversity", "", None, 3))
    selector = dynamicvit.create_selector(name)
    side = 8 * chance.randint(1, 6)
    logits = dynamicvit.create_model(TINY)(torch.zeros(2, 3, side, side), keep_ratio=ratio, selector=selector)
    assert torch.isfinite(logits).all()


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "damaged image": decode_image,
    "damaged ZIP archive": read_archive,
    "damaged weights": load_weights,
    "strange setting": ask_with_setting,
}


def check_sentence(error: DynamicViTError) -> None:
    """Raise AssertionError where an error is not a sentence."""
    assert 0 < len(str(error)) < SENTENCE_LENGTH, f"{len(str(error))} characters"


def attempt(kind: str, seed: str, folder: Path) -> str:
    """Return what became of one attempt: "used", "refused", or what was wrong."""
    start = time.monotonic()
    try:
        KINDS[kind](random.Random(f"{kind} {seed}"), folder)
        outcome = "used"
    except DynamicViTError as error:
        check_sentence(error)
        outcome = "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    taken = time.monotonic() - start
    return outcome if taken < LONGEST_S else f"took {taken:.1f} s"


def peak_mb() -> float:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """Attempt all kinds for the time given and print how each ended; exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            attempt(kind, "first", Path(name))  # what is loaded once
            before, outcomes, number = peak_mb(), Counter[str](), 0
            until = time.monotonic() + options.seconds / len(KINDS)
            while time.monotonic() < until:
                outcome = attempt(kind, f"{options.seed} {number}", Path(name))
                known = outcome in ("used", "refused")
                outcomes[outcome if known else "wrong"] += 1
                if not known:
                    sys.stdout.write(f"{kind}, seed {options.seed}, number {number}: {outcome}\n")
                number += 1
            grown = peak_mb() - before
            wrong += outcomes["wrong"] + (grown > MOST_MB)
            counts = ", ".join(f"{what} {outcomes[what]}" for what in ("used", "refused", "wrong"))
            sys.stdout.write(f"{kind}: {number} attempts, {counts}; memory +{grown:.0f} MB\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
