# %% [markdown]
# # Lesson 8: gradient estimators
#
# **You will be able to**
# - say what is wrong with the straight-through estimator, and what EWGS, DSQ, tanh and ReSTE put in
#   its place;
# - recognise *oscillation*, explain where it comes from, and damp it;
# - doubt a comparison of estimators that was run with one optimiser only.
#
# **You need**: lesson 7. **Time**: 45 minutes.
#
# Lesson 7 replaced the slope of rounding, which is zero, by one. That is only one choice of many. A
# rule for what goes backward through rounding is called a *gradient estimator*.

# %%
from itertools import pairwise

import torch

from workbench import course, demo
from workbench.maths.estimators.registry import ESTIMATORS, make

names = ESTIMATORS.names()
print({entry.name: entry.title for entry in ESTIMATORS})
assert {"ste", "clipped_ste", "ewgs", "dsq", "tanh"} <= set(names)

# %% [markdown]
# ## 1. All of them round alike
#
# An estimator changes only the way back. Going forward every one of them gives the exact code,
# otherwise the network that is trained would not be the one that is exported.
#
# In this lesson $x$ is a value *in steps*, $w / s$: levels are integers, and codes change at the
# halves. All values that round to one level make up its *cell*.

# %%
x = torch.linspace(-1.9, 1.9, 39)
for name in names:
    assert torch.equal(make(name).round(x, 15), x.round()), name  # of a grid of 15 steps


def slope(name, at, upstream=1.0, steps=15, **options):
    """What an estimator hands back for an upstream gradient."""
    place = torch.tensor([at], requires_grad=True)
    make(name, options).round(place, steps).backward(torch.tensor([upstream]))
    return float(place.grad)


for name in names:
    print(f"{name:12s} just off a level {slope(name, 0.05):.3f}, half-way {slope(name, 0.45):.3f}")

assert slope("ste", 0.05) == slope("ste", 0.45) == 1
assert slope("dsq", 0.45) > slope("dsq", 0.05), (
    "a soft staircase is steep at the jump, flat at a level"
)

# %% [markdown]
# What each hands back when the gradient $g$ arrives from above, for a grid of $n$ steps:
#
# | estimator | hands back | source |
# |---|---|---|
# | `ste` | $g$ | Bengio et al. 2013, 1308.3432 |
# | `clipped_ste` | $g$ inside the range, else $0$ | the usual one |
# | `ewgs` | $g\,\big(1 + \delta\, \mathrm{sign}(g)\,(x - \lfloor x \rceil) / n\big)$ | Lee et al. 2021, 2104.00903 |
# | `dsq` | $g\,\varphi'(x)$, with $\varphi$ a staircase of pieces of tanh | Gong et al. 2019, 1908.05033 |
# | `tanh` | the same, with other pieces of tanh | Qin et al. 2020, 1909.10788 |
# | `reste` | the same, with pieces of a power function | Wu et al. 2023, 2308.06689 |
#
# The last three put a *soft staircase* in place of the hard one: a continuous function, flatter
# near each level and steeper half-way between two. (In the figures printed above `ste` and
# `clipped_ste` are alike, because both values lie inside the range.)

# %%
demo.estimators()

# %% [markdown]
# ## 2. EWGS looks at the sign
#
# The straight-through gradient is the same wherever a value sits between two levels. EWGS
# (element-wise gradient scaling) makes it larger or smaller by the value's place. A positive $g$
# moves a value down. If it lies above its level it has a long way to go to the next cell, and is
# pushed harder; if it lies below, it is about to cross into the next cell, and is held back.
# $\delta$ says how much. The paper's values run from 0 to 1 over the whole grid, which is why the
# place $x - \lfloor x \rceil$ is divided by the number of steps $n$. (The default $\delta$ is
# small; 0.6 shows more.)

# %%
for upstream in (1.0, -1.0):
    left, right = (slope("ewgs", at, upstream, steps=3, delta=0.6) for at in (-0.3, 0.3))
    print(f"upstream {upstream:+.0f}: {left:+.3f} below its level, {right:+.3f} above")
    assert abs(right - upstream * (1 + 0.6 * upstream * 0.3 / 3)) < 1e-6
    assert abs(left - upstream * (1 - 0.6 * upstream * 0.3 / 3)) < 1e-6

