"""JSON without NaN, and files that are none: one error, which names the file."""

import json
import os

import numpy as np
import pytest

from hcl_jax.system.json_files import JsonError, json_bytes, json_text, read_json


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), np.float64("nan")])
def test_a_number_that_is_not_finite_is_null_wherever_it_stands(value):
    nested = {"a": value, "b": [1.5, value], "c": ({"d": (value, True)}, None), "e": "nan"}
    expected = {"a": None, "b": [1.5, None], "c": [{"d": [None, True]}, None], "e": "nan"}
    for content in (json_text(nested), json_bytes(nested)):
        assert json.loads(content, parse_constant=refuse) == expected


def test_finite_numbers_keep_every_digit():
    values = [0.1, 1e308, 5e-324, -0.0, 2**53 + 1]
    assert json.loads(json_text(values)) == values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": NaN}', "numbers must be finite, got NaN"),
        (b"[-Infinity]", "numbers must be finite, got -Infinity"),
        (b'"\xff"', "can't decode byte"),
        (b"[" * 100_000, "recursion"),
        (b"[" + b"9" * 5000 + b"]", "5000 digits"),
    ],
)
def test_what_is_not_json_is_named(tmp_path, content, reason):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(JsonError, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} is not JSON: ")
    assert "\n" not in str(caught.value)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(JsonError, match="is not a regular file"):
        read_json(tmp_path / "config.json")


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "config.json")
