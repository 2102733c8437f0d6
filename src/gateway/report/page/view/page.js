"use strict";
(() => {
  const freshness = document.getElementById("freshness");
  let heard = Date.now();
  const say = (text, isStale) => {
    if (freshness.textContent !== text) freshness.textContent = text;
    freshness.classList.toggle("stale", isStale);
  };
  // What a reader has selected, or is about to copy, is replaced once that is over.
  const isInUse = (element) => {
    const selection = getSelection();
    return !selection.isCollapsed && element.contains(selection.anchorNode);
  };
  const waiting = new Map();
  const put = (id, html) => {
    const element = document.getElementById(id);
    if (!element) return;
    if (isInUse(element)) {
      waiting.set(id, html);
      return;
    }
    waiting.delete(id);
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = [...element.querySelectorAll(".scroll, pre")].map((it) => it.scrollLeft);
    const key = focused && [focused.tagName, focused.id, focused.dataset.copy, focused.getAttribute("href")].join();
    element.innerHTML = html;
    [...element.querySelectorAll(".scroll, pre")].forEach((it, at) => { it.scrollLeft = scrolled[at] || 0; });
    reach(element);
    if (!focused) return;
    const same = [...element.querySelectorAll("a, button, pre, .scroll")]
      .find((it) => [it.tagName, it.id, it.dataset.copy, it.getAttribute("href")].join() === key);
    if (same) same.focus({ preventScroll: true });
  };
  // Tables that are wider than the window are scrolled by the keyboard, too.
  const reach = (element) => {
    for (const it of element.querySelectorAll(".scroll")) {
      if (it.scrollWidth > it.clientWidth) it.tabIndex = 0;
      else it.removeAttribute("tabindex");
    }
  };
  const connect = () => {
    const source = new EventSource("/events");
    source.onopen = () => { heard = Date.now(); };
    source.onmessage = (event) => {
      heard = Date.now();
      for (const [id, html] of Object.entries(JSON.parse(event.data))) put(id, html);
      for (const [id, html] of [...waiting]) put(id, html);
      say("Updated as it happens; last at " + new Date().toLocaleTimeString() + ".", false);
    };
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      setTimeout(connect, 10000);
    };
  };
  setInterval(() => {
    const seconds = Math.round((Date.now() - heard) / 1000);
    if (seconds >= 10) say("Not updated for " + seconds + " s: the gateway does not answer, or too many pages are open.", true);
  }, 1000);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const entry = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(entry.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(entry);
      button.textContent = "Selected";
    }
  });
  document.documentElement.classList.add("scripted");
  addEventListener("resize", () => reach(document));
  reach(document);
  connect();
})();
