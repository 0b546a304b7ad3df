"""From the records in `benchmarks/results` to Markdown.

    python -m benchmarks.tables [FOLDER] [--out FILE]

What has records gets a section: accuracy (a table for each model), tools side by side, cost curves,
and what else `make bench` measures. Each section says how it was measured, where and when.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy import SETTINGS
from benchmarks.curves import exponent
from benchmarks.keeping import RESULTS, recorded

Record = dict[str, Any]

HEAD = """<!-- Written by `python -m benchmarks.tables --out docs/benchmarks.md`. -->
# Benchmarks

`make bench` measures a quick form of these tables; the command that a section names measures the
whole. Records are kept in `benchmarks/results`, and what stands there is not measured again.
An empty cell has not been measured.
"""
ACCURACY = """## Accuracy: `python -m benchmarks.accuracy`

Held-out examples judge the simulation. W4A8 is 4-bit weights (per channel; g32 is groups of 32) and
8-bit activations; W4 leaves activations in float. *Edges* are the bits of the first and last layer,
or `same` as the others; where activations stay in float they are always the same. A cell is the
mean over the seeds, ± half the distance of the extremes where there are several, and the seconds of
processor time of one run. A method without chance in it has no spread.
"""
PEERS = """## Side by side: `python -m benchmarks.peers`

EfficientNet-Lite0, the same 100 pictures to calibrate and 400 to judge for each tool, each case in
a process of its own. All layers alike, weights per channel and symmetric; W4 leaves activations in
float. Top-1 in percent; loading and judging are not in the times.
"""
CURVES = """## Cost curves: `python -m benchmarks.curves`

A cell is seconds of processor time (one thread), and the most MiB that learning adds to a process
that already holds libraries, model and data. p is the exponent of cost ~ size^p, fitted over the
upper half of the sizes. Weights and activations have 4 bits, the first and last layer 8. Several
seeds give a mean, and a spread of ± half the distance of the extremes. Processor time rises when
other work shares the cores (a load average beyond their number); memory does not.
"""
CIFAR = """## ResNet-20, CIFAR-10: `python -m benchmarks.cifar.qat --environments DIR`

