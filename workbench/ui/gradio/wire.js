// The page's half of the wire: keeps what each picture was given, says so when it asks for more, and
// takes what the server sends. Questions that only change pictures go straight to the server, past
// Gradio's queue: looks (a layer, a channel, ...) and, while something is being made, the pulse.
window.workbenchWire ??= (() => {
  const shown = {}; // by picture: {version, text, at}
  const changed = {}; // by place: when the news of it were made
  const pictures = {}; // by picture: the function that draws a text
  const waiting = []; // looks, in order
  const state = { at: 0, key: null, seen: "", busy: false, pause: 700, server: null, tick: null };
  const silence = { times: 0, told: false };
  let after = 0; // pulses that still follow when nothing is made any more: a job may just be starting
  let keyed;
  const key = new Promise((known) => (keyed = known)); // what is clicked before is not lost
  let asking = false;
  let timer = null;

  const have = () => {
    const has = Object.entries(shown).map(([name, it]) => [name, it.version]);
    return JSON.stringify({ seen: state.seen, has: Object.fromEntries(has) });
  };

  const question = (message) => JSON.stringify({ ...message, key: state.key, have: have() });

  const take = (text) => {
    if (!text) return {};
    const news = JSON.parse(text);
    if (news.key) keyed((state.key = news.key));
    if (news.pause) state.pause = news.pause;
    for (const [name, [version, value, at]] of Object.entries(news.pictures)) {
      if (shown[name]?.at > at) continue; // what was asked later came sooner
      shown[name] = { version, text: value, at };
      pictures[name]?.(value);
    }
    if (news.busy !== undefined && news.at >= state.at) {
      Object.assign(state, { at: news.at, busy: news.busy, seen: news.seen ?? state.seen });
      if (news.busy) after = 4;
    }
    beat();
    ask();
    return news;
  };

  // Updates of Gradio's own components, by their place among the outputs; others are left alone.
  const parts = (text) => {
    const found = [];
    const news = text ? JSON.parse(text) : { parts: {} };
    for (const [place, [update, at]] of Object.entries(news.parts)) {
      if (changed[place] > at) continue; // what was asked later came sooner
      changed[place] = at;
      const file = update.value?.path;
      if (file) {
        const { root = "", api_prefix = "" } = window.gradio_config;
        update.value = { ...update.value, url: `${root}${api_prefix}/file=${file}` };
      }
      found[place] = { __type__: "update", ...update };
    }
    if (news.key) setTimeout(() => document.documentElement.setAttribute("data-wb-known", ""), 50);
    return found;
  };

  // The server does not answer: said after two attempts, and taken back with the next answer.
  const answered = (yes) => {
    silence.times = yes ? 0 : silence.times + 1;
    const gone = silence.times > 1;
    if (gone === silence.told) return;
    silence.told = gone;
    // Gradio's own word for it stays away until it too has seen that the server is back
    setTimeout(() => document.documentElement.toggleAttribute("data-wb-gone", silence.told), gone ? 0 : 6000);
    pictures["wb-notice"]?.(gone ? window.workbenchGone : shown["wb-notice"]?.text || "{}");
  };

  // What the server says to a question; Gradio gives nothing, not even null, where it could not be asked.
  const told = async (name, message) => {
    const text = await state.server[name](question(message));
    answered(text !== undefined);
    if (text === undefined) throw new Error("no answer");
    return text;
  };

  const look = (message) => {
    const last = waiting.at(-1);
    if (last && last.kind === message.kind && message.kind !== "fold") waiting.pop();
    waiting.push(message);
    ask();
  };

  const ask = async () => {
    if (asking || !state.key || !state.server || !waiting.length) return;
    asking = true;
    const message = waiting.shift();
    try {
      const text = await told("look", message);
      asking = false;
      take(text);
      ask();
    } catch {
      if (!message.again) waiting.unshift({ ...message, again: true });
      setTimeout(() => { asking = false; ask(); }, state.pause);
    }
  };

  const beat = () => {
    if (timer !== null || !state.server || !state.key) return;
    const soon = state.busy || after > 0; // else seldom: another tab of this page may do something
    if (!state.busy) after -= 1;
    timer = setTimeout(async () => {
      let found = {};
      try {
        found = take(await told("pulse", {}));
      } catch {
        state.pause = 2000;
      }
      timer = null;
      if (found.more) state.tick();
      beat();
    }, soon || silence.times ? state.pause : 5000);
  };

  const connect = (server, tick) => {
    Object.assign(state, { server, tick });
    beat();
    ask();
  };

  const join = (name, draw) => {
    pictures[name] = draw;
    if (shown[name]) draw(shown[name].text);
  };

  return { key, have, take, parts, look, connect, join };
})();
