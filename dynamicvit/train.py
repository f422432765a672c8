"""Train models that drop tokens: ``python -m dynamicvit.train --help``."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from dynamicvit.errors import DynamicViTError, TrainingError
from dynamicvit.evaluation.accuracy import DENSE, Evaluation, EvaluationSetting, evaluate
from dynamicvit.training.objective import Loss
from dynamicvit.training.options import parse_arguments
from dynamicvit.training.preparation import Run, Sample, prepare
from dynamicvit.training.randomness import derive_seed
from dynamicvit.training.sources import open_validation
from dynamicvit.weights.io import save_model

Numbers = dict[str, float | list[float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train to the end, from where an earlier call stopped, and sum up."""
    run = prepare(parse_arguments(arguments))
    announce(run)
    train(run)
    if run.accelerator.is_main_process:
        summarise(run)
    run.accelerator.end_training()


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
        run.seconds = time.monotonic() - begun
        if is_due(run, run.options.log_every):
            log(run, numbers)
        if is_due(run, run.options.save_every):
            save(run)


def gradients(run: Run, sample: Sample) -> Numbers:
    """Compute the gradients of a step from this process's pictures, and give the numbers of the whole batch.

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    torch.manual_seed(derive_seed(run.options.seed, "drop path", run.step, run.accelerator.process_index))
    batch = run.batch(sample)
    loss: Loss = run.objective(batch)
    numbers = mean_over_processes(run, loss)
    stop_unless_finite(run, "loss", numbers["loss"])
    run.accelerator.backward(loss.total)
    limit = math.inf if run.options.clip_norm is None else run.options.clip_norm
    numbers["gradient_norm"] = float(run.accelerator.clip_grad_norm_(run.bare.parameters(), limit))
    if run.accelerator.scaler is None:  # with a scaler, single overflows are expected and skipped
        stop_unless_finite(run, "gradient", numbers["gradient_norm"])
    return {"keep_ratio": batch.keep_ratio, **numbers} if batch.keep_ratio else numbers


def mean_over_processes(run: Run, loss: Loss) -> Numbers:
    """Give the total, its parts and the kept shares as numbers."""
    values: list[Tensor] = [loss.total, *loss.parts.values(), *loss.kept_shares]
    mean = run.accelerator.reduce(torch.stack([value.detach().float() for value in values]), "mean").tolist()
    count = 1 + len(loss.parts)
    return {"loss": mean[0], **dict(zip(loss.parts, mean[1:count], strict=True)), "kept_shares": mean[count:]}


def stop_unless_finite(run: Run, what: str, value: float | list[float]) -> None:
    """End the run before a step that would spoil the weights."""
    if not (isinstance(value, float) and math.isfinite(value)):
        raise TrainingError(
            f"The {what} is not finite at step {run.step + 1}; nothing was overwritten, and {run.output.path} keeps "
            "the last saved state: lower --lr, or look at the pictures of that step."
        )


def is_due(run: Run, every: int) -> bool:
    """Tell whether the main process is to do something after this step; always after the last one."""
    return run.accelerator.is_main_process and (run.step % every == 0 or run.step == run.plan.steps)


def hides_progress(run: Run) -> bool | None:
    """Show a progress bar on the main process alone, and there (None) only on a terminal."""
    return None if run.accelerator.is_main_process else True


def announce(run: Run) -> None:
    """Say what is not obvious from the command."""
    for note in run.notes:
        run.accelerator.print(note)
    if run.options.objective == "sparsify" and not run.has_labels:
        run.accelerator.print("Training without labels: on the distillation and keep-ratio terms alone.")
    if run.step:
        run.accelerator.print(f"Going on after step {run.step} of {run.plan.steps}.")


def log(run: Run, numbers: Numbers) -> None:
    """Append one JSON line to the log, and show it where there is no progress bar."""
    line = {
        "step": run.step,
        "images": run.step * run.plan.batch,
        "seconds": round(run.seconds, 1),
        "lr": run.schedule.rate(run.step - 1),
        "backbone_lr": run.schedule.backbone_rate(run.step - 1),
        "image_size": run.plan.image_size(run.step - 1),
        **numbers,
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
    """Give one setting's result for JSON."""
    return {
        "keep_ratio": result.setting.keep_ratio,
        "photos": result.labelled,
        "top1": result.top1,
        "top5": result.top5,
        "gmacs": result.gmacs,
    }


def accuracy_line(result: Evaluation) -> str:
    """Give one setting's result for people."""
    ratio = result.setting.keep_ratio
    name = "dense" if ratio is None else f"keep ratio {ratio:g}"
    return f"{name}: top-1 {result.top1:.1%}, top-5 {result.top5:.1%}, {result.gmacs:.3f} GMACs"


if __name__ == "__main__":
    try:
        main()
    except DynamicViTError as error:
        # A process that loads photos sends its whole traceback along; the sentence is at its end.
        sys.exit(str(error).strip().rsplit("Error: ", 1)[-1] if str(error).startswith("Caught") else str(error))
