"""Print the accuracy of a checkpoint on labelled photos: ``python -m dynamicvit.evaluate --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dynamicvit.checkpoints.loading import load_model
from dynamicvit.errors import DynamicViTError
from dynamicvit.evaluation import Evaluation, EvaluationSetting, evaluate
from dynamicvit.photos import read_labels, read_tar
from dynamicvit.tokens.selectors import SELECTORS


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True, help="tar file of photos")
    parser.add_argument("--labels", type=Path, help="CSV with the columns file and label; else KEY.cls in the tar")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[0.7], help="base keep ratios beside dense")
    parser.add_argument("--selector", nargs="+", default=["predictor"], choices=list(SELECTORS))
    parser.add_argument("--seed", type=int, default=0, help="of the random selector")
    return parser.parse_args()


def main() -> None:
    """Evaluate dense and at each keep ratio with each selector, and print a table."""
    options = parse_arguments()
    settings = [EvaluationSetting(None)] + [
        EvaluationSetting(ratio, selector, options.seed)
        for ratio in options.keep_ratio
        for selector in options.selector
    ]
    try:
        photos = read_tar(options.photos, read_labels(options.labels) if options.labels else None)
        results = evaluate(load_model(options.checkpoint), photos, settings)
    except DynamicViTError as error:
        sys.exit(str(error))
    print(table(results))


def table(results: list[Evaluation]) -> str:
    """Lay the results out as a Markdown table."""
    rows = ["| keep ratio | selector | top-1 % | top-5 % | GMACs | photos |", "| --- | --- | --- | --- | --- | --- |"]
    for result in results:
        setting = result.setting
        name = "dense" if setting.keep_ratio is None else f"{setting.keep_ratio:g}"
        selector = "-" if setting.keep_ratio is None else setting.selector
        rows.append(
            f"| {name} | {selector} | {100 * result.top1:.1f} | {100 * result.top5:.1f} "
            f"| {result.gmacs:.3f} | {result.photos} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
