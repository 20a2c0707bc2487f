//! The report, as Markdown: targets, then ratios, then the figures behind them.

use std::fmt::Write;

use carrack_schema::time::rfc3339;
use carrack_store::{Clock, SystemClock};

use crate::engine::Name;
use crate::machine;
use crate::mcp;
use crate::measure::{Cost, Spread};
use crate::options::Options;
use crate::rpc;
use crate::run::{Kind, OpenResults, RepoResults, Results, Round};
use crate::targets::{self, Goal};
use crate::task::{Body, EngineAnswer, FIELDS, PAGE_RECORDS, SCAN_FIELD, TinyAnswer};

const MIB: f64 = 1024.0 * 1024.0;

/// A figure of an engine with a repo in it, if it was measured.
type Figure = Box<dyn Fn(&EngineAnswer) -> Option<f64>>;

/// Returns the whole report.
pub(crate) fn markdown(options: &Options, results: &Results) -> String {
    let mut out = head(options);
    targets_table(results, &mut out);
    for repo in &results.repos {
        repo_section(repo, &mut out);
    }
    tiny_section(results, &mut out);
    if let Some(open) = &results.open {
        open_section(open, &mut out);
    }
    if let Some(rpc) = &results.rpc {
        rpc::report::section(rpc, &mut out);
    }
    if let Some(mcp) = &results.mcp {
        mcp::report::section(mcp, &mut out);
    }
    if let Some(counts) = &results.instructions {
        instructions_section(counts, &mut out);
        rpc::report::served_rows(&results.served, &mut out);
    }
    if !results.skipped.is_empty() {
        out += "\n## Left out\n";
        for what in &results.skipped {
            out += &format!("- {what}\n");
        }
    }
    out
}

fn head(options: &Options) -> String {
    let time = rfc3339(SystemClock.now());
    let date = time.split('T').next().unwrap_or_default();
    let quick = if options.quick {
        "\n**These come from `--quick`: they show that the bench works, and nothing else.**\n"
    } else {
        ""
    };
    format!(
        "# Benchmarks

Written by `{command}`, {date}; nothing here is typed by hand. Machine: {machine}.
{quick}
A figure is the median of its rounds, with the least and the greatest behind it. Ratios are of figures from the same round, ours ÷ theirs,
so that a busy machine matters less. Each engine is measured in a process of its own; `tests/bench/README.md`
says what exactly is timed.
",
        command = options.command(),
        machine = machine::describe(),
    )
}

fn targets_table(results: &Results, out: &mut String) {
    *out +=
        "\n## Targets\n\n| what | target | stretch | reached | verdict |\n|---|---|---|---|---|\n";
    for target in targets::all(results) {
        let sign = match target.goal {
            Goal::AtMost => "≤",
            Goal::AtLeast => "≥",
        };
        let stretch = target
            .stretch
            .map_or("".into(), |goal| format!("{sign} {goal}"));
        let figure = target.figure.map_or("–".into(), spread);
        *out += &format!(
            "| {} | {sign} {} | {stretch} | {figure} | {} |\n",
            target.what,
            target.target,
            target.verdict()
        );
    }
}

fn repo_section(repo: &RepoResults, out: &mut String) {
    let title = match repo.kind {
        Kind::Synthetic => "Synthetic repo",
        Kind::Million => "Synthetic repo, large",
        Kind::Midsize => "Real repo",
        Kind::Given => "Repo given with `--car`",
    };
    let car = format!(
        "{} records, a CAR of {} bytes",
        count(repo.records),
        count(repo.car_bytes)
    );
    *out += &format!("\n## {title}: {car}, {}\n", rounds(repo.rounds.len()));
    import_table(repo, out);
    ratios_table(repo, out);
    figures_table(repo, out);
}

