# %% [markdown]
# # Capstone: reproduce a row of a paper's table
#
# The authors of APoT (additive powers of two: each level is a sum of powers of two) report for
# ResNet-20 on CIFAR-10 that training with 4-bit weights and activations costs **0.51 points** of
# accuracy (92.96 % in float; table in the README of github.com/yhhhli/APoT_Quantization; the paper
# is Li et al. 2020, ICLR, arXiv:1909.13144). You will train the same network at the same bits, with
# LSQ (lesson 7), and see how near a *small* fraction of that training comes.
#
# **You need**: lessons 7 and 10, and CIFAR-10 in the folder `$WORKBENCH_DATA`
# (`cifar10_jpeg_train.zip`, `cifar10_jpeg_test.zip`: JPEG copies, one folder for each class).
# **Time**: 3 minutes as it is; hours if you raise `PICTURES` and `EPOCHS`.
#
# ## What makes it comparable?
#
# A row of a table can be reproduced only where one knows what stands behind it. Before you look at
# any number, write down:
#
# | question | paper | here |
# |---|---|---|
# | method | APoT | LSQ (APoT in the third task below) |
# | float accuracy | 92.96 % | 87.3 %: JPEG copies, 30 epochs |
# | first and last layer | 8 bits | 8 bits |
# | tensors that residual sums add | not said | 8 bits |
# | training | 300 epochs of 50,000 pictures | `EPOCHS` of `PICTURES` |
# | test pictures | 10,000 | `TESTED`; one standard error is about 1 point at 1,000 |
#
# Since the float networks differ, compare not the accuracies but the **losses**: how many points
# each quantized network is below its own float network.

# %%
import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import workbench
from workbench.session.data import Data
from workbench.session.execute import Extent
from workbench.session.images import Preprocess
from workbench.session.sources import ArraySource

PICTURES, EPOCHS, TESTED = 2000, 2, 1000
ROOT = Path(workbench.__file__).resolve().parents[1]
places = (
    os.environ.get("WORKBENCH_DATA"),
    ROOT / "shared" / "data",
    ROOT.parent / "shared" / "data",
)
DATA = next((Path(p) for p in places if p and (Path(p) / "cifar10_jpeg_test.zip").is_file()), None)
assert DATA is not None, (
    "CIFAR-10 is not here: set WORKBENCH_DATA to the folder of its two zip files"
)


def read(name, count):
    """`count` pictures, the classes in turn: uint8 (count, 32, 32, 3), and labels."""
    with zipfile.ZipFile(DATA / name) as archive:
        files = [f for f in archive.namelist() if f.endswith(".jpg")]
        classes = sorted({f.split("/")[-2] for f in files})
        rows = [sorted(f for f in files if f.split("/")[-2] == c) for c in classes]
        chosen = [row[i] for i in range(count // len(classes)) for row in rows]
        pictures = [
            np.asarray(Image.open(io.BytesIO(archive.read(f))).convert("RGB")) for f in chosen
        ]
    return np.stack(pictures), np.array([classes.index(f.split("/")[-2]) for f in chosen])


learn, learn_labels = read("cifar10_jpeg_train.zip", PICTURES)
test, test_labels = read("cifar10_jpeg_test.zip", TESTED)
print(learn.shape, test.shape)
assert np.bincount(test_labels).tolist() == [TESTED // 10] * 10

# %% [markdown]
# ## The float network
#
# It is in the repository, with the script that trained it (`benchmarks/cifar`).

# %%
prepare = Preprocess(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
session = workbench.open(ROOT / "benchmarks" / "cifar" / "resnet20.onnx", preprocess=prepare)
arrays = {
    "image": np.concatenate([learn, test]),
    "labels": np.concatenate([learn_labels, test_labels]),
}
source = ArraySource(arrays, session.graph.inputs, prepare)
rows = np.arange(PICTURES + TESTED)
taught, judged = rows[:PICTURES], rows[PICTURES:]
record = {"kind": "arrays", "preprocess": prepare.record()}
session.use_data(
    Data("cifar", "classify", source, taught[:256], judged, pool=False, train=taught, record=record)
)

# %% [markdown]
# ## Four bits
#
# The first and last layer (`edges`) and what residual sums add get 8 bits, everything else 4. A sum
# and the next convolution read the same tensor; the transform `split_shortcuts` makes two of it,
# without changing the network, so that each can have its own bits. First nearest rounding, then a
# short course of training on labels and on the float network's answers (lesson 10).

# %%
folder = Path(tempfile.mkdtemp(prefix="capstone-"))
quick = Extent(naive=False, layers=False, verify=False, latency=False)
sums = [
    {"pattern": f"tensor:{name}", "activations": 8}
    for name in ("relu", "blocks.*.relu_2", "blocks.*.norm2")
]
grids = {
    "weights": 4,
    "activations": 4,
    "edges": 8,
    "overrides": sums,
    "transforms": ["split_shortcuts"],
    "calibration_examples": 256,
}


def lost(name, **choice):
    """Points below float, and the run."""
    run = session.quantize(out=folder / name, extent=quick, **grids, **choice)
    scores = run.scores
    return scores["float"]["score"] - scores["learned"]["score"], run


nearest, _ = lost("nearest", method="rtn")
trained, run = lost(
    "lsq",
    method="lsq",
    epochs=EPOCHS,
    batch_size=100,
    learning_rate=3e-4,
    relative=True,
    labels=1.0,
    logits=1.0,
    crop=4,
    flip=True,
    held_out=0.0,
)
float_score = run.scores["float"]["score"]
print(
    f"float {float_score:.1f} %, lost by nearest rounding {nearest:.2f}, by training {trained:.2f}"
)
print("published: 0.51 points, after 300 epochs")
assert 83 < float_score < 92, "the float network is the one in the card"
assert trained < nearest, "training brings back some of it"

# %% [markdown]
# ## How sure?
#
# Both networks saw the same $N$ test pictures, so look at those where *only one* is right: the
# float network alone on $n_1$ of them, the quantized one alone on $n_2$. The loss is $(n_1 - n_2) /
# N$, with a standard error of about $\sqrt{n_1 + n_2} / N$.

# %%
import torch

batches = list(session.data.judged("test", 100))
with torch.no_grad():
    answers = [(session.model(*x)[0].argmax(1), run.model(*x)[0].argmax(1), y) for x, y in batches]
float_right = torch.cat([a == y for a, _, y in answers])
ours_right = torch.cat([b == y for _, b, y in answers])
n_1 = int((float_right & ~ours_right).sum())
n_2 = int((~float_right & ours_right).sum())
loss, error = 100 * (n_1 - n_2) / TESTED, 100 * (n_1 + n_2) ** 0.5 / TESTED
print(f"lost {loss:.2f} +- {error:.2f} points ({n_1} against {n_2} pictures)")
assert abs(loss - trained) < 0.2, "the same number as the run's"
print("within two standard errors of the published loss:", abs(loss - 0.51) < 2 * error)

# %% [markdown]
# ## Your turn
#
# 1. Raise `PICTURES` to 10,000 and `EPOCHS` to 3 (300 steps, some four minutes of one core), judge
#    on all 5,000 test pictures, and give the loss with its standard error. (The project's own
#    measurement: 0.48 points below float on 2,500 pictures with these settings;
#    `docs/benchmarks.md`.)
# 2. Do the same at 3 and at 2 bits. At 2 bits take `learning_rate=3e-3`. APoT reports 0.47 and 2.00
#    points.
# 3. Replace `lsq` by `apot`. Is the difference larger than its standard error?
# 4. Write half a page: what was reproduced, what was not, and which row of the first table is the
#    likeliest reason.
