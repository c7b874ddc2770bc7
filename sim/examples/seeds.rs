//! Runs seeds and says what came of them: `seeds FIRST LAST [trace]`.

use varve_sim::run::{RunOptions, fuzz, run};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |place: usize, default: u64| {
        arguments
            .get(place)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (first, last) = (number(1, 1), number(2, number(1, 1)));
    let mut options = RunOptions::default();
    if let Some(name) = arguments.get(4) {
        options.mutant = varve_core::hooks::Mutant::ALL
            .iter()
            .copied()
            .find(|mutant| mutant.name() == name);
    }
    if arguments.get(3).is_some_and(|text| text == "trace") {
        options.trace = true;
        let outcome = run(first, &options);
        if let Some(trace) = &outcome.trace {
            println!("{trace}");
        }
        println!("{outcome}");
        return;
    }
    let summary = fuzz(
        first..=last,
        &options,
        |_| true,
        |outcome| {
            if outcome.violation.is_some() || first == last {
                println!("{outcome}");
            }
        },
    );
    println!("{summary}");
    let missed: Vec<&str> = summary.missed().map(|probe| probe.name()).collect();
    println!("probes missed: {}", missed.join(", "));
}
