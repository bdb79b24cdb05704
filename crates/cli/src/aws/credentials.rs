//! Whose access key signs: the first place that has one, as the AWS tools look for it.
//!
//! 1. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary keys, `AWS_SESSION_TOKEN`, unless a profile is named by
//!    an argument;
//! 2. the profile's keys in the shared files, or what its `credential_process` prints;
//! 3. the container's metadata (`AWS_CONTAINER_CREDENTIALS_FULL_URI` or `…_RELATIVE_URI`: ECS, EKS Pod Identity, CloudShell).
//!
//! Single sign-on, roles that a profile assumes, web identities and instance metadata are not among them: the message
//! says how the AWS CLI makes keys of those.
//!
//! # Source
//! <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>, read 2026-11.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use starmap_sigv4::Credentials;

use super::config::Config;
use crate::exit;

/// How long the container's metadata may take.
const CONTAINER_MAX: Duration = Duration::from_secs(5);
/// Where ECS has its metadata.
const ECS_ADDRESS: &str = "http://169.254.170.2";
/// What turns any profile into keys in the environment.
const EXPORT: &str = "eval \"$(aws configure export-credentials --format env)\"";

/// Finds credentials, or says where it looked and what to do.
pub async fn find(config: &Config, is_profile_given: bool, http: &reqwest::Client) -> anyhow::Result<Credentials> {
    if !is_profile_given && let Some(credentials) = of_environment(config)? {
        return Ok(credentials);
    }
    if let Some(credentials) = of_profile(config)? {
        return Ok(credentials);
    }
    if let Some(credentials) = of_container(config, http).await? {
        return Ok(credentials);
    }
    Err(exit::usage(format!(
        "no AWS credentials: AWS_ACCESS_KEY_ID is not set, profile {} has no keys in {}, and there is no container's metadata\n\
         hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones), name a profile \
         with AWS_PROFILE, or let the AWS CLI find them: {EXPORT}",
        config.profile,
        config.places(),
    )))
}

fn of_environment(config: &Config) -> anyhow::Result<Option<Credentials>> {
    let id = config.variable("AWS_ACCESS_KEY_ID");
    let secret = config.variable("AWS_SECRET_ACCESS_KEY");
    let half = |set: &str, missing: &str| Err(exit::usage(format!("{set} is set and {missing} is not; expected both")));
    match (id, secret) {
        (None, None) => Ok(None),
        (Some(_), None) => half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        (None, Some(_)) => half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        (Some(id), Some(secret)) => Ok(Some(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: config.variable("AWS_SESSION_TOKEN").map(str::to_owned),
        })),
    }
}

fn of_profile(config: &Config) -> anyhow::Result<Option<Credentials>> {
    let keys = &config.keys;
    if let Some(credentials) = of_keys(keys) {
        return Ok(Some(credentials));
    }
    if let Some(command) = keys.get("credential_process") {
        return of_process(command).map(Some).with_context(|| format!("AWS profile {}", config.profile));
    }
    let name = &config.profile;
    let profile = if config.is_profile_named { format!(" --profile {name}") } else { String::new() };
    let export = EXPORT.replace(" --format", &format!("{profile} --format"));
    for (key, what) in [
        ("sso_session", "signs in by AWS IAM Identity Center (SSO)"),
        ("sso_start_url", "signs in by AWS IAM Identity Center (SSO)"),
        ("role_arn", "assumes a role"),
        ("web_identity_token_file", "signs in by a web identity"),
    ] {
        if keys.contains_key(key) {
            return Err(exit::usage(format!(
                "AWS profile {name} {what} ({key}), which starmap does not do itself\n\
                 hint: the AWS CLI does: {export}"
            )));
        }
    }
    Ok(None)
}

fn of_keys(keys: &BTreeMap<String, String>) -> Option<Credentials> {
    Some(Credentials {
        access_key_id: keys.get("aws_access_key_id")?.clone(),
        secret_access_key: keys.get("aws_secret_access_key")?.clone(),
        session_token: keys.get("aws_session_token").filter(|token| !token.is_empty()).cloned(),
    })
}

