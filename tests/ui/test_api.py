"""The endpoints for programs, through `gradio_client`."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

RECIPE = """\
target = "ort-cpu-vnni"
activations = { bits = 8 }
weights = { bits = 3 }
[[stages]]
method = "gram"
"""


@pytest.fixture(scope="module")
def client(served, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(served.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def opened(client: Client, tiny) -> dict:
    return client.predict(
        "", handle_file(str(tiny.model)), handle_file(str(tiny.data)), api_name="/open"
    )


def refused(client: Client, *arguments: object, api_name: str) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(*arguments, api_name=api_name)
    return str(caught.value)


@pytest.mark.slow
def test_from_a_file_to_a_smaller_file(client: Client, tiny, tmp_path: Path) -> None:
    found = opened(client, tiny)
    assert found["layers"] == ["stem", "blocks.0.depthwise", "blocks.0.project", "head"]
    assert found["inputs"] == [{"name": "image", "shape": ["batch", "1", "8", "8"]}]
    key = found["key"]
    assert "no run" in refused(client, key, "", api_name="/status")
    assert "bits = 3" in client.predict(key, RECIPE, api_name="/set_recipe")["recipe"]
    run = client.predict(key, api_name="/start")["run"]
    end = time.monotonic() + 120
    while (state := client.predict(key, run, api_name="/status"))["state"] in ("running", "queued"):
        assert time.monotonic() < end, state
        time.sleep(0.2)
    assert state["state"] == "done", state
    results = client.predict(key, "", api_name="/results")
    assert set(results["scores"]) >= {"float", "learned", "onnxruntime"}
    assert results["bytes"] > 0
    assert [row["layer"] for row in results["layers"]] == found["layers"]
    file = client.predict(key, run, api_name="/export")
    onnx.checker.check_model(onnx.load(file))


@pytest.mark.slow
def test_what_cannot_be_is_said(client: Client, tiny) -> None:
    assert "did you mean 'digits-vit'" in refused(
        client, "digits-vot", None, None, api_name="/open"
    )
    assert "call 'open' first" in refused(client, "no key", api_name="/start")
    assert "call 'open' first" in refused(client, "0" * 32, "", api_name="/results")
    assert "call 'open' first" in refused(client, "../../etc", "", api_name="/export")
    key = opened(client, tiny)["key"]
    assert "'gramm'; did you mean 'gram'" in refused(
        client, key, RECIPE.replace("gram", "gramm"), api_name="/set_recipe"
    )
    assert "there is no run 'x'" in refused(client, key, "x", api_name="/export")


def test_only_these_endpoints_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    names = ("open", "set_recipe", "start", "status", "stop", "results", "export")
    assert set(named) == {f"/{name}" for name in names}
    assert not client.view_api(return_format="dict")["unnamed_endpoints"]
