# %% [markdown]
# # Lesson 9: below four bits
#
# **You will be able to**
# - say why two signed bits are an unlucky grid, and what balanced and ternary grids do instead;
# - fit levels to data (Lloyd, k-means, normal quantiles), and say what a table costs at run time;
# - compute the best binary and ternary approximations of a weight in closed form;
# - name what changes in training when bits get few.
#
# **You need**: lessons 1, 2 and 7. **Time**: 60 minutes.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.maths.grid import Grid, fake_quantize
from workbench.maths.levels import levels, lloyd_max, nearest_level
from workbench.maths.metrics import sqnr_db
from workbench.session.execute import Extent
from workbench.session.recipe import WeightSpec

normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))


def best_db(points, x=normal):
    """The best SQNR of levels that one scale may stretch, in dB."""
    scales = torch.linspace(0.2, 3.0, 113)
    return max(sqnr_db(x, points[nearest_level(x / s, points)] * s) for s in scales)


# %% [markdown]
# ## 1. An unlucky grid
#
# Two signed bits are the codes $-2, -1, 0, 1$: one level is spent far out on one side only, where a
# weight that is as often positive as negative seldom needs it. Put four levels symmetrically
# instead, $\pm\frac12, \pm\frac32$; such a grid is called *balanced*. It has no zero. Activations
# need one, for padding and ReLU (lesson 1); weights do without.
#
# Below, each grid is stretched by its best scale, for weights that follow a normal law. For the
# last of them, two levels, the best scale is the mean magnitude, $\sqrt{2/\pi}$ of the standard
# deviation (section 3 shows why); it leaves $1 - 2/\pi$ of the power as error, 4.40 dB.

# %%
grids = {
    "integer -2..1": torch.tensor([-2.0, -1.0, 0.0, 1.0]),
    "balanced": torch.tensor([-1.5, -0.5, 0.5, 1.5]),
    "ternary -1..1": torch.tensor([-1.0, 0.0, 1.0]),
    "binary": torch.tensor([-1.0, 1.0]),
}
found = {name: best_db(points) for name, points in grids.items()}
for name, db in found.items():
    print(f"{name:14s} {db:5.2f} dB")
assert found["balanced"] > found["integer -2..1"] + 0.5, "for free"
assert found["integer -2..1"] > found["ternary -1..1"] > found["binary"]
assert abs(found["binary"] - 4.40) < 0.05, "10 log10(1 / (1 - 2/pi))"

# %% [markdown]
# Half-integer levels have no integer zero-point. They are stored exactly as odd codes $-3, -1, 1,
# 3$ with half the scale, which need a container of more than two bits, or as two-bit places in a
# table of levels (next section). Ternary uses three of four codes; it may be chosen all the same,
# because multiplying by $-1, 0, 1$ needs no multiplier.
#
# ## 2. Levels that fit
#
# Why equal steps at all? Weights crowd around zero. Lloyd's algorithm (1957; k-means in one
# dimension) alternates: each value goes to its nearest level, each level to the mean of its values.
# The levels it ends with are kept in a table, and a code is a place in that table. One may also fix
# the table beforehand: NF4 (Dettmers et al. 2023, arXiv:2305.14314) takes 16 quantiles of the
# normal law, so that each level gets about as many weights as any other.

# %%
table = {}
for bits in (2, 3, 4):
    uniform = best_db(torch.arange(2**bits) - (2**bits - 1) / 2.0)
    learned = best_db(lloyd_max(normal, 2**bits))
    table[bits] = learned - uniform
    print(f"{bits} bits: equal steps {uniform:.2f} dB, Lloyd {learned:.2f} dB ({table[bits]:+.2f})")
assert all(gain > -0.05 for gain in table.values()), "fitted levels are never worse"
assert table[4] > table[3] > table[2], "and gain more the more of them there are"

nf4 = best_db(levels("nf4", 4))
print(f"NF4 {nf4:.2f} dB")
assert nf4 < best_db(lloyd_max(normal, 16)), "equal counts are not least squared error"

# %% [markdown]
# At two bits the gain is next to nothing. NF4 comes close to Lloyd's sixteen levels, with a table
# that is the same for every layer: to use all levels equally often is another aim than least
# error, but not a very different one. The price of a table is that codes cannot be multiplied
# as they are: each has to be looked up first. Where the time goes into reading weights from memory,
# as with language models, that is fine.

# %%
demo.kmeans()

