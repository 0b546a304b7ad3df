# %% [markdown]
# # Lesson 7: training with the quantizer in the loop
#
# **You will be able to**
# - write a quantization-aware training loop, and say what the straight-through estimator pretends;
# - derive the gradient of the step size in LSQ, and its scale $g$;
# - decide when to train at all.
#
# **You need**: lesson 1, a training loop in PyTorch. **Time**: 60 minutes.
#
# So far the float weights were given, and only their rounding was chosen. At 2 bits that is often
# not enough, and the weights themselves have to move. In **quantization-aware training** (QAT) the
# network computes with quantized weights and activations, its loss is that of the quantized
# network, and gradient descent moves the float weights that are quantized at every step.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.maths.grid import Grid, fake_quantize
from workbench.quantizers.lsq import LSQ
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. A staircase has no slope
#
# Rounding is flat almost everywhere, so its gradient is zero and nothing would ever learn. The
# **straight-through estimator** (Bengio et al. 2013, arXiv:1308.3432) rounds in the forward pass
# and pretends in the backward pass that it had not: slope one inside the range, zero outside of it.

# %%
grid = Grid(3)
w = torch.tensor([-5.0, -0.9, 0.1, 0.9, 2.0], requires_grad=True)
scale, zero = torch.tensor(0.5), torch.tensor(0.0)
fake_quantize(w, scale, zero, grid).sum().backward()
print(w.grad.tolist())
assert w.grad.tolist() == [0, 1, 1, 1, 0], "one inside [-2, 1.5], zero outside"

# %%
demo.staircase()

# %% [markdown]
# ## 2. LSQ: the step size learns, too
#
# LSQ (learned step size quantization, Esser et al. 2020, arXiv:1902.08153) makes the step $s$ a
# parameter like the weights. With $v = w / s$ inside the range, $\hat w = s \lfloor v \rceil$.
# Differentiate with the straight-through rule, by which $\lfloor v \rceil$ changes as $v$ does:
#
# $$ \frac{\partial \hat w}{\partial s} = \lfloor v \rceil + s\,\frac{\partial v}{\partial s}
#    = \lfloor v \rceil - v \quad\text{inside},\qquad
#    \frac{\partial \hat w}{\partial s} = q_{\min} \text{ or } q_{\max} \quad\text{outside}. $$
#
# Inside, this is the way from the value to its level, in steps; outside, it is the outermost code.
# The chain rule multiplies it by the gradient of the loss by $\hat w$. If the loss is, say, the
# squared error of the weights, rounding pulls the step down and clipping pulls it up, and it
# settles where both pull alike. A step size is shared by $N$ weights, whose gradients add up, so
# the paper multiplies the sum by $g = 1 / \sqrt{N\,q_{\max}}$ to keep its updates in proportion to
# those of the weights.

# %%
values = torch.tensor([0.3, 0.7, 4.0])
quantizer = LSQ(grid, (3,))
quantizer.set_affine(torch.tensor(0.5), torch.tensor(0.0))
for one in values:
    quantizer.zero_grad()
    factor = quantizer.gradient_factor(values)
    quantizer.fake_quantize(one.reshape(1).expand(3)).sum().backward()
    v = float(one) / 0.5
    expected = round(v) - v if v < grid.qmax else grid.qmax
    found = float(quantizer.scale.grad) / 3 / factor
    print(f"w = {float(one)}: v = {v:.1f}, d w^ / d s = {found:+.2f}")
    assert abs(found - expected) < 1e-5
assert abs(factor - (3 * grid.qmax) ** -0.5) < 1e-9, "g = 1 / sqrt(N qmax)"

# %%
demo.lsq()

# %% [markdown]
# Without $g$, or with too large a learning rate, the step can run away: once it is more than twice
# the largest weight, all weights round to zero, and the gradient that is left is so small that the
# step hardly comes back. Try both in the demo above.
#
# **PACT** (Choi et al. 2018, arXiv:1805.06085) is an older relative for activations behind a ReLU.
# It learns the upper end $\alpha$ of the range, to which all larger values are clipped, with
# $\partial \hat x / \partial \alpha = 1$ where $x \ge \alpha$ and 0 below. Rounding has no part in
# that gradient, so a penalty $\lambda \alpha^2$ is needed to pull $\alpha$ down.

