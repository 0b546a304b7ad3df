"""Mutated models, opened in a process under limits: none crashes, hangs or fails unexplained.

The time spent is `WORKBENCH_FUZZ_SECONDS` (30 by default); the order of the mutations is fixed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.hostile.client import Answer, Worker
from tests.hostile.mutations import MUTATIONS
from tests.hostile.seeds import seeds

SECONDS = float(os.environ.get("WORKBENCH_FUZZ_SECONDS", "30"))
SEEDS = seeds()
PER_SECOND = 400  # more than any machine opens

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as found:
        yield found


@pytest.mark.parametrize("name", SEEDS)
def test_what_is_mutated_runs_before(name: str, tmp_path: Path, worker: Worker):
    (tmp_path / "model.onnx").write_bytes(SEEDS[name])
    assert worker.open(tmp_path / "model.onnx").outcome == "ran"


@pytest.mark.timeout(SECONDS + 120)
def test_mutated_models_are_refused_or_run(
    tmp_path: Path, worker: Worker, record_property: Callable[[str, object], None]
):
    end = time.monotonic() + SECONDS
    seen: Counter[str] = Counter()
    path = tmp_path / "model.onnx"

    @settings(
        max_examples=int(SECONDS * PER_SECOND),
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(SEEDS)), st.sampled_from(MUTATIONS), st.integers(0, 2**32 - 1))
    def fuzz(name: str, mutate, seed: int) -> None:
        if time.monotonic() > end:
            return
        path.write_bytes(mutate(SEEDS[name], random.Random(seed)))
        answer = worker.open(path)
        seen[answer.outcome] += 1
        assert not answer.fault, f"{mutate.__name__} of {name}, seed {seed}: {answer}"

    fuzz()
    record_property("outcomes", dict(seen))
    assert seen["refused"] > 0
    assert seen["ran"] > 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_is_noticed(tmp_path: Path):
    """A crash, a hang and a flood of memory are told apart from a refusal."""
    (tmp_path / "model.onnx").write_bytes(SEEDS["convolutions"])
    with Worker(memory_gib=2.0, seconds=0.0001) as hasty:
        assert hasty.open(tmp_path / "model.onnx").outcome == "slow"
    with Worker(memory_gib=0.00001) as narrow:
        assert narrow.open(tmp_path / "model.onnx").fault
    assert Answer("died", "exit code -11", 0.0).fault
    assert not Answer("refused", "one sentence", 0.0).fault
