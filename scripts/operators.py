"""The operator table: every node case of the ONNX project, run and counted.

python -m scripts.operators        counts in one line, and docs/operators.md anew
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper

from workbench.foundation.errors import OperatorError
from workbench.graph.build import assemble
from workbench.graph.load import _to_ir
from workbench.graph.ops import known, lookup
from workbench.graph.tensors import to_torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
OLDEST = 9  # the first opset whose operators are all promised

Operator = tuple[str, str]
Verdict = Literal["passed", "failed", "not supported"]

# Cases that fail or cannot be run, and why: a part of the case's name (which ends in $).
REASONS: dict[str, str] = {"training_dropout": "models are run in evaluation mode"}

# Operators whose result is drawn at random: shape and type are compared, moments in our own tests.
RANDOM = frozenset({"Bernoulli", "RandomNormalLike", "RandomUniformLike"})


# Operators whose further outputs only training asks for.
TRAINED = frozenset({"BatchNormalization"})


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    case: str
    operators: tuple[Operator, ...]
    verdict: Verdict
    reason: str = ""


def run_all() -> list[Outcome]:
    """Every node case, in the order of the ONNX project's list."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [outcome(case) for case in cases()]


@functools.cache
def cases() -> tuple[Any, ...]:
    """The ONNX project's node cases; those without a model have no single graph to run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    return tuple(case for case in found if case.model is not None)


def outcome(case: Any) -> Outcome:
    """Run one case; a failure that is explained in `REASONS` bears that reason."""
    about = case.name, _operators_of(case)
    missing = sorted(set(_used(case.model.graph)) - _table())
    if missing:
        domain, name = missing[0]
        return Outcome(*about, "not supported", f"needs {domain or 'ai.onnx'}:{name}")
    try:
        _run(case)
    except OperatorError as error:
        return Outcome(*about, "not supported", str(error).splitlines()[0])
    except Exception as error:  # noqa: BLE001 - every failure is listed
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return Outcome(*about, "failed", _explanation(case.name) or text)
    return Outcome(*about, "passed")


def _explanation(name: str) -> str | None:
    return next((why for part, why in REASONS.items() if part in f"{name}$"), None)


@functools.cache
def _table() -> set[Operator]:
    return set(known()) | {("", "Constant")}


def _used(graph: onnx.GraphProto) -> Iterator[Operator]:
    for node in graph.node:
        yield _operator(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _used(attribute.g)


def _operator(node: onnx.NodeProto) -> Operator:
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def _operators_of(case: Any) -> tuple[Operator, ...]:
    """What a case is about: the operators of its graph, or of the case whose expansion it is."""
    plain = _by_name().get(_unexpanded(case.name), case)
    found = dict.fromkeys(_operator(node) for node in plain.model.graph.node)
    return tuple(found.keys() - {("", "Constant")}) or tuple(found)


def _unexpanded(name: str) -> str:
    return name.split("_expanded", maxsplit=1)[0]


@functools.cache
def _by_name() -> dict[str, Any]:
    return {case.name: case for case in cases()}


def _run(case: Any) -> None:
    """Build the case's model, feed it, and compare with its outputs."""
    module, _ = assemble(_to_ir(case.model, Path(f"{case.name}.onnx")))
    random = any(node.op_type in RANDOM for node in case.model.graph.node)
    specs = case.model.graph.input
    for inputs, outputs in case.data_sets or ():
        given = [_value(value, spec.type) for value, spec in zip(inputs, specs, strict=False)]
        results = module(*given)
        for result, wanted in zip(results, outputs, strict=True):
            _compare(result, wanted, case, random)


def _value(value: Any, kind: onnx.TypeProto) -> Any:
    """A case's input as a tensor, a list of them, or None."""
    if kind.HasField("optional_type"):
        return None if value is None else _value(value, kind.optional_type.elem_type)
    if kind.HasField("sequence_type"):
        return [_value(element, kind.sequence_type.elem_type) for element in value]
    if isinstance(value, onnx.TensorProto):
        return to_torch(ir.from_proto(value))
    dtype = ir.DataType(kind.tensor_type.elem_type)
    return to_torch(ir.tensor(np.asarray(value), dtype=dtype))


def _compare(result: Any, wanted: Any, case: Any, random: bool) -> None:
    """Same shape, and equal within the case's own tolerance; half floats within their step."""
    if wanted is None:
        assert result is None
        return
    if isinstance(wanted, (list, tuple)):
        for one, other in zip(result, wanted, strict=True):
            _compare(one, other, case, random)
        return
    array = numpy_helper.to_array(wanted) if isinstance(wanted, onnx.TensorProto) else wanted
    array = np.asarray(array)
    assert tuple(result.shape) == array.shape, f"shape {tuple(result.shape)}, not {array.shape}"
    if random:
        return
    step = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(result.dtype, 1e-6)
    got = result.detach()
    if not got.is_complex():
        got, array = got.double(), array.astype(np.float64)
    rtol, atol = max(case.rtol, step), max(case.atol, step)
    np.testing.assert_allclose(got.numpy(), array, rtol=rtol, atol=atol)


