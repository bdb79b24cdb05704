// A map run of many children, measured: how long until the first byte and until the page can be used, what scrolling
// through it leaves in the page, what the server's memory does meanwhile, and what it costs to follow a busy one.
//
//   STARMAP=../target/release/starmap CHROMIUM=/usr/bin/chromium node large.mjs [children, 100000 by default] [seconds, 30]
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { loadavg } from "node:os";

import { chromium } from "playwright-core";

const program = process.env.STARMAP ?? "../target/release/starmap";
const children = Number(process.argv[2] ?? 100_000);
const seconds = Number(process.argv[3] ?? 30);
const TURNS = 5;

/** A Distributed Map over the numbers of a CSV file; every thousandth item fails, the others end after `wait` seconds. */
const definition = (wait) => ({
  StartAt: "Each",
  States: {
    Each: {
      Type: "Map", End: true, MaxConcurrency: 1000, ToleratedFailurePercentage: 100, ResultPath: null,
      ItemReader: { Resource: "arn:aws:states:::s3:getObject", ReaderConfig: { InputType: "CSV", CSVHeaderLocation: "FIRST_ROW" },
        Parameters: { Bucket: "large", "Key.$": "$.key" } },
      ResultWriter: { Resource: "arn:aws:states:::s3:putObject", Parameters: { Bucket: "large", Prefix: "results" } },
      ItemProcessor: {
        ProcessorConfig: { Mode: "DISTRIBUTED", ExecutionType: "STANDARD" },
        StartAt: "Well?",
        States: {
          "Well?": { Type: "Choice", Choices: [{ Variable: "$.bad", StringEquals: "1", Next: "Bad" }], Default: wait ? "Wait" : "Good" },
          ...(wait ? { Wait: { Type: "Wait", Seconds: wait, Next: "Good" } } : {}),
          Bad: { Type: "Fail", Error: "Sky.Cloudy", Cause: "clouds" },
          Good: { Type: "Pass", End: true },
        },
      },
    },
  },
});

const data = mkdtempSync(join(tmpdir(), "starmap-large-"));
const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--data", data], { stdio: ["ignore", "pipe", "inherit"] });
const base = await new Promise((resolve, reject) => {
  createInterface({ input: child.stdout }).on("line", (line) => {
    const found = /listening on (http:\S+)/.exec(line);
    if (found) resolve(found[1]);
  });
  child.on("exit", (code) => reject(new Error(`the server ended with ${code}`)));
});
const call = async (action, members) => {
  const answer = await fetch(base, {
    method: "POST", body: JSON.stringify(members),
    headers: { "x-amz-target": `AWSStepFunctions.${action}`, "content-type": "application/x-amz-json-1.0" },
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${action}: ${value.message}`);
  return value;
};
const put = async (path, body) => {
  const headers = { authorization: "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x" };
  const answer = await fetch(base + path, { method: "PUT", body, headers });
  if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${await answer.text()}`);
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const residentMiB = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1024;
/** Seconds of CPU that a process or a thread has had, by its `stat`. */
const cpuOf = (stat) => {
  const fields = readFileSync(stat, "utf8").replace(/^.*\) /s, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
};
/** Seconds of CPU of the server: its engine, which is one thread, and all else: what serves the console and the API. */
const cpuSeconds = () => {
  const tasks = `/proc/${child.pid}/task`;
  const engine = readdirSync(tasks).find((task) => readFileSync(`${tasks}/${task}/comm`, "utf8").trim() === "engine");
  const engineSeconds = cpuOf(`${tasks}/${engine}/stat`);
  return { engine: engineSeconds, rest: cpuOf(`/proc/${child.pid}/stat`) - engineSeconds };
};
/** Seconds of CPU of all processes of the browser. */
const browserSeconds = () => readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).reduce((sum, pid) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("chromium") ? sum + cpuOf(`/proc/${pid}/stat`) : sum;
  } catch { return sum; }
}, 0);
const middle = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const say = (name, value, asked = "") => console.log(`${name.padEnd(58)} ${String(value).padStart(12)}  ${asked}`);