fn import_table(repo: &RepoResults, out: &mut String) {
    let cell = |spread_of: Option<Spread>| spread_of.map_or("–".into(), spread);
    let ours = |of: fn(&Cost) -> f64| {
        Spread::of(repo.figures(Name::Carrack, |answer| answer.import.as_ref().map(of)))
    };
    let walks = |of: fn(&Round) -> f64| Spread::of(repo.rounds.iter().map(of));
    let memory = repo.memory_bytes.iter().map(|bytes| *bytes as f64 / MIB);
    *out += "\n| verified import | |\n|---|---|\n";
    for (what, figure) in [
        (
            "CPU ÷ repo-stream walking",
            repo.import_ratio(|round| round.walk.cpu_s),
        ),
        (
            "CPU ÷ repo-stream walking and decoding",
            repo.import_ratio(|round| round.decode.cpu_s),
        ),
        ("CPU, s", ours(|cost| cost.cpu_s)),
        ("wall, s", ours(|cost| cost.wall_s)),
        ("peak anonymous memory, MiB", Spread::of(memory)),
        (
            "CPU of repo-stream walking, s",
            walks(|round| round.walk.cpu_s),
        ),
        (
            "CPU of repo-stream walking and decoding, s",
            walks(|round| round.decode.cpu_s),
        ),
    ] {
        *out += &format!("| {what} | {} |\n", cell(figure));
    }
}

/// Returns what is compared between engines: its name, the figure, and its name and factor where it stands by itself.
fn compared(car_bytes: u64) -> Vec<(String, Figure)> {
    let mut rows: Vec<(String, Figure)> = vec![(
        "bytes on disk ÷ CAR".into(),
        Box::new(move |a| Some(a.on_disk.data_bytes as f64 / car_bytes as f64)),
    )];
    rows.push(("get p50, ns".into(), Box::new(|a| Some(a.get?.p50_ns))));
    rows.push(("get p99, ns".into(), Box::new(|a| Some(a.get?.p99_ns))));
    for field in FIELDS {
        rows.push((
            format!("`{field}` p50, ns"),
            Box::new(move |a| Some(a.fields.get(field)?.p50_ns)),
        ));
        rows.push((
            format!("`{field}` p99, ns"),
            Box::new(move |a| Some(a.fields.get(field)?.p99_ns)),
        ));
    }
    rows.push((
        format!("page of {PAGE_RECORDS} p50, µs"),
        Box::new(|a| Some(a.page?.p50_ns / 1e3)),
    ));
    rows.push((
        format!("scan of `{SCAN_FIELD}`, million records/s"),
        Box::new(|a| Some(a.scan? / 1e6)),
    ));
    rows
}

fn measured(repo: &RepoResults) -> Vec<Name> {
    let there = |name: &Name| {
        repo.rounds
            .iter()
            .any(|round| round.engines.contains_key(name))
    };
    Name::ALL.into_iter().filter(there).collect()
}

fn table_head(first: &str, names: &[Name], out: &mut String) {
    let labels: Vec<&str> = names.iter().map(|name| name.label()).collect();
    let rules = "---|".repeat(names.len() + 1);
    *out += &format!("\n| {first} | {} |\n|{rules}\n", labels.join(" | "));
}

fn ratios_table(repo: &RepoResults, out: &mut String) {
    let others: Vec<_> = measured(repo)
        .into_iter()
        .filter(|name| *name != Name::Carrack)
        .collect();
    table_head("ours ÷ theirs", &others, out);
    for (what, figure) in compared(repo.car_bytes) {
        let name = what.split(',').next().unwrap_or(&what);
        let cells = others.iter().map(|name| {
            // An engine that was not asked for this has no figure, or the figure of its twin.
            let shown = !name.only_fields() || what.starts_with('`');
            let ratio = repo.ratio(*name, &figure).filter(|_| shown);
            ratio.map_or("–".into(), spread)
        });
        row(name, cells, out);
    }
}

fn figures_table(repo: &RepoResults, out: &mut String) {
    let names = measured(repo);
    table_head("figures", &names, out);
    let mut rows = compared(repo.car_bytes);
    let insert: Figure = Box::new(|answer| Some(answer.import?.cpu_s));
    rows.push((
        "CPU of taking it in, s (ours verifies; theirs only insert)".into(),
        insert,
    ));
    for (what, figure) in rows {
        let cells = names.iter().map(|name| {
            let shown = !name.only_fields() || what.starts_with('`');
            let figures = Spread::of(repo.figures(*name, &figure)).filter(|_| shown);
            figures.map_or("–".into(), |figures| number(figures.median))
        });
        row(&what, cells, out);
    }
}

