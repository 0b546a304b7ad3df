"""Plans: values that can be stored, read and refused."""

from __future__ import annotations

import pytest

from workbench.foundation.errors import RecipeError
from workbench.methods.plan import Learnable, Plan, Schedule, SignalUse
from workbench.methods.reconstruction import Reconstruction
from workbench.methods.registry import METHODS, make

ROWS = [entry.name for entry in METHODS if issubclass(entry.make, Reconstruction)]
EXPECTED = {
    "adaround", "adaquant", "autoround", "brecq", "flexround", "mrecg", "omniquant", "pd_quant",
    "qdrop", "reconstruct",
}  # fmt: skip


def plan_of(name: str, **options: object) -> Plan:
    method = make(name, options)
    assert isinstance(method, Reconstruction)
    return method.plan()


def test_every_row_is_there() -> None:
    assert set(ROWS) >= EXPECTED


@pytest.mark.parametrize("name", ROWS)
def test_rows_survive_toml_and_json(name: str) -> None:
    plan = plan_of(name)
    assert Plan.from_toml(plan.toml()) == plan
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_rows_differ_where_the_papers_do() -> None:
    assert plan_of("adaround").scope == "layer"
    assert plan_of("qdrop").inputs == "mixed"
    assert plan_of("qdrop").keep == 0.5
    assert plan_of("autoround").schedule.optimiser == "sign"
    assert plan_of("autoround", iterations=50).rates()["rounding"].learning_rate == 1 / 50
    assert plan_of("brecq", signal="fisher").needs("importance")
    assert not plan_of("brecq").needs("importance")
    assert plan_of("pd_quant").signals[-1].weight == 10
    assert plan_of("mrecg").merge == "capacity"


def test_adaround_can_be_remixed_with_fisher_on_blocks() -> None:
    plan = plan_of("reconstruct", signal="fisher", scope="block", inputs="quantized")
    assert [use.name for use in plan.signals] == ["fisher", "rounding_regulariser"]
    assert {learnable.name for learnable in plan.learnables} == {"rounding", "activation_scale"}
    free = plan_of("reconstruct", learner="adaquant", bias_learning_rate=1e-3)
    roles = {learnable.name for learnable in free.learnables}
    assert roles == {"weights", "weight_scale", "activation_scale", "bias"}
    assert [use.name for use in free.signals] == ["output_error"]


def test_what_cannot_be_is_refused_with_the_cure() -> None:
    rounding = {"name": "rounding", "learning_rate": 0.1}
    error = {"name": "output_error"}
    with pytest.raises(RecipeError, match="no rounding to learn; choose among: autoround, flexr"):
        Plan.parse({"quantizer": "clipping", "learnables": [rounding], "signals": [error]}, "plan")
    with pytest.raises(RecipeError, match="give each once"):
        Plan.parse({"learnables": [rounding, rounding], "signals": [error]}, "plan")
    with pytest.raises(RecipeError, match="unknown signal 'output_eror'; did you mean"):
        SignalUse(name="output_eror")
    with pytest.raises(RecipeError, match="signal 'output_error' has no option 'power'"):
        SignalUse(name="output_error", options={"power": 3})
    with pytest.raises(RecipeError, match="'kurtosis' is one for the training of a whole network"):
        Plan.parse({"learnables": [rounding], "signals": [error, {"name": "kurtosis"}]}, "plan")
    with pytest.raises(RecipeError, match="the plan is not TOML"):
        Plan.from_toml("scope = ")
    with pytest.raises(RecipeError, match="'uniform' learns nothing here"):
        make("reconstruct", {"learner": "uniform"})


def test_plans_are_frozen() -> None:
    plan = Plan(
        learnables=(Learnable(name="rounding", learning_rate=0.1),),
        signals=(SignalUse(name="output_error"),),
        schedule=Schedule(iterations=3),
    )
    with pytest.raises(ValueError, match="frozen"):
        plan.scope = "block"
