"""The engine of a sweep beyond one machine: Ray (extra `ray`).

    ray start --head --node-ip-address=127.0.0.1        # and on others: ray start --address=...
    workbench sweep SWEEP.toml --engine ray --address 127.0.0.1:6379

A run's folder, its model and its data travel to a worker, and what came of it travels back into
the same folder, so no disk is shared. A machine that has the same data at the same path uses those.
What a worker needs is this package in the same version, samples and pretrained models by name, and
a teacher's file at the same path.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx_ir as ir

from workbench.foundation.errors import DataError, RunError, WorkbenchError
from workbench.foundation.positive import positive
from workbench.graph import load
from workbench.session.crew import Ending, left_to_make
from workbench.session.fingerprint import fingerprint
from workbench.session.runs import Run, Stopped, making
from workbench.session.store import RunFiles, read_json, write_bytes, write_json
from workbench.session.version import code

Packed = dict[str, tuple[bytes, int]]  # content and time of change (ns) by path

LOOPBACK = ("127.", "localhost", "[::1]")
#: files that a worker is given and does not change
_GIVEN = frozenset({"recipe.toml", "measured.safetensors", "source.onnx", "data.npz"})
_OWN = frozenset({"run.json", "pid.json", "report.json"})


@dataclass(frozen=True)
class Parcel:
    """What a worker is sent.

    Attributes:
        run: the files of a run's folder.
        about: its `run.json`.
        threads: of the arithmetic.
        model: a list with the reference of a file's model; empty where a name will do.
        data: a list with the reference of the data's files; empty where a name will do.
    """

    run: Packed
    about: dict[str, Any]
    threads: int
    model: list[Any]
    data: list[Any]


class Cluster:
    """Makes runs on the workers of a Ray cluster.

    Args:
        address: as Ray has it; empty for a cluster of this machine.
        threads: of each run.
        memory_gib: that Ray sets aside for each run; None for none.
        most: runs at a time; None for as many as there are processors.

    Raises:
        RunError: Ray is not installed, or does not answer at the address.
    """

    def __init__(
        self,
        address: str = "",
        threads: int = 1,
        memory_gib: float | None = None,
        most: int | None = None,
    ) -> None:
        self._threads = positive("threads", threads)
        self._ray = _connected(address)
        processors = int(self._ray.cluster_resources().get("CPU", 0)) // threads
        memory = {"memory": int(memory_gib * 2**30)} if memory_gib else {}
        options = {"num_cpus": threads, "max_retries": 0, **memory}
        self._remote = self._ray.remote(**options)(make_remotely)
        self._sent: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(most or max(1, processors), thread_name_prefix="ray")
        self._closed = False

    def submit(self, directory: Path) -> Future[Ending]:
        """Make the run in `directory` as soon as a worker is free."""
        return self._pool.submit(self._make, directory)

    def close(self) -> None:
        """Leave the cluster; what it was making is begun again another time."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._ray.shutdown()
        self._pool.shutdown()

    def _make(self, directory: Path) -> Ending:
        run = Run(directory)
        if not left_to_make(run, lambda: self._closed):
            return "ended"
        try:
            with suppress(WorkbenchError), making(run.files):
                self._ask(run)
        except Stopped:
            return "died"
        return "ended"

    def _ask(self, run: Run) -> None:
        faults = self._ray.exceptions
        try:
            self._fetch(run)
        except faults.RayTaskError as error:
            raise RunError(f"a worker failed: {error.cause!r}; see Ray's logs") from None
        except faults.RayError as error:
            raise Stopped from error  # the worker died, or the cluster was left

    def _fetch(self, run: Run) -> None:
        """Have the run made and put what came of it into its folder."""
        about, files = run.files.read_run(), run.files
        parcel = Parcel(
            pack(run.directory, _GIVEN), about, self._threads, self._model(about), self._data(about)
        )
        packed, message = self._ray.get(self._remote.remote(parcel))
        for name, (content, _) in packed.items():
            if name not in _OWN:
                write_bytes(files.directory / name, content)
        if message:
            raise RunError(message)
        with TemporaryDirectory() as folder:
            unpack({"report.json": packed["report.json"]}, Path(folder))
            report = read_json(Path(folder) / "report.json", "holds no report")
        report["model"]["origin"] = about["source"]  # not where the worker had it
        write_json(files.report, report)

    def _model(self, about: dict[str, Any]) -> list[Any]:
        if about["source"]["kind"] != "file":
            return []
        path = str(about["source"]["value"])
        return [self._once(path, lambda: {path: (_serialised(Path(path)), 0)})]

    def _data(self, about: dict[str, Any]) -> list[Any]:
        if about["data"].get("kind") != "path":
            return []
        path = Path(about["data"]["path"])
        return [self._once(str(path), lambda: pack(path))]

    def _once(self, path: str, content: Any) -> Any:
        """The reference of what was sent for a path, sent when first asked for."""
        if path not in self._sent:
            self._sent[path] = self._ray.put(content())
        return self._sent[path]


