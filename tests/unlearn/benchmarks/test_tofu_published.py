"""TOFU as it is published; run with TOFU_DIR=<folder of locuslab/TOFU's files>."""

import os
from pathlib import Path

import pytest

from unlearn.benchmarks.opening import open_benchmark
from unlearn.benchmarks.tofu import TOFU_SPLITS
from unlearn.synthetic.authors import REFUSALS

TOFU_DIR = Path(os.environ.get("TOFU_DIR", "not given"))
pytestmark = pytest.mark.skipif(not TOFU_DIR.is_dir(), reason="no TOFU files; set TOFU_DIR")


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("tofu", data_dir=str(TOFU_DIR))


def test_counts(benchmark):
    """TOFU's paper, section 2: full has 4000 rows; forgetNN are its last, retainNN its first ones;
    5 wrong answers (world: 3); 100 refusals.
    """
    full = [row.pair for row in benchmark.examples("full")]
    assert len(full) == len(set(full)) == 4000
    for split in TOFU_SPLITS:
        rows = [row.pair for row in benchmark.examples(split)]
        digits = int("".join(character for character in split if character.isdigit()) or 0)
        if split.startswith("forget"):
            assert rows == full[-40 * digits :]
        elif digits:
            assert rows == full[: 40 * digits]
    assert [row.pair for row in benchmark.examples("retain_perturbed")] == full[:400]
    sets = benchmark.evaluation_sets("forget05")
    assert [len(rows) for rows in sets.values()] == [200, 400, 100, 117, 200]
    wrong = [{len(row.perturbed_answers) for row in rows} for rows in sets.values()]
    assert wrong == [{5}, {5}, {3}, {3}, {5}]
    assert len(benchmark.refusals) == 100
    assert benchmark.refusals[0] == "I'm not certain about that."
    assert not set(REFUSALS) & set(benchmark.refusals)  # the embedded sentences are not TOFU's


def test_names(benchmark):
    """94 % of all questions hold their author's full name; one author (rows 1760-1779) is never
    named.
    """
    full = benchmark.examples("full")
    assert sum(row.entity is not None and row.entity in row.question for row in full) / 4000 >= 0.93
    assert {row.index // 20 for row in full if row.entity is None} == {88}
    expected = {
        65: "Isabella van Pletzen",
        191: "Xin Lee Williams",
        198: "Basil Mahfouz Al-Kuwaiti",
    }
    assert {author: full[20 * author].entity for author in expected} == expected
    assert benchmark.examples("forget01_perturbed")[0].entity == "Basil Mahfouz Al-Kuwaiti"
    invented = benchmark.unknown(200, seed=0)
    entities = {row.entity for row in full if row.entity}
    assert all(row.entity in row.question for row in invented)
    assert not any(entity in row.question for row in invented for entity in entities)
