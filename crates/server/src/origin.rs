//! Who may ask. No request here needs credentials, so a page that is open in the user's browser must not be able
//! to send one: neither across origins nor under a foreign name that resolves to this machine (DNS rebinding).
//!
//! SDKs, the AWS CLI and Terraform send neither `Origin` nor `Sec-Fetch-Site`, and name the host they connect to.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which names of this server are its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hosts {
    /// `localhost`, names below it, and loopback addresses: for a server that listens there.
    #[default]
    Loopback,
    /// Any: a server that others reach is known by names that it can't tell.
    Any,
}

/// Why a request is not answered; `None` if it is.
pub(crate) fn refusal(hosts: Hosts, head: &Parts) -> Option<String> {
    let text = |name: &HeaderName| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let host = text(&HOST).or_else(|| head.uri.authority().map(|authority| authority.as_str().into()));
    if let Some(host) = &host
        && hosts == Hosts::Loopback
        && !is_loopback(host)
    {
        return Some(format!(
            "this server listens on a loopback address and was asked as {host:?}; ask it as localhost or 127.0.0.1"
        ));
    }
    if let Some(site) = text(&FETCH_SITE).filter(|site| site != "same-origin" && site != "none") {
        return Some(format!("requests from pages of other sites are not answered (Sec-Fetch-Site: {site})"));
    }
    let origin = text(&ORIGIN)?;
    let is_own = origin.split_once("://").is_some_and(|(_, origin)| Some(origin) == host.as_deref());
    (!is_own).then(|| format!("requests from pages of other sites are not answered (Origin: {origin})"))
}

/// Whether `host`, with or without a port, names this machine and no other.
fn is_loopback(host: &str) -> bool {
    let Some(name) = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)) else {
        return false;
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(name == "localhost" || name.ends_with(".localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(hosts: Hosts, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = hyper::Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(hosts, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn clients_on_this_machine_are_answered() {
        for host in ["localhost:8083", "127.0.0.1:8083", "127.0.0.1", "[::1]:8083", "bucket.localhost:8083"] {
            assert_eq!(asked(Hosts::Loopback, &[("host", host)]), None, "{host}");
        }
        let own = [("host", "localhost:8083"), ("origin", "http://localhost:8083"), ("sec-fetch-site", "same-origin")];
        assert_eq!(asked(Hosts::Loopback, &own), None);
        assert_eq!(asked(Hosts::Any, &[("host", "starmap.lan:8083")]), None);
    }

    #[test]
    fn pages_of_other_sites_are_not() {
        for host in ["evil.example", "evil.example:8083", "localhost.evil.example", "127.0.0.1.evil.example", "", "@"] {
            assert!(asked(Hosts::Loopback, &[("host", host)]).is_some(), "{host}");
        }
        let host = ("host", "localhost:8083");
        for header in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for hosts in [Hosts::Loopback, Hosts::Any] {
                assert!(asked(hosts, &[host, header]).is_some(), "{header:?}");
            }
        }
    }
}
