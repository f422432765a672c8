"""The app as a service: one endpoint for programs, found on the page's "Use via API"."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder, is_in_or_equal

from dynamicvit.errors import DynamicViTError, ImageError
from dynamicvit.interface.handlers import FIRST_RATIO, Workbench


def offer_api(bench: Workbench) -> None:
    """Add the endpoint ``/analyze`` to the Blocks under construction."""

    def analyze(picture: gr.FileData, keep_ratio: float = FIRST_RATIO, model: str = "") -> dict[str, Any]:
        """Classify a picture dense and pruned, and say which patches each stage keeps.

        Args:
            picture: an uploaded picture file, as gradio_client's handle_file gives it.
            keep_ratio: share of the tokens that the first stage keeps, 0.1 to 1.0.
            model: file name of a model of the page's list; the first of the list when empty.

        Returns:
            The model, the patch grid, kept patches of each stage, top classes and GMACs of both, whether they agree.
        """
        try:
            return bench.analyze_file(_uploaded_path(picture), keep_ratio, model or None)
        except DynamicViTError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(analyze, api_name="analyze")


def _uploaded_path(picture: Any) -> str:
    """Give the path of an upload; nothing else on this machine may be read, whatever a caller sends.

    Raises:
        ImageError: it is no file that was uploaded to this app.
    """
    path = picture.get("path") if isinstance(picture, dict) else getattr(picture, "path", None)
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()):
        raise ImageError("Upload the picture first, with gradio_client's handle_file.")
    return path
