"""The ES modules of `workbench.views` inside `gr.HTML`.

The template is a fixed, empty element: `gr.HTML` would evaluate what it finds in data, and names
come from strangers' files. Views travel as JSON text over the wire (`wire`) and are drawn by the
modules; the value of a component is no more than what is drawn first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from workbench.views.assets import script

_ADAPTER = """
const wire = window.workbenchWire;
const held = { text: null, value: null, given: null, asked: 0 };
const ask = server.lesson || server.survey;
const listeners = [];
const tell = () => listeners.forEach((f) => f());
const drawnAt = (text) => (text && JSON.parse(text).at) || 0;
const showText = (text) => { held.given = text; tell(); };
const get = () => {
  const text = held.given || props.value || "{}";
  if (text !== held.text) { held.text = text; held.value = JSON.parse(text); }
  return held.value;
};
const send = (message) => {
  if (message.kind === "clip") {
    return server.exact_range(JSON.stringify({ ...message, key: get().key }));
  }
  if (ask && message.kind !== "use") {
    const asked = held.asked = held.asked + 1;
    return ask(JSON.stringify({ ...message, key: get().key })).then((text) => {
      if (text && asked === held.asked) showText(text);
    });
  }
  if (LOOKS.includes(message.kind)) wire.look({ ...message, picture: NAME });
  else trigger("select", message);
  return undefined;
};
MOUNT(element.querySelector(".wb-host"), { get, on: (f) => listeners.push(f), send });
// What was answered past the wire is not undone by what was drawn before it.
wire.join(NAME, (text) => { if (!ask || drawnAt(text) >= drawnAt(held.given)) showText(text); });
"""


def picture(
    module: str,
    mount: str,
    elem_id: str,
    functions: list[Callable[..., Any]] | None = None,
    looks: Sequence[str] = (),
) -> gr.HTML:
    """A component that shows one view-model.

    Args:
        module: ES module with the picture; mount: its function.
        elem_id: id of the element.
        functions: Python functions the browser may call.
        looks: kinds of messages that go past Gradio's queue, since only pictures follow from them.
    """
    words = {"MOUNT": mount, "NAME": json.dumps(elem_id), "LOOKS": json.dumps(list(looks))}
    adapter = _ADAPTER
    for word, text in words.items():
        adapter = adapter.replace(word, text)
    return gr.HTML(
        value="{}",
        html_template='<div class="wb-host"></div>',
        js_on_load=script(module) + adapter,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="wb-picture",
        server_functions=functions,
    )


def payload(view: Any) -> str:
    """A view-model as the value of a picture."""
    text = json.dumps(view, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def received(text: object, longest: int = 4096) -> dict[str, Any] | None:
    """A JSON object that a browser sent; None for anything else, which anybody may send.

    Args:
        text: of at most `longest` letters.
    """
    if not isinstance(text, str) or len(text) > longest:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
