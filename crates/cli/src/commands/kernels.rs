//! `starmap kernels`: which kernel sets there are, and which one is used here.

use std::process::ExitCode;

use serde_json::json;
use starmap_astromae::kernels::{ALL, Set};

use crate::printer::Printer;
use crate::{exit, table, variables};

/// The set that `STARMAP_KERNEL` names, else the best one of this CPU.
pub fn chosen() -> anyhow::Result<Set> {
    let Some(name) = forced() else { return Ok(Set::best()) };
    Set::named(&name).ok_or_else(|| {
        let available: Vec<&str> = Set::available().map(Set::name).collect();
        exit::usage(format!("{} is {name:?}, expected one of {}", variables::KERNEL, available.join(", ")))
    })
}

/// What `STARMAP_KERNEL` says.
pub fn forced() -> Option<String> {
    std::env::var(variables::KERNEL).ok().filter(|name| !name.is_empty())
}

/// Runs the command.
pub fn run(printer: &Printer) -> anyhow::Result<ExitCode> {
    let chosen = chosen()?;
    let mut rows = vec![["", "set", "needs", "tile of a product", ""].map(str::to_owned).to_vec()];
    let mut sets = Vec::new();
    for known in ALL {
        let (is_available, is_chosen) = (Set::named(known.name).is_some(), known.name == chosen.name());
        let mark = if is_chosen { "*" } else { "" };
        let note = match (is_available, is_chosen) {
            (false, _) => "not on this machine",
            (true, true) if forced().is_some() => "forced by STARMAP_KERNEL",
            (true, true) => "chosen",
            (true, false) => "",
        };
        rows.push([mark, known.name, known.needs, known.tile, note].map(str::to_owned).to_vec());
        sets.push(json!({
            "name": known.name, "needs": known.needs, "tile": known.tile,
            "available": is_available, "chosen": is_chosen,
        }));
    }
    printer.result(&table::aligned(&rows));
    let (int16, bf16, int8) = (chosen.int16(), chosen.bf16(), chosen.int8());
    printer.result(&format!("{} multiplies int16 by {int16}, bf16 by {bf16} and int8 by {int8}", chosen.name()));
    printer.object(&json!({
        "chosen": chosen.name(), "forced": forced().is_some(),
        "int16": int16, "bf16": bf16, "int8": int8, "sets": sets,
    }));
    Ok(ExitCode::SUCCESS)
}
