"""The import rules that keep the rooms apart: data flows one way, and the library knows no page."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dynamicvit"
# Who may import whom inside the package; a room may always import itself.
ALLOWED = {
    "__main__": set(),
    "errors": set(),
    "labels": {"errors"},
    "budget": {"errors"},
    "writing": {"errors"},
    "models": {"budget", "errors", "labels"},
    "weights": {"errors", "labels", "models", "writing"},
    "decoding": {"errors"},
    "images": {"decoding", "errors", "models"},
    "archives": {"errors", "images"},
    "video": {"errors", "images"},
    "datasets": {"archives", "decoding", "errors", "images", "labels", "models"},
    "costs": {"models"},
    "analysis": {"budget", "costs", "errors", "images", "models", "weights", "writing"},
    "precision": {"models"},
    "evaluation": {"costs", "errors", "images", "models", "datasets", "precision"},
    "training": {"budget", "errors", "evaluation", "images", "labels", "models", "datasets", "weights", "writing"},
    "figures": {"analysis", "costs", "errors", "images"},
    "benchmark": {"costs", "errors", "figures", "models", "precision", "weights", "writing"},
    "export": {"budget", "errors", "models", "weights", "writing"},
    "average": {"errors", "models", "weights"},
    "analyze": {"analysis", "budget", "datasets", "errors", "figures", "models", "weights", "writing"},
    "evaluate": {"costs", "errors", "evaluation", "models", "datasets", "precision", "weights", "writing"},
    "timm": {"models", "weights"},
    "train": {"training"},
}
# An analysis shows and saves itself, a model saves itself: what does it is imported when it is asked for.
WHEN_ASKED = {"analysis/results.py": {"figures"}, "models/base.py": {"weights"}}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path):
    """Give the full names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_what_stands_before_them(path):
    room = room_of(path)
    if room in ("app", "__init__"):
        return
    inside = {name.split(".")[1] for name in imports_of(path) if name.startswith("dynamicvit.")}
    when_asked = WHEN_ASKED.get(str(path.relative_to(PACKAGE)), set())
    assert inside <= ALLOWED[room] | {room} | when_asked


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_app_knows_gradio_and_only_figures_know_matplotlib(path):
    top_level = {name.split(".")[0] for name in imports_of(path)}
    assert "gradio" not in top_level or room_of(path) == "app"
    assert "matplotlib" not in top_level or room_of(path) == "figures"


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "timm", "gradio", "matplotlib", "accelerate")
    code = f"import sys, dynamicvit; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_library_works_without_gradio_and_matplotlib():
    code = (
        "import sys, dynamicvit; [getattr(dynamicvit, name) for name in dynamicvit.__all__];"
        "print([m for m in ('gradio', 'matplotlib', 'accelerate') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"