Training with the quantizer in the loop: the same float weights, batches and number of steps for
each tool, AdamW on the labels (`lsq + kd`: and on the float model's logits), one seed, so no spread
is known. In the workbench and in Brevitas the picture, the first and the last layer and what each
residual sum adds have 8 bits, and what convolutions read has the bits of the setting (in the
workbench by the transform `split_shortcuts`). The workbench puts norms behind its convolutions for
four fifths of the steps; Brevitas keeps the batch norms of the network. A cell is top-1 in percent
of the simulation, in brackets its difference to float in points, and behind a stroke top-1 of the
file in ONNX Runtime. torchao refuses convolutions ("does not have QAT support"), so in its row all
of them are float: it is no W4A4.

Not alike: behind the first shortcut that pads, sums are float in the workbench, since a padding has
no integer kernel in ONNX Runtime; in Brevitas they have 8 bits. Rates, where none was given: at 4
bits the best of three for `lsq` and for Brevitas, found with courses of 20 steps, by 1,000 training
pictures that were not trained on; at 2 bits the one that was so found for Brevitas, for both; other
methods take those of `lsq`, and 3 bits those of 4. An empty cell was not measured. So few steps
tell how far each comes, no more.
"""
#: method -> points lost at 4, 3 and 2 bits, as its authors say; others gave none that was found
PUBLISHED = {"apot": (0.51, 0.47, 2.00)}
PUBLISHED_SOURCE = """
*Published*: APoT loses 0.51, 0.47 and 2.00 points at W4A4, W3A3 and W2A2, from 92.96 in float, by
the table in the README of github.com/yhhhli/APoT_Quantization, with the training there. No source
with this network was at hand for LSQ, PACT and DoReFa. Some hundred steps do not compare with this.
"""
CIFAR_BITS = (4, 3, 2)
AXES = {
    "images": "Calibration images (digits-mobilenet)",
    "layers": "Layers (convolutions 3 x 3 of 32 channels, 64 images of 8 x 8)",
    "channels": "Channels (four convolutions 3 x 3, 64 images of 4 x 4)",
}
#: file -> its title: tables whose rows are records as they are
PLAIN = {
    "efficientnet": "EfficientNet-Lite0: weights per channel, edges the same, activations float",
    "speed": "Forward passes of the built graph against the eager model, batch 16",
    "openings": "Opening a file",
}
NOT_SHOWN = ("machine", "date", "load")


def page(folder: Path = RESULTS) -> str:
    """The Markdown of all records below a folder."""
    kinds = {"accuracy": accuracy, "peers": peers, "curves": curves, "cifar": cifar}
    found = {name: list(recorded(folder / f"{name}.jsonl")) for name in (*kinds, *PLAIN)}
    lines = [HEAD]
    for name, records in found.items():
        if records:
            lines += kinds[name](records) if name in kinds else plain(PLAIN[name], records)
    return "\n".join(lines) + "\n"


def accuracy(records: Sequence[Record]) -> Iterator[str]:
    """A table for each model: a row for each method, a column for each setting."""
    yield ACCURACY
    yield provenance(records)
    for model, own in _by("model", records).items():
        yield from _scores(model, own)


def peers(records: Sequence[Record]) -> Iterator[str]:
    """A row for each tool and case; a tool that failed says why."""
    yield PEERS
    yield provenance(records)
    columns = ("seconds", "cpu_seconds", "peak_gib", "simulation", "onnxruntime")
    yield from _head("tool", "case", "seconds", "CPU s", "peak GiB", *columns[3:], "remark")
    for record in records:
        cells = (_number(record.get(name)) for name in columns)
        yield _row(record["tool"], record["case"], *cells, _remark(record))
    yield ""


def curves(records: Sequence[Record]) -> Iterator[str]:
    """A table for each axis: a row for each method, a column for each size."""
    yield CURVES
    yield provenance(records)
    for axis, own in _by("axis", records).items():
        sizes = sorted({record["size"] for record in own})
        yield f"### {AXES[axis]}\n"
        yield from _head("method", *map(str, sizes), "p of time", "p of memory")
        for method, found in _by("method", own).items():
            at = _by("size", found)
            cells = (_cost(at.get(size, [])) for size in sizes)
            powers = (_power(at, name) for name in ("cpu_seconds", "learning_mib"))
            yield _row(_with_options(method, found), *cells, *powers)
        yield ""


def cifar(records: Sequence[Record]) -> Iterator[str]:
    """A table for each budget: a row for each tool and method, a column for each setting."""
    yield CIFAR
    yield provenance(records)
    tested = [record for record in records if record["judged"] == "test"]
    for budget in dict.fromkeys(map(_budget, tested)):
        own = [record for record in tested if _budget(record) == budget]
        reference = next((r["float"] for r in own if "float" in r), None)
        yield f"### {budget}: {_number(reference)} in float\n"
        columns = [f"W{bits}A{bits}" for bits in CIFAR_BITS]
        yield from _head("tool", "method", "rates", *columns, "CPU s", "published")
        for tool, method in dict.fromkeys((r["tool"], r["method"]) for r in own):
            row = {r["bits"]: r for r in own if (r["tool"], r["method"]) == (tool, method)}
            cells = (_trained(row.get(bits), reference) for bits in CIFAR_BITS)
            yield _row(_versioned(tool, row), method, _rates(row), *cells, *_costs(method, row))
        yield ""
    yield PUBLISHED_SOURCE


def plain(title: str, records: Sequence[Record]) -> Iterator[str]:
    """A row for each record."""
    columns = [name for name in records[0] if name not in NOT_SHOWN]
    yield f"## {title}: `python -m benchmarks`\n"
    yield provenance(records)
    yield from _head(*columns)
    for record in records:
        yield _row(*(_number(record.get(name)) for name in columns))
    yield ""


def provenance(records: Iterable[Record]) -> str:
    """Machines and days of some records; threads and load where they say so."""
    records = list(records)
    machines = sorted(
        {record.get("machine", "a machine that is not recorded") for record in records}
    )
    days = sorted({record["date"] for record in records if "date" in record})
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "on a day not recorded"
    threads = sorted({record["threads"] for record in records if "threads" in record})
    used = f"; threads: {', '.join(map(str, threads))}" if threads else ""
    loads = [record["load"] for record in records if "load" in record]
    busy = f"; load average {min(loads):g} to {max(loads):g}" if loads else ""
    return f"Measured {when} on {'; '.join(machines)}{used}{busy}.\n"


# --- cells ----------------------------------------------------------------------------------------


def _scores(model: str, records: Sequence[Record]) -> Iterator[str]:
    settings = [name for name in SETTINGS if any(r["setting"] == name for r in records)]
    scored = next((r for r in records if "float" in r), {})
    metric, reference = scored.get("metric", "score"), scored.get("float", float("nan"))
    yield f"### {model}: {metric}, {reference:.4g} in float\n"
    yield from _head("method", "edges", "seeds", *settings)
    for method, edges in sorted({(r["method"], r["edges"]) for r in records}):
        own = [r for r in records if (r["method"], r["edges"]) == (method, edges)]
        at = _by("setting", own)
        seeds = len({r["seed"] for r in own})
        yield _row(method, edges, str(seeds), *(_score(at.get(name, [])) for name in settings))
    yield ""
    for reason in sorted({r["error"] for r in records if "error" in r}):
        yield f"- refused: {_safe(reason)}"
    yield ""


def _score(records: Sequence[Record]) -> str:
    if not records:
        return ""
    found = [r for r in records if "score" in r]
    if not found:
        return "refused"
    score = _mean([r["score"] for r in found], lambda value: f"{value:.4g}")
    return f"{score} ({mean(r['cpu_seconds'] for r in found):.1f} s)"


def _budget(record: Record) -> str:
    steps = record["epochs"] * -(-record["pictures"] // record["batch"])
    epochs = f"{record['epochs']} epoch" + "s" * (record["epochs"] > 1)
    return (
        f"{record['pictures']:,} pictures, {epochs}, batch {record['batch']}"
        f" ({steps} steps), judged on {record['tested']:,}"
    )


def _trained(record: Record | None, reference: float | None) -> str:
    if record is None:
        return ""
    if "learned" not in record:
        return "failed"
    lost = "" if reference is None else f" ({record['learned'] - reference:+.2f})"
    file = f" / {record['onnxruntime']:.2f}" if "onnxruntime" in record else ""
    return f"{record['learned']:.2f}{lost}{file}"


def _versioned(tool: str, row: Mapping[int, Record]) -> str:
    versions = {record["version"] for record in row.values() if "version" in record}
    return " ".join([tool, *sorted(versions)])


def _rates(row: Mapping[int, Record]) -> str:
    rates = [f"{row[bits]['rate']:g}" for bits in CIFAR_BITS if bits in row]
    return " ".join(dict.fromkeys(rates))


def _costs(method: str, row: Mapping[int, Record]) -> tuple[str, str]:
    seconds = [record["cpu_seconds"] for record in row.values() if "cpu_seconds" in record]
    lost = PUBLISHED.get(method)
    published = "" if lost is None else ", ".join(f"{-points:+.2f}" for points in lost)
    return (f"{mean(seconds):.0f}" if seconds else ""), published


def _cost(records: Sequence[Record]) -> str:
    if not records:
        return ""
    seconds = _mean([r["cpu_seconds"] for r in records], lambda value: f"{value:.3g}")
    memory = _mean([r["learning_mib"] for r in records], lambda value: f"{value:.0f}")
    return f"{seconds} s, {memory} MiB"


def _mean(values: Sequence[float], text: Callable[[float], str]) -> str:
    """The mean, and where there are several values their spread."""
    spread = f" ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else ""
    return text(mean(values)) + spread


def _power(at: Mapping[int, Sequence[Record]], cost: str) -> str:
    found = exponent({size: mean(r[cost] for r in own) for size, own in at.items()})
    return "" if found is None else f"{found:.2f}"


def _with_options(method: str, records: Sequence[Record]) -> str:
    options = ", ".join(f"{value} {name}" for name, value in records[0]["options"].items())
    return f"{method} ({options})" if options else method


def _remark(record: Record) -> str:
    if "unfinished_after" in record:
        return f"unfinished after {record['unfinished_after']} s"
    return _safe(record.get("error", ""))


def _by(name: str, records: Iterable[Record]) -> dict[Any, list[Record]]:
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        groups[record[name]].append(record)
    return groups


def _head(*columns: str) -> Iterator[str]:
    yield _row(*columns)
    yield "|---" * len(columns) + "|"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _safe(str(value))


def _safe(text: str) -> str:
    """Text that does not break a cell."""
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Parse, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.tables", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS)
    parser.add_argument("--out", type=Path, help="a file instead of standard output")
    given = parser.parse_args()
    text = page(given.folder)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
