// A server over a folder of its own, with the demo's results and a state machine that fails where it is told to.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Each item waits for as long as it says, then fails if it says so. Where all are done, some of it is looked at again. */
const SURVEY = {
  Comment: "Looks at every field of a survey, and again at those that were cloudy",
  StartAt: "Plan the night",
  States: {
    "Plan the night": { Type: "Pass", Next: "Is it dark?" },
    "Is it dark?": {
      Type: "Choice",
      Choices: [{ Variable: "$.dark", BooleanEquals: true, Next: "Observe fields" }],
      Default: "Wait for dusk",
    },
    "Wait for dusk": { Type: "Wait", Seconds: 1, Next: "Observe fields" },
    "Observe fields": {
      Type: "Map",
      ItemsPath: "$.fields",
      MaxConcurrency: 6,
      ToleratedFailureCountPath: "$.tolerated",
      ItemProcessor: {
        ProcessorConfig: { Mode: "DISTRIBUTED", ExecutionType: "STANDARD" },
        StartAt: "Slew",
        States: {
          Slew: { Type: "Wait", SecondsPath: "$.seconds", Next: "Is it clear?" },
          "Is it clear?": {
            Type: "Choice",
            Choices: [{ Variable: "$.cloudy", BooleanEquals: true, Next: "Cloudy" }],
            Default: "Expose",
          },
          Cloudy: { Type: "Fail", Error: "Sky.Cloudy", Cause: "the extinction is 2.1 mag, expected below 0.3 mag" },
          Expose: { Type: "Pass", End: true },
        },
      },
      ResultPath: null,
      Catch: [{ ErrorEquals: ["Sky.Gone"], ResultPath: "$.error", Next: "Close the dome" }],
      Next: "Both at once",
    },
    "Both at once": {
      Type: "Parallel",
      Branches: [
        { StartAt: "Calibrate", States: { Calibrate: { Type: "Pass", End: true } } },
        { StartAt: "Archive", States: { Archive: { Type: "Pass", Next: "Verify" }, Verify: { Type: "Pass", End: true } } },
      ],
      End: true,
    },
    "Close the dome": { Type: "Pass", End: true },
  },
};

export async function startServer(program) {
  const data = mkdtempSync(join(tmpdir(), "starmap-console-"));
  execFileSync(program, ["demo", "--data", data, "--quiet"], { stdio: "ignore" });
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
      method: "POST",
      headers: { "x-amz-target": `AWSStepFunctions.${action}`, "content-type": "application/x-amz-json-1.0" },
      body: JSON.stringify(members),
    });
    const value = await answer.json();
    if (!answer.ok) throw new Error(`${action}: ${value.message}`);
    return value;
  };
  /** An action of IAM; what stands in the answer's element of that name. */
  const iam = async (action, parameters, element) => {
    const body = new URLSearchParams({ Action: action, Version: "2010-05-08", ...parameters });
    const answer = await fetch(base, { method: "POST", body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${action}: ${text}`);
    return new RegExp(`<${element}>([^<]*)</${element}>`).exec(text)?.[1];
  };
  const policy = (statement) => JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", ...statement }] });
  const trust = policy({ Principal: { Service: "states.amazonaws.com" }, Action: "sts:AssumeRole" });
  const role = await iam("CreateRole", {
    RoleName: "observatory", AssumeRolePolicyDocument: trust, Description: "Looks at the sky, and writes down what it saw",
    "Tags.member.1.Key": "team", "Tags.member.1.Value": "night shift",
  }, "Arn");
  await iam("AttachRolePolicy", { RoleName: "observatory", PolicyArn: "arn:aws:iam::aws:policy/AmazonS3FullAccess" });
  const inline = policy({ Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:*:*:function:starmap-*" });
  await iam("PutRolePolicy", { RoleName: "observatory", PolicyName: "LambdaInvokeScopedAccessPolicy", PolicyDocument: inline });
  const { stateMachineArn } = await call("CreateStateMachine", { name: "survey", roleArn: role, definition: JSON.stringify(SURVEY, null, 2) });
  await call("PublishStateMachineVersion", { stateMachineArn, description: "first light" });
  const stop = async () => {
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.removeAllListeners("exit");
    child.kill("SIGTERM");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 8000))]);
    rmSync(data, { recursive: true, force: true });
  };
  return { base, call, stop, survey: stateMachineArn };
}

/** An input for the survey: how many fields, which are cloudy, how long each takes, and how many may fail. */
export function fields(count, cloudy, seconds, tolerated = 0) {
  const field = (index) => ({ field: `F${String(index).padStart(3, "0")}`, cloudy: cloudy.includes(index), seconds: seconds(index) });
  return { dark: true, tolerated, fields: Array.from({ length: count }, (_, index) => field(index)) };
}
