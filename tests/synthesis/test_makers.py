"""Every data maker keeps the contract; and what is made is better than noise."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from tests.synthesis.nets import SIDE, convolutional, graph, language, pictures
from workbench.foundation.errors import DataError
from workbench.foundation.options import controls
from workbench.foundation.taxonomy import STRATEGIES, cells
from workbench.graph import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import capture
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.metrics import sqnr_db
from workbench.methods.base import Task
from workbench.methods.registry import make as make_method
from workbench.synthesis.base import Order, Step, joined
from workbench.synthesis.generated import reads_forwards
from workbench.synthesis.prior import Prior, Swing, swinging
from workbench.synthesis.registry import MAKERS, make
from workbench.synthesis.tokens import vocabulary

QUICK = {
    "zeroq": {"iterations": 20, "batch_size": 4},
    "genie": {"iterations": 5, "batch_size": 4, "width": 8},
    "gdfq": {"warm_up": 5, "batch_size": 4, "step_size": 4, "width": 8},
    "random": {"batch_size": 4},
    "generated": {"batch_size": 4},
}


@pytest.fixture(scope="module")
def images() -> Graph:
    return graph(convolutional())


@pytest.fixture(scope="module")
def tokens() -> Graph:
    return graph(language())


def made(name: str, order: Order, finished: int = 0, **options) -> list[tuple[Tensor, ...]]:
    steps = make(name, {**QUICK.get(name, {}), **options}).run(order, finished)
    return [step.batch for step in steps if step.batch is not None]


@pytest.mark.parametrize("entry", list(MAKERS), ids=lambda e: e.name)
class TestContract:
    @pytest.fixture
    def order(self, entry, images, tokens) -> Order:
        return Order(tokens if entry.name == "generated" else images, examples=6, seed=1)

    def test_says_what_it_is(self, entry):
        assert entry.title
        assert entry.description
        assert entry.citation
        assert set(entry.facts) >= {"signal", "learnables", "data", "cost", "use"}
        assert cells(entry.facts["cells"])
        assert entry.facts["strategy"] in STRATEGIES
        assert all(control.help for control in controls(entry.options))
        assert make(entry.name).options == entry.options()

    def test_makes_what_was_ordered(self, entry, order):
        batches = made(entry.name, order)
        assert [len(batch[0]) for batch in batches] == [4, 2]
        (x,) = joined(order, batches)
        assert x.shape == order.shape(order.graph.inputs[0], 6)
        assert x.dtype == order.graph.inputs[0].dtype
        assert not x.requires_grad
        assert len(torch.unique(x, dim=0)) == 6
        order.graph.module(x)

    def test_goes_on_behind_what_is_finished(self, entry, order):
        whole, rest = made(entry.name, order), made(entry.name, order, finished=1)
        assert torch.equal(whole[1][0], rest[0][0])

    def test_another_seed_makes_others(self, entry, order):
        other = Order(order.graph, order.examples, seed=2)
        assert not torch.equal(made(entry.name, order)[0][0], made(entry.name, other)[0][0])

    def test_leaves_global_chance_and_weights_alone(self, entry, order):
        before = {name: p.detach().clone() for name, p in order.graph.module.named_parameters()}
        torch.manual_seed(5)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        made(entry.name, order)
        assert torch.equal(torch.rand(3), wanted)
        for name, parameter in order.graph.module.named_parameters():
            assert torch.equal(parameter, before[name])
            assert parameter.grad is None

    def test_steps_lead_to_the_end(self, entry, order):
        steps = list(make(entry.name, QUICK[entry.name]).run(order))
        assert [step.step for step in steps] == sorted(step.step for step in steps)
        assert steps[-1].step == steps[-1].total


@pytest.mark.parametrize("name", ["zeroq", "genie"])
def test_statistics_come_nearer_than_those_of_noise(name, images):
    order = Order(images, examples=16)
    options = {"iterations": 100, "batch_size": 16, **({"width": 16} if name == "genie" else {})}
    (found,) = made(name, order, **options)[0]
    prior = Prior(order, each=False)
    noise = torch.randn(16, 1, SIDE, SIDE)
    with torch.no_grad():
        assert float(prior.loss(found)) < 0.35 * float(prior.loss(noise))


def test_made_pictures_calibrate_better_than_noise(images):
    def mean(name: str, **options) -> float:
        orders = (Order(images, examples=32, seed=seed) for seed in range(3))
        batches = (made(name, order, batch_size=32, **options)[0] for order in orders)
        return sum(quality(images, x) for (x,) in batches) / 3

    noise = mean("random")
    assert mean("zeroq", iterations=80) > noise + 1.5
    assert quality(images, pictures(32, seed=4)) > noise + 1.5


def quality(graph: Graph, x: Tensor) -> float:
    """SQNR of the logits of real pictures, 4 bits, calibrated on `x`."""
    place = target("ort-cpu")
    plan = place.plan(graph, WeightGrid(bits=4), ActivationGrid(bits=4), (), None)
    model = QuantizedGraph(graph, plan.sites).eval()
    task = Task(lambda: iter([(x,)]), len(x))
    for _ in make_method("rtn").learn(model, task):
        pass
    held = pictures(200, seed=9)
    with torch.no_grad():
        return sqnr_db(graph.module(held)[0], model(held)[0])


def test_pictures_may_differ_where_the_batch_has_the_statistics(images):
    def spread(statistics: str) -> float:
        """Of pooled features over the pictures, relative to their size."""
        options = {"iterations": 80, "batch_size": 16, "statistics": statistics}
        (x,) = made("zeroq", Order(images, examples=16), **options)[0]
        pooled = capture(images.module, [x], ["h"])["h"].detach()
        return float(pooled.std(0).norm() / pooled.mean(0).norm())

    assert spread("batch") > 3 * spread("each")


def test_pictures_stay_within_what_pixels_can_be(images):
    ends = torch.full((1, 1, 1), -0.6), torch.full((1, 1, 1), 1.75)
    for name in ("zeroq", "genie", "gdfq", "random"):
        (x,) = made(name, Order(images, examples=4, limits=ends))[0]
        assert float(x.min()) >= -0.6001
        assert float(x.max()) <= 1.7501


def test_a_norm_that_stayed_counts_too():
    found = graph(convolutional(leading=True))
    assert any(node.op_type == "BatchNormalization" for node in found.model.graph)
    made("zeroq", Order(found, examples=4))


def test_refusals_name_the_cure(images, tokens):
    bare = graph(convolutional())
    for node in bare.model.graph:
        for value in node.outputs:
            value.meta.pop("batch_norm", None)
    cases = [
        ("zeroq", bare, "ZeroQ needs the statistics of batch normalization, .* give data, or"),
        ("genie", tokens, "Genie-D makes one input of real numbers, but the model takes 'x'"),
        ("gdfq", bare, "GDFQ needs the statistics of batch normalization"),
        ("generated", images, "one input of tokens that predicts the next one"),
        ("generated", graph(language(forwards=False)), "reads the whole text at once"),
    ]
    for name, model, message in cases:
        with pytest.raises(DataError, match=message):
            make(name).check(Order(model, 4))


class TestGdfq:
    def steps(self, images: Graph, **options) -> list[Step]:
        chosen = {"warm_up": 0, "batch_size": 64, "step_size": 16, "width": 16, **options}
        return list(make("gdfq", chosen).run(Order(images, examples=40, seed=1)))

    def test_pictures_come_to_show_the_class_they_are_made_for(self, images):
        steps = self.steps(images, warm_up=100, learning_rate=5e-3)
        assert [step.step for step in steps] == list(range(1, 104))
        told = [step.values["classes"] for step in steps]
        assert sum(told[-20:]) < 0.9 * sum(told[:20])
        (last,) = [step for step in steps if step.batch is not None]
        assert last.batch is not None
        assert last.labels is not None
        assert last.labels.shape == (40,)
        assert set(last.labels.tolist()) <= set(range(4))
        seen = images.module(*last.batch)[0].argmax(1)
        assert float((seen == last.labels).float().mean()) > 0.4  # a quarter by chance

    def test_the_loss_is_of_classes_and_statistics(self, images):
        for step in self.steps(images, statistics=0.5):
            parts = step.values["classes"] + 0.5 * step.values["statistics"]
            assert step.values["loss"] == pytest.approx(parts, rel=1e-5)

    def test_only_classifiers_are_asked(self):
        model = convolutional()
        model.graph.outputs[0].shape = ir.Shape(["n", 4, 1])
        with pytest.raises(DataError, match=r"'logits' has the shape .*calibrate on 'genie'"):
            make("gdfq").check(Order(graph(model), 4))


def test_an_answer_comes_with_the_mismatch(images):
    prior, x = Prior(Order(images, 4), each=False), pictures(8)
    mismatch, logits = prior.answered(x)
    assert torch.equal(logits, images.module(x)[0])
    first = (prior.loss(x) - 2 * mismatch).detach()  # two norms, and the input itself
    assert 0 < float(first) < float(prior.loss(x).detach())


def test_open_sizes_are_asked_for():
    model = convolutional()
    model.graph.inputs[0].shape = ir.Shape(["n", 1, "height", "width"])
    opened = graph(model)
    with pytest.raises(DataError, match=r"'x' has the open shape .* state the size of pictures"):
        make("zeroq").check(Order(opened, 4))
    make("zeroq").check(Order(opened, 4, size=(SIDE, SIDE)))


class TestTexts:
    def test_the_table_tells_the_vocabulary(self, tokens, images):
        assert vocabulary(tokens, "x") == 11
        assert vocabulary(images, "x") is None
        (x,) = made("random", Order(tokens, examples=200), batch_size=200)[0]
        assert sorted(set(x.flatten().tolist())) == list(range(11))

    def test_who_reads_forwards(self, tokens):
        assert reads_forwards(tokens)
        assert not reads_forwards(graph(language(forwards=False)))

    def test_sure_tokens_are_the_likeliest(self, tokens):
        (x,) = made("generated", Order(tokens, examples=4), sure=3)[0]
        likeliest = tokens.module(x)[0].argmax(-1)
        assert torch.equal(x[:, 1:4], likeliest[:, :3])
        (all_sure,) = made("generated", Order(tokens, examples=4), sure=5)[0]
        assert torch.equal(all_sure[:, 1:], tokens.module(all_sure)[0].argmax(-1)[:, :-1])

    def test_own_texts_are_likelier_than_chance(self, tokens):
        def loss(x: Tensor) -> float:
            logits = tokens.module(x)[0][:, :-1].flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, x[:, 1:].flatten())
            return float(loss.detach())

        order = Order(tokens, examples=100)
        (own,) = made("generated", order, batch_size=100)[0]
        (chance,) = made("random", order, batch_size=100)[0]
        assert loss(own) < loss(chance) - 0.3


class TestSwing:
    def test_shifts_by_one_and_reflects(self):
        x = torch.arange(16.0).reshape(1, 1, 4, 4)
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        shifts = [padded[:, :, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
        swing = Swing(torch.Generator().manual_seed(0))
        seen = set()
        for _ in range(60):
            found = swing(x)
            (place,) = [k for k, shift in enumerate(shifts) if torch.equal(found, shift)]
            seen.add(place)
        assert seen == set(range(9))

    def test_only_strided_convolutions_swing(self, images):
        swung = swinging(images.module, torch.Generator().manual_seed(0))
        inserted = [node for node in swung.graph.nodes if node.op == "call_module"]
        assert [user.meta["onnx_node"] for node in inserted for user in node.users] == ["second"]
        x = pictures(4)
        found = {tuple(swung(x)[0].flatten().tolist()) for _ in range(20)}
        assert len(found) > 1
        assert tuple(images.module(x)[0].flatten().tolist()) in found