@functools.cache
def versions(operator: Operator) -> list[int]:
    """The operator's versions that opsets 9 and later use, oldest first; none if not ONNX's own."""
    domain, name = operator
    history = (s for s in onnx.defs.get_all_schemas_with_history() if not s.deprecated)
    mine = sorted(
        {
            s.since_version
            for s in history
            if (s.domain, s.name) == (domain, name)
            if not s.deprecated
        }
    )
    older = [version for version in mine if version <= OLDEST]
    return older[-1:] + [version for version in mine if version > OLDEST]


def unread(operator: Operator, version: int) -> str | None:
    """What of an operator's definition at one version its meaning here does not take, or None."""
    domain, name = operator
    schema = onnx.defs.get_schema(name, version, domain)
    meaning = lookup(domain, name, version)
    names = meaning.parameters
    strange = sorted(set(schema.attributes) - set(names))
    if strange:
        return f"attribute '{strange[0]}'"
    kinds = [p.kind for p in names.values()]
    kind = next((p for p in kinds if p.name == "VAR_POSITIONAL"), None)
    positional = sum(p.name == "POSITIONAL_OR_KEYWORD" for p in kinds)
    several = "n_outputs" in names or schema.max_output == 1 or name in TRAINED
    if kind is None and schema.max_input > positional:
        return f"input {positional + 1}"
    return None if several else "its further outputs"


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/operators.md."""
    by_operator = _by_operator(outcomes)
    lines = [_HEAD.format(summary=summary(outcomes), newest=onnx.defs.onnx_opset_version())]
    lines += ["| operator | versions | passed | failed | not supported |", "|---|---|--:|--:|--:|"]
    own = [operator for operator in known() if versions(operator)]
    lines += [_row(operator, by_operator[operator]) for operator in own]
    lines += ["", *_microsoft(), "", *_not_passed(outcomes)]
    return "\n".join(lines) + "\n"


_HEAD = """<!-- Written by `make operators`. -->
# Operators

{summary}

A *case* is one of the node tests of the ONNX project (`onnx.backend.test`). A case counts for every
operator of its graph; where an operator is defined as a function, its expansion into other
operators is a second case. *Versions* are the ones that opsets 9 to {newest} use: each of them has
a meaning here that takes its inputs, attributes and outputs.

*Not supported* means refused when the model is built, with a reason that names the node.

## ai.onnx
"""


def _row(operator: Operator, outcomes: Sequence[Outcome]) -> str:
    covered = [str(v) for v in versions(operator) if unread(operator, v) is None]
    counts = [_count(outcomes, verdict) for verdict in ("passed", "failed", "not supported")]
    shown = [str(n) if n else "" for n in counts]
    return f"| {operator[1]} | {', '.join(covered)} | {' | '.join(shown)} |"


def _microsoft() -> list[str]:
    names = [operator[1] for operator in known() if not versions(operator)]
    return [
        "## com.microsoft",
        "",
        "ONNX Runtime's own operators have no cases; each is compared with ONNX Runtime itself in",
        "`tests/graph/test_fused.py`.",
        "",
        *(f"- {name}" for name in names),
    ]


def _not_passed(outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["## Cases that do not pass", "", "| reason | verdict | cases |", "|---|---|---|"]
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in outcomes:
        if one.verdict != "passed":
            groups[_shown(one.reason), one.verdict].append(one.case.removeprefix("test_"))
    for (reason, verdict), names in sorted(groups.items()):
        lines.append(f"| {reason} | {verdict} | {', '.join(names)} |")
    return lines


def _shown(reason: str) -> str:
    return reason.replace("|", "\\|")


def _by_operator(outcomes: Iterable[Outcome]) -> dict[Operator, list[Outcome]]:
    found: dict[Operator, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        for operator in one.operators:
            found[operator].append(one)
    return found


def _count(outcomes: Iterable[Outcome], verdict: Verdict) -> int:
    return sum(one.verdict == verdict for one in outcomes)


def covered(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The cases whose operators are in the table, their expansions included."""
    table = _table()
    return [one for one in outcomes if set(one.operators) <= table]


def summary(outcomes: Sequence[Outcome]) -> str:
    """The counts, in one line."""
    mine = covered(outcomes)
    passed = _count(mine, "passed")
    own = sum(1 for operator in known() if versions(operator))
    return (
        f"{own} operators of ai.onnx and {len(known()) - own} of com.microsoft; of {len(mine)} "
        f"cases {passed} pass ({100 * passed / len(mine):.1f} %), {_count(mine, 'failed')} fail, "
        f"{_count(mine, 'not supported')} are not supported; {len(outcomes) - len(mine)} cases "
        "concern other operators."
    )


def main() -> None:
    """Write the page and print the counts."""
    outcomes = run_all()
    PAGE.write_text(page(outcomes), encoding="utf-8")
    sys.stdout.write(summary(outcomes) + "\n")


if __name__ == "__main__":
    main()
