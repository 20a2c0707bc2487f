//! The status page as HTML: pure, without a script and without anything from elsewhere.
//!
//! Labels, handles and names are other people's words: each goes through [`text`], and nothing else does.

use std::fmt::Write;

use carrack_client::{GrantInfo, Limit, Operations, RepoInfo, Scope, Selection, StoreStats};
use carrack_schema::time::rfc3339;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::render::frame::{count, counted, verdict};
use crate::render::quote;

/// What the page shows.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// Of the gateway and its store.
    pub(super) version: String,
    pub(super) stats: Option<StoreStats>,
    /// The newest imports first.
    pub(super) repos: Vec<RepoInfo>,
    /// Whether there are repos that were not looked at.
    pub(super) more_repos: bool,
    /// None: whoever looks may not hand anything on, so there is nothing to see.
    pub(super) grants: Option<Vec<GrantInfo>>,
    pub(super) more_grants: bool,
    /// By tool and outcome.
    pub(super) calls: Vec<(String, &'static str, u64)>,
    pub(super) connections: usize,
    /// Microseconds since the Unix epoch.
    pub(super) now: i64,
}

/// Most rows of one table; a person reads no more.
pub(super) const ROWS_MAX: usize = 100;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
h1{font-size:1.4rem;margin:0}\
h2{font-size:1.1rem;margin:1.5rem 0 0;grid-column:1/-1}\
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}\
p,label{display:block;margin:.15rem 0 0;font-size:.9rem;overflow-wrap:anywhere}\
dl,section{display:grid;gap:.75rem;margin:0}\
dl{grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));margin-top:1rem}\
section{grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr))}\
dl div,article{border:1px solid #8886;border-radius:.5rem;padding:.5rem .75rem}\
dt,.more{font-size:.8rem;opacity:.75}\
dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}\
time{white-space:nowrap}\
meter{display:block;width:100%;height:.6rem}\
.over{border-style:dashed}";

/// Returns the policy that the page is served with: it may use its own style, and nothing else at all.
pub(super) fn policy() -> String {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Returns the page.
pub(super) fn html(status: &Status) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Carrack</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Carrack</h1>\n\
         <p>version {} · as of <time>{}</time></p>\n",
        text(&status.version),
        rfc3339(status.now)
    );
    out.push_str(&totals(status));
    out.push_str(&agents(status));
    out.push_str(&imports(status));
    out.push_str(&use_of_tools(status));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// Returns other people's words as they may stand in HTML, between tags or in quotes.
fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in quote::shorten(words, WORDS_CHARS_MAX).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Longest words shown whole: a label, and most DIDs.
const WORDS_CHARS_MAX: usize = 160;

fn totals(status: &Status) -> String {
    let mut facts = Vec::new();
    if let Some(stats) = &status.stats {
        facts.extend([
            ("repos", count(stats.repos)),
            ("records", count(stats.records)),
            ("on disk", bytes(stats.bytes_segments + stats.bytes_catalog)),
            ("imported", bytes(stats.bytes_in)),
            ("revisions", count(stats.revisions)),
            ("segment files", count(stats.segments)),
        ]);
    }
    facts.push(("agents connected", count(status.connections as u64)));
    let facts: Vec<_> = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"))
        .collect();
    let mut out = format!("<dl>\n{}</dl>\n", facts.concat());
    if let Some(stats) = status.stats.filter(|stats| stats.purges > 0) {
        let by = stats
            .purge_by
            .map_or("some time".to_owned(), |by| time(by, status.now));
        let line = format!(
            "<p>{} with something deleted will be rewritten, the first {by} at the latest</p>\n",
            counted(stats.purges, "segment file")
        );
        out.push_str(&line);
    }
    out
}

fn agents(status: &Status) -> String {
    let Some(grants) = &status.grants else {
        return section("Agents", &[], "not to be seen with this token");
    };
    let rows: Vec<_> = grants
        .iter()
        .take(ROWS_MAX)
        .map(|grant| agent(grant, status.now))
        .collect();
    let more = status.more_grants || grants.len() > ROWS_MAX;
    let title = if more { "Agents (not all)" } else { "Agents" };
    section(
        title,
        &rows,
        "none: `carrack grant create` makes a token for one",
    )
}

