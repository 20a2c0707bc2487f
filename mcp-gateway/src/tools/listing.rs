//! What `at_list` is asked for: its arguments, and the store's listing they name.

use carrack_client::{CollectionInfo, Found, Page, PageRequest, Range};
use carrack_schema::{Code, Nsid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{self, Format};
use super::list::NAME;
use crate::answer::Refusal;
use crate::lately::Lately;
use crate::refs::Ref;
use crate::render::record::{self, Style};
use crate::when;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// Account: DID, known handle, at-uri or bsky.app URL
    pub(super) actor: String,
    /// NSID, e.g. app.bsky.feed.post; default: all, ordered by path
    pub(super) collection: Option<String>,
    /// Made at this UTC time or later, e.g. 2026-01-31 or 2026-01-31T12:00Z; for records keyed by time
    pub(super) since: Option<String>,
    /// Made before this time
    pub(super) until: Option<String>,
    /// Only keys that start with this
    pub(super) rkey_prefix: Option<String>,
    /// Earlier revision to read at
    pub(super) rev: Option<String>,
    /// By record key
    #[serde(default)]
    order: Order,
    /// Most rows
    #[serde(default = "common::limit_default")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: u32,
    /// From the page before; all else as it was
    pub(super) cursor: Option<String>,
    /// Only these paths, e.g. text, reply.parent.uri; default: all
    #[serde(default)]
    #[schemars(extend("default" = null))]
    pub(super) fields: Vec<String>,
    /// full shows the whole JSON
    #[serde(default)]
    pub(super) format: Format,
    /// Most bytes of the answer
    #[serde(default = "common::max_bytes_default")]
    #[schemars(range(min = 1024, max = 65536))]
    pub(super) max_bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Newest,
    Oldest,
}

/// A listing, and how it is shown.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) did: String,
    pub(super) collection: Option<String>,
    range: Range,
    pub(super) limit: u32,
    pub(super) bytes_max: usize,
    pub(super) style: Style,
    fields: Vec<String>,
    /// Of each record only that is read which is shown of its type.
    pub(super) is_part: bool,
    pub(super) rev: Option<String>,
    pub(super) filtered: bool,
}

impl Listing {
    /// Returns the listing that the arguments name; a collection that is no NSID comes back as its text.
    pub(super) fn of(
        reference: &Ref,
        arguments: &Arguments,
    ) -> Result<Result<Self, String>, Refusal> {
        let named = reference.0.collection.as_ref().map(ToString::to_string);
        let collection = match (&arguments.collection, named) {
            (Some(text), _) if text.parse::<Nsid>().is_err() => return Ok(Err(text.clone())),
            (Some(text), _) => Some(text.clone()),
            (None, named) => named,
        };
        let range = range(arguments)?;
        let filtered = !range.from.is_empty() || !range.before.is_empty();
        if filtered && collection.is_none() {
            let why = "since, until and rkey_prefix filter by record key, within one collection";
            return Err(Refusal::new(Code::InvalidArgument, "filtering a whole repo", why).example(
                NAME,
                &json!({ "actor": reference.did().as_str(), "collection": "app.bsky.feed.post", "since": "2026-01-01" }),
            ));
        }
        common::fields(&arguments.fields)?;
        common::rev(arguments.rev.as_deref())?;
        let style = common::style(Style::Digest, arguments.format, &arguments.fields);
        let shown = match &collection {
            Some(nsid) if style == Style::Digest => record::fields(nsid),
            _ => &[],
        };
        let mut fields = arguments.fields.clone();
        fields.extend(shown.iter().map(|&path| path.to_owned()));
        Ok(Ok(Self {
            did: reference.did().to_string(),
            collection,
            range,
            limit: common::limit(arguments.limit)?,
            bytes_max: common::max_bytes(arguments.max_bytes)?,
            style,
            fields,
            is_part: !shown.is_empty(),
            rev: arguments.rev.clone(),
            filtered,
        }))
    }

