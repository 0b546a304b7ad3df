"""Sites and layers of a session, estimated, measured, and found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workbench
from workbench.session.execute import Extent
from workbench.session.studies import Study


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "diagnosis"


def test_estimate_then_measure(tiny: workbench.Session, own_cache: Path) -> None:
    found = tiny.site_errors(2, 8, edges=None, examples=32)
    assert found.record["spearman"] == {"held_out": None, "calibration": None}
    assert not own_cache.exists()
    measured = tiny.site_errors(2, 8, edges=None, examples=32, exact=True)
    assert measured.record["spearman"]["held_out"]["sites"]["alone"] > 0
    for split in ("held_out", "calibration"):
        assert measured.record["quantized"][split]["kl"] > 0
        for site in measured.sites:
            assert site[split]["estimate"]["kl"] >= 0
            assert site[split]["exact"]["alone"]["score"] is not None
    (kept,) = own_cache.iterdir()
    size = kept.stat().st_size
    again = tiny.site_errors(
        2, 8, edges=None, examples=32
    )  # what is known is shown beside the estimate
    assert again.record == measured.record
    assert kept.stat().st_size == size
    json.dumps(measured.record)


def test_layers_and_channels(tiny: workbench.Session) -> None:
    found = tiny.site_errors(2, 8, edges=None, examples=16)
    assert [layer["bits_weights"] for layer in found.layers] == [2, 2]
    assert found.guilty[0] in [layer["layer"] for layer in found.layers]
    weight = next(site for site in found.sites if site["kind"] == "weight")
    assert weight["floor_db"] > 100 > weight["sqnr_db"]
    channels = found.channels(weight["site"])
    assert sum(channel["damage_share"] for channel in channels) == pytest.approx(1)
    assert len(found.weights(weight["site"], channel=1, count=4)) == 4
    assert {"site", "held_out.estimate.kl"} <= set(found.table.columns)


def test_text_is_judged_by_what_follows() -> None:
    session = workbench.open("bytegpt")
    inputs, labels = next(session.data.judged("test", 2, 2))
    assert labels is not None
    assert (labels[:, :-1] == inputs[0][:, 1:]).all()
    assert (labels[:, -1] == -100).all()


def test_a_run_is_measured_as_it_was_learned(tiny: workbench.Session, tmp_path: Path) -> None:
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    run = tiny.quantize(2, 8, "rtn", edges=None, out=tmp_path / "run", extent=extent)
    study = Study(run.directory, "errors")
    study.make()
    record = study.record()
    assert record is not None, study.message
    assert all(site["held_out"]["exact"] for site in record["sites"])
    assert [layer["bits_weights"] for layer in record["layers"]] == [2, 2]
