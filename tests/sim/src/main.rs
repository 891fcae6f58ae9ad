fn main() {
    let args: Vec<String> = std::env::args().collect();
    let a: u64 = args[1].parse().unwrap();
    let b: u64 = args[2].parse().unwrap();
    let m = args.get(3).and_then(|m| sim::mutants::Mutant::named(m));
    let mut polls = 0;
    for seed in a..b {
        let o = sim::run::run(seed, m, b == a + 1);
        polls += o.polls;
        if let Some(f) = o.failure {
            println!("seed {seed}: {f}");
            if b > a + 1 && args.len() < 5 { for l in o.tail.iter().rev().take(25).rev() { println!("   {l}"); } break; }
        }
    }
    println!("{polls} polls");
}
