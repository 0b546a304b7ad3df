# %% [markdown]
# # Lesson 5: reconstruction, block by block
#
# **You will be able to**
# - say what layer-wise, block-wise and network-wise reconstruction each assume;
# - explain why a later unit should learn on the *quantized* inputs that it will really get;
# - explain what QDrop drops, and when it helps;
# - read a reconstruction's learning curve, and tell overfitting when you see it.
#
# **You need**: lesson 4. **Time**: 60 minutes.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo, widgets
from workbench.graph.blocks import blocks
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. From a layer to a block
#
# AdaRound lets each *layer* reproduce its own float output, $\min \lVert W x - \hat W x \rVert^2$.
# But an error in one layer can be taken back by the next, if both learn together, and what leaves
# the pair is all that matters. The further out one looks, the closer the aim is to the task, and
# the more there is to learn from few examples:
#
# | unit | error that is made small | couples | danger |
# |---|---|---|---|
# | layer (AdaRound) | of one layer's output | weights of a row | misses all across layers |
# | block (BRECQ) | of a residual block's output | layers of a block | little |
# | network | of the logits | everything | overfits a thousand pictures |
#
# BRECQ (Li et al. 2021, arXiv:2102.05426) argues with the Hessian of the task loss: its large
# entries lie inside blocks, so a block is the natural unit. Written with the Fisher information,
#
# $$ \min_{\hat w}\; \mathbb{E}\big[\, \Delta z^{\top}\,
#    \mathrm{diag}\big( (\partial L / \partial z)^2 \big)\, \Delta z \,\big], $$
#
# with $z$ the block's output. With equal weights instead of the Fisher ones it is a plain mean
# squared error, which is what the published code runs.
#
# The workbench finds blocks in any graph: parts that one tensor enters and one tensor leaves (by
# dominators). In our residual network these are what its author would call blocks, too.

# %%
session = workbench.open("digits-resnet")
names = [block.name for block in blocks(session.graph)]
print(names)
assert [name for name in names if name.startswith("blocks.")] == [
    "blocks.0",
    "blocks.1",
    "blocks.2",
]

# %%
demo.reconstruction()

# %% [markdown]
# ## 2. The inputs that really come
#
# Units are learned from first to last. What should the third one get as its input: what the float
# network gives, or what comes out of the two that were just quantized? Its target is always the
# float network's output, so with **quantized inputs** it also learns to take back the errors of
# those before:
#
# $$ \min_{\hat W}\; \lVert W x - \hat W \hat x \rVert^2 . $$
#
# A small case by least squares, without any rounding, shows that the difference is real. The inputs
# are spoiled by an error that goes along with the inputs; the best weights for spoiled inputs are
# not $W$.

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
spoiled = (x / 1.5).round() * 1.5  # a coarse grid for the inputs
W = torch.randn(3, 6, generator=generator)
target = x @ W.T

kept = float((spoiled @ W.T - target).square().mean())
refitted = torch.linalg.lstsq(spoiled, target).solution.T
compensated = float((spoiled @ refitted.T - target).square().mean())
print(f"same weights {kept:.4f}, weights that compensate {compensated:.4f}")
assert compensated < kept

# %% [markdown]
# Compensation is learned from examples, and can be learned by heart. With eight examples for six
# weights a row, the fit to those eight is excellent, and on all others it is worse than no
# compensation. **Overfitting is the difference between the two numbers**, so keep examples back:

# %%
seen, others = slice(0, 8), slice(8, None)
by_heart = torch.linalg.lstsq(spoiled[seen], target[seen]).solution.T
on_seen, on_others = (
    float((spoiled[part] @ by_heart.T - target[part]).square().mean()) for part in (seen, others)
)
print(f"eight examples: {on_seen:.4f} on them, {on_others:.4f} on the others")
assert on_seen < compensated < on_others

