# %% [markdown]
# # Lesson 6: second order, rounding without gradients
#
# **You will be able to**
# - gather everything that a layer's rounding needs to know about the data in one matrix;
# - derive GPTQ's update, and carry out a step by hand;
# - explain descent over the codes in *Gram space*, and why its cost does not depend on the data;
# - say what damping is for.
#
# **You need**: lesson 4, linear algebra (inverse, Cholesky). **Time**: 60 minutes.

# %%
import tempfile
from itertools import pairwise
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.graph.taps import capture
from workbench.maths.gptq import pose_as_paper, round_columns
from workbench.maths.gram import Points, solve, values
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.moments import Moments
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. All about the data in one matrix
#
# For a linear layer with the weights $W$, rounded to $\hat W$, the output error is *exactly*
#
# $$ \mathbb{E}\,\lVert W x - \hat W x \rVert^2 = \sum_{\text{rows}} \Delta w^{\top} H \Delta w,
#    \qquad H = \mathbb{E}\, x x^{\top}, $$
#
# with $\Delta w$ the rounding errors of a row, as in lesson 4. $H$ holds the *second moments* of
# the inputs; a layer of $n$ inputs has an $n \times n$ matrix, however many examples were seen.
# Gather it in one pass, and forget the examples: every rounding of the layer can be judged from $H$
# alone. (A convolution is a linear layer over patches of its input.)

# %%
session = workbench.open("digits-mobilenet")
W = session.model.get_parameter("head_weight").detach()  # (10, 128)


@torch.no_grad()
def inputs(split, examples):
    pictures = session.data.split(split, examples)
    return capture(session.graph.module, pictures, ["reshape"])["reshape"]


X, X_test = inputs("calibration", 512), inputs("test", 512)
moments = Moments(1, W.shape[1])  # one matrix; grouped layers have several
moments.add(X[None])
H = (moments.second / moments.count)[0].float()

grid = Grid(2, granularity=Granularity("channel", 0))
scale, zero_point = affine_range(W.amin(1), W.amax(1), grid)
nearest = fake_quantize(W, scale, zero_point, grid)


def error(rounded, rows=X):
    """Mean squared output error, summed over the outputs."""
    return float((rows @ (rounded - W).T).square().mean(0).sum())


delta = nearest - W
from_matrix = float(((delta @ H) * delta).sum())
print(f"from the examples {error(nearest):.5f}, from H {from_matrix:.5f}")
assert abs(from_matrix / error(nearest) - 1) < 1e-3, "the same number"

# %% [markdown]
# ## 2. GPTQ
#
# Take one row, and fix its first weight to a level $\hat w_1$. How should the other weights, which
# are still free, change to make up for that error? Minimise the quadratic form under the constraint
# $\Delta w_1 = \hat w_1 - w_1$. With a Lagrange multiplier one finds the *optimal brain surgeon*
# update (Hassibi and Stork 1993; for quantization Frantar et al. 2022, arXiv:2208.11580):
#
# $$ \Delta w_{\text{rest}} = - \frac{w_1 - \hat w_1}{[H^{-1}]_{11}}\, [H^{-1}]_{\text{rest},\, 1} , $$
#
# where $[H^{-1}]_{\text{rest},\, 1}$ is the first column of the inverse without its first entry.
# Round, update, strike the first row and column out of $H$, and go on to the next weight with the
# inverse of what is left. GPTQ (Frantar et al. 2023, arXiv:2210.17323) takes all rows of $W$ in the
# same order, so that one inverse serves all, and reads the successive inverses off a single
# Cholesky factor, $H^{-1} = U^{\top} U$ with $U$ upper triangular. When the weight $j$ is rounded,
# the update becomes $w_i \leftarrow w_i - \frac{w_j - \hat w_j}{U_{jj}} U_{ji}$ for all $i > j$. In
# plain Python (its first line is the damping of section 3):


# %%
def gptq(weight, hessian, step, damping=0.01):
    """Columns one after the other; what is left makes up for each error."""
    damped = hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian))
    inverse = torch.linalg.inv(damped.double())
    U = torch.linalg.cholesky(inverse, upper=True).float()
    rest, found = weight.clone(), torch.zeros_like(weight)
    for j in range(weight.shape[1]):
        codes = (rest[:, j] / step).round().clamp(grid.qmin, grid.qmax)
        found[:, j] = codes * step
        mistake = (rest[:, j] - found[:, j]) / U[j, j]
        rest[:, j:] -= mistake[:, None] * U[j, j:]
    return found


ours = gptq(W, H, scale)

# the same by the engine, which takes a stack of layers and scales for groups of columns
problem = pose_as_paper(W[None], moments, damping=0.01)
codes, *_ = round_columns(problem, Points(grid), scale[None, :, None], zero_point[None, :, None])
engine = codes[0] * scale[:, None]
print(f"nearest {error(nearest):.4f}, GPTQ {error(ours):.4f}")
assert error(ours) < error(nearest) / 3
assert float((ours != engine).float().mean()) < 0.01, "the engine does the same"

# %%
demo.gptq()

# %% [markdown]
# ## 3. Damping
#
# Along directions in which the inputs are hardly ever seen, $H$ has eigenvalues near zero: changes
# of the weights there seem to cost nothing, and the updates can become huge, which suits the
# examples seen and harms on others. A ridge bounds them: use $H + \lambda\,\overline{H_{ii}}\, I$
# in place of $H$, with $\overline{H_{ii}}$ the mean of its diagonal and $\lambda$ a small number,
# 0.01 in the code above.

