//! The RPC's section of the report, and its targets.

use super::chain::Chains;
use super::{Door, IdleRound, ImportRound, Load, Payload, Peer, Point, RTT, RpcResults, Shape};
use crate::measure::Spread;
use crate::report::{cell, count, number, rounds, row};
use crate::targets::{Goal, Target};

/// A figure of a round of imports.
type ImportFigure = fn(&ImportRound) -> f64;
/// One kind of chain.
type Kind = fn(&Chains) -> &Vec<f64>;

const MB: f64 = 1e6;
const KIB: f64 = 1024.0;
/// What a streamed import reaches behind the slow line, in MB a second, unless the import itself takes less.
const IMPORT_MB_LEAST: f64 = 60.0;

/// The point that the targets are of: a small record, asked for 64 at a time on one unix socket.
const TARGET: Point = (Payload::Record, Door::Unix, Shape::new(1, 64));

/// Returns the targets, with what was measured if anything was.
pub(crate) fn targets(results: Option<&RpcResults>) -> Vec<Target> {
    let at_most = |what: &str, target, figure| Target {
        what: what.to_owned(),
        goal: Goal::AtMost,
        target,
        stretch: None,
        figure,
    };
    let ratio = |ours, theirs| results?.ratio(TARGET, ours, theirs, |load| load.cpu_us);
    let of = |figures: fn(&RpcResults) -> Vec<f64>| Spread::of(results.map_or(vec![], figures));
    let limit = of(|results| results.imports.iter().map(ImportRound::limit_mb).collect());
    vec![
        at_most(
            "RPC: server CPU of a get by key ÷ bare capnp-rpc echo, unix, depth 64",
            1.5,
            ratio(Peer::Carrack, Peer::Echo),
        ),
        at_most(
            "RPC: server CPU of reading a record that is held ÷ bare capnp-rpc echo, unix, depth 64",
            1.5,
            ratio(Peer::CarrackHeld, Peer::Echo),
        ),
        at_most(
            "RPC: server CPU of a get by key ÷ tonic, unix, depth 64",
            0.6,
            ratio(Peer::Carrack, Peer::Tonic),
        ),
        at_most(
            "RPC: four hops and a read at 20 ms, ms",
            22.0,
            of(|results| chains(results, |chains| &chains.pipelined_ms)),
        ),
        Target {
            what: "RPC: streamed import at 20 ms, MB/s (or what the import itself takes)".into(),
            goal: Goal::AtLeast,
            target: limit.map_or(IMPORT_MB_LEAST, |limit| {
                limit.median.round().min(IMPORT_MB_LEAST)
            }),
            stretch: None,
            figure: of(|results| results.imports.iter().map(|i| i.slow / MB).collect()),
        },
        at_most(
            "RPC: server memory a connection that is idle, KiB",
            64.0,
            of(|results| results.idle.iter().map(|idle| idle.carrack / KIB).collect()),
        ),
    ]
}

fn chains(results: &RpcResults, kind: Kind) -> Vec<f64> {
    results.chains.iter().flat_map(kind).copied().collect()
}

impl ImportRound {
    /// Returns the MB a second that a core takes in without any RPC.
    fn limit_mb(&self) -> f64 {
        self.bytes as f64 / self.in_process.cpu_s / MB
    }
}

impl RpcResults {
    /// Returns ours ÷ theirs, of slices of the same round.
    fn ratio(
        &self,
        point: Point,
        ours: Peer,
        theirs: Peer,
        figure: impl Fn(&Load) -> f64,
    ) -> Option<Spread> {
        let of = |loads: &std::collections::BTreeMap<Peer, Load>| {
            Some(figure(loads.get(&ours)?) / figure(loads.get(&theirs)?))
        };
        Spread::of(self.gets.get(&point)?.iter().filter_map(of))
    }

    fn figures(&self, point: Point, peer: Peer, figure: impl Fn(&Load) -> f64) -> Option<Spread> {
        let loads = self.gets.get(&point)?.iter();
        Spread::of(loads.filter_map(|loads| loads.get(&peer).map(&figure)))
    }
}

