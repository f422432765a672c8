"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from dynamicvit.models.registry import create_model
from dynamicvit.weights.available import SHIPPED_FILE
from dynamicvit.weights.io import save_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def tree(tmp_path):
    """The repository, or where the file that ships is not in it a tree with fresh weights of the same model."""
    if (ROOT / "checkpoints" / SHIPPED_FILE).exists():
        return ROOT
    save_model(create_model(SHIPPED_FILE.removesuffix(".safetensors")), tmp_path / "checkpoints" / SHIPPED_FILE)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    return tmp_path


def test_the_first_python_example_runs(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    names = {"images": torch.zeros(2, 3, 224, 224)}
    exec(example, names)
    assert names["logits"].shape == (2, 1000)
    assert [stage.kept_patches.shape for stage in names["stages"]] == [(2, 137), (2, 96), (2, 67)]
    printed = capsys.readouterr().out
    assert "Prediction(" in printed
    domestic_cats = range(281, 286)
    assert tree != ROOT or names["result"].pruned.top[0].index in domestic_cats


def test_every_file_and_folder_that_is_drawn_exists():
    tree = re.search(r"## How it is built\n\n```\n(.*?)```", README, re.DOTALL)[1]
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        path = (folder if line.startswith("  ") else ROOT) / name
        assert path.exists(), name
        folder = path if not line.startswith("  ") and path.is_dir() else folder


def test_every_linked_file_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_every_test_that_is_named_exists():
    named = re.findall(r"tests/[\w/]+\.py", README)
    assert named
    assert all((ROOT / path).exists() for path in named)
