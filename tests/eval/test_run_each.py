"""eval.run_each: what fails is named, what works is done."""

import pytest

from eval.run_each import run_each


def divide(done):
    def action(number):
        if number == 0:
            raise ValueError("no division by zero")
        if number < 0:
            raise KeyError("sign")
        done.append(12 / number)

    return action


def test_run_each_goes_on_and_names_every_failure(capsys):
    done = []
    with pytest.raises(ValueError) as raised:
        run_each([3, 0, -1, 4], divide(done), lambda number: f"run {number}")
    assert done == [4.0, 3.0]
    assert str(raised.value) == "run 0: no division by zero; run -1: KeyError: 'sign'"
    assert capsys.readouterr().out.splitlines() == [
        "run 0: failed, see the end",
        "run -1: failed, see the end",
    ]


def test_run_each_says_nothing_where_all_succeed(capsys):
    done = []
    run_each([1, 2], divide(done))
    assert done == [12.0, 6.0] and capsys.readouterr().out == ""


def test_run_each_does_not_hide_bugs():
    with pytest.raises(TypeError):
        run_each([None], divide([]))


def test_run_each_does_not_name_an_item_twice():
    def action(item):
        raise ValueError(f"{item} is not valid JSON")

    with pytest.raises(ValueError, match=r"\Aa/b.json is not valid JSON\Z"):
        run_each(["a/b.json"], action)
