import pytest

from dynamicvit.errors import SettingError
from dynamicvit.labels import checked_class_names, default_class_names, find_class, name_classes


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
    for names in (["blue"], ["a", "b", "c"], ()):
        with pytest.raises(SettingError, match="one name for each of the 2 classes"):
            checked_class_names(names, 2)
    for names in ("ab", {"a": 0, "b": 1}, 2):
        with pytest.raises(SettingError, match="are a list of texts"):
            checked_class_names(names, 2)


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 201, 7, None, "\udc80"])
def test_a_name_that_cannot_be_shown_is_refused(name):
    with pytest.raises(SettingError, match="A class name is a line"):
        checked_class_names(["blue", name], 2)


def test_folders_named_by_numbers_are_classes_in_the_order_of_the_numbers():
    names = name_classes({str(number) for number in range(11)})
    assert names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
    assert [find_class(name, names) for name in names] == list(range(11))


def test_numbers_that_name_classes_are_not_taken_for_indices():
    names = name_classes(["3", "1", "2"])
    assert [find_class(text, names) for text in ("1", "2", "3", "0")] == [0, 1, 2, None]


def test_folders_named_by_words_are_classes_in_the_order_of_the_words():
    names = name_classes(["red", "blue", "10", "9"])
    assert names == ("10", "9", "blue", "red")
    assert find_class("red", names) == 3
    assert find_class("3", names) is None


def test_wordnet_ids_become_names_and_are_found_again():
    names = name_classes(["n01443537", "n01440764"])
    assert names == ("tench", "goldfish")
    assert [find_class(text, names) for text in ("n01440764", "n01443537", "n02012849")] == [0, 1, None]
    assert find_class("n02012849", default_class_names(1000)) == 134
    assert find_class("n01440764", default_class_names(5)) is None


def test_a_number_is_a_class_index_where_no_class_is_named_by_one():
    assert find_class("7", default_class_names(1000)) == 7
    assert find_class("07", ("a",) * 8) == 7
    assert [find_class(text, ("blue", "red")) for text in ("2", "-1", "1.0", "", "cat")] == [None] * 5


def test_accents_are_found_however_a_file_system_writes_them():
    joined, apart = "caf\u00e9", "cafe\u0301"
    assert name_classes([apart, "bar"]) == ("bar", joined)
    assert find_class(apart, ("bar", joined)) == find_class(joined, ("bar", apart)) == 1


def test_of_two_classes_of_one_name_the_first_is_meant():
    assert find_class("crane", ("crane", "tench", "crane")) == 0
