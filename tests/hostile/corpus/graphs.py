"""Graphs, tensors and names that are wrong, greedy or odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.corpus.case import case
from tests.hostile.corpus.models import field, matmul, model, save, weight


@case("open", "waits for its own output")
def cycle(folder: Path) -> Path:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return save(model([*nodes, helper.make_node("Relu", ["b"], ["y"])]), folder)


@case("open", "waits for its own output")
def node_that_reads_itself(folder: Path) -> Path:
    return save(model([helper.make_node("Add", ["x", "y"], ["y"], name="self")]), folder)


@case("open", "cannot be read as a graph|cycle")
def cycle_through_a_subgraph(folder: Path) -> Path:
    out = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    inner = helper.make_graph([helper.make_node("Relu", ["later"], ["z"])], "i", [], out)
    flag = numpy_helper.from_array(np.array(True), "flag")
    fork = helper.make_node("If", ["flag"], ["h"], then_branch=inner, else_branch=inner)
    nodes = [fork, helper.make_node("Relu", ["h"], ["later"])]
    return save(model([*nodes, helper.make_node("Relu", ["later"], ["y"])], [flag]), folder)


@case("open", "reads 'w', which nothing makes")
def missing_initializer(folder: Path) -> Path:
    return save(model(weights=[]), folder)


@case("open", "two initializers of .* are called 'w'")
def initializer_twice(folder: Path) -> Path:
    return save(model(weights=[weight(), weight()]), folder)


@case("open", "two nodes of .* make the value 'y'")
def value_twice(folder: Path) -> Path:
    return save(model([helper.make_node("Relu", ["x"], ["y"])] * 2), folder)


@case("open", "two inputs of .* are called 'x'")
def input_twice(folder: Path) -> Path:
    proto = model()
    proto.graph.input.append(proto.graph.input[0])
    return save(proto, folder)


@case("open", "without a name")
def nameless_input(folder: Path) -> Path:
    proto = model()
    proto.graph.input.add().name = ""
    return save(proto, folder)


@case("open", None)
def node_names_twice(folder: Path) -> Path:
    nodes = [matmul("x", "w", "h", "twin"), helper.make_node("Relu", ["h"], ["y"], name="twin")]
    return save(model(nodes), folder)


@case("open", None)
def two_thousand_nodes(folder: Path) -> Path:
    nodes = [helper.make_node("Relu", [f"v{k}"], [f"v{k + 1}"]) for k in range(2000)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    return save(model(nodes), folder)


@case("open", "above the limits of '200000'")
def too_many_nodes(folder: Path) -> Path:
    node = helper.make_node("Relu", ["x"], [""]).SerializeToString()
    return save(model().SerializeToString() + field(7, field(1, node) * 200_001), folder)


@case("open", "call each other in a ring")
def functions_in_a_ring(folder: Path) -> Path:
    return save(_calling({"F": ["G"], "G": ["F"]}), folder)


@case("open", "nodes once its functions are written out")
def a_billion_laughs(folder: Path) -> Path:
    calls = {f"F{k}": [f"F{k + 1}"] * 10 for k in range(9)}
    return save(_calling({"F": ["F0"], **calls, "F9": []}), folder)


def _calling(calls: dict[str, list[str]]) -> onnx.ModelProto:
    """Functions that call others one after the other, and end in a Relu."""
    proto = model([helper.make_node("F", ["x"], ["y"], domain="d")], [], {"": 21, "d": 1})
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]
    for name, others in calls.items():
        steps = [(other, "d") for other in others] or [("Relu", "")]
        body = [
            helper.make_node(op, [f"v{k}"], [f"v{k + 1}"], domain=domain)
            for k, (op, domain) in enumerate(steps)
        ]
        last = f"v{len(steps)}"
        proto.functions.append(helper.make_function("d", name, ["v0"], [last], body, imports))
    return proto


@case("open", "has '3' inputs, and takes '2' to '2'")
def too_many_inputs(folder: Path) -> Path:
    node = helper.make_node("MatMul", ["x", "w", "w"], ["y"], name="m")
    return save(model([node]), folder)


@case("open", "lacks its input 'B'")
def absent_input(folder: Path) -> Path:
    return save(model([helper.make_node("MatMul", ["x", ""], ["y"], name="m")]), folder)


@case("open", "lacks the attribute 'to'")
def absent_attribute(folder: Path) -> Path:
    return save(model([helper.make_node("Cast", ["x"], ["y"], name="c")]), folder)


@case("open", "has the attribute 'axis' of type 'STRING'")
def attribute_of_another_type(folder: Path) -> Path:
    return save(model([helper.make_node("Softmax", ["x"], ["y"], axis="1")]), folder)


@case("open", "above the limit of '1048576'")
def long_string_attribute(folder: Path) -> Path:
    node = helper.make_node("Relu", ["x"], ["y"], name="r")
    node.attribute.append(helper.make_attribute("mode", "x" * (1 << 21)))
    return save(model([node]), folder)


@case("open", "'Frobnicate'")
def unknown_operator(folder: Path) -> Path:
    return save(model([helper.make_node("Frobnicate", ["x"], ["y"], name="odd")]), folder)


@case("open", "uses opset '99'")
def opset_of_the_future(folder: Path) -> Path:
    return save(model(opsets={"": 99}), folder)


@case("open", None)
def endless_loop(folder: Path) -> Path:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[n, 3] x) => (float[n, 3] y)'
        " <int64 trips = {4611686018427387904}, bool go = {1}> { y = Loop (trips, go, x) <body ="
        " b (int64 i, bool c, float[n, 3] s) => (bool d, float[n, 3] t)"
        " { d = Identity (c) t = Relu (s) }> }"
    )
    return save(proto, folder)


GREEDY = {
    "range": "{ r = Range (zero, huge, one) s = ReduceSum <keepdims = 0> (r) "
    "c = Cast <to = 1> (s) y = Add (x, c) }",
    "expand": "{ e = Expand (w, size) s = ReduceSum <keepdims = 0> (e) y = Add (x, s) }",
    "fill": "{ e = ConstantOfShape (size) s = ReduceSum <keepdims = 0> (e) y = Add (x, s) }",
    "tile": "{ e = Tile (w, size) s = ReduceSum <keepdims = 0> (e) y = Add (x, s) }",
}

for _name, _body in GREEDY.items():

    @case("open", None, f"constant-that-needs-terabytes-{_name}")
    def _greedy(folder: Path, body: str = _body) -> Path:
        head = '<ir_version: 10, opset_import: ["" : 21]> g (float[n, 3] x) => (float[n, 3] y)'
        known = (
            "<int64 zero = {0}, int64 one = {1}, int64 huge = {1000000000000},"
            " int64[2] size = {1000000, 1000000}, float[1, 1] w = {1.0}>"
        )
        return save(onnx.parser.parse_model(f"{head} {known} {body}"), folder)


# --- tensors --------------------------------------------------------------------------------------

WRONG_DIMS = ([1 << 20, 1 << 20], [-3, -3], [1] * 40, [3, 4], [], [1 << 62, 0], [3] * 100_000)

for _number, _dims in enumerate(WRONG_DIMS):

    @case("open", "has the shape|does not hold the", f"wrong-dims-{_number}")
    def _wrong_dims(folder: Path, dims: list[int] = _dims) -> Path:
        proto = model()
        proto.graph.initializer[0].dims[:] = dims
        return save(proto, folder)


for _kind in (0, 8, 26, 99):

    @case("open", "has element type|does not hold", f"element-type-{_kind}")
    def _wrong_type(folder: Path, kind: int = _kind) -> Path:
        proto = model()
        proto.graph.initializer[0].data_type = kind
        return save(proto, folder)


@case("open", "does not hold the '9' values")
def data_in_the_wrong_field(folder: Path) -> Path:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3])
    tensor.int32_data.extend(range(9))
    return save(model(weights=[tensor]), folder)


@case("open", "does not hold the '9' values")
def data_in_two_fields(folder: Path) -> Path:
    tensor = weight()
    tensor.float_data.extend([1.0] * 9)
    return save(model(weights=[tensor]), folder)


@case("open", "sparse tensors; store the weights densely")
def sparse_initializer(folder: Path) -> Path:
    proto = model()
    proto.graph.sparse_initializer.add().dims.append(3)
    return save(proto, folder)


@case("open", None)
def weights_not_finite(folder: Path) -> Path:
    return save(model(weights=[weight(value=float("nan"))]), folder)


@case("open", "of type|type")
def input_of_strings(folder: Path) -> Path:
    proto = model([helper.make_node("Identity", ["x"], ["y"])], [])
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.STRING
    return save(proto, folder)


@case("open", None)
def input_of_negative_size(folder: Path) -> Path:
    proto = model()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    return save(proto, folder)


# --- names ----------------------------------------------------------------------------------------


@case("open", "not UTF-8 text")
def name_that_is_no_text(folder: Path) -> Path:
    proto = model().SerializeToString()
    return save(proto.replace(b"matmul", b"mat\xff\xfel"), folder)


@case("open", "above the limit of '65536'")
def name_far_too_long(folder: Path) -> Path:
    return save(model([matmul("x", "w", "y", "n" * 100_000)]), folder)


NAMES = (
    "<img src=x onerror=alert(1)>",
    "${7*7}",
    "{{7*7}}",
    "</script><script>alert(1)</script>",
    "a\nb\r\tc",
    "\x1b[31mred\x07\x7f",
    "nul\0byte",
    "../../etc/passwd",
    "__class__",
    "forward",
    "x'); raise SystemExit(",
    "[bold]rich[/]",
    "重み \u202e\u2028 \U0001f600",
    "n" * 10_000,
    " ",
)

for _number, _name in enumerate(NAMES):

    @case("open", None, f"name-{_number}")
    def _odd_name(folder: Path, name: str = _name) -> Path:
        nodes = [
            matmul("x", f"{name}.weight", f"{name}.out", name),
            helper.make_node("Relu", [f"{name}.out"], ["y"], name=f"{name}!"),
        ]
        return save(model(nodes, [weight(f"{name}.weight")]), folder)