let browser;
try {
  await put("/large", "");
  const lines = Array.from({ length: children }, (_, index) => `${index},${index % 1000 === 7 ? 1 : 0}`);
  await put("/large/items.csv", `n,bad\n${lines.join("\n")}\n`);
  const role = "arn:aws:iam::123456789012:role/large";
  const start = async (name, wait) => {
    const { stateMachineArn } = await call("CreateStateMachine", { name, roleArn: role, definition: JSON.stringify(definition(wait)) });
    return (await call("StartExecution", { stateMachineArn, name, input: JSON.stringify({ key: "items.csv" }) })).executionArn;
  };
  const begun = Date.now();
  const executionArn = await start("large", 0);
  for (;;) {
    const { status, error, cause } = await call("DescribeExecution", { executionArn });
    if (status !== "RUNNING") { if (status !== "SUCCEEDED") throw new Error(`${status}: ${error}: ${cause}`); break; }
    await sleep(200);
  }
  say(`a map run of ${children} children was made in`, `${((Date.now() - begun) / 1000).toFixed(1)} s`, `load ${loadavg()[0].toFixed(1)}`);

  const url = `${base}/console/map-runs/1`;
  const firstByte = async (address) => {
    const from = performance.now();
    const answer = await fetch(address);
    const took = performance.now() - from;
    await answer.arrayBuffer();
    return took;
  };
  say("first byte of its page, never asked for before", `${(await firstByte(url)).toFixed(0)} ms`, "100 ms");
  const memoryBefore = residentMiB();
  const again = [];
  for (let index = 0; index < 40; index += 1) again.push(await firstByte(url));
  say("first byte of its page, again, median of 40", `${middle(again).toFixed(1)} ms`, "100 ms");
  say("  and the slowest of 40", `${Math.max(...again).toFixed(1)} ms`, "100 ms");
  const pieces = [];
  for (const show of ["attention", "all", "slowest", "failed"]) {
    for (const part of [0, 0.25, 0.5, 0.99]) pieces.push(await firstByte(`${url}/children?show=${show}&from=${Math.floor(children * part)}`));
  }
  say("first byte of its children at any place, slowest of 16", `${Math.max(...pieces).toFixed(1)} ms`, "100 ms");
  say("first byte of the execution's page", `${(await firstByte(`${base}/console/executions/1`)).toFixed(1)} ms`, "100 ms");

  const profile = join(data, "profile");
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, viewport: { width: 1440, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
  });
  const page = browser.pages()[0] ?? (await browser.newPage());
  await page.goto(`${base}/console/keyboard`);
  const usable = [];
  for (let index = 0; index < 5; index += 1) {
    const from = performance.now();
    await page.goto(url);
    await page.locator(".is-virtual tbody tr").first().waitFor();
    usable.push(performance.now() - from);
  }
  say("until its page can be used, in Chromium, median of 5", `${middle(usable).toFixed(0)} ms`, "1000 ms");
  const scroller = page.locator(".is-virtual .scroll");
  const elements = [];
  const scrolled = [];
  for (const part of [0, 0.1, 0.5, 0.9, 1]) {
    const from = performance.now();
    await scroller.evaluate((box, part) => { box.scrollTop = box.scrollHeight * part; }, part);
    const row = Math.floor(children * part * 0.999);
    await page.waitForFunction((row) => [...document.querySelectorAll(".is-virtual tbody tr a")].some((link) =>
      Math.abs(Number(link.closest("tr").getAttribute("aria-rowindex")) - row) < 150), row);
    scrolled.push(performance.now() - from);
    elements.push(await page.evaluate(() => document.querySelectorAll("*").length));
  }
  say("until rows are there after a jump, slowest of 5", `${Math.max(...scrolled).toFixed(0)} ms`);
  say("elements in the page, at the top and anywhere else", `${Math.min(...elements)}–${Math.max(...elements)}`, "the same");
  say("memory of the server, before and after all that", `${memoryBefore.toFixed(0)}, ${residentMiB().toFixed(0)} MiB`, "flat");

  // A busy one: with and without someone who follows it, in turns. The engine's own share is told apart, because it
  // depends on how many children end in a turn, and that on what else the machine does.
  const busy = await start("busy", 1);
  await page.goto("about:blank");
  // The bill of the first run, which its execution's page asked for, is still being counted.
  for (let last = cpuSeconds().rest; ;) {
    await sleep(1000);
    const { rest } = cpuSeconds();
    if (rest - last < 0.05) break;
    last = rest;
  }
  const { mapRuns } = await call("ListMapRuns", { executionArn: busy });
  const ended = async () => (await call("DescribeMapRun", { mapRunArn: mapRuns[0].mapRunArn })).executionCounts.succeeded;
  const sums = { alone: [0, 0, 0, 0, 0], followed: [0, 0, 0, 0, 0] };
  const measure = async (sum) => {
    const state = async () => {
      const [children, { engine, rest }] = [await ended(), cpuSeconds()];
      return [performance.now() / 1000, rest, engine, browserSeconds(), children];
    };
    const before = await state();
    await sleep((seconds * 1000) / TURNS);
    (await state()).forEach((value, index) => { sum[index] += value - before[index]; });
  };
  for (let turn = 0; turn < TURNS; turn += 1) {
    await page.goto("about:blank");
    await sleep(500);
    await measure(sums.alone);
    await page.goto(`${base}/console/map-runs/2`);
    await page.locator("#live.on").waitFor();
    await sleep(500);
    await measure(sums.followed);
  }
  const { status } = await call("DescribeExecution", { executionArn: busy });
  if (status !== "RUNNING") throw new Error(`the busy run was ${status} before it was measured: fewer seconds or more children`);
  const percent = (part, [whole]) => ((part / whole) * 100).toFixed(1);
  for (const [name, sum] of Object.entries(sums)) {
    const [whole, rest, engine, inBrowser, children] = sum;
    say(`a busy run, ${name}: children ended per second`, (children / whole).toFixed(0));
    say("  the server but for its engine", `${percent(rest, sum)} % of a core`);
    say("  its engine", `${percent(engine, sum)} % of a core`, `${((engine / children) * 1e6).toFixed(0)} µs per child`);
    say("  the browser, all processes", `${percent(inBrowser, sum)} % of a core`);
  }
  const cost = sums.followed[1] / sums.followed[0] - sums.alone[1] / sums.alone[0];
  say("so that following it costs the server", `${(cost * 100).toFixed(1)} % of a core`, "5 %");
  say("memory of the server after that", `${residentMiB().toFixed(0)} MiB`);
} finally {
  await browser?.close();
  child.removeAllListeners("exit");
  const ended = new Promise((resolve) => child.on("exit", resolve));
  child.kill("SIGTERM");
  await Promise.race([ended, sleep(8000)]);
  rmSync(data, { recursive: true, force: true });
}
