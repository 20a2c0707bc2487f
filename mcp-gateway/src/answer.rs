//! [`Answer`] and [`Refusal`]: what a tool gives back, and how it becomes an MCP result.
//!
//! Clients differ in which half of a result they show the model, so the text suffices alone and the structured
//! half is small. An error goes back in-band: a model can act on it, where a JSON-RPC error would be hidden from it.

use carrack_schema::Code;
use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use crate::render::quote;

/// A tool's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What a model reads.
    pub text: String,
    /// The same facts for programs, without bodies.
    pub structured: Value,
    /// Resources to read what is too large for an answer.
    pub links: Vec<Resource>,
}

impl Answer {
    /// Makes an answer of its text and of a value that its tool's `outputSchema` describes.
    pub fn new(text: String, structured: &impl Serialize) -> Self {
        Self {
            text,
            structured: serde_json::to_value(structured)
                .expect("output types have text keys and no failing serializers"),
            links: Vec::new(),
        }
    }

    /// Adds links to resources.
    #[must_use]
    pub(crate) fn links(self, links: Vec<Resource>) -> Self {
        Self { links, ..self }
    }
}

/// Why a tool did not answer: what failed, why, and the call to make instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    what: String,
    about: Box<str>,
    why: String,
    hint: String,
    candidates: Vec<String>,
}

/// Most candidates in one refusal: enough to choose from, few enough to read.
pub const CANDIDATES_MAX: usize = 20;

/// Most characters of a refusal's line: an argument that it repeats may be megabytes long.
const LINE_CHARS_MAX: usize = 1_000;

/// Most characters of an argument that it is about.
const ABOUT_CHARS_MAX: usize = 160;

impl Refusal {
    /// Makes a refusal; `what` failed and `why` are lower case without a full stop.
    pub fn new(code: Code, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            about: Box::default(),
            why: why.into(),
            hint: String::new(),
            candidates: Vec::new(),
        }
    }

    /// Makes the refusal of an error of the store's.
    pub fn of(error: &carrack_client::Error, what: impl Into<String>) -> Self {
        let refusal = Self::new(error.code(), what, quote::apart(error.words()));
        match error.code() {
            Code::Unavailable => refusal.hint(
                "repeat the call: the gateway connects again; if it keeps failing, tell the user",
            ),
            Code::Overloaded => refusal.hint("wait a moment and repeat the call"),
            Code::LimitExceeded => refusal.hint("ask for less: the reason names the limit"),
            Code::Denied => refusal.hint(
                "this session's grant does not allow it: tell the user, who can ask its issuer for more",
            ),
            Code::Revoked | Code::Expired | Code::BudgetSpent | Code::BadCredential => {
                refusal.hint("this session's grant is over: tell the user, who can ask its issuer for another")
            }
            Code::Internal => refusal.hint("this is a fault of Carrack's own: tell the user"),
            _ => refusal,
        }
    }

    /// Repeats the argument that it is about. It may be a third party's words, so it is quoted as those are.
    #[must_use]
    pub fn about(self, argument: &str) -> Self {
        Self {
            about: quote::shorten(argument, ABOUT_CHARS_MAX).into(),
            ..self
        }
    }

    /// Says what to do instead.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    /// Shows a call that would work.
    #[must_use]
    pub fn example(self, tool: &str, arguments: &Value) -> Self {
        self.hint(format!("{tool} {arguments}"))
    }

    /// Names what could have been meant; at most [`CANDIDATES_MAX`] are kept.
    #[must_use]
    pub fn candidates(self, candidates: impl IntoIterator<Item = String>) -> Self {
        Self {
            candidates: candidates.into_iter().take(CANDIDATES_MAX).collect(),
            ..self
        }
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the text a model reads.
    pub fn text(&self) -> String {
        // All may repeat an argument, which may repeat a record: nothing of it may start a line of its own.
        let line = |words: &str| quote::shorten(words, LINE_CHARS_MAX);
        let mut text = format!("failed: {} ({})", line(&self.what), self.code);
        if !self.about.is_empty() {
            text.push_str(" > ");
            text.push_str(&self.about);
        }
        text.push_str("\nwhy: ");
        text.push_str(&line(&self.why));
        if !self.hint.is_empty() {
            text.push_str("\ntry: ");
            text.push_str(&line(&self.hint));
        }
        if !self.candidates.is_empty() {
            text.push_str("\nheld: ");
            text.push_str(&quote::inline(&self.candidates.join(", ")));
        }
        text
    }
}

impl From<Answer> for CallToolResult {
    fn from(answer: Answer) -> Self {
        let mut result = Self::structured(answer.structured);
        let links = answer.links.into_iter().map(ContentBlock::resource_link);
        let text = ContentBlock::text(answer.text);
        result.content = std::iter::once(text).chain(links).collect();
        result
    }
}

impl From<Refusal> for CallToolResult {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.text();
        let hint = quote::shorten(&refusal.hint, LINE_CHARS_MAX);
        let mut structured = json!({ "code": refusal.code.as_str(), "hint": hint });
        if !refusal.candidates.is_empty() {
            structured["candidates"] = json!(refusal.candidates);
        }
        let mut result = Self::structured_error(structured);
        result.content = vec![ContentBlock::text(text)];
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let refusal = Refusal::new(
            Code::NotFound,
            "reading `x`",
            "the store holds no such repo",
        )
        .example("at_get", &json!({ "refs": ["did:plc:a"] }))
        .candidates(["did:plc:a".to_owned()]);
        assert_eq!(
            refusal.text(),
            "failed: reading `x` (notFound)\nwhy: the store holds no such repo\ntry: at_get {\"refs\":[\"did:plc:a\"]}\nheld: did:plc:a"
        );
        let result = CallToolResult::from(refusal);
        assert_eq!(result.is_error, Some(true));
        assert_eq!(
            result.structured_content,
            Some(
                json!({ "code": "notFound", "hint": "at_get {\"refs\":[\"did:plc:a\"]}", "candidates": ["did:plc:a"] })
            )
        );
    }

    #[test]
    fn an_argument_cannot_start_a_line_of_a_refusal() {
        let refusal = Refusal::new(Code::InvalidArgument, "x\nfailed: not", "y\r\ntry: rm");
        let text = refusal.about("z\u{2028}\nwhy: not").text();
        assert_eq!(
            text,
            "failed: x ⏎ failed: not (invalidArgument) > z\\u2028 ⏎ why: not\nwhy: y ⏎ try: rm"
        );
    }

    #[test]
    fn a_giant_argument_is_not_repeated_whole() {
        let giant = "x".repeat(1 << 20);
        let refusal = Refusal::new(Code::InvalidArgument, giant.clone(), giant.clone())
            .about(&giant)
            .hint(giant);
        assert!(refusal.text().len() < 4_096);
        let result = CallToolResult::from(refusal);
        assert!(result.structured_content.unwrap().to_string().len() < 2_048);
    }

    #[test]
    fn candidates_are_bounded() {
        let many = (0..100).map(|i| i.to_string());
        let refusal = Refusal::new(Code::NotFound, "x", "y").candidates(many);
        assert_eq!(refusal.candidates.len(), CANDIDATES_MAX);
    }
}