    /// Returns one page and the repo's collections, in one flight.
    pub(super) async fn read(
        &self,
        lately: &Lately,
        request: PageRequest,
    ) -> carrack_client::Result<(Found<Page>, Found<Vec<CollectionInfo>>)> {
        let (did, rev) = (self.did.as_str(), self.rev.as_deref());
        let repo = lately.repo(did, rev);
        let want = common::want(&self.fields);
        let listing = match &self.collection {
            Some(nsid) => {
                let collection = lately.collection(did, rev, nsid);
                collection.list(self.range.clone(), want)
            }
            None => repo.list(self.range.clone(), want),
        };
        futures::try_join!(listing.page(request), repo.collections())
    }

    /// Reads all of each record from now on.
    pub(super) fn read_all(&mut self) {
        self.fields.clear();
        self.is_part = false;
    }

    pub(super) fn uri(&self) -> String {
        match &self.collection {
            Some(collection) => format!("at://{}/{collection}", self.did),
            None => format!("at://{}", self.did),
        }
    }
}

fn range(arguments: &Arguments) -> Result<Range, Refusal> {
    let key = |name: &str, text: &Option<String>| match text.as_deref().map(when::micros) {
        None => Ok(String::new()),
        Some(Some(micros)) => Ok(when::first_key(micros)),
        Some(None) => Err(Refusal::new(
            Code::InvalidArgument,
            format!("reading {name}"),
            "a time is a date or a date and time, in UTC",
        )
        .hint(format!(
            "{name}=\"2026-01-31\" or {name}=\"2026-01-31T12:00:00Z\""
        ))),
    };
    let mut range = Range {
        from: key("since", &arguments.since)?,
        before: key("until", &arguments.until)?,
        reverse: arguments.order == Order::Newest,
    };
    if let Some(prefix) = arguments
        .rkey_prefix
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        range.from = range.from.max(prefix.to_owned());
        // Keys are ASCII, so DEL is above every character that can follow the prefix.
        let end = format!("{prefix}\u{7f}");
        range.before = match range.before.is_empty() {
            true => end,
            false => range.before.min(end),
        };
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(json: serde_json::Value) -> Arguments {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn filters_become_a_range_of_keys() {
        for (json, from, before) in [
            (json!({}), "", ""),
            (json!({ "since": "1970-01-01" }), "2222222222222", ""),
            (json!({ "until": "1970-01-01" }), "", "2222222222222"),
            (json!({ "rkey_prefix": "3k" }), "3k", "3k\u{7f}"),
            (
                json!({ "rkey_prefix": "3k", "since": "2026-01-01" }),
                "3m",
                "3k\u{7f}",
            ),
            (json!({ "rkey_prefix": "" }), "", ""),
        ] {
            let mut json = json;
            json["actor"] = "did:plc:a".into();
            let range = range(&arguments(json.clone())).unwrap();
            assert!(range.from.starts_with(from), "{json}: {range:?}");
            assert_eq!(range.before, before, "{json}");
            assert!(range.reverse);
        }
        let refused = range(&arguments(json!({ "actor": "x", "since": "today" }))).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[test]
    fn a_collection_may_be_named_by_the_actor() {
        let of = |json| {
            let arguments = arguments(json);
            let reference = Ref::parse(&arguments.actor).unwrap();
            Listing::of(&reference, &arguments).map(|listing| listing.map(|l| l.uri()))
        };
        assert_eq!(
            of(json!({ "actor": "did:plc:a,x.y.z" })).unwrap(),
            Ok("at://did:plc:a/x.y.z".into())
        );
        assert_eq!(
            of(json!({ "actor": "did:plc:a,x.y.z", "collection": "u.v.w" })).unwrap(),
            Ok("at://did:plc:a/u.v.w".into())
        );
        assert_eq!(
            of(json!({ "actor": "did:plc:a", "collection": "posts" })).unwrap(),
            Err("posts".into())
        );
        assert!(of(json!({ "actor": "did:plc:a", "since": "2026-01-01" })).is_err());
    }
}