# %% [markdown]
# ## 3. QDrop
#
# There is a third way. QDrop (Wei et al. 2022, arXiv:2203.05740) quantizes each *element* of the
# activations with probability $p = \frac12$ only, anew at every step, and leaves the others float.
# Weights then fit neither the one nor the other but a neighbourhood of both, and a flat minimum
# holds better on new examples. It is dropout's idea, with quantization error in place of zero.
#
# Two bits for the weights and four for the activations, first and last layer 8 bits; 64 calibration
# pictures and a few steps only, so that this page takes less than a minute.

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-5-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=600)


def make(method, **options):
    return session.quantize(
        weights=2,
        activations=4,
        method=method,
        calibration_examples=64,
        out=folder / method,
        extent=quick,
        **options,
    )


few = {"iterations": 80, "learning_rate": 0.03}
runs = {"rtn": make("rtn"), "brecq": make("brecq", **few), "qdrop": make("qdrop", **few)}
for name, run in runs.items():
    found = run.scores["learned"]
    print(f"{name:6s} {found['score']:5.1f} %, divergence from float {found['kl']:.3f}")

scores = {name: run.scores["learned"]["score"] for name, run in runs.items()}
assert scores["brecq"] > scores["rtn"] + 15, "reconstruction brings back most of what was lost"
assert scores["qdrop"] > scores["rtn"] + 15

# %% [markdown]
# Which of the two is ahead on a network this small, after 80 steps, is chance: change `seed` or
# `iterations` and look. On ResNet-18 and ImageNet, with the same training for both, MQBench
# (arXiv:2111.03759) found 64.2 % for BRECQ and 65.7 % for QDrop at 3-bit weights and activations,
# and 68.5 against 69.1 % at 4. The coarser the activations, the more there is to drop.
#
# ## 4. Read the curve
#
# Every step left an event in the run. Which block is hardest, and did it get better?

# %%
curve = {}
for event in runs["qdrop"].events():
    if event["kind"] == "step":
        curve.setdefault(event["site"], []).append(event["values"]["reconstruction"])
for unit, errors in curve.items():
    print(f"{unit:9s} {errors[0]:9.4f} -> {errors[-1]:.4f}")
assert curve["blocks.2"][-1] < curve["blocks.2"][0] / 3
assert max(curve, key=lambda unit: curve[unit][0]) == "blocks.2", "errors add up along the network"

# %%
widgets.SignalsWidget(runs["qdrop"])

# %% [markdown]
# The *rounding regulariser* (lesson 4) is zero at first and then by far the largest number in the
# loss: the block learns first, and then has to decide. It pays for the decision with a little
# error.
#
# ## Exercises
#
# **5.1** A unit learns with float inputs, but gets quantized ones in use. What does it miss?
#
# - `"a"` Nothing, as its target is the float output.
# - `"b"` It cannot take back the errors of the units before it.
# - `"c"` Its own rounding errors.

# %%
answer = None

# %%
course.check("5.1", answer)

# %% [markdown]
# **5.2** QDrop with $p = \frac12$: an activation $x = 0.37$ on a grid with step 0.25 has the value
# 0.37 or its level, each with probability one half. What is its expected value?

# %%
answer = None

# %%
course.check("5.2", answer)

# %% [markdown]
# **5.3** Two layers without anything between them compute $v\,u\,x$ with $u = v = 1.4$ and integer
# levels. Layer by layer, nearest rounding gives $u = v = 1$ and the product 1 instead of 1.96. Among
# all pairs of positive integers, which are *all* the pairs $[u, v]$ with the least error of the
# product? Give a list of pairs in ascending order of $u$.

# %%
answer = None

# %%
course.check("5.3", answer)

# %% [markdown]
# ## What to remember
# - A unit's output is the aim; blocks are a good unit, since layers inside can make up for each
#   other.
# - Learn on quantized inputs, aim at float outputs.
# - QDrop mixes both kinds of input at random, and pays where activations are coarse.
#
# Next: [Lesson 6, second order](06_second_order.ipynb).
