// A demo in a notebook cell; one trait carries the view-model, messages carry what is done.

const decode = (value) => JSON.parse(new TextDecoder().decode(value));
function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "wb-widget-demo";
  el.replaceChildren(box);
  const stops = [];
  const on = (f) => {
    model.on("change:_view", f);
    stops.push(() => model.off("change:_view", f));
  };
  stops.push(mountLesson(box, { get: () => decode(model.get("_view")), on, send: (message) => model.send(message) }));
  return () => stops.forEach((stop) => stop());
}
export default { render };
