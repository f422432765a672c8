"""The command line of the training program, and what it describes."""

from __future__ import annotations

import argparse
import ast
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import list_models, model_config
from dynamicvit.models.timm_vit import describe_timm, is_timm_name
from dynamicvit.training.crops import Augmentation, Mixing
from dynamicvit.training.optimizer import Schedule
from dynamicvit.weights.available import TIMM

_SPARSIFIED = "dynamicvit_deit_small_patch16_224"
DESCRIPTION = """Train a model that drops tokens.

sparsify  the paper's end-to-end sparsification: a model that starts from dense weights learns which tokens to drop,
          with the dense model as its teacher; the defaults are the paper's recipe
distill   a dense model learns from a convolutional classifier of timm, without labels: its answer and where it looks

Devices, mixed precision and many processes: 'accelerate launch -m dynamicvit.train ...'. A run that was stopped goes
on from OUTPUT/state.pt when the same command is given again, to the same weights as if it had not been stopped.
All machines of a run must see the same output folder."""

# Source: Rao et al. 2021 and the released command line for DeiT-S and LV-ViT.
_SPARSIFY = {
    "epochs": 30.0,
    "batch": 1024,
    "lr": 1e-3,
    "min_lr": 1e-6,
    "backbone_lr_factor": 0.01,
    "backbone_frozen": 5 / 30,
    "warmup": 5 / 30,
    "weight_decay": 0.05,
    "adam_beta2": 0.999,
    "clip_norm": None,
    "ema": 0.9999,
    "mixup": 0.8,
    "cutmix": 1.0,
    "smoothing": 0.1,
    "paste": 0.0,
    "blend": 0.0,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.4,
    "erasing": 0.25,
    "smallest_crop": 0.08,
}
_DISTILL = {
    "epochs": 30.0,
    "batch": 256,
    "lr": 2e-4,
    "min_lr": 1e-7,
    "backbone_lr_factor": 0.1,
    "backbone_frozen": 0.0,
    "warmup": 0.1,
    "weight_decay": 0.02,
    "adam_beta2": 0.98,
    "clip_norm": 1.0,
    "ema": 0.99,
    "mixup": 0.0,
    "cutmix": 0.0,
    "smoothing": 0.0,
    "paste": 0.35,
    "blend": 0.15,
    "auto_augment": "",
    "color_jitter": 0.3,
    "erasing": 0.0,
    "smallest_crop": 0.2,
}
# The released command line for DeiT-B differs in these.
_USUAL = {"drop_path": 0.0, "ratio_weight": 2.0}
_DEIT_BASE = {"drop_path": 0.2, "ratio_weight": 5.0}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are not told in words."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []) or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dynamicvit.train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    objectives = parser.add_subparsers(dest="objective", required=True, metavar="{sparsify,distill}")
    _add_sparsify(objectives.add_parser("sparsify", formatter_class=_Help))
    _add_distill(objectives.add_parser("distill", formatter_class=_Help))
    options = parser.parse_args(arguments)
    if options.model is None:
        options.model = _model_for(options.start)
    for name, value in (_DEIT_BASE if "deit_base" in options.model else _USUAL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _model_for(start: str) -> str:
    """Return the model that ``--start`` means without ``--model``: the paper's where that has its backbone."""
    own = f"dynamicvit_{start.removeprefix(TIMM).partition('.')[0]}"
    if not start.startswith(TIMM):
        return _SPARSIFIED
    return own if own in list_models() else start


def _add_sparsify(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, None)
    group = parser.add_argument_group("objective")
    group.add_argument("--start", required=True, help="dense weights: a file, or timm:NAME for timm's pretrained ones")
    group.add_argument(
        "--keep-ratio",
        type=ratio_range,
        default=(0.7, 0.7),
        metavar="RATIO",
        help="base keep ratio, or LOWEST:HIGHEST to draw one for each batch and hold each image to it; default: 0.7",
    )
    group.add_argument(
        "--noise-scale",
        type=number(0.01),
        default=1.0,
        help="of the Gumbel noise against the scores; 1 is the paper's, less makes training choose as inference does",
    )
    group.add_argument("--classification-weight", type=number(0), default=1.0, help="of the labels' cross entropy")
    group.add_argument("--distillation-weight", type=number(0), default=0.5, help="of the dense model's two terms")
    group.add_argument(
        "--ratio-weight", type=number(0), help="of the keep-ratio loss; default: 5 for deit_base, else 2"
    )
    group.add_argument("--token-term", choices=["mse", "kl"], help="default: kl with an auxiliary head, else mse")
    group.add_argument("--batch-ratio", action="store_true", help="hold the batch, not each image, to the keep ratio")
    group.add_argument("--ignore-labels", action="store_true", help="train on the teachers' targets alone")
    _add_teacher(parser, None, "without labels its answer takes their place; default: none")
    group.add_argument(
        "--dense-every",
        type=whole(0),
        default=0,
        metavar="STEPS",
        help="make every so many steps one of distill, which keeps the dense answer where the teacher has it; 0: none",
    )
    parser.set_defaults(**_SPARSIFY)


def _add_distill(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, "dynamicvit_lite0_small_patch16_224")
    group = parser.add_argument_group("objective")
    group.add_argument(
        "--start", help="weights to go on from: a file, or timm:NAME; default: the closed-form start, or none"
    )
    group.add_argument("--start-images", type=whole(1), default=5120, help="for the closed-form start")
    _add_teacher(parser, "tf_efficientnet_lite0", "it must pool globally and have a linear head")
    parser.set_defaults(**_DISTILL, ignore_labels=True, keep_ratio=None, ratio_weight=0.0, dense_every=0)


def _add_teacher(parser: argparse.ArgumentParser, name: str | None, what: str) -> None:
    group = parser.add_argument_group("attended teacher")
    group.add_argument("--teacher", default=name, help=f"name of a convolutional classifier of timm; {what}")
    group.add_argument("--teacher-weights", type=Path, help="its weights; timm's pretrained ones when not given")
    group.add_argument("--beta", type=number(0), default=0.4, help="sharpness of its attention; 0 is the plain mean")
    group.add_argument("--attention-weight", type=number(0), default=1.0, help="of the class token's attention")
    group.add_argument(
        "--attention-blocks",
        type=whole(0),
        nargs="+",
        metavar="BLOCK",
        help="whose class token learns to look where the teacher does; default: those before the stages, and the last",
    )


def _add_common(parser: argparse.ArgumentParser, model: str | None) -> None:
    _add_data(parser)
    _add_model(parser, model)
    _add_course(parser)
    _add_augmentation(parser)
    group = parser.add_argument_group("program")
    group.add_argument("--output", type=Path, required=True, help="folder for log, state, weights and summary")
    group.add_argument("--seed", type=int, default=0, help="of all chance in the run")
    group.add_argument("--workers", type=whole(0), default=min(8, os.cpu_count() or 1), help="processes that load")
    group.add_argument("--mixed-precision", choices=["no", "fp16", "bf16"], help="default: accelerate's configuration")
    group.add_argument("--compile", action="store_true", help="compile the networks' blocks; pays in runs of minutes")
    group.add_argument("--log-every", type=whole(1), default=50, metavar="STEPS", help="steps between log lines")
    group.add_argument("--save-every", type=whole(1), default=250, metavar="STEPS", help="steps between saves")
    group.add_argument(
        "--summary-ratios", type=number(0, 1), nargs="+", default=[0.9, 0.7, 0.5, 0.3], help="keep ratios to evaluate"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    source = "an image folder (flat, or a sub-folder for each class), tar files (held in memory), or hf:NAME[:SPLIT]"
    group.add_argument("--data", nargs="+", required=True, metavar="SOURCE", help=source)
    group.add_argument(
        "--repeats", type=number(0), nargs="+", metavar="TIMES", help="how often each source's photos come in an epoch"
    )
    group.add_argument("--labels", type=Path, help="CSV with the columns file and label")
    group.add_argument("--val", nargs="+", metavar="SOURCE", help="labelled photos for the summary, like --data")
    group.add_argument("--val-labels", type=Path, help="CSV with the columns file and label")
    group.add_argument(
        "--device-crops",
        action=argparse.BooleanOptionalAction,
        help="decode all photos once and make crops on the device, without timm's policies and erasing; default: where "
        "these are off and the photos take less than 4 GB",
    )


def _add_model(parser: argparse.ArgumentParser, model: str | None) -> None:
    what = "one of list_models(), or timm:NAME for a plain vision transformer of timm with predictors"
    what += "" if model else f"; default: that of --start timm:NAME, else {_SPARSIFIED}"
    group = parser.add_argument_group("model")
    group.add_argument("--model", default=model, type=model_name, metavar="NAME", help=what)
    group.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="change its description, such as depth=6"
    )
    group.add_argument("--classes", type=whole(1), help="number of classes; another one than --start's: a new head")
    group.add_argument("--drop-path", type=number(0, 1), help="default: 0.2 for deit_base, else 0")
    group.add_argument(
        "--image-size", type=size_range, metavar="SIZE", help="side in pixels, or FIRST:LAST to grow along the run"
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("course of the training")
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=number(0))
    length.add_argument("--images", type=whole(1), help="length in images seen, instead of epochs")
    group.add_argument("--batch", type=whole(1), help="images a step, over all processes; does not scale the rate")
    group.add_argument("--lr", type=number(0), help="peak learning rate: of predictors, or in distill of attention")
    group.add_argument("--min-lr", type=number(0), help="learning rate at the end of the cosine")
    group.add_argument("--backbone-lr-factor", type=number(0), help="learning rate of the rest, as a multiple")
    group.add_argument("--backbone-frozen", type=number(0, 1), help="share of the run in which the rest has rate 0")
    group.add_argument("--warmup", type=number(0, 1), help="share of the run in which the learning rate rises from 0")
    group.add_argument("--weight-decay", type=number(0), help="not on 1-d parameters")
    group.add_argument("--adam-beta2", type=number(0, 1), help="decay of AdamW's second moments")
    group.add_argument("--clip-norm", type=number(0), help="largest norm of the gradient; sparsify does not clip")
    group.add_argument("--ema", type=number(0, 1), help="decay of the averaged weights that are saved, from 0.1 rising")


def _add_augmentation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("augmentation")
    group.add_argument("--smallest-crop", type=number(0, 1), help="least share of the photo in a crop")
    group.add_argument("--auto-augment", metavar="POLICY", help="timm's name of a policy; '' for none")
    group.add_argument("--color-jitter", type=number(0), help="used where there is no policy, as in timm")
    group.add_argument("--erasing", type=number(0, 1), help="chance that a rectangle becomes noise")
    group.add_argument("--mixup", type=number(0), help="alpha; 0 for none")
    group.add_argument("--cutmix", type=number(0), help="alpha; 0 for none")
    group.add_argument("--mix-switch", type=number(0, 1), default=0.5, help="chance of cutmix where both are on")
    group.add_argument("--smoothing", type=number(0, 1), help="share of a label that is spread over all classes")
    group.add_argument("--paste", type=number(0, 1), help="share of images with a piece of another, labels unchanged")
    group.add_argument("--blend", type=number(0, 1), help="share of images with another shining through, likewise")


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"give a number from {low:g} to {high:g}; got {text!r}")
        return value

    return read


