// The whole story in a browser: start an execution from the form, watch its graph turn green, open the map run and a
// failed item, stop one, redrive it, compare two; every page in light and dark, wide and narrow, looked at by axe, and
// no request that leaves the machine.
//
//   STARMAP=../target/release/starmap CHROMIUM=/usr/bin/chromium node story.mjs [folder for screenshots]
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import axe from "axe-core";
import { chromium } from "playwright-core";

import { fields, startServer } from "./server.mjs";

const program = process.env.STARMAP ?? "../target/release/starmap";
const pictures = process.argv[2];
if (pictures) mkdirSync(pictures, { recursive: true });
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
];

const server = await startServer(program);
const profile = mkdtempSync(join(tmpdir(), "starmap-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS,
  viewport: { width: 1440, height: 900 }, colorScheme: "light",
});
const left = [];
const problems = [];
browser.on("request", (request) => {
  const url = request.url();
  if (!url.startsWith(server.base + "/") && !url.startsWith("data:")) left.push(url);
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(30_000);
page.on("console", (message) => {
  // A refused form is part of the story.
  if (["error", "warning"].includes(message.type()) && !/status of 400/.test(message.text())) problems.push(`console: ${message.text()}`);
});
page.on("pageerror", (error) => problems.push(`script: ${error.message}`));

const at = (path) => server.base + "/console/" + path;
const open = async (path) => { await page.goto(at(path)); await page.waitForLoadState("load"); };
const step = (text) => console.log(`- ${text}`);
const picture = async (name, options = {}) => { if (pictures) await page.screenshot({ path: join(pictures, name + ".png"), ...options }); };

/** No violation that axe calls serious or critical. */
async function check(name) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
    problems.push(`${name}: ${impact} ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (wide > 0) problems.push(`${name}: the page is ${wide} px wider than the window`);
}

/** What has the keyboard's focus: what it is called, and whether it can be seen that it has it. */
const focused = () => page.evaluate(() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent || "";
  const frame = element.querySelector?.(":scope > .frame");
  const isMarked = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)
    || (frame !== null && frame !== undefined && parseFloat(getComputedStyle(frame).strokeWidth) > 3);
  const isInSight = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return { name: name.trim().replace(/\s+/g, " "), isSeen: isMarked && isInSight };
});

/** Presses the tabulator until what is called so has the focus, which must be seen at every stop. */
async function tabTo(wanted, key = "Tab") {
  const passed = [];
  for (let presses = 0; presses < 150; presses += 1) {
    await page.keyboard.press(key);
    const { name, isSeen } = await focused();
    // Between the end of the page and its beginning is the browser itself.
    if (!isSeen && name.length < 200) problems.push(`keyboard at ${page.url()}: focus is not seen on ${JSON.stringify(name)}`);
    if (wanted.test(name)) return;
    passed.push(name.slice(0, 30));
  }
  assert.fail(`${wanted} was not reached at ${page.url()}: ${passed.join(" | ")}`);
}

/** The number in the path of an execution's page. */
const idOf = () => /executions\/(\d+)/.exec(page.url())?.[1];

try {
  step("the demo is started again, from the form with its last input");
  await open("machines");
  await page.getByRole("link", { name: /^redshift-/ }).first().click();
  await page.getByRole("link", { name: "Start execution" }).click();
  const input = page.getByLabel("Input", { exact: true });
  const text = await input.inputValue();
  await input.fill(text.replace("}", ","));
  await page.getByText(/line \d+, column \d+|JSON at position|Expected/).first().waitFor();
  await page.getByRole("button", { name: "Start execution" }).click();
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /InvalidExecutionInput/);
  await page.getByLabel("Input", { exact: true }).fill(text.replace(/results\/[^"]+/, "results/again"));
  await page.getByLabel("Name").fill("from-the-form");
  await page.getByRole("button", { name: "Start execution" }).click();
  await page.waitForURL(/executions\/\d+/);
  step("its graph turns green while it is watched");
  await page.locator(".state.is-ok").nth(3).waitFor();
  await page.locator("#title .badge-ok").waitFor();
  assert.equal(await page.locator(".state.is-ok").count(), 4);
  const redshift = idOf();

  step("a survey whose items fail; its map run while it runs");
  const started = await server.call("StartExecution", {
    stateMachineArn: server.survey, name: "night-1", input: JSON.stringify(fields(60, [7, 19, 33], (index) => (index % 5 === 4 ? 12 : 4))),
  });
  await open("executions");
  await page.getByRole("link", { name: "night-1" }).click();
  const night = idOf();
  await page.locator(".state.is-running .name", { hasText: "Observe fields" }).waitFor();
  await page.locator(".container > a > .name", { hasText: "Observe fields" }).click();
  await page.getByRole("heading", { name: "Observe fields", exact: true }).waitFor();
  await picture("execution-running");
  await page.locator("#facts").getByRole("link", { name: "Observe fields" }).click();
  await page.locator(".tile-failed b", { hasText: /[1-9]/ }).waitFor();
  const run = /map-runs\/(\d+)/.exec(page.url())[1];

  step("the execution failed; the banner leads to the first item that did");
  await open(`executions/${night}`);
  await page.getByText("This execution failed in Observe fields").waitFor();
  await picture("execution-failed", { fullPage: true });
  await page.locator(".banner").getByRole("link", { name: "7", exact: true }).click();
  await page.getByText("This execution failed in Cloudy").waitFor();
  assert.equal(await page.locator(".crumbs").getByRole("link").count(), 3);
  await page.getByText("the extinction is 2.1 mag").first().waitFor();
  const item = idOf();

  step("a night without clouds turns green to its end, branches and all");
  await server.call("StartExecution", { stateMachineArn: server.survey, name: "night-0", input: JSON.stringify(fields(6, [], () => 1)) });
  await open("executions");
  await page.getByRole("link", { name: "night-0" }).click();
  await page.locator("#title .badge-ok").waitFor();
  for (const name of ["Both at once", "Calibrate", "Verify", "Slew"]) {
    await page.locator(".is-ok > a > .name", { hasText: name }).waitFor();
  }
  assert.equal(await page.locator(".terminal.reached").count(), 2);
  assert.equal(await page.locator(".state.is-none > a > .name", { hasText: "Cloudy" }).count(), 1, "no item was cloudy");
  await picture("execution-parallel", { fullPage: true });

  step("another one is started from its input, stopped, redriven and stopped again");
  await open(`executions/${night}`);
  await page.getByRole("link", { name: "New execution" }).click();
  const long = JSON.stringify(fields(40, [], () => 20));
  await page.getByLabel("Input", { exact: true }).fill(long);
  await page.getByLabel("Name").fill("night-2");
  await page.getByRole("button", { name: "Start execution" }).click();
  await page.waitForURL(/done=started/);
  const second = idOf();
  await page.locator("summary", { hasText: "Stop…" }).click();
  await page.getByLabel("Cause").fill("clouds are coming");
  await page.getByRole("button", { name: "Stop this execution" }).click();
  await page.getByText("clouds are coming").first().waitFor();
  await page.getByRole("button", { name: "Redrive" }).click();
  await page.getByText("The execution goes on where it ended.").waitFor();
  await page.locator("#title .badge-running").waitFor();
  step("the limits of its map run are changed while it runs");
  await page.locator("#facts").getByRole("link", { name: "Observe fields" }).click();
  await page.locator("summary", { hasText: "Change limits…" }).click();
  await page.getByRole("textbox", { name: "Children at once" }).fill("20");
  await page.getByRole("button", { name: "Change", exact: true }).click();
  await page.getByText("The map run goes on with the new limits.").waitFor();
  await page.locator("#counts").getByText("20", { exact: true }).first().waitFor();

  step("two are chosen in the list and compared; one is stopped there");
  await open("executions");
  for (const name of ["night-1", "night-2"]) await page.getByLabel(`Choose ${name}`).check();
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByRole("heading", { name: "Time by state" }).waitFor();
  await page.getByText(/values? differ/).waitFor();
  await open("executions");
  await page.getByLabel("Choose night-2").check();
  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText("Done for all that were chosen.").waitFor();

  step("executions are found by a value of their input");
  await open("executions");
  await page.getByLabel("Input has").fill("$.fields[0].seconds >= 20 and $.dark = true");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.getByText("1–1 of 1").waitFor();
  await page.getByRole("link", { name: "night-2" }).waitFor();
  await page.getByLabel("Input has").fill("$.fields is 1");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.getByText("expected for example").waitFor();

  step("a long table has only the rows that are looked at in the page");
  await server.call("StartExecution", { stateMachineArn: server.survey, name: "all-sky", input: JSON.stringify(fields(2000, [1500], () => 0, 1)) });
  await open("executions/all-sky");
  await page.locator("#title .badge-ok").waitFor();
  await page.locator("#facts").getByRole("link", { name: "Observe fields" }).click();
  await page.locator(".is-virtual tbody tr").first().waitFor();
  const wide = /map-runs\/(\d+)/.exec(page.url())[1];
  assert.match(await page.locator(".is-virtual tbody tr").first().textContent(), /1\u202f500.*Failed/);
  await page.getByRole("link", { name: "By item" }).click();
  await page.waitForURL(/show=all/);
  const elements = () => page.evaluate(() => document.querySelectorAll("*").length);
  await page.locator(".is-virtual tbody tr", { hasText: "Succeeded" }).first().waitFor();
  const atTop = await elements();
  for (const [part, item] of [[1, "1999"], [0.5, "1000"], [0, "0"]]) {
    await page.locator(".is-virtual .scroll").evaluate((box, part) => { box.scrollTop = box.scrollHeight * part; }, part);
    await page.getByRole("link", { name: item.replace(/(?=\d{3}$)/, "\u202f").replace(/^\u202f/, ""), exact: true }).waitFor();
    assert.ok((await elements()) < atTop + 300, `${await elements()} elements at ${item}, ${atTop} at the top`);
  }

  step("what workers do now, and the lines of one item");
  await open("functions");
  await page.locator("#workers").getByText(/of 1?.?\d+ MiB/).first().waitFor();
  await open(`logs?execution=${redshift}&item=1`);
  await page.locator(".log .report").first().waitFor();
  assert.equal(await page.locator(".log .report").count(), 1);
  await page.getByLabel("Lines with").fill("START");
  await page.getByRole("button", { name: "Search" }).click();
  await page.locator(".log .line").first().waitFor();
  assert.equal(await page.locator(".log .line").count(), 1);

  step("log groups as clients are told of them, and a role with all that it has");
  await open("logs");
  await page.getByRole("link", { name: "Log groups" }).click();
  await page.getByRole("link", { name: "/aws/lambda/starmap-infer" }).click();
  await page.getByLabel("Filter pattern").fill("REPORT");
  await page.getByRole("button", { name: "Search" }).click();
  await page.locator(".message", { hasText: "REPORT RequestId" }).first().waitFor();
  await open("machines/survey");
  await page.locator(".facts").getByRole("link", { name: /role\/observatory/ }).click();
  await page.getByText("AmazonS3FullAccess", { exact: true }).waitFor();
  for (const [name, text] of [["Trust relationships", "states.amazonaws.com"], ["Tags (1)", "night shift"], ["Last accessed", "not used yet"], ["Sessions (0)", "Nobody"]]) {
    await page.getByRole("link", { name }).click();
    await page.getByText(text).first().waitFor();
  }

  step("two runs beside each other, and beside the published tables");
  await open(`compare?id=1&id=${redshift}`);
  for (const name of ["Time by state", "Time by phase", "Metrics", "Inputs", "Beside the published tables"]) {
    await page.getByRole("heading", { name, exact: true }).waitFor();
  }
  assert.equal(await page.locator(".published .own").count(), 2);

  step("the whole of it with the keyboard alone: form, graph, map run, failed item, stop, redrive, compare");
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open("machines");
  await tabTo(/^Skip to content$/);
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, "#main");
  await tabTo(/^Start an execution of survey$/);
  await page.keyboard.press("Enter");
  await page.waitForURL(/survey\/start/);
  await tabTo(/^Name/);
  await page.keyboard.type("by-keyboard");
  await tabTo(/^Input$/);
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(JSON.stringify(fields(30, [1], (index) => (index < 2 ? 1 : 60), 5)));
  await tabTo(/^Start execution$/);
  await page.keyboard.press("Enter");
  await page.waitForURL(/executions\/\d+/);
  await page.locator(".state.is-running .name", { hasText: "Observe fields" }).waitFor();
  await tabTo(/^Plan the night/);
  assert.equal(await page.locator(".graph .state > a[tabindex='0']").count(), 1, "a graph is one stop");
  for (let presses = 0; presses < 8 && !/^Observe fields/.test((await focused()).name); presses += 1) await page.keyboard.press("ArrowDown");
  assert.match((await focused()).name, /^Observe fields .*Distributed map, in progress/);
  assert.ok((await focused()).isSeen, "the state is marked");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Observe fields", exact: true }).waitFor();
  await tabTo(/^30 items$/);
  await page.keyboard.press("Enter");
  await page.waitForURL(/map-runs/);
  await page.locator(".failures a", { hasText: "Item 1" }).waitFor();
  await tabTo(/^Item 1$/);
  await page.keyboard.press("Enter");
  await page.getByText("This execution failed in Cloudy").waitFor();
  await tabTo(/^by-keyboard$/);
  await page.keyboard.press("Enter");
  await page.locator("summary", { hasText: "Stop…" }).waitFor();
  await tabTo(/^Stop…$/);
  await page.keyboard.press("Enter");
  await tabTo(/^Cause/);
  await page.keyboard.type("dawn has come");
  await tabTo(/^Stop this execution$/);
  await page.keyboard.press("Enter");
  await page.getByText("dawn has come").first().waitFor();
  await tabTo(/^Redrive$/);
  await page.keyboard.press("Enter");
  await page.getByText("The execution goes on where it ended.").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.waitForURL(/executions$/);
  for (const name of [/^Choose by-keyboard$/, /^Choose night-1$/]) {
    await tabTo(name);
    await page.keyboard.press("Space");
  }
  await tabTo(/^Compare$/, "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Time by state" }).waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("m");
  await page.waitForURL(/machines$/);
  const { executions } = await server.call("ListExecutions", { stateMachineArn: server.survey, statusFilter: "RUNNING" });
  for (const { executionArn } of executions) await server.call("StopExecution", { executionArn });

  step("every page in light and dark, wide and narrow");
  const machine = await page.getByRole("link", { name: /^redshift-/ }).first().textContent();
  const pages = {
    executions: "executions",
    parallel: "executions/night-0",
    "executions-filtered": "executions?q=night&status=failed&sort=duration",
    execution: `executions/${redshift}`,
    "execution-state": `executions/${redshift}?state=Distributed%20Test`,
    "execution-table": `executions/${redshift}?view=table`,
    "execution-events": `executions/${redshift}?view=events`,
    "execution-io": `executions/${redshift}?view=io`,
    "execution-definition": `executions/${redshift}?view=definition`,
    "execution-aborted": `executions/${second}`,
    night: `executions/${night}`,
    item: `executions/${item}`,
    science: `executions/${redshift}/science`,
    "map-run": `map-runs/${run}`,
    "map-run-workers": await (async () => {
      await open(`executions/${redshift}`);
      return new URL(await page.locator("#facts").getByRole("link", { name: "Distributed Test" }).first().evaluate((link) => link.href)).pathname.replace("/console/", "");
    })(),
    machines: "machines",
    machine: `machines/${machine}`,
    survey: "machines/survey",
    versions: "machines/survey?view=versions",
    start: `machines/${machine}/start`,
    "map-run-long": `map-runs/${wide}`,
    children: `map-runs/${wide}/children?show=all&from=1000`,
    functions: "functions",
    function: "functions/starmap-infer",
    logs: "logs",
    "logs-item": `logs?execution=${redshift}&item=1`,
    groups: "logs/groups",
    group: `logs/groups/${encodeURIComponent("/aws/lambda/starmap-infer")}?q=REPORT`,
    roles: "roles",
    role: "roles/observatory",
    "role-trust": "roles/observatory?view=trust",
    compare: `compare?id=${night}&id=${second}`,
    "compare-runs": `compare?id=1&id=${redshift}`,
    keyboard: "keyboard",
    missing: "executions/none",
  };
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1440, 390]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
      for (const [name, path] of Object.entries(pages)) {
        if (name === "missing") page.removeAllListeners("console");
        await open(path);
        const of = `${name}-${colorScheme}-${width}`;
        await check(of);
        await picture(of, { fullPage: true });
      }
    }
  }

  step("on paper: what is only for a screen is not there");
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  for (const name of ["execution", "night", "map-run-workers", "map-run", "science"]) {
    await open(pages[name]);
    assert.equal(await page.locator(".top nav:visible, .actions:visible, .cli:visible, .foot:visible").count(), 0, name);
    if (pictures) {
      await page.pdf({ path: join(pictures, `${name}.pdf`), format: "A4", printBackground: true });
    }
  }

  assert.deepEqual(left, [], "requests that left the machine");
  assert.deepEqual(problems, []);
  console.log(`${Object.keys(pages).length} pages in 4 ways, no serious violation, no request that left the machine`);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
  await server.stop();
}
