# %% [markdown]
# # Lesson 14: integers, and a file that can be trusted
#
# **You will be able to**
# - compute a layer in integers only, from codes to codes, and bound its accumulator;
# - replace the last floating-point number by a multiplication and a shift;
# - export a model to ONNX, compare runtime and simulation in *steps*, and explain a difference of
#   one;
# - say why a small file need not be a fast one.
#
# **You need**: lessons 1 and 2. **Time**: 60 minutes.
#
# So far quantization was *simulated*: fake quantization rounds, and then computes in float (lesson
# 1). Here is what a device computes instead, and how to make sure that it is the same.

# %%
import tempfile
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

import workbench
from workbench import course, demo, widgets
from workbench.graph.taps import capture
from workbench.maths.grid import Granularity, Grid, affine_range, dequantize, quantize
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. A layer in integers
#
# Put $x = s_x (q_x - z_x)$ and $w = s_w q_w$ (symmetric) into $y = \sum_j w_j x_j + b$, one output
# of a layer, and take the scales out (each output may have an $s_w$ of its own):
#
# $$ y = s_x s_w \underbrace{\Big( \sum_j q_{w,j}\, q_{x,j} \;-\; z_x \sum_j q_{w,j} \;+\; q_b
#    \Big)}_{\text{32-bit integers}}, \qquad q_b = \Big\lfloor \frac{b}{s_x s_w} \Big\rceil . $$
#
# The register that holds the sum in brackets is called the *accumulator*. The second sum does not
# depend on the input and is computed once. The bias has no scale of its own: it must be $s_x s_w$,
# or it could not be added to the accumulator (Jacob et al. 2018, arXiv:1712.05877).

# %%
session = workbench.open("digits-resnet")
W = session.model.get_parameter("head_weight").detach()  # (10, 64)
bias = session.model.get_parameter("head_bias").detach()
with torch.no_grad():
    X = capture(session.graph.module, session.data.split("test", 128), ["reshape"])["reshape"]

# `affine_range` gives the scale and the zero-point that lay a grid over a range, here a pair for
# the input, and one for each of the ten rows of the weight, that is per output; `quantize` gives codes
x_grid = Grid(8, signed=False, symmetric=False)
w_grid = Grid(8, granularity=Granularity("channel", 0))
s_x, z_x = affine_range(X.min(), X.max(), x_grid)
s_w, z_w = affine_range(W.amin(1), W.amax(1), w_grid)
q_x, q_w = quantize(X, s_x, z_x, x_grid).int(), quantize(W, s_w, z_w, w_grid).int()
q_b = (bias / (s_x * s_w)).round().int()

accumulator = q_x @ q_w.T - int(z_x) * q_w.sum(1, dtype=torch.int32) + q_b  # int32, (128, 10)
integers = accumulator * (s_x * s_w)

x_hat, w_hat = dequantize(q_x, s_x, z_x, x_grid), dequantize(q_w, s_w, z_w, w_grid)
simulated = x_hat @ w_hat.T + q_b * (s_x * s_w)
print(f"largest difference from the simulation {float((integers - simulated).abs().max()):.1e}")
assert accumulator.dtype == torch.int32
assert torch.allclose(integers, simulated, atol=1e-4)
agree = float((integers.argmax(1) == (X @ W.T + bias).argmax(1)).float().mean())
print(f"same answer as float: {100 * agree:.1f} %")
assert agree > 0.97

# %% [markdown]
# ## 2. How wide must the accumulator be?
#
# A product of an unsigned 8-bit and a signed 8-bit code is at most $255 \cdot 128 < 2^{15}$ in
# magnitude; the $K$ products of a layer with $K$ inputs add up to less than $2^{15} K$. So 32 bits
# (with a sign, up to $2^{31}$) hold sums of $2^{16}$ products. **Sixteen bits hold not even two**
# of the largest. Yet x86 processors without VNNI (instructions for 8-bit products, in newer ones)
# add pairs of such products in 16 bits, and *saturate*: what is too large becomes the largest
# number that fits. That is why the same file can give other answers on another computer, and why
# one then uses 7-bit weights: $2 \cdot 255 \cdot 64 < 2^{15}$.

# %%
largest = 255 * 128
assert largest < 2**15 <= 2 * largest, "two products may overflow 16 bits"
assert int(accumulator.abs().max()) < 2**31
needed = int(accumulator.abs().max()).bit_length() + 1
print(f"this layer's sums needed {needed} bits")

# %% [markdown]
# How much comes of it in a real layer? The demo adds as such a processor does, whatever computer it
# runs on:

# %%
demo.saturation()

# %% [markdown]
# ONNX Runtime has the same operation, `MatMulInteger`. Exact integers can be compared exactly.
# (With 7-bit weights, so that it holds on every processor.)

