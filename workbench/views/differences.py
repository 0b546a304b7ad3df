"""Verification tensor by tensor, in quantization steps, and the cures with what each costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings, study
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

MODES = {
    ("off", "default"): ("as written", "optimisations off: what the nodes say"),
    ("on", "default"): ("optimised", "optimisations on: as users run it"),
    ("on", "exact"): ("exact", "optimisations on, exact integer kernels"),
}
MEASURE = {"kind": "measure", "study": "prices"}


def part(record: Record | None) -> dict[str, Any]:
    """The part of a run's verification; with prices where they were measured.

    Args:
        record: of a `Verification`, or None where nothing was verified.
    """
    if not record:
        return study.part(message=strings.VERIFY_EMPTY)
    tables = [_cures(record)] if record.get("price") else []
    tables += [_tensors(record)] if _sites(record) else [_floats(record)]
    words = "Measure again" if record.get("price") else "Measure cures and prices"
    tip = "Runs the file as it is, tries each cure of the cause, and times them beside float"
    return study.part(
        str(record["sentence"]),
        tone="good" if record.get("ok") else "bad",
        notes=_notes(record),
        tables=tables,
        actions=[study.action(words, MEASURE, tip)],
    )


def status(record: Record | None) -> str:
    """In a few words."""
    return str(record["verdict"]) if record else "not exported"


def _notes(record: Record) -> list[str]:
    first = record.get("first_departure")
    cure = record.get("cure")
    suspects = record.get("suspects") or ()
    notes = [f"First departure: {first}."] if first else []
    notes += [f"Cure: {cure}."] if cure else []
    notes += (
        [f"Cause established at {strings.plural(len(suspects), 'tensor')}."] if suspects else []
    )
    if record.get("price") and not record.get("cures"):
        notes.append("Nothing to cure: the file was only timed.")
    return [*notes, *map(str, record.get("notes") or ())]


def _sites(record: Record) -> list[str]:
    """Names of the tensors that were compared in steps."""
    modes = record.get("modes") or ()
    return [row["name"] for row in modes[0].get("sites") or ()] if modes else []


def _tensors(record: Record) -> dict[str, Any]:
    """A row for each tensor: largest difference and shares, for each way to run the file."""
    modes = record["modes"]
    found = [{row["name"]: row for row in mode["sites"]} for mode in modes]
    causes = {suspect["tensor"]: suspect["cause"] for suspect in record.get("suspects") or ()}
    columns = [study.column("tensor", "name")]
    for mode in modes:
        words, tip = MODES.get((mode["optimisations"], mode["kernels"]), ("other", ""))
        columns += [
            study.column("most", "number", f"largest difference; {tip}", "steps", words),
            study.column("> ½", "number", f"share of codes that differ; {tip}", "", words),
            study.column("> 1½", "number", f"by two steps or more; {tip}", "", words),
        ]
    if causes:
        columns.append(study.column("cause", "note", "established by experiment"))
    rows = [_tensor(name, [rows.get(name) for rows in found], causes) for name in _sites(record)]
    return study.table(columns, rows, title="Steps by tensor", filters=(("off", "that differ"),))


def _tensor(name: str, found: Sequence[Record | None], causes: Mapping[str, str]) -> dict[str, Any]:
    cells: list[Any] = [name]
    for site in found:
        if site is None:
            cells += ["–", "–", "–"]
            continue
        half, more = float(site["share_over_half"]), float(site["share_over_one_and_half"])
        cells += [str(site["max_steps"]), percent(half), percent(more)]
    cells += [causes.get(name, "")] if causes else []
    off = any(site is not None and site["max_steps"] > 0 for site in found)
    far = any(site is not None and site["share_over_one_and_half"] > 0 for site in found)
    return study.row(cells, "warn" if far else "plain", ["off"] if off else [])


def _floats(record: Record) -> dict[str, Any]:
    """Where activations stay float: the outputs' relative difference."""
    modes = record.get("modes") or ()
    rows = [
        study.row([row["name"], _mode(mode)[0], f"{row['relative']:.1g}"], tip=_mode(mode)[1])
        for mode in modes
        for row in mode.get("floats") or ()
    ]
    columns = (
        study.column("output", "name"),
        study.column("run"),
        study.column("difference", "number", "largest difference over largest value"),
    )
    return study.table(columns, rows, title="Outputs")


def _mode(mode: Record) -> tuple[str, str]:
    return MODES.get((mode["optimisations"], mode["kernels"]), ("other", ""))


def _cures(record: Record) -> dict[str, Any]:
    """The file as it is and each cure, as measured; a button where a cure writes a file."""
    columns = (
        study.column("cure"),
        study.column("score", "number", "share of labels met on these examples", "%"),
        study.column("as float", "number", "predictions equal to the float model's", "%"),
        study.column("SQNR", "number", "of the output against float", "dB"),
        study.column("time", "number", "one example, median", "ms"),
        study.column("× float", "number", "time over the float model's, measured by turns"),
        study.column("off", "number", "tensors that still depart"),
        study.column("", "action"),
    )
    rows = [study.row(["as it is", *_price(record["price"]), None])]
    rows += [_cure(cure) for cure in record.get("cures") or ()]
    price = record["price"]
    words = "Cures and their price" if record.get("cures") else "Price"
    title = f"{words}, {price['examples']} examples"
    return study.table(columns, rows, title=title)


def _cure(cure: Record) -> dict[str, Any]:
    words = str(cure["words"])
    write = None
    if cure["layers"]:
        message = {"kind": "cure", "cure": cure["name"]}
        write = study.action("Apply", message, f"Write a cured file: {words}")
    done = not cure["price"]["departing"]
    cells = [cure["name"], *_price(cure["price"]), write or "a setting"]
    return study.row(cells, "good" if done else "plain", tip=words)


def _price(price: Record) -> list[str]:
    score, agreement = number(price.get("score")), number(price.get("agreement"))
    ratio = float(price["latency_ms"]) / max(1e-9, float(price["float_latency_ms"]))
    return [
        fixed(None if score is None else 100 * score),
        fixed(None if agreement is None else 100 * agreement),
        fixed(number(price.get("sqnr_db"))),
        fixed(float(price["latency_ms"]), 2),
        fixed(ratio, 2),
        str(price["departing"]),
    ]


def percent(share: float) -> str:
    """`0`, `< 0.01 %` or `3.21 %`."""
    if share == 0:
        return "0"
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2f} %"
