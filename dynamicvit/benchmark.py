"""How long models take, dense and pruned, everything in turn in one run (``python -m dynamicvit benchmark``)."""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dynamicvit.costs.benchmark import device_name, synchronize, take_turns
from dynamicvit.costs.macs import MacCounter
from dynamicvit.costs.memory import peak_memory
from dynamicvit.errors import DynamicViTError, OutputError, SettingError
from dynamicvit.figures.growth_chart import draw_growth
from dynamicvit.figures.saving import figure_bytes
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.folding import fold_batch_norms
from dynamicvit.models.registry import create_model, list_models
from dynamicvit.models.selectors import SELECTORS, create_selector
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.precision import in_bfloat16
from dynamicvit.weights.available import load_model
from dynamicvit.writing import write_whole

DENSE = "dense"
TIMM = "timm's dense"
BLOCKS = "bfloat16-blocks"
PRECISIONS = {"float32": None, BLOCKS: None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Measured:
    """One way to run a model, over all rounds of the run.

    Attributes:
        model: its name.
        how: "dense", "timm's dense", or keep ratio and selector.
        batch, image_size, precision: of the images.
        milliseconds: median of one batch.
        p10, p90: of the rounds, in milliseconds.
        images_per_second: by the median.
        gmacs: of one image; None where they are not counted.
        speedup: median over the rounds of the baseline's time / this one's; that is timm's dense model, or else ours.
        of_ideal: speedup / (the baseline's multiply-adds / these); None where they are not counted.
        peak_mb: that one batch takes for its tensors at its highest, weights and images not counted.
    """

    model: str
    how: str
    batch: int
    image_size: int
    precision: str
    milliseconds: float
    p10: float
    p90: float
    images_per_second: float
    gmacs: float | None
    speedup: float
    of_ideal: float | None
    peak_mb: float


@dataclass(frozen=True, eq=False)
class Contender:
    """What is timed: a name, a call with images, and its multiply-adds for one image."""

    how: str
    call: Callable[[Tensor], Any]
    gmacs: float | None


def contenders(
    model: DynamicModel, name: str, ratios: Sequence[float], selectors: Sequence[str], image_size: int
) -> list[Contender]:
    """Return timm's dense model where it has one of that name, our dense one, and it pruned in each way.

    Raises:
        SettingError: a ratio or a selector is not valid for the model.
    """
    found = []
    twin = name.removeprefix("dynamicvit_")
    if timm.is_model(twin):
        other = timm_model(twin, image_size).to(model.device).eval()
        if model.precision == "bfloat16":
            in_bfloat16(other)
        found.append(Contender(TIMM, other, gmacs(model, None, None, image_size)))
    found.append(Contender(DENSE, model, gmacs(model, None, None, image_size)))
    for ratio, selector_name in product(ratios, selectors or model.selectors[:1]):
        if selector_name not in model.selectors:
            raise SettingError(
                f"{name} cannot be asked by {selector_name}; choose one of {', '.join(model.selectors)}."
            )
        selector = create_selector(selector_name)
        call = partial(model, keep_ratio=ratio, selector=selector)
        found.append(Contender(f"{ratio:g} {selector_name}", call, gmacs(model, ratio, selector_name, image_size)))
    return found


def timm_model(name: str, image_size: int) -> nn.Module:
    """Return timm's model for images of a size; convolutional ones take any and are not told."""
    try:
        model: nn.Module = timm.create_model(name, img_size=image_size)
    except TypeError:
        model = timm.create_model(name)
    return model


@torch.inference_mode()
def gmacs(model: DynamicModel, ratio: float | None, selector: str | None, image_size: int) -> float:
    """Return 10^9 multiply-adds of one image, counted on the forward pass."""
    with MacCounter(model) as counter:
        model(
            torch.zeros(1, 3, image_size, image_size, device=model.device),
            ratio,
            selector and create_selector(selector),
        )
    return counter.report().gmacs


@torch.inference_mode()
def milliseconds(call: Callable[[Tensor], Any], images: Tensor, precision: torch.dtype | None) -> float:
    """Return how long one batch takes."""
    begin = time.perf_counter()
    with autocast(images.device, precision):
        call(images)
    synchronize(images.device)
    return 1e3 * (time.perf_counter() - begin)


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[Any]:
    """Return the context in which a precision holds; None is float32."""
    return torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None)


def measure(
    model: DynamicModel,
    name: str,
    *,
    ratios: Sequence[float],
    selectors: Sequence[str],
    batch: int,
    image_size: int,
    precision: str,
    seconds: float,
    most_rounds: int,
) -> list[Measured]:
    """Return what a model takes in all the ways, timed in turn; the baseline comes first.

    Raises:
        DynamicViTError: a ratio, a selector or the size of the images is not valid for the model.
    """
    if precision == BLOCKS and not isinstance(model, DynamicVisionTransformer):
        raise SettingError(f"{name} has no blocks of tokens; choose another precision.")
    model = in_bfloat16(copy.deepcopy(model)) if precision == BLOCKS else model
    rivals = contenders(model, name, ratios, selectors, image_size)
    images = torch.randn(batch, 3, image_size, image_size, device=model.device)
    tasks = [partial(milliseconds, rival.call, images, PRECISIONS[precision]) for rival in rivals]
    peaks = [peak_memory(task, images.device) for task in tasks]
    rounds = take_turns(tasks, max_rounds=most_rounds, budget_ms=1e3 * seconds)
    base = rivals[0]
    found = []
    for index, (rival, peak) in enumerate(zip(rivals, peaks, strict=True)):
        own = [times[index] for times in rounds]
        speedup = median(times[0] / times[index] for times in rounds)
        ideal = base.gmacs / rival.gmacs if base.gmacs and rival.gmacs else None
        low, *_, high = quantiles(own, n=10, method="inclusive")
        found.append(
            Measured(
                name,
                rival.how,
                batch,
                image_size,
                precision,
                median(own),
                low,
                high,
                1e3 * batch / median(own),
                rival.gmacs,
                speedup,
                speedup / ideal if ideal else None,
                peak,
            )
        )
    return found


