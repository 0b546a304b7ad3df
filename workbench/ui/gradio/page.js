// What the page remembers for itself: its language, and larger type for a class.

const LANGUAGE = "workbench-language";
const TEACHING = "workbench-teaching";
const SMALLEST = [1024, 640]; // pixels that the page needs at its usual size
const LARGEST = 1.65;
const ROOMY = [2100, 1180]; // pixels above which everything is shown larger, up to a quarter
const FULLER = 1.25;

function startLanguage() {
  const all = JSON.parse(document.getElementById("wb-languages").textContent);
  const asked = [localStorage.getItem(LANGUAGE), ...navigator.languages].filter(Boolean).map((tag) => tag.split("-")[0]);
  const code = asked.find((each) => each === "en" || each in all) || "en";
  document.documentElement.dataset.language = code;
  if (code === "en") return;
  document.documentElement.lang = all[code].tag;
  keepTranslated(document.documentElement, translator(all[code].texts));
}

// As large as the smallest page that holds everything can be shown.
function fitType() {
  const teaching = localStorage.getItem(TEACHING) === "yes";
  const times = ([width, height], most) => Math.max(1, Math.min(innerWidth / width, innerHeight / height, most));
  const root = document.documentElement;
  root.classList.toggle("wb-teach", teaching);
  root.style.setProperty("--zoom", (teaching ? times(SMALLEST, LARGEST) : times(ROOMY, FULLER)).toFixed(3));
  for (const each of document.querySelectorAll("[data-wb-teach]")) each.setAttribute("aria-pressed", teaching);
}

function press(event) {
  const switched = event.target.closest?.("[data-wb-teach]");
  if (!switched) return;
  localStorage.setItem(TEACHING, localStorage.getItem(TEACHING) === "yes" ? "no" : "yes");
  fitType();
}

function choose(event) {
  if (!event.target.matches?.("[data-wb-language]")) return;
  localStorage.setItem(LANGUAGE, event.target.value);
  location.reload(); // work is kept by the server, so the page comes back as it was
}

startLanguage();
fitType();
addEventListener("resize", fitType);
document.addEventListener("click", press);
document.addEventListener("change", choose);
// the switches show what is so as soon as they are there
new MutationObserver((_, observer) => {
  const list = document.querySelector("[data-wb-language]");
  if (!list) return;
  list.value = document.documentElement.dataset.language;
  fitType();
  observer.disconnect();
}).observe(document.documentElement, { subtree: true, childList: true });
// A stock list opens again after Tab has left it, as it hears of the key last; and where Escape closed it, a
// click does not open it, as it has the focus already.
addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches?.("input[role=combobox]")) event.stopPropagation();
}, true);
addEventListener("mousedown", ({ target }) => {
  const closed = target.matches?.("input[role=combobox][aria-expanded=false]");
  if (closed && target === document.activeElement) target.blur();
}, true);
