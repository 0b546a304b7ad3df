// A widget in a notebook cell. PARTS says which trait holds the view-model of which picture, and what
// mounts it; whatever is done in a picture goes to Python as a message, and Python's traits are what
// all views of a widget show.

// A trait's view-model, decoded once for each value that it takes.
function decoded(read) {
  const held = {};
  return () => {
    const bytes = read();
    if (bytes !== held.bytes) Object.assign(held, { bytes, value: JSON.parse(new TextDecoder().decode(bytes)) });
    return held.value;
  };
}

// anywidget waits two seconds for this module. Where that was too short, on a busy computer, it lets
// none of Python's messages through any more: then they are taken past it, and what was missed is
// asked for. Other homes of widgets than Jupyter's have no such manager.
async function hear(model) {
  const whole = await model.widget_manager?.get_model?.(model.get("_address"));
  if (!whole?.comm?.on_msg || !whole._handle_comm_msg) return;
  try {
    await whole._handle_comm_msg({ content: { data: {} } });
  } catch {
    const jupyters = Object.getPrototypeOf(Object.getPrototypeOf(whole));
    whole._handle_comm_msg = jupyters._handle_comm_msg.bind(whole);
    whole.comm.on_msg(whole._handle_comm_msg);
    whole.comm.send({ method: "request_state" });
  }
}

function render({ model, el }) {
  const waiting = new Map();
  const mine = Math.random().toString(36).slice(2); // each view hears the answers to all of them
  let asked = 0;
  const answer = (message) => {
    const settle = waiting.get(message.id);
    waiting.delete(message.id);
    if (settle) settle(message.value);
  };
  const note = document.createElement("p");
  note.className = "wb-widget-note";
  note.setAttribute("role", "alert");
  const say = (text) => { note.textContent = text; note.hidden = !text; };
  const told = () => say(model.get("problem") || "");
  const send = (message) => {
    asked += 1;
    const id = `${mine}-${asked}`;
    try {
      model.send({ ...message, id });
    } catch {
      say("The kernel that made this is gone: run the cell again.");
      return undefined;
    }
    return message.kind === "clip" ? new Promise((done) => waiting.set(id, done)) : undefined;
  };
  const box = document.createElement("div");
  box.className = `wb-widget wb-widget-${model.get("_look")}`;
  const stops = [];
  const follow = (name) => (f) => {
    const heard = () => {
      try {
        f();
      } catch (error) { // the other pictures and views are drawn all the same
        console.error(error);
        say(`${error}. Run the cell again.`);
      }
    };
    model.on(`change:${name}`, heard);
    stops.push(() => model.off(`change:${name}`, heard));
  };
  el.replaceChildren(box, note);
  model.on("msg:custom", answer);
  follow("problem")(told);
  for (const [name, mount] of PARTS) {
    const place = document.createElement("div");
    box.append(place);
    stops.push(mount(place, { get: decoded(() => model.get(name)), on: follow(name), send }));
  }
  told();
  hear(model).catch(console.error);
  return () => { stops.forEach((stop) => stop()); model.off("msg:custom", answer); };
}
export default { render };
