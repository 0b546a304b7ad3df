# %% [markdown]
# # Lesson 11: transformers
#
# **You will be able to**
# - name the three tensors of a transformer that do not fit a uniform grid, and why;
# - move outlier channels from activations into weights (SmoothQuant), or spread them (rotation),
#   and prove that the float network stays the same;
# - choose logarithmic or twin grids for softmax and GELU.
#
# **You need**: lessons 2, 3 and 6; what attention computes. **Time**: 60 minutes.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.graph.taps import capture
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.hadamard import hadamard
from workbench.maths.metrics import sqnr_db
from workbench.session.execute import Extent

session = workbench.open("digits-vit")
NORM, SOFTMAX, GELU = "blocks.1.norm1", "blocks.1.attention.softmax", "blocks.1.gelu"
with torch.no_grad():
    pictures = session.data.split("calibration", 64)
    seen = capture(session.graph.module, pictures, [NORM, SOFTMAX, GELU])
for name, tensor in seen.items():
    print(
        f"{name:28s} {tuple(tensor.shape)}, from {float(tensor.min()):.2f} to {float(tensor.max()):.2f}"
    )

# %% [markdown]
# ## 1. Softmax: many small values, few large ones
#
# The network cuts a picture into 49 patches, its tokens. The attention probabilities of a row sum
# to one, so most of the 49 are tiny and a few are large. On a uniform 4-bit grid over $[0, 1]$ the
# step is $\frac{1}{15}$, and all below half a step, $\frac{1}{30}$, become zero.

# %%
softmax = seen[SOFTMAX]
grid = Grid(4, signed=False, symmetric=False)
scale, zero = affine_range(softmax.min(), softmax.max(), grid)
uniform = fake_quantize(softmax, scale, zero, grid)
small = float((softmax < 1 / 30).float().mean())
lost = float((uniform == 0).float().mean())
mass = float((uniform.sum(-1) - 1).abs().mean())
print(f"{100 * small:.0f} % are below 1/30, {100 * lost:.0f} % become zero")
print(f"the probabilities of a row sum to 1 up to {mass:.2f} on average")
assert lost > 0.8

# %% [markdown]
# A **logarithmic** grid has its levels at $s\,2^{-q/2}$ for the codes $q = 0, 1, \dots, 15$, with
# $s$ the largest value: many near zero and few at the top, where the same error is small beside the
# value (RepQ-ViT, Li et al. 2023, arXiv:2212.08254).

# %%
top = softmax.max()
codes = (-2 * torch.log2((softmax / top).clamp(min=1e-12))).round()
logarithmic = torch.where(codes <= 15, top * 2 ** (-codes / 2), torch.zeros(()))
relative = {
    name: float(((found - softmax).abs() / softmax)[softmax > 0.005].mean())
    for name, found in (("uniform", uniform), ("logarithmic", logarithmic))
}
lost_now = float((logarithmic == 0).float().mean())
print({name: f"{100 * value:.0f} % off" for name, value in relative.items()})
print(f"{100 * lost_now:.0f} % become zero")
assert relative["logarithmic"] < relative["uniform"] / 3
assert lost_now < 0.7 * lost

# %% [markdown]
# ## 2. GELU: two sides of different size
#
# Below zero GELU dips to $-0.17$ and no further; above, it goes on like a ReLU. A step that covers
# the large side leaves one or two levels for the dip, in which most of the values lie.

# %%
gelu = seen[GELU]
scale, zero = affine_range(gelu.min(), gelu.max(), grid)
dip = gelu < 0
uniform = fake_quantize(gelu, scale, zero, grid)
print(
    f"{100 * float(dip.float().mean()):.0f} % of the values are negative; the step is {float(scale):.2f}"
)
assert uniform[dip].unique().numel() <= 2

# %% [markdown]
# **Twin** grids (PTQ4ViT, Yuan et al. 2022, arXiv:2111.12293) spend one bit of the code on the
# side, and give each side a step of its own:

# %%
half = Grid(3, signed=False)
low_step, high_step = -gelu.min() / half.qmax, gelu.max() / half.qmax
twin = torch.where(
    dip,
    -fake_quantize(-gelu, low_step, torch.tensor(0.0), half),
    fake_quantize(gelu, high_step, torch.tensor(0.0), half),
)
db = {
    name: sqnr_db(gelu[dip], found[dip]) for name, found in (("uniform", uniform), ("twin", twin))
}
print({name: f"{value:.1f} dB in the dip" for name, value in db.items()})
assert db["twin"] > db["uniform"] + 10

# %%
demo.log_twin()

# %% [markdown]
# ## 3. Outlier channels
#
# In large language models a few channels of the activations, always the same ones, are tens of
# times larger than the others, up to a hundred, in nearly every token (Dettmers et al. 2022,
# arXiv:2208.07339; Xiao et al. 2023, arXiv:2211.10438). Our small network has none. $X$ is what
# comes out of a LayerNorm, a row for each token and a column for each channel; $W$ is the weight
# that it meets next:

# %%
X = seen[NORM].flatten(0, 1)  # (tokens, channels)
W = session.model.get_parameter("blocks_1_attention_query_weight").detach()  # (in, out)
ranges = X.abs().amax(0)
print(f"widest over median channel: {float(ranges.max() / ranges.median()):.1f}")
assert ranges.max() / ranges.median() < 3

