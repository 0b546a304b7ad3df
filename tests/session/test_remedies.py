"""Causes are looked for layer by layer, and a cure is tried, proved and kept, as studies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

import workbench
from workbench.foundation.errors import RecipeError, RunError
from workbench.session import whys
from workbench.session.execute import Extent
from workbench.session.remedies import Asked, Remedy, proposal_of
from workbench.session.runs import Run
from workbench.session.store import write_json
from workbench.session.studies import Study
from workbench.session.whys import Whys

FEW = Extent(naive=False, latency=False, verify=False, examples=32, layer_examples=16)


def quiet(_text: str, _fraction: float) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def run(tiny_path: Path, tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of a small model at 3 bits, and the causes of its layers."""
    session = workbench.open(tiny_path, data=tiny_npz)
    recipe = session.recipe(3, 8, "rtn", edges=None, calibration_examples=32)
    made = session.quantize(recipe=recipe, out=tmp_path_factory.mktemp("whys") / "run", extent=FEW)
    assert whys.look(made.directory, quiet) == {"left": []}
    return made


def asked(run: Run, folder: Path, **more: object) -> Remedy:
    remedy = Remedy(folder / "cure")
    out = str(folder / "cured")
    remedy.ask(Asked(run=str(run.directory), out=out, extent=asdict(FEW), **more))
    remedy.study.make()
    return remedy


def number_of(run: Run, layer: str, name: str) -> int:
    cures = Whys(run.directory).layers()[layer]["cures"]
    return next(cure["number"] for cure in cures if cure["name"] == name)


def worst(run: Run) -> str:
    return max(run.report()["layers"], key=lambda each: each["damage_kl"])["layer"]


def test_every_layer_is_looked_at_the_worst_first(run: Run) -> None:
    found = Whys(run.directory).layers()
    assert set(found) == {each["layer"] for each in run.report()["layers"]}
    assert next(iter(found)) == worst(run)
    assert found[worst(run)]["damage"] > 0


def test_whoever_waits_comes_next_and_time_runs_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, all_found = Whys(run.directory), Whys(run.directory).layers()
    known.found.unlink()
    monkeypatch.setattr(whys, "SECONDS", -1.0)
    monkeypatch.setattr(whys, "FIRST", 0)
    known.want(list(all_found)[-1])
    left = whys.look(run.directory, quiet)["left"]
    assert list(known.layers()) == list(all_found)[-1:]
    assert set(left) == set(list(all_found)[:-1])
    for layer, record in all_found.items():
        known.keep(layer, record)
    assert known.damage() is not None


def test_a_cure_is_proved_and_becomes_a_run(run: Run, tmp_path: Path) -> None:
    layer = worst(run)
    remedy = asked(run, tmp_path, layer=layer, number=number_of(run, layer, "8-bit"), words="8")
    record = remedy.study.record()
    assert record is not None, remedy.study.message
    assert record["run"] == "cured"
    assert record["steps"][0]["kept"]
    before, after = record["proof"]["weights_db"]
    assert after > before + 20  # five bits more
    assert record["proof"]["damage"][1] < record["proof"]["damage"][0]
    assert record["after"]["bytes"] > record["before"]["bytes"]
    cured = Run(tmp_path / "cured")
    assert cured.state == "done"
    assert [each.weights for each in cured.recipe.overrides] == [8]
    assert remedy.story()["proof"] == record["proof"]


def test_an_automatic_cure_keeps_to_its_budget(run: Run, tmp_path: Path) -> None:
    size = Whys(run.directory).layers()[worst(run)]["bytes"]
    remedy = asked(run, tmp_path, within=0.0, budget=size)
    record = remedy.study.record()
    assert record is not None, remedy.study.message
    assert record["proof"] is None
    assert all(step["after"]["bytes"] <= size for step in record["steps"])
    assert record["end"]


def test_what_is_not_known_is_refused_in_one_sentence(run: Run, tmp_path: Path) -> None:
    found = Whys(run.directory).layers()[worst(run)]
    with pytest.raises(RecipeError, match=f"'{worst(run)}' has {len(found['cures'])} of them"):
        proposal_of(run.recipe, found, 99)
    remedy = asked(run, tmp_path, layer="nothing", number=1)
    assert remedy.study.state == "failed"
    assert "'nothing' are not known yet" in remedy.study.message
    assert not (tmp_path / "cured").exists()


def test_what_another_version_asked_is_read_as_far_as_known(tmp_path: Path) -> None:
    remedy = Remedy(tmp_path)
    remedy.ask(Asked("run", "out", {}))
    write_json(tmp_path / "asked.json", {"run": "a", "out": "b", "extent": {}, "old": 1})
    assert remedy.asked == Asked("a", "b", {})
    write_json(tmp_path / "asked.json", {"run": "a"})
    with pytest.raises(RunError, match="ask for the cure again"):
        _ = remedy.asked


@pytest.mark.slow
def test_in_a_process_of_its_own(run: Run) -> None:
    study = Study(run.directory, "causes").start(memory_gib=8, seconds=120)
    assert study.wait(120) == "done", study.message
