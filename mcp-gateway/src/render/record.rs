//! One record on one line: what the gateway vouches for first, then `> ` and what a third party wrote.
//!
//! The generic form (see `digest`) serves any lexicon. A few types have a form of their own because it is shorter or
//! says more: a post's text, what a like or a follow points at.

use carrack_schema::{AtUri, Did, Value};

use super::digest::Digest;
use super::quote;

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One readable line among many: long texts are shortened, and say so.
    Digest,
    /// The same with a post's text or a profile's whole; those of unknown types are shortened.
    Whole,
    /// The same, without what it answers, which stands above it.
    Reply,
    /// All of the value as JSON.
    Json,
}

/// A record's line, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line.
    pub text: String,
    /// Whether something of the record was left out of it because it is long.
    pub is_cut: bool,
    /// Whether it shows whatever the record has, since that is not of a known type's form.
    pub is_generic: bool,
}

impl Line {
    /// Returns the line of a row that begins with what it is about.
    #[must_use]
    pub fn after(self, start: &str) -> Self {
        Self {
            text: row(start, &self.text),
            ..self
        }
    }

    /// Makes a line that says all there is to say.
    pub fn whole(text: String) -> Self {
        Self {
            text,
            is_cut: false,
            is_generic: false,
        }
    }
}

/// Returns the paths that lines of a type are made of, if they say less than all; none of another type. The line
/// of a record that is not of the type's form [says so](Line::is_generic): it needs the rest as well.
pub fn fields(collection: &str) -> &'static [&'static str] {
    match collection {
        "app.bsky.feed.post" => &["createdAt", "embed", "reply.parent.uri", "text"],
        "app.bsky.feed.like" | "app.bsky.feed.repost" => &["createdAt", "subject.uri"],
        _ => &[],
    }
}

/// Returns a row of what it is about and of a record's line, which starts with `> ` if it is all a third party's.
pub fn row(start: &str, line: &str) -> String {
    let joint = if line.starts_with("> ") { " " } else { " · " };
    format!("{start}{joint}{line}")
}

/// Returns a record's line.
pub fn line(collection: &str, value: &Value, style: Style) -> Line {
    let mut digest = Digest::default();
    let (facts, quoted) = match style {
        Style::Json => (String::new(), json(value)),
        _ => self::digest(collection, value, style, &mut digest),
    };
    let text = match (facts.is_empty(), quoted.is_empty()) {
        (true, true) => "no text".to_owned(),
        (false, true) => facts,
        (true, false) => format!("> {quoted}"),
        (false, false) => format!("{facts} > {quoted}"),
    };
    Line {
        text,
        is_cut: digest.is_cut,
        is_generic: digest.is_generic,
    }
}

/// Returns a value of a record in short, on its own.
pub fn short(value: &Value) -> String {
    Digest::default().of(value)
}

fn json(value: &Value) -> String {
    match serde_json::to_string(value) {
        Ok(text) => quote::json(&text),
        // Map keys are text and writing to memory does not fail, so this is for the compiler.
        Err(error) => quote::inline(&error.to_string()),
    }
}

/// Returns the facts, in which nothing is free text, and the third party's words.
fn digest(collection: &str, value: &Value, style: Style, digest: &mut Digest) -> (String, String) {
    let mut facts: Vec<String> = time(value).into_iter().collect();
    let known = match collection {
        "app.bsky.feed.post" => post(value, style, &mut facts, digest),
        "app.bsky.feed.like" | "app.bsky.feed.repost" => {
            uri_at(value, &["subject", "uri"]).map(|uri| (facts.push(uri), String::new()).1)
        }
        "app.bsky.graph.follow" | "app.bsky.graph.block" => {
            did_at(value, "subject").map(|did| (facts.push(did), String::new()).1)
        }
        "app.bsky.actor.profile" => profile(value, style, digest),
        _ => None,
    };
    // A record that breaks its lexicon still shows all it has.
    digest.is_generic = known.is_none();
    let quoted = known.unwrap_or_else(|| digest.of(value));
    (facts.join(" · "), quoted)
}

/// Returns what a record is there to say: in a list no more of it than fits.
fn words(text: &str, style: Style, digest: &mut Digest) -> String {
    match style {
        Style::Digest => digest.text(text),
        Style::Whole | Style::Reply | Style::Json => quote::inline(text),
    }
}

fn post(
    value: &Value,
    style: Style,
    facts: &mut Vec<String>,
    digest: &mut Digest,
) -> Option<String> {
    let mut quoted = words(value.get("text")?.as_text()?, style, digest);
    if style != Style::Reply
        && let Some(parent) = uri_at(value, &["reply", "parent", "uri"])
    {
        facts.push(format!("reply to {parent}"));
    }
    if let Some(embed) = value.get("embed") {
        self::embed(embed, facts, &mut quoted, digest);
    }
    Some(quoted)
}

fn embed(embed: &Value, facts: &mut Vec<String>, quoted: &mut String, digest: &mut Digest) {
    let mut text = |value: &Value, key: &str| {
        digest.text(value.get(key).and_then(Value::as_text).unwrap_or_default())
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
                    self::embed(part, facts, quoted, digest);
                }
            }
        }
        _ => facts.push("embed of another type".to_owned()),
    }
}

fn format_note(kind: &str, words: &str) -> String {
    format!(" [{kind}: {words}]")
}

fn profile(value: &Value, style: Style, digest: &mut Digest) -> Option<String> {
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
    let both: Vec<_> = [name, description]
        .into_iter()
        .flatten()
        .map(|text| words(text, style, digest))
        .collect();
    Some(both.join(" — "))
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
                map([("text", text(""))]),
                "no text".to_owned(),
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
            assert_eq!(line(collection, &value, Style::Digest).text, expected);
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
            let line = line(collection, &value, Style::Digest).text;
            assert!(line.starts_with("> "), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn json_is_whole_and_on_one_line() {
        let value = map([("text", text("a\nb\u{2028}"))]);
        assert_eq!(
            line("app.bsky.feed.post", &value, Style::Json).text,
            r#"> {"text":"a\nb\u2028"}"#
        );
    }

    /// In a list: a text of 160 characters is whole, and one of 161 is not; alone and in a thread it always is.
    #[test]
    fn a_list_cuts_long_texts_and_knows_it() {
        for c in ["x", "é", "語", "🦋"] {
            for (chars, fits) in [(160, true), (161, false)] {
                let words = c.repeat(chars);
                let post = map([("text", text(&words))]);
                let shown = line("app.bsky.feed.post", &post, Style::Digest);
                let expected = match fits {
                    true => words.clone(),
                    false => format!("{}…(+{} bytes)", c.repeat(160), c.len()),
                };
                assert_eq!(shown.text, format!("> {expected}"));
                assert_eq!(shown.is_cut, !fits);
                let profile = map([("description", text(&words))]);
                let listed = line("app.bsky.actor.profile", &profile, Style::Digest);
                assert_eq!(listed, shown);
                for style in [Style::Whole, Style::Reply] {
                    let whole = Line::whole(format!("> {words}"));
                    assert_eq!(line("app.bsky.feed.post", &post, style), whole);
                    assert_eq!(line("app.bsky.actor.profile", &profile, style), whole);
                }
            }
        }
    }
}
