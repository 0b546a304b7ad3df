# %% [markdown]
# # Lesson 2: calibration
#
# **You will be able to**
# - choose a range from data, and name what min-max, percentile, least-error and ACIQ each trust;
# - say how many examples are enough, and notice when they are the wrong ones;
# - judge a range on examples that did not choose it.
#
# **You need**: lesson 1. **Time**: 45 minutes.
#
# A weight is known before the network runs, so its range can be read off. An **activation** is what
# a layer gives out while the network runs, and every input gives another. *Calibration* runs a few
# examples through the float network, looks at the values, and fixes a range for each activation. No
# label is needed.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo
from workbench.graph.taps import capture
from workbench.maths.calibrators.base import Samples
from workbench.maths.calibrators.registry import CALIBRATORS
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.metrics import sqnr_db
from workbench.session.execute import Extent

session = workbench.open("digits-resnet")
TENSOR = "blocks.2.relu_2"  # what the last block gives, after its ReLU


@torch.no_grad()
def activations(split, examples):
    """The tensor for the first examples of a split, (examples, channels, height, width)."""
    inputs = session.data.split(split, examples)
    return capture(session.graph.module, inputs, [TENSOR])[TENSOR]


seen, held_out = activations("calibration", 256), activations("test", 256)
print(f"{seen.numel():,} values, largest {float(seen.max()):.2f}, mean {float(seen.mean()):.2f}")
assert float(seen.min()) == 0, "a ReLU gives nothing below zero, so the grid can be unsigned"

# %% [markdown]
# ## 1. Five opinions about a range
#
# The largest value is many times the mean. Cover it, and the steps are coarse for all the others;
# cut it, and the few large values are clipped. The demo below shows this balance on a weight. Each
# *calibrator*, a rule that chooses a range, strikes it in its own way:
#
# | name | the range ends | trusts |
# |---|---|---|
# | `minmax` | at the largest value seen | a single value |
# | `percentile` | where 99.9995 % of the values lie below | that the rest does not matter |
# | `l2`, `mse` | where $\sum \lvert \hat x - x \rvert^p$ is least; $p = 2$ and $p = 2.4$ | the histogram |
# | `aciq` | where a Laplace or normal distribution of the same spread errs least | the distribution |
# | `entropy` | where the quantized histogram differs least from the float one | the bulk |
#
# `entropy` measures that difference by the Kullback-Leibler divergence (KL). The code below asks
# the first five of these six. Sources: percentiles are from McKinstry et al. 2018
# (arXiv:1809.04191), `aciq` from Banner et al. 2019 (arXiv:1810.05723), and `entropy` from TensorRT
# (Migacz 2017). Least error with an exponent $p$ is from LAPQ, Nahshan et al. 2021
# (arXiv:1911.07190), and $p = 2.4$ from the code of BRECQ (lesson 5); it counts large errors a
# little more than $p = 2$ does, and so clips a little less.

# %%
demo.clip_or_round()

# %%
grid = Grid(4, signed=False)


def judge(name, calibrate_on, judge_on):
    """End of the range, and SQNR in dB on other examples."""
    one_row = Samples(calibrate_on.reshape(1, -1))  # one range for all values
    low, high = CALIBRATORS[name].make(one_row, grid)
    scale, zero_point = affine_range(low, high, grid)
    judged = sqnr_db(judge_on, fake_quantize(judge_on, scale.squeeze(), zero_point.squeeze(), grid))
    return float(high), judged


opinions = {
    name: judge(name, seen, held_out) for name in ("minmax", "percentile", "l2", "mse", "aciq")
}
for name, (end, db) in opinions.items():
    print(f"{name:10s} ends at {end:5.2f}: {db:5.2f} dB on held-out examples")

decibels = {name: db for name, (_, db) in opinions.items()}
assert opinions["l2"][0] < opinions["minmax"][0], "least error cuts"
assert decibels["l2"] > decibels["minmax"] + 1, "and is worth more than a decibel"
assert max(decibels, key=decibels.get) in ("l2", "mse", "aciq")

# %% [markdown]
# Note what was done: the range was chosen on 256 examples and **judged on 256 others**. On the
# examples that chose it, a range tends to look better than it is.
#
# ## 2. How many examples?
#
# The largest value can only grow with more examples. The end with the least error depends on the
# whole histogram, and moves far less:

