//! Requests whose signature is anything: lines are method, path, query, then headers; what follows an empty line is the body.
//!
//! Nothing panics, no such signature is accepted, and the refusal can be written in every family of protocols.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_sigv4::{Family, Request, Time, parse, sha256_hex};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or("/");
    let (method, path, query) = (text(), text(), text());
    let mut headers: Vec<(&str, &[u8])> = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        headers.push((name, line.get(colon + 1..).unwrap_or_default()));
    }
    let request = Request { method, path, query, headers: &headers };
    let families = [Family::S3, Family::Json, Family::Rest, Family::Query];
    let error = match parse(&request) {
        Ok(claim) => {
            for family in families {
                let _ = claim.check(&request, family, &["us-east-1"], "s3", Time(1_440_938_160));
            }
            // Nobody who writes these bytes knows this secret.
            claim.verify(&request, &sha256_hex(b""), "a secret of nobody's").expect_err("accepted")
        }
        Err(error) => error,
    };
    for family in families {
        assert!(error.refusal(family).status >= 400);
    }
});
