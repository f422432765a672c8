import pytest

from dynamicvit.errors import SettingError
from dynamicvit.labels import checked_class_names, default_class_names


def test_imagenet_names_are_the_short_ones_in_the_order_of_the_classes():
    names = default_class_names(1000)
    assert len(names) == 1000
    assert [names[index] for index in (0, 1, 207, 281, 999)] == [
        "tench",
        "goldfish",
        "golden retriever",
        "tabby",
        "toilet tissue",
    ]


def test_no_two_classes_share_a_name_even_when_case_is_ignored():
    assert len({name.lower() for name in default_class_names(1000)}) == 1000


def test_a_shared_name_is_told_apart_by_the_next_name_or_else_by_the_definition():
    names = default_class_names(1000)
    assert names[639] == "maillot (tank suit)"
    assert names[638] == "maillot (tights)"
    assert names[134] == "crane (large long-necked wading bird)"


def test_classes_other_than_imagenets_are_numbered():
    assert default_class_names(3) == ("class 0", "class 1", "class 2")


def test_names_are_computed_once():
    assert default_class_names(1000) is default_class_names(1000)


def test_names_of_ones_own_are_kept_and_counted():
    assert checked_class_names(["blue", "深红\u3000"], 2) == ("blue", "深红\u3000")
    assert checked_class_names(None, 2) == ("class 0", "class 1")
    for names in (["blue"], ["a", "b", "c"], (), "ab"):
        with pytest.raises(SettingError, match="one name for each of the 2 classes"):
            checked_class_names(names, 2)


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 201, 7, None, "\udc80"])
def test_a_name_that_cannot_be_shown_is_refused(name):
    with pytest.raises(SettingError, match="A class name is a line"):
        checked_class_names(["blue", name], 2)
