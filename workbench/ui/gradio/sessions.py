"""What Gradio keeps of each tab, made small: a page here keeps what it has in the browser.

For every new tab Gradio asks each of the page's components for its configuration (a quarter of a
second for some seven hundred), and it keeps the answers until ten thousand tabs have come. Nothing
of it is read: events carry the browser's key, and the rest is in files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

CAPACITY = 512  # tabs whose session is kept


def share_configurations(demo: gr.Blocks) -> None:
    """Let all tabs share the configuration of a component that no event has replaced."""
    configuration: Any = demo.default_config
    usual = configuration.config_for_block
    known: dict[int, tuple[Any, dict[str, Any]]] = {}

    def config_for_block(
        number: int, rendered: Sequence[int], block: Any, renderable: Any = None
    ) -> dict[str, Any]:
        if renderable is not None:
            return usual(number, list(rendered), block, renderable)
        held = known.get(number)
        if held is None or held[0] is not block:
            held = (block, usual(number, list(rendered), block))
            if block is demo.blocks.get(number):
                known[number] = held
        config = held[1]
        # a tab writes values into its own
        return {**config, "props": {**config["props"]}} if "props" in config else dict(config)

    configuration.config_for_block = config_for_block


def forget_closed(demo: gr.Blocks) -> None:
    """Drop a tab's session when it is closed; call inside `gr.Blocks`.

    A tab whose connection was only interrupted gets a new one with its next event.
    """

    def closed(request: gr.Request) -> None:
        holder = getattr(demo, "state_holder", None)
        if holder is not None:
            holder.session_data.pop(request.session_hash, None)
            holder.time_last_used.pop(request.session_hash, None)

    demo.unload(closed)
