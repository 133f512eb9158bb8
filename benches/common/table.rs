//! The table that every benchmark prints: the program, the reference of the same run, their ratio,
//! and the target.
#![allow(dead_code)] // each benchmark uses its own part

/// The target of a row.
pub enum Target {
    /// At most this many times the reference.
    Ratio(f64),
    /// At least this many times the reference.
    Share(f64),
    /// At most this much more than the reference.
    More(f64),
    /// At most this.
    Most(f64),
    /// No target.
    Reported,
}

pub fn begin(title: &str) {
    println!("\n{title}\n");
    println!(
        "| {:<58} | {:>9} | {:>9} | {:>6} | {:>8} | |",
        "what", "ours", "reference", "ratio", "target"
    );
    println!(
        "| {:-<58} | {:-<9} | {:-<9} | {:-<6} | {:-<8} | - |",
        "", "", "", "", ""
    );
}

pub fn row(what: &str, ours: f64, reference: Option<f64>, target: &Target) {
    let ratio = reference.map(|reference| ours / reference);
    let (asked, met) = match *target {
        Target::Ratio(most) => (
            format!("x {most:.2}"),
            ratio.is_some_and(|ratio| ratio <= most),
        ),
        Target::Share(least) => (
            format!("> x{least:.2}"),
            ratio.is_some_and(|ratio| ratio >= least),
        ),
        Target::More(most) => (
            format!("+ {most:.1}"),
            reference.is_some_and(|reference| ours <= reference + most),
        ),
        Target::Most(most) => (format!("{}", (most * 1e3).round() / 1e3), ours <= most),
        Target::Reported => (String::new(), true),
    };
    let verdict = match target {
        Target::Reported => "",
        _ if met => "met",
        _ => "MISSED",
    };
    let reference = reference
        .map(|reference| format!("{reference:.3}"))
        .unwrap_or_default();
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    println!("| {what:<58} | {ours:>9.3} | {reference:>9} | {ratio:>6} | {asked:>8} | {verdict} |");
}
