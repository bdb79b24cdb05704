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
      const isKept = name === "open" || name === "hidden" || name === "style" || name === "tabindex";
      if (!to.hasAttribute(name) && !isKept) from.removeAttribute(name);
    }
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && name !== "value" && name !== "hidden" && name !== "style") from.setAttribute(name, value);
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
      const long = element.querySelector(".is-virtual");
      if (long && long.refresh(template.content.querySelector("[data-virtual]"))) return;
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
    for (const box of all("[data-virtual]")) { box.refresh = null; box.classList.remove("is-virtual"); }
    const before = document.activeElement;
    morph(document.getElementById("main"), main);
    enhance();
    // What was pressed keeps the focus, if it is still there.
    if (!before.isConnected && before.getAttribute("href")) {
      const same = all("a[href]").find((link) => link.getAttribute("href") === before.getAttribute("href"));
      if (same) same.focus({ preventScroll: true });
    }
    if (document.body.dataset.live === "on") connect(); else { disconnect(); say("", false); }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-boost]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(new URL(link.getAttribute("href"), location.href).href, true);
  });
  addEventListener("popstate", () => show(location.href, false));

  // A long table: only the rows that are looked at are in the page, the others are read when they are scrolled to. The
  // page has the same number of elements at any place of a table of any length.
  const CHUNK = 100;
  const CHUNKS_MAX = 12;
  const virtual = (box) => {
    const scroll = box.querySelector(".scroll");
    const sizer = box.querySelector(".sizer");
    const body = box.querySelector("tbody");
    const pages = box.querySelector(".pager");
    let total = Number(box.dataset.total);
    const rows = () => [...body.rows];
    const from = Number(box.dataset.from);
    box.classList.remove("is-virtual");
    sizer.style.padding = "";
    if (pages) pages.hidden = false;
    if (from > 0 || total <= rows().length) return;
    box.classList.add("is-virtual");
    if (pages) pages.hidden = true;
    let place = box.querySelector(".place");
    if (!place) { place = document.createElement("p"); place.className = "place note"; box.append(place); }
    const height = rows()[0].getBoundingClientRect().height || 38;
    const chunks = new Map([[0, rows()]]);
    const asked = new Set();
    let shown = "";
    const keep = (index, found) => {
      chunks.delete(index);
      chunks.set(index, found);
      for (const old of chunks.keys()) { if (chunks.size <= CHUNKS_MAX) break; chunks.delete(old); }
    };
    const read = async (index) => {
      if (asked.has(index)) return;
      asked.add(index);
      try {
        const answer = await fetch(`${box.dataset.virtual}&from=${index * CHUNK}&count=${CHUNK}`);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const found = [...page.querySelectorAll("#children-rows tbody tr")].map((row) => document.importNode(row, true));
        if (found.length) keep(index, found);
      } catch { /* the next look asks again */ }
      asked.delete(index);
      draw(true);
    };
    const blank = (at) => {
      const row = document.createElement("tr");
      row.setAttribute("aria-rowindex", at + 2);
      row.innerHTML = '<td class="number aside">…</td><td></td><td></td><td></td><td></td><td class="wide"></td>';
      return row;
    };
    const draw = (isForced) => {
      if (!box.isConnected || !box.classList.contains("is-virtual")) return;
      const seen = Math.ceil(scroll.clientHeight / height);
      const first = Math.max(0, Math.min(total - seen, Math.floor(scroll.scrollTop / height)));
      const begin = Math.max(0, first - 10);
      const end = Math.min(total, first + seen + 10);
      const range = `${begin}-${end}-${total}`;
      place.textContent = `${(first + 1).toLocaleString("en").replaceAll(",", "\u202f")}–${Math.min(total, first + seen).toLocaleString("en").replaceAll(",", "\u202f")} of ${total.toLocaleString("en").replaceAll(",", "\u202f")}`;
      if (range === shown && !isForced) return;
      shown = range;
      const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").getAttribute("aria-rowindex") : null;
      const wanted = [];
      for (let at = begin; at < end; at += 1) {
        const chunk = chunks.get(Math.floor(at / CHUNK));
        const row = chunk && chunk[at % CHUNK];
        if (row) wanted.push(row); else { wanted.push(blank(at)); read(Math.floor(at / CHUNK)); }
      }
      if (wanted.length !== body.rows.length || wanted.some((row, index) => body.rows[index] !== row)) body.replaceChildren(...wanted);
      sizer.style.paddingTop = `${begin * height}px`;
      sizer.style.paddingBottom = `${(total - end) * height}px`;
      showTimes(body);
      // Focus stays where it was, or with the table once that row is out of sight.
      if (focused !== null && !body.contains(document.activeElement)) {
        const row = body.querySelector(`tr[aria-rowindex="${focused}"] a`);
        (row || scroll).focus({ preventScroll: true });
      }
    };
    // On paper nothing scrolls: the first rows are printed.
    box.unroll = () => { const first = chunks.get(0); if (first) body.replaceChildren(...first); place.textContent = `1–${body.rows.length} of ${total}`; };
    box.roll = () => draw(true);
    let isDue = false;
    scroll.onscroll = () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => { isDue = false; draw(false); });
    };
    // What happens meanwhile: the first rows came with it, the others that are in sight are read again.
    box.refresh = (now) => {
      if (!now) return false;
      total = Number(now.dataset.total);
      box.dataset.total = total;
      const fresh = [...now.querySelectorAll("tbody tr")].map((row) => document.importNode(row, true));
      const inSight = [...chunks.keys()].filter((index) => {
        const top = index * CHUNK * height - scroll.scrollTop;
        return index > 0 && top < scroll.clientHeight && top + CHUNK * height > 0;
      });
      for (const index of [...chunks.keys()]) if (index > 0 && !inSight.includes(index)) chunks.delete(index);
      keep(0, fresh);
      inSight.forEach(read);
      draw(true);
      return true;
    };
    draw(true);
  };

  // Arrow keys lead through a graph: it is one stop of the tabulator, and within it the nearest state in a direction.
  const states = (graph) => all(".state > a", graph);
  const rove = (graph, to) => { for (const state of states(graph)) state.setAttribute("tabindex", state === to ? "0" : "-1"); };
  const roving = () => {
    for (const graph of all(".graph")) {
      const there = states(graph);
      rove(graph, there.find((state) => state === document.activeElement) || there.find((state) => state.hasAttribute("aria-current"))
        || there.find((state) => state.getAttribute("tabindex") === "0") || there[0]);
    }
  };
  const middle = (state) => {
    // Of a container its head, which is where its name is.
    const frame = state.querySelector(".tile").getBoundingClientRect();
    const whole = state.querySelector(".frame").getBoundingClientRect();
    return { x: (whole.left + whole.right) / 2, y: (frame.top + frame.bottom) / 2 };
  };
  const arrow = (event) => {
    const from = event.target.closest(".graph .state > a");
    if (!from || event.metaKey || event.ctrlKey || event.altKey || event.shiftKey) return;
    const graph = from.closest(".graph");
    const others = states(graph);
    const here = middle(from);
    let next = null;
    if (event.key === "Home") next = others[0];
    else if (event.key === "End") next = others[others.length - 1];
    else {
      const direction = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (!direction) return;
      let least = Infinity;
      for (const state of others) {
        const { x, y } = middle(state);
        const along = (x - here.x) * direction[0] + (y - here.y) * direction[1];
        const aside = Math.abs((x - here.x) * direction[1]) + Math.abs((y - here.y) * direction[0]);
        if (along > 4 && along + 2 * aside < least) { least = along + 2 * aside; next = state; }
      }
    }
    event.preventDefault();
    if (!next) return;
    rove(graph, next);
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  document.addEventListener("keydown", arrow);
  // A press of space opens a link of a graph, as it presses a button.
  document.addEventListener("keydown", (event) => {
    const state = event.key === " " && event.target.closest(".graph .state > a");
    if (state) { event.preventDefault(); state.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true })); }
  });

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
    roving();
    for (const box of all("[data-virtual]")) if (!box.refresh || !box.classList.contains("is-virtual")) virtual(box);
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
    const go = { e: "executions", m: "machines", f: "functions", l: "logs", r: "roles" }[event.key];
    if (isGoing && go) location.href = "/console/" + go;
    isGoing = event.key === "g";
    if (event.key === "?") location.href = "/console/keyboard";
    if (event.key === "/") { const search = document.querySelector("[data-search]"); if (search) { event.preventDefault(); search.focus(); } }
  });

  addEventListener("beforeprint", () => { for (const box of all(".is-virtual")) box.unroll(); });
  addEventListener("afterprint", () => { for (const box of all(".is-virtual")) box.roll(); });

  document.addEventListener("visibilitychange", () => { document.visibilityState === "hidden" ? disconnect() : connect(); });
  document.addEventListener("DOMContentLoaded", () => { themeButton(); zoneButton(); enhance(); all("[data-json]").forEach(check); connect(); });
})();
