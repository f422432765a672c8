"""The words of exported figures in the visitor's language, where a font here can write it."""

from __future__ import annotations

from dynamicvit.figures.captions import DEFAULT_FONT, Captions, chinese_font
from dynamicvit.interface.words import Words, words_in


def page_captions(words: Words) -> Captions:
    """Give the captions of a figure inside the page, which the browser's own fonts write."""
    texts = words.texts
    return Captions(
        keep_ratio=texts["figure.keep_ratio"],
        keep_mass=texts["figure.keep_mass"],
        input=texts["figure.input"],
        stage=texts["figure.stage"],
        stage_detail=texts["figure.stage_detail"],
        dense=texts["figure.dense"],
        pruned=texts["figure.pruned"],
        dense_short=texts["figure.dense_short"],
        pruned_short=texts["figure.pruned_short"],
        cost=texts["figure.cost"],
        saved=texts["figure.saved"],
        same=texts["figure.same"],
        different=texts["figure.different"],
        image=texts["figure.image"],
        tokens=texts["figure.tokens"],
        blocks=texts["figure.blocks"],
        predictor=texts["figure.predictor"],
        stage_kept=texts["figure.stage_kept"],
        scores=texts["figure.scores"],
        answer=texts["figure.answer"],
    )


def file_captions(words: Words) -> tuple[Captions, bool]:
    """Give the captions of a figure in a file, and whether they are in the language of the words.

    They are English when no font on this machine can write the language.
    """
    font = chinese_font() if words.language == "zh" else None
    if words.language == "zh" and font is None:
        return page_captions(words_in("en")), False
    fonts = (DEFAULT_FONT, font) if font else (DEFAULT_FONT,)
    return page_captions(words).written_with(fonts), True
