//! Whether a release keeps its promise, asked of the bytes it publishes.
//!
//! Two worlds that differ by one subject, who sends more keys, records and value than it may count
//! with, go through the whole pipeline: policy text, plan, bounds, noise, bytes, and back. What an
//! observer can prove about them from many observations is compared with what the policy promises.
//! Bounds are exact (Clopper-Pearson, one false alarm in 10^7 each); where an event has to be
//! chosen, one half of the observations chooses and the other half counts.
//!
//! A check that cannot fail proves nothing: beside each is at least one mutant, a pipeline with
//! one mistake, which the same check must flag. What no test can show are small probabilities: a
//! δ of 10^-9 is proved (`sluicegate_policies::release`), and tested at 10^-3.
//!
//! `cargo test -p sluicegate-releases --lib audit -- --nocapture` prints the table.

mod lint;
mod neighbours;
mod pipeline;
mod sampler;
mod selection;
mod statistics;
mod window;

/// One line of the table: what is claimed, what the observations prove, and whether that is more.
/// `flagged` is what must come out: false for the pipeline, true for a mutant.
fn verdict(check: &str, claim: f64, proved: f64, flagged: bool) {
    let line = |verdict: &str| format!("{check:<66} {claim:>10.4} {proved:>10.4}  {verdict}");
    let out = proved > claim;
    say(&line(if out { "flagged" } else { "kept" }));
    assert_eq!(out, flagged, "{}", line("is the wrong verdict"));
}

/// The same for a test of distributions, which flags when its p-value is too small.
fn p_value(check: &str, p: f64, flagged: bool) {
    let line =
        |verdict: &str| format!("{check:<66} {:>10.0e} {p:>10.2e}  {verdict}", statistics::ALPHA);
    let out = p < statistics::ALPHA;
    say(&line(if out { "flagged" } else { "kept" }));
    assert_eq!(out, flagged, "{}", line("is the wrong verdict"));
}

#[expect(clippy::print_stdout, reason = "the table of the audit, shown with --nocapture")]
fn say(line: &str) {
    println!("{line}");
}
