# %% [markdown]
# # Quantization: a course with a workbench
#
# Fourteen lessons, from "what is a quantizer" to a file whose integers were checked one by one; two
# capstones; and interactive demos on the tensors of real, small networks. Everything runs on this
# computer, without a GPU and without the network. The main claims of the text are asserted in the
# code beside it, and exercises are checked as you go.
#
# | | lesson | about |
# |---|---|---|
# | 1 | [What a quantizer is](course/01_quantizer.ipynb) | scale, zero-point, rounding and clipping, six decibels a bit |
# | 2 | [Calibration](course/02_calibration.ipynb) | ranges from data, how many examples, the wrong ones |
# | 3 | [Granularity](course/03_granularity.ipynb) | tensor, channel, group; outliers; equalization |
# | 4 | [Rounding is a choice](course/04_rounding.ipynb) | the quadratic form, AdaRound |
# | 5 | [Reconstruction](course/05_reconstruction.ipynb) | layers, blocks, quantized inputs, QDrop |
# | 6 | [Second order](course/06_second_order.ipynb) | GPTQ, descent in Gram space |
# | 7 | [Training with the quantizer in the loop](course/07_training.ipynb) | straight-through, LSQ |
# | 8 | [Gradient estimators](course/08_estimators.ipynb) | EWGS, DSQ, oscillation |
# | 9 | [Below four bits](course/09_few_bits.ipynb) | balanced, ternary, binary, tables of levels |
# | 10 | [A teacher, and no data](course/10_distillation.ipynb) | distillation, ZeroQ |
# | 11 | [Transformers](course/11_transformers.ipynb) | softmax, GELU, outlier channels |
# | 12 | [Mixed precision](course/12_mixed_precision.ipynb) | sensitivities, knapsack, four currencies |
# | 13 | [Diagnosis](course/13_diagnosis.ipynb) | whose fault it is, and why |
# | 14 | [Integers and export](course/14_integers_and_export.ipynb) | integer layers, QDQ, verification |
# | | [Capstone: your own model](course/capstone_own_model.ipynb) | eight steps from a module to a proved file |
# | | [Capstone: a row of a paper's table](course/capstone_paper_row.ipynb) | ResNet-20, CIFAR-10, 4 bits |
#
# In a hurry? Lessons 1, 2, 4 and 14 are a short course of half a day.
#
# Also: [first steps with the workbench](01_first_steps.ipynb), in eight cells, and [a training loop
# of your own](02_own_training_loop.ipynb). Teachers: [TEACHING.md](TEACHING.md).
#
# ## The demos
#
# Every demo is one line, asks before it shows, and has its code. This lists them all:

# %%
from IPython.display import Markdown

from workbench import demo
from workbench.lessons.registry import ordered

rows = [f"| `demo.{entry.name}()` | {entry.title} | {entry.description} |" for entry in ordered()]
assert rows
Markdown("\n".join(["| in a cell | demo | about |", "|---|---|---|", *rows]))

# %%
demo.number_line()

# %% [markdown]
# ## Which method?
#
# Methods differ in *where* they act, from preparing the float network to the exported file, and in
# *what teaches* them, from the error of one tensor to the loss of the task. The map below has both:
# point at a cell to see its methods, and open one as a recipe for a sample. The adviser under it
# asks what data you have, which kind of model, and what is wanted, and proposes a recipe with its
# reasons. Both use words of all lessons; come back to them.

# %%
from workbench import widgets

widgets.survey()

# %% [markdown]
# ## Your own models in a cell
#
# The widgets show a `session` (what `workbench.open` gives) or a `run` (what `session.quantize`
# gives). What is selected or set in one of them, Python can read and set.
#
# | in a cell | shows | lesson |
# |---|---|---|
# | `widgets.histogram(session, "conv1")` | a weight under a grid whose ends can be dragged | 2 |
# | `widgets.tune(session)` | bits, rounding and range of each layer; the session follows | 2, 4 |
# | `widgets.signals(run)` | what a run learns, while it learns and afterwards | 5 |
# | `widgets.compare(run, other)` | what differs between runs, and which predictions do | 7 |
# | `widgets.pareto(session)` | bits against harm, and which layer gets how many | 12 |
# | `widgets.layers(run)`, `widgets.graph(run)` | the layers by what they harm, and one in detail | 13 |
# | `widgets.verify(file)` | ONNX Runtime against the simulation, tensor by tensor | 14 |
#
# ## The app
#
# The same demos and the same map are on the **Lessons** page of the app, beside the workbench itself: open a model,
# see its layers, change bits, learn, export. In a terminal:
#
#     make app          # or: workbench app
#
# then open <http://127.0.0.1:7860>. A run that was made in a notebook can be opened there, and the
# other way round.
#
# ## Check an answer, keep a score
#
# `course.check("1.1", answer)` says right or wrong, with a hint. `course.score("4", choice)` judges
# a recipe of yours in a challenge. Both work in any notebook:

# %%
from workbench import course

course.check("1.1", None)
