//! Many seeds, and every seed that ever failed.

use sim::mutants::Mutant;
use sim::run::{Outcome, run, run_in};
use sim::setup::{Clocks, Setup};

/// Seeds of one run of the tests.
const SEEDS: u64 = 2_000;

fn check(outcome: &Outcome) {
    if let Some(failure) = &outcome.failure {
        panic!("seed {} breaks {failure}\n{}", outcome.seed, outcome.tail.join("\n"));
    }
}

/// Two threads share the seeds: even and odd ones.
fn share(rest: u64) {
    (0..SEEDS).filter(|seed| seed % 2 == rest).for_each(|seed| check(&run(seed, None, false)));
}

#[test]
fn invariants_hold_for_even_seeds() {
    share(0);
}

#[test]
fn invariants_hold_for_odd_seeds() {
    share(1);
}

#[test]
fn seeds_that_failed_once_pass() {
    let lines = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines.map(|line| line.trim().parse().expect("a seed is a number")).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        check(&run(seed, None, false));
        // They failed before there were limits.
        check(&run_in(seed, Setup::unlimited(seed), None, false));
    }
}

/// Worlds in which planted faults show best, without any.
#[test]
fn worlds_of_planted_faults_hold_without_them() {
    for mutant in Mutant::ALL {
        for seed in 10_000..10_020 {
            check(&run_in(seed, Setup::of(seed, Some(*mutant)), None, false));
        }
    }
}

/// Q10, Q12, Q15: nothing but administrators and clients in a hurry.
#[test]
fn q10_q12_q15_administrators_in_a_hurry() {
    let mutants = [
        Mutant::CountThenInsert,
        Mutant::SuppressionAtClaim,
        Mutant::CancelAfterDot,
        Mutant::DeletionLeavesLeased,
    ];
    for mutant in mutants {
        for seed in 0..100 {
            check(&run_in(seed, Setup::of(seed, Some(mutant)), None, false));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in 0..60 {
        let (first, second) = (run(seed, None, false), run(seed, None, false));
        let of = |o: &Outcome| (o.hash, o.lines, o.polls, o.simulated);
        assert_eq!(of(&first), of(&second), "seed {seed}");
    }
    assert_ne!(run(0, None, false).hash, run(1, None, false).hash);
}

/// Locks, timers and queues of libraries must not look at the real clock: on a busy machine the log is the same.
#[test]
fn the_log_does_not_depend_on_the_speed_of_the_machine() {
    let pause = std::time::Duration::from_millis(1);
    for seed in [3, 8, 21] {
        let quick = run(seed, None, false);
        let slow = run_in(seed, Setup { pause, ..Setup::of(seed, None) }, None, false);
        assert_eq!((quick.hash, quick.polls), (slow.hash, slow.polls), "seed {seed}");
    }
}

/// Q6: one node and one message; the node dies at its first poll, at its second, and so on, through all that it
/// does in a run without a crash.
#[test]
fn q6_a_crash_at_every_await_point() {
    for seed in [0, 5, 9, 33] {
        let quiet = run_in(seed, Setup::tiny(seed, u64::MAX / 200_000), None, false);
        check(&quiet);
        assert!(quiet.polls_of_first > 50, "seed {seed}: {} polls", quiet.polls_of_first);
        for poll in 1..=quiet.polls_of_first.min(600) {
            let outcome = run_in(seed, Setup::tiny(seed, poll), None, false);
            assert_eq!(
                outcome.failure,
                None,
                "seed {seed}, crash at poll {poll}\n{}",
                outcome.tail.join("\n")
            );
        }
    }
}

/// Q2, Q3: nodes that are stopped for long, at chosen awaits, again and again.
#[test]
fn q2_nodes_that_are_stopped_and_go_on() {
    for seed in 0..400 {
        check(&run_in(seed, Setup::stopped(seed), None, false));
    }
}

/// Q3: every node's clocks are off by up to an hour and drift by up to a tenth, and most faults are steps of ten
/// minutes.
#[test]
fn q3_clocks_that_are_wrong_drift_and_step() {
    for seed in 0..100 {
        let setup = Setup::of(seed, None);
        let nodes = setup.nodes.max(2);
        let setup =
            Setup { nodes, embedded: false, clocks: Clocks::Wild, focus: Some("wall clock step"), ..setup };
        check(&run_in(seed, setup, None, false));
    }
}

/// Q4, Q5: nodes that are cut off from the database, in the middle of an attempt and of a commit, until their jobs
/// were taken over; and writes whose outcome is not told.
#[test]
fn q4_q5_nodes_that_are_cut_off_and_commits_that_nobody_answers() {
    for (seed, focus) in (0..75).flat_map(|seed| [(seed, "link cut"), (seed, "trouble with writes")]) {
        let setup = Setup::of(seed, None);
        let nodes = setup.nodes.max(2);
        let setup = Setup { nodes, embedded: false, focus: Some(focus), ..setup };
        check(&run_in(seed, setup, None, false));
    }
}

/// Q2: nodes that are stopped between the word to write a final dot and the dot.
#[test]
fn q2_a_node_that_is_stopped_before_its_dot_writes_none() {
    for seed in 0..300 {
        let setup = Setup::of(seed, Some(Mutant::ProceedUnlooked));
        check(&run_in(seed, setup, None, false));
    }
}
