"""Fixtures of the benchmark tests."""

import pytest

from tests.unlearn.benchmarks.tofu_rows import write_tofu_folder


@pytest.fixture(scope="session")
def tofu_folder(tmp_path_factory):
    """A folder in TOFU's layout (200 authors); read only."""
    return write_tofu_folder(tmp_path_factory.mktemp("tofu"))
