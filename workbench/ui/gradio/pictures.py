"""The ES modules of `workbench.views` inside `gr.HTML`.

The template is a fixed, empty element: `gr.HTML` would evaluate what it finds in data, and names
come from strangers' files. Values travel as JSON text and are drawn by the modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from workbench.views.assets import script

_ADAPTER = """
const held = { text: null, value: null, given: null, asked: 0 };
const listeners = [];
const tell = () => listeners.forEach((f) => f());
watch("value", () => { held.given = null; tell(); });
const get = () => {
  const text = held.given || props.value || "{}";
  if (text !== held.text) { held.text = text; held.value = JSON.parse(text); }
  return held.value;
};
const send = (message) => {
  if (message.kind === "clip") {
    return server.exact_range(JSON.stringify({ ...message, key: get().key }));
  }
  const ask = server.lesson || server.survey;
  if (ask && message.kind !== "use") {
    const asked = held.asked = held.asked + 1;
    return ask(JSON.stringify({ ...message, key: get().key })).then((text) => {
      if (text && asked === held.asked) { held.given = text; tell(); }
    });
  }
  trigger("select", message);
  return undefined;
};
MOUNT(element.querySelector(".wb-host"), { get, on: (f) => listeners.push(f), send });
"""


def picture(
    module: str, mount: str, elem_id: str, functions: list[Callable[..., Any]] | None = None
) -> gr.HTML:
    """A component that shows one view-model.

    Args:
        module: ES module with the picture; mount: its function.
        elem_id: id of the element.
        functions: Python functions the browser may call.
    """
    return gr.HTML(
        value="{}",
        html_template='<div class="wb-host"></div>',
        js_on_load=script(module) + _ADAPTER.replace("MOUNT", mount),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="wb-picture",
        server_functions=functions,
    )


def payload(view: Any) -> str:
    """A view-model as the value of a picture."""
    text = json.dumps(view, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
