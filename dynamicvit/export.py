"""A pruned model at one keep ratio as a file for other programs (``python -m dynamicvit export``)."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dynamicvit.budget import BaseRatio, StageRatios
from dynamicvit.errors import DynamicViTError, SettingError
from dynamicvit.models.base import DynamicModel, KeepRatio
from dynamicvit.models.selectors import create_selector
from dynamicvit.weights.available import load_model
from dynamicvit.writing import write_whole

SUFFIXES = (".onnx", ".pt2")


class AtRatio(nn.Module):
    """A model at one keep ratio, with plain tensors as outputs.

    Args:
        model: in evaluation mode.
        keep_ratio: as in :meth:`~dynamicvit.models.base.DynamicModel.forward_stages`; None for the dense model.
        selector: name of the token selector; the model's own when not given.
    """

    def __init__(self, model: DynamicModel, keep_ratio: KeepRatio | None, selector: str | None = None) -> None:
        super().__init__()
        self.model, self.keep_ratio = model, keep_ratio
        self.selector = create_selector(selector or model.selectors[0])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return (B, classes) logits of (B, 3, H, W) images, then for each stage the (B, K) kept patches."""
        output = self.model.forward_stages(images, self.keep_ratio, self.selector)
        return output.logits, *(stage.kept_patches for stage in output.stages)


def export_model(
    model: DynamicModel, path: str | Path, keep_ratio: KeepRatio | None = 0.7, selector: str | None = None
) -> None:
    """Write a model at one keep ratio, for any number of images: ``.onnx`` for ONNX, ``.pt2`` for ``torch.export``.

    Its input is ``images``, normalised; its outputs are ``logits`` and, for each stage, ``kept_1`` and so on, the
    row-major indices of the kept patches.

    Raises:
        SettingError: the path has another suffix, the keep ratio or the selector is not valid, the counts depend on the
            image, or for ONNX the package onnxscript is not installed.
        OutputError: the path cannot be written, or the disk is full.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise SettingError(f"Exports are .onnx or .pt2 files; {target.name} is neither.")
    wrapped = AtRatio(model, keep_ratio, selector).eval()
    budget = model.checked_budget(keep_ratio)
    if budget is not None and budget.is_adaptive:
        raise SettingError("An exported model keeps as many tokens of every image; give a keep ratio.")
    side = model.config.image_size
    images = torch.zeros(2, 3, side, side, device=model.device)  # 2, as a batch of 1 would become part of the program
    with torch.no_grad():
        outputs = ["logits", *(f"kept_{number}" for number in range(1, len(wrapped(images))))]
        # Both arguments are for torch 2.6, which traces otherwise and refuses a batch without an upper limit.
        batch = torch.export.Dim("batch", max=2**31 - 1)
        program = torch.export.export(wrapped, (images,), dynamic_shapes={"images": {0: batch}}, strict=False)
    if target.suffix == ".pt2":
        data = io.BytesIO()  # torch's own writer ends the process where the disk is full
        torch.export.save(program, data)
        write_whole(target, data.getbuffer())
        return
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingError("ONNX needs the package onnxscript; install it: pip install 'dynamicvit[export]'") from error
    exported = torch.onnx.export(program, input_names=["images"], output_names=outputs, verbose=False)
    assert exported is not None  # as it is where no file is named
    write_whole(target, exported.model_proto.SerializeToString())


def main(arguments: Sequence[str] | None = None) -> None:
    """Export from the command line; what a user can mend ends it with one sentence."""
    parser = argparse.ArgumentParser(
        prog="dynamicvit export",
        description="Write the pruned model at one keep ratio as ONNX (.onnx) or for torch (.pt2).",
    )
    parser.add_argument("--checkpoint", required=True, help="weight file, or a name that load_model takes")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[0.7], help="base ratio or one for each stage")
    parser.add_argument("--dense", action="store_true", help="keep everything, without prediction modules")
    parser.add_argument("--selector", help="name of the token selector; the model's own when not given")
    parser.add_argument("--output", type=Path, required=True, help="file to write: NAME.onnx or NAME.pt2")
    options = parser.parse_args(arguments)
    try:
        ratios = options.keep_ratio
        budget = BaseRatio(ratios[0]) if len(ratios) == 1 else StageRatios(tuple(ratios))
        model = load_model(options.checkpoint)
        export_model(model, options.output, None if options.dense else budget, options.selector)
    except DynamicViTError as error:
        sys.exit(str(error))
    sys.stdout.write(f"Written: {options.output}\n")


if __name__ == "__main__":
    main()
