# %% [markdown]
# # Capstone: quantize your own model
#
# From a network that you wrote to a file that you can trust, in eight steps. The network here is a
# small one that is trained on the spot, so that the page runs; **put your own in its place** in
# section 1. Everything from section 2 on takes any `nn.Module`; an ONNX file is opened by its path.
#
# **You need**: lessons 1 to 6, 12 to 14. **Time**: 3 hours with a model of your own.
#
# **Hand in**: this notebook with your model, the exported file's score and size, and one paragraph
# for each place that begins with *Say*.

# %%
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import workbench
from workbench.session.execute import Extent

# %% [markdown]
# ## 1. Your model
#
# It has to be trained in float and in `eval` mode. You also need examples with labels that it was
# **not** trained on.

# %%
digits = workbench.open("digits-resnet").data
train = [(x[0], y) for x, y in digits.lessons(50)][:60]  # 3,000 pictures
(images,), truth = digits.split("test", 1200), digits.source.labels[digits.test[:1200]]


class Net(nn.Module):
    """Two convolutions and two linear layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 5, stride=2, padding=2)
        self.second = nn.Conv2d(16, 32, 5, stride=2, padding=2)
        self.hidden = nn.Linear(32 * 7 * 7, 64)
        self.out = nn.Linear(64, 10)

    def forward(self, image):
        x = self.second(self.first(image).relu()).relu()
        return self.out(self.hidden(x.flatten(1)).relu())


torch.manual_seed(0)
net = Net()
optimiser = torch.optim.Adam(net.parameters(), 2e-3)
for _ in range(4):
    for batch, labels in train:
        loss = functional.cross_entropy(net(batch), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
net.eval()
with torch.no_grad():
    accuracy = 100 * float((net(images).argmax(1).numpy() == truth).mean())
print(f"float {accuracy:.1f} %")
assert accuracy > 75

# %% [markdown]
# ## 2. Open it
#
# The graph is captured by running one batch of inputs through it. The examples become the data: the
# first ones calibrate, the others judge.

# %%
session = workbench.open(
    net, example_inputs=(images[:2],), data=(images.numpy(), truth), name="mine"
)
about = session.about()
print(
    f"{about['layers']} layers, {about['parameters']:,} parameters, {about['macs']:,} multiply-adds"
)
(output,) = session.model(images[:8])
assert torch.allclose(output, net(images[:8]), atol=1e-4), "the graph computes what the module does"

# %% [markdown]
# *Say* where most parameters are, and where most multiply-adds are.
#
# ## 3. What will run in integers?
#
# Some operators have no integer kernel and stay in float, whatever the bits. Know which, before you
# look at any score (`coverage.record()["rows"]` has every node and the reason).

# %%
coverage = session.coverage()
record = coverage.record()
print({key: record[key] for key in record if not isinstance(record[key], list | dict)})

# %% [markdown]
# ## 4. The baseline
#
# Eight bits, nearest rounding. If this is bad, skip step 5 and go to step 6 with this run: more
# bits would not help.

# %%
folder = Path(tempfile.mkdtemp(prefix="capstone-"))
quick = Extent(naive=False, verify=False, latency=False, layer_examples=64)


def make(name, **choice):
    return session.quantize(out=folder / name, extent=quick, calibration_examples=128, **choice)


runs = {"W8A8": make("w8a8", weights=8, activations=8, method="rtn")}
float_score = runs["W8A8"].scores["float"]["score"]
assert abs(runs["W8A8"].scores["learned"]["score"] - float_score) < 1, "8 bits are not the problem"

# %% [markdown]
# ## 5. Where does it break?
#
# Go down until nearest rounding loses more than a point. (`edges=None`: the first and the last
# layer get the same bits as the others, not 8.)

# %%
for bits in (4, 3, 2):
    runs[f"W{bits}A8"] = make(f"w{bits}a8", weights=bits, activations=8, method="rtn", edges=None)
for name, run in runs.items():
    print(f"{name}: {run.scores['learned']['score']:.1f} % (float {float_score:.1f})")
assert runs["W2A8"].scores["learned"]["score"] < float_score - 1

# %% [markdown]
# ## 6. Who did it, and why?

# %%
table = runs["W2A8"].layers.set_index("layer")[["alone_weights_db", "accumulated_db", "damage_kl"]]
print(table.round(3).to_string())
causes = session.causes(runs["W2A8"].recipe, examples=64)
print(f"{causes.layer}:")
for finding in causes.findings[:3]:
    print(f"- {finding.sentence}")
assert causes.findings, "every damage has a cause"

# %% [markdown]
# *Say* which layer hurts most and what was changed to establish the cause.
#
# ## 7. Learn
#
# The same bits, learned. Replace `gram` (lesson 6) by what you think fits your network and your
# data.
#
# *Say* why you chose this method.

# %%
learned = make("learned", weights=2, activations=8, method="gram", edges=None)
before, after = (run.scores["learned"]["score"] for run in (runs["W2A8"], learned))
print(f"nearest {before:.1f} %, learned {after:.1f} %, float {float_score:.1f} %")
assert after > before

# %% [markdown]
# ## 8. Leave with a file

# %%
exported = learned.export(folder / "mine.onnx")
verdict = exported.verify(examples=64)
print(f"{exported.bytes:,} bytes, float {learned.report()['float_bytes']:,}")
print(verdict.sentence())
assert verdict.ok
assert exported.bytes < learned.report()["float_bytes"] / 4

# %% [markdown]
# *Say* what you would tell somebody who is to use the file: bits, score on which data, size, and on
# which computer you have measured it.
#
# ## How it is marked
#
# | | points |
# |---|---|
# | runs from top to bottom on another computer | 2 |
# | the choice of calibration and held-out data is right, and reasoned | 2 |
# | the cause is established by a change, not guessed | 2 |
# | the learned file beats nearest rounding at the same bits | 2 |
# | the verdict is explained, differences included | 2 |
