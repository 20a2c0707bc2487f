//! The gateway's section of the report, and its targets.

use std::collections::BTreeMap;

use super::client::Era;
use super::{Hops, McpResults, Peer, Point, Took, Tool, Transport};
use crate::measure::Spread;
use crate::report::{cell, count, rounds, row};
use crate::rpc::RTT;
use crate::targets::{Goal, Target};

/// The era that the targets are of: most clients speak it.
const ERA: Era = Era::Sessions;

/// One kind of chain.
type Kind = fn(&Hops) -> &Vec<f64>;

/// Returns the targets, with what was measured if anything was.
pub(crate) fn targets(results: Option<&McpResults>) -> Vec<Target> {
    let at_most = |what: String, target, figure| Target {
        what,
        goal: Goal::AtMost,
        target,
        stretch: None,
        figure,
    };
    let mut targets = Vec::new();
    for transport in Transport::ALL {
        for tool in Tool::ALL {
            targets.push(at_most(
                format!(
                    "MCP: p50 of {} over {} ÷ a bare rmcp server with that answer at hand",
                    tool.label(),
                    transport.label()
                ),
                2.0,
                results.and_then(|results| results.ratio((transport, ERA, tool), p50)),
            ));
        }
    }
    targets.push(at_most(
        format!(
            "MCP: four hops by one at_query at {} ms, ms",
            RTT.as_millis()
        ),
        25.0,
        results.and_then(|results| results.hops(|hops| &hops.query_ms)),
    ));
    targets
}

fn p50(took: &Took) -> f64 {
    took.latency.p50_ns / 1e3
}

fn p99(took: &Took) -> f64 {
    took.latency.p99_ns / 1e3
}

fn cpu(took: &Took) -> f64 {
    took.cpu_us
}

impl McpResults {
    /// Returns ours ÷ the bare server's, of the same round.
    fn ratio(&self, point: Point, figure: fn(&Took) -> f64) -> Option<Spread> {
        let of = |took: &BTreeMap<Peer, Took>| {
            Some(figure(took.get(&Peer::Carrack)?) / figure(took.get(&Peer::Bare)?))
        };
        Spread::of(self.calls.get(&point)?.iter().filter_map(of))
    }

    fn figures(&self, point: Point, peer: Peer, figure: fn(&Took) -> f64) -> Option<Spread> {
        let took = self.calls.get(&point)?.iter();
        Spread::of(took.filter_map(|took| took.get(&peer).map(figure)))
    }

    fn hops(&self, kind: Kind) -> Option<Spread> {
        Spread::of(self.hops.iter().flat_map(kind).copied())
    }
}

/// Appends the section.
pub(crate) fn section(results: &McpResults, out: &mut String) {
    let bytes = |tool| count(results.bytes.get(&tool).copied().unwrap_or_default() as u64);
    *out += &format!(
        "\n## MCP, {}\n\nOne call after the other. The bare server is rmcp with the gateway's transports and settings and gives back our \
         answers, of {} and {} bytes, without looking for them; ours has a store in its process, and over HTTP requests show tokens of grants.\n",
        rounds(results.hops.len()),
        bytes(Tool::Get),
        bytes(Tool::List),
    );
    *out += "\n| tool call | p50 ÷ bare | server CPU ÷ bare | p50, µs | bare p50, µs | p99, µs | bare p99, µs | server CPU, µs | bare CPU, µs |\n\
             |---|---|---|---|---|---|---|---|---|\n";
    for point in results.calls.keys() {
        let figures: [fn(&Took) -> f64; 3] = [p50, p99, cpu];
        let ratios = [p50, cpu].map(|figure| cell(results.ratio(*point, figure)));
        let both = figures.into_iter().flat_map(|figure| {
            [Peer::Carrack, Peer::Bare].map(|peer| cell(results.figures(*point, peer, figure)))
        });
        row(&name(*point), ratios.into_iter().chain(both), out);
    }
    *out += &format!(
        "\n| likes → posts → their authors' profiles → what those pinned, a store {} ms away, 20 rows | ms |\n|---|---|\n",
        RTT.as_millis()
    );
    let rows: [(&str, Kind); 3] = [
        ("one at_query", |hops| &hops.query_ms),
        (
            "at_list and three at_get, each of what came before",
            |hops| &hops.calls_ms,
        ),
        ("one at_get of one record", |hops| &hops.one_call_ms),
    ];
    for (what, kind) in rows {
        row(what, [cell(results.hops(kind))].into_iter(), out);
    }
}

fn name((transport, era, tool): Point) -> String {
    format!("{}, {}, {}", tool.label(), transport.label(), era.version())
}
