"""What the tests of deployment share: a processor whose int8 kernels do not saturate."""

from __future__ import annotations

import pytest

from workbench.deploy import runtime
from workbench.deploy.verify import Setting


@pytest.fixture
def any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without VNNI the default kernels saturate at 8 bits: here they give way to exact ones."""

    def open_exactly(setting: Setting, model: bytes) -> runtime.ort.InferenceSession:
        optimise = setting.optimisations == "on"
        return runtime.open_session(model, optimise=optimise, exact=True, config=setting.config)

    monkeypatch.setattr(Setting, "open", open_exactly)
