"""The sentences that say what went wrong: each that the page can show has a Chinese one."""

# ruff: noqa: RUF001

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import dynamicvit
from dynamicvit.app.turns import Turn
from dynamicvit.app.uploads import NO_ROOM
from dynamicvit.app.words import words_in
from dynamicvit.weights.published import PUBLISHED

PACKAGE = Path(dynamicvit.__file__).parent
# Where what a visitor can do wrong, or meet, is told.
TELLING = (
    "app/**/*.py",
    "analysis/comparison.py",
    "analysis/report.py",
    "analysis/results.py",
    "analysis/survey.py",
    "archives.py",
    "budget.py",
    "decoding/*.py",
    "images.py",
    "models/base.py",
    "models/hierarchical.py",
    "models/selectors.py",
    "video.py",
    "weights/foreign.py",
    "weights/io.py",
    "weights/published.py",
    "writing.py",
)
OURS = {"CheckpointError", "DownloadError", "ImageError", "OutputError", "ReportError", "SettingError", "UploadError"}
OURS |= {"VideoError", "_RejectedError"}
# What is said elsewhere than in an error, most of it in the blanks of a sentence.
PARTS = {
    NO_ROOM,
    *(turn.value for turn in Turn if turn is not Turn.BUSY),
    "keep ratio",
    "keep ratio of a stage",
    "keep mass",
    "look at attention between all tokens",
    "a damaged file",
    "a file of {} instead of {}",
    "; ".join(f"{urlsplit(url).hostname}: {{}}" for url in PUBLISHED[0].urls),
    "https://{} or https://{}",
}


def told(source: str) -> Iterator[str]:
    """Yield what the errors of a module say, and the problems that it answers with, ``{}`` for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OURS:
            yield from template(node.args[0])
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "problem":
                    yield from template(value)


def template(said: ast.expr) -> Iterator[str]:
    if isinstance(said, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in said.values)
    elif isinstance(said, ast.Constant) and said.value:
        yield str(said.value)


def test_every_sentence_that_the_page_can_show_has_a_chinese_one_and_no_other_has() -> None:
    paths = {path for pattern in TELLING for path in PACKAGE.glob(pattern)}
    sentences = {one for path in paths for one in told(path.read_text(encoding="utf-8"))}
    assert len(sentences) > 90
    assert set(words_in("zh").errors) == sentences | PARTS


def test_every_chinese_sentence_says_what_the_english_one_fills_in() -> None:
    for english, chinese in words_in("zh").errors.items():
        slots = [str(number + 1) for number in range(english.count("{}"))]
        assert sorted(re.findall(r"\{(.*?)\}", chinese)) == slots, english


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("The image file is empty; choose another one.", "图像文件是空的，请选择另一个。"),
        ("The image a\\1{2}.png cannot be opened: no.", "无法打开图像 a\\1{2}.png：no。"),
        (
            "The keep mass must be a number from 0.10 to 1.00; got 7.",
            "保留概率占比必须是 0.10 到 1.00 的数，而不是 7。",
        ),
        (
            "M could not be downloaded (cloud.tsinghua.edu.cn: HTTP 404; drive.usercontent.google.com: a web page "
            "instead of the file). Open https://a or https://b in a browser and save the file as /m.pth.",
            "无法下载 M（cloud.tsinghua.edu.cn：HTTP 404；drive.usercontent.google.com：得到的是网页而不是文件）。"
            "请在浏览器中打开 https://a 或 https://b，并把文件保存为 /m.pth。",
        ),
        ("Nobody has said this.", "Nobody has said this."),
    ],
)
def test_what_is_filled_in_is_said_in_chinese_too_where_that_is_known(english: str, chinese: str) -> None:
    assert words_in("zh").sentence(english) == chinese
    assert words_in("en").sentence(english) == english
