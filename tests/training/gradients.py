"""Takes one step's gradients in each of the processes that accelerate starts: ``gradients.py FILE OPTIONS...``."""

import sys

import torch

from dynamicvit.training.loop import gradients, prepare
from dynamicvit.training.options import parse_arguments


def write_gradients(file, arguments):
    """Write the numbers and the gradients of the first step, as the first process has them."""
    run = prepare(parse_arguments(arguments))
    run.objective.train()
    run.schedule.apply(run.optimizer, run.step)
    numbers = {name: value.tolist() for name, value in gradients(run, next(run.samples())).items()}
    if run.accelerator.is_main_process:
        found = {name: p.grad for name, p in run.bare.named_parameters() if p.grad is not None}
        torch.save({"numbers": numbers, "gradients": found, "processes": run.accelerator.num_processes}, file)
    run.accelerator.end_training()


if __name__ == "__main__":
    write_gradients(sys.argv[1], sys.argv[2:])
