// What pages do beyond being read: follow what happens, show times in the reader's zone, and a few shortcuts. Without
// this script every page and every form still works.
"use strict";
(() => {
  const store = {
    get(name) { try { return localStorage.getItem("starmap." + name); } catch { return null; } },
    set(name, value) { try { value ? localStorage.setItem("starmap." + name, value) : localStorage.removeItem("starmap." + name); } catch { /* private mode */ } },
  };
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Colours: as the system has them, or as chosen. Before the page is drawn.
  const themes = ["", "light", "dark"];
  const theme = (value) => { value ? root.dataset.theme = value : delete root.dataset.theme; };
  theme(store.get("theme") || "");

  const themeButton = () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const name = () => ({ "": "Auto", light: "Light", dark: "Dark" })[root.dataset.theme || ""];
    const show = () => { button.querySelector("span").textContent = name(); button.setAttribute("aria-label", "Colours: " + name()); };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(root.dataset.theme || "") + 1) % themes.length];
      theme(next);
      store.set("theme", next);
      show();
    });
  };

  // Times.
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const written = (at, isPrecise) => {
    const utc = store.get("zone") === "utc";
    const get = (name) => at[(utc ? "getUTC" : "get") + name]();
    const day = `${get("FullYear")}-${pad(get("Month") + 1)}-${pad(get("Date"))}`;
    const time = `${pad(get("Hours"))}:${pad(get("Minutes"))}:${pad(get("Seconds"))}`;
    return `${day} ${time}${isPrecise ? "." + pad(get("Milliseconds"), 3) : ""}`;
  };
  const showTimes = (within = document) => {
    for (const element of all("time[datetime]", within)) {
      const text = written(new Date(element.dateTime), "precise" in element.dataset);
      if (element.textContent !== text) element.textContent = text;
    }
  };
  const zoneButton = () => {
    const button = document.getElementById("zone");
    if (!button) return;
    const show = () => {
      const utc = store.get("zone") === "utc";
      button.textContent = utc ? "UTC" : "Local";
      button.setAttribute("aria-label", "Times are " + (utc ? "UTC" : "local"));
      showTimes();
    };
    button.hidden = false;
    button.addEventListener("click", () => { store.set("zone", store.get("zone") === "utc" ? "" : "utc"); show(); });
    show();
  };

  // Changes a tree into another one and keeps what has not changed: focus, scroll positions, what is open or ticked.
  const morph = (from, to) => {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) { from.replaceWith(document.importNode(to, true)); return; }
    if (from.nodeType !== Node.ELEMENT_NODE) { if (from.data !== to.data) from.data = to.data; return; }
    if (from.isEqualNode(to)) return;
    for (const { name } of [...from.attributes]) {
      const isKept = name === "open" || name === "hidden" || name === "style";
      if (!to.hasAttribute(name) && !isKept) from.removeAttribute(name);
    }
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && name !== "value" && name !== "hidden") from.setAttribute(name, value);
    }
    let next = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let there = null;
      if (wanted.id) there = [...from.children].find((child) => child.id === wanted.id) || null;
      else if (next && next.nodeName === wanted.nodeName && !next.id) there = next;
      if (!there) { from.insertBefore(document.importNode(wanted, true), next); continue; }
      if (there === next) next = next.nextSibling; else from.insertBefore(there, next);
      morph(there, wanted);
    }
    while (next) { const gone = next; next = next.nextSibling; gone.remove(); }
  };

  // Live.
  let source = null;
  const say = (text, isOn) => {
    const element = document.getElementById("live");
    if (element.textContent !== text) element.textContent = text;
    element.classList.toggle("on", isOn);
  };
  const disconnect = () => { if (source) source.close(); source = null; };
  const connect = () => {
    disconnect();
    if (document.body.dataset.live !== "on") { say("", false); return; }
    if (document.visibilityState === "hidden") return;
    const query = new URLSearchParams(location.search);
    query.delete("done");
    query.set("live", "1");
    source = new EventSource(location.pathname + "?" + query);
    source.addEventListener("open", () => say("Live", true));
    source.addEventListener("error", () => say("Not connected", false));
    source.addEventListener("end", () => { document.body.dataset.live = "off"; disconnect(); settle(); });
    source.addEventListener("message", (event) => {
      const { id, html } = JSON.parse(event.data);
      const element = document.getElementById(id);
      if (!element) return;
      const template = document.createElement("template");
      template.innerHTML = html;
      const wanted = element.cloneNode(false);
      wanted.append(template.content);
      showTimes(wanted);
      morph(element, wanted);
      enhance();
    });
  };
  // What has ended has other actions than what runs.
  const settle = async () => { say("", false); await show(location.href, false); };

  // Follows a link without leaving the page.
  const show = async (href, isNew) => {
    let text;
    try {
      const answer = await fetch(href, { headers: { accept: "text/html" } });
      text = await answer.text();
    } catch { location.href = href; return; }
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = page.getElementById("main");
    if (!main) { location.href = href; return; }
    if (isNew) history.pushState(null, "", href);
    document.title = page.title;
    document.body.dataset.live = page.body.dataset.live || "off";
    showTimes(main);
    morph(document.getElementById("main"), main);
    enhance();
    if (document.body.dataset.live === "on") connect(); else { disconnect(); say("", false); }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-boost]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(new URL(link.getAttribute("href"), location.href).href, true);
  });
  addEventListener("popstate", () => show(location.href, false));

  // Several at once.
  const count = () => {
    const boxes = all('.many input[name="id"]');
    const chosen = boxes.filter((box) => box.checked).length;
    for (const button of all(".many [data-needs]")) button.disabled = chosen < Number(button.dataset.needs);
    const text = document.querySelector("[data-chosen]");
    if (text) text.textContent = chosen ? `${chosen} chosen` : "Choose executions to";
    const every = document.querySelector("[data-all]");
    if (every) { every.checked = chosen > 0 && chosen === boxes.length; every.indeterminate = chosen > 0 && chosen < boxes.length; }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) for (const box of all('.many input[name="id"]')) box.checked = event.target.checked;
    count();
  });
  document.addEventListener("submit", (event) => {
    const sure = event.submitter && event.submitter.dataset.sure;
    if (sure && !confirm(sure)) event.preventDefault();
  });

  // JSON is checked while it is written.
  const place = (text, message) => {
    const found = /position (\d+)/.exec(message);
    if (!found) return "";
    const before = text.slice(0, Number(found[1]));
    const line = before.split("\n").length;
    return ` (line ${line}, column ${before.length - before.lastIndexOf("\n")})`;
  };
  const check = (area) => {
    const note = document.getElementById(area.getAttribute("aria-describedby"));
    let problem = "";
    const bytes = new TextEncoder().encode(area.value).length;
    try { JSON.parse(area.value); } catch (error) { problem = error.message.replace(/ \(line \d+ column \d+\)/, "") + place(area.value, error.message); }
    if (!problem && bytes > 262144) problem = `${bytes} bytes are more than 262144`;
    area.classList.toggle("bad", Boolean(problem));
    area.setAttribute("aria-invalid", String(Boolean(problem)));
    const text = problem || `JSON, ${bytes} bytes.`;
    if (note.textContent !== text) note.textContent = text;
  };
  document.addEventListener("input", (event) => { if (event.target.matches("[data-json]")) check(event.target); });

  // Whatever needs a script is there only with it.
  const enhance = () => {
    showTimes();
    count();
    for (const button of all(".copy[hidden], [data-format][hidden]")) button.hidden = false;
  };
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest(".copy");
    if (copy) {
      try { await navigator.clipboard.writeText(copy.previousElementSibling.textContent); copy.textContent = "Copied"; } catch { copy.textContent = "Not allowed"; }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    }
    if (event.target.closest("[data-format]")) {
      const area = document.querySelector("[data-json]");
      try { area.value = JSON.stringify(JSON.parse(area.value), null, 2) + "\n"; } catch { /* the check says why */ }
      check(area);
    }
    for (const pop of all("details.pop[open]")) if (!pop.contains(event.target)) pop.open = false;
  });

  // Keys.
  let isGoing = false;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const pop of all("details.pop[open]")) { pop.open = false; pop.querySelector("summary").focus(); }
    if (event.target.closest("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
    const go = { e: "executions", m: "machines", f: "functions" }[event.key];
    if (isGoing && go) location.href = "/console/" + go;
    isGoing = event.key === "g";
    if (event.key === "?") location.href = "/console/keyboard";
    if (event.key === "/") { const search = document.querySelector("[data-search]"); if (search) { event.preventDefault(); search.focus(); } }
  });

  document.addEventListener("visibilitychange", () => { document.visibilityState === "hidden" ? disconnect() : connect(); });
  document.addEventListener("DOMContentLoaded", () => { themeButton(); zoneButton(); enhance(); all("[data-json]").forEach(check); connect(); });
})();
