"""`workbench advise`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.session.advice import advise
from workbench.session.guide import GUIDE
from workbench.session.recipe import Recipe

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_a_recipe_with_its_reasons(call, tmp_path: Path) -> None:
    path = tmp_path / "advised.toml"
    asked = ("--data", "labels", "--model", "depthwise", "--constraint", "w2a2")
    code, out, _ = call("advise", *asked, "--out", path)
    found = advise("labels", "depthwise", "w2a2")
    assert code == 0
    assert Recipe.load(path) == found.recipe
    for text in (found.row.recommended, found.reasons[0], "digits-mobilenet"):
        assert text[:60] in out
    code, out, _ = call("advise", *asked, "--json")
    assert code == 0
    assert json.loads(out) == found.record()


def test_without_a_condition_the_whole_guide(call) -> None:
    code, out, _ = call("advise", "--json")
    assert code == 0
    assert len(json.loads(out)["guide"]) == len(GUIDE)
    code, out, _ = call("advise")
    assert code == 0
    assert "QDrop" in out


def test_half_a_condition_is_refused(call) -> None:
    code, _, err = call("advise", "--data", "few")
    assert code == 2
    assert "--model" in err
    assert "--constraint" in err
    code, _, err = call("advise", "--data", "few", "--model", "rnn", "--constraint", "w4a4")
    assert code == 2
    assert "rnn" in err