# %%
seven = Grid(7, granularity=Granularity("channel", 0))
q_7 = quantize(W, *affine_range(W.amin(1), W.amax(1), seven), seven).to(torch.int8)
node = helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])
graph = helper.make_graph(
    [node],
    "integers",
    [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 64])],
    [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 10])],
    [
        onnx.numpy_helper.from_array(q_7.T.contiguous().numpy(), "w"),
        onnx.numpy_helper.from_array(torch.tensor(int(z_x), dtype=torch.uint8).numpy(), "zero"),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
runtime = onnxruntime.InferenceSession(model.SerializeToString())
(theirs,) = runtime.run(None, {"x": q_x.to(torch.uint8).numpy()})
ours = (q_x - int(z_x)) @ q_7.int().T
assert torch.equal(torch.from_numpy(theirs), ours), "not one of 1,280 integers differs"

# %% [markdown]
# ## 3. Requantize with a multiplication and a shift
#
# The next layer wants 8-bit codes again, with the output's own scale $s_y$ and zero-point $z_y$:
# $q_y = \lfloor M \cdot \mathrm{acc} \rceil + z_y$ with $M = s_x s_w / s_y$, a positive number
# usually below one, and acc the accumulator. Write $M \approx M_0\, 2^{-n}$ with an integer $M_0$
# of 31 bits, computed once: then the device multiplies by $M_0$ in 64 bits and shifts right by $n$,
# and no floating-point number is left. (Half of the last place, $2^{n-1}$, is added before the
# shift, so that it rounds to nearest.)

# %%
y_grid = Grid(8, signed=False, symmetric=False)
s_y, z_y = affine_range(integers.min(), integers.max(), y_grid)
M = (s_x * s_w / s_y).double()
shift = 30 - torch.floor(torch.log2(M)).long()
M0 = (M * 2.0**shift).round().long()
assert bool(((M0 >= 2**30) & (M0 <= 2**31)).all())

rounding = 1 << (shift - 1)
fixed = ((accumulator.long() * M0 + rounding) >> shift) + int(z_y)
fixed = fixed.clamp(y_grid.qmin, y_grid.qmax)
floating = quantize(integers, s_y, z_y, y_grid).long()
steps_off = (fixed - floating).abs()
print(
    f"{int((steps_off > 0).sum())} of {steps_off.numel()} codes differ, by {int(steps_off.max())} at most"
)
assert int(steps_off.max()) <= 1, "at a tie, one step; never more"
assert float((steps_off > 0).float().mean()) < 0.01

# %%
demo.integer_only()

# %% [markdown]
# ## 4. Export
#
# In an ONNX file quantization is written as pairs of `QuantizeLinear` and `DequantizeLinear` (QDQ)
# around float operators. What a runtime makes of them is its own decision: ONNX Runtime fuses them
# into integer kernels where it has such. (The *opset* is the version of ONNX's operators that a
# file asks for; 4-bit integers need 21 or later.)

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-14-"))
quick = Extent(naive=False, layers=False, latency=True, examples=400, verify_examples=64)
run = session.quantize(
    weights=4, activations=8, calibration_examples=64, out=folder / "run", extent=quick
)
file = run.export(folder / "model.onnx")
loaded = onnx.load(file.path)
kinds = [node.op_type for node in loaded.graph.node]
counts = {
    kind: kinds.count(kind) for kind in ("QuantizeLinear", "DequantizeLinear", "Conv", "Gemm")
}
print(counts, f"opset {loaded.opset_import[0].version}")
assert counts["DequantizeLinear"] > counts["QuantizeLinear"], "weights are stored as codes already"

four_bits = [t.name for t in loaded.graph.initializer if t.data_type == TensorProto.INT4]
report = run.report()
print(f"{len(four_bits)} tensors in int4; {file.bytes:,} bytes, float {report['float_bytes']:,}")
assert four_bits
assert file.bytes < report["float_bytes"] / 3

# %% [markdown]
# ## 5. Trust, by measurement
#
# The file is run in ONNX Runtime with its graph optimisations off and on, and **every tensor** is
# compared with the simulation, in steps of that tensor's grid. A difference of one step is expected
# where a value lies so near the middle between two levels that the order of float operations
# decides; anything else has a cause, which the workbench looks for by experiment.

# %%
verdict = file.verify(examples=64)
print(verdict.sentence())
assert verdict.ok
scores = run.scores
print({name: f"{found['score']:.2f} %" for name, found in scores.items()})
assert abs(scores["learned"]["score"] - scores["onnxruntime"]["score"]) < 0.6

# %% [markdown]
# Tensor by tensor. **Measure cures and prices** tries what is known to help where runtimes depart,
# and times each file beside the float one:

# %%
widgets.verify(file, examples=64)

# %% [markdown]
# ## 6. Small is not fast
#
# The file is a fraction of the float one's size. Its speed is another matter: a CPU has no 4-bit
# multiplier, so narrow codes are widened each time they are used. Look at what was *measured*:

# %%
milliseconds = {"float": report["float_latency_ms"], "quantized": report["latency_ms"]}
print({name: f"{time:.2f} ms" for name, time in milliseconds.items()}, "for one picture")
assert all(time > 0 for time in milliseconds.values())

# %% [markdown]
# Where speed counts more than size, `session.quantize(..., store="int8")` keeps narrow codes in
# 8-bit containers.
#
# ## Exercises
#
# **14.1** $s_x = 0.02$, $s_w = 0.005$, $b = 0.31$. Which integer is the bias stored as?

# %%
answer = None

# %%
course.check("14.1", answer)

# %% [markdown]
# **14.2** $q_x = (10, 200)$, $z_x = 128$, $q_w = (3, -2)$, no bias. What does the accumulator hold
# in the end, with the term of the zero-point?

# %%
answer = None

# %%
course.check("14.2", answer)

# %% [markdown]
# **14.3** $M = 0.0075$. Which shift $n$ gives $M_0 = M \cdot 2^n$ with $2^{30} \le M_0 < 2^{31}$?

# %%
answer = None

# %%
course.check("14.3", answer)

# %% [markdown]
# **14.4** Answer the question of `demo.integer_only()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("14.4", answer)

# %% [markdown]
# ## What to remember
# - Codes, 32-bit sums, bias at scale $s_x s_w$, one multiplication and a shift: no float is needed.
# - Compare runtime and simulation in steps; one at a tie is fine, more has a cause.
# - Bytes, bits and milliseconds are three things. Measure all three.
#
# Now do it yourself: [quantize your own model](capstone_own_model.ipynb), or [reproduce a row of a
# paper's table](capstone_paper_row.ipynb).
