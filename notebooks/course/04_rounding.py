# %% [markdown]
# # Lesson 4: rounding is a choice
#
# **You will be able to**
# - show that rounding every weight to its nearest level is not best for the layer's output;
# - write the output error as a quadratic form of the rounding errors;
# - explain AdaRound: the relaxation $h(V)$, the regulariser, and what its schedule is for.
#
# **You need**: lessons 1 and 2. **Time**: 60 minutes.
#
# What counts is not a layer's weights but what it computes with them. A weight lies between two
# levels, and it may well go to the *farther* one if that cancels the errors of other weights.

# %%
import itertools

import torch

import workbench
from workbench import course, demo
from workbench.graph.taps import capture
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize, position
from workbench.quantizers.rounding import Rounding, rectified_sigmoid

# %% [markdown]
# ## 1. Two weights
#
# A neuron computes $w_1 x_1 + w_2 x_2$ with $w = (0.4, 0.4)$, its levels are the integers, and its
# inputs nearly always agree: $x_1 \approx x_2$. Nearest rounding gives $(0, 0)$: both errors are
# $-0.4$, and they **add up**. Rounding one of them up gives $(1, 0)$: errors $+0.6$ and $-0.4$,
# which mostly cancel.

# %%
generator = torch.Generator().manual_seed(0)
common = torch.randn(1000, 1, generator=generator)
inputs = common + 0.1 * torch.randn(1000, 2, generator=generator)
weight = torch.tensor([0.4, 0.4])


def output_error(rounded):
    return float((inputs @ (rounded - weight)).square().mean())


for choice in itertools.product((0.0, 1.0), repeat=2):
    print(choice, f"weight error {sum((c - 0.4) ** 2 for c in choice):.2f},",
          f"output error {output_error(torch.tensor(choice)):.3f}")  # fmt: skip

nearest, mixed = output_error(torch.zeros(2)), output_error(torch.tensor([1.0, 0.0]))
assert mixed < nearest / 5, "the larger weight error is the smaller output error"

# %% [markdown]
# ## 2. Why: the quadratic form
#
# Let $w$ be one row of the weight matrix, the weights of one output, $\hat w$ the rounded row,
# $\Delta w = \hat w - w$ its rounding errors, and $x$ the layer's input. With the matrix
# $H = \mathbb{E}\,x x^{\top}$, an average over examples,
#
# $$ \mathbb{E}\,\big(\Delta w^{\top} x\big)^2 = \Delta w^{\top} H\, \Delta w
#    = \sum_i H_{ii}\,\Delta w_i^2 + \sum_{i \ne j} H_{ij}\,\Delta w_i\,\Delta w_j . $$
#
# Nearest rounding minimises the first sum. The second, with the products, is where inputs that go
# together let errors cancel or add up, and nearest rounding does not look at that. (Nagel et al.
# 2020, arXiv:2004.10568, section 3, get such a form from a Taylor expansion of the task loss.)

# %%
H = inputs.T @ inputs / len(inputs)
for choice in ((0.0, 0.0), (1.0, 0.0)):
    error = torch.tensor(choice) - weight
    assert abs(float(error @ H @ error) - output_error(torch.tensor(choice))) < 1e-5

# %% [markdown]
# Try it on a real kernel: click weights up or down, and watch the output error.

# %%
demo.adaround()

# %% [markdown]
# ## 3. Random roundings
#
# That paper's first experiment, here on the last layer of a digits network at 2 bits, with a scale
# for each row: round each weight up or down **at random**, a hundred times. A weight that lies 30 %
# of the way to the upper level goes up with a chance of 30 %, so that the mean is right. Most of
# these roundings are worse than the nearest one. But each row has an error of its own, and in some
# rows the best of the hundred beats nearest rounding, which is the obvious choice and not the best.

# %%
session = workbench.open("digits-mobilenet")
layer = "head_weight"
W = session.model.get_parameter(layer).detach()  # (classes, features)
(images,) = session.data.split("calibration", 256)
(test_images,) = session.data.split("test", 512)
with torch.no_grad():
    X, X_test = (
        capture(session.graph.module, (pictures,), ["reshape"])["reshape"]
        for pictures in (images, test_images)
    )
print("weights", tuple(W.shape), "inputs", tuple(X.shape))

grid = Grid(2, granularity=Granularity("channel", 0))
scale, zero_point = affine_range(W.amin(1), W.amax(1), grid)


def errors_of(candidate, rows=X):
    """Mean squared error of each output of the layer."""
    return (rows @ (candidate - W).T).square().mean(0)


place = position(W, scale, zero_point, grid)  # W in steps
floor = place.floor()
generator = torch.Generator().manual_seed(0)
trials = []
for _ in range(100):
    up = torch.rand(W.shape, generator=generator) < place - floor
    codes = (floor + up).clamp(grid.qmin, grid.qmax)
    trials.append(errors_of(codes * scale[:, None]))
trials = torch.stack(trials)  # (100, outputs)
by_row = errors_of(fake_quantize(W, scale, zero_point, grid))
nearest, best = float(by_row.mean()), float(trials.amin(0).mean())
wins = int((trials.amin(0) < by_row).sum())
print(f"nearest {nearest:.4f}, random {float(trials.mean()):.4f} on average")
print(f"the best of a hundred, row by row: {best:.4f}; it beats nearest in {wins} of {len(W)} rows")
assert float(trials.mean()) > nearest, "a random rounding is usually worse"
assert wins > 0, "and sometimes better"

