//! A run: executes one case after another, whether or not they succeed, and writes all results
//! after each case.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bridge_examples::console;

use crate::cases::{self, Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::Skip;
use crate::harness::watchdog::Watchdog;
use crate::options::{Options, Profile};
use crate::report::machine::Machine;
use crate::report::publish::publish;
use crate::report::{FILE, Outcome, Results, Row, plots, table};

/// Runs the selected cases; returns `true` if nothing failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let profile = options.profile();
    let cases: Vec<_> = cases::all(&profile).into_iter().filter(|case| options.wants(&case.name)).collect();
    ensure!(!cases.is_empty(), "no case has {:?} in its name; --list names them", options.only.join(", "));
    let out = options.out();
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;

    let gpu = Gpu::open(options)?;
    let machine = Machine::look(&gpu.device, &gpu.compute);
    if options.publish {
        // Checked before all measurements.
        ensure!(gpu.is_cuda(), "{} computes; only runs with CUDA are published", gpu.compute.backend());
        machine.sources.require_clean()?;
    }
    let results = Arc::new(Mutex::new(Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: profile.name.to_owned(),
        machine,
        rows: vec![],
        spans: vec![],
    }));
    eprintln!("{} computes ({})", gpu.compute.backend(), gpu.compute.reason());
    let watchdog = watch(&results, options);
    let bench = Bench { gpu, profile, spans: Default::default() };
    for (number, case) in cases.iter().enumerate() {
        eprint!("[{:2}/{}] {}", number + 1, cases.len(), case.name);
        let begun = Instant::now();
        watchdog.watch(&case.name, profile.hung);
        let rows = measure(&bench, case);
        watchdog.rest();
        eprintln!(", {:.1} s", begun.elapsed().as_secs_f64());
        console::print(&table::table(&rows.iter().collect::<Vec<_>>()))?;
        let mut results = lock(&results);
        results.rows.extend(rows);
        results.spans = bench.spans.borrow().clone();
        results.write(&out)?;
    }
    lock(&results).machine.clocks.end(bench.gpu.device.uuid());
    let results = lock(&results).clone();
    results.write(&out)?;
    plots::write(&results, &out)?;
    let passed = finish(&results, &out, &bench.gpu.validation_messages())?;
    if options.publish {
        ensure!(passed, "nothing was published");
        console::line(format_args!(
            "published: {}; `cargo xtask tables` writes its figures into the documents",
            publish(&results)?.display()
        ))?;
    }
    Ok(passed)
}

fn measure(bench: &Bench, case: &Case) -> Vec<Row> {
    let mut rows = Rows::of(case);
    match (case.run)(bench, &mut rows) {
        Ok(()) => {}
        Err(error) => {
            let outcome = match error.downcast_ref::<Skip>() {
                Some(skip) => Outcome::Skipped { reason: skip.0.clone() },
                None => Outcome::Failed { error: format!("{error:#}") },
            };
            rows.rows.push(without_figures(&case.name, &case.what, outcome));
        }
    }
    rows.rows
}

fn without_figures(name: &str, what: &str, outcome: Outcome) -> Row {
    Row { name: name.to_owned(), what: what.to_owned(), parameters: Default::default(), unit: String::new(), outcome }
}

/// Ends the program if a case hangs, after writing the results so far.
fn watch(results: &Arc<Mutex<Results>>, options: &Options) -> Watchdog {
    let (results, out, Profile { hung, .. }) = (Arc::clone(results), options.out(), options.profile());
    Watchdog::start(move |name| {
        let error = format!("it did not end within {hung:?}; the program was ended");
        eprintln!("\nerror: {name}: {error}");
        let mut results = lock(&results);
        results.rows.push(without_figures(name, name, Outcome::Failed { error }));
        if let Err(error) = results.write(&out) {
            eprintln!("error: {error:#}");
        }
        // Not `exit`: the exit handlers of drivers may wait for the call that hangs.
        std::process::abort();
    })
}

/// Prints the summary; returns `true` if nothing failed.
fn finish(results: &Results, out: &Path, validation: &[String]) -> Result<bool> {
    for message in validation {
        eprintln!("error: the validation layer said {message}");
    }
    let failures: Vec<_> = results.rows.iter().filter(|row| row.is_failure()).collect();
    for row in &failures {
        eprintln!("error: {}: {}", row.name, row.what);
    }
    let count = |wanted: fn(&Outcome) -> bool| results.rows.iter().filter(|row| wanted(&row.outcome)).count();
    let goals = |met| {
        let hit = |row: &&Row| matches!(&row.outcome, Outcome::Measured(measured) if measured.met == Some(met));
        results.rows.iter().filter(hit).count()
    };
    console::line(format_args!(
        "{} rows measured, {} skipped, {} failed; {} goals met, {} missed; {}",
        count(|outcome| matches!(outcome, Outcome::Measured(_))),
        count(|outcome| matches!(outcome, Outcome::Skipped { .. })),
        count(|outcome| matches!(outcome, Outcome::Failed { .. })),
        goals(true),
        goals(false),
        out.join(FILE).display(),
    ))?;
    Ok(failures.is_empty() && validation.is_empty())
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}