def model_name(text: str) -> str:
    """Read ``--model``: a name from :func:`list_models`, or ``timm:NAME``."""
    if text not in list_models() and not (text.startswith(TIMM) and is_timm_name(text.removeprefix(TIMM))):
        raise argparse.ArgumentTypeError(f"there is no model {text!r}; choose one of {', '.join(list_models())}")
    return text


def whole(low: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low``."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"give a whole number of at least {low}; got {text!r}")
        return int(text)

    return read


def ratio_range(text: str) -> tuple[float, float]:
    """Read ``--keep-ratio``: one base ratio, or LOWEST:HIGHEST; both in (0, 1].

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    low, _, high = text.partition(":")
    try:
        bounds = float(low), float(high or low)
    except ValueError:
        bounds = (0.0, 0.0)
    if not 0.0 < bounds[0] <= bounds[1] <= 1.0:
        raise argparse.ArgumentTypeError(f"give a ratio above 0 and at most 1, or a range LOWEST:HIGHEST; got {text!r}")
    return bounds


def size_range(text: str) -> tuple[int, int]:
    """Read ``--image-size``: one side in pixels, or FIRST:LAST.

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    low, _, high = text.partition(":")
    if not (low.isdecimal() and (high or low).isdecimal() and 0 < int(low) <= int(high or low)):
        raise argparse.ArgumentTypeError(f"give a side in pixels, or FIRST:LAST from small to large; got {text!r}")
    return int(low), int(high or low)


def student_config(options: argparse.Namespace) -> ModelConfig:
    """Return the description of the model to train.

    Raises:
        SettingError: a ``--set`` is no FIELD=VALUE, or the description makes no sense.
    """
    base = _base_config(options.model)
    changes: dict[str, Any] = {}
    known = {field.name for field in fields(base) if field.init} - {"preprocessing"}
    for text in options.set:
        name, _, value = text.partition("=")
        if name not in known:
            raise SettingError(f"--set {text}: a model description has no field {name!r}; it has {', '.join(known)}.")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[name] = value
    if options.classes is not None:
        changes["num_classes"] = options.classes
    if options.image_size is not None:
        changes["image_size"] = options.image_size[1]
    try:
        config = replace(base, drop_path_rate=options.drop_path, **changes)
    except TypeError as error:
        raise SettingError(f"--set {' '.join(options.set)}: a value is of the wrong kind ({error}).") from error
    if not config.num_classes:
        raise SettingError(f"{options.model} has no classifier; say with --classes how many classes it shall learn.")
    return config


def _base_config(name: str) -> ModelConfig:
    if name.startswith(TIMM):
        return replace(describe_timm(name.removeprefix(TIMM)), has_predictors=True)
    return model_config(name)


def augmentation(options: argparse.Namespace) -> Augmentation:
    """Return how single crops are changed."""
    return Augmentation(options.smallest_crop, options.auto_augment, options.color_jitter, options.erasing)


def mixing(options: argparse.Namespace) -> Mixing:
    """Return how the images of a batch are mixed."""
    return Mixing(options.mixup, options.cutmix, options.mix_switch, options.smoothing, options.paste, options.blend)


def schedule(options: argparse.Namespace, steps_per_epoch: int) -> Schedule:
    """Return the learning rates over the run.

    Raises:
        SettingError: the run has no steps, or the backbone is never trained.
    """
    if options.images is not None:
        steps = math.ceil(options.images / options.batch)
    else:
        steps = math.ceil(options.epochs * steps_per_epoch)
    warmup, frozen = round(options.warmup * steps), round(options.backbone_frozen * steps)
    if max(warmup, frozen) >= steps:
        raise SettingError(
            f"The run has {steps} steps, {warmup} of them warm-up and {frozen} with a frozen backbone, and would end "
            "before it has begun; lengthen it, or lower --warmup and --backbone-frozen."
        )
    return Schedule(steps, warmup, frozen, options.lr, options.min_lr, options.backbone_lr_factor)


def repeats(options: argparse.Namespace, sources: int) -> tuple[float, ...]:
    """Return how often each source's photos come in an epoch.

    Raises:
        SettingError: there is not one number for each source.
    """
    if options.repeats is None:
        return (1.0,) * sources
    if len(options.repeats) != sources:
        raise SettingError(f"Give --repeats one number for each source of --data, {sources} of them.")
    return tuple(options.repeats)


def as_record(options: argparse.Namespace, **facts: object) -> Mapping[str, object]:
    """Return everything that decides a run's course, as JSON values, to be stored and compared."""
    free = {"output", "workers", "compile", "log_every", "save_every", "summary_ratios", "val", "val_labels"}
    chosen = {name: value for name, value in vars(options).items() if name not in free}
    record = {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in (record | facts).items()}