# %% [markdown]
# ## 4. AdaRound: learn it
#
# There are $2^{n}$ ways to round $n$ weights up or down, too many to try. AdaRound relaxes the
# choice: each weight gets a variable $V$, and in place of "down or up", 0 or 1, stands a number
# $h(V)$ between them. With $\lfloor\cdot\rfloor$ for rounding down and $\sigma$ for the sigmoid,
#
# $$ \hat w = s \cdot \mathrm{clip}\big(\lfloor w / s \rfloor + h(V)\big), \qquad
#    h(V) = \mathrm{clip}\big(1.2\,\sigma(V) - 0.1,\; 0,\; 1\big). $$
#
# The stretched sigmoid reaches 0 at $V \approx -2.4$ and 1 at $V \approx 2.4$, so variables can
# come to rest there. $V$ starts where $h(V)$ is the fractional part of $w / s$, so that $\hat w =
# w$ inside the range. Then gradient descent minimises the output error and a *regulariser* with the
# weight $\lambda$:
#
# $$ \mathbb{E}\,\lVert W x - \hat W x \rVert^2 + \lambda \sum_i \big(1 - |2 h(V_i) - 1|^{\beta}\big). $$
#
# The regulariser is zero only where every $h$ is 0 or 1. With a large exponent $\beta$ it is flat
# in the middle, so that the variables move freely at first; as $\beta$ falls, it drives them to the
# ends. Its schedule leaves it out at first and then lowers $\beta$, here from 20 to 2. The whole
# method in a few lines (`Rounding` holds $V$ as `rounding.v`; `fake_quantize` gives $\hat w$ with
# $h(V)$, and `hard` the codes with every $h$ rounded to 0 or 1):

# %%
rounding = Rounding(grid, tuple(W.shape))
rounding.set_affine(scale, zero_point)
rounding.start(W)
assert torch.allclose(rounding.fake_quantize(W), W.clamp(*(
    (scale * end)[:, None] for end in (grid.qmin, grid.qmax))), atol=1e-4)  # fmt: skip

STEPS = 400
optimiser = torch.optim.Adam([rounding.v], lr=0.03)
undecided = []
for step in range(STEPS):
    beta = 20 - 18 * step / STEPS  # from flat to steep
    soft = rounding.fake_quantize(W)
    h = rectified_sigmoid(rounding.v)
    loss = (X @ (soft - W).T).square().mean()
    if step > STEPS // 5:  # first only fit, then decide
        loss = loss + 5e-3 * (1 - (2 * h - 1).abs() ** beta).sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    undecided.append(float(((h > 0.01) & (h < 0.99)).float().mean()))

with torch.no_grad():
    learned_weight = rounding.hard() * scale[:, None]
learned = float(errors_of(learned_weight).mean())
moved = float((learned_weight != fake_quantize(W, scale, zero_point, grid)).float().mean())
print(f"nearest {nearest:.4f}, learned {learned:.4f}; {100 * moved:.0f} % of the weights went to"
      f" the farther level; undecided at the end: {100 * undecided[-1]:.1f} %")  # fmt: skip

assert learned < nearest / 2, "learned rounding at least halves the output error"
assert learned < best, "and beats the best of a hundred, over all rows"
assert undecided[-1] < 0.02, "nearly every variable has come to rest at 0 or 1"

# %% [markdown]
# It was learned on 256 calibration pictures. Does it hold on pictures that it has not seen?

# %%
held_out = {
    "nearest": float(errors_of(fake_quantize(W, scale, zero_point, grid), X_test).mean()),
    "learned": float(errors_of(learned_weight, X_test).mean()),
}
print({name: round(value, 4) for name, value in held_out.items()})
assert held_out["learned"] < held_out["nearest"]

# %% [markdown]
# In the workbench the whole network is one line, `session.quantize(weights=3, method="adaround")`:
# layer after layer, each with the inputs that the layers before it, already rounded, really
# produce.
#
# ## Exercises
#
# **4.1** Weights $w = (0.3, 0.3, 0.3)$ on an integer grid, all three inputs always equal. Which of
# the eight roundings to 0 or 1 has the least output error? Give a list of the three codes in
# ascending order (which of the weights gets which does not matter).

# %%
answer = None

# %%
course.check("4.1", answer)

# %% [markdown]
# **4.2** $H = \begin{pmatrix} 1 & 0.5 \\ 0.5 & 1 \end{pmatrix}$ and the rounding errors are $\Delta
# w = (0.2, -0.3)$. What is the output error $\Delta w^{\top} H \Delta w$?

# %%
answer = None

# %%
course.check("4.2", answer)

# %% [markdown]
# **4.3** A variable has $V = 0$. What is $h(V)$?

# %%
answer = None

# %%
course.check("4.3", answer)

# %% [markdown]
# **4.4** Answer the question of `demo.adaround()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("4.4", answer)

# %% [markdown]
# ## Five-minute challenge
#
# `digits-resnet`, weights in at most 22,000 bytes, learned within five minutes of processor time:
# the best score on held-out digits wins. A choice is a dictionary of what `session.recipe` takes
# (`weights`, `activations`, `edges`, `method` and the method's options, `overrides`, `transforms`).
# What you try is judged on one half of the held-out digits, the final ranking on the other half.
# Take the `#` away to try:

# %%
choice = {"weights": 2, "activations": 8, "method": "adaround", "iterations": 50}
# course.score("4", choice)

# %% [markdown]
# ## What to remember
# - What counts is $\Delta w^{\top} H \Delta w$, not $\lVert \Delta w \rVert^2$.
# - AdaRound relaxes up-or-down to a number, and its regulariser brings that back to a decision; the
#   scale stays fixed.
# - Learn on calibration data, judge on other data.
#
# Next: [Lesson 5, reconstruction](05_reconstruction.ipynb).