# %%
ends = {
    name: [judge(name, seen[:count], held_out)[0] for count in (2, 8, 32, 256)]
    for name in ("minmax", "l2")
}
for name, row in ends.items():
    print(f"{name:7s}", "  ".join(f"{end:5.2f}" for end in row))

assert ends["minmax"] == sorted(ends["minmax"]), "the largest value never shrinks"
drift = {name: row[-1] / row[0] - 1 for name, row in ends.items()}
assert abs(drift["l2"]) < drift["minmax"] / 3, "least error moves far less"

# %% [markdown]
# Some 32 to 512 examples are usual. More of them cost time and change little. What changes a lot is
# **which** examples.
#
# ## 3. The wrong examples
#
# A classic mistake: the network is calibrated on pictures that were not prepared as they are in
# use. Here somebody forgot to divide the pixels of the calibration pictures by 255. (The data of
# this lesson are divided already, so the code multiplies them by 255.)

# %%
with torch.no_grad():
    raw = [255 * each for each in session.data.split("calibration", 256)]
    wrong = capture(session.graph.module, tuple(raw), [TENSOR])[TENSOR]

wrong_db = judge("l2", wrong, held_out)[1]
itself = judge("l2", wrong, wrong)[1]
print(f"right examples {decibels['l2']:.2f} dB, wrong ones {wrong_db:.2f} dB")
print(f"judged on its own examples the wrong range still shows {itself:.2f} dB")
assert wrong_db < 3, "hardly anything is left of the signal"
assert itself > 15, "which only held-out examples reveal"

# %% [markdown]
# ## 4. The whole network
#
# Now every activation gets 3 bits and weights get 8, once with each of two calibrators. `quantize`
# makes a *run*: it calibrates, exports, and scores on held-out digits; `extent` says which further
# checks to leave out. The method `rtn` only rounds to the nearest level, so nothing is learned yet,
# though the result is filed under `"learned"`. Its `kl` is the KL divergence of the predicted
# probabilities from those of the float network: 0 means equal.

# %%
folder = Path(tempfile.mkdtemp(prefix="lesson-2-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False, examples=600)


def run(calibrator):
    return session.quantize(
        weights=8,
        activations=3,
        method="rtn",
        calibrator=calibrator,
        calibration_examples=64,
        out=folder / calibrator,
        extent=quick,
    )


scores = {name: run(name).scores for name in ("minmax", "mse")}
for name, found in scores.items():
    learned = found["learned"]
    print(f"{name:7s} {learned['score']:.1f} %, divergence {learned['kl']:.4f}")
assert scores["mse"]["learned"]["kl"] < scores["minmax"]["learned"]["kl"]

# %%
demo.calibration_lab()

# %% [markdown]
# ## Exercises
#
# **2.1** Answer the question of `demo.clip_or_round()` (its default options), in the words of one
# of the choices.

# %%
answer = None

# %%
course.check("2.1", answer)

# %% [markdown]
# **2.2** A tensor follows a Laplace distribution around zero with mean absolute value $b = 0.8$,
# and gets a signed symmetric grid of 4 bits. ACIQ says that the range $[-\alpha, \alpha]$ with the
# least error has $\alpha \approx 5.03\,b$ at 4 bits. What is the step $s = \alpha / ((q_{\max} -
# q_{\min})/2)$?

# %%
answer = None

# %%
course.check("2.2", answer)

# %% [markdown]
# **2.3** A colleague reports that calibrating on the test set itself gives the best score. Which of
# these is right? Answer with the letter.
#
# - `"a"` Good: the more similar the data, the better the range.
# - `"b"` The score is not a held-out score any more, so it no longer tells about new examples.
# - `"c"` It cannot matter, since no labels were used.

# %%
answer = None

# %%
course.check("2.3", answer)

# %% [markdown]
# ## What to remember
# - Activations need examples, weights do not. Labels are not needed.
# - Least-error ranges cut outliers and are steady from a few examples on; min-max does neither.
# - Judge on other examples than those that calibrated, prepared as in use.
#
# Next: [Lesson 3, granularity](03_granularity.ipynb).
