//! Region, endpoints and profile, from the environment and the shared configuration files.
//!
//! # Source
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html> and
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>, read 2026-11.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::client::Service;
use crate::exit;

/// What the environment and the shared files say.
#[derive(Default)]
pub struct Config {
    variables: BTreeMap<String, String>,
    /// Name of the profile.
    pub profile: String,
    /// Whether somebody asked for that profile by name.
    pub is_profile_named: bool,
    /// Its keys; those of the credentials file win.
    pub keys: BTreeMap<String, String>,
    /// The files that were looked at.
    pub files: Vec<PathBuf>,
}

impl fmt::Debug for Config {
    /// Without what is in it: there are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("profile", &self.profile).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the process's environment and the files that it names.
    ///
    /// # Errors
    /// If a file is there and can't be read, or a named profile is in none.
    pub fn read(profile: Option<&str>) -> anyhow::Result<Self> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let variables = std::env::vars_os().filter_map(text);
        Self::of(variables.filter(|(name, _)| is_ours(name)).collect(), profile)
    }

    fn of(variables: BTreeMap<String, String>, profile: Option<&str>) -> anyhow::Result<Self> {
        let set = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let named = profile.map(str::to_owned).or_else(|| set("AWS_PROFILE"));
        let home = set("HOME").map(PathBuf::from);
        let file = |variable: &str, name: &str| {
            set(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
        };
        let mut config = Self { is_profile_named: named.is_some(), ..Self::default() };
        config.profile = named.unwrap_or_else(|| "default".to_owned());
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let files = [file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
        for (path, is_config) in files.into_iter().zip([true, false]) {
            let Some(path) = path else { continue };
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    for (name, keys) in profiles(&text, is_config) {
                        all.entry(name).or_default().extend(keys);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(exit::usage(format!("{}: {error}", path.display()))),
            }
            config.files.push(path);
        }
        match all.get(&config.profile) {
            Some(keys) => config.keys = keys.clone(),
            None if config.is_profile_named => {
                let known: Vec<&str> = all.keys().map(String::as_str).collect();
                return Err(exit::usage(format!(
                    "AWS profile {}: not in {}\nhint: the profiles there are: {}",
                    config.profile,
                    config.places(),
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                )));
            }
            None => {}
        }
        config.variables = variables;
        Ok(config)
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The files, for messages.
    pub fn places(&self) -> String {
        let places: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        places.join(" or ")
    }

    /// The region that is asked for.
    ///
    /// # Errors
    /// If none is, or it can't be one.
    pub fn region(&self, given: Option<&str>) -> anyhow::Result<String> {
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| self.variable(name));
        let found = given.or(variables).or_else(|| self.keys.get("region").map(String::as_str));
        let Some(region) = found else {
            return Err(exit::usage(format!(
                "no AWS region: neither --region, AWS_REGION, AWS_DEFAULT_REGION nor profile {} says one\n\
                 hint: name the region that the state machine is in, as in --region us-east-1",
                self.profile
            )));
        };
        // It becomes part of host names.
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(exit::usage(format!("AWS region {region:?}: expected one such as us-east-1")));
        }
        Ok(region.to_owned())
    }

    /// Where a service is asked, without a slash at the end.
    ///
    /// # Errors
    /// If an endpoint is no URL.
    pub fn endpoint(&self, service: Service, region: &str) -> anyhow::Result<String> {
        let own = service.endpoint_variables().iter().find_map(|name| self.variable(name));
        let any = own.or_else(|| self.variable("AWS_ENDPOINT_URL"));
        let Some(url) = any.or_else(|| self.keys.get("endpoint_url").map(String::as_str)) else {
            let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            return Ok(format!("https://{}.{region}.{suffix}", service.host()));
        };
        let is_url = url.split_once("://").is_some_and(|(scheme, rest)| {
            ["http", "https"].contains(&scheme) && !rest.is_empty() && !rest.starts_with('/')
        });
        if !is_url {
            return Err(exit::usage(format!(
                "AWS endpoint {url:?}: expected a URL such as http://127.0.0.1:8083\n\
                 hint: it comes from AWS_ENDPOINT_URL, {} or the profile's endpoint_url",
                service.endpoint_variables().join(", ")
            )));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("AWS_") || name == "HOME"
}

/// The profiles of a shared file: in the configuration each but the default one is `[profile NAME]`, among the
/// credentials `[NAME]`. Indented lines belong to the key before and are of no use here.
fn profiles(text: &str, is_config: bool) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let section = section.trim();
            current = match section.strip_prefix("profile").map(str::trim_start) {
                Some(name) if is_config && section != "profile" => Some(name.trim_matches(['"', '\'']).to_owned()),
                _ if !is_config || section == "default" => Some(section.to_owned()),
                // `[sso-session …]`, `[services …]`.
                _ => None,
            };
            if let Some(name) = &current {
                found.entry(name.clone()).or_default();
            }
            continue;
        }
        let (Some(profile), Some((key, value))) = (&current, line.split_once('=')) else { continue };
        if is_indented {
            continue;
        }
        let value = [" #", " ;"].iter().fold(value, |value, mark| value.split(mark).next().unwrap_or(value));
        let keys = found.entry(profile.clone()).or_default();
        keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration of these variables and files.
    pub fn config(variables: &[(&str, &str)], config: &str, credentials: &str) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(".aws"))?;
        std::fs::write(folder.path().join(".aws/config"), config)?;
        std::fs::write(folder.path().join(".aws/credentials"), credentials)?;
        let mut all: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("HOME".to_owned(), folder.path().display().to_string());
        Config::of(all, None)
    }

    const FILE: &str = "# mine\n[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n\
                        [profile sky]\nregion=us-west-2 # near\nendpoint_url = http://127.0.0.1:1/\n\
                        [sso-session x]\nregion = nowhere\n";

    #[test]
    fn the_region_comes_from_the_first_place_that_has_one() {
        let region = |variables: &[(&str, &str)], given| config(variables, FILE, "").unwrap().region(given).unwrap();
        assert_eq!(region(&[], None), "eu-west-1");
        assert_eq!(region(&[("AWS_PROFILE", "sky")], None), "us-west-2");
        assert_eq!(region(&[("AWS_DEFAULT_REGION", "a-1"), ("AWS_PROFILE", "sky")], None), "a-1");
        assert_eq!(region(&[("AWS_REGION", "b-1"), ("AWS_DEFAULT_REGION", "a-1")], None), "b-1");
        assert_eq!(region(&[("AWS_REGION", "b-1")], Some("c-1")), "c-1");
        let none = config(&[], "", "").unwrap();
        assert!(none.region(None).unwrap_err().to_string().contains("hint: name the region"));
        assert!(none.region(Some("us east")).is_err());
    }

    #[test]
    fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
        let error = config(&[("AWS_PROFILE", "moon")], FILE, "[lab]\n").unwrap_err().to_string();
        assert!(error.contains("AWS profile moon") && error.contains("default, lab, sky"), "{error}");
        let error = config(&[("AWS_PROFILE", "x")], "[sso-session x]\n", "").unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }

    #[test]
    fn endpoints_are_the_services_own_then_everyones_then_the_profiles_then_amazons() {
        let endpoint = |variables: &[(&str, &str)], service, region| {
            config(variables, FILE, "").unwrap().endpoint(service, region).map_err(|error| error.to_string())
        };
        let of = |url: &str| Ok(url.to_owned());
        assert_eq!(endpoint(&[], Service::StepFunctions, "us-east-1"), of("https://states.us-east-1.amazonaws.com"));
        assert_eq!(endpoint(&[], Service::Logs, "cn-north-1"), of("https://logs.cn-north-1.amazonaws.com.cn"));
        assert_eq!(endpoint(&[("AWS_PROFILE", "sky")], Service::Lambda, "x"), of("http://127.0.0.1:1"));
        let all = [("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_SFN", "http://own/")];
        assert_eq!(endpoint(&all, Service::StepFunctions, "x"), of("http://own"));
        assert_eq!(endpoint(&all, Service::Sts, "x"), of("http://all"));
        let broken = endpoint(&[("AWS_ENDPOINT_URL_LOGS", "127.0.0.1:80")], Service::Logs, "x").unwrap_err();
        assert!(broken.contains("expected a URL") && broken.contains("AWS_ENDPOINT_URL_LOGS"), "{broken}");
    }
}
