"""The app as a service: one endpoint for programs, found on the page's "Use via API"."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import Analysis, Classification
from dynamicvit.app.components import Payload
from dynamicvit.app.inputs import DEFAULT_KEEP_RATIO, checked_ratio
from dynamicvit.app.state import AppState
from dynamicvit.app.uploads import uploaded_file
from dynamicvit.errors import DynamicViTError
from dynamicvit.images import decode


def offer_api(state: AppState) -> None:
    """Add the endpoint ``/analyze`` to the Blocks under construction."""

    def analyze(picture: gr.FileData, keep_ratio: float = DEFAULT_KEEP_RATIO, model: str = "") -> dict[str, Any]:
        """Classify an image dense and pruned, and say which patches each stage keeps.

        Args:
            picture: an uploaded image file, as gradio_client's handle_file gives it for a file, not for an address.
            keep_ratio: share of the tokens that the first stage keeps, 0.1 to 1.0.
            model: file name of a model of the page's list; the first of the list when empty.

        Returns:
            The model, the patch grid, kept patches of each stage, top classes and GMACs of both, whether they agree.
        """
        try:
            return analyze_bytes(state, uploaded_file(picture).read(), keep_ratio, model or None)
        except DynamicViTError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(analyze, api_name="analyze")


def analyze_bytes(state: AppState, content: bytes, keep_ratio: object, model: str | None) -> Payload:
    """Return the analysis of an image file's content as plain numbers for programs.

    Raises:
        DynamicViTError: the image, the ratio or the model cannot be used.
    """
    ratio, image, loaded = checked_ratio(keep_ratio), decode(content), state.load(model)
    prepared = state.run(lambda: PreparedImage(loaded.model, image))
    analysis = state.run(lambda: prepared.analyze(ratio))
    return {"model": loaded.entry.key, **_plain(analysis), "caution": prepared.caution}


def _plain(analysis: Analysis) -> Payload:
    return {
        **analysis.settings.budget.to_json(),
        "grid": list(analysis.grid),
        "stages": [
            {"stage": stage.number, "block": stage.block, "kept_patches": list(stage.kept_patches)}
            for stage in analysis.stages
        ],
        "dense": _plain_classification(analysis.dense),
        "pruned": _plain_classification(analysis.pruned),
        "agrees": analysis.agrees,
        "saved_share": analysis.saved_share,
    }


def _plain_classification(result: Classification) -> Payload:
    top = [{"index": best.index, "label": best.label, "probability": best.probability} for best in result.top]
    return {"top": top, "gmacs": result.macs.gmacs, "predictor_gmacs": result.macs.predictors / 1e9}
