// The address of the page follows what is on screen, so that it can be sent to somebody.

const OURS = ["model", "run", "layer", "channel", "weight"];

export function mountAddress(element, { get, on }) {
  function follow() {
    const link = get()?.link;
    if (!link) return;
    const address = new URL(window.location.href);
    for (const key of OURS) address.searchParams.delete(key);
    for (const [key, value] of new URLSearchParams(link)) if (OURS.includes(key)) address.searchParams.set(key, value);
    if (address.href !== window.location.href) window.history.replaceState(window.history.state, "", address);
  }
  on(follow);
  follow();
  return () => {};
}
