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
# Such learning is called *reconstruction*, and what learns together a *unit*. An error in one layer
# can be taken back by the next, if both learn together, and only what leaves the pair matters. The
# larger the unit, the closer its aim is to the task, and the more there is to learn from few
# examples:
#
# | unit | error that is made small | learns together | danger |
# |---|---|---|---|
# | layer (AdaRound) | of one layer's output | weights of a layer | misses what layers could share |
# | block (BRECQ) | of a residual block's output | layers of a block | little |
# | network | of the logits | everything | overfits a thousand pictures |
#
# BRECQ (Li et al. 2021, arXiv:2102.05426) argues with the Hessian, the matrix of second derivatives
# of the task loss $L$: its large entries lie inside blocks, so a block is the natural unit. With
# squared gradients (the diagonal of the Fisher information) in place of the Hessian, the aim is
#
# $$ \min_{\hat w}\; \mathbb{E}\big[\, \Delta z^{\top}\,
#    \mathrm{diag}\big( (\partial L / \partial z)^2 \big)\, \Delta z \,\big], $$
#
# with $z$ the block's float output and $\Delta z$ the error in it. With equal weights in place of
# the squared gradients it is a plain mean squared error, which the published script takes by
# default.
#
# The workbench finds blocks in any graph: parts that only one tensor enters and only one leaves. In
# our residual network these are what its author would call blocks, too.

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
# Units learn one after the other, from first to last. What should the third one get as its input:
# what the float network gives, $x$, or what comes out of the two that were just quantized,
# $\hat x$? Its target is always what the unit gives in the float network, so with **quantized
# inputs** it also learns to take back the errors of those before. For a layer:
#
# $$ \min_{\hat W}\; \lVert W x - \hat W \hat x \rVert^2 . $$
#
# A small case by least squares, in which only the inputs are rounded and the weights are free,
# shows that the difference is real. The six inputs are correlated, so the rounded ones tell
# something about each other's errors, and the best weights for them are not $W$.

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
# Such compensation is learned from examples, and can be learned by heart. With eight examples for
# six weights a row, the fit to those eight is excellent, and on all others it is worse than no
# compensation. **Overfitting is the gap between these two errors**, so keep examples back to see
# it:

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
# Float inputs, quantized inputs, and a third way: QDrop (Wei et al. 2022, arXiv:2203.05740)
# quantizes each *element* of the activations with probability $p = \frac12$ only, drawn anew at
# every step, and leaves the others float. What is dropped is the quantization. The weights then
# have to do well for many inputs between the two, not for one alone; they end where the loss
# changes little around them (a *flat minimum*), which holds better on new examples. It is the idea
# of dropout, with a value's quantization in place of the value.
#
# Two bits for the weights and four for the activations, first and last layer 8 bits; 64 calibration
# pictures and a few steps only, so that this page takes less than a minute. `rtn` is rounding to
# nearest, as before, and `quick` says again what a run leaves out (lesson 2): here it learns, and
# is judged on 600 held-out pictures, no more. The *divergence from float* is how far its predicted
# probabilities are from those of the float network (KL, lesson 2); 0 would be no difference.

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
# Which of BRECQ and QDrop is ahead on a network this small, after 80 steps, is chance: change
# `seed` or `iterations` and look. On ResNet-18 and ImageNet, with the same training for both,
# MQBench (arXiv:2111.03759) found 64.2 % for BRECQ and 65.4 % for QDrop at 3-bit weights and
# activations, and 68.5 against 68.8 % at 4. The coarser the activations, the more there is to drop.
#
# ## 4. Read the curve
#
# The run keeps a record of the learning steps. Which block has the largest error, and did it get
# better? (In the picture below the numbers each row is a unit: click one for its curves.)

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
widgets.signals(runs["qdrop"])

# %% [markdown]
# The *rounding regulariser* (lesson 4) is zero at first and then by far the largest number in the
# loss: the block first only fits, and then has to decide up or down. The decision costs a little
# reconstruction error.
#
# ## Exercises
#
# **5.1** A unit learns with float inputs, but gets quantized ones in use. What does it miss? Answer
# with the letter.
#
# - `"a"` Nothing, as its target is the float output.
# - `"b"` It cannot take back the errors of the units before it.
# - `"c"` Its own rounding errors.

# %%
answer = None

# %%
course.check("5.1", answer)

# %% [markdown]
# **5.2** QDrop with $p = \frac12$: an activation $x = 0.37$ on a grid with step 0.25 (zero is a
# level) has the value 0.37 or that of its nearest level, each with probability one half. What is
# its expected value?

# %%
answer = None

# %%
course.check("5.2", answer)

# %% [markdown]
# **5.3** Two layers of one weight each, with nothing between them, compute $v\,u\,x$ with
# $u = v = 1.4$; levels are the integers. Layer by layer, nearest rounding gives $u = v = 1$ and the
# product 1 instead of 1.96. Of all pairs of positive integers $[u, v]$, which have the least error
# of the product? Give a list of *all* these pairs in ascending order of $u$.

# %%
answer = None

# %%
course.check("5.3", answer)

# %% [markdown]
# ## What to remember
# - What a unit gives out is the aim; blocks are good units, since the layers inside can make up for
#   each other.
# - Learn on quantized inputs, aim at float outputs.
# - QDrop mixes both kinds of input at random, and pays where activations are coarse.
#
# Next: [Lesson 6, second order](06_second_order.ipynb).
