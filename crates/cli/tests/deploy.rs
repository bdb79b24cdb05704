//! From here to AWS: the zip, on its own with Lambda's environment; the Terraform module, applied to servers that others wrote
//! and to ours; the definition as it is deployed, by AWS's rules.
//!
//! Terraform and its provider are not installed by `cargo xtask tests`: what needs them says so loudly where they are not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::common::{Place, assert_refused, files, object, program, text};
use crate::moto::{self, upload};
use crate::runtime_api::Function;

const EXAMPLE: &str = include_str!("../../../examples/redshift/state-machine.asl.json");

/// The zip of the three functions, packed into a folder; what the command said.
fn packaged(folder: &Path) -> Value {
    let mut command = Command::new(program());
    object(&command.args(["deploy", "package", "--json", "--out"]).arg(folder.join("f.zip")).output().unwrap())
}

fn unpacked(zip: &Path, folder: &Path) {
    let mut archive = zip::ZipArchive::new(Cursor::new(fs::read(zip).unwrap())).unwrap();
    archive.extract(folder).unwrap();
    assert_eq!(files(folder), ["bootstrap"]);
    assert_eq!(fs::metadata(folder.join("bootstrap")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn the_same_program_is_packaged_into_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let first = packaged(place.path());
    let bytes = fs::read(place.path().join("f.zip")).unwrap();
    fs::remove_file(place.path().join("f.zip")).unwrap();
    let second = packaged(place.path());
    assert_eq!(first["sha256"], second["sha256"]);
    assert!(bytes == fs::read(place.path().join("f.zip")).unwrap());
    assert!(first["cold_start_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{first}");
    assert_eq!(first["zipped_bytes"], bytes.len());
    let version =
        first["glibc"].as_str().unwrap().split('.').map(|number| number.parse().unwrap()).collect::<Vec<u32>>();
    assert!(version <= vec![2, 34], "{first}");
}

#[test]
fn a_program_that_would_not_start_on_lambda_is_not_packaged() {
    let place = tempfile::tempdir().unwrap();
    let package = |arguments: &[&str]| -> Output {
        let mut command = Command::new(program());
        command.args(["deploy", "package", "--out"]).arg(place.path().join("f.zip")).args(arguments).output().unwrap()
    };
    let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "arm64" };
    assert_refused(&package(&["--arch", other]), 2, &[&format!("expected {other}"), "--bootstrap target/"]);

    let own = fs::read(program()).unwrap();
    let patched = |from: &str, to: &str| {
        let from = [b"\0", from.as_bytes(), b"\0"].concat();
        let mut bytes = own.clone();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at + 1..at + 1 + to.len()].copy_from_slice(to.as_bytes());
        let path = place.path().join("patched");
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let newer = patched("GLIBC_2.34", "GLIBC_2.99");
    assert_refused(
        &package(&["--bootstrap", &newer]),
        2,
        &["__libc_start_main@GLIBC_2.99", "hint: link against an older glibc"],
    );
    let library = patched("libgcc_s.so.1", "libssl.so.1.1");
    assert_refused(&package(&["--bootstrap", &library]), 2, &["libssl.so.1.1"]);
    // An ELF file in order, and no function: it ends instead of asking for an invocation.
    assert_refused(&package(&["--bootstrap", "/bin/true"]), 2, &["/bin/true", "before the first invocation"]);
    assert_refused(&package(&["--bootstrap", "/nowhere"]), 2, &["bootstrap /nowhere: "]);
    assert!(!place.path().join("f.zip").exists());
}

#[test]
fn this_program_serves_functions_when_it_is_started_as_bootstrap() {
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program(), place.path().join("bootstrap")).unwrap();
    let (kind, error) = Function::start(place.path(), "initialize", &[]).invoke(&json!({}));
    assert_eq!(kind, "error", "{error}");
    assert!(error["errorMessage"].as_str().unwrap().contains("data_bucket"), "{error}");
}

/// Credentials as Lambda gives them to a function: of a role, with a session token.
const KEY: &str = "ASIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKEN";

/// The zip alone, in an empty folder, with Lambda's environment and no other, over an S3 server behind a guard that checks
/// every signature. (moto's own check makes another canonical request of `prefix=a%2F` than AWS's documentation does.)
#[test]
fn the_packaged_functions_run_on_their_own_and_come_to_the_results_of_a_local_run() {
    let Some(server) = moto::program() else { return };
    let moto = moto::start(&server);
    let place = Place::with_sky(3, 60);
    upload(&moto, &place);
    let input = {
        let mut input = place.input(3);
        input["S3_object_name"] = json!("a folder/demo.safetensors");
        input
    };
    packaged(place.path());
    let task_root = place.path().join("task");
    unpacked(&place.path().join("f.zip"), &task_root);

    let done = Arc::new(Mutex::new(BTreeSet::new()));
    let guarded = {
        let (done, server) = (Arc::clone(&done), moto.endpoint.clone());
        relay(move |message| match permitted(message) {
            Ok(action) => {
                done.lock().unwrap().insert(action);
                Route::To(server.clone())
            }
            Err(why) => {
                Route::Answer(403, format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{why}</Message></Error>"))
            }
        })
    };
    let environment = |secret| {
        [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL", guarded.as_str()),
        ]
    };
    let request = json!({ "execution": "on-its-own", "input": input });
    let (kind, refused) = Function::start(&task_root, "initialize", &environment("another secret")).invoke(&request);
    assert_eq!(kind, "error", "a wrong signature must be refused, or this test shows nothing: {refused}");
    assert!(refused["errorMessage"].as_str().unwrap().contains("SignatureDoesNotMatch"), "{refused}");
    assert!(done.lock().unwrap().is_empty());

    // What each function did, which its role in `deploy/terraform/roles.tf` has to allow.
    let invoked = |handler: &str, payloads: &[&Value], allowed: &[&str]| {
        let function = Function::start(&task_root, handler, &environment(SECRET));
        let answers = payloads.iter().map(|payload| {
            let (kind, answer) = function.invoke(payload);
            assert_eq!(kind, "response", "{handler}: {answer}");
            answer
        });
        let answers: Vec<Value> = answers.collect();
        let did = std::mem::take(&mut *done.lock().unwrap());
        assert_eq!(did.iter().map(String::as_str).collect::<Vec<_>>(), allowed, "{handler}");
        answers
    };
    let [list, get, put] = ["s3:ListBucket sky", "s3:GetObject sky", "s3:PutObject sky"];
    let initialized = invoked("initialize", &[&request], &[get, list, put]).remove(0);
    let items: Vec<&Value> = initialized["body"].as_array().unwrap().iter().collect();
    assert_eq!(items.len(), 3);
    invoked("infer", &items, &[get, put]);
    let summarized = invoked("summarize", &[&initialized], &[get, list, put]).remove(0);
    assert_eq!((&summarized["run_id"], &summarized["galaxies"]), (&json!("on-its-own"), &json!(60)));

    let local = place.run(&place.input(3), &["--json", "--name", "on-its-own"]);
    assert_eq!(object(&local)["status"], "SUCCEEDED", "{}", text(&local.stderr));
    for name in ["predictions.parquet", "predictions/0.parquet", "predictions/1.parquet", "predictions/2.parquet"] {
        let (status, there) = moto.request("GET", &format!("/sky/results/one/{name}"), &[]);
        assert_eq!(status, 200, "{name}");
        assert!(there == fs::read(place.results().join(name)).unwrap(), "{name} differs from a local run's");
    }
}

/// The action of IAM that a request to S3 is, and its bucket; or why its signature is not accepted.
fn permitted(message: &Message) -> Result<String, String> {
    let (path, query) = message.target.split_once('?').unwrap_or((&message.target, ""));
    let headers: Vec<(&str, &[u8])> =
        message.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = starmap_sigv4::Request { method: &message.method, path, query, headers: &headers };
    let claim = starmap_sigv4::parse(&request).map_err(|error| error.to_string())?;
    let header = |name: &str| message.header(name).ok_or_else(|| format!("there is no {name}"));
    if (claim.access_key_id.as_str(), header("x-amz-security-token")?) != (KEY, TOKEN) {
        return Err("it is somebody else's".to_owned());
    }
    let payload = header("x-amz-content-sha256")?;
    claim.verify(&request, payload, SECRET).map_err(|error| error.to_string())?;
    if payload != "UNSIGNED-PAYLOAD" && payload != starmap_sigv4::sha256_hex(&message.body) {
        return Err("the body is not the one that was signed".to_owned());
    }
    let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let action = match (message.method.as_str(), key) {
        ("GET", "") => "ListBucket",
        ("GET" | "HEAD", _) => "GetObject",
        ("PUT" | "POST", _) => "PutObject",
        ("DELETE", _) if query.contains("uploadId") => "AbortMultipartUpload",
        ("DELETE", _) => "DeleteObject",
        (method, _) => return Err(format!("{method} is not expected")),
    };
    Ok(format!("s3:{action} {bucket}"))
}

/// The definition as the module makes it: names of functions become ARNs, the children another type, and no more.
fn deployed(name: &str, children: &str) -> String {
    let handlers = ["initialize", "infer", "summarize"];
    let definition = handlers.iter().fold(EXAMPLE.to_owned(), |definition, handler| {
        let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{name}-{handler}");
        definition.replace(&format!("\"starmap-{handler}\""), &format!("\"{arn}\""))
    });
    definition.replace("\"ExecutionType\": \"STANDARD\"", &format!("\"ExecutionType\": \"{children}\""))
}

#[test]
fn the_deployed_definition_is_valid_here_and_by_aws_rules() {
    let place = tempfile::tempdir().unwrap();
    for children in ["EXPRESS", "STANDARD"] {
        let definition = deployed("starmap", children);
        let file = place.path().join("definition.asl.json");
        fs::write(&file, &definition).unwrap();
        let checked = Command::new(program()).args(["asl", "check"]).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    }
    let Some(lint) = cfn_lint() else { return };
    let template = |definition: &str| {
        let definition: Value = serde_json::from_str(definition).unwrap();
        json!({ "AWSTemplateFormatVersion": "2010-09-09", "Resources": { "Redshift": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": "arn:aws:iam::123456789012:role/starmap-state-machine",
                "StateMachineType": "STANDARD",
                "Definition": definition
            }
        } } })
    };
    let linted = |definition: &str| {
        let file = place.path().join("template.json");
        fs::write(&file, template(definition).to_string()).unwrap();
        Command::new(&lint).args(["--non-zero-exit-code", "error", "--"]).arg(&file).output().unwrap()
    };
    for children in ["EXPRESS", "STANDARD"] {
        let output = linted(&deployed("starmap", children));
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    let broken = deployed("starmap", "EXPRESS").replace("\"OutputPath\": \"$.Payload\"", "\"OutputPath\": 7");
    assert!(!linted(&broken).status.success(), "cfn-lint looks into definitions, or this test shows nothing");
}

/// The linter that AWS's CloudFormation team keeps: `STARMAP_CFN_LINT`, beside the Python of the clients, or on the path.
fn cfn_lint() -> Option<PathBuf> {
    let beside = || {
        Some(PathBuf::from(std::env::var_os("STARMAP_PYTHON")?).with_file_name("cfn-lint"))
            .filter(|lint| lint.is_file())
    };
    let lint = std::env::var_os("STARMAP_CFN_LINT").map(PathBuf::from).or_else(beside);
    let lint = lint.unwrap_or_else(|| PathBuf::from("cfn-lint"));
    if Command::new(&lint).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(lint);
    }
    skip("no cfn-lint (pip install cfn-lint, or STARMAP_CFN_LINT)", "STARMAP_REQUIRE_CFN_LINT");
    None
}

