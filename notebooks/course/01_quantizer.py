# %% [markdown]
# # Lesson 1: what a quantizer is
#
# **You will be able to**
# - say what a *scale*, a *zero-point* and a *code* are, and work one value through by hand;
# - tell rounding error from clipping error, and bound both;
# - predict how many decibels one more bit is worth, and see where the prediction ends.
#
# **You need**: Python and a little PyTorch. **Time**: 45 minutes.
#
# A network's weights are usually stored as 32-bit floating-point numbers. A *quantizer* replaces
# each of them by one of a few values, the *levels*, and stores the number of the level, its *code*.
# Four bits can number sixteen levels, so a weight then takes an eighth of the room, and
# integer arithmetic, which is cheap in hardware, can do most of the work. The price is an error in
# nearly every number. The course is about where that error comes from, which part of it matters,
# and how *learning* makes it smaller.

# %%
import torch

from workbench import course, demo
from workbench.maths.grid import Grid, affine_range, dequantize, fake_quantize, quantize

# %% [markdown]
# ## 1. Scale, zero-point, code
#
# A uniform affine quantizer has two parameters: the **scale** $s > 0$, the distance between two
# neighbouring levels, also called the *step*, and the **zero-point** $z$, the code that stands for
# zero. A value $x$ becomes the code
#
# $$ q = \mathrm{clip}\left(\left\lfloor \tfrac{x}{s} \right\rceil + z,\; q_{\min},\; q_{\max}\right)
# \qquad\text{and the code stands for}\qquad \hat x = s\,(q - z). $$
#
# $\lfloor\cdot\rceil$ rounds to the nearest integer; a tie goes to the even one, as in ONNX,
# PyTorch and NumPy. $\mathrm{clip}$ keeps the code between the lowest and the highest one,
# $q_{\min}$ and $q_{\max}$. All the levels together are called a *grid*: one of $b$ bits has $2^b$
# codes, from $0$ to $2^b - 1$ if unsigned and from $-2^{b-1}$ to $2^{b-1} - 1$ if signed. The
# formula is from Jacob et al. 2018 (arXiv:1712.05877); its notation here follows Nagel et al. 2021
# (arXiv:2106.08295).
#
# To cover a range $[l, h]$ with $l \le 0 \le h$, spread the codes over it, and then choose $z$ so
# that **zero is exactly a level**: padding and ReLU produce zeros by the million, and the same
# small error in each of them would add up.
#
# $$ s = \frac{h - l}{q_{\max} - q_{\min}}, \qquad z = q_{\min} - \left\lfloor \tfrac{l}{s} \right\rceil $$

# %%
grid = Grid(4, signed=False, symmetric=False)
scale, zero_point = affine_range(torch.tensor(-1.0), torch.tensor(3.0), grid)
x = torch.tensor([-1.0, -0.4, 0.0, 0.5, 1.7, 3.0, 5.0])
codes = quantize(x, scale, zero_point, grid)
values = dequantize(codes, scale, zero_point, grid)
print(f"scale {float(scale):.4f}, zero-point {float(zero_point):g}")
for before, code, after in zip(x, codes, values, strict=True):
    print(f"{float(before):5.1f} -> code {int(code):2d} -> {float(after):8.4f}")

assert codes.tolist() == [0, 2, 4, 6, 10, 15, 15]
assert float(values[2]) == 0.0, "zero is a level"

# %% [markdown]
# Look at the two ends. $-1$ became $-1.0667$ and $3$ became $2.9333$: rounding $z$ moved the whole
# grid by a fraction of a step. And $5$ became $2.9333$ as well. It was **clipped**: there is no
# code above 15.
#
# Move the parameters yourself. The demo asks before it shows; commit to a guess, it costs nothing.

# %%
demo.number_line()

# %% [markdown]
# ## 2. Symmetric and asymmetric
#
# Weights usually lie on both sides of zero alike, so one fixes $z = 0$. This is called *symmetric*,
# and spares integer arithmetic the terms with $z$ in every sum of products. The scale then follows
# from the largest magnitude,
#
# $$ s = \frac{\max |x|}{(q_{\max} - q_{\min}) / 2}. $$
#
# With 4 bits the codes run from $-8$ to $7$, and $\max |x|$ is 7.5 steps. What comes out of a ReLU
# is never negative: a signed symmetric grid would leave all codes below zero unused, one bit lost.

# %%
relu = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).relu()
signed, unsigned = Grid(4), Grid(4, signed=False, symmetric=False)
used, errors = {}, {}
for name, choice in (("signed", signed), ("unsigned", unsigned)):
    parameters = affine_range(relu.min(), relu.max(), choice)
    used[name] = quantize(relu, *parameters, choice).unique().numel()
    errors[name] = float((fake_quantize(relu, *parameters, choice) - relu).square().mean())
print(used, errors)

assert used["signed"] <= 8 < used["unsigned"] <= 16
assert errors["unsigned"] < errors["signed"] / 3, "half the step, a quarter of the squared error"

# %%
demo.asymmetric()

