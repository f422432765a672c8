"""What a Space or a container needs of this repository: docs/hosting.md."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
SPACE = SpaceCard.load(ROOT / "README.md", ignore_metadata_errors=False).data
PINS = {pin.name: pin for pin in map(Requirement, (ROOT / "requirements.txt").read_text().splitlines())}
LOWEST = ROOT / "tests" / "lowest.txt"
LARGEST_IN_GIT = 10_000_000  # bytes that the Hub takes by plain git
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def test_the_space_runs_the_gradio_that_is_tested():
    assert SPACE.sdk == "gradio"
    assert PINS["gradio"].specifier == SpecifierSet(f"=={SPACE.sdk_version}")


def test_the_space_starts_a_file_that_exists_on_a_python_that_is_supported():
    assert (ROOT / SPACE.app_file).is_file()
    needed = re.search(r'requires-python = "(.+)"', (ROOT / "pyproject.toml").read_text())
    assert needed is not None
    assert SPACE.to_dict()["python_version"] in SpecifierSet(needed[1])


def test_the_card_of_the_space_is_one_that_the_hub_accepts():
    card = SPACE.to_dict()
    assert card["title"]
    assert card["license"] == "mit"
    assert card["colorFrom"] in COLORS
    assert card["colorTo"] in COLORS
    assert len(card["short_description"]) <= 60
    assert card["suggested_hardware"] == "cpu-basic"


def test_every_library_of_library_and_app_is_pinned_within_its_range():
    for text in requires("dynamicvit") or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": "app"}):
            (pin,) = PINS[needed.name].specifier
            assert needed.specifier.contains(pin.version), text


def test_the_lowest_versions_that_ci_runs_are_the_lowest_that_are_allowed():
    lines = [line.partition("#")[0] for line in LOWEST.read_text().splitlines()]
    lowest = {pin.name: Version(next(iter(pin.specifier)).version) for pin in map(Requirement, filter(None, lines))}
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    needed = [Requirement(text) for text in [*project["dependencies"], *extras["app"], *extras["train"]]]
    allowed = {one.name: Version(bound.version) for one in needed for bound in one.specifier if bound.operator == ">="}
    del allowed["gradio"]  # the page is tested at its pin: Gradio's range is one major version
    opencv = "opencv-python-headless"
    assert lowest.pop(opencv) >= allowed.pop(opencv)  # its first release of version 5 has four numbers
    assert allowed == {name: lowest[name] for name in allowed}


def test_only_the_shipped_weights_are_too_large_for_plain_git():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no git repository")
    large = [name for name in tracked.stdout.split("\0")[:-1] if (ROOT / name).stat().st_size > LARGEST_IN_GIT]
    assert large == ["checkpoints/dynamicvit_lite0_small_patch16_224.safetensors"]


def test_what_the_container_copies_is_enough_to_start(tmp_path):
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            source, target = shlex.split(line)[1:]
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    code = (
        "from dynamicvit.app.main import example_folder; from dynamicvit.app.state import AppState; "
        "from dynamicvit.app.layout import build; import dynamicvit; "
        "print(dynamicvit.__file__, len(build(AppState(None, example_folder())).fns))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    where, functions = done.stdout.split()[-2:]
    assert where.startswith(str(tmp_path))
    assert int(functions) > 10


def test_the_container_installs_the_pinned_torch_for_cpus():
    command = re.search(r"RUN (sed -n .*) > cpu.txt", (ROOT / "Dockerfile").read_text())
    assert command is not None
    done = subprocess.run(shlex.split(command[1]), cwd=ROOT, capture_output=True, text=True, check=True)
    pins = [f"{name}=={next(iter(PINS[name].specifier)).version}+cpu" for name in ("torch", "torchvision")]
    assert done.stdout.split() == pins