/// Runs a `credential_process`, as the AWS tools do: by the shell, with what it prints as JSON.
fn of_process(command: &str) -> anyhow::Result<Credentials> {
    let output = Command::new("sh").arg("-c").arg(command).stdin(std::process::Stdio::null()).output();
    let output = output.with_context(|| format!("running its credential_process, {command}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("its credential_process, {command}, ended with {}: {}", output.status, said.trim());
    }
    of_json(&output.stdout, "SessionToken")
        .with_context(|| format!("reading what its credential_process, {command}, printed"))
}

async fn of_container(config: &Config, http: &reqwest::Client) -> anyhow::Result<Option<Credentials>> {
    let full = config.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned);
    let relative = config.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{ECS_ADDRESS}{path}"));
    let Some(url) = relative.or(full) else { return Ok(None) };
    let token = match config.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?),
        None => config.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
    };
    let mut request = http.get(&url).timeout(CONTAINER_MAX);
    if let Some(token) = token {
        request = request.header("authorization", token.trim());
    }
    let doing = || format!("asking the container's metadata at {url} for credentials");
    let answer = request.send().await.with_context(doing)?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "{}: it answered {status}", doing());
    let bytes = answer.bytes().await.with_context(doing)?;
    of_json(&bytes, "Token").with_context(doing).map(Some)
}

fn of_json(json: &[u8], token: &str) -> anyhow::Result<Credentials> {
    let value: Value = serde_json::from_slice(json).context("this is not JSON")?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Credentials {
        access_key_id: text("AccessKeyId").context("AccessKeyId: missing")?,
        secret_access_key: text("SecretAccessKey").context("SecretAccessKey: missing")?,
        session_token: text(token),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::config::tests::config;
    use super::*;

    async fn found(variables: &[(&str, &str)], file: &str, keys: &str) -> Result<(String, Option<String>), String> {
        let config = config(variables, file, keys).unwrap();
        let http = super::super::client::http().unwrap();
        let found = find(&config, false, &http).await.map_err(|error| format!("{error:#}"))?;
        Ok((found.access_key_id, found.session_token))
    }

    const KEYS: &str = "[default]\naws_access_key_id = d\naws_secret_access_key = s\n\
                        [temporary]\naws_access_key_id = t\naws_secret_access_key = s\naws_session_token = token=\n";

    #[tokio::test]
    async fn keys_come_from_the_environment_then_the_profile() {
        let environment = [("AWS_ACCESS_KEY_ID", "e"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "temporary")];
        assert_eq!(found(&environment, "", KEYS).await, Ok(("e".into(), None)));
        assert_eq!(found(&environment[2..], "", KEYS).await, Ok(("t".into(), Some("token=".into()))));
        assert_eq!(found(&[], "", KEYS).await, Ok(("d".into(), None)));
        let half = found(&environment[..1], "", KEYS).await.unwrap_err();
        assert_eq!(half, "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; expected both");
    }

    #[tokio::test]
    async fn what_is_not_done_here_says_what_does_it() {
        let sso =
            "[profile work]\nsso_session = x\nsso_account_id = 1\n[profile role]\nrole_arn = arn:aws:iam::1:role/r\n";
        let error = found(&[("AWS_PROFILE", "work")], sso, "").await.unwrap_err();
        assert!(error.contains("SSO") && error.contains("export-credentials --profile work --format env"), "{error}");
        let error = found(&[("AWS_PROFILE", "role")], sso, "").await.unwrap_err();
        assert!(error.contains("assumes a role (role_arn)"), "{error}");
        let error = found(&[], "", "").await.unwrap_err();
        assert!(error.contains("no AWS credentials") && error.contains(".aws/credentials"), "{error}");
    }

    #[tokio::test]
    async fn a_process_may_have_them() {
        let process = |command: &str| format!("[default]\ncredential_process = {command}\n");
        let prints =
            process(r#"echo '{"Version": 1, "AccessKeyId": "p", "SecretAccessKey": "s", "SessionToken": "t"}'"#);
        assert_eq!(found(&[], &prints, "").await, Ok(("p".into(), Some("t".into()))));
        let error = found(&[], &process("echo no >&2; exit 3"), "").await.unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("no"), "{error}");
        let error = found(&[], &process("echo {}"), "").await.unwrap_err();
        assert!(error.contains("AccessKeyId: missing"), "{error}");
    }

    #[tokio::test]
    async fn a_container_may_have_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 2_048];
            let length = stream.read(&mut asked).unwrap();
            let body = r#"{"AccessKeyId": "c", "SecretAccessKey": "s", "Token": "t"}"#;
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let variables =
            [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in")];
        assert_eq!(found(&variables, "", "").await, Ok(("c".into(), Some("t".into()))));
        assert!(asked.join().unwrap().contains("authorization: let me in"));
    }
}
