# %% [markdown]
# # Lesson 3: granularity
#
# **You will be able to**
# - say which values share a scale, per tensor, per channel, per group, and what each costs in bits;
# - see why one outlier ruins a tensor, and why depthwise convolutions suffer most;
# - equalize channels before quantizing, by moving factors from one layer into the next.
#
# **You need**: lessons 1 and 2. **Time**: 45 minutes.
#
# A scale is set by the largest of the values that share it. The fewer values share one, the finer
# the steps, and the more scales there are to store and to multiply by. This choice is called
# *granularity*.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.metrics import sqnr_db
from workbench.session.execute import Extent
from workbench.session.recipe import WeightSpec

session = workbench.open("digits-mobilenet")
weight = session.model.get_parameter("blocks_6_depthwise_weight").detach()
ranges = weight.abs().amax(dim=(1, 2, 3))  # one for each of the channels
print(f"{weight.shape[0]} channels, ranges {float(ranges.min()):.3f} to {float(ranges.max()):.3f}")
assert float(ranges.max() / ranges.median()) > 2, (
    "the widest channel is far wider than the usual one"
)

# %% [markdown]
# ## 1. One outlier
#
# With one scale for the tensor, the channel with the widest range sets the step of all others. The
# demo lets you drag one weight outwards and watch what happens to the rest.

# %%
demo.outlier()

# %%
values = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
spoiled = values.clone()
spoiled[0, 0] = 20.0


def quantized(x, bits, granularity):
    """`x` on a symmetric grid that covers the whole range of each scale's values."""
    grid = Grid(bits, granularity=granularity)
    rows = granularity.rows(x)
    low = granularity.unrows(rows.amin(1), x.shape)
    high = granularity.unrows(rows.amax(1), x.shape)
    return fake_quantize(x, *affine_range(low, high, grid), grid)


def rest_db(x, granularity):
    """SQNR of all rows but the outlier's."""
    found = quantized(x, 4, granularity)
    return sqnr_db(values[1:], found[1:])


TENSOR, CHANNEL = Granularity(), Granularity("channel", 0)
before, after = rest_db(values, TENSOR), rest_db(spoiled, TENSOR)
rescued = rest_db(spoiled, CHANNEL)
print(f"without outlier {before:.1f} dB, with {after:.1f} dB, per channel {rescued:.1f} dB")
assert after < before - 9, "one value in 4096 costs the others a bit and a half"
assert rescued >= before, "with a scale for each row it costs its own row only"

# %% [markdown]
# ## 2. Tensor, channel, group
#
# For a weight of shape (out, in, height, width) one has
#
# - **per tensor**: one scale;
# - **per channel**: one for each output channel. The scale $s_i$ of output $i$ can be taken out of
#   the sum over the inputs $x_j$, $\sum_j s_i q_{ij} x_j = s_i \sum_j q_{ij} x_j$ with $q_{ij}$ the
#   codes of the weights, so integer hardware has no trouble with it;
# - **per group**: one for every $g$ values along the inputs, usual for language models. Now the
#   scale changes *within* the sum, so each group's partial sum has to be scaled by itself.
#
# A scale of 16 bits shared by $g$ weights adds $16/g$ bits to each of them. Error and cost on three
# real weights, at 4 bits: a *depthwise* convolution, which filters each channel by itself, a
# *pointwise* one, whose kernel is 1 × 1, and an ordinary one.

# %%
names = {
    "depthwise": ("digits-mobilenet", "blocks_6_depthwise_weight"),
    "pointwise": ("digits-mobilenet", "blocks_6_expand_weight"),
    "convolution": ("digits-resnet", "blocks_2_conv2_weight"),
}
gains = {}
for name, (model, parameter) in names.items():
    w = workbench.open(model).model.get_parameter(parameter).detach()
    per_channel = w[0].numel()
    choices = {"tensor": TENSOR, "channel": CHANNEL}
    if w.shape[1] >= 16:
        choices["group of 16"] = Granularity("group", 1, 16)
    db = {choice: sqnr_db(w, quantized(w, 4, g)) for choice, g in choices.items()}
    gains[name] = db["channel"] - db["tensor"]
    shown = ", ".join(f"{choice} {found:.1f} dB" for choice, found in db.items())
    print(f"{name:12s} {shown}; channel scales cost {16 / per_channel:.2f} bits a weight")

assert all(gain > 0 for gain in gains.values())
assert gains["depthwise"] == max(gains.values()), "depthwise gains most"