# %%
demo.pact()

# %% [markdown]
# ## 3. A network in your own loop
#
# `session.trainable` gives the quantized network as an `nn.Module` with its parameters apart by
# kind, and batches of training data. The rest is PyTorch. By default the loss compares the outputs
# with those of the float network, the *teacher* (lesson 10), so the labels that the loop passes on
# have no effect.

# %%
session = workbench.open("digits-resnet")
training = session.trainable(
    weights=2,
    activations=4,
    method="lsq",
    calibration_examples=64,
    training_examples=1500,
)
network = training.network
groups = network.groups()
print({kind: sum(p.numel() for p in held) for kind, held in groups.items()})

optimiser = torch.optim.AdamW(
    [
        {"params": groups["weights"] + groups["offsets"], "lr": 2e-3},
        {"params": groups["scales"], "lr": 1e-3, "weight_decay": 0.0},
    ]
)
losses = []
for epoch in range(2):
    for inputs, labels in training.batches(50, epoch):
        loss = network.loss(*inputs, labels=labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
print(f"loss {sum(losses[:5]) / 5:.2f} -> {sum(losses[-5:]) / 5:.2f} in {len(losses)} steps")
assert sum(losses[-5:]) < sum(losses[:5]) / 2

# %% [markdown]
# Scales get no weight decay: to decay a step size would shrink the range, for no reason.
#
# Judge the result on held-out digits, next to the float network and to plain nearest rounding with
# the same bits (`naive`):

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-7-"))
quick = Extent(naive=True, layers=False, latency=False, examples=800, verify_examples=16)
run = training.finish(folder / "run", quick)
scores = {name: found["score"] for name, found in run.scores.items()}
print({name: f"{score:.1f} %" for name, score in scores.items()})
assert scores["learned"] > scores["naive"] + 15, "sixty steps bring back most of it"
assert run.report()["verification"]["ok"], "and ONNX Runtime computes the same"

# %% [markdown]
# ## 4. When to train
#
# | bits of weights | what usually is enough |
# |---|---|
# | 8 | calibration (lesson 2) |
# | 4 | learned rounding or reconstruction (lessons 4 to 6) |
# | 3 | reconstruction; training for the last point |
# | 2 and less | training, or second order on an easy network |
#
# Training needs data by the thousand, and hours on large networks; in return it reaches widths that
# nothing else does. On ImageNet, LSQ brought ResNet-18 with 2-bit weights *and* activations to 67.6
# % (float 70.5 %), where reconstruction from 1024 pictures stands at 52 to 54 % (QDrop, lesson 5;
# PD-Quant, arXiv:2212.07048; MRECG, arXiv:2303.11906).
#
# ## Exercises
#
# **7.1** $s = 0.2$, signed grid of 4 bits, $w = 0.47$. What is $\partial \hat w / \partial s$ in
# LSQ, before the factor $g$?

# %%
answer = None

# %%
course.check("7.1", answer)

# %% [markdown]
# **7.2** A weight of 64 × 64 × 3 × 3 with one scale and 2 signed bits ($q_{\max} = 1$). What is the
# gradient scale $g$?

# %%
answer = None

# %%
course.check("7.2", answer)

# %% [markdown]
# **7.3** Answer the question of `demo.lsq()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("7.3", answer)

# %% [markdown]
# ## Five-minute challenge
#
# `digits-gru`, weights in at most 30,000 bytes; the rules are those of lesson 4, and training
# within five minutes of processor time is the harder part. Methods that train take `epochs`,
# `learning_rate`, `labels` and more; in a terminal `workbench methods lsq` lists them.

# %%
choice = {"weights": 2, "activations": 8, "edges": 2, "method": "lsq", "epochs": 2}
# course.score("7", choice)

# %% [markdown]
# ## What to remember
# - Forward quantized, backward straight through; the float weights stay and learn.
# - Rounding pulls LSQ's step down, clipping pulls it up, and it settles where both pull alike.
# - Train where nothing cheaper is enough.
#
# Next: [Lesson 8, gradient estimators](08_estimators.ipynb). Also: [a training loop of your
# own](../02_own_training_loop.ipynb).
