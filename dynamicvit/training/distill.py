"""Train the shipped hybrid: ``python -m dynamicvit.training.distill --help``.

First dense (without ``--keep-ratio``), then end to end with its predictors (with ``--keep-ratio`` and ``--start``).
A run that was stopped goes on from ``OUTPUT/state.pt`` when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dynamicvit.checkpoints.loading import load_checkpoint, save_checkpoint
from dynamicvit.errors import DynamicViTError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.photos import read_tar
from dynamicvit.training.augment import RandomCrops, mix_pictures
from dynamicvit.training.distillation import Distillation
from dynamicvit.training.teacher import Lite0Teacher, TeacherView

LOG_EVERY = 50
SAVE_EVERY = 250


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="tar files of photos; no labels needed")
    parser.add_argument("--teacher", type=Path, required=True, help="EfficientNet-Lite0 weights (.pth)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the log, the state and the weights")
    parser.add_argument("--model", default="dynamicvit_lite0_192_patch16_224")
    parser.add_argument("--start", type=Path, help="weights to begin with, instead of the closed-form start")
    parser.add_argument(
        "--keep-ratio", type=ratio_range, help="base ratio, or a range LOW:HIGH to draw it from for each batch"
    )
    parser.add_argument("--images", type=int, default=40_000, help="pictures to train on in all")
    parser.add_argument("--start-images", type=int, default=1280, help="pictures for the closed-form start")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=7e-4, help="peak learning rate of what starts from scratch")
    parser.add_argument("--body-lr-factor", type=float, default=1.0, help="of everything but the predictors")
    parser.add_argument("--mix", type=float, default=0.4, help="share of pictures with a piece of another one")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights, which are exported")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save and log until the asked number of pictures was seen."""
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    config = model_config(options.model)
    teacher = Lite0Teacher(options.teacher)
    batches = picture_batches(options, config)
    distillation = Distillation(create_model(config))
    state = start_or_resume(options, distillation, teacher, batches)
    train(options, distillation, state, teacher, batches)


def picture_batches(options: argparse.Namespace, config: ModelConfig) -> Iterator[Tensor]:
    """Give endless (B, 3, H, W) batches of fresh random crops."""
    photos = [photo for path in options.photos for photo in read_tar(path)]
    crops = RandomCrops(photos, config.image_size, config.preprocessing)
    loader = DataLoader(
        crops, options.batch, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True, prefetch_factor=6
    )
    while True:
        for images in loader:
            yield mix_pictures(images, options.mix).to(memory_format=torch.channels_last)


def start_or_resume(
    options: argparse.Namespace, distillation: Distillation, teacher: Lite0Teacher, batches: Iterator[Tensor]
) -> dict[str, Any]:
    """Bring the student to where the run begins or goes on; give the run's state."""
    optimizer = build_optimizer(options, distillation)
    path = options.output / "state.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        distillation.load_state_dict(state["distillation"])
        optimizer.load_state_dict(state["optimizer"])
        averaged = deepcopy(distillation.student)
        averaged.load_state_dict(state["averaged"])
        return {"optimizer": optimizer, "averaged": averaged, "step": state["step"], "seconds": state["seconds"]}
    distillation.start(teacher, some_views(teacher, batches, math.ceil(options.start_images / options.batch)))
    if options.start is not None:
        load_checkpoint(distillation.student, options.start)
    return {"optimizer": optimizer, "averaged": deepcopy(distillation.student), "step": 0, "seconds": 0.0}


def some_views(teacher: Lite0Teacher, batches: Iterator[Tensor], count: int) -> Iterator[TeacherView]:
    """Give the teacher's views of the first ``count`` batches."""
    for _ in range(count):
        yield teacher(next(batches))


