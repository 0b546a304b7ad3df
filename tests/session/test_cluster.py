"""Sweeps on Ray: the same command, the same results."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import workbench
from workbench.cli import main
from workbench.foundation.errors import RunError
from workbench.session import cluster
from workbench.session.execute import Extent
from workbench.session.runs import Run, all_runs
from workbench.session.sweep import build

FAST = Extent(layers=False, verify=False, latency=False)
GRID = {"weights": [2, 4], "method": ["rtn", "gram"]}
BASE = {"recipe": workbench.Recipe(edges=None)}


def test_folders_and_files_travel(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one.txt").write_text("1")
    (tmp_path / "a" / "two.txt").write_text("2")
    cluster.unpack(cluster.pack(tmp_path / "a"), tmp_path / "c")
    cluster.unpack(cluster.pack(tmp_path / "a" / "two.txt"), tmp_path / "d" / "two.txt")
    assert (tmp_path / "c" / "b" / "one.txt").read_text() == "1"
    assert (tmp_path / "d" / "two.txt").read_text() == "2"
    assert cluster.fingerprint(tmp_path / "a") == cluster.fingerprint(tmp_path / "c")
    assert list(cluster.pack(tmp_path / "a", frozenset({"one.txt"}))) == ["b/one.txt"]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(RunError, match="pip install 'quantization-workbench"):
        cluster.Cluster("127.0.0.1:1")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers with a processor each, on the loopback only."""
    home = str(Path(workbench.__file__).resolve().parents[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # takes 127.0.0.1 as it is
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", home)
        pytest.importorskip("ray", reason="Ray is not installed: make ray")
        found = started()
        yield found.address
        found.shutdown()


def started(attempts: int = 3):
    """The cluster; Ray gives a node 30 s to start, which a busy machine may not keep."""
    Cluster = import_module("ray.cluster_utils").Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    found = Cluster()
    try:
        found.add_node(**node, include_dashboard=False)
        found.add_node(**node)
    except Exception as error:
        found.shutdown()
        if attempts == 1 or "timed out" not in str(error):
            raise
        return started(attempts - 1)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_results_as_here(
    tiny, tiny_path, tiny_npz, address, tmp_path, monkeypatch, capsys
):
    asked = [str(tiny_path), "--data", str(tiny_npz), "--fast", "--recipe", "base.toml", "--json"]
    asked += [f"--grid={key}={','.join(map(str, values))}" for key, values in GRID.items()]
    BASE["recipe"].save("base.toml")
    assert main(["sweep", *asked, "--engine", "ray", "--address", address]) == 0
    there = json.loads(capsys.readouterr().out)["results"]
    assert len(all_runs()) == 4
    assert {row["state"] for row in there} == {"done"}
    assert all(Run(row["directory"]).report()["model"]["origin"]["value"] == str(tiny_path)
               for row in there)  # fmt: skip
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "here"))
    assert main(["sweep", *asked, "--workers", "1"]) == 0
    here = json.loads(capsys.readouterr().out)["results"]
    own = ("directory", "seconds")
    plain = [[{k: v for k, v in row.items() if k not in own} for row in rows]
             for rows in (here, there)]  # fmt: skip
    assert plain[0] == plain[1]
    exported = [Run(row["directory"]).files.model.read_bytes() for row in (here[0], there[0])]
    assert exported[0] == exported[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_is_replaced(tiny, address):
    """Its process is killed while it learns; the run is begun again."""
    recipe = workbench.Recipe(
        edges=None, stages=({"method": "adaround", "options": {"iterations": 4000}},)
    )
    sweep = build(tiny, {"weights": [3]}, {"recipe": recipe}, FAST)
    engine = cluster.Cluster(address)
    import psutil

    def kill() -> bool:
        for process in psutil.process_iter(["cmdline"]):
            if "ray::make_remotely" in " ".join(process.info["cmdline"] or ()):
                os.kill(process.pid, signal.SIGKILL)
                return True
        return False

    killed = []

    def watch(place) -> None:
        if not killed and kill():
            killed.append(time.monotonic())

    (row,) = sweep.run(engine, watch).records
    assert killed
    assert row["state"] == "done", row["message"]
