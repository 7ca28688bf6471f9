//! The parts of `cargo xtask` that read JSON (the public API as text, the licenses of the
//! dependencies and their texts, the figures in the documents) and the check for import cycles
//! between files and between folders.
//!
//! This is a separate package, so that `cargo xtask demo` does not have to build serde and the
//! other dependencies of these parts.

#![deny(clippy::print_stdout, reason = "`println!` panics if the reader has closed the pipe: see `console`")]

#[allow(dead_code, unreachable_pub, reason = "the demos, whose file this is, need more of it")]
#[path = "../../../examples/src/console.rs"]
mod console;
mod cycles;
mod license;
mod notices;
mod tables;

use std::io::Read;
use std::process::ExitCode;
use std::{env, fs, io};

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["api", json] => api(json),
        ["cycles"] => cycles::run(),
        ["cycles", "--layers"] => cycles::layers(),
        ["licenses", deny] => licenses(deny),
        ["notices", file] => notices(file),
        ["tables"] => tables::run(false),
        ["tables", "--check"] => tables::run(true),
        _ => bail!(
            "usage: xtask-checks api RUSTDOC.json | xtask-checks cycles [--layers] | \
             xtask-checks licenses deny.toml < METADATA.json | \
             xtask-checks notices FILE < METADATA.json | xtask-checks tables [--check]"
        ),
    }
}

/// Prints one line for each public item of the crate that the rustdoc JSON describes.
fn api(json: &str) -> Result<()> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("{json} is not rustdoc JSON that this version of public-api reads"))?;
    crate::console::print(&format!("{api}"))?;
    Ok(())
}

/// Checks the licenses in the output of `cargo metadata`, read from standard input, against those
/// that `deny` allows.
fn licenses(deny: &str) -> Result<()> {
    let text = fs::read_to_string(deny).with_context(|| format!("cannot read {deny}"))?;
    let allowed = license::allowed(&text).with_context(|| format!("{deny} has no list `allow` under [licenses]"))?;
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;

    let mut refused = Vec::new();
    for package in packages {
        let name =
            format!("{} {}", package["name"].as_str().unwrap_or("?"), package["version"].as_str().unwrap_or("?"));
        match package["license"].as_str() {
            Some(expression) if license::is_met(expression, &allowed)? => {}
            Some(expression) => refused.push(format!("{name}: {expression}")),
            None => refused.push(format!("{name}: no license expression in its manifest")),
        }
    }
    if !refused.is_empty() {
        bail!(
            "licenses that {deny} does not allow; replace the crate, or add the license there if its terms can be \
             met:\n    {}",
            refused.join("\n    ")
        );
    }
    crate::console::line(format_args!("licenses: {} packages, all under {}", packages.len(), allowed.join(", ")))?;
    Ok(())
}

/// Writes the license texts of the crates that the root package in the output of `cargo metadata`,
/// read from standard input, links.
fn notices(file: &str) -> Result<()> {
    let text = notices::text(&metadata()?)?;
    fs::write(file, text).with_context(|| format!("cannot write {file}"))
}

/// Reads the output of `cargo metadata` from standard input.
fn metadata() -> Result<serde_json::Value> {
    let mut metadata = String::new();
    io::stdin().read_to_string(&mut metadata).context("cannot read the output of `cargo metadata`")?;
    serde_json::from_str(&metadata).context("that is not `cargo metadata`'s output")
}
