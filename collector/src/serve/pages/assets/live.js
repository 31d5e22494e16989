// Live updates: when the server says that something has changed, the page is read again and its live parts are replaced.
// Everything else works without this file.
"use strict";
(() => {
  const body = document.body;
  const state = document.getElementById("live-state");
  const opened = performance.now();
  let shownAt = Date.parse(body.dataset.shownAt ?? "");
  let readAt = opened;

  const say = (text) => {
    if (state && state.textContent !== text) state.textContent = text;
  };

  const span = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 5400) return `${Math.floor((seconds + 30) / 60)} min`;
    if (seconds < 129600) return `${Math.floor((seconds + 1800) / 3600)} h`;
    return `${Math.floor((seconds + 43200) / 86400)} days`;
  };

  // Ages grow while a page is open. The server's clock counts, not this one's.
  const age = () => {
    if (Number.isNaN(shownAt)) return;
    const now = shownAt + (performance.now() - readAt);
    for (const time of document.querySelectorAll("time[data-age]")) {
      const seconds = Math.floor((now - Date.parse(time.dateTime)) / 1000);
      time.textContent = seconds < 0 ? `in ${span(-seconds)}` : seconds < 60 ? "just now" : `${span(seconds)} ago`;
    }
  };
  setInterval(age, 15000);

  if (!body.dataset.events || !window.EventSource) return;

  const replace = (fresh) => {
    const focused = document.activeElement;
    for (const old of document.querySelectorAll("[data-live][id]")) {
      const now = fresh.getElementById(old.id);
      if (!now) continue;
      const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
      const inside = old.contains(focused) ? focused : null;
      // A form that is being filled in is left alone.
      if (inside && inside.closest("form")) continue;
      const address = inside?.getAttribute("href");
      old.replaceWith(now);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (inside) {
        const again = inside.id
          ? document.getElementById(inside.id)
          : address && [...now.querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === address);
        again?.focus({ preventScroll: true });
      }
    }
  };

  let reading = false;
  let again = false;
  const read = async () => {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      replace(fresh);
      shownAt = Date.parse(fresh.body.dataset.shownAt ?? "");
      readAt = performance.now();
      say("live");
    } catch {
      say("not live: reload");
    } finally {
      reading = false;
      if (again) {
        again = false;
        setTimeout(read, 500);
      }
    }
  };

  const events = new EventSource(body.dataset.events);
  let lost = false;
  events.addEventListener("changed", read);
  events.onopen = () => {
    say("live");
    // What changed while nobody listened is not known.
    if (lost) read();
    lost = false;
  };
  events.onerror = () => {
    lost = true;
    say("not live: connection lost");
  };
})();
