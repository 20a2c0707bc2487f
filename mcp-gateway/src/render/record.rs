//! One record on one line: what the gateway vouches for first, then `> ` and what a third party wrote.
//!
//! The generic form (see `digest`) serves any lexicon. A few types have a form of their own because it is shorter or
//! says more: a post's text, what a like or a follow points at.

use carrack_schema::{AtUri, Did, Value};

use super::{digest, quote};

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One readable line; long texts of unknown types are shortened, and say so.
    Digest,
    /// The same, without what it answers, which stands above it.
    Reply,
    /// All of the value as JSON.
    Json,
}

/// Returns a record's line, without its key.
pub fn line(collection: &str, value: &Value, style: Style) -> String {
    let (facts, quoted) = match style {
        Style::Json => (String::new(), json(value)),
        Style::Digest => digest(collection, value, true),
        Style::Reply => digest(collection, value, false),
    };
    match (facts.is_empty(), quoted.is_empty()) {
        (_, true) => facts,
        (true, false) => format!("> {quoted}"),
        (false, false) => format!("{facts} > {quoted}"),
    }
}

/// Returns a value of a record in short, on its own.
pub fn short(value: &Value) -> String {
    digest::digest(value)
}

fn json(value: &Value) -> String {
    match serde_json::to_string(value) {
        Ok(text) => quote::json(&text),
        // Map keys are text and writing to memory does not fail, so this is for the compiler.
        Err(error) => quote::inline(&error.to_string()),
    }
}

/// Returns the facts, in which nothing is free text, and the third party's words.
fn digest(collection: &str, value: &Value, names_parent: bool) -> (String, String) {
    let mut facts: Vec<String> = time(value).into_iter().collect();
    let known = match collection {
        "app.bsky.feed.post" => post(value, names_parent, &mut facts),
        "app.bsky.feed.like" | "app.bsky.feed.repost" => {
            uri_at(value, &["subject", "uri"]).map(|uri| (facts.push(uri), String::new()).1)
        }
        "app.bsky.graph.follow" | "app.bsky.graph.block" => {
            did_at(value, "subject").map(|did| (facts.push(did), String::new()).1)
        }
        "app.bsky.actor.profile" => profile(value),
        _ => None,
    };
    // A record that breaks its lexicon still shows all it has.
    let quoted = known.unwrap_or_else(|| digest::digest(value));
    (facts.join(" · "), quoted)
}

fn post(value: &Value, names_parent: bool, facts: &mut Vec<String>) -> Option<String> {
    let text = value.get("text")?.as_text()?;
    let mut quoted = quote::inline(text);
    if names_parent && let Some(parent) = uri_at(value, &["reply", "parent", "uri"]) {
        facts.push(format!("reply to {parent}"));
    }
    if let Some(embed) = value.get("embed") {
        self::embed(embed, facts, &mut quoted);
    }
    Some(quoted)
}

fn embed(embed: &Value, facts: &mut Vec<String>, quoted: &mut String) {
    let text = |value: &Value, key: &str| {
        let text = value.get(key).and_then(Value::as_text).unwrap_or_default();
        quote::shorten(&quote::inline(text), EMBED_CHARS_MAX)
    };
    match embed.get("$type").and_then(Value::as_text) {
        Some("app.bsky.embed.images") => {
            let Some(Value::List(images)) = embed.get("images") else {
                return;
            };
            facts.push(super::frame::counted(images.len() as u64, "image"));
            for alt in images.iter().map(|image| text(image, "alt")) {
                if !alt.is_empty() {
                    quoted.push_str(&format_note("image", &alt));
                }
            }
        }
        Some("app.bsky.embed.video") => facts.push("video".to_owned()),
        Some("app.bsky.embed.external") => {
            if let Some(external) = embed.get("external") {
                let link = format!("{} {}", text(external, "uri"), text(external, "title"));
                quoted.push_str(&format_note("link", link.trim_end()));
            }
        }
        Some("app.bsky.embed.record") => {
            if let Some(uri) = uri_at(embed, &["record", "uri"]) {
                facts.push(format!("quotes {uri}"));
            }
        }
        Some("app.bsky.embed.recordWithMedia") => {
            for part in ["record", "media"] {
                if let Some(part) = embed.get(part) {
                    self::embed(part, facts, quoted);
                }
            }
        }
        _ => facts.push("embed of another type".to_owned()),
    }
}

/// Longest piece of an embed that is shown, in characters.
const EMBED_CHARS_MAX: usize = 200;

fn format_note(kind: &str, words: &str) -> String {
    format!(" [{kind}: {words}]")
}

fn profile(value: &Value) -> Option<String> {
    let text = |key| {
        value
            .get(key)
            .and_then(Value::as_text)
            .filter(|text| !text.is_empty())
    };
    let (name, description) = (text("displayName"), text("description"));
    if name.is_none() && description.is_none() {
        return None;
    }
    Some(quote::inline(&match (name, description) {
        (Some(name), Some(description)) => format!("{name} — {description}"),
        (one, other) => one.or(other).unwrap_or_default().to_owned(),
    }))
}

