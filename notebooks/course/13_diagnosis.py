# %% [markdown]
# # Lesson 13: diagnosis, or who did it?
#
# **You will be able to**
# - find the layer that ruins a network, by measuring instead of guessing;
# - tell a layer's own error from the error that it was handed, and both from the harm to the
#   answer;
# - name the cause, change one thing, and prove that it helped.
#
# **You need**: lessons 1 to 3. **Time**: 60 minutes.

# %%
import tempfile
from pathlib import Path

import torch

import workbench
from workbench import course, demo, widgets
from workbench.maths.metrics import spearman
from workbench.session.execute import Extent
from workbench.session.recipe import Override

# %% [markdown]
# ## 1. Somebody broke it
#
# A network of 24 layers is quantized to 4-bit weights and 8-bit activations, and its score is bad.
# Someone gave one layer a single bit. We know which; the tools below are not told.

# %%
session = workbench.open("digits-mobilenet")
CULPRIT = "blocks.0.depthwise"
healthy = session.recipe(weights=4, activations=8, method="rtn", calibration_examples=64)
broken = healthy.changed(overrides=(Override(pattern=CULPRIT, weights=1),))

folder = Path(tempfile.mkdtemp(prefix="lesson-13-"))
quick = Extent(naive=False, verify=False, latency=False, examples=400, layer_examples=64)
runs = {
    name: session.quantize(recipe=recipe, out=folder / name, extent=quick)
    for name, recipe in (("healthy", healthy), ("broken", broken))
}
scores = {name: run.scores["learned"]["score"] for name, run in runs.items()}
print({name: f"{score:.1f} %" for name, score in scores.items()})
assert scores["broken"] < scores["healthy"] - 20

# %% [markdown]
# ## 2. Three numbers for a layer
#
# - **alone**: only this layer is quantized; SQNR of its own output. Compare it with theory: a bit
#   less is about 6 dB less (lesson 1).
# - **accumulated**: everything is quantized; the same SQNR. It falls along the network for all that
#   come *after* the culprit, so a low number is no proof: most who have one are victims.
# - **damage**: only this layer is quantized; how far do the network's *predictions* move (KL
#   divergence, in nats)? Of the three, only this one looks at the answer.

# %%
table = runs["broken"].layers.set_index("layer")
shown = table[["alone_weights_db", "accumulated_db", "damage_kl"]]
print(shown.round(4).to_string())

ranking = {
    "accumulated": shown["accumulated_db"].idxmin(),
    "damage": shown["damage_kl"].idxmax(),
}
print(ranking)
assert ranking["damage"] == CULPRIT, "damage names the culprit"
later = shown["accumulated_db"].iloc[list(shown.index).index(CULPRIT) + 1 :]
before = runs["healthy"].layers.set_index("layer")["accumulated_db"][later.index]
assert (later < before).mean() > 0.8, "nearly all layers behind it suffer"

# %%
widgets.layers(runs["broken"])

# %% [markdown]
# ## 3. Weights or activations? Estimate or measure?
#
# To quantize one layer at a time takes a run for each. A *site* is one tensor that is quantized, a
# weight or an activation. With gradients the damage of *every* site is estimated from a few passes,
# to second order (lesson 12, section 2, has the formula):

# %%
sites = session.site_errors(recipe=broken, examples=64)
estimates = {record["layer"]: record["held_out"]["estimate"]["kl"] for record in sites.layers}
print("guilty by estimate:", sites.guilty)
assert sites.guilty[0] == CULPRIT

worst = max(sites.sites, key=lambda site: site["held_out"]["estimate"]["kl"])
print("the site:", worst["site"], worst["grid"], f"{worst['sqnr_db']:.1f} dB")
assert worst["kind"] == "weight"

names = list(estimates)
agreement = spearman(
    torch.tensor([estimates[name] for name in names]),
    torch.tensor([float(shown["damage_kl"][name]) for name in names]),
)
print(f"rank correlation of estimates with what was measured: {agreement:.2f}")
assert agreement > 0.6

# %%
demo.guilty_game()

# %% [markdown]
# ## 4. Cause, change, proof
#
# A list of suspects is not an explanation. To *establish* a cause, change one thing and measure
# again: another range, a scale for each channel, the outliers apart, one bit more. If that one
# change takes the damage away, it has named the cause. `session.causes` tries such changes on the
# layer that does most damage:

# %%
causes = session.causes(broken, examples=64)
print(f"{causes.layer}: damage {causes.damage:.4f} nats")
for finding in causes.findings:
    print(f"- {finding.title}: {finding.sentence}")
assert causes.layer == CULPRIT
assert any(finding.cause == "few-bits" for finding in causes.findings), "too few bits is among them"

# %% [markdown]
# Each cause comes with cures, and each cure is a change of the recipe. This layer had too few bits,
# so give it four, as the others have, and prove it on held-out digits:

# %%
cured = broken.changed(overrides=(*broken.overrides, Override(pattern=CULPRIT, weights=4)))
after = session.quantize(recipe=cured, out=folder / "cured", extent=quick).scores["learned"][
    "score"
]
print(f"broken {scores['broken']:.1f} %, cured {after:.1f} %, healthy {scores['healthy']:.1f} %")
assert abs(after - scores["healthy"]) < 0.5

# %% [markdown]
# `session.cure(recipe)` does all this by itself, again and again, until the score is within one per
# cent of float; the app has a button for each cure.
#
# ## Exercises
#
# **13.1** Five layers in a chain have accumulated SQNRs of 30, 29, 12, 11 and 9 dB. Quantized
# alone, their outputs have 30, 31, 13, 25 and 22 dB. Which one (1 to 5) is the culprit?

# %%
answer = None

# %%
course.check("13.1", answer)

# %% [markdown]
# **13.2** A weight's 6-bit grid covers its whole range. Its SQNR is 12 dB, where theory expects
# about 27. Which is the most likely cause?
#
# - `"a"` It has a few very large values, and all others share their coarse step.
# - `"b"` Six bits are too few for any layer.
# - `"c"` The calibration set has too few pictures.

# %%
answer = None

# %%
course.check("13.2", answer)

# %% [markdown]
# **13.3** The error of a layer has a root mean square of 0.9 steps, where theory expects 0.289.
# What does the layer do?
#
# - `"a"` It rounds a little worse than usual.
# - `"b"` It clips.
# - `"c"` Nothing unusual.

# %%
answer = None

# %%
course.check("13.3", answer)

# %% [markdown]
# **13.4** Answer the question of `demo.guilty_game()` (its default options), in the words of one of the
# choices.

# %%
answer = None

# %%
course.check("13.4", answer)

# %% [markdown]
# ## What to remember
# - Error is not harm, and a layer's accumulated error is not only its own.
# - Rank by damage to the answer, on held-out data.
# - A cause is established by changing one thing; a cure is proved by the score.
#
# Next: [Lesson 14, integers and export](14_integers_and_export.ipynb).