# %% [markdown]
# A depthwise kernel has only nine weights to a channel, each filter works on a channel of its own,
# and nothing in training keeps the channels at one size. *Folding* batch norm makes the difference
# larger still: each channel's weights are multiplied by the factor $\gamma / \sqrt{\sigma^2 +
# \epsilon}$ that batch norm would apply behind them, so that no batch norm is left to compute, and
# these factors differ, too (Nagel et al. 2019, arXiv:1906.04721, section 3).

# %%
demo.granularity()

# %% [markdown]
# ## 3. In the network
#
# Three bits for the weights, floating-point activations, nearest rounding; only the granularity
# differs. `edges=None` gives the first and the last layer 3 bits, too; by default they get 8.

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-3-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=500)


def score(name, **weights):
    run = session.quantize(
        weights=WeightSpec(bits=3, **weights),
        activations="float",
        method="rtn",
        edges=None,
        calibration_examples=32,
        out=folder / name,
        extent=quick,
    )
    return run.scores["learned"]["score"]


tops = {kind: score(kind, granularity=kind) for kind in ("tensor", "channel", "group")}
print({kind: f"{top:.1f} %" for kind, top in tops.items()})
assert tops["channel"] > tops["tensor"] + 2

# %% [markdown]
# ## 4. Equalize instead
#
# Where hardware wants one scale for a tensor, channels can be brought to a more even size *before*
# quantizing. ReLU commutes with positive factors, $\mathrm{relu}(c\,x) = c\,\mathrm{relu}(x)$. So
# the weights and the bias of output channel $i$ of one layer can be divided by $c_i > 0$, and the
# next layer's weights that read this channel multiplied by it: the float network computes the same.
# **Cross-layer equalization** (Nagel et al. 2019) chooses
#
# $$ c_i = \sqrt{r^{(1)}_i / r^{(2)}_i}, $$
#
# where $r^{(1)}_i$ is the largest magnitude of those weights in the first layer and $r^{(2)}_i$
# that in the second. Afterwards both are $\sqrt{r^{(1)}_i r^{(2)}_i}$.

# %%
folded, equal = session.model, session.transformed(["equalize"]).module
(image,) = session.data.split("test", 16)
with torch.no_grad():
    difference = float((folded(image)[0] - equal(image)[0]).abs().max())
print(f"the float outputs differ by {difference:.1e}")
assert difference < 1e-3

name = "blocks_0_depthwise_weight"
was, now = (
    module.get_parameter(name).detach().abs().amax(dim=(1, 2, 3)) for module in (folded, equal)
)
print(f"widest over median channel: {was.max() / was.median():.1f} before, "
      f"{now.max() / now.median():.1f} after")  # fmt: skip
equalized = session.quantize(
    weights=WeightSpec(bits=3, granularity="tensor"),
    activations="float",
    method="rtn",
    edges=None,
    transforms=["equalize"],
    calibration_examples=32,
    out=folder / "equalized",
    extent=quick,
).scores["learned"]["score"]
print(f"per tensor {tops['tensor']:.1f} %, equalized {equalized:.1f} %")
assert equalized > tops["tensor"]

# %%
demo.folding()

# %% [markdown]
# ## Exercises
#
# **3.1** Weights of 4 bits in groups of 32, each with a scale of 16 bits. How many bits does a
# weight take on average?

# %%
answer = None

# %%
course.check("3.1", answer)

# %% [markdown]
# **3.2** A layer has two output channels whose largest weights are $r^{(1)} = [8, 0.5]$; the next
# layer's largest weights for these two inputs are $r^{(2)} = [2, 2]$. Which factors $c_1, c_2$ does
# equalization divide the first layer's channels by? Give a list of two numbers.

# %%
answer = None

# %%
course.check("3.2", answer)

# %% [markdown]
# **3.3** A matrix of 1024 × 1024 weights at 4 bits: by how many percent does its size, scales
# included, grow when one scale of 32 bits for the tensor is replaced by one of 32 bits for each
# output channel?

# %%
answer = None

# %%
course.check("3.3", answer)

# %% [markdown]
# **3.4** Answer the question of `demo.granularity()` (its default options), in the words of one of
# the choices.

# %%
answer = None

# %%
course.check("3.4", answer)

# %% [markdown]
# ## What to remember
# - The largest of the values that share a scale sets the step of all.
# - Per-channel weights are the usual choice. Their scales cost next to nothing, except in depthwise
#   layers, which have few weights to a channel and need them most. Groups cost $16/g$ bits.
# - Where one scale must do, equalize first: the float network stays what it was.
#
# Next: [Lesson 4, rounding](04_rounding.ipynb).
