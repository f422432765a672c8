"""From the options to an objective and its teacher."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch

from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.hybrid import Hybrid
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.training.backbone import PREDICTORS, load_backbone, read_start
from dynamicvit.training.distillation import Distillation, DistillationWeights
from dynamicvit.training.feature_distillation import FeatureDistillation, FeatureWeights
from dynamicvit.training.losses import LossWeights
from dynamicvit.training.objective import Objective, Teacher
from dynamicvit.training.sparsification import DenseTeacher, Sparsification
from dynamicvit.training.teacher import Lite0Teacher, TeacherView
from dynamicvit.training.timm_teacher import TimmTeacher

LITE0 = "tf_efficientnet_lite0"


def build(
    options: argparse.Namespace, config: ModelConfig, class_names: Sequence[str] | None
) -> tuple[Objective, Teacher]:
    """Give the objective with its student at its start weights, and the frozen teacher.

    Args:
        class_names: of the student; the default ones for None.

    Raises:
        SettingError: the options do not fit together.
        CheckpointError: weights cannot be had or do not fit.
    """
    student = _token_model(config, class_names)
    if options.objective == "sparsify":
        return _build_sparsification(options, student)
    if config.embedding == "lite0" and options.teacher == LITE0:
        return _build_shared_stem(options, student)
    return _build_feature_distillation(options, student)


def start_from_teacher(
    options: argparse.Namespace, objective: Distillation, teacher: Lite0Teacher, views: Iterable[TeacherView]
) -> None:
    """Give the hybrid its closed-form start, and then the weights of ``--start`` on the teacher's own stem.

    Predictors that those weights do not bring get a closed-form start on their tokens.
    """
    views = list(views)
    objective.start(teacher, views)
    if options.start is not None:
        student, weights = objective.student, read_start(options.start, objective.student)
        load_backbone(student, weights, options.start)
        teacher.give_stem(objective.stem)
        if not any(name in weights for name in student.state_dict() if name.startswith(PREDICTORS)):
            objective.start_predictors(teacher, views)


def _token_model(config: ModelConfig, class_names: Sequence[str] | None = None) -> DynamicVisionTransformer:
    model = create_model(config, class_names=class_names)
    if not isinstance(model, DynamicVisionTransformer):
        raise SettingError("ConvNeXt and Swin cannot be trained here; choose a model that drops tokens.")
    return model


def _build_sparsification(options: argparse.Namespace, student: DynamicVisionTransformer) -> tuple[Objective, Teacher]:
    dense = _token_model(replace(student.config.dense(), drop_path_rate=0.0))
    weights = read_start(options.start, student)
    has_new_head = load_backbone(student, weights, options.start)
    load_backbone(dense, weights, options.start)
    objective = Sparsification(
        student,
        LossWeights(options.classification_weight, options.ratio_weight, options.distillation_weight),
        token_term=options.token_term,
        batch_ratio=options.batch_ratio,
        has_new_head=has_new_head,
    )
    return objective, DenseTeacher(dense)


def _build_shared_stem(options: argparse.Namespace, student: DynamicVisionTransformer) -> tuple[Objective, Teacher]:
    if student.config.num_classes != 1000:
        raise SettingError("EfficientNet-Lite0 knows 1000 classes, and so does its student; leave --classes out.")
    if options.teacher_weights is None:
        raise SettingError("Give EfficientNet-Lite0's weights with --teacher-weights.")
    weights = DistillationWeights(
        options.logits_weight,
        options.dense_weight,
        options.ratio_weight,
        options.evidence_weight,
        tuple(options.spread),
    )
    objective = Distillation(cast(Hybrid, student), weights)
    if options.keep_ratio is None:
        student.score_predictor.requires_grad_(False)
    return objective, Lite0Teacher(options.teacher_weights)


def _build_feature_distillation(
    options: argparse.Namespace, student: DynamicVisionTransformer
) -> tuple[Objective, Teacher]:
    if options.start is not None:
        load_backbone(student, read_start(options.start, student), options.start)
    if options.keep_ratio is None:
        student.score_predictor.requires_grad_(False)
    elif not student.config.num_stages:
        raise SettingError("This model has no pruning stages; leave --keep-ratio out to train it dense.")
    teacher = TimmTeacher(options.teacher, options.teacher_weights, student.config)
    side = student.config.image_size
    seen = teacher.features(torch.zeros(1, 3, side, side))
    weights = FeatureWeights(options.logits_weight, options.dense_weight, options.pooled_weight, options.ratio_weight)
    return FeatureDistillation(student, seen["dense"].shape[-1], seen["pooled"].shape[-1], weights), teacher