def make_remotely(parcel: Parcel) -> tuple[Packed, str]:
    """On a worker: make a run in a folder that goes away; its files, and why it failed."""
    import torch

    from workbench.session.worker import attempt

    ray = import_module("ray")

    torch.set_num_threads(parcel.threads)
    about = dict(parcel.about)
    if about["code"] != code():
        raise RunError("the worker has another version of the workbench; install the same there")
    with TemporaryDirectory() as name:
        files = RunFiles(Path(name) / "run")
        unpack(parcel.run, files.directory)
        if parcel.model:
            (content, _), *_ = ray.get(parcel.model[0]).values()
            (Path(name) / "model.onnx").write_bytes(content)
            about["source"] = {"kind": "file", "value": str(Path(name) / "model.onnx")}
        if parcel.data and not _same(about["data"]):
            place = Path(name) / "data" / Path(about["data"]["path"]).name
            unpack(ray.get(parcel.data[0]), place)
            about["data"] = {**about["data"], "path": str(place)}
        write_json(files.run, {**about, "state": "stopped"})
        attempt(files)
        ended = files.read_run()
        message = "" if ended["state"] == "done" else str(ended.get("message") or "it was stopped")
        return pack(files.directory), message


def pack(path: Path, names: frozenset[str] | None = None) -> Packed:
    """The files below a folder, or a file under the name ""; links are left out.

    Args:
        path: a folder or file.
        names: of the files that are wanted; None for all.
    """
    if path.is_file():
        return {"": (path.read_bytes(), path.stat().st_mtime_ns)}
    found = (p for p in sorted(path.rglob("*")) if p.is_file() and not p.is_symlink())
    return {
        p.relative_to(path).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in found
        if names is None or p.name in names
    }


def unpack(packed: Packed, path: Path) -> None:
    """The inverse of `pack`, with the times of change."""
    for name, (content, changed) in packed.items():
        place = path / name if name else path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        os.utime(place, ns=(changed, changed))


def _same(stored: dict[str, Any]) -> bool:
    """Whether this machine has the same data at the same path."""
    path = Path(stored["path"])
    try:
        return path.exists() and fingerprint(path) == stored.get("fingerprint")
    except DataError:
        return False


def _serialised(path: Path) -> bytes:
    return ir.to_proto(load(path)).SerializeToString(deterministic=True)


def _connected(address: str) -> Any:
    """The module, connected to a cluster."""
    if address.startswith(LOOPBACK):  # Ray would take this machine's outer address instead
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = import_module("ray")
    except ImportError:
        raise RunError(
            "Ray is not installed; install the extra: pip install 'quantization-workbench[ray]'"
        ) from None
    try:
        ray.init(address or "auto", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"no Ray cluster at '{address or 'auto'}' ({reason}); start one with: ray start --head"
        ) from None
    return ray
