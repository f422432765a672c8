"""The app as a service: one endpoint for programs, found on the page's "Use via API"."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dynamicvit.errors import DynamicViTError
from dynamicvit.interface.handlers import FIRST_RATIO, Workbench
from dynamicvit.interface.uploads import uploaded_file


def offer_api(bench: Workbench) -> None:
    """Add the endpoint ``/analyze`` to the Blocks under construction."""

    def analyze(picture: gr.FileData, keep_ratio: float = FIRST_RATIO, model: str = "") -> dict[str, Any]:
        """Classify a picture dense and pruned, and say which patches each stage keeps.

        Args:
            picture: an uploaded picture file, as gradio_client's handle_file gives it for a file, not for an address.
            keep_ratio: share of the tokens that the first stage keeps, 0.1 to 1.0.
            model: file name of a model of the page's list; the first of the list when empty.

        Returns:
            The model, the patch grid, kept patches of each stage, top classes and GMACs of both, whether they agree.
        """
        try:
            return bench.analyze_file(uploaded_file(picture), keep_ratio, model or None)
        except DynamicViTError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(analyze, api_name="analyze")