# %% [markdown]
# So we plant some: three channels of $X$ become 50 times as large, and the matching rows of $W$ 50
# times as small. The product is the same up to float rounding, but quantization is ruined, as the
# next results will show:

# %%
factors = torch.ones(X.shape[1])
factors[[3, 17, 40]] = 50.0
X_out, W_out = X * factors, W / factors[:, None]
assert torch.allclose(X_out @ W_out, X @ W, atol=1e-3)

eight, columns = Grid(8, signed=False, symmetric=False), Granularity("channel", 1)
weights_grid = Grid(8, granularity=columns)


def product_db(x, w):
    """SQNR of x w with 8 bits on both, x per tensor, w per output channel."""
    x_hat = fake_quantize(x, *affine_range(x.min(), x.max(), eight), eight)
    w_hat = fake_quantize(w, *affine_range(w.amin(0), w.amax(0), weights_grid), weights_grid)
    return sqnr_db(X @ W, x_hat @ w_hat)


# %% [markdown]
# Scales per channel of $X$ would help, but they lie on the *summed* axis, and cannot be taken out
# of the integer sum (lesson 3). Two transformations instead, which fold into the weights:
#
# - **SmoothQuant** (Xiao et al. 2023, arXiv:2211.10438) divides channel $j$ of $X$ by
#   $s_j = \max|X_j|^{\alpha} / \max|W_j|^{1 - \alpha}$ and multiplies row $j$ of $W$ by it. At
#   $\alpha = \frac12$ both sides get the same range. The division goes into the weight and bias of
#   the LayerNorm.
# - A **rotation** $Q$, that is a matrix with $Q Q^{\top} = I$ (QuaRot, Ashkboos et al. 2024,
#   arXiv:2404.00456): $X W = (X Q)(Q^{\top} W)$. In a Hadamard matrix every entry has the same
#   magnitude, so each new channel is the sum of all old ones with signs, and an outlier is spread
#   over all of them. $Q$ goes into the weights of the layers before the norm, once the norm's own
#   weight, bias and mean have been moved into the layers around it.

# %%
s = X_out.abs().amax(0).sqrt() / W_out.abs().amax(1).sqrt()
Q = hadamard(X.shape[1]).float()
Q = Q / Q.norm(dim=0, keepdim=True)
assert torch.allclose(Q @ Q.T, torch.eye(len(Q)), atol=1e-5), "a rotation"

results = {
    "as it was": product_db(X, W),
    "outliers": product_db(X_out, W_out),
    "smoothed": product_db(X_out / s, W_out * s[:, None]),
    "rotated": product_db(X_out @ Q, Q.T @ W_out),
}
for name, value in results.items():
    print(f"{name:10s} {value:5.1f} dB")
assert results["outliers"] < results["as it was"] - 15
assert results["smoothed"] > results["outliers"] + 15, "smoothing takes back what was planted"
assert results["rotated"] > results["outliers"] + 5, "a rotation spreads it"

# %% [markdown]
# ## 4. In the network
#
# Four bits for weights and activations, 32 calibration pictures. The method `repq_vit` puts
# logarithmic grids behind softmax. Behind a LayerNorm it finds a range for each channel, and moves
# the differences into the norm and into the next weights, much as SmoothQuant does, so that one
# scale serves the whole tensor:

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-11-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=500)
scores = {}
for method in ("rtn", "repq_vit"):
    run = session.quantize(
        weights=4,
        activations=4,
        method=method,
        calibration_examples=32,
        out=folder / method,
        extent=quick,
    )
    scores[method] = run.scores["learned"]
    print(f"{method:9s} {scores[method]['score']:.1f} %, divergence {scores[method]['kl']:.4f}")
assert scores["repq_vit"]["kl"] < scores["rtn"]["kl"]

# %% [markdown]
# On ImageNet, DeiT-S (79.9 % in float) keeps 69.0 % with RepQ-ViT at 4-bit weights and activations,
# from 32 pictures and without any training.
#
# ## Exercises
#
# **11.1** $\max|X_j| = 64$, $\max|W_j| = 0.25$, $\alpha = \frac12$. By which $s_j$ does SmoothQuant
# divide the channel?

# %%
answer = None

# %%
course.check("11.1", answer)

# %% [markdown]
# **11.2** After that, what is the range $\max|X_j|$, and what is $\max|W_j|$? A list of two
# numbers.

# %%
answer = None

# %%
course.check("11.2", answer)

# %% [markdown]
# **11.3** A vector has 64 channels; one is 8, the others are 0. What is its largest magnitude after
# a rotation by the orthonormal 64 × 64 Hadamard matrix, whose entries are $\pm\frac18$?

# %%
answer = None

# %%
course.check("11.3", answer)

# %% [markdown]
# **11.4** Answer the question of `demo.log_twin()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("11.4", answer)

# %% [markdown]
# ## Five-minute challenge
#
# `digits-vit` with 4-bit activations, weights in at most 46,000 bytes. (`activations` is given;
# leave it out.) Try `ptq4vit`, `repq_vit`, `gram`, `transforms` such as `["rotate"]`.

# %%
choice = {"weights": 2, "method": "repq_vit"}
# course.score("11", choice)

# %% [markdown]
# ## What to remember
# - Softmax wants logarithmic levels, GELU two grids in one, LayerNorm's outliers a transformation.
# - Smoothing and rotating leave the float network's output as it is, and cost nothing once folded
#   in.
#
# Next: [Lesson 12, mixed precision](12_mixed_precision.ipynb).
