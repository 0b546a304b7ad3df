// The page in another language. English text is the key: what the catalogue knows is replaced wherever it
// appears, in text, in what is read aloud and in hints. Names from files (class wb-name, translate="no") and
// code stay. A key may have holes: `{n}` takes a number, `{name…}` anything as it is, others are translated too.

const WORD = /[A-Za-z]/;
const UNITS = /\b(?:k?B|[MG]B|dB|ms|m?nats?|KL|SQNR|MACs|KiB|MiB)\b/g;
const NUMBER = "([+−-]?[\\d.,–]*\\d(?:e[+−-]?\\d+)?|∞|−∞|–)";
const ANY = "((?:(?!; |\\. | · ).)+?)"; // no more than one part
const SPOKEN = ["title", "aria-label", "placeholder", "aria-valuetext", "alt"];
const KEPT = ".wb-name, [translate=no], pre, code, textarea, script, style";
// what joins the parts of a text that was put together, and whether all of them have to be known
const JOINTS = [[". ", false], [" · ", false], [" + ", true], ["; ", false], [": ", true], [", ", true]];
const MOST = 4000; // texts that are remembered

const isNumber = (hole) => hole?.length === 1;
const hasWords = (text) => WORD.test(text.replace(UNITS, ""));

function templateOf([key, text]) {
  const holes = [...key.matchAll(/\{(\w+)\}/g)].map((found) => found[1]);
  const parts = key.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const source = parts.reduce((all, part, i) => all + (isNumber(holes[i - 1]) ? NUMBER : ANY) + part);
  return { holes, text, pattern: new RegExp(`^${source}$`, "s"), letters: parts.join("").length };
}

// A function from English to the language of `texts`; what it does not know it returns as it is.
export function translator(texts) {
  const plain = new Map();
  const templates = [];
  for (const entry of Object.entries(texts)) {
    if (entry[0].includes("{")) templates.push(templateOf(entry)); else plain.set(...entry);
  }
  templates.sort((a, b) => b.letters - a.letters);
  const known = new Map();

  function filled({ pattern, holes, text }, given) {
    const found = pattern.exec(given);
    if (!found) return null;
    const parts = Object.fromEntries(holes.map((hole, i) => [hole, hole.startsWith("name") || isNumber(hole) ? found[i + 1] : say(found[i + 1])]));
    return text.replace(/\{(\w+)\}/g, (_, hole) => parts[hole] ?? "");
  }
  // Parts of a text that was put together, each with its joint; null where too little of it is known.
  function pieces(given) {
    for (const [joint, strict] of JOINTS) {
      if (!given.includes(joint)) continue;
      const sentences = joint === ". ";
      const first = given.indexOf(joint); // what a catalogue says in several sentences comes last
      const parts = sentences ? [given.slice(0, first), given.slice(first + joint.length)] : given.split(joint);
      const said = parts.map((part, i) => (sentences && i === 0 ? sentence(part) : say(part)));
      const left = said.filter((part, i) => part.replace(/\. $/, "") === parts[i] && hasWords(part)).length;
      if (left === said.length || (strict && left)) continue;
      return said.join(sentences ? "" : plain.get(joint) ?? joint);
    }
    return null;
  }
  // A sentence that was cut off before its full stop.
  function sentence(part) {
    const whole = say(`${part}.`);
    if (whole !== `${part}.`) return whole;
    const text = say(part);
    return text === part ? `${part}. ` : text + (plain.get(".") ?? ". ");
  }
  function find(given) {
    const exact = plain.get(given);
    if (exact != null) return exact;
    for (const template of templates) {
      const text = filled(template, given);
      if (text != null) return text;
    }
    return pieces(given) ?? given;
  }
  function say(given) {
    if (!WORD.test(given)) return given;
    let text = known.get(given);
    if (text == null) {
      const inner = given.trim();
      text = given.replace(inner, () => find(inner));
      if (known.size > MOST) known.clear();
      known.set(given, text);
    }
    return text;
  }
  return say;
}

// What a stock list shows is the value of an input, which nothing announces: it is written over it.
function overField(input, say) {
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
  const paint = () => {
    const [given, box] = [get.call(input), input.parentElement];
    const text = say(given);
    if (text === given) delete box.dataset.said; else box.dataset.said = text;
  };
  Object.defineProperty(input, "value", { configurable: true, get() { return get.call(input); }, set(value) { set.call(input, value); paint(); } });
  paint();
}

// Translate everything below `root` now, and whatever comes; returns a stop function.
export function keepTranslated(root, say) {
  const fields = new WeakSet();
  const kept = (element) => !element || element.closest(KEPT);
  function text(node) {
    const said = say(node.data);
    if (said !== node.data) node.data = said;
  }
  function attribute(element, name) {
    const given = element.getAttribute(name);
    const said = given && say(given);
    if (said && said !== given) element.setAttribute(name, said);
  }
  function all(node) {
    if (node.nodeType === Node.TEXT_NODE) { if (!kept(node.parentElement)) text(node); return; }
    if (node.nodeType !== Node.ELEMENT_NODE || kept(node)) return;
    for (const name of SPOKEN) attribute(node, name);
    if (node.matches("input[role=combobox]") && !fields.has(node)) { fields.add(node); overField(node, say); }
    for (const child of node.childNodes) all(child);
  }
  const observer = new MutationObserver((records) => {
    for (const { type, target, attributeName, addedNodes } of records) {
      if (type === "childList") addedNodes.forEach(all);
      else if (type === "characterData") { if (!kept(target.parentElement)) text(target); }
      else if (!kept(target)) attribute(target, attributeName);
    }
    observer.takeRecords(); // what was just written here
  });
  observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: SPOKEN });
  all(root);
  return () => observer.disconnect();
}
