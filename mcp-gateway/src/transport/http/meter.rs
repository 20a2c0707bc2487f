//! [`Meter`]: what the gateway did since it was started, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use carrack_client::StoreStats;

/// Counts of HTTP.
#[derive(Debug, Default)]
pub(super) struct Meter {
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What the holders of tokens came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connections {
    /// RPC connections of live grants.
    pub(super) live: usize,
    /// Tokens that the store restored.
    pub(super) restored: u64,
    /// Tokens that it refused, or could not be shown.
    pub(super) refused: u64,
}

/// The paths that are counted by name; all others are one.
const PATHS: [&str; 6] = [
    "/mcp",
    "/",
    "/metrics",
    "/healthz",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
];

impl Meter {
    /// Counts an answer.
    pub(super) fn answered(&self, path: &str, status: u16) {
        let path = PATHS.iter().find(|known| **known == path);
        let path = path.copied().unwrap_or("other");
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((path, status)).or_default() += 1;
    }

    /// Counts bytes of a request to `/mcp`.
    pub(super) fn took(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of an answer of it.
    pub(super) fn gave(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the counts as text, with those of tool calls and what the store says of itself.
    pub(super) fn text(
        &self,
        calls: &[(String, &'static str, u64)],
        connections: Connections,
        store: Option<&StoreStats>,
    ) -> String {
        let mut out = Text::default();
        out.family("http_requests_total", "counter", "HTTP requests answered.");
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for ((path, status), count) in &*answers {
            let labels = [("path", *path), ("status", &status.to_string())];
            out.sample("http_requests_total", &labels, count);
        }
        drop(answers);
        out.family("http_bytes_total", "counter", "Bytes of bodies of /mcp.");
        for (way, bytes) in [("in", &self.bytes_in), ("out", &self.bytes_out)] {
            let bytes = bytes.load(Ordering::Relaxed);
            out.sample("http_bytes_total", &[("way", way)], bytes);
        }
        out.family("tool_calls_total", "counter", "Tool calls, by outcome.");
        for (tool, outcome, count) in calls {
            let labels = [("tool", tool.as_str()), ("outcome", outcome)];
            out.sample("tool_calls_total", &labels, count);
        }
        out.family(
            "rpc_connections",
            "gauge",
            "RPC connections of live grants.",
        );
        out.sample("rpc_connections", &[], connections.live);
        out.family("tokens_total", "counter", "Tokens shown to the store.");
        out.sample(
            "tokens_total",
            &[("outcome", "restored")],
            connections.restored,
        );
        out.sample(
            "tokens_total",
            &[("outcome", "refused")],
            connections.refused,
        );
        if let Some(stats) = store {
            out.store(stats);
        }
        out.0
    }
}

/// The exposition format, version 0.0.4.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP carrack_{name} {help}"));
        self.line(format_args!("# TYPE carrack_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            // All are names of ours: nothing in them needs an escape.
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        self.line(format_args!("carrack_{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = self.0.write_fmt(format_args!("{line}\n"));
    }

    fn store(&mut self, stats: &StoreStats) {
        for (name, help, value) in [
            ("store_repos", "Repositories held.", stats.repos),
            (
                "store_records",
                "Records of their current revisions.",
                stats.records,
            ),
            ("store_revisions", "Revisions held.", stats.revisions),
            (
                "store_imported_bytes",
                "Bytes of the CARs they came from.",
                stats.bytes_in,
            ),
            ("store_segments", "Segment files.", stats.segments),
            (
                "store_segment_bytes",
                "Bytes of segment files.",
                stats.bytes_segments,
            ),
            (
                "store_catalog_bytes",
                "Bytes of the catalog.",
                stats.bytes_catalog,
            ),
            (
                "store_purges",
                "Segment files to be rewritten for a deletion.",
                stats.purges,
            ),
        ] {
            self.family(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_this() {
        let meter = Meter::default();
        for (path, status) in [("/mcp", 200), ("/mcp", 200), ("/mcp", 401), ("/\"x\n", 404)] {
            meter.answered(path, status);
        }
        meter.took(100);
        meter.gave(2_000);
        let calls = [
            ("at_get".to_owned(), "ok", 2),
            (String::new(), "unknown", 1),
        ];
        let connections = Connections {
            live: 1,
            restored: 2,
            refused: 3,
        };
        let stats = StoreStats {
            repos: 1,
            records: 23,
            ..StoreStats::default()
        };
        insta::assert_snapshot!(meter.text(&calls, connections, Some(&stats)));
        let without = meter.text(&calls, connections, None);
        assert!(!without.contains("carrack_store"), "{without}");
    }
}
