"""The public names exist, are listed, and a wrong one is refused."""

import pytest

import dynamicvit


def test_every_listed_name_can_be_had():
    assert all(getattr(dynamicvit, name).__doc__ for name in dynamicvit.__all__)


def test_the_list_is_sorted_and_equals_the_table_of_homes():
    assert dynamicvit.__all__ == sorted(dynamicvit._HOME)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="create_modle"):
        dynamicvit.create_modle  # noqa: B018
