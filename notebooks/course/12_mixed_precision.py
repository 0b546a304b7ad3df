# %% [markdown]
# # Lesson 12: mixed precision
#
# **You will be able to**
# - pose "which layer gets how many bits" as a knapsack, and solve it greedily and exactly;
# - say what a sensitivity is, how it is estimated, and when the sum of sensitivities misleads;
# - tell bits, bytes, bit operations and milliseconds apart.
#
# **You need**: lessons 1 and 3. **Time**: 45 minutes.

# %%
import tempfile
from pathlib import Path

import numpy as np
from scipy.optimize import LinearConstraint, milp

import workbench
from workbench import course, demo, widgets
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. A knapsack
#
# A network need not have the same number of bits in every layer. Layer $l$ has $n_l$ weights;
# quantized to $b$ bits it does the harm $h_l(b)$ to the network's answer: the divergence
# $\mathrm{KL}(p \Vert \hat p) = \sum p \ln (p / \hat p)$ of the float answer $p$ and the answer
# $\hat p$ with this layer quantized, in *nats* (for the natural logarithm). Under a budget of $B$
# bits in all, choose
#
# $$ \min_{b_1, \dots, b_L}\; \sum_l h_l(b_l) \qquad\text{so that}\qquad \sum_l n_l\, b_l \le B. $$
#
# This is a *knapsack* problem. With an indicator $y_{lb} \in \{0, 1\}$ for each layer and width
# (one where layer $l$ gets $b$ bits) it is an integer linear programme (Yao et al. 2021, HAWQ-V3,
# arXiv:2011.10680), which a solver finishes in milliseconds. All the difficulty is in $h$.
#
# ## 2. Sensitivity
#
# The harm $h_l$ is also called the layer's *sensitivity*. One may *measure* $h_l(b)$: quantize this
# layer only, run the network, compare the answers. That takes a run for each layer and width. Or
# one *estimates* it to second order,
#
# $$ h_l(b) \approx \tfrac12\, \Delta w^{\top} F\, \Delta w, $$
#
# with $\Delta w$ the layer's rounding errors at $b$ bits, and $F = \mathbb{E}\, g g^{\top}$ the
# Fisher information, where $g$ is the gradient of $\ln p$ for a class that is drawn from the
# network's own prediction $p$. At the float weights $F$ is the Hessian of the divergence. HAWQ
# (Dong et al. 2019, arXiv:1905.03696) takes the largest eigenvalue of the loss's Hessian, its
# successor the trace. A few backward passes serve all layers and all widths.

# %%
session = workbench.open("digits-mobilenet")
base = session.recipe(weights=3, activations="float", method="rtn", calibration_examples=64)
allocation = session.allocate(base, budgets={"average_bits": 2.5}, points=13)
harm = {name: dict(row) for name, row in allocation.sensitivities.items()}
sizes = {name: session.model.get_parameter(name.replace(".", "_")).numel() for name in harm}

print("harm in nats    2 bits     3 bits     4 bits    weights")
for name in list(harm)[-6:]:
    row = harm[name]
    print(f"{name:26s} {row[2]:.5f}    {row[3]:.5f}    {row[4]:.5f}    {sizes[name]:6,}")

per_weight = {name: harm[name][2] / sizes[name] for name in harm}
worst = sorted(per_weight, key=per_weight.get, reverse=True)[:5]
print("most harm for each weight at 2 bits:", ", ".join(worst))
assert sum("depthwise" in name or "blocks.0" in name for name in worst) >= 3

# %% [markdown]
# Layers differ by orders of magnitude. A depthwise layer has few weights and each does much harm, a
# pointwise one has many and each does little: one width for all serves neither.
#
# ## 3. Greedy and exact
#
# Greedy: start with 2 bits everywhere, and give the next bits to whoever gains most *for each bit
# spent*, until the budget is empty.

# %%
BUDGET = 2.5 * sum(sizes.values())
WIDTHS = sorted(set.intersection(*(set(row) for row in harm.values())))


def spent(bits):
    return sum(sizes[name] * b for name, b in bits.items())


def total(bits):
    return sum(harm[name][b] for name, b in bits.items())


def greedy():
    bits = dict.fromkeys(harm, WIDTHS[0])
    while True:
        offers = {}
        for name, b in bits.items():
            wider = [w for w in WIDTHS if w > b]
            price = sizes[name] * (wider[0] - b) if wider else 0
            if wider and spent(bits) + price <= BUDGET:
                offers[name] = (harm[name][b] - harm[name][wider[0]]) / price
        if not offers or max(offers.values()) <= 0:
            return bits
        best = max(offers, key=offers.get)
        bits[best] = next(w for w in WIDTHS if w > bits[best])


def exact():
    pairs = [(name, b) for name in harm for b in WIDTHS]
    cost = np.array([harm[name][b] for name, b in pairs])
    size = np.array([[sizes[name] * b for name, b in pairs]], dtype=float)
    once = np.array([[float(name == layer) for name, _ in pairs] for layer in harm])
    found = milp(
        cost,
        constraints=[LinearConstraint(size, ub=BUDGET), LinearConstraint(once, 1, 1)],
        integrality=np.ones(len(pairs)),
        bounds=(0, 1),
    )
    return {name: b for (name, b), chosen in zip(pairs, found.x, strict=True) if chosen > 0.5}


