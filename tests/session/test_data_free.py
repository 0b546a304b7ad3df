"""Runs without real data: made once, kept, labelled everywhere, judged where that is possible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch

import workbench
from tests.synthesis.nets import convolutional, language, pictures
from workbench.foundation.errors import DataError, RecipeError
from workbench.maths.metrics import sqnr_db
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session import data_free
from workbench.session.execute import Extent, build
from workbench.session.images import Preprocess
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.views import report as page

QUICK = Extent(layers=False, verify=False, latency=False)
MADE = {"maker": "zeroq", "examples": 6, "options": {"iterations": 4, "batch_size": 4}}
LABEL = "data-free (ZeroQ, 6 pictures)"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    ir.save(convolutional(), path)
    return path


@pytest.fixture
def session(path: Path) -> workbench.Session:
    return workbench.open(path)


def test_a_recipe_names_its_maker():
    recipe = Recipe(synthetic=MADE)
    assert Recipe.from_toml(recipe.toml()) == recipe
    assert Recipe(synthetic="genie").synthetic.maker == "genie"
    assert "synthetic" not in Recipe().toml()
    assert recipe.naive().synthetic == recipe.synthetic
    with pytest.raises(RecipeError, match="unknown data maker 'zerok'; did you mean 'zeroq'"):
        Recipe(synthetic="zerok")
    with pytest.raises(RecipeError, match="data maker 'zeroq' has no option 'steps'"):
        Recipe(synthetic={"maker": "zeroq", "options": {"steps": 3}})


def test_without_any_data_the_label_is_everywhere(session: workbench.Session, tmp_path: Path):
    assert not session.has_data
    seen: list[tuple[str, str]] = []
    run = session.quantize(
        4,
        8,
        "rtn",
        synthetic=MADE,
        extent=QUICK,
        progress=lambda e, p: seen.append((p.phase, p.text)),
    )
    assert ("synthesise", "ZeroQ: making 6 pictures (1/8)") in seen
    assert "-rtn-zeroq-" in run.name
    assert LABEL in repr(run)
    report = run.report()
    assert report["data_free"] == LABEL
    assert report["judged"].startswith("not judged: no data")
    assert report["scores"]["learned"]["metric"] == "agreement on made examples"
    entries = {e.key: e.value for e in onnx.load(run.files.model).metadata_props}
    assert entries["workbench.calibration"] == LABEL
    assert LABEL in page.html(report)
    again = Run(run.directory)
    assert again.verify(examples=4).ok
    written = again.export(tmp_path / "out.onnx")
    assert written.path.read_bytes() == run.files.model.read_bytes()
    restored = workbench.open(written.path)
    assert restored.about()["file"]["calibration"] == LABEL
    restored.export_file(tmp_path / "twice.onnx")
    assert (tmp_path / "twice.onnx").read_bytes() == written.path.read_bytes()


def test_real_data_judge_what_made_ones_calibrated(path: Path):
    x = pictures(40)
    session = workbench.open(path, data=(x.numpy(), torch.zeros(40, dtype=torch.long).numpy()))
    recipe = session.recipe(4, 8, "rtn", synthetic=MADE, calibration_examples=8)
    run = session.quantize(recipe=recipe, extent=QUICK)
    assert run.report()["judged"] == "judged on 32 real examples of 'arrays'"
    assert run.scores["learned"]["metric"] == "top-1"
    assert run.scores["learned"]["examples"] == 32
    assert session.judging(recipe).size("test") == 32
    calibrating = session.calibrating(recipe)
    assert calibrating.size("calibration") == 6
    plain = session.quantize(4, 8, "rtn", extent=QUICK)
    assert plain.data_free == ""
    assert "data_free" not in plain.report()


CLASSES = {"warm_up": 4, "batch_size": 48, "step_size": 16, "width": 8}


def test_classes_of_made_examples_teach_and_do_not_judge(session: workbench.Session):
    asked = {"maker": "gdfq", "examples": 80, "options": CLASSES}
    recipe = session.recipe(4, 8, "lsq", synthetic=asked, labels=1.0, epochs=1)
    run = session.quantize(recipe=recipe, extent=QUICK)
    assert run.report()["data_free"] == "data-free (GDFQ, 80 pictures)"
    assert run.scores["learned"]["metric"] == "agreement on made examples"
    assert run.scores["learned"]["score"] == run.scores["learned"]["agreement"]
    texts = [event["text"] for event in run.events() if "text" in event]
    assert "training on 76 examples with labels, 4 held out" in texts
    data = session.calibrating(recipe)
    assert all(labels is None for _, labels in data.batches("test"))
    labels = torch.cat([known for _, known in data.lessons() if known is not None])
    assert labels.shape == (80,)
    assert len(labels.unique()) == 4


def test_a_maker_without_classes_gives_no_labels(session: workbench.Session):
    data = session.calibrating(Recipe(synthetic=MADE))
    assert all(labels is None for _, labels in data.lessons())


@pytest.mark.slow
def test_training_without_data_beats_nearest_rounding_on_real_digits():
    session = workbench.open("digits-mobilenet")
    options = {"warm_up": 100, "width": 32, "step_size": 32}
    asked = {"maker": "gdfq", "examples": 384, "options": options}
    recipe = session.recipe(3, 3, "lsq", synthetic=asked, epochs=4, batch_size=32)
    scores = session.quantize(recipe=recipe, extent=replace(QUICK, examples=500)).scores
    assert scores["learned"]["metric"] == "top-1"
    assert scores["learned"]["score"] > scores["naive"]["score"] + 5


def test_examples_are_made_once(session: workbench.Session):
    recipe = Recipe(synthetic=MADE)
    first = session.calibrating(recipe).split("calibration")
    again = list(data_free.synthesise(session, recipe))
    assert again == []
    for other in (recipe.changed(seed=1), recipe.changed(synthetic={**MADE, "examples": 7})):
        assert not torch.equal(session.calibrating(other).split("calibration")[0][:6], first[0])
    assert torch.equal(session.calibrating(recipe).split("calibration")[0], first[0])


def test_a_stopped_order_goes_on_after_the_last_batch(session: workbench.Session):
    recipe = Recipe(synthetic=MADE)
    steps = data_free.synthesise(session, recipe)
    for event in steps:
        if event.step == 5:  # the second batch has begun
            break
    steps.close()
    rest = [event.step for event in data_free.synthesise(session, recipe)]
    assert rest == [5, 6, 7, 8]
    whole = workbench.open(convolutional()).calibrating(recipe.changed(seed=0))
    found = session.calibrating(recipe).split("calibration")
    assert torch.equal(found[0], whole.split("calibration")[0])


def test_pixels_keep_to_the_range_of_a_known_preprocess(path: Path):
    preprocess = Preprocess(mean=(0.25,), std=(0.43,))
    session = workbench.open(path, preprocess=preprocess)
    (x,) = session.calibrating(Recipe(synthetic=MADE)).split("calibration")
    assert float(x.min()) >= -0.25 / 0.43 - 1e-6
    assert float(x.max()) <= 0.75 / 0.43 + 1e-6
    run = session.quantize(8, 8, "rtn", synthetic=MADE, extent=QUICK)
    assert Run(run.directory).session.preprocess == preprocess


def test_what_cannot_be_made_is_refused_before_any_work(tmp_path: Path):
    session = workbench.open(language(), name="words")
    with pytest.raises(DataError, match="ZeroQ makes one input of real numbers"):
        session.quantize(8, "float", "rtn", synthetic="zeroq", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"'words' brings no data of its own.*--synthetic zeroq"):
        session.quantize(8, "float", "rtn")


@pytest.mark.parametrize(
    ("model", "maker"), [(convolutional(), "zeroq"), (language(), "generated")]
)
def test_the_best_maker_that_fits_is_found(tmp_path: Path, model: ir.Model, maker: str):
    ir.save(model, tmp_path / "net.onnx")
    assert data_free.fitting(workbench.open(tmp_path / "net.onnx")) == maker


def test_texts_of_the_models_own(tmp_path: Path):
    session = workbench.open(language(), name="words")
    recipe = session.recipe(8, "float", "rtn", synthetic={"maker": "generated", "examples": 3})
    assert data_free.label(session, recipe) == "data-free (texts of the model's own, 3 texts)"
    (x,) = session.calibrating(recipe).split("calibration")
    assert x.shape == (3, 6)
    assert not x.is_floating_point()


@pytest.mark.slow
def test_on_a_sample_made_pictures_are_nearly_as_good_as_real_ones():
    session = workbench.open("digits-resnet")
    (held,) = session.data.split("test", 400)

    def quality(recipe: Recipe) -> float:
        """SQNR of the logits with 4-bit weights and activations."""
        model, data = build(session, recipe).eval(), session.calibrating(recipe)
        task = Task(lambda: (b for b, _ in data.batches("calibration")), 32)
        for _ in make("gram").learn(model, task):
            pass
        with torch.no_grad():
            return sqnr_db(session.model(held)[0], model(held)[0])

    made = {"maker": "zeroq", "examples": 32, "options": {"iterations": 80}}
    noise = {"maker": "random", "examples": 32}
    recipe = session.recipe(4, 4, "gram", calibration_examples=32)
    zeroq, chance = (quality(recipe.changed(synthetic=spec)) for spec in (made, noise))
    assert zeroq > chance + 4
    assert zeroq > quality(recipe) - 4
