"""`python -m tests.hostile [SECONDS]`: run the corpus and the fuzz test, and print their counts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.hostile.corpus import CASES

HERE = Path(__file__).resolve().parent


class Counts:
    """What the tests of the corpus came to, and what the fuzz test noted."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self.mutated: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and "test_refused_in_a_sentence_or_opened" in report.nodeid:
            self.passed += report.passed
            self.failed += report.failed
        self.mutated.update(dict(report.user_properties).get("outcomes", {}))


def main() -> int:
    """Print one line; the exit code of pytest."""
    if len(sys.argv) > 1:
        os.environ["WORKBENCH_FUZZ_SECONDS"] = sys.argv[1]
    counts = Counts()
    code = pytest.main([str(HERE), "-q", "--no-header", "-p", "no:cacheprovider"], [counts])
    opened = sum(case.words is None for case in CASES.values())
    mutated = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.mutated.items())
    print(  # noqa: T201
        f"hostile files: {counts.passed} of {len(CASES)} as they should ({opened} open,"
        f" {len(CASES) - opened} are refused); mutated models: {mutated}"
    )
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
