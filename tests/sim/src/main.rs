//! The simulator's command line.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use sim::mutants::Mutant;
use sim::run::{Outcome, run, run_in};
use sim::setup::Setup;

const USAGE: &str = "usage: sim --seed N | --seeds A..B | --long   [--mutant NAME] [--stopped]   | --mutants";
/// Seeds of the long run.
const LONG: u64 = 200_000;

/// What the command line asks for.
struct Wish {
    seeds: std::ops::Range<u64>,
    mutant: Option<Mutant>,
    /// Nodes are stopped for long, at chosen awaits, again and again.
    stopped: bool,
    /// One seed, with its whole log.
    shows_log: bool,
}

fn wish(args: &[String]) -> Option<Wish> {
    let mut wish = Wish { seeds: 0..2_000, mutant: None, stopped: false, shows_log: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => {
                let seed: u64 = args.next()?.parse().ok()?;
                (wish.seeds, wish.shows_log) = (seed..seed + 1, true);
            }
            "--seeds" => {
                let (first, end) = args.next()?.split_once("..")?;
                wish.seeds = first.parse().ok()?..end.parse().ok()?;
            }
            "--long" => wish.seeds = 0..LONG,
            "--stopped" => wish.stopped = true,
            "--mutant" => wish.mutant = Some(Mutant::named(args.next()?)?),
            _ => return None,
        }
    }
    Some(wish)
}

/// Sums over many seeds.
#[derive(Default)]
struct Figures {
    seeds: u64,
    failed: u64,
    lines: u64,
    polls: u64,
    simulated: u64,
    counts: BTreeMap<&'static str, u64>,
    pairs: BTreeSet<(&'static str, &'static str)>,
}

impl Figures {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.failed += u64::from(outcome.failure.is_some());
        self.lines += outcome.lines;
        self.polls += outcome.polls;
        self.simulated += outcome.simulated / 1_000_000_000;
        outcome.counts.iter().for_each(|(what, n)| *self.counts.entry(what).or_default() += n);
        self.pairs.extend(&outcome.pairs);
    }

    fn print(&self) {
        println!("{} seeds, {} failed", self.seeds, self.failed);
        println!("{} events logged, {} polls of tasks", self.lines, self.polls);
        println!("{} simulated hours", self.simulated / 3_600);
        println!("{} pairs of a state and a fault that met it", self.pairs.len());
        self.counts.iter().for_each(|(what, n)| println!("{n:>12} {what}"));
    }
}

fn report(outcome: &Outcome, shows_log: bool) {
    let Some(failure) = &outcome.failure else { return };
    println!("seed {} breaks {failure}", outcome.seed);
    if !shows_log {
        outcome.tail.iter().for_each(|line| println!("    {line}"));
        println!("`sim --seed {}` shows all of it", outcome.seed);
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--mutants"] {
        Mutant::ALL.iter().for_each(|mutant| println!("{}", mutant.name()));
        return ExitCode::SUCCESS;
    }
    let Some(wish) = wish(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut figures = Figures::default();
    for seed in wish.seeds {
        let outcome = match wish.stopped {
            true => run_in(seed, Setup::stopped(seed), wish.mutant, wish.shows_log),
            false => run(seed, wish.mutant, wish.shows_log),
        };
        report(&outcome, wish.shows_log);
        figures.add(&outcome);
        if figures.seeds.is_multiple_of(10_000) {
            println!("... {} seeds, {} failed", figures.seeds, figures.failed);
        }
    }
    figures.print();
    if figures.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
