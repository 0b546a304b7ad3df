"""The report of several runs: it opens from disk without a network; its numbers are `--json`'s."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import workbench
from workbench.cli import main
from workbench.session.curing import Treatment
from workbench.session.execute import Extent
from workbench.views import cured, papers, report
from workbench.views.numbers import fixed, signed

EXTENT = Extent(latency=False, layer_examples=32, verify_examples=32)


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with three runs, and their names."""
    import onnx

    folder = tmp_path_factory.mktemp("report")
    onnx.save(examples.network(), folder / "tiny.onnx")
    rng = np.random.default_rng(1)
    images = rng.standard_normal((96, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", image=images, labels=np.arange(96) % 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_RUNS", str(folder / "runs"))
        session = workbench.open(folder / "tiny.onnx", data=folder / "data.npz")
        runs = [
            session.quantize(bits, 8, method, edges=None, extent=EXTENT)
            for bits, method in ((8, "rtn"), (2, "rtn"), (2, "gram"))
        ]
    return folder, [str(run.directory) for run in runs]


@pytest.mark.browser
def test_numbers_on_the_page_equal_json(made, page, watch, capsys, tmp_path: Path):
    folder, runs = made
    out = tmp_path / "report.html"
    assert main(["report", *runs, "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    page.context.set_offline(True)
    page.goto(out.as_uri())
    assert json.loads(page.locator("#record").text_content()) == record
    assert str(folder) not in out.read_text(), "a path of this machine"

    rows = page.locator("#runs tbody tr")
    assert rows.count() == 3
    shown = rows.nth(2).locator("td").all_inner_texts()
    learned = record["runs"][2]["report"]["scores"]["learned"]
    assert f"{fixed(learned['sqnr_db'])} dB" in shown
    assert fixed(learned["score"]) in shown

    scores = {row["key"]: row for row in record["comparison"]["scores"]}
    cells = page.locator("#comparison tr", has_text="SQNR dB").locator("td").all_inner_texts()
    values, deltas = scores["sqnr_db"]["values"], scores["sqnr_db"]["deltas"]
    assert cells == [
        "SQNR dB", fixed(values[0]),
        fixed(values[1]), signed(deltas[1]), fixed(values[2]), signed(deltas[2]),
    ]  # fmt: skip

    for index in (1, 2, 0):
        rows.nth(index).click()
        layers = record["runs"][index]["report"]["layers"]
        for layer in layers:
            row = page.locator(f"#layers .wb-row[data-name='{layer['layer']}']")
            assert row.locator("span").last.inner_text() == fixed(layer["alone_weights_db"])
        file = record["runs"][index]["report"]["scores"]["onnxruntime"]["score"]
        assert f"{fixed(file)} %" in page.locator("#scores").inner_text()
    watch.assert_clean()


@pytest.fixture
def treated(made, tmp_path: Path) -> Path:
    """A run that a cure made."""
    folder, _ = made
    session = workbench.open(folder / "tiny.onnx", data=folder / "data.npz")
    recipe = session.recipe(2, 8, "rtn", edges=None, calibration_examples=32)
    treatment = Treatment(session, recipe, examples=32)
    found = treatment.causes()
    for proposal in found.proposals[:2]:
        treatment.apply(proposal, found.layer)
    treatment.end = "two cures were tried"
    return treatment.write(tmp_path / "cured", EXTENT).directory


@pytest.mark.browser
def test_the_story_of_a_cure_is_told(treated: Path, page, watch, capsys, tmp_path: Path):
    out = tmp_path / "report.html"
    assert main(["report", str(treated), "--out", str(out), "--json"]) == 0
    story = json.loads(capsys.readouterr().out)["runs"][0]["report"]["cured"]
    assert len(story["steps"]) == 2
    page.goto(out.as_uri())
    expect(page.locator("#cured .wb-sentence")).to_contain_text("two cures were tried")
    rows = page.locator("#cured tbody tr")
    for row, step in zip(rows.all(), story["steps"], strict=True):
        expect(row).to_contain_text(step["sentence"])
        expect(row).to_contain_text("kept" if step["kept"] else "dropped")
        expect(row).to_contain_text(f"→ {fixed(step['after']['score'])} %")
    flat = cured.rows(story)
    assert [row["kl_after"] for row in flat] == [s["after"]["kl"] for s in story["steps"]]
    watch.assert_clean()


def test_nothing_is_told_where_nothing_was_cured():
    assert cured.cured(None) is None
    assert cured.cured({"steps": []}) is None
    assert cured.rows(None) == []


@pytest.mark.browser
def test_files_behind_pictures_hold_the_numbers(made, page, watch, capsys, tmp_path: Path):
    _, runs = made
    out = tmp_path / "report.html"
    assert main(["report", *runs[:2], "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    page.context.set_offline(True)
    page.goto(out.as_uri())

    def saved(section: str, kind: str) -> bytes:
        with page.expect_download() as waiting:
            page.locator(f"#{section} .wb-files").get_by_text(kind, exact=True).click()
        return Path(waiting.value.path()).read_bytes()

    layers = record["runs"][0]["report"]["layers"]
    assert json.loads(saved("layers", "JSON")) == layers
    table = list(csv.DictReader(io.StringIO(saved("layers", "CSV").decode())))
    assert [float(row["accumulated_db"]) for row in table] == [
        layer["accumulated_db"] for layer in layers
    ]
    assert b"<svg" in saved("layers", "SVG")
    assert saved("layers", "PDF").startswith(b"%PDF")
    bins = json.loads(saved("inspector", "JSON"))
    current = page.locator("#inspector .wb-crumb .wb-name").get_attribute("title")
    found = record["runs"][0]["report"]["histograms"]
    counts = {site: sum(r["counts"]) for site, r in found.items() if r["layer"] == current}
    assert {
        site: sum(row["count"] for row in bins if row["site"] == site) for site in counts
    } == counts
    compared = json.loads(saved("comparison", "JSON"))
    assert len(compared) == len(record["comparison"]["layers"])
    assert saved("runs", "SVG").startswith(b"<?xml")
    watch.assert_clean()


def test_papers_are_written_to_a_folder(made, capsys, tmp_path: Path):
    _, runs = made
    figures = tmp_path / "figures"
    out = tmp_path / "report.html"
    assert main(["report", *runs[:2], "--out", str(out), "--figures", str(figures)]) == 0
    assert "wrote" in capsys.readouterr().out
    kinds = {path.suffix for path in figures.iterdir()}
    assert kinds == {".csv", ".json", ".svg", ".pdf"}
    run = workbench.Run(runs[0])
    rows = json.loads((figures / f"{run.name}-scores.json").read_text())
    assert {row["candidate"]: row["score"] for row in rows} == {
        name: found["score"] for name, found in run.scores.items()
    }


def test_csv_holds_what_it_was_given():
    rows = [{"layer": "=cmd()", "shape": [3, 1], "db": 1.5}, {"layer": 'a,"b"', "flips": None}]
    found = list(csv.DictReader(io.StringIO(papers.csv_text(rows))))
    assert found[0] == {"layer": "'=cmd()", "shape": "[3,1]", "db": "1.5", "flips": ""}
    assert found[1]["layer"] == 'a,"b"'


@pytest.mark.browser
def test_the_browser_writes_the_same_csv(page):
    from workbench.views.assets import script

    rows = [
        {"layer": "=cmd()", "shape": [3, 1], "db": 1.5},
        {"layer": 'a,"b"', "flips": None},
        {"layer": "-x", "db": -2},
    ]
    page.goto("about:blank")
    page.add_script_tag(content=script("files"))
    found = csv.DictReader(io.StringIO(page.evaluate("(rows) => csvText(rows)", rows)))
    assert list(found) == list(csv.DictReader(io.StringIO(papers.csv_text(rows))))


def test_one_run_needs_no_comparison(examples):
    record = {"runs": [{"name": "r", "report": examples.report(), "events": []}]}
    found = report.views({**record, "comparison": None})
    assert found["comparison"] is None
    assert len(found["runs"]) == 1