pub(crate) fn row(what: &str, cells: impl Iterator<Item = String>, out: &mut String) {
    let cells: Vec<String> = cells.collect();
    *out += &format!("| {what} | {} |\n", cells.join(" | "));
}

fn tiny_section(results: &Results, out: &mut String) {
    let Some(first) = results
        .tiny
        .values()
        .next()
        .and_then(|rounds| rounds.first())
    else {
        return;
    };
    let names: Vec<Name> = results.tiny.keys().copied().collect();
    *out += &format!(
        "\n## Tiny repos: {} records in {} repos, every repo durable by itself, {}\n",
        count(first.records),
        count(first.repos),
        rounds(results.tiny.values().next().map_or(0, Vec::len)),
    );
    table_head("figures", &names, out);
    type TinyFigure = fn(&TinyAnswer) -> f64;
    let rows: [(&str, TinyFigure); 4] = [
        ("bytes of all files a record, in whole blocks", |answer| {
            answer.on_disk.all_bytes as f64 / answer.records as f64
        }),
        ("lengths of the data files a record", |answer| {
            answer.on_disk.data_bytes as f64 / answer.records as f64
        }),
        ("CPU, s", |answer| answer.import.cpu_s),
        ("wall, s", |answer| answer.import.wall_s),
    ];
    for (what, figure) in rows {
        let cells = results
            .tiny
            .values()
            .map(|rounds| Spread::of(rounds.iter().map(figure)).map_or("–".into(), spread));
        row(what, cells, out);
    }
}

fn open_section(open: &OpenResults, out: &mut String) {
    *out += &format!("\n## Opening a store, {}\n", rounds(open.many.len()));
    *out += "\n| store | wall, ms | CPU, ms | anonymous memory gained, KiB |\n|---|---|---|---|\n";
    let many = format!("{} tiny repos", count(open.repos as u64));
    for (what, rounds) in [
        (many.as_str(), &open.many),
        ("one repo of as many records", &open.one),
    ] {
        let of = |figure: fn(&(Cost, u64)) -> f64| {
            Spread::of(rounds.iter().map(figure)).map_or("–".into(), spread)
        };
        let cells = [
            of(|(cost, _)| cost.wall_s * 1e3),
            of(|(cost, _)| cost.cpu_s * 1e3),
            of(|(_, bytes)| *bytes as f64 / 1024.0),
        ];
        row(what, cells.into_iter(), out);
    }
}

fn instructions_section(counts: &[(Body, f64)], out: &mut String) {
    *out += "\n## Instructions, by callgrind, on its processor without SHA-NI and AVX-512\n";
    *out += "\n| path | instructions |\n|---|---|\n";
    for (body, instructions) in counts {
        let what = match body {
            Body::Get => "get of a record, a call".to_owned(),
            Body::GetField => format!("get of `{}`, a call", FIELDS[0]),
            Body::ListPage => format!("page of {PAGE_RECORDS}, a call"),
            Body::Import => "import, a record".to_owned(),
        };
        *out += &format!("| {what} | {} |\n", count(instructions.round() as u64));
    }
}

pub(crate) fn rounds(number: usize) -> String {
    format!("{number} round{}", if number == 1 { "" } else { "s" })
}

/// Writes a spread: the median, and least and greatest where they differ from it in what is shown.
fn spread(spread: Spread) -> String {
    let (median, min, max) = (
        number(spread.median),
        number(spread.min),
        number(spread.max),
    );
    if min == median && max == median {
        return median;
    }
    format!("{median} ({min}–{max})")
}

/// Writes a spread, if anything was measured.
pub(crate) fn cell(figure: Option<Spread>) -> String {
    figure.map_or("–".into(), spread)
}

/// Writes a number with three digits that count.
pub(crate) fn number(number: f64) -> String {
    match number.abs() {
        100.0.. => count(number.round() as u64),
        10.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        0.1.. => format!("{number:.3}"),
        _ => format!("{number:.4}"),
    }
}

/// Writes a whole number with commas.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        // A String takes every write.
        let _written = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.01234, "0.0123"),
            (0.3456, "0.346"),
            (1.2345, "1.23"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