/// Says that something can't be tested; where it must be, that is a failure.
fn skip(what: &str, requirement: &str) {
    assert!(std::env::var_os(requirement).is_none(), "{requirement}: {what}");
    eprintln!("SKIPPED: {what}");
}

/// A folder that `starmap deploy` works in, and where its provider finds AWS.
struct Stack {
    place: tempfile::TempDir,
    endpoint: String,
}

impl Stack {
    /// `None`, said loudly, where there is no terraform or no provider for it.
    fn new(endpoint: &str) -> Option<Self> {
        let Ok(plugins) = std::env::var("STARMAP_TERRAFORM_PLUGINS") else {
            skip(
                "no mirror with Terraform's provider for AWS (STARMAP_TERRAFORM_PLUGINS)",
                "STARMAP_REQUIRE_TERRAFORM",
            );
            return None;
        };
        if !Command::new("terraform").arg("version").output().is_ok_and(|output| output.status.success()) {
            skip("no terraform", "STARMAP_REQUIRE_TERRAFORM");
            return None;
        }
        let stack = Self { place: tempfile::tempdir().unwrap(), endpoint: endpoint.to_owned() };
        let mirror = format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{plugins}\"\n  }}\n}}\n");
        fs::write(stack.place.path().join("terraform.rc"), mirror).unwrap();
        fs::create_dir(stack.folder()).unwrap();
        let services = ["budgets", "iam", "lambda", "logs", "s3", "sfn", "sts"];
        let endpoints: String = services.map(|service| format!("    {service} = \"{endpoint}\"\n")).concat();
        let provider = format!(
            "provider \"aws\" {{\n  max_retries             = 2\n  s3_use_path_style       = true\n  \
             skip_metadata_api_check = true\n\n  endpoints {{\n{endpoints}  }}\n}}\n"
        );
        fs::write(stack.folder().join("provider.tf"), provider).unwrap();
        Some(stack)
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("stack")
    }

    fn with_environment(&self, mut command: Command) -> Output {
        command.env("TF_CLI_CONFIG_FILE", self.place.path().join("terraform.rc")).env("TF_IN_AUTOMATION", "1");
        command.env("CHECKPOINT_DISABLE", "1").env("AWS_REGION", "us-east-1").env_remove("AWS_PROFILE");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        // Version 1 of the AWS CLI reads no AWS_REGION.
        command.env("AWS_DEFAULT_REGION", "us-east-1");
        command.env("AWS_ENDPOINT_URL", &self.endpoint).output().unwrap()
    }

    fn deploy(&self, what: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(["deploy", what, "--dir"]).arg(self.folder()).args(arguments);
        self.with_environment(command)
    }

    fn terraform(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(self.folder());
        self.with_environment(command)
    }
}

