"""Each cause where it is known to be, and the network as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.analysis.causes.branching import branching
from tests.methods.nets import examples, network
from workbench.analysis.causes.case import Examined, Ranges
from workbench.analysis.causes.examine import examine
from workbench.analysis.causes.finding import Finding
from workbench.analysis.causes.registry import CAUSES
from workbench.analysis.damage import Answer
from workbench.foundation.errors import RecipeError
from workbench.graph import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.base import Task
from workbench.methods.registry import make

HELD_OUT = examples(seed=3, count=32)


def examined(
    weights: WeightGrid,
    activations: ActivationGrid | None = None,
    calibration: Tensor | None = None,
    place: str = "ort-cpu-vnni",
    calibrator: str = "minmax",
    graph: Graph | None = None,
    oscillating: dict[str, float] | None = None,
) -> Examined:
    """Rounded to nearest, by default over the extremes of each tensor."""
    graph, seen = graph or network(), examples() if calibration is None else calibration
    model = QuantizedGraph(graph, target(place).sites(graph, weights, activations, edges=None))
    options = {"weight_calibrator": calibrator, "calibrator": calibrator}
    for _ in make("rtn", options).learn(model, Task(lambda: iter([(seen,)]), len(seen))):
        pass
    ranges = Ranges(calibrator, calibrator)
    data = [(HELD_OUT,)], [(seen,)]
    return Examined(model.eval(), *data, Answer.of(graph), ranges, oscillating)


def found(network: Examined, site: str, cause: str) -> Finding:
    """What one cause says of one site, established or not."""
    case = network.case(site)
    (unit,) = case.units
    seen = CAUSES[cause].make(case, unit)
    assert seen is not None
    return seen


def names(network: Examined, site: str) -> list[str]:
    return [finding.cause for finding in examine(network.case(site))]


def test_unequal_channels_on_one_scale() -> None:
    network = examined(WeightGrid(bits=4, granularity="tensor"), None, None, "weight-only")
    first = examine(network.case("depth.w"))[0]
    assert first.cause == "channel-scales"
    assert first.after_db > first.before_db + 3
    assert first.evidence["channels"] == 8
    assert first.cures[0].edit == {"weights": {"granularity": "channel"}}
    assert first.cures[0].damage == first.after


def test_the_network_is_left_as_it_was() -> None:
    network = examined(WeightGrid(bits=4, granularity="tensor"), ActivationGrid(bits=4))
    before = network.damage(network.everything)
    kinds = {name: network.model.quantizer(name) for name in network.model.sites}
    for place in network.places:
        examine(network.case(place))
    assert network.damage(network.everything) == before
    assert all(network.model.quantizer(name) is kind for name, kind in kinds.items())


def test_one_example_and_other_data() -> None:
    one = examples()
    one[7] *= 60
    first = examine(examined(WeightGrid(bits=8), ActivationGrid(bits=6), one).case("x"))[0]
    assert (first.cause, first.evidence["example"]) == ("one-sample", 7)
    other = examined(WeightGrid(bits=8), ActivationGrid(bits=6), 40 * examples())
    assert names(other, "x")[0] == "calibration-data"
    same = examined(WeightGrid(bits=8), ActivationGrid(bits=6))
    assert not {"one-sample", "calibration-data"} & set(names(same, "x"))


def test_one_value_that_no_other_reaches() -> None:
    spiked = examples()
    spiked[:, 0, 0, 0] = 500.0
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=6), spiked)
    held_out = HELD_OUT.clone()
    held_out[0, 0, 0, 0] = 500.0
    network = Examined(
        network.model, [(held_out,)], network.calibration, network.answer, network.ranges
    )
    assert found(network, "x", "outlier-value").evidence["count"] == 1
    assert names(network, "x")[0] == "outlier-value"


def test_codes_for_values_that_do_not_occur() -> None:
    signed = examined(WeightGrid(bits=8), ActivationGrid(bits=4, symmetric=True))
    seen = found(signed, "depth.relu", "zero-point")
    assert seen.after_db == pytest.approx(seen.before_db + 6, abs=2)
    assert seen.cures[0].edit == {"activations": {"symmetric": False}}


def test_too_few_bits_where_no_range_helps() -> None:
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=4), calibrator="l2")
    seen = found(network, "stem.relu", "few-bits")
    assert seen.after_db == pytest.approx(seen.before_db + 6, abs=2)
    assert seen.cures[0].edit["override"]["activations"] == 5


def test_shape_behind_a_gelu() -> None:
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=4))
    seen = found(network, "gelu", "shape")
    assert seen.evidence == {"operator": "GELU"}
    assert seen.before > 0
    assert seen.cures[0].edit == {"prepend": "ptq4vit"}


def test_errors_that_arrive() -> None:
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=3))
    case = network.case("head")
    unit = next(unit for unit in case.units if unit.site.kind == "weight")
    seen = CAUSES["upstream"].make(case, unit)
    assert seen is not None
    assert seen.after_db > seen.before_db
    assert seen.after < seen.before


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(RecipeError, match="'depht'"):
        examined(WeightGrid(bits=8)).case("depht")


def test_every_cause_says_where_and_what() -> None:
    for entry in CAUSES:
        assert entry.title
        assert entry.description
        assert entry.facts["where"]
        assert entry.facts["changes"]
    assert len({entry.facts["order"] for entry in CAUSES}) == len(CAUSES.names())


def test_a_scale_for_each_channel_covers_each() -> None:
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=4))
    seen = found(network, "depth.relu", "outlier-channel")
    assert seen.after_db > seen.before_db
    assert torch.tensor(seen.evidence["carriers"]).max() < seen.evidence["channels"]


def test_weights_that_learned_the_calibration_data() -> None:
    network = examined(WeightGrid(bits=4))
    assert "over-fitted" not in names(network, "head.w")
    with torch.no_grad():  # as if learning had moved them away
        network.model.weight("head.w").mul_(1.5)
    moved = Examined(
        network.model, [(HELD_OUT,)], network.calibration, network.answer, network.ranges
    )
    assert names(moved, "head.w")[0] == "over-fitted"


def test_branches_of_a_sum_that_differ_in_size() -> None:
    grids = WeightGrid(bits=8), ActivationGrid(bits=5)
    seen = examine(examined(*grids, graph=branching("Add")).case("met"))[0]
    assert seen.cause == "branches"
    assert seen.after < 0.2 * seen.before
    assert seen.evidence["reach"]["loud"] > 20 * seen.evidence["reach"]["quiet"]
    assert seen.cures[0].edit["override"]["activations"] == 8
    assert "branches" not in names(examined(*grids, graph=branching("Add", times=1.0)), "met")


@pytest.mark.parametrize("site", ["quiet", "loud"])
def test_branches_that_a_concat_gives_one_scale(site: str) -> None:
    grids = WeightGrid(bits=8), ActivationGrid(bits=8)
    network = examined(*grids, place="npu-int", graph=branching("Concat"))
    assert {"quiet", "loud"} <= {name for name, s in network.model.sites.items() if s.shares} | {
        s.shares for s in network.model.sites.values()
    }
    seen = found(network, site, "branches")
    assert seen.established
    assert seen.after < 0.2 * seen.before
    apart = examined(*grids, graph=branching("Concat"))  # where each tensor has its own scale
    case = apart.case(site)
    assert CAUSES["branches"].make(case, case.units[0]) is None


def test_a_bias_that_fills_its_bits() -> None:
    network = examined(WeightGrid(bits=8), ActivationGrid(bits=8), graph=branching(bias=1e6))
    first = examine(network.case("head"))[0]
    assert first.cause == "integer-bias"
    assert first.evidence == {"full": 5, "lost": 0}
    assert first.after < 0.5 * first.before
    assert first.cures[0].edit["override"]["activations"] == 0
    usual = examined(WeightGrid(bits=8), ActivationGrid(bits=8), graph=branching(bias=1.0))
    assert "integer-bias" not in names(usual, "head")


def test_weights_that_swung_to_the_end() -> None:
    grids, graph = (WeightGrid(bits=3), ActivationGrid(bits=8)), branching(times=1.0)
    network = examined(*grids, graph=graph, oscillating={"quiet.w": 0.5})
    first = examine(network.case("quiet.w"))[0]
    assert first.cause == "oscillating"
    assert first.evidence == {"share": 0.5}
    assert {"options": {"freeze": 0.01}} in [cure.edit for cure in first.cures]
    assert "oscillating" not in names(examined(*grids, graph=graph), "quiet.w")
