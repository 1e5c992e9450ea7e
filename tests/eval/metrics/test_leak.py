"""Leak, against cases worked out by hand."""

from eval.metrics.leak import contains_value, leak_rate


def test_contains_value_compares_whole_words_in_order():
    assert contains_value("Lune Prize", "She won the lune  prize.")
    assert contains_value("The Scarlet Orchard", "'The Scarlet Orchard'.")
    assert not contains_value("Lune Prize", "the Lune of Prize")
    assert not contains_value("May 2010", "May 20101")
    assert not contains_value("art", "smart")


def test_leak_rate_counts_rows_that_name_a_value():
    assert leak_rate([True, False, None, False]) == 1 / 3
    assert leak_rate([False, False]) == 0.0


def test_leak_rate_of_rows_without_values_is_missing():
    assert leak_rate([None, None]) is None
    assert leak_rate([]) is None
