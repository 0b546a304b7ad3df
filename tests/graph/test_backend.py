"""The ONNX project's own node tests, for every operator that the graph floor knows."""

from __future__ import annotations

import functools
from collections import defaultdict

import onnx
import pytest

from scripts import operators
from scripts.operators import Outcome
from workbench.graph.ops import known, lookup

LEAST_OPERATORS = 190
LEAST_CASES = 1800
SHARE = 0.95


@functools.cache
def outcomes() -> tuple[Outcome, ...]:
    return tuple(operators.run_all())


@pytest.mark.slow
def test_every_case_passes_or_is_explained():
    failures = [one for one in outcomes() if one.verdict == "failed"]
    unexplained = [f"{o.case}: {o.reason}" for o in failures if o.reason not in REASONS]
    assert not unexplained, "\n".join(unexplained[:20])


REASONS = set(operators.REASONS.values())


@pytest.mark.slow
def test_cases_of_our_operators_pass():
    mine = operators.covered(outcomes())
    passed = [one for one in mine if one.verdict == "passed"]
    assert len(mine) >= LEAST_CASES
    assert len(passed) >= SHARE * len(mine)


@pytest.mark.slow
def test_each_operator_passes_at_least_half_of_its_cases():
    by_operator: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for one in operators.covered(outcomes()):
        for operator in one.operators:
            by_operator[operator].append(one.verdict == "passed")
    weak = {o: sum(v) / len(v) for o, v in by_operator.items() if sum(v) < 0.5 * len(v)}
    assert not weak


@pytest.mark.slow
def test_reasons_are_still_needed():
    failed = [one.case for one in outcomes() if one.verdict == "failed"]
    for part in operators.REASONS:
        assert any(part in f"{name}$" for name in failed), part


@pytest.mark.slow
def test_the_page_is_current():
    assert operators.PAGE.read_text(encoding="utf-8") == operators.page(outcomes())


def test_a_sample_of_the_cases_passes():
    for case in operators.cases()[::40]:
        one = operators.outcome(case)
        assert one.verdict != "failed" or one.reason in REASONS, one


def test_there_are_enough_operators():
    assert len([name for domain, name in known() if not domain]) >= LEAST_OPERATORS


def test_every_version_of_every_operator_is_read():
    """Inputs, attributes and outputs of all definitions from opset 9 to the newest."""
    unread = {
        (name, version): why
        for domain, name in known()
        if not domain
        for version in operators.versions((domain, name))
        if (why := operators.unread((domain, name), version))
    }
    assert not unread


def test_docstrings_name_the_newest_version_that_they_follow():
    wrong = []
    for operator in known():
        domain, name = operator
        served: dict[object, int] = {}
        for version in operators.versions(operator):
            served[lookup(domain, name, version).function] = version
        for function, version in served.items():
            if not (function.__doc__ or "").startswith(f"{name}-{version}"):
                wrong.append(f"{name}-{version}: {function.__doc__}")
    assert not wrong


def test_operators_that_are_left_out_are_known_to_be():
    """What the installed ONNX defines beyond the table: strings, images in files, and no more."""
    schemas = onnx.defs.get_all_schemas()
    standard = {s.name for s in schemas if not s.domain and not s.deprecated}
    assert standard - {name for domain, name in known() if not domain} == {
        "Constant",  # held by the module itself
        "ImageDecoder",
        "RegexFullMatch",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "TfIdfVectorizer",
    }
