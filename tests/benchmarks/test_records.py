"""Benchmarks: what was measured is kept, said with its spread, and fitted rightly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from benchmarks import __main__ as everything
from benchmarks import curves, tables
from benchmarks.keeping import append, fill, missing, recorded
from benchmarks.machine import stamp

MACHINE = {"machine": "a box", "date": "2026-01-02", "load": 1.5}


@dataclass(frozen=True)
class Case:
    name: str
    seed: int = 0


def cost(method: str, size: int, cpu: float, **more):
    record = {"axis": "layers", "method": method, "size": size, "seed": 0, "options": {}}
    return record | {"cpu_seconds": cpu, "learning_mib": 10 * size, "threads": 1} | MACHINE | more


def score(seed: int, value: float, **more):
    case = {"model": "digits", "setting": "W4A8", "method": "gram", "edges": "8", "seed": seed}
    judged = {"metric": "top-1", "float": 98.0, "score": value, "cpu_seconds": 2.0, "threads": 1}
    return case | judged | MACHINE | more


def table(text: str, title: str) -> dict[str, list[str]]:
    """First cell -> the other cells of the first table below a title."""
    lines = text[text.index(title) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| "))
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first] = others
    return rows


# --- records --------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path):
    path, cases, ran = tmp_path / "deep" / "cases.jsonl", [Case("a"), Case("b"), Case("b", 1)], []

    def run(case: Case):
        if case.seed and not ran.count(case):
            ran.append(case)
            raise KeyboardInterrupt
        ran.append(case)
        return {"name": case.name, "seed": case.seed}

    with pytest.raises(KeyboardInterrupt):
        fill(cases, run, path)
    assert missing(cases, path) == [Case("b", 1)]
    fill(cases, run, path)
    assert ran == [*cases, Case("b", 1)]
    assert missing(cases, path) == []
    assert [record["machine"] for record in recorded(path)] == [stamp()["machine"]] * 3


def test_rows_are_kept_only_when_all_are_there(tmp_path: Path):
    def broken():
        yield {"value": 1}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        everything.keep("rows", broken, tmp_path)
    assert not (tmp_path / "rows.jsonl").exists()
    everything.keep("rows", lambda: [{"value": 1}, {"value": 2}], tmp_path)
    everything.keep("rows", broken, tmp_path)
    assert [record["value"] for record in recorded(tmp_path / "rows.jsonl")] == [1, 2]


def test_all_of_them_leave_tables_and_one_object(tmp_path: Path, monkeypatch, capsys):
    rows = {"openings": lambda: [{"file": "a", "seconds": 0.5}]}
    fakes = {"RESULTS": tmp_path, "scores": list, "costs": list, "_others": lambda pictures: rows}
    for name, fake in fakes.items():
        monkeypatch.setattr(everything, name, fake)
    monkeypatch.setattr("sys.argv", ["benchmarks", "--json"])
    everything.main()
    (record,) = json.loads(capsys.readouterr().out)["openings"]
    assert (record["file"], record["seconds"]) == ("a", 0.5)
    assert table((tmp_path / "tables.md").read_text(), "## Opening a file")["a"] == ["0.5"]


# --- curves ---------------------------------------------------------------------------------------


def test_the_exponent_is_that_of_the_upper_half():
    sizes = (2, 4, 8, 16, 32, 64)
    costs = {n: 7.0 if n < 8 else 0.1 * n**1.5 for n in sizes}
    assert curves.exponent(costs) == pytest.approx(
        np.polyfit(np.log([8, 16, 32, 64]), np.log([costs[n] for n in (8, 16, 32, 64)]), 1)[0]
    )
    assert curves.exponent({n: 3.0 * n**2 for n in sizes}) == pytest.approx(2)
    assert curves.exponent({2: 1.0, 4: 2.0}) is None
    assert curves.exponent({2: 1.0, 4: 2.0, 8: 0.0}) is None


def test_the_quick_form_is_a_part_of_the_whole():
    whole = set(curves.cases(curves.SIZES, list(curves.METHODS), 1))
    assert set(curves.cases(curves.QUICK, list(curves.METHODS), 1)) < whole


def test_a_stack_runs_in_onnx_runtime_and_depends_on_its_seed_alone(tmp_path: Path):
    images = next(curves.random_images(4, 5, seed=1))[0].numpy()
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        curves.stack(tmp_path / name, 3, 4, 5, seed)
        session = onnxruntime.InferenceSession(tmp_path / name)
        found.append(np.asarray(session.run(None, {"images": images})[0]))
    assert found[0].shape == (curves.BATCH, 4, 5, 5)
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


@pytest.mark.slow
def test_a_case_says_what_learning_took():
    case = curves.Case("layers", 2, "rtn")
    record: dict[str, Any] = curves.run(case)
    assert curves.Case(**{name: record[name] for name in asdict(case)}) == case
    assert record["threads"] == 1
    assert 0 < record["cpu_seconds"] < 60
    assert 0 <= record["learning_mib"] < record["peak_mib"]


# --- tables ---------------------------------------------------------------------------------------


def test_scores_have_their_mean_and_spread_over_the_seeds(tmp_path: Path):
    refused = score(0, 0, setting="W8A8", error="no | such grid")
    del refused["score"]
    append(tmp_path / "accuracy.jsonl", [score(0, 97.0), score(1, 97.5), refused])
    text = tables.page(tmp_path)
    rows = table(text, "### digits: top-1, 98 in float")
    assert rows["method"] == ["edges", "seeds", "W8A8", "W4A8"]
    assert rows["gram"] == ["8", "2", "refused", "97.25 ± 0.25 (2.0 s)"]
    assert r"refused: no \| such grid" in text
    assert "Measured 2026-01-02 on a box; threads: 1; load average 1.5 to 1.5." in text


def test_costs_have_their_exponents(tmp_path: Path):
    sizes = (2, 4, 8, 16)
    append(tmp_path / "curves.jsonl", [cost("gram", n, 0.5 * n**2) for n in sizes])
    again = [cost("gram", 2, 4.0, seed=1)]
    append(tmp_path / "curves.jsonl", again)
    rows = table(tables.page(tmp_path), "### Layers")
    assert rows["method"] == [*map(str, sizes), "p of time", "p of memory"]
    assert rows["gram"][0] == "3 ± 1 s, 20 ± 0 MiB"
    assert rows["gram"][-2:] == ["2.00", "1.00"]


def test_a_tool_that_failed_says_why(tmp_path: Path):
    good = {"tool": "A", "case": "W4", "seconds": 2.0, "cpu_seconds": 1.5, "peak_gib": 0.5}
    append(
        tmp_path / "peers.jsonl",
        [good | {"onnxruntime": 88.5}, {"tool": "B", "case": "W4", "error": "it\nbroke"}],
    )
    text = tables.page(tmp_path)
    rows = table(text, "## Side by side")
    assert rows["A"] == ["W4", "2", "1.5", "0.5", "", "88.5", ""]
    assert rows["B"][-1] == "it broke"
    assert "a machine that is not recorded" in text


def test_the_page_in_the_docs_is_one_of_these():
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert page.read_text(encoding="utf-8").startswith(tables.HEAD)


def test_records_are_lines_of_json(tmp_path: Path):
    append(tmp_path / "a.jsonl", [stamp()])
    record = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    assert record | {"load": 0} == stamp() | {"load": 0}
