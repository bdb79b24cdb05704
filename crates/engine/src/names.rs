//! ARNs, and names that follow from other names.

/// Which account and region ARNs are written for.
#[derive(Debug, Clone)]
pub struct Naming {
    /// As in `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Default for Naming {
    /// An account that no one has, in the region that the published runs were made in.
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), account: "000000000000".to_owned() }
    }
}

impl Naming {
    fn arn(&self, kind: &str, rest: &str) -> String {
        format!("arn:aws:states:{}:{}:{kind}:{rest}", self.region, self.account)
    }

    /// ARN of a state machine.
    pub fn state_machine(&self, name: &str) -> String {
        self.arn("stateMachine", name)
    }

    /// ARN of an execution that is not a child.
    pub fn execution(&self, machine: &str, name: &str) -> String {
        self.arn("execution", &format!("{machine}:{name}"))
    }

    /// ARN of an activity.
    pub fn activity(&self, name: &str) -> String {
        self.arn("activity", name)
    }

    /// ARN of an Express execution: `machine:name:unique`.
    pub fn express(&self, machine: &str, name: &str, unique: &str) -> String {
        self.arn("express", &format!("{machine}:{name}:{unique}"))
    }

    /// ARN of a map run: `machine/label:id`.
    pub fn map_run(&self, machine: &str, label: &str, id: &str) -> String {
        self.arn("mapRun", &format!("{machine}/{label}:{id}"))
    }

    /// ARN of a child execution: `machine/label:name`.
    pub fn child(&self, machine: &str, label: &str, name: &str) -> String {
        self.arn("execution", &format!("{machine}/{label}:{name}"))
    }

    /// ARN of the role that executions run under as long as none is given.
    pub fn role(&self) -> String {
        format!("arn:aws:iam::{}:role/starmap", self.account)
    }
}

/// A name in the form of a UUID that follows from `parts`: the same parts, the same name.
pub(crate) fn derived_uuid(parts: &[&str]) -> String {
    let (high, low) = (fingerprint(parts, 1), fingerprint(parts, 2));
    // Version 8 (custom) and variant bits as RFC 9562 has them.
    let high = (high & !0xf000) | 0x8000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// FNV-1a of the parts, finished with splitmix64 so that near names give far numbers.
pub(crate) fn fingerprint(parts: &[&str], salt: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let mut x = hash;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Why `name` can't be the name of an execution or state machine, if it can't.
///
/// Rules: <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>, read 2026-11.
pub fn invalid_name(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().count() > 80 {
        return Some(format!("has {} characters, expected 1 to 80", name.chars().count()));
    }
    let bad = name.chars().find(|c| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(*c));
    bad.map(|c| format!("has the character {c:?}, which is not allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_are_stable_distinct_and_look_like_uuids() {
        let one = derived_uuid(&["run", "0"]);
        assert_eq!(one, derived_uuid(&["run", "0"]));
        assert_ne!(one, derived_uuid(&["run", "1"]));
        assert_ne!(derived_uuid(&["ab", "c"]), derived_uuid(&["a", "bc"]));
        assert_eq!(one.len(), 36);
        assert_eq!(&one[14..15], "8");
    }

    #[test]
    fn names_are_checked_as_aws_does() {
        assert_eq!(invalid_name("redshift-2026_a.b"), None);
        assert!(invalid_name("").is_some());
        assert!(invalid_name(&"x".repeat(81)).is_some());
        assert!(invalid_name("a b").is_some());
        assert!(invalid_name("a:b").is_some());
    }
}
