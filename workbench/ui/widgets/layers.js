// The layer table beside the inspector; traits carry view-models, messages carry questions.

const decode = (value) => JSON.parse(new TextDecoder().decode(value));
function render({ model, el }) {
  const waiting = new Map();
  let asked = 0;
  const answer = (message) => {
    const settle = waiting.get(message.id);
    waiting.delete(message.id);
    if (settle) settle(message.value);
  };
  model.on("msg:custom", answer);
  const send = (message) => {
    if (message.kind === "layer" && message.layer !== model.get("selected")) {
      model.set("selected", message.layer);
      model.save_changes();
      return undefined;
    }
    asked += 1;
    const id = asked;
    model.send({ ...message, id });
    return message.kind === "clip" ? new Promise((done) => waiting.set(id, done)) : undefined;
  };
  const left = document.createElement("div");
  const right = document.createElement("div");
  const box = document.createElement("div");
  box.className = "wb-widget";
  box.append(left, right);
  el.replaceChildren(box);
  const stops = [];
  const follow = (name) => (f) => {
    model.on(`change:${name}`, f);
    stops.push(() => model.off(`change:${name}`, f));
  };
  const context = (name) => ({ get: () => decode(model.get(name)), on: follow(name), send });
  stops.push(mountLayers(left, context("_table")));
  stops.push(mountInspector(right, context("_detail")));
  return () => { stops.forEach((stop) => stop()); model.off("msg:custom", answer); };
}
export default { render };
