"""This computer: what its processor does to 8-bit sums, and which target follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings, study
from workbench.views.numbers import fixed

Record = Mapping[str, Any]

MEASURE = {"kind": "measure", "study": "machine"}
VNNI = {
    True: "VNNI or dot products: yes. Products of 8-bit numbers are summed in 32 bits, so 8-bit"
    " weights can use their full range.",
    False: "VNNI: no. Kernels sum pairs of 8-bit products in 16 bits, which saturate where weights"
    " use more than 7 bits.",
    None: "VNNI: the system does not say. The self-test shows how 8-bit sums behave.",
}


def part(processor: Record, vnni: bool | None, record: Record | None) -> dict[str, Any]:
    """The part of this computer.

    Args:
        processor: facts, of `Processor.record()`; vnni: what they say of 8-bit sums.
        record: of the self-test's `Diagnosis`, or None where it was not run.
    """
    test = study.action(
        "Run the self-test again" if record else "Run the self-test",
        MEASURE,
        "About ten seconds: int8 kernels against exact ones and against float",
        primary=not record,
    )
    if not record:
        empty = "The self-test runs a convolution and a matrix product on this processor."
        return study.part(VNNI[vnni], notes=[_name(processor)], actions=[test], message=empty)
    target = str(record["target"])
    use = study.action(f"Use target {target}", {"kind": "target", "target": target}, primary=True)
    return study.part(
        str(record["advice"][0]),
        tone="warn" if record["saturates"] else "good",
        notes=[*map(str, record["advice"][1:]), VNNI[vnni], _name(record["processor"])],
        tables=[_tests(record)],
        actions=[use, test],
    )


def status(vnni: bool | None, record: Record | None) -> str:
    """In a few words."""
    if record:
        return "int8 sums saturate" if record["saturates"] else "int8 sums are right"
    return {True: "VNNI: yes", False: "VNNI: no", None: "VNNI: unknown"}[vnni]


def _name(processor: Record) -> str:
    found = [name for name, has in processor["features"].items() if has]
    features = ", ".join(name.replace("_", " ") for name in found) or "no 8-bit features known"
    name = processor["model"] or processor["architecture"]
    return f"{name}, {strings.plural(processor['cores'], 'core')}; {features}."


def _tests(record: Record) -> dict[str, Any]:
    off, took = "wrong outputs", "time of one call"
    columns = (
        study.column("operator"),
        study.column("size"),
        study.column("int8", "number", "share more than a step off, default kernels", "", off),
        study.column("int8 exact", "number", "the same with exact kernels", "", off),
        study.column("float", "number", "median of one call", "ms", took),
        study.column("int8", "number", "default kernels", "ms", took),
        study.column("int8 exact", "number", "exact kernels", "ms", took),
        study.column("int8 speed", "number", "how many times as fast as float"),
    )
    rows = [_test(test) for test in record["tests"]]
    title = f"Self-test, ONNX Runtime {record['runtime']}"
    return study.table(columns, rows, title=title)


def _test(test: Record) -> dict[str, Any]:
    cells = [
        test["name"],
        test["size"],
        _off(test["off"], test["steps"]),
        _off(test["exact_off"], test["exact_steps"]),
        fixed(test["float_ms"], 2),
        fixed(test["int8_ms"], 2),
        fixed(test["exact_ms"], 2),
        f"{fixed(test['speedup'], 2)} ×",
    ]
    return study.row(cells, "warn" if test["saturates"] else "plain")


def _off(share: float, steps: int) -> str:
    return f"{100 * share:.0f} %, by {strings.plural(steps, 'step')}" if share else "none"