fn agent(grant: &GrantInfo, now: i64) -> String {
    let label = match grant.label.as_str() {
        "" => "without a label",
        label => label,
    };
    let is_over = grant.scope.expires <= now;
    let ends = match grant.scope.expires {
        Scope::NEVER => "does not expire".to_owned(),
        at if is_over => format!("expired {}", time(at, now)),
        at => format!("expires {}", time(at, now)),
    };
    let use_of_it = match grant.usage.last_used {
        None => "<p>never used</p>".to_owned(),
        Some(at) => format!(
            "<p>used {} · {} refused</p>\n{}{}",
            time(at, now),
            counted(grant.usage.refused, "call"),
            used("calls", grant.usage.calls, grant.scope.calls.total, count),
            used("bytes", grant.usage.bytes, grant.scope.bytes.total, bytes),
        ),
    };
    format!(
        "<article{}>\n<h3>{}</h3>\n{use_of_it}<p>may {} · {} · {} · {ends}</p>\n\
         <p class=\"more\">{} · {} · grant {}</p>\n</article>\n",
        if is_over { " class=\"over\"" } else { "" },
        text(label),
        operations(grant.scope.may),
        selection(&grant.scope.repos, "repo"),
        selection(&grant.scope.collections, "collection"),
        counted(u64::from(grant.sessions), "open session"),
        counted(u64::from(grant.tokens), "token"),
        text(&grant.id)
    )
}

fn operations(may: Operations) -> String {
    let names: Vec<_> = [
        (may.read, "read"),
        (may.list, "list"),
        (may.search, "search"),
        (may.blobs, "blobs"),
        (may.prove, "prove"),
        (may.export, "export"),
        (may.import, "import"),
        (may.delete, "delete"),
        (may.grant, "grant"),
        (may.maintain, "maintain"),
    ]
    .into_iter()
    .filter_map(|(is_set, name)| is_set.then_some(name))
    .collect();
    match names.as_slice() {
        [] => "do nothing".to_owned(),
        names => names.join(", "),
    }
}

fn selection(selection: &Selection, noun: &str) -> String {
    match selection {
        Selection::None => format!("no {noun}s"),
        Selection::All => format!("all {noun}s"),
        Selection::Only(names) => match names.as_slice() {
            [name] => text(name),
            names => counted(names.len() as u64, noun),
        },
    }
}

/// Returns what was used of how much, with a bar if that is bounded.
fn used(what: &str, used: u64, of: Limit, show: impl Fn(u64) -> String) -> String {
    match of {
        Limit::None => format!("<p>{what} {} of none</p>\n", show(used)),
        Limit::AtMost(most) => format!(
            "<label>{what} {} of {} <meter max=\"{most}\" value=\"{used}\"></meter></label>\n",
            show(used),
            show(most)
        ),
        Limit::Unlimited => format!("<p>{what} {}</p>\n", show(used)),
    }
}

/// Returns when something was or will be, as people say it; times far away by their date.
fn time(at: i64, now: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    const DAYS_MAX: i64 = 60;
    let exact = rfc3339(at);
    let seconds = at.saturating_sub(now) / 1_000_000;
    let (away, is_past) = (seconds.saturating_abs(), at <= now);
    let unit = UNITS.iter().find(|(unit, _)| away >= *unit);
    let words = match unit {
        _ if away > DAYS_MAX * 86_400 => exact.split('T').next().unwrap_or(&exact).to_owned(),
        None if is_past => "just now".to_owned(),
        None => "in a moment".to_owned(),
        Some((unit, name)) => {
            let much = counted((away / unit).unsigned_abs(), name);
            match is_past {
                true => format!("{much} ago"),
                false => format!("in {much}"),
            }
        }
    };
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{words}</time>")
}

fn imports(status: &Status) -> String {
    let rows: Vec<_> = {
        let repos = status.repos.iter().take(ROWS_MAX);
        repos.map(|each| repo(each, status.now)).collect()
    };
    let title = match status.more_repos {
        true => "Repos, last imported first (some were not looked at)",
        false => "Repos, last imported first",
    };
    section(
        title,
        &rows,
        "none: `carrack import FILE.car` adds an account",
    )
}

fn repo(repo: &RepoInfo, now: i64) -> String {
    let handle = match repo.handle.as_str() {
        "" => String::new(),
        handle => format!(" · claims {}", text(handle)),
    };
    let hidden = match repo.status.as_str() {
        "" => String::new(),
        status => format!(" · hidden: {}", text(status)),
    };
    format!(
        "<article>\n<h3>{}</h3>\n<p>{} · {} of CAR · imported {}</p>\n<p>{}{handle}{hidden}</p>\n\
         <p class=\"more\">rev {}</p>\n</article>\n",
        text(&repo.source.did),
        counted(repo.records, "record"),
        bytes(repo.bytes_in),
        time(repo.imported, now),
        text(verdict(repo.source.verdict.as_str())),
        text(&repo.source.rev)
    )
}

fn use_of_tools(status: &Status) -> String {
    let rows: Vec<_> = status
        .calls
        .iter()
        .map(|(tool, outcome, calls)| {
            let tool = if tool.is_empty() {
                "no such tool"
            } else {
                tool
            };
            let calls = counted(*calls, "call");
            format!("<p>{} · {outcome} · {calls}</p>\n", text(tool))
        })
        .collect();
    section("Tool calls since the start", &rows, "none")
}

