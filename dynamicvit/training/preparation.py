"""Everything that the training loop needs, brought to where a run begins or goes on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader

from dynamicvit.budget import BaseRatio
from dynamicvit.errors import SettingError
from dynamicvit.labels import default_class_names
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import gumbel_choice
from dynamicvit.training.augment import Mixing, TrainingCrops
from dynamicvit.training.backbone import start_class_names
from dynamicvit.training.building import build, start_from_teacher
from dynamicvit.training.choice import TrainingChoice
from dynamicvit.training.distillation import Distillation
from dynamicvit.training.feature_cache import FeatureCache
from dynamicvit.training.objective import Average, Batch, Objective, Teacher, alone
from dynamicvit.training.optimizer import Schedule, build_optimizer
from dynamicvit.training.options import as_record, augmentation, mixing, schedule, student_config
from dynamicvit.training.output import OutputFolder, State
from dynamicvit.training.plan import BatchPlan, LocalBatches, local_positions
from dynamicvit.training.randomness import derive_seed, gumbel_noise, seeded, uniform
from dynamicvit.training.sources import open_photos, open_validation
from dynamicvit.training.sparsification import Sparsification
from dynamicvit.training.teacher import Lite0Teacher, TeacherView

if TYPE_CHECKING:
    from accelerate import Accelerator

Sample = dict[str, Any]


@dataclass
class Run:
    """A run at one step.

    Attributes:
        notes: sentences about the photos.
        positions: places of this process's pictures in the whole batch.
        objective: as accelerate wraps it.
        averaged: the moving average of the student's weights.
        step: number of steps done.
        seconds: time they took.
    """

    options: argparse.Namespace
    accelerator: Accelerator
    output: OutputFolder
    notes: list[str]
    crops: TrainingCrops
    plan: BatchPlan
    positions: list[int]
    mixing: Mixing
    teacher: Teacher
    objective: torch.nn.Module
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

    @property
    def has_labels(self) -> bool:
        """Whether the photos have labels that are trained on."""
        return self.crops.labels[0] is not None

    def samples(self) -> Iterator[Sample]:
        """Load this process's pictures of the steps that are left."""
        return iter(loader(self.options, self.crops, LocalBatches(self.plan, self.positions, self.step)))

    def batch(self, sample: Sample) -> Batch:
        """Bring loaded pictures to the device, mix them, and show them to the teacher."""
        accelerator, options, step = self.accelerator, self.options, self.step
        device = accelerator.device
        images = targets = None
        if self.crops.has_images:
            labels, classes = sample["label"].to(device), self.config.num_classes
            images, targets = self.mixing.mix(
                sample["image"].to(device), labels, classes, self.positions, options.seed, step
            )
        bounds = options.keep_ratio
        ratio = None if bounds is None else uniform(*bounds, options.seed, "keep ratio", step)
        return Batch(
            view=self._view(images, sample.get("features")),
            images=images,
            targets=targets if self.has_labels else None,
            keep_ratio=ratio,
            choose=gumbel_choice if ratio is None else self._choice(ratio),
            average=self._average(),
        )

    def _view(self, images: Tensor | None, stored: dict[str, Tensor] | None) -> Any:
        """Give what the teacher says, from stored features if there are any."""
        with torch.no_grad(), self.accelerator.autocast():
            if stored is not None:
                features = {name: value.to(self.accelerator.device).float() for name, value in stored.items()}
            elif images is not None:
                features = self.teacher.features(images)
            return self.teacher.view(features)

    def _choice(self, ratio: float) -> TrainingChoice:
        low, high = self.options.keep_ratio
        # One ratio is pulled by its loss, as in the paper; of a range, each batch has to be held at its own.
        ratios = BaseRatio(ratio).ratios(self.config.schedule) if low < high else None
        return TrainingChoice(self._noise(), ratios, self.options.noise_scale)

    def _noise(self) -> list[Tensor]:
        tokens = (self.plan.image_size(self.step) // self.config.patch_size) ** 2
        shape = (self.config.num_stages, self.plan.batch, tokens)
        noise = gumbel_noise(shape, self.positions, self.options.seed, self.step)
        return [stage.to(self.accelerator.device) for stage in noise]

    def _average(self) -> Average:
        if self.accelerator.num_processes == 1:
            return alone
        return partial(self.accelerator.reduce, reduction="mean")

    def state(self) -> State:
        """Give what has to be kept to go on from here; chance is a function of the step, so none of it is."""
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


def prepare(options: argparse.Namespace) -> Run:
    """Build a run from its options, and bring it to where it begins or goes on.

    Raises:
        DynamicViTError: the options, the data or the weights cannot be used.
    """
    accelerator = join_processes(options)
    config, mixes = student_config(options), mixing(options)
    known_names = start_class_names(options.start, config.num_classes)
    photos = open_photos(
        options.data,
        config.num_classes,
        labels=options.labels,
        known_names=known_names,
        ignore_labels=options.ignore_labels,
    )
    labels, class_names = photos.labels, photos.class_names or known_names
    notes = [*photos.notes, *(check_validation(options, config, class_names) if accelerator.is_main_process else [])]
    crops = TrainingCrops(photos.photos, labels, augmentation(options), config.preprocessing, options.seed)
    plan, rates = plan_steps(options, config, len(photos))
    output = OutputFolder(options.output)
    record = as_record(options, photos=len(photos))
    output.check(record)
    state = output.read_state()
    with seeded(options.seed, "weights"):
        objective, teacher = build(options, config, class_names)
    if isinstance(objective, Sparsification) and objective.has_new_head and labels[0] is None:
        raise SettingError("A new head learns from labels alone; give labels, or leave --classes out.")
    if state is None and isinstance(objective, Distillation) and isinstance(teacher, Lite0Teacher):
        start_from_teacher(options, objective, teacher, views_to_start_from(options, teacher, crops, plan, mixes))
    if accelerator.is_main_process:
        output.open(record)
    teacher.to(accelerator.device)
    if options.cache_crops:
        crops.cache = stored_features(accelerator, options, teacher, crops, plan)
        crops.has_images = not teacher.replaces_images
    wrapped, optimizer = accelerator.prepare(objective, build_optimizer(objective, options.weight_decay))
    run = Run(
        options=options,
        accelerator=accelerator,
        output=output,
        notes=notes,
        crops=crops,
        plan=plan,
        positions=local_positions(options.batch, accelerator.process_index, accelerator.num_processes),
        mixing=mixes,
        teacher=teacher,
        objective=wrapped,
        optimizer=optimizer,
        schedule=rates,
        averaged=ModelEmaV3(objective.student),
    )
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
        from accelerate import Accelerator
    except ModuleNotFoundError as error:
        raise SettingError("Training needs accelerate; install it: pip install -e '.[train]'") from error
    # Without being told, accelerate leaves processes on a machine without GPUs unconnected.
    return Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=options.mixed_precision)


