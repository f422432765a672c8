"""Many pictures -> a survey that grows; one bad file does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from dynamicvit.analysis.results import Analysis, analyze
from dynamicvit.analysis.survey import Survey
from dynamicvit.archives import MAX_IMAGES, ImageSource, list_images
from dynamicvit.errors import DynamicViTError, ImageError
from dynamicvit.images import DecodedImage, prepare
from dynamicvit.interface.current_settings.component import Asked
from dynamicvit.interface.handlers import LoadedModel, Workbench
from dynamicvit.interface.uploads import Upload


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, and the sentence that says why."""

    name: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Progress:
    """A survey under way: ``done`` of ``total`` pictures were looked at, the ones with problems included."""

    done: int
    total: int
    survey: Survey
    problems: tuple[Problem, ...]


def survey_uploads(bench: Workbench, uploads: Sequence[Upload], asked: Asked) -> Iterator[Progress]:
    """Survey uploaded pictures and ZIP archives of pictures; gives the state before and after each picture.

    Raises:
        DynamicViTError: nothing was uploaded, too many pictures were, or model and settings cannot be used.
    """
    if not uploads:
        raise ImageError("There are no pictures yet: add some files or a ZIP archive, or use the examples.")
    with ExitStack() as files:
        sources, problems = _list_all(uploads, files)
        if len(sources) > MAX_IMAGES:
            raise ImageError(f"These are {len(sources)} pictures; take at most {MAX_IMAGES} at a time.")
        yield from _survey(bench, sources, problems, asked)


def survey_examples(bench: Workbench, asked: Asked) -> Iterator[Progress]:
    """Survey the example pictures; as :func:`survey_uploads`."""
    pictures = [bench.picture(name) for name in bench.example_names()]
    sources = [ImageSource(picture.title, partial(_already_open, picture.image)) for picture in pictures]
    yield from _survey(bench, sources, (), asked)


def _already_open(image: DecodedImage) -> DecodedImage:
    return image


def _list_all(uploads: Sequence[Upload], files: ExitStack) -> tuple[list[ImageSource], tuple[Problem, ...]]:
    sources: list[ImageSource] = []
    problems: list[Problem] = []
    for upload in uploads:
        try:
            sources += list_images(upload.name, upload.path, files)
        except DynamicViTError as error:
            problems.append(Problem(upload.name, str(error)))
    return sources, tuple(problems)


def _survey(
    bench: Workbench, sources: Sequence[ImageSource], problems: tuple[Problem, ...], asked: Asked
) -> Iterator[Progress]:
    loaded = bench.load(asked.model)
    survey = Survey()
    yield Progress(0, len(sources), survey, problems)
    for done, source in enumerate(sources, 1):
        try:
            image = source.open()
        except DynamicViTError as error:
            problems = (*problems, Problem(source.name, str(error)))
        else:
            survey = survey.including(source.name, bench.run(partial(_analyze, image, loaded, asked)))
        yield Progress(done, len(sources), survey, problems)


def _analyze(image: DecodedImage, loaded: LoadedModel, asked: Asked) -> Analysis:
    return analyze(loaded.model, prepare(image, loaded.model.config).tensor, asked.settings)