# %% [markdown]
# ## 3. Two errors
#
# Inside the range, a value moves to the nearest level, so **the rounding error is at most half a
# step**:
#
# $$ |x - \hat x| \le \tfrac{s}{2}. $$
#
# If values fall anywhere between two levels with equal chance, the error is uniform on
# $[-\frac{s}{2}, \frac{s}{2}]$ and its mean square is
#
# $$ \mathbb{E}\,(x - \hat x)^2 = \frac{1}{s} \int_{-s/2}^{s/2} e^2\, de = \frac{s^2}{12}. $$
#
# Outside, the **clipping error** grows with the value and has no bound. Let us check the bound and
# the mean square on a real weight: the second convolution of the last block of a small residual
# network for handwritten digits.

# %%
import workbench

session = workbench.open("digits-resnet")
weight = session.model.get_parameter("blocks_2_conv2_weight").detach()
print(f"{weight.numel():,} weights, largest {float(weight.abs().max()):.3f}")

grid = Grid(6)
scale, zero_point = affine_range(weight.min(), weight.max(), grid)
error = fake_quantize(weight, scale, zero_point, grid) - weight
inside = (weight / scale >= grid.qmin) & (weight / scale <= grid.qmax)
print(f"root mean square error / step = {float(error.square().mean().sqrt() / scale):.4f}")

assert float(error[inside].abs().max()) <= float(scale) / 2 + 1e-6, "half a step at most"
assert abs(float(error[inside].square().mean().sqrt() / scale) - 12**-0.5) < 0.01, "s / sqrt(12)"

# %% [markdown]
# $1/\sqrt{12} \approx 0.289$ is worth remembering: a layer whose root mean square error is far
# above 0.289 steps does not only round, it clips.
#
# ## 4. What a bit is worth
#
# Errors are compared with the signal in **decibels** (dB), as the signal-to-quantization-noise
# ratio:
#
# $$ \mathrm{SQNR} = 10 \log_{10} \frac{\sum x^2}{\sum (x - \hat x)^2}. $$
#
# One bit more halves the step (very nearly, for the same range), quarters the mean square error,
# and so gives $20 \log_{10} 2 \approx 6.02$ dB. This holds while the error really is like uniform
# noise.

# %%
from workbench.maths.metrics import sqnr_db

table = {}
for bits in range(2, 9):
    grid = Grid(bits)
    scale, zero_point = affine_range(weight.min(), weight.max(), grid)
    table[bits] = sqnr_db(weight, fake_quantize(weight, scale, zero_point, grid))
for bits, db in table.items():
    gain = f", {db - table[bits - 1]:+.2f} for the last bit" if bits > 2 else ""
    print(f"{bits} bits: {db:6.2f} dB{gain}")

stray = {bits: abs(table[bits] - table[bits - 1] - 6.02) for bits in range(3, 9)}
assert max(stray[b] for b in (6, 7, 8)) < 0.15, "six decibels for each bit"
assert min(stray[b] for b in (3, 4)) > 0.15, "with few levels the law is rough"

grid = Grid(2)
scale, zero_point = affine_range(weight.min(), weight.max(), grid)
zeros = float((quantize(weight, scale, zero_point, grid) == 0).float().mean())
print(f"at 2 bits {100 * zeros:.0f} % of the weights become zero")
assert zeros > 0.8

# %% [markdown]
# At 2 bits nearly every weight rounds to zero: the error is then not noise but the signal itself.
# That is why few bits need methods of their own, and why this course does not end here.

# %%
demo.six_db()

# %% [markdown]
# ## 5. Fake quantization
#
# To study a quantized network one need not run integers. `fake_quantize` computes the code and maps
# it back at once, so the network stays in floating point, but every number in it is a level of the
# grid. Quantizing twice changes nothing more:

# %%
grid = Grid(8)
scale, zero_point = affine_range(weight.min(), weight.max(), grid)
once = fake_quantize(weight, scale, zero_point, grid)
assert torch.equal(fake_quantize(once, scale, zero_point, grid), once), "idempotent"
assert once.unique().numel() <= 2**8

# %% [markdown]
# ## Exercises
#
# Put your answer in place of `None` and run both cells. Write numbers, not code that computes them
# from the notebook: your teacher's grader reads answers and runs nothing.
#
# **1.1** How many levels has a grid of 5 bits?

# %%
answer = None

# %%
course.check("1.1", answer)

# %% [markdown]
# **1.2** Open `demo.number_line(bits=3)` and, before you move anything, answer its question in the
# words of one of the choices, in quotes.

# %%
answer = None

# %%
course.check("1.2", answer)

# %% [markdown]
# **1.3** By hand: the range $[-1, 3]$ is covered by an asymmetric unsigned grid of 4 bits, as in
# section 1. Which value $\hat x$ does $x = 2.1$ become? Give four digits.

# %%
answer = None

# %%
course.check("1.3", answer)

# %% [markdown]
# **1.4** A weight has an SQNR of 31.0 dB at 6 bits with its whole range covered. About how many
# decibels will it have at 8 bits, if section 4 holds?

# %%
answer = None

# %%
course.check("1.4", answer)

# %% [markdown]
# ## What to remember
# - $q = \mathrm{clip}(\lfloor x/s \rceil + z)$ and $\hat x = s(q - z)$; zero is always a level.
# - Rounding errs by half a step at most, $s/\sqrt{12}$ in root mean square; clipping without bound.
# - A bit is worth 6 dB, as long as there are enough of them.
#
# Next: [Lesson 2, calibration](02_calibration.ipynb). Read on: Nagel et al. 2021, *A White Paper on
# Neural Network Quantization*, arXiv:2106.08295, section 2.
