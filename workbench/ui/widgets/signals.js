// The learning signals in a cell: one trait holds the view-model.

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "wb-widget-signals";
  el.replaceChildren(box);
  const get = () => JSON.parse(new TextDecoder().decode(model.get("_view")));
  let follow = null;
  const on = (f) => { follow = f; model.on("change:_view", f); };
  const stop = mountSignals(box, { get, on, send: () => undefined });
  return () => { stop(); if (follow) model.off("change:_view", follow); };
}
export default { render };
