from dynamicvit.labels import class_names


def test_imagenet_names_are_the_short_ones_in_the_order_of_the_classes():
    names = class_names(1000)
    assert len(names) == 1000
    assert [names[index] for index in (0, 1, 207, 281, 999)] == [
        "tench",
        "goldfish",
        "golden retriever",
        "tabby",
        "toilet tissue",
    ]


def test_no_two_classes_share_a_name_even_when_case_is_ignored():
    assert len({name.lower() for name in class_names(1000)}) == 1000


def test_a_shared_name_is_told_apart_by_the_next_name_or_else_by_the_definition():
    names = class_names(1000)
    assert names[639] == "maillot (tank suit)"
    assert names[638] == "maillot (tights)"
    assert names[134] == "crane (large long-necked wading bird)"


def test_classes_other_than_imagenets_are_numbered():
    assert class_names(3) == ("class 0", "class 1", "class 2")


def test_names_are_computed_once():
    assert class_names(1000) is class_names(1000)