def build_optimizer(options: argparse.Namespace, distillation: Distillation) -> torch.optim.Optimizer:
    """Give AdamW with weight decay on matrices alone, and the predictors at the full rate."""
    groups = []
    named = [(name, p) for name, p in distillation.named_parameters() if p.requires_grad]
    for is_new in (False, True):
        for is_matrix in (False, True):
            chosen = [p for name, p in named if ("score_predictor" in name) == is_new and (p.ndim > 1) == is_matrix]
            factor = 1.0 if is_new else options.body_lr_factor
            groups.append({"params": chosen, "weight_decay": 0.05 * is_matrix, "factor": factor})
    return torch.optim.AdamW(groups, lr=options.lr)


def learning_rate(options: argparse.Namespace, step: int) -> float:
    """Warm up over the first 100 steps, then follow a cosine down to a hundredth."""
    done = min(1.0, step * options.batch / options.images)
    return options.lr * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done)))


def ratio_range(text: str) -> tuple[float, float]:
    """Read ``--keep-ratio``: one base ratio, or LOW:HIGH; both in (0, 1].

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    low, _, high = text.partition(":")
    try:
        bounds = float(low), float(high or low)
    except ValueError:
        bounds = (0.0, 0.0)
    if not 0.0 < bounds[0] <= bounds[1] <= 1.0:
        raise argparse.ArgumentTypeError(f"give a ratio above 0 and at most 1, or a range LOW:HIGH; got {text!r}")
    return bounds


def train(
    options: argparse.Namespace,
    distillation: Distillation,
    state: dict[str, Any],
    teacher: Lite0Teacher,
    batches: Iterator[Tensor],
) -> None:
    """Run the loop from ``state`` to the end."""
    optimizer, averaged, begun = state["optimizer"], state["averaged"], time.monotonic() - state["seconds"]
    parameters = [p for p in distillation.parameters() if p.requires_grad]
    last = math.ceil(options.images / options.batch)
    is_range = options.keep_ratio is not None and options.keep_ratio[0] < options.keep_ratio[1]
    for step in range(state["step"], last):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options, step) * group["factor"]
        keep_ratio = random.uniform(*options.keep_ratio) if options.keep_ratio else None
        loss = distillation(teacher(next(batches)), keep_ratio, enforces_ratio=is_range)
        if not math.isfinite(loss.total.item()):
            raise SystemExit(f"The loss is not finite at step {step}; {options.output} keeps the last good state.")
        optimizer.zero_grad()
        loss.total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        update_average(averaged, distillation.student, min(options.ema, (step + 1) / (step + 10)))
        if (step + 1) % LOG_EVERY == 0 or step + 1 == last:
            log(options, step + 1, time.monotonic() - begun, keep_ratio, loss.as_numbers())
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == last:
            save(options, distillation, optimizer, averaged, step + 1, time.monotonic() - begun)


@torch.no_grad()
def update_average(averaged: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the averaged weights a little towards the student's."""
    for mean, value in zip(averaged.parameters(), student.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)


def log(options: argparse.Namespace, step: int, seconds: float, keep_ratio: float | None, parts: dict) -> None:
    """Append one JSON line to the log and show it."""
    line = json.dumps({"images": step * options.batch, "seconds": round(seconds), "keep_ratio": keep_ratio, **parts})
    with (options.output / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def save(
    options: argparse.Namespace,
    distillation: Distillation,
    optimizer: torch.optim.Optimizer,
    averaged: nn.Module,
    step: int,
    seconds: float,
) -> None:
    """Write the state to resume from, and the averaged weights as a checkpoint."""
    state = {
        "distillation": distillation.state_dict(),
        "optimizer": optimizer.state_dict(),
        "averaged": averaged.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    partial = options.output / "state.pt.part"
    torch.save(state, partial)
    partial.replace(options.output / "state.pt")
    ratios = "" if options.keep_ratio is None else ":".join(map(str, options.keep_ratio))
    metadata = {"model": options.model, "keep_ratios": ratios, "images": str(step * options.batch)}
    save_checkpoint(averaged, options.output / "weights.safetensors", metadata)


if __name__ == "__main__":
    try:
        main()
    except DynamicViTError as error:
        sys.exit(str(error))
