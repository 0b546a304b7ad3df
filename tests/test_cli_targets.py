"""`workbench targets`: what becomes of each node, without learning anything."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from workbench.cli import main
from workbench.cli.console import output
from workbench.graph.targets import TARGETS

MODEL = "digits-mobilenet"


@pytest.fixture
def call(capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """(exit code, standard output, standard error) of the command."""
    monkeypatch.setattr(output, "width", 200)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["targets", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_without_a_model_it_lists_the_targets(call) -> None:
    code, text, _ = call("--json")
    assert code == 0
    assert [record["name"] for record in json.loads(text)] == list(TARGETS)
    assert "Integer accelerator" in call()[1]


def test_with_a_model_it_tells_nodes_apart(call) -> None:
    code, output, errors = call(MODEL, "--json")
    assert code == 0, errors
    record = json.loads(output)
    assert record["integer_macs"] == 1
    assert record["rows"][0]["weight_bits"] == 7
    shown = call(MODEL)[1]
    assert "44 of 46 nodes" in shown
    assert "no integer kernel for ReduceMean" in shown


def test_overrides_show_in_the_table(call) -> None:
    code, output, _ = call(MODEL, "--override", "op:Gemm=0", "--override", "op:Add=/0", "--json")
    assert code == 0
    rows = json.loads(output)["rows"]
    assert {row["why"] for row in rows if row["op"] == "Gemm"} == {
        "switched off by override 'op:Gemm'"
    }
    assert {row["arithmetic"] for row in rows if row["op"] == "Add"} == {"float"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((MODEL, "--target", "tpu"), "unknown target 'tpu'; known are: ort-cpu"),
        ((MODEL, "--target", "tensorrt", "--weights", "3"), "runs weights of 8 bits, not 3"),
        ((MODEL, "--override", "nowhere=8"), "'nowhere' matches no layer or tensor"),
        ((MODEL, "--override", "head=8/x"), "--override was 'head=8/x'"),
        ((MODEL, "--table", "nf4", "--weights", "4", "--activations", "8"), "levels of 'nf4'"),
    ],
)
def test_what_is_wrong_is_one_sentence(call, arguments, sentence) -> None:
    code, _, errors = call(*arguments)
    assert code == 2
    assert sentence in " ".join(errors.split())