choices = {
    "uniform 2": dict.fromkeys(harm, 2),
    "greedy": greedy(),
    "exact": exact(),
    "workbench": dict(allocation.chosen.bits),
}
for name, bits in choices.items():
    average = spent(bits) / sum(sizes.values())
    print(f"{name:10s} {average:.3f} bits on average, estimated harm {total(bits):.4f}")

assert spent(choices["exact"]) <= BUDGET
assert total(choices["exact"]) <= total(choices["greedy"]) + 1e-9
assert total(choices["greedy"]) < 1.1 * total(choices["exact"]), "greedy is seldom far off"
assert abs(total(choices["workbench"]) / total(choices["exact"]) - 1) < 0.05, "the same programme"

# %% [markdown]
# The exact choice for every budget between the smallest network and the most faithful one is a
# curve. Move the slider and see who gets the next bits; a single width for all lies above it:

# %%
widgets.pareto(session, allocation)

# %% [markdown]
# Now be the solver yourself:

# %%
demo.bit_budget()

# %% [markdown]
# ## 4. Does it hold in the network?
#
# The estimate adds up harms that layers do *one at a time*. Together they do more, and the more the
# coarser the grids. So the choice is run, on held-out digits; nearest rounding only, to see what
# the bits do. (No uniform width costs 2.5 bits, so it stands beside 2 bits everywhere, which is
# half a bit cheaper.)

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-12-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=500)


def judge(name, recipe):
    return session.quantize(recipe=recipe, out=folder / name, extent=quick).scores["learned"]


uniform = judge("uniform", base.changed(weights=base.weights.model_copy(update={"bits": 2})))
mixed = judge("mixed", allocation.recipe)
print(f"2 bits everywhere {uniform['score']:.1f} %, 2.5 bits on average {mixed['score']:.1f} %")
print(f"estimated harm {total(choices['workbench']):.3f} nats, measured {mixed['kl']:.3f}")
assert mixed["score"] > uniform["score"] + 30
assert mixed["kl"] > 3 * total(choices["workbench"]), "together they do more harm than one by one"

# %% [markdown]
# For the choice it is enough that the estimates are right *relative to each other*; their sum
# does not forecast the result. Allocation and learning go together: the same recipe with
# `method="gram"` learns on top of the mixture.
#
# ## 5. Four currencies
#
# | unit | is | note |
# |---|---|---|
# | average bits | $\sum n_l b_l / \sum n_l$ | codes only, without scales |
# | bytes in the file | containers of 2, 4 or 8 bits | 3-bit codes lie in 4-bit containers |
# | BOPs (bit operations) | $\sum \mathrm{MACs}_l \cdot b_l \cdot a_l$ | what hardware that works bit by bit would pay |
# | milliseconds | measured | a CPU computes in 8 bits or in float, whatever the container |
#
# Here $\mathrm{MACs}_l$ are the multiply-adds of layer $l$ for one example, $b_l$ the bits of its
# weights, and $a_l$ those of the activations that it reads. A budget in one unit says little about
# the others. `session.allocate` takes each (`average_bits`, `file_bytes`, `bops`, `latency_ms`; and
# `bytes`, of codes packed tightly).
#
# ## Exercises
#
# **12.1** Two layers: A has 100 weights and harm 8, 2, 1 at 2, 3, 4 bits; B has 400 weights and
# harm 6, 1, 0.5. The budget is 1,400 bits in all. Give the best bits as a list `[A, B]`.

# %%
answer = None

# %%
course.check("12.1", answer)

# %% [markdown]
# **12.2** A layer of 1,000 weights in 4-bit codes and one of 3,000 weights in 2-bit codes: how many
# bits does a weight have on average?

# %%
answer = None

# %%
course.check("12.2", answer)

# %% [markdown]
# **12.3** A convolution has 9.2 million multiply-adds, 4-bit weights and 8-bit activations. How
# many BOPs, in millions?

# %%
answer = None

# %%
course.check("12.3", answer)

# %% [markdown]
# **12.4** Answer the question of `demo.bit_budget()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("12.4", answer)

# %% [markdown]
# ## Five-minute challenge
#
# `digits-mobilenet`, weights in at most 40,000 bytes. Two bits for every weight are 23,812 bytes, and
# the scales count too, four bytes each; one for each output channel makes 8,872. So some 7,000 bytes
# are left to spend, a bit more for somewhat over half of the weights. Say the mixture as `overrides`,
# a list of dictionaries with `pattern` (a layer's name, which may have wildcards, or `op:` and an
# operator) and `weights`. `edges` are the bits of the first and last layer:

# %%
choice = {
    "weights": 2,
    "activations": 8,
    "edges": 4,
    "method": "gram",
    "overrides": [{"pattern": "blocks.0.depthwise", "weights": 4}],
}
# course.score("12", choice)

# %% [markdown]
# ## What to remember
# - Bits are a budget; spend each where it takes most harm away.
# - Sensitivities rank layers well, and their sum underestimates what the layers do together.
# - Say which currency you mean.
#
# Next: [Lesson 13, diagnosis](13_diagnosis.ipynb).