# %%
eigenvalues = torch.linalg.eigvalsh(H.double())
print(f"eigenvalues from {float(eigenvalues[0]):.1e} to {float(eigenvalues[-1]):.1e}")
assert float(eigenvalues[0]) < 1e-3 * float(eigenvalues[-1]), "some directions are all but unseen"

few = X[:64].double()  # 64 examples for 128 inputs: without a ridge, H has no inverse at all
thin = few.T @ few / len(few)
ridges = {ridge: error(gptq(W, thin, scale, ridge), X_test) for ridge in (1e-5, 0.01, 1.0)}
print("held-out error by ridge:", {ridge: round(found, 3) for ridge, found in ridges.items()})
assert ridges[0.01] < ridges[1e-5] / 1.2, "too small a ridge suits the examples seen"
assert ridges[0.01] < ridges[1.0] / 1.2, "too large a one hardly looks at the data"

# %% [markdown]
# ## 4. Descent in Gram space
#
# GPTQ visits each weight once and never returns. But codes that are there already can be improved.
# With all others fixed, the error is a parabola in a single weight $\hat w_j$, so its best level is
# known in closed form:
#
# $$ \hat w_j \leftarrow \Big\lfloor \hat w_j - \frac{g_j}{H_{jj}} \Big\rceil_{\text{grid}},
#    \qquad g = H\,(\hat w - w). $$
#
# Here $\lfloor\cdot\rceil_{\text{grid}}$ is the nearest level of the grid. A visit never raises the
# error; sweep over all weights until nothing changes, then fit the scale to the codes, and sweep
# again. No picture is needed for it, only $H$, which is the Gram matrix of the inputs up to a
# factor: hence the name *Gram space*, and `gram`, the workbench's fast method (its equations are at
# the head of `workbench/maths/gram.py`).


# %%
def sweep(found, weight, hessian, step):
    """One visit to every weight."""
    found = found.clone()
    for j in range(weight.shape[1]):
        gradient = (found - weight) @ hessian[:, j]
        wish = found[:, j] - gradient / hessian[j, j]
        found[:, j] = (wish / step).round().clamp(grid.qmin, grid.qmax) * step
    return found


history = [nearest]
for _ in range(4):
    history.append(sweep(history[-1], W, H, scale))
print("descent from nearest:", [round(error(each), 4) for each in history])
falls = [error(each) for each in history]
assert all(after <= before + 1e-6 for before, after in pairwise(falls))

solution = solve(problem, grid, sweeps=4, refits=1)
gram = values(solution.codes, solution.scale, solution.zero_point, Points(grid))[0]
table = {"nearest": nearest, "GPTQ": ours, "descent": history[-1], "gram": gram}
for name, rounded in table.items():
    print(f"{name:8s} calibration {error(rounded):7.4f}, held out {error(rounded, X_test):7.4f}")
assert error(gram) < error(ours), "scale search and descent beat one pass"
assert error(gram, X_test) < error(nearest, X_test) / 3, "and it holds on other pictures"

# %% [markdown]
# ## 5. The whole network at two bits
#
# Layer after layer, each with the second moments of the inputs that the quantized layers before it
# give, next to rounding to nearest (`rtn`).

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-6-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=600)
scores = {}
for method in ("rtn", "gram"):
    run = session.quantize(
        weights=2,
        activations="float",
        method=method,
        calibration_examples=96,
        out=folder / method,
        extent=quick,
    )
    scores[method] = run.scores["learned"]["score"]
print(scores)
assert scores["gram"] > scores["rtn"] + 50, (
    "from guessing to working, in seconds and without a gradient"
)

# %% [markdown]
# ## Exercises
#
# **6.1** $H = \begin{pmatrix} 2 & 1 \\ 1 & 2 \end{pmatrix}$, $w = (0.4, 0.4)$, integer levels. GPTQ
# (without damping) rounds $w_1$ to 0. Which value does $w_2$ have after the update, before it is
# rounded?

# %%
answer = None

# %%
course.check("6.1", answer)

# %% [markdown]
# **6.2** With the same $H$ and $w$, start at $\hat w = (0, 0)$ and visit $j = 1$ once, as in
# section 4. Which value does the formula give for $\hat w_1$ before it is rounded?

# %%
answer = None

# %%
course.check("6.2", answer)

# %% [markdown]
# **6.3** A layer has 512 inputs, and all entries of its $H$ are kept as 32-bit floats. How many
# bytes does $H$ take after 10,000 examples?

# %%
answer = None

# %%
course.check("6.3", answer)

# %% [markdown]
# **6.4** Answer the question of `demo.gptq()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("6.4", answer)

# %% [markdown]
# ## Five-minute challenge
#
# `digits-mobilenet`, weights in at most 34,000 bytes; the rules are those of lesson 4. Options of
# `gram`: `rows`, `sweeps`, `refits`, `damping`, `rounding_damping`, `compensate`,
# `bias_correction`, `calibrator`.

# %%
choice = {"weights": 2, "activations": 8, "method": "gram", "sweeps": 4, "refits": 1}
# course.score("6", choice)

# %% [markdown]
# ## What to remember
# - $H = \mathbb{E} x x^{\top}$ is all that a linear layer's rounding needs to know about the data.
# - GPTQ: round a column, let the rest make up for it, one Cholesky factor for all rows.
# - Gram: exact steps over one code at a time, with the scale refitted; no pictures once $H$ is
#   there, and no backpropagation.
#
# Next: [Lesson 7, training with the quantizer in the loop](07_training.ipynb).