# %% [markdown]
# ## 3. One bit, and one and a half
#
# **Binary** (Rastegari et al. 2016, arXiv:1603.05279): replace $n$ weights $w$ by signs $b$ and one
# scale $\alpha$, so that $\lVert w - \alpha b \rVert^2$ is least over $b \in \{-1, 1\}^n$ and
# $\alpha > 0$. Multiply out: $\lVert w \rVert^2 - 2\alpha\, b^{\top} w + \alpha^2 n$. The best $b$
# is $\mathrm{sign}(w)$, whatever $\alpha$ is, and then $\alpha = \frac1n \sum |w_i|$.
#
# **Ternary** (Li et al. 2016, arXiv:1605.04711): the levels are $-\alpha, 0, \alpha$, and a weight
# becomes zero where $|w_i| \le \Delta$. Given the threshold $\Delta$, the best $\alpha$ is the mean
# of $|w_i|$ over those above it; $\Delta = 0.7\,\mathbb{E}|w|$, that is 0.7 times the mean
# magnitude, is near the optimum for a normal law.

# %%
session = workbench.open("digits-resnet")
w = session.model.get_parameter("blocks_2_conv2_weight").detach().flatten()
alpha = w.abs().mean()
binary = alpha * w.sign()
for other in (0.8, 1.25):
    assert (w - other * binary).square().sum() > (w - binary).square().sum()

threshold = 0.7 * w.abs().mean()
above = w.abs() > threshold
ternary = w.sign() * above * w.abs()[above].mean()
two_bits = max(
    sqnr_db(w, fake_quantize(w, torch.tensor(s), torch.tensor(0.0), Grid(2)))
    for s in torch.linspace(0.2, 3, 57).mul(float(w.std())).tolist()
)
print(f"binary {sqnr_db(w, binary):.1f} dB, ternary {sqnr_db(w, ternary):.1f} dB, "
      f"two-bit integers {two_bits:.1f} dB")  # fmt: skip
assert sqnr_db(w, ternary) > sqnr_db(w, binary) + 1

# %% [markdown]
# ## 4. In the network
#
# Second-order rounding on both two-bit grids, weights only, nothing trained. (`gram` chooses all
# codes of a layer together, so that its *outputs* err least; how is the matter of lesson 6. `naive`
# among a run's scores is nearest rounding.)

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-9-"))
quick = Extent(naive=True, layers=False, verify=False, latency=False, examples=500)


def make(name, **choice):
    return session.quantize(out=folder / name, extent=quick, **choice).scores


rounded = {
    kind: make(
        kind,
        weights=WeightSpec(bits=2, table=kind),
        activations="float",
        method="gram",
        calibration_examples=64,
    )
    for kind in ("uniform", "balanced")
}
for kind, scores in rounded.items():
    print(
        f"{kind:9s} nearest {scores['naive']['score']:.1f} %, gram {scores['learned']['score']:.1f} %"
    )
assert rounded["balanced"]["naive"]["score"] > rounded["uniform"]["naive"]["score"]

# %% [markdown]
# And ternary weights (method `twn`, for ternary weight networks), trained for sixty steps. With so
# few levels it is not enough to round weights well: they have to *move*. (ParetoQ, Liu et al. 2025,
# arXiv:2502.02631, finds a border between 2 and 3 bits: at 3 and more, trained weights stay near
# the float ones and make up for rounding; at 2 and fewer they move far away, and what the layers
# compute changes.)

# %%
scores = make(
    "ternary",
    weights=2,
    activations=8,
    method="twn",
    calibration_examples=64,
    training_examples=1500,
    epochs=2,
)
print({name: f"{found['score']:.1f} %" for name, found in scores.items()})
assert scores["learned"]["score"] > scores["naive"]["score"] + 15
assert scores["learned"]["score"] > scores["float"]["score"] - 3

# %% [markdown]
# ## Exercises
#
# **9.1** How many bits of information does a ternary weight hold, if its three values are equally
# likely, and how many a binary one? Give a list of both, `[ternary, binary]`.

# %%
answer = None

# %%
course.check("9.1", answer)

# %% [markdown]
# **9.2** $w = (0.9, -0.5, 0.1, -0.7)$. What is the best binary scale $\alpha$?

# %%
answer = None

# %%
course.check("9.2", answer)

# %% [markdown]
# **9.3** The same $w$ with the ternary rule, $\Delta = 0.7\,\mathbb{E}|w|$. What is $\alpha$?

# %%
answer = None

# %%
course.check("9.3", answer)

# %% [markdown]
# **9.4** Answer the question of `demo.kmeans()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("9.4", answer)

# %% [markdown]
# ## What to remember
# - At two bits the levels' places matter more than anything: balanced beats $-2 \dots 1$ for free.
# - Tables fit weights better from three bits on, and cost a look-up.
# - Binary: $\alpha$ is the mean magnitude. Ternary: the mean of what lies above
#   $0.7\,\mathbb{E}|w|$.
# - Below three bits, train.
#
# Next: [Lesson 10, distillation and no data](10_distillation.ipynb).