/// Appends the section.
pub(crate) fn section(results: &RpcResults, out: &mut String) {
    *out += &format!(
        "\n## RPC, {}\n\nThe small records have {:.0} bytes on average. Peers that are not ours read the same store in their own process, and the \
         echo has bytes at hand. A get by key is one call; a hop and a read are two in one flight, with the record held it is one again. \
         tonic sends bytes and axum JSON; over HTTP/1.1 each call under way has a connection of its own.\n",
        rounds(results.imports.len()),
        results.value_bytes,
    );
    table(results, "server CPU a call, µs", out, |point, peer| {
        results.figures(point, peer, |load| load.cpu_us)
    });
    let others = [Peer::Echo, Peer::Tonic, Peer::Axum];
    *out += "\n| server CPU of a get by key ÷ | echo | tonic | axum JSON | hop and read ÷ echo | held ÷ echo |\n|---|---|---|---|---|---|\n";
    for point in results.gets.keys() {
        let ratio = |ours, theirs| results.ratio(*point, ours, theirs, |load| load.cpu_us);
        let cells = others
            .iter()
            .map(|theirs| cell(ratio(Peer::Carrack, *theirs)));
        let others_of_ours =
            [Peer::CarrackHop, Peer::CarrackHeld].map(|ours| cell(ratio(ours, Peer::Echo)));
        row(&name(*point), cells.chain(others_of_ours), out);
    }
    table(results, "calls a second", out, |point, peer| {
        results.figures(point, peer, |load| load.rate)
    });
    import_table(results, out);
    chain_table(results, out);
    idle_table(results, out);
}

fn name((payload, door, shape): Point) -> String {
    let Shape { connections, depth } = shape;
    format!(
        "{}, {}, {connections} × {depth}",
        payload.label(),
        door.label()
    )
}

fn table(
    results: &RpcResults,
    what: &str,
    out: &mut String,
    figure: impl Fn(Point, Peer) -> Option<Spread>,
) {
    let labels = Peer::ALL.map(Peer::label).join(" | ");
    let rules = "---|".repeat(Peer::ALL.len() + 1);
    *out += &format!("\n| {what} | {labels} |\n|{rules}\n");
    for point in results.gets.keys() {
        let median =
            |peer| figure(*point, peer).map_or("–".into(), |spread| number(spread.median));
        row(&name(*point), Peer::ALL.into_iter().map(median), out);
    }
}

fn import_table(results: &RpcResults, out: &mut String) {
    let of = |figure: fn(&ImportRound) -> f64| cell(Spread::of(results.imports.iter().map(figure)));
    *out += &format!(
        "\n| streamed import of {} bytes | MB/s |\n|---|---|\n",
        count(results.imports.first().map_or(0, |round| round.bytes))
    );
    let slow = format!("TCP, {} ms a round trip", RTT.as_millis());
    let rows: [(&str, ImportFigure); 5] = [
        ("unix", |round| round.unix / MB),
        ("TCP", |round| round.tcp / MB),
        (&slow, |round| round.slow / MB),
        ("in process, by its CPU time", ImportRound::limit_mb),
        ("in process, by the clock on the wall", |round| {
            round.bytes as f64 / round.in_process.wall_s / MB
        }),
    ];
    for (what, figure) in rows {
        row(what, [of(figure)].into_iter(), out);
    }
}

fn chain_table(results: &RpcResults, out: &mut String) {
    *out += &format!(
        "\n| store → repo → collection → record, and its read, at {} ms a round trip | ms |\n|---|---|\n",
        RTT.as_millis()
    );
    let rows: [(&str, Kind); 3] = [
        ("in one flight", |chains| &chains.pipelined_ms),
        ("each awaited", |chains| &chains.awaited_ms),
        ("one call that needs no other", |chains| &chains.one_call_ms),
    ];
    for (what, kind) in rows {
        row(
            what,
            [cell(Spread::of(chains(results, kind)))].into_iter(),
            out,
        );
    }
}

fn idle_table(results: &RpcResults, out: &mut String) {
    let of = |figure: fn(&IdleRound) -> f64| {
        cell(Spread::of(
            results.idle.iter().map(|round| figure(round) / KIB),
        ))
    };
    *out += &format!(
        "\n| resident memory a connection, of {} over unix, KiB | |\n|---|---|\n",
        count(results.connections_idle as u64)
    );
    row(
        "ours, logged in and answered once",
        [of(|round| round.carrack)].into_iter(),
        out,
    );
    row(
        "echo, answered once",
        [of(|round| round.echo)].into_iter(),
        out,
    );
}

/// Appends the rows of servers to the table of instructions.
pub(crate) fn served_rows(served: &[(Peer, f64)], out: &mut String) {
    for (peer, instructions) in served {
        let what = format!("served get, unix, depth 64: {}", peer.label());
        row(&what, [count(instructions.round() as u64)].into_iter(), out);
    }
}
