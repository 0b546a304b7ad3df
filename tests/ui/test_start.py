"""Starting the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.ui.gradio import app
from workbench.ui.gradio.serving import Serving


def test_a_busy_machine_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio's second look at its own server fails where an answer takes more than 3 seconds."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    monkeypatch.setattr("workbench.ui.gradio.baselines.Baselines.ensure", lambda *_: None)
    demo = app.main(Serving(port=0, runs=tmp_path), prevent_thread_lock=True)
    demo.close()
