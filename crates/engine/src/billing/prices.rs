//! The table of prices and limits, each number with its source.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The table that ships.
const BUILT_IN: &str = include_str!("aws_prices.toml");

/// The processor that functions run on; their prices differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Architecture {
    /// Intel and AMD.
    #[default]
    #[serde(rename = "x86_64")]
    X86,
    /// Graviton.
    #[serde(rename = "arm64")]
    Arm,
}

impl Architecture {
    /// Lambda's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x86_64" => Ok(Self::X86),
            "arm64" => Ok(Self::Arm),
            other => Err(format!("{other:?} is not an architecture of Lambda; expected x86_64 or arm64")),
        }
    }
}

/// One number of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// What it is, with dots.
    pub name: String,
    /// The number itself.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Where it was read.
    pub source: String,
    /// Whether that source could be opened.
    #[serde(default = "verified")]
    pub verified: bool,
}

fn verified() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: String,
    region: String,
    #[serde(default, rename = "number")]
    numbers: Vec<Number>,
}

/// A table can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not TOML, or has other keys.
    #[error("prices: {0}")]
    Syntax(String),
    /// Numbers that are not ours, negative, or not numbers.
    #[error("prices: {}\nhint: `starmap bill --show-prices` lists all names with their values and sources", .0.join("; "))]
    Numbers(Vec<String>),
}

/// Prices and limits, all of them there.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// When they were read.
    pub as_of: String,
    /// The region that they are of.
    pub region: String,
    numbers: BTreeMap<String, Number>,
}

impl Default for Prices {
    fn default() -> Self {
        let file: File = toml::from_str(BUILT_IN).expect("a test reads the table that ships");
        let numbers = file.numbers.into_iter().map(|number| (number.name.clone(), number)).collect();
        Self { as_of: file.as_of, region: file.region, numbers }
    }
}

impl Prices {
    /// The table that ships, with the numbers of `toml` in place of its own.
    ///
    /// # Errors
    /// Names every number that is unknown or can't be one.
    pub fn overridden_by(toml: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(toml).map_err(|error| Error::Syntax(error.to_string()))?;
        let mut prices = Self { as_of: file.as_of, region: file.region, ..Self::default() };
        let mut problems = Vec::new();
        for number in file.numbers {
            if !number.value.is_finite() || number.value < 0.0 {
                problems.push(format!("{}: is {}, expected 0 or more", number.name, number.value));
            }
            match prices.numbers.get_mut(&number.name) {
                Some(there) => *there = number,
                None => problems.push(format!("{}: there is no such number", number.name)),
            }
        }
        if problems.is_empty() { Ok(prices) } else { Err(Error::Numbers(problems)) }
    }

    /// All numbers, by name.
    pub fn numbers(&self) -> impl Iterator<Item = &Number> {
        self.numbers.values()
    }

    /// A number by name. Every name that this crate and its callers use is in the table that ships.
    ///
    /// # Panics
    /// If there is no such number: a bug, and never a matter of what users give.
    pub fn number(&self, name: &str) -> f64 {
        self.numbers.get(name).unwrap_or_else(|| panic!("{name} is not in aws_prices.toml")).value
    }

    /// What so many GB-seconds of one month cost on Lambda, by tiers.
    pub fn lambda_compute_usd(&self, architecture: Architecture, gb_s: f64) -> f64 {
        let name = |tier: u32, what: &str| format!("lambda.{}.tier_{tier}.{what}", architecture.as_str());
        let (mut from, mut usd) = (0.0, 0.0);
        for tier in 1..=3 {
            let up_to = if tier < 3 { self.number(&name(tier, "up_to_gb_s")) } else { f64::INFINITY };
            usd += (gb_s.min(up_to) - from).max(0.0) * self.number(&name(tier, "usd_per_gb_s"));
            from = up_to;
        }
        usd
    }

    /// vCPUs of a function with so much memory.
    pub fn vcpus(&self, memory_mib: u32) -> f64 {
        f64::from(memory_mib) / self.number("lambda.vcpu.mb")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_table_that_ships_has_a_unit_and_a_source() {
        let prices = Prices::default();
        assert!(prices.numbers().count() >= 30);
        for Number { name, value, unit, source, .. } in prices.numbers() {
            assert!(value.is_finite() && *value >= 0.0 && !unit.is_empty(), "{name}");
            assert!(source.starts_with("https://"), "{name}: {source}");
        }
    }

    #[test]
    fn tiers_are_priced_each_at_its_own_price() {
        let prices = Prices::default();
        assert_eq!(prices.lambda_compute_usd(Architecture::X86, 100.0), 100.0 * 0.0000166667);
        let usd = prices.lambda_compute_usd(Architecture::X86, 16e9);
        assert!((usd - (6e9 * 0.0000166667 + 9e9 * 0.000015 + 1e9 * 0.000013334)).abs() < 1e-3, "{usd}");
        let arm = prices.lambda_compute_usd(Architecture::Arm, 8e9);
        assert!((arm - (7.5e9 * 0.0000133334 + 0.5e9 * 0.0000120001)).abs() < 1e-3, "{arm}");
        assert!((prices.vcpus(10_240) - 5.788).abs() < 1e-3);
    }

    #[test]
    fn a_file_replaces_numbers_by_name_and_unknown_ones_are_named() {
        let number = |name: &str, value: &str| {
            format!("[[number]]\nname = \"{name}\"\nvalue = {value}\nunit = \"u\"\nsource = \"s\"\n")
        };
        let head = "as_of = \"2027-01\"\nregion = \"eu-central-1\"\n";
        let prices = Prices::overridden_by(&format!("{head}{}", number("lambda.request.usd", "1.5"))).unwrap();
        assert_eq!((prices.number("lambda.request.usd"), prices.as_of.as_str()), (1.5, "2027-01"));
        assert_eq!(prices.number("s3.put.usd"), 0.000005);
        let bad = format!("{head}{}{}", number("lambda.reqest.usd", "1.0"), number("s3.put.usd", "-1.0"));
        let error = Prices::overridden_by(&bad).unwrap_err().to_string();
        assert!(error.contains("lambda.reqest.usd: there is no such number"), "{error}");
        assert!(error.contains("s3.put.usd: is -1, expected 0 or more"), "{error}");
        assert!(matches!(Prices::overridden_by("as_of = 3"), Err(Error::Syntax(_))));
    }
}