fn succeeded(output: &Output) -> String {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn terraform_plans_makes_and_destroys_the_module() {
    let Some(server) = moto::program() else { return };
    let moto = moto::start(&server);
    let served = Served::start(None);
    // moto has neither ValidateStateMachineDefinition, which ours answers, nor versions of state machines.
    let (others, ours) = (moto.endpoint.clone(), served.endpoint.clone());
    let endpoint = relay(move |message| match message.header("x-amz-target") {
        Some("AWSStepFunctions.ValidateStateMachineDefinition") => Route::To(ours.clone()),
        Some("AWSStepFunctions.ListStateMachineVersions") => {
            Route::Answer(200, r#"{"stateMachineVersions":[]}"#.to_owned())
        }
        _ => Route::To(others.clone()),
    });
    let Some(stack) = Stack::new(&endpoint) else { return };

    let said = stack.deploy("plan", &["--var", "allowed_account_ids=[\"999999999999\"]"]);
    assert_refused(&said, 1, &["account 123456789012", "hint: these are credentials of another account"]);
    let variables = ["--var", "allowed_account_ids=[\"123456789012\"]", "--var", "budget_usd=20"];
    let refused = stack.deploy("plan", &variables);
    assert_refused(&refused, 1, &["set budget_emails"]);
    let planned = succeeded(&stack.deploy("plan", &["--var", "budget_emails=[\"a@example.org\"]"]));
    assert!(planned.contains("Plan: 25 to add, 0 to change, 0 to destroy"), "{planned}");
    assert!(planned.contains("$ terraform -chdir="), "{planned}");
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/terraform");
    succeeded(&stack.terraform(&["fmt", "-check", "-diff", module.to_str().unwrap()]));
    succeeded(&stack.terraform(&["validate"]));

    // What Terraform asks about a budget is more than moto knows.
    assert_refused(&stack.deploy("apply", &[]), 2, &["there is nobody to ask", "--yes"]);
    let applied = stack.deploy("apply", &["--yes", "--json", "--var", "budget_usd=null"]);
    succeeded(&applied);
    let outputs = &object(&applied)["outputs"];
    assert_eq!(
        outputs["definition"],
        deployed("starmap", "EXPRESS"),
        "nothing but ARNs and the children's type differs"
    );
    assert_eq!(outputs["state_machine_arn"], "arn:aws:states:us-east-1:123456789012:stateMachine:starmap");
    let again = stack.terraform(&["plan", "-input=false", "-detailed-exitcode"]);
    assert_eq!(again.status.code(), Some(0), "nothing is different a second time: {}", text(&again.stdout));

    let bucket = outputs["result_bucket"].as_str().unwrap();
    assert_eq!(bucket, "starmap-results-123456789012-us-east-1");
    // Without TLS nothing may be written, as the bucket's policy says: this does so by the way.
    let policy = format!("/{bucket}?policy");
    assert_eq!(moto.request("PUT", &format!("/{bucket}/one.json"), b"{}").0, 403);
    let (_, kept) = moto.request("GET", &policy, &[]);
    assert_eq!(moto.request("DELETE", &policy, &[]).0, 204);
    assert_eq!(moto.request("PUT", &format!("/{bucket}/one.json"), b"{}").0, 200);
    assert_eq!(moto.request("PUT", &policy, &kept).0, 200);
    let in_use = stack.deploy("destroy", &["--yes"]);
    assert_refused(&in_use, 2, &[&format!("s3://{bucket}/one.json is there"), "destroy --force"]);
    let (_, listing) = moto.request("GET", &format!("/{bucket}?list-type=2"), &[]);
    assert!(text(&listing).contains("<Key>one.json</Key>"), "{}", text(&listing));
    let destroyed = succeeded(&stack.deploy("destroy", &["--yes", "--force"]));
    assert!(destroyed.contains("Destroy complete! Resources: 24 destroyed."), "{destroyed}");
    assert_eq!(moto.request("HEAD", &format!("/{bucket}"), &[]).0, 404);
}

/// The module's state machine, functions, roles and logs at `starmap serve`, over buckets that are there; the AWS CLI runs
/// the pipeline.
#[test]
fn the_module_is_made_here_and_the_aws_cli_runs_the_pipeline() {
    let Some(aws) = aws() else { return };
    let (place, locally) = (Place::with_sky(3, 60), Place::with_sky(3, 60));
    let served = Served::start(Some(&place.buckets()));
    let Some(stack) = Stack::new(&served.endpoint) else { return };
    let variables =
        ["name=survey", "data_bucket=sky", "result_bucket=sky", "data_prefix=parts/", "result_prefix=results/"];
    let mut arguments = vec!["--yes", "--json"];
    variables.iter().for_each(|variable| arguments.extend(["--var", variable]));
    let applied = stack.deploy("apply", &arguments);
    succeeded(&applied);
    let outputs = &object(&applied)["outputs"];
    let account = outputs["account_id"].as_str().unwrap();
    assert_eq!(outputs["definition"], deployed("survey", "EXPRESS").replace("123456789012", account));
    let again = stack.terraform(&["plan", "-input=false", "-detailed-exitcode", "-no-color"]);
    assert_eq!(again.status.code(), Some(0), "nothing is different a second time: {}", text(&again.stdout));

    let step_functions = |arguments: &[&str]| -> Value {
        let mut command = Command::new(&aws);
        command.args(["stepfunctions", "--output", "json"]).args(arguments);
        let output = stack.with_environment(command);
        succeeded(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let machine = outputs["state_machine_arn"].as_str().unwrap();
    let input = place.input(3).to_string();
    let started = step_functions(&[
        "start-execution",
        "--name",
        "as-deployed",
        "--state-machine-arn",
        machine,
        "--input",
        &input,
    ]);
    let execution = started["executionArn"].as_str().unwrap();
    // The client takes a second to start, so this is as many seconds.
    let ended = (0..300).map(|_| step_functions(&["describe-execution", "--execution-arn", execution]));
    let ended = ended.into_iter().find(|described| described["status"] != "RUNNING").expect("an end");
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");

    let local = locally.run(&locally.input(3), &["--json", "--name", "as-deployed"]);
    assert_eq!(object(&local)["status"], "SUCCEEDED", "{}", text(&local.stderr));
    for name in ["predictions.parquet", "predictions/0.parquet", "predictions/1.parquet", "predictions/2.parquet"] {
        let [there, here] = [&place, &locally].map(|place| fs::read(place.results().join(name)).unwrap());
        assert!(there == here, "{name} differs from a local run's");
    }
    let destroyed = succeeded(&stack.deploy("destroy", &["--yes"]));
    assert!(destroyed.contains("Destroy complete! Resources: 16 destroyed."), "{destroyed}");
    assert!(place.results().join("predictions.parquet").is_file(), "a bucket that was there before is left alone");
}

/// The AWS CLI beside the Python that it was installed with, else on the path.
fn aws() -> Option<PathBuf> {
    let beside = std::env::var_os("STARMAP_PYTHON").map(|python| PathBuf::from(python).with_file_name("aws"));
    let aws = beside.filter(|aws| aws.is_file()).unwrap_or_else(|| PathBuf::from("aws"));
    if Command::new(&aws).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(aws);
    }
    skip("no AWS CLI (cargo xtask tests installs it)", "STARMAP_REQUIRE_CLIENTS");
    None
}

#[test]
fn commands_are_printed_without_being_run() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("stack");
    let shown = |arguments: &[&str]| {
        let mut command = Command::new(program());
        let output = command.arg("deploy").args(arguments).arg("--dry-run").arg("--dir").arg(&folder).output().unwrap();
        succeeded(&output).replace(&folder.display().to_string(), "DIR")
    };
    assert_eq!(shown(&["plan"]), "terraform -chdir=DIR init -input=false\nterraform -chdir=DIR plan -input=false\n");
    assert_eq!(shown(&["apply"]), "terraform -chdir=DIR init -input=false\nterraform -chdir=DIR apply\n");
    let forced = shown(&["destroy", "--force", "--yes"]);
    assert!(
        forced.contains("apply -input=false -auto-approve -target=aws_s3_bucket.made -var=force_destroy=true\n"),
        "{forced}"
    );
    assert!(!folder.exists());

    // Without terraform the files are there all the same, and the commands are in the error.
    let mut command = Command::new(program());
    command.args(["deploy", "plan", "--var", "name=survey", "--dir"]).arg(&folder).env("PATH", place.path());
    assert_refused(
        &command.output().unwrap(),
        2,
        &["terraform is not on the path", " init -input=false", " plan -input=false"],
    );
    for name in ["main.tf", "roles.tf", "state-machine.asl.json", "bootstrap.zip"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let kept: Value = serde_json::from_slice(&fs::read(folder.join("starmap.auto.tfvars.json")).unwrap()).unwrap();
    assert_eq!((&kept["name"], &kept["bootstrap_zip"]), (&json!("survey"), &json!("bootstrap.zip")));
    let nothing = Command::new(program()).args(["deploy", "destroy", "--yes", "--dir", "nowhere"]).output().unwrap();
    assert_refused(&nothing, 2, &["there is no deployment"]);
}

/// `starmap serve` over a folder of its own.
struct Served {
    server: Child,
    endpoint: String,
    _data: tempfile::TempDir,
}

impl Served {
    fn start(buckets: Option<&Path>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--data"]).arg(data.path());
        if let Some(buckets) = buckets {
            command.arg("--buckets").arg(buckets);
        }
        let mut server = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let endpoint = said["listening"].as_str().unwrap().to_owned();
        Self { server, endpoint, _data: data }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// One HTTP request.
struct Message {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What becomes of a request.
enum Route {
    /// It goes on to this endpoint.
    To(String),
    /// It is answered with this status and body.
    Answer(u16, String),
}

/// The address of a server in front of others; ends with the test's process.
fn relay(route: impl Fn(&Message) -> Route + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let route = Arc::new(route);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let route = Arc::clone(&route);
            // A client that goes away is no failure of the relay.
            std::thread::spawn(move || relayed(client, &*route).ok());
        }
    });
    own
}

/// One request per connection: both sides are told so.
fn relayed(mut client: TcpStream, route: &dyn Fn(&Message) -> Route) -> io::Result<()> {
    let Some(message) = received(&mut BufReader::new(client.try_clone()?))? else { return Ok(()) };
    let server = match route(&message) {
        Route::To(server) => server.trim_start_matches("http://").to_owned(),
        Route::Answer(status, body) => {
            let length = body.len();
            return write!(
                client,
                "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    };
    let mut upstream = TcpStream::connect(&server)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", message.method, message.target);
    for (name, value) in &message.headers {
        match name.to_ascii_lowercase().as_str() {
            "connection" | "expect" => {}
            // `starmap serve` answers to its own name only.
            "host" => head.push_str(&format!("Host: {server}\r\n")),
            _ => head.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&message.body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    client.write_all(&answer)
}

fn received(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut message = Message { method, target, headers, body: Vec::new() };
    let length = message.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    message.body = vec![0; length];
    reader.read_exact(&mut message.body)?;
    Ok(Some(message))
}