/// Returns `createdAt` if it is a time: the record's own claim, to the second.
fn time(value: &Value) -> Option<String> {
    let text = value.get("createdAt")?.as_text()?;
    let looks_like_time = text.len() <= 40
        && text.len() >= 19
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-:.TZ+".contains(&b));
    if !looks_like_time {
        return None;
    }
    match text.split_once('.') {
        // A zone that is not UTC stays behind the fraction that is cut.
        Some((seconds, fraction)) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            Some(format!("{seconds}{zone}"))
        }
        None => Some(text.to_owned()),
    }
}

/// Returns an AT-URI found along a path; anything else there is free text and no fact.
fn uri_at(value: &Value, path: &[&str]) -> Option<String> {
    let mut value = value;
    for key in path {
        value = value.get(key)?;
    }
    let uri: AtUri = value.as_text()?.parse().ok()?;
    Some(uri.to_string())
}

fn did_at(value: &Value, key: &str) -> Option<String> {
    let did: Did = value.get(key)?.as_text()?.parse().ok()?;
    Some(did.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    const TIME: &str = "2026-01-01T00:14:14.123Z";
    const POST: &str = "at://did:plc:a/app.bsky.feed.post/3k";

    fn reference(uri: &str) -> Value {
        map([("cid", text("bafy")), ("uri", text(uri))])
    }

    #[test]
    fn known_types_read_well() {
        let images = |alt: &str| {
            map([
                ("$type", text("app.bsky.embed.images")),
                ("images", Value::List(vec![map([("alt", text(alt))])])),
            ])
        };
        let quote = map([
            ("$type", text("app.bsky.embed.record")),
            ("record", reference(POST)),
        ]);
        for (collection, value, expected) in [
            (
                "app.bsky.feed.post",
                map([("text", text("hello\nworld")), ("createdAt", text(TIME))]),
                "2026-01-01T00:14:14Z > hello ⏎ world".to_owned(),
            ),
            (
                "app.bsky.feed.post",
                map([
                    ("text", text("yes")),
                    ("reply", map([("parent", reference(POST))])),
                    ("createdAt", text("2026-01-01T00:14:14+02:00")),
                ]),
                format!("2026-01-01T00:14:14+02:00 · reply to {POST} > yes"),
            ),
            (
                "app.bsky.feed.post",
                map([("text", text("look")), ("embed", images("a cat"))]),
                "1 image > look [image: a cat]".to_owned(),
            ),
            (
                "app.bsky.feed.post",
                map([("text", text("")), ("embed", images(""))]),
                "1 image".to_owned(),
            ),
            (
                "app.bsky.feed.post",
                map([
                    ("text", text("both")),
                    (
                        "embed",
                        map([
                            ("$type", text("app.bsky.embed.recordWithMedia")),
                            ("media", images("x")),
                            ("record", quote),
                        ]),
                    ),
                ]),
                format!("quotes {POST} · 1 image > both [image: x]"),
            ),
            (
                "app.bsky.feed.post",
                map([
                    ("text", text("read")),
                    (
                        "embed",
                        map([
                            ("$type", text("app.bsky.embed.external")),
                            (
                                "external",
                                map([("uri", text("https://e.x/a")), ("title", text("A"))]),
                            ),
                        ]),
                    ),
                ]),
                "> read [link: https://e.x/a A]".to_owned(),
            ),
            (
                "app.bsky.feed.like",
                map([("subject", reference(POST)), ("createdAt", text(TIME))]),
                format!("2026-01-01T00:14:14Z · {POST}"),
            ),
            (
                "app.bsky.graph.follow",
                map([("subject", text("did:plc:b")), ("createdAt", text(TIME))]),
                "2026-01-01T00:14:14Z · did:plc:b".to_owned(),
            ),
            (
                "app.bsky.actor.profile",
                map([("displayName", text("Ann")), ("description", text("a\nb"))]),
                "> Ann — a ⏎ b".to_owned(),
            ),
            (
                "com.example.thing",
                map([("n", Value::Int(42)), ("s", text("x"))]),
                "> n=42 · s=\"x\"".to_owned(),
            ),
        ] {
            assert_eq!(line(collection, &value, Style::Digest), expected);
        }
    }

    /// Free text where a fact belongs must not be shown as one.
    #[test]
    fn what_breaks_its_lexicon_is_quoted() {
        for (collection, value) in [
            ("app.bsky.feed.post", map([("text", Value::Int(1))])),
            (
                "app.bsky.feed.like",
                map([("subject", reference("evil\nline"))]),
            ),
            (
                "app.bsky.graph.follow",
                map([("subject", text("ignore all"))]),
            ),
            (
                "app.bsky.feed.repost",
                map([("createdAt", text("see: this"))]),
            ),
            ("app.bsky.actor.profile", map([("x", Value::Null)])),
        ] {
            let line = line(collection, &value, Style::Digest);
            assert!(line.starts_with("> "), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn json_is_whole_and_on_one_line() {
        let value = map([("text", text("a\nb\u{2028}"))]);
        assert_eq!(
            line("app.bsky.feed.post", &value, Style::Json),
            r#"> {"text":"a\nb\u2028"}"#
        );
    }
}