# %% [markdown]
# ## 3. Oscillation
#
# One weight, integer levels, and a target between two of them: $L(w) = \frac12(\lfloor w \rceil -
# 0.3)^2$. At level 0 the straight-through gradient is $-0.3$, so the weight moves up, until it
# crosses $0.5$; at level 1 the gradient is $+0.7$, and it moves down. It never rests, but swings
# about the threshold, and its code flips for ever.


# %%
def descend(steps=400, rate=0.02, target=0.3, dampening=0.0):
    """Codes of one weight under straight-through descent."""
    w, codes = 0.0, []
    for _ in range(steps):
        code = float(torch.tensor(w).round())
        codes.append(code)
        gradient = code - target
        w -= rate * (gradient + dampening * (w - code))
    return codes


plain = descend()
flips = sum(a != b for a, b in pairwise(plain[200:]))
share = sum(plain[200:]) / 200
print(f"{flips} flips in the second half; at the upper level {100 * share:.0f} % of the time")
assert flips > 50, "it never settles"
assert abs(share - 0.3) < 0.05, "its mean code is the target"

# %% [markdown]
# The mean of the code is right, but the network is exported with the *last* code, which is chance;
# and the running statistics of batch norm follow every flip (Nagel et al. 2022, arXiv:2203.11086).
# A remedy is **dampening**: the term $\lambda \sum (w - \hat w)^2$ in the loss, with $\hat w$ held
# constant, pulls each weight to the middle of its present cell; $\lambda$ says how strongly.

# %%
damped = descend(dampening=1.0)
calm = sum(a != b for a, b in pairwise(damped[200:]))
print(f"with dampening {calm} flips, code {damped[-1]:.0f}")
assert calm == 0
assert damped[-1] == round(0.3), "and it rests at the nearest level"

# %% [markdown]
# Too much of it, too early, and nothing learns any more: the weight cannot leave its cell. The
# workbench's method `steady` raises dampening slowly and *freezes* codes that flip too often.

# %%
demo.oscillation()

# %% [markdown]
# ## 4. A word of caution
#
# Published gains of new estimators over the straight-through one are often half a point of accuracy
# or less, and often measured with one optimiser. An optimiser that divides by the gradients' own
# size, such as Adam, cancels any factor that is the same for all steps. Schoenbauer et al. 2024
# (arXiv:2405.05171) show that many estimators for weights train nearly as the straight-through one
# does: with SGD once learning rate and initial weights are adapted, with Adam without any change.
# Check the simplest case yourself, a gradient that is ten times as large everywhere:


# %%
def adam(factor, steps=50):
    w = torch.nn.Parameter(torch.tensor(0.0))
    optimiser = torch.optim.Adam([w], lr=0.01)
    for step in range(steps):
        w.grad = torch.tensor(factor * (1.0 + 0.1 * (step % 3)))
        optimiser.step()
    return float(w.detach())


print(adam(1.0), adam(10.0))
assert abs(adam(1.0) - adam(10.0)) < 1e-5, "Adam does not see it"

# %% [markdown]
# ## Exercises
#
# **8.1** EWGS with $\delta = 0.6$ on a grid of 2 bits, so $n = 3$: a value at $x = 2.4$ (in steps)
# gets the upstream gradient $g = -1$. Which gradient is handed back?

# %%
answer = None

# %%
course.check("8.1", answer)

# %% [markdown]
# **8.2** $L(w) = \frac12(\lfloor w \rceil - 0.25)^2$ under straight-through descent with a small
# rate. Which share of the steps does the weight spend at the upper of its two levels, in the long
# run?

# %%
answer = None

# %%
course.check("8.2", answer)

# %% [markdown]
# **8.3** You train with SGD and replace the straight-through gradient by twice of it, everywhere.
# Which single change gives exactly the old training back?
#
# - `"a"` half the learning rate
# - `"b"` twice the learning rate
# - `"c"` no change is needed

# %%
answer = None

# %%
course.check("8.3", answer)

# %% [markdown]
# **8.4** Answer the question of `demo.oscillation()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("8.4", answer)

# %% [markdown]
# ## What to remember
# - Estimators differ on the way back only; the code that is computed is always exact.
# - Between two levels a straight-through weight oscillates; dampening or freezing ends it.
# - Compare estimators with the optimiser that you will use, each at its own best rate.
#
# Next: [Lesson 9, below four bits](09_few_bits.ipynb).