def plan_steps(options: argparse.Namespace, config: ModelConfig, photos: int) -> tuple[BatchPlan, Schedule]:
    """Give the crops and the learning rates of every step.

    Raises:
        SettingError: the length, the batch or the sizes do not fit together.
    """
    sizes = options.image_size or (config.image_size, config.image_size)
    if options.cache_crops and sizes[0] != sizes[1]:
        raise SettingError("Stored features are of one size: give --cache-crops or a growing --image-size, not both.")
    plan = BatchPlan(photos, options.batch, 1, sizes, config.patch_size, options.seed, options.cache_crops)
    rates = schedule(options, plan.steps_per_epoch)
    return replace(plan, steps=rates.steps), rates


def loader(options: argparse.Namespace, crops: TrainingCrops, batches: Any) -> DataLoader[Sample]:
    """Load batches of crops in other processes."""
    return DataLoader(
        crops,
        batch_sampler=batches,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def views_to_start_from(
    options: argparse.Namespace, teacher: Lite0Teacher, crops: TrainingCrops, plan: BatchPlan, mixes: Mixing
) -> Iterator[TeacherView]:
    """Give what the teacher sees in the pictures of the closed-form start, the same ones on every process."""
    seed = derive_seed(options.seed, "start")
    steps = -(-options.start_images // plan.batch)
    start = replace(plan, steps=steps, sizes=(plan.sizes[1], plan.sizes[1]), seed=seed)
    positions = local_positions(plan.batch, 0, 1)
    for step, sample in enumerate(loader(options, crops, LocalBatches(start, positions))):
        images = mixes.mix(sample["image"], sample["label"], 1, positions, seed, step)[0]
        yield teacher(images)


def stored_features(
    accelerator: Accelerator, options: argparse.Namespace, teacher: Teacher, crops: TrainingCrops, plan: BatchPlan
) -> FeatureCache:
    """Compute the frozen features of all fixed crops, shared among the processes, unless an earlier run has."""
    cache = FeatureCache(options.output / "cache", plan.photos, options.cache_crops)
    if cache.is_complete:
        return cache
    rows = cache.all_crops(plan.sizes[1])
    size = options.batch // accelerator.num_processes
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    if accelerator.is_main_process:
        side = plan.sizes[1]
        seen = teacher.features(torch.zeros(1, 3, side, side, device=accelerator.device))
        cache.create({name: tuple(value.shape[1:]) for name, value in seen.items()})
    accelerator.wait_for_everyone()
    own = blocks[accelerator.process_index :: accelerator.num_processes]
    for block, sample in zip(own, loader(options, crops, own), strict=True):
        cache.write(block, teacher.features(sample["image"].to(accelerator.device)))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        cache.finish()
    accelerator.wait_for_everyone()
    return cache
