# %% [markdown]
# # Lesson 10: a teacher, and no data
#
# **You will be able to**
# - write the distillation loss, and say what the temperature and its square are for;
# - train a quantized network without a single label;
# - make calibration data from a network that has batch norm, and say what they are worth.
#
# **You need**: lessons 2 and 7. **Time**: 60 minutes.

# %%
import tempfile
from pathlib import Path

import torch
from torch.nn import functional

import workbench
from workbench import course, demo
from workbench.session.execute import Extent

session = workbench.open("digits-resnet")
folder = Path(tempfile.mkdtemp(prefix="lesson-10-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=600)


def make(name, **choice):
    return session.quantize(out=folder / name, extent=quick, **choice).scores["learned"]


# %% [markdown]
# ## 1. The float network teaches
#
# A label says "seven". The float network says "seven, but it could be a one, and hardly an eight".
# That is more to learn from one example, and it is exactly what the quantized network should say.
# So the float network, the *teacher*, gives the targets for the quantized one, the *student*;
# this is **distillation**. How far two answers $p$ and $q$ are apart is measured by
# $\mathrm{KL}(p \Vert q) = \sum_i p_i \ln (p_i / q_i)$, which is the *divergence from float* of the
# lessons before. (With the natural logarithm its unit is the *nat*.) With the logits $t$ of the
# teacher and $z$ of the student,
#
# $$ L_{\mathrm{KD}} = T^2\; \mathrm{KL}\big( \mathrm{softmax}(t / T) \,\Vert\, \mathrm{softmax}(z / T) \big)
#    $$
#
# (Hinton et al. 2015, arXiv:1503.02531). A temperature $T > 1$ flattens both, so that the small
# probabilities count. Flatter outputs have smaller gradients, for large $T$ in proportion to
# $1/T^2$; the factor $T^2$ takes that back.

# %%
generator = torch.Generator().manual_seed(0)
teacher = torch.randn(64, 10, generator=generator) * 3
student = (teacher + torch.randn(64, 10, generator=generator)).requires_grad_()


def distillation(z, t, T):
    logs = functional.log_softmax(z / T, -1), functional.log_softmax(t / T, -1)
    return T**2 * functional.kl_div(*logs, log_target=True, reduction="batchmean")


sizes = {}
for T in (1, 10, 40):
    (gradient,) = torch.autograd.grad(distillation(student, teacher, T), student)
    sizes[T] = float(gradient.norm())
print({T: round(size, 4) for T, size in sizes.items()})
assert abs(sizes[40] / sizes[10] - 1) < 0.1, "hot enough, the size no longer depends on T"

# %% [markdown]
# Expand for large $T$, with $K$ classes and $\bar z$ the mean of the logits $z$:
# $\mathrm{softmax}(z/T) \approx \frac1K (1 + (z - \bar z)/T)$, and the loss becomes $\frac{1}{2K}
# \lVert (z - \bar z) - (t - \bar t) \rVert^2$. At a high temperature distillation just matches
# logits, up to a constant that softmax does not see.

# %%
K = student.shape[1]
centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
limit = float((centred.square().sum(1) / (2 * K)).mean().detach())
hot = float(distillation(student, teacher, 500.0).detach())
print(f"T = 500: {hot:.4f}, the limit {limit:.4f}")
assert abs(hot / limit - 1) < 0.02

# %%
demo.distillation()

# %% [markdown]
# ## 2. Labels or teacher?
#
# Two bits for weights, four for activations, sixty steps of LSQ (lesson 7) on 1500 digits; once on
# labels alone, once on the teacher alone. (The options `labels` and `logits` are the weights of the
# two losses; by default they are 0 and 1.)

# %%
few = {"calibration_examples": 64, "training_examples": 1500, "epochs": 2}
taught = {
    "labels": make("labels", weights=2, activations=4, method="lsq", labels=1.0, logits=0.0, **few),
    "teacher": make("teacher", weights=2, activations=4, method="lsq", **few),
}
for name, found in taught.items():
    print(f"{name:8s} {found['score']:.1f} %, divergence from float {found['kl']:.4f}")
assert taught["teacher"]["kl"] < taught["labels"]["kl"] / 1.5, (
    "the teacher's student answers as it does"
)

# %% [markdown]
# The teacher itself has learned from labels. But the student need not find out again what the
# teacher already knows, and no label was used at all: pictures are enough. This is why the
# workbench distils by default.
#
# ## 3. No data
#
# Sometimes there are not even pictures: they are private, or lost. But a network that was trained
# with batch norm remembers, for each channel, mean and variance of what came by. ZeroQ (Cai et al.
# 2020, arXiv:2001.00281) starts from noise and descends on the *pixels* $x$ until the statistics
# fit:
#
# $$ \min_x\; \sum_l \Big( \lVert \mu_l(x) - \mu_l^{\mathrm{BN}} \rVert^2
#    + \lVert \sigma_l(x) - \sigma_l^{\mathrm{BN}} \rVert^2 \Big), $$
#
# where $\mu_l(x)$ and $\sigma_l(x)$ are the means and standard deviations of the channels at batch
# norm $l$ when the pictures $x$ go through the network, and those marked BN are the remembered
# ones.
#
# (The workbench folds batch norms into the convolutions before them when it opens a model, but
# keeps what they remember.) Three calibrations of the same recipe, each on 64 examples: real
# pictures, noise, and pictures by ZeroQ:

# %%
recipe = {"weights": 3, "activations": 4, "method": "gram", "calibration_examples": 64}
zeroq = {"maker": "zeroq", "examples": 64, "options": {"iterations": 60}}
calibrated = {
    "real": make("real", **recipe),
    "noise": make("noise", synthetic={"maker": "random", "examples": 64}, **recipe),
    "zeroq": make("zeroq", synthetic=zeroq, **recipe),
}
for name, found in calibrated.items():
    print(f"{name:6s} {found['score']:.1f} %, divergence {found['kl']:.4f}")
divergence = {name: found["kl"] for name, found in calibrated.items()}
assert divergence["real"] < divergence["zeroq"] < divergence["noise"]
assert divergence["zeroq"] < divergence["noise"] / 3, "what batch norm remembers is worth a lot"

# %% [markdown]
# Real pictures are best, and pictures made from the batch norms are far better than noise. All were
# judged on *real* held-out digits. Without those one could not even tell. A run that calibrated on
# made examples says so: its report calls it data-free.

# %%
demo.data_free()

# %% [markdown]
# ## Exercises
#
# **10.1** Teacher probabilities $(0.5, 0.5)$, student $(0.25, 0.75)$, $T = 1$. What is
# $\mathrm{KL}(\text{teacher} \Vert \text{student})$ in nats?

# %%
answer = None

# %%
course.check("10.1", answer)

# %% [markdown]
# **10.2** Logits $(2, 0)$ at temperature $T = 2$. What is the probability of the first class?

# %%
answer = None

# %%
course.check("10.2", answer)

# %% [markdown]
# **10.3** Which network is ZeroQ of *no* help for?
#
# - `"a"` a ResNet
# - `"b"` a vision transformer with LayerNorm
# - `"c"` a MobileNet

# %%
answer = None

# %%
course.check("10.3", answer)

# %% [markdown]
# **10.4** Answer the question of `demo.distillation()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("10.4", answer)

# %% [markdown]
# ## What to remember
# - $T^2\,\mathrm{KL}$: soft answers carry more than labels, and no label is needed.
# - Batch norm remembers enough to calibrate on; real examples, where there are some, are better.
# - Judge on real data, or say that you could not.
#
# Next: [Lesson 11, transformers](11_transformers.ipynb).
