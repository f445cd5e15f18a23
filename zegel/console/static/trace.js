// The page can be refreshed without this. Here it brings itself up to date, for as long as something can still happen.
(() => {
  "use strict";
  const way = document.getElementById("trace"), said = document.getElementById("trace-said");
  if (!way || !said) return;
  const FIRST = 3000, MOST = 60000; // milliseconds between two looks
  const TIMES = 25; // looks in which nothing happened: a page that was left open doesn't keep a session alive
  let pause = FIRST, left = TIMES, timer = 0, isLooking = false;

  const held = () => way.firstElementChild;
  const plan = () => { window.clearTimeout(timer); timer = window.setTimeout(look, pause); };

  function stop() {
    window.clearTimeout(timer);
    left = 0;
    said.textContent = said.dataset.stopped;
  }

  function replace(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-version]");
    if (!fresh) return false;
    const open = Array.from(way.querySelectorAll("details[open][id]"), (one) => one.id);
    const focused = way.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : null;
    way.replaceChildren(document.importNode(fresh, true));
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) (document.getElementById(focused)?.querySelector("summary, a") ?? way.querySelector("a"))?.focus({ preventScroll: true });
    return true;
  }

  async function look() {
    if (isLooking || left <= 0 || document.visibilityState === "hidden") return;
    isLooking = true;
    left -= 1;
    pause = Math.min(MOST, pause * 1.4);
    try {
      const response = await fetch(window.location.pathname, { headers: { "X-Trace-Version": held().dataset.version }, redirect: "manual", cache: "no-store" });
      if (response.status === 200 && replace(await response.text())) {
        said.textContent = said.dataset.changed;
        pause = FIRST;
        left = TIMES;
      } else if (response.status !== 204 && response.status < 500) { stop(); return; } // signed out
    } catch { /* no connection: the next look tries again */ } finally { isLooking = false; }
    if (held().dataset.final === "yes") window.clearTimeout(timer);
    else if (left > 0) plan();
    else stop();
  }

  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible" && left > 0 && held().dataset.final !== "yes") plan(); });
  plan();
})();
