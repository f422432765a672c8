"""Equality of two precisions is counted photo by photo and adds up over parts of them."""

import math

import pytest

from dynamicvit.evaluation.accuracy import DENSE, EvaluationSetting
from dynamicvit.evaluation.equality import Equality


def test_parts_add_up_to_shares():
    setting = EvaluationSetting(0.7)
    whole = Equality(setting) + Equality(setting, 3, 3, (3.0, 2.4)) + Equality(setting, 1, 0, (0.6, 0.4))
    assert (whole.photos, whole.same_answer) == (4, 0.75)
    assert whole.overlaps == pytest.approx((0.9, 0.7))


def test_nothing_is_known_without_photos():
    assert math.isnan(Equality(DENSE).same_answer)
    assert Equality(DENSE).overlaps == ()
