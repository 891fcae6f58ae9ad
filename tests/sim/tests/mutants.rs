//! Every planted fault is found, and within few seeds; that the same seeds pass without it is shown by
//! `seeds.rs`.

use sim::mutants::Mutant;
use sim::run::run;

/// Seeds within which each is found.
const SEEDS: u64 = 500;

fn found(mutant: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| Some((seed, run(seed, Some(mutant), false).failure?)))
}

fn share(rest: usize) {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL.iter().skip(rest).step_by(2) {
        match found(*mutant) {
            Some((seed, failure)) => println!("{}: seed {seed}: {failure}", mutant.name()),
            None => missed.push(mutant.name()),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

#[test]
fn planted_faults_are_found() {
    share(0);
}

#[test]
fn the_other_planted_faults_are_found() {
    share(1);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = Mutant::ALL.iter().map(|m| m.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Mutant::ALL.len());
    assert!(names.len() >= 20);
}
