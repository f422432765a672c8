"""The training program: a run is prepared, trained to its end from where an earlier call stopped, and summed up."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import DynamicViTError, SettingError, TrainingError
from dynamicvit.evaluation.accuracy import DENSE, Evaluation, EvaluationSetting, evaluate
from dynamicvit.labels import default_class_names
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.lite0 import Lite0Embedding
from dynamicvit.models.vit import Block, gumbel_choice
from dynamicvit.training import distill, sparsify
from dynamicvit.training.chance import derive_seed, gumbel_noise, seeded, uniform
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.crops import (
    BatchPlan,
    Crops,
    DeviceCrops,
    Mixing,
    Sample,
    WorkerCrops,
    device_side,
    local_positions,
)
from dynamicvit.training.objective import Average, Batch, Objective, TeacherView, alone, trunk_features
from dynamicvit.training.optimizer import Schedule, build_optimizer
from dynamicvit.training.options import (
    as_record,
    augmentation,
    mixing,
    parse_arguments,
    repeats,
    schedule,
    student_config,
)
from dynamicvit.training.output import OutputFolder, State
from dynamicvit.training.sources import PhotoSet, open_photos, open_validation
from dynamicvit.training.start import create_student, start_class_names
from dynamicvit.weights.io import save_model

if TYPE_CHECKING:
    from accelerate import Accelerator

DEVICE_BYTES = 4 * 10**9
_OBJECTIVES = {"sparsify": sparsify.build, "distill": distill.build}


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the program from the command line; what a user can mend ends it with one sentence."""
    try:
        main(arguments)
    except DynamicViTError as error:
        # A process that loads photos sends its whole traceback along; the sentence is at its end.
        sys.exit(str(error).strip().rsplit("Error: ", 1)[-1] if str(error).startswith("Caught") else str(error))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train to the end, from where an earlier call stopped, and sum up."""
    run = prepare(parse_arguments(arguments))
    announce(run)
    train(run)
    if run.accelerator.is_main_process:
        summarise(run)
    run.accelerator.end_training()


# A run ---------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run at one step.

    Attributes:
        notes: sentences about the photos.
        has_labels: whether the photos have labels that are trained on.
        positions: places of this process's images in the whole batch.
        teachers: by name.
        objective: as accelerate wraps it.
        averaged: the moving average of the student's weights.
        step: number of steps done.
        seconds: time they took.
    """

    options: argparse.Namespace
    accelerator: Accelerator
    output: OutputFolder
    notes: list[str]
    has_labels: bool
    crops: Crops
    plan: BatchPlan
    positions: list[int]
    mixing: Mixing
    teachers: nn.ModuleDict
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    averaged: ModelEmaV3
    step: int = 0
    seconds: float = 0.0

    @property
    def bare(self) -> Objective:
        """The objective without accelerate's wrapping."""
        return self.accelerator.unwrap_model(self.objective)

    @property
    def config(self) -> ModelConfig:
        """The student's description."""
        return self.bare.student.config

    def samples(self) -> Iterator[Sample]:
        """Yield this process's images of the steps that are left."""
        return self.crops.samples(self.plan, self.positions, self.step)

    def batch(self, sample: Sample) -> Batch:
        """Bring the sample of the step to the device, mix its images, and show them to the trunk and the teachers."""
        plan = self.plan
        images, labels = (one.to(self.accelerator.device, non_blocking=True) for one in sample)
        images, targets = self.mixing.mix(
            images, labels, self.config.num_classes, plan.batch, self.positions, seed=plan.seed, step=self.step
        )
        features, views = self._looked_at(images)
        ratio = self._keep_ratio()
        return Batch(
            images=images,
            features=features,
            views=views,
            targets=targets if self.has_labels else None,
            keep_ratio=ratio,
            choose=gumbel_choice if ratio is None else self._choice(ratio),
            average=self._average(),
        )

    def _looked_at(self, images: Tensor) -> tuple[Tensor | None, dict[str, TeacherView]]:
        with torch.no_grad(), self.accelerator.autocast():
            features = trunk_features(self.bare.student, images)
            return features, {name: teacher(images, features) for name, teacher in self.teachers.items()}

    def _keep_ratio(self) -> float | None:
        options = self.options
        if options.keep_ratio is None or (options.dense_every and (self.step + 1) % options.dense_every == 0):
            return None
        return uniform(*options.keep_ratio, options.seed, "keep ratio", self.step)

    def _choice(self, ratio: float) -> TrainingChoice:
        tokens = (self.plan.image_size(self.step) // self.config.patch_size) ** 2
        shape = (self.config.num_stages, self.plan.batch, tokens)
        noise = gumbel_noise(shape, self.positions, self.accelerator.device, self.options.seed, self.step)
        low, high = self.options.keep_ratio
        # One ratio is pulled by its loss, as in the paper; of a range, each image has to be held at its batch's own.
        ratios = BaseRatio(ratio).ratios(self.config.schedule) if low < high else None
        return TrainingChoice(noise, ratios, self.options.noise_scale)

    def _average(self) -> Average:
        if self.accelerator.num_processes == 1:
            return alone
        return partial(self.accelerator.reduce, reduction="mean")

    def state(self) -> State:
        """Return what has to be kept to go on from here; chance is a function of the step, so none of it is."""
        scaler = self.accelerator.scaler
        return {
            "objective": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.module.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: State) -> None:
        """Go back to a saved state."""
        self.bare.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.module.load_state_dict(state["averaged"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = state["step"], state["seconds"]


# Preparation ---------------------------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace) -> Run:
    """Build a run from its options, and bring it to where it begins or goes on.

    Raises:
        DynamicViTError: the options, the data or the weights cannot be used.
    """
    accelerator = join_processes(options)
    config = student_config(options)
    known_names = start_class_names(options.start, config.num_classes)
    photos = open_photos(
        options.data,
        config.num_classes,
        labels=options.labels,
        known_names=known_names,
        ignore_labels=options.ignore_labels,
    )
    class_names = photos.class_names or known_names
    notes = [*photos.notes, *(check_validation(options, config, class_names) if accelerator.is_main_process else [])]
    plan, rates = plan_steps(options, config, photos)
    output = OutputFolder(options.output)
    record = as_record(options, photos=len(photos))
    output.check(record)
    state = output.read_state()
    with seeded(options.seed, "weights"):
        student = create_student(config, class_names)
        objective, teachers = _OBJECTIVES[options.objective](options, student)
    has_labels = photos.labels[0] is not None
    objective.check(has_labels=has_labels)
    positions = local_positions(options.batch, accelerator.process_index, accelerator.num_processes)
    crops = make_crops(options, config, photos, plan, accelerator.device)
    objective.to(accelerator.device)
    run = Run(
        options=options,
        accelerator=accelerator,
        output=output,
        notes=notes,
        has_labels=has_labels,
        crops=crops,
        plan=plan,
        positions=positions,
        mixing=mixing(options),
        teachers=nn.ModuleDict(teachers).to(accelerator.device),
        objective=objective,
        optimizer=build_optimizer(objective, options.weight_decay, options.adam_beta2),
        schedule=rates,
        averaged=ModelEmaV3(objective.student),
    )
    if state is None:
        objective.prepare(start_batches(run, objective.start_images))
        run.averaged.set(objective.student)
    if options.compile:
        compile_parts(objective, run.teachers)
    if accelerator.is_main_process:
        output.open(record)
    run.objective, run.optimizer = accelerator.prepare(objective, run.optimizer)
    if state is not None:
        run.restore(state)
    return run


def check_validation(
    options: argparse.Namespace, config: ModelConfig, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Make sure before the first step that what is to be measured after the last one can be.

    Returns:
        Sentences about the photos of ``--val``.

    Raises:
        DynamicViTError: they cannot be read, or are of a class that is not trained.
    """
    if options.val is None:
        return ()
    names = class_names or default_class_names(config.num_classes)
    return open_validation(options.val, names, options.val_labels).notes


def join_processes(options: argparse.Namespace) -> Accelerator:
    """Find the devices and the other processes of the run.

    Raises:
        SettingError: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ModuleNotFoundError as error:
        raise SettingError("Training needs accelerate; install it: pip install -e '.[train]'") from error
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return Accelerator(
        # Without being told, accelerate leaves processes on a machine without GPUs unconnected.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=options.mixed_precision,
        # Dense steps use no predictors.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=options.dense_every > 0)],
    )


def plan_steps(options: argparse.Namespace, config: ModelConfig, photos: PhotoSet) -> tuple[BatchPlan, Schedule]:
    """Return the crops and the learning rates of every step.

    Raises:
        SettingError: the length, the batch or the sizes do not fit together.
    """
    sizes = options.image_size or (config.image_size, config.image_size)
    times = repeats(options, len(photos.counts))
    plan = BatchPlan(photos.counts, times, options.batch, 1, sizes, config.patch_size, options.seed)
    rates = schedule(options, plan.steps_per_epoch)
    return replace(plan, steps=rates.steps), rates


def make_crops(
    options: argparse.Namespace, config: ModelConfig, photos: PhotoSet, plan: BatchPlan, device: torch.device
) -> Crops:
    """Return what makes the crops: the device where it can, or else processes of their own.

    Raises:
        SettingError: the device is asked for what only timm does.
        ImageError: a photo cannot be read.
    """
    changes, size = augmentation(options), plan.sizes[1]
    on_device = options.device_crops
    if on_device is None:
        on_device = not changes.needs_timm and len(photos) * 3 * device_side(size) ** 2 < DEVICE_BYTES
    if not on_device:
        return WorkerCrops(photos.photos, photos.labels, changes, config.preprocessing, options.seed, options.workers)
    if changes.needs_timm:
        raise SettingError("Crops on the device know no policies: give --auto-augment '' and --erasing 0 too.")
    return DeviceCrops.decode(
        photos.photos,
        photos.labels,
        changes,
        config.preprocessing,
        options.seed,
        size=size,
        workers=options.workers,
        device=device,
    )


def compile_parts(*modules: nn.Module) -> None:
    """Compile what takes the time, in place: transformer blocks and convolutional trunks."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, Block):
                part.compile()
            elif isinstance(part, Lite0Embedding):
                part.trunk.compile()


def start_batches(run: Run, images: int) -> Iterator[Batch]:
    """Yield batches to find a start with, the same ones on every process."""
    plan = run.plan
    seed = derive_seed(run.options.seed, "start")
    start = replace(plan, steps=-(-images // plan.batch), sizes=(plan.sizes[1], plan.sizes[1]), seed=seed)
    everywhere = replace(run, positions=local_positions(plan.batch, 0, 1), plan=start)
    for sample in everywhere.samples():
        yield everywhere.batch(sample)
        everywhere.step += 1


# Training ------------------------------------------------------------------------------------------------------------


def train(run: Run) -> None:
    """Take the steps that are left.

    Raises:
        TrainingError: the loss or its gradient is not finite; the last saved state stays as it is.
    """
    run.objective.train()
    begun = time.monotonic() - run.seconds
    if run.accelerator.is_main_process:
        run.output.forget_log_after(run.step)
    for sample in tqdm(run.samples(), initial=run.step, total=run.plan.steps, disable=hides_progress(run)):
        run.schedule.apply(run.optimizer, run.step)
        numbers = gradients(run, sample)
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.averaged.decay = min(run.options.ema, (run.step + 1) / (run.step + 10))
        run.averaged.update(run.bare.student)
        run.step += 1
        if is_due(run, run.options.log_every) or is_due(run, run.options.save_every):
            stop_unless_finite(run, numbers)
            run.seconds = time.monotonic() - begun
        if is_due(run, run.options.log_every) and run.accelerator.is_main_process:
            log(run, numbers)
        if is_due(run, run.options.save_every) and run.accelerator.is_main_process:
            save(run)


def gradients(run: Run, sample: Sample) -> dict[str, Tensor]:
    """Compute the gradients of a step from this process's images, and return the numbers of the whole batch.

    Nothing here waits for the device.
    """
    torch.manual_seed(derive_seed(run.options.seed, "drop path", run.step, run.accelerator.process_index))
    batch = run.batch(sample)
    loss = run.objective(batch)
    named = {"loss": loss.total.detach(), **loss.parts}
    values = [value.float() for value in (*named.values(), *loss.kept_shares)]
    mean = run.accelerator.reduce(torch.stack(values), "mean")
    numbers: dict[str, Tensor] = dict(zip(named, mean, strict=False))
    if batch.keep_ratio is not None:
        numbers |= {"keep_ratio": torch.tensor(batch.keep_ratio), "kept_shares": mean[len(named) :]}
    run.accelerator.backward(loss.total)
    limit = math.inf if run.options.clip_norm is None else run.options.clip_norm
    numbers["gradient_norm"] = run.accelerator.clip_grad_norm_(run.bare.parameters(), limit)
    return numbers


def stop_unless_finite(run: Run, numbers: dict[str, Tensor]) -> None:
    """End the run where the weights are spoilt, before they are logged or saved as if they were not."""
    # With a scaler, single overflows of the gradient are expected and skipped.
    for name in ("loss", "gradient_norm") if run.accelerator.scaler is None else ("loss",):
        if not math.isfinite(numbers[name].item()):
            raise TrainingError(
                f"The {name.replace('_', ' ')} is not finite at step {run.step}; nothing was overwritten, and "
                f"{run.output.path} keeps the last saved state: lower --lr, or look at the images of the steps before."
            )


def is_due(run: Run, every: int) -> bool:
    """Return whether something is to be done after this step; always after the last one."""
    return run.step % every == 0 or run.step == run.plan.steps


def hides_progress(run: Run) -> bool | None:
    """Show a progress bar on the main process alone, and there (None) only on a terminal."""
    return None if run.accelerator.is_main_process else True


def announce(run: Run) -> None:
    """Say what is not obvious from the command."""
    for note in run.notes:
        run.accelerator.print(note)
    if run.options.objective == "sparsify" and not run.has_labels:
        targets = "the dense model's" if run.options.teacher is None else "the teachers'"
        run.accelerator.print(f"Training without labels, on {targets} targets.")
    if run.step:
        run.accelerator.print(f"Going on after step {run.step} of {run.plan.steps}.")


def log(run: Run, numbers: dict[str, Tensor]) -> None:
    """Append one JSON line to the log, and show it where there is no progress bar."""
    line: dict[str, Any] = {
        "step": run.step,
        "images": run.step * run.plan.batch,
        "seconds": round(run.seconds, 1),
        "lr": run.schedule.rate(run.step - 1),
        "backbone_lr": run.schedule.backbone_rate(run.step - 1),
        "image_size": run.plan.image_size(run.step - 1),
        **{name: value.tolist() for name, value in numbers.items()},
    }
    run.output.log(line)
    if not sys.stderr.isatty():
        print(json.dumps(line), flush=True)


def save(run: Run) -> None:
    """Write the averaged weights as a checkpoint, and the state to go on from."""
    ratios = ":".join(f"{ratio:g}" for ratio in sorted(set(run.options.keep_ratio or ())))
    metadata = {"model": run.options.model, "keep_ratios": ratios, "images": str(run.step * run.plan.batch)}
    save_model(run.averaged.module, run.output.weights, metadata=metadata)
    run.output.write_state(run.state())


# Summary -------------------------------------------------------------------------------------------------------------


def summarise(run: Run) -> None:
    """Evaluate the averaged weights dense and at several keep ratios, print it and write it down."""
    summary: dict[str, object] = {"steps": run.step, "images": run.step * run.plan.batch, "seconds": round(run.seconds)}
    results = [] if run.options.val is None else evaluate_on_val(run)
    if results and results[0].labelled:
        summary["accuracy"] = [accuracy_record(result) for result in results]
        print("\n".join(map(accuracy_line, results)))
    else:
        print(f"Done: {run.output.weights}. Give labelled photos with --val to have its accuracy measured.")
    run.output.write_summary(summary)


def evaluate_on_val(run: Run) -> list[Evaluation]:
    """Run the averaged weights on ``--val``, dense and, if they were trained to drop tokens, at several ratios."""
    photos = open_validation(run.options.val, run.bare.student.class_names, run.options.val_labels).photos
    ratios = run.options.summary_ratios if run.options.keep_ratio else []
    return evaluate(run.averaged.module, photos, [DENSE, *map(EvaluationSetting, ratios)])


def accuracy_record(result: Evaluation) -> dict[str, object]:
    """Return one setting's result for JSON."""
    return {
        "keep_ratio": result.setting.keep_ratio,
        "photos": result.labelled,
        "top1": result.top1,
        "top5": result.top5,
        "gmacs": result.gmacs,
    }


def accuracy_line(result: Evaluation) -> str:
    """Return one setting's result for people."""
    ratio = result.setting.keep_ratio
    name = "dense" if ratio is None else f"keep ratio {ratio:g}"
    return f"{name}: top-1 {result.top1:.1%}, top-5 {result.top5:.1%}, {result.gmacs:.3f} GMACs"
