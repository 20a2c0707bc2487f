//! Names (SX1): the lists of what is one and what is none.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use carrack_schema::names::{Handle, RepoName};
use carrack_schema::{AtUri, Cid, Did, Nsid, RecordKey, RecordPath, Tid};

use crate::places::{committed, text};
use crate::tally::Tally;

/// Returns the vectors of a list. A line that begins with `#` and a space is a comment; spaces at either end are meant.
fn lines(name: &str) -> Vec<String> {
    let text = text(committed(&format!(
        "atproto-interop-tests/syntax/{name}.txt"
    )));
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.map(str::to_owned).collect()
}

/// Checks both lists of a type, and that what was parsed has the text it was parsed from.
fn check<T: FromStr<Err: Debug> + Display>(family: &'static str, vectors_count: usize) {
    let mut tally = Tally::new(family);
    let name = family.rsplit('/').next().unwrap();
    for line in lines(&format!("{name}_syntax_valid")) {
        match line.parse::<T>() {
            Ok(parsed) => assert_eq!(parsed.to_string(), line),
            Err(error) => panic!("{family} `{line}`: {error:?}"),
        }
        tally.pass();
    }
    for line in lines(&format!("{name}_syntax_invalid")) {
        assert!(line.parse::<T>().is_err(), "{family} `{line}`");
        tally.pass();
    }
    tally.finish(vectors_count, 0);
}

#[test]
fn dids() {
    check::<Did>("syntax/did", 42);
}

#[test]
fn handles() {
    check::<Handle>("syntax/handle", 119);
}

#[test]
fn dids_and_handles_as_names_of_repos() {
    check::<RepoName>("syntax/atidentifier", 33);
}

#[test]
fn nsids() {
    check::<Nsid>("syntax/nsid", 52);
}

#[test]
fn record_keys() {
    check::<RecordKey>("syntax/recordkey", 28);
}

#[test]
fn tids() {
    check::<Tid>("syntax/tid", 13);
}

/// An AT-URI as the command line takes it: a handle may stand for the DID.
struct AnyUri(String);

impl FromStr for AnyUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("at://").ok_or("scheme")?;
        let (authority, path) = match rest.split_once('/') {
            None => (rest, None),
            Some((authority, path)) => (authority, Some(path)),
        };
        let name = authority
            .parse::<RepoName>()
            .map_err(|error| error.to_string())?;
        let Some(path) = path else {
            return Ok(Self(format!("at://{name}")));
        };
        let path = match path.contains('/') {
            true => path.parse::<RecordPath>().map(|path| path.to_string()),
            false => path.parse::<Nsid>().map(|nsid| nsid.to_string()),
        };
        let path = path.map_err(|error| error.to_string())?;
        Ok(Self(format!("at://{name}/{path}")))
    }
}

impl Display for AnyUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[test]
fn at_uris() {
    check::<AnyUri>("syntax/aturi", 96);
    // The type takes DIDs alone, and of those exactly the same ones.
    for list in ["aturi_syntax_valid", "aturi_syntax_invalid"] {
        for line in lines(list) {
            let of_did = line.starts_with("at://did:");
            assert_eq!(
                line.parse::<AtUri>().is_ok(),
                of_did && line.parse::<AnyUri>().is_ok(),
                "{line}"
            );
        }
    }
}

#[test]
fn cids() {
    let mut tally = Tally::new("syntax/cid");
    for line in lines("cid_syntax_valid") {
        assert!(line.parse::<Cid>().is_err(), "{line}");
        tally.set_aside(
            "a CID of another base, codec or hash than the one form that repositories use: kept as bytes, never parsed",
        );
    }
    for line in lines("cid_syntax_invalid") {
        assert!(line.parse::<Cid>().is_err(), "{line}");
        tally.pass();
    }
    tally.finish(10, 8);
}

#[test]
fn what_carrack_never_parses() {
    let mut tally = Tally::new("syntax/datetime, uri, language");
    for (list, reason) in [
        ("datetime_syntax_valid", "times in records are text"),
        ("datetime_syntax_invalid", "times in records are text"),
        ("datetime_parse_invalid", "times in records are text"),
        ("uri_syntax_valid", "URIs in records are text"),
        ("uri_syntax_invalid", "URIs in records are text"),
        ("language_syntax_valid", "languages in records are text"),
        ("language_syntax_invalid", "languages in records are text"),
        ("language_parse_invalid", "languages in records are text"),
    ] {
        for _ in lines(list) {
            tally.set_aside(reason);
        }
    }
    tally.finish(0, 138);
}