def as_table(rows: Sequence[Measured]) -> str:
    """Return the rows as a Markdown table."""
    heads = ["model", "how", "batch", "pixels", "precision"]
    numbers = ["ms (10 to 90 %)", "images/s", "GMACs", "times faster", "of ideal", "peak MB"]
    lines = [_line([*heads, *numbers]), _line(["---"] * len(heads) + ["---:"] * len(numbers))]
    for row in rows:
        cells = [
            row.model,
            row.how,
            f"{row.batch}",
            f"{row.image_size}",
            row.precision,
            f"{row.milliseconds:.1f} ({row.p10:.1f} to {row.p90:.1f})",
            f"{row.images_per_second:.1f}",
            "-" if row.gmacs is None else f"{row.gmacs:.3f}",
            f"{row.speedup:.2f}",
            "-" if row.of_ideal is None else f"{100 * row.of_ideal:.0f} %",
            f"{row.peak_mb:.0f}",
        ]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_chart(rows: Sequence[Measured]) -> bytes:
    """Return as PNG how milliseconds and memory grow with the size of the images, or else with the batch."""
    by_size = len({row.image_size for row in rows}) > 1
    is_one_run = len({(row.model, row.precision) for row in rows}) == 1

    def lines(quantity: Callable[[Measured], float]) -> dict[str, list[tuple[float, float]]]:
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in rows:
            name = row.how if is_one_run else f"{row.model}, {row.how}, {row.precision}"
            found[name].append((row.image_size if by_size else row.batch, quantity(row)))
        return found

    panels = {
        "milliseconds of an image": lines(lambda row: row.milliseconds / row.batch),
        "peak memory of a batch, MB": lines(lambda row: row.peak_mb),
    }
    return figure_bytes(draw_growth(panels, "pixels on a side" if by_size else "images in a batch"), "png")


def read_model(source: str, image_size: int | None) -> DynamicModel:
    """Return a model with its weights where there are some, else with fresh ones: they take as long."""
    try:
        model = load_model(source)
    except DynamicViTError:
        if source not in list_models():
            raise
        changes: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
        model = create_model(source, **changes).eval()
    return fold_batch_norms(model)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="dynamicvit benchmark",
        description="Time models dense and pruned, everything in turn, beside timm's dense model where it has one.",
    )
    parser.add_argument("--model", nargs="+", required=True, help="names, weight files, or timm:NAME")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[0.7], help="base keep ratios")
    parser.add_argument("--selector", nargs="+", choices=list(SELECTORS), default=[], help="default: the model's own")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="images in a forward pass")
    parser.add_argument("--image-size", type=int, nargs="+", help="pixels on a side; default: the model's")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=list(PRECISIONS),
        default=["float32"],
        help=f"{BLOCKS}: as the app computes on a CPU, in timm's model too; bfloat16, float16: torch's autocast",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="of the CPU; default: torch's choice")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each table row's group, at least 3 rounds")
    parser.add_argument("--rounds", type=int, default=200, help="at most")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--chart", type=Path, help="PNG file for their growth over several sizes or batches")
    options = parser.parse_args(arguments)
    if options.chart is not None and (len(options.image_size or []) > 1) == (len(options.batch) > 1):
        parser.error("--chart shows growth: give several values of either --image-size or --batch")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line; what a user can mend ends it with one sentence."""
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        rows = run(options)
    except DynamicViTError as error:
        sys.exit(str(error))
    where = device_name(options.device)
    about = f"{where}, torch {torch.__version__}, {date.today().isoformat()}; fresh weights where there are none here."
    sys.stdout.write(f"{as_table(rows)}\n\n{about}\n")
    record = {"where": about, "rows": [asdict(row) for row in rows]}
    try:
        if options.json is not None:
            write_whole(options.json, json.dumps(record, indent=1).encode())
        if options.chart is not None:
            write_whole(options.chart, as_chart(rows))
    except OutputError as error:
        sys.exit(str(error))


def run(options: argparse.Namespace) -> list[Measured]:
    """Return what the options ask for.

    Raises:
        DynamicViTError: a model cannot be had, or an option is not valid for it.
    """
    rows = []
    for source in options.model:
        model = read_model(source, options.image_size and options.image_size[0]).to(options.device)
        for size, batch, precision in product(
            options.image_size or [model.config.image_size], options.batch, options.precision
        ):
            rows += measure(
                model,
                Path(source).name.removesuffix(".safetensors"),
                ratios=options.keep_ratio,
                selectors=options.selector,
                batch=batch,
                image_size=size,
                precision=precision,
                seconds=options.seconds,
                most_rounds=options.rounds,
            )
    return rows


if __name__ == "__main__":
    main()