fn section(title: &str, rows: &[String], none: &str) -> String {
    let mut out = format!("<section>\n<h2>{title}</h2>\n");
    if rows.is_empty() {
        // Writing to a string does not fail.
        let _written = writeln!(out, "<p>{none}</p>");
    }
    out.push_str(&rows.concat());
    out.push_str("</section>\n");
    out
}

/// Returns a size as people read it.
fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut shown = format!("{bytes} B");
    for unit in units {
        if size < 1_024.0 {
            break;
        }
        size /= 1_024.0;
        shown = format!("{size:.1} {unit}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use carrack_client::{Source, Usage, Verdict};
    use carrack_schema::cid::{Cid, Codec};

    use super::*;

    const HOSTILE: &str = "</p><script>alert('1')</script>\" onload=\"x\n\u{202e}evil & co";
    const NOW: i64 = 1_790_000_000_000_000;

    fn repo() -> RepoInfo {
        RepoInfo {
            source: Source {
                did: "did:plc:rilb2cohzwgttp7xjllpyq2i".into(),
                rev: "3n2v4k6owr72x".into(),
                commit: Cid::new(Codec::DagCbor, [7; 32]),
                verdict: Verdict::Unchecked,
            },
            records: 23,
            bytes_in: 12_345,
            bytes_stored: 6_789,
            imported: NOW - 3_600_000_000,
            missing: 0,
            invalid: 0,
            handle: HOSTILE.into(),
            status: String::new(),
        }
    }

    fn grant(label: &str, scope: Scope, usage: Usage) -> GrantInfo {
        GrantInfo {
            id: "01JZZZZZZZZZZZZZZZZZZZZZZZ".into(),
            parent: String::new(),
            label: label.into(),
            scope,
            created: NOW,
            usage,
            tokens: 1,
            sessions: 1,
        }
    }

    fn status() -> Status {
        let used = Usage {
            calls: 1_234,
            bytes: 5 << 20,
            last_used: Some(NOW - 1_000_000),
            refused: 2,
        };
        let reader = Scope::none()
            .repo("did:plc:rilb2cohzwgttp7xjllpyq2i")
            .all_collections()
            .read()
            .list()
            .calls(10_000)
            .unlimited_bytes()
            .expires_at(NOW + 1);
        let over = Scope::none().all_repos().expires_at(NOW);
        Status {
            version: "0.1.0".into(),
            stats: Some(StoreStats {
                repos: 1,
                records: 23,
                revisions: 1,
                bytes_in: 12_345,
                segments: 2,
                bytes_segments: 3 << 30,
                purges: 1,
                purge_by: Some(NOW),
                ..StoreStats::default()
            }),
            repos: vec![repo()],
            grants: Some(vec![
                grant("summariser", reader, used),
                grant(HOSTILE, over, Usage::default()),
            ]),
            calls: vec![("at_get".into(), "ok", 2), (String::new(), "unknown", 1)],
            connections: 1,
            now: NOW,
            ..Status::default()
        }
    }

    #[test]
    fn the_page_is_this() {
        insta::assert_snapshot!(html(&status()));
    }

    #[test]
    fn an_empty_page_is_this() {
        insta::assert_snapshot!(html(&Status::default()));
    }

    #[test]
    fn other_peoples_words_are_words() {
        let page = html(&status());
        assert_eq!(page.matches("<script").count(), 0);
        assert!(
            !page.contains('\u{202e}') && !page.contains("onload=\""),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
    }

    #[test]
    fn rows_are_bounded() {
        let many = Status {
            repos: vec![repo(); ROWS_MAX + 1],
            ..status()
        };
        assert_eq!(html(&many).matches("<h3>did:plc").count(), ROWS_MAX);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        const SECOND: i64 = 1_000_000;
        for (seconds, said) in [
            (0, "just now"),
            (-59, "just now"),
            (59, "in a moment"),
            (-60, "1 minute ago"),
            (-3_599, "59 minutes ago"),
            (3_600, "in 1 hour"),
            (-86_400 * 2, "2 days ago"),
            (86_400 * 60, "in 60 days"),
            (86_400 * 61, "2026-11-21"),
            (-86_400 * 400, "2025-08-17"),
        ] {
            let shown = time(NOW + seconds * SECOND, NOW);
            assert!(
                shown.ends_with(&format!("\">{said}</time>")),
                "{seconds}: {shown}"
            );
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert!(time(extreme, NOW).contains("<time"), "{extreme}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (size, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (3 << 30, "3.0 GiB"),
            (5 << 50, "5120.0 TiB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }
}
