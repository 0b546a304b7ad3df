"""Networks by others: every tensor against ONNX Runtime, by name, at two sizes."""

from __future__ import annotations

import importlib.util

import pytest

from tests.graph.whole import check, needed, pretrained_models, random_models
from workbench.session import zoo

SLOW = ("smollm2-135m",)
LONG = (pytest.mark.slow, pytest.mark.timeout(1200))

pytestmark = pytest.mark.zoo


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Exported here and now, not by an earlier version of the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no package '{package}': run 'make zoo'")


@pytest.mark.parametrize("name", random_models())
def test_architectures_with_random_weights(name: str):
    _require("transformers")
    outcome = check(random_models()[name])
    assert outcome.compared > 250
    assert outcome.holds, outcome


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=LONG if name in SLOW else ()) for name in pretrained_models()],
)
def test_pretrained_models(name: str):
    _require(*needed(name))
    outcome = check(pretrained_models()[name], crossed=name not in SLOW)
    assert outcome.compared > 10
    assert outcome.holds, outcome


def test_every_model_of_the_zoo_is_compared():
    brought = {name for name, known in zoo.known().items() if known.data is None}
    assert brought <= set(pretrained_models())
