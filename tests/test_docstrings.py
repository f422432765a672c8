"""Docstrings speak of arguments and attributes that exist: API, MCP and pdoc take their descriptions from them."""

import ast
import re
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[1] / "dynamicvit").rglob("*.py"))


def described(docstring, section):
    """Return the names that a section of a docstring describes, such as "dense, pruned: time of each"."""
    text = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    lines = re.findall(r"^    (\w[\w, ]*):", text[1], re.MULTILINE) if text else []
    return {name.strip() for line in lines for name in line.split(",")}


def given(node, module):
    """Return the arguments of a function, or the fields of a class and those that it may inherit from its module."""
    if not isinstance(node, ast.ClassDef):
        of = node.args
        return {one.arg for one in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg) if one}
    names = {one.target.id for one in ast.walk(module) if isinstance(one, ast.AnnAssign) and hasattr(one.target, "id")}
    return names | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} | given_to_init(node)


def given_to_init(node):
    return {name for one in node.body if isinstance(one, ast.FunctionDef) for name in [one.name, *given(one, node)]}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_described_exists(path):
    module = ast.parse(path.read_text())
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            unknown = (described(text, "Args") | described(text, "Attributes")) - given(node, module)
            assert not unknown, f"{node.name} describes {', '.join(sorted(unknown))}"
