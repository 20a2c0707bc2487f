//! [`Ref`]: whatever an agent may name a repo, a collection or a record by.
//!
//! One parser for all tools, so that no tool exists to convert one form into another.

use carrack_schema::{AtUri, Cid, Code, Did, Handle};

use crate::answer::Refusal;

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref(
    /// What it names: a repo, a collection or a record.
    pub AtUri,
);

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefError {
    /// It names the account by its handle, which the store may know; and what follows that in the at-URI.
    Handle(String, String),
    /// It is a CID; records are found by name.
    Cid(String),
    /// It has none of the forms.
    Form(String),
}

/// What references look like, for error texts.
pub const FORMS: &str = "at://DID/COLLECTION/RKEY, DID,COLLECTION,RKEY, DID, or \
    https://bsky.app/profile/DID/post/RKEY (or a known handle for the DID)";

impl Ref {
    /// Reads a reference.
    ///
    /// # Errors
    /// If the text names an account by its handle, or has no known form.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let text = text.trim();
        let form = || match text.parse::<Cid>() {
            Ok(_) => RefError::Cid(text.to_owned()),
            Err(_) => RefError::Form(text.to_owned()),
        };
        let uri = if let Some(rest) = strip_web(text) {
            from_web(rest).ok_or_else(form)?
        } else if text.starts_with("at://") {
            text.trim_end_matches('/').to_owned()
        } else {
            format!("at://{}", text.replace(',', "/"))
        };
        match uri.parse() {
            Ok(uri) => Ok(Self(uri)),
            Err(_) => {
                let named = uri.trim_start_matches("at://");
                let (authority, rest) = named.split_at(named.find('/').unwrap_or(named.len()));
                let handle = authority.trim_start_matches('@');
                match handle.parse::<Handle>() {
                    Ok(_) => Err(RefError::Handle(
                        handle.to_ascii_lowercase(),
                        rest.to_owned(),
                    )),
                    Err(_) => Err(form()),
                }
            }
        }
    }

    /// Makes the reference that named its account by a handle, now that its DID is known.
    ///
    /// # Errors
    /// If what follows the account is no collection and key.
    pub fn resolved(did: &str, rest: &str) -> Result<Self, RefError> {
        Self::parse(&format!("at://{did}{rest}"))
    }

    /// Returns the repo's DID.
    pub fn did(&self) -> &Did {
        &self.0.did
    }

    /// Returns the record this names; a repo stands for its profile, a collection for none.
    pub fn record(&self) -> Option<AtUri> {
        match (&self.0.collection, &self.0.rkey) {
            (Some(_), Some(_)) => Some(self.0.clone()),
            (None, None) => format!("at://{}/app.bsky.actor.profile/self", self.0.did)
                .parse()
                .ok(),
            _ => None,
        }
    }
}

impl RefError {
    /// Returns the refusal of a call that held this.
    pub fn refuse(&self, held: Vec<String>) -> Refusal {
        let refusal = match self {
            Self::Handle(handle, _) => Refusal::new(
                Code::UnknownHandle,
                format!("finding the account `{handle}`"),
                "no account of the archive is known by this handle: only those imported with a DID document are; name \
                 the account by its DID",
            ),
            Self::Cid(text) => {
                return Refusal::new(
                    Code::InvalidArgument,
                    "finding a CID",
                    "records are found by name, not by CID; an answer that shows a CID shows the at-uri beside it",
                )
                .about(text)
                .hint(format!("the record's at-uri: one of {FORMS}"));
            }
            Self::Form(text) => Refusal::new(
                Code::InvalidArgument,
                "reading a reference",
                format!("a reference is one of {FORMS}"),
            )
            .about(text),
        };
        let refusal = refusal.hint("at_overview {} lists the accounts in the archive");
        refusal.candidates(held)
    }
}

fn strip_web(text: &str) -> Option<&str> {
    ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
}

/// Returns the AT-URI that a page of the Bluesky app shows.
fn from_web(rest: &str) -> Option<String> {
    let path = ["bsky.app/profile/", "www.bsky.app/profile/"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    let mut parts = path.split('/');
    let actor = parts.next()?;
    let uri = match (parts.next(), parts.next()) {
        (None, None) => format!("at://{actor}"),
        (Some("post"), Some(rkey)) => format!("at://{actor}/app.bsky.feed.post/{rkey}"),
        (Some("feed"), Some(rkey)) => format!("at://{actor}/app.bsky.feed.generator/{rkey}"),
        (Some("lists"), Some(rkey)) => format!("at://{actor}/app.bsky.graph.list/{rkey}"),
        _ => return None,
    };
    parts.next().is_none().then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for (text, uri) in [
            ("did:plc:abc", "at://did:plc:abc"),
            (" did:plc:abc ", "at://did:plc:abc"),
            ("at://did:plc:abc/", "at://did:plc:abc"),
            ("at://did:plc:abc/a.b.c/k", "at://did:plc:abc/a.b.c/k"),
            ("did:plc:abc,a.b.c,k", "at://did:plc:abc/a.b.c/k"),
            ("did:plc:abc,a.b.c", "at://did:plc:abc/a.b.c"),
            ("did:plc:abc/a.b.c/k", "at://did:plc:abc/a.b.c/k"),
            ("https://bsky.app/profile/did:plc:abc", "at://did:plc:abc"),
            (
                "https://bsky.app/profile/did:plc:abc/?x=1",
                "at://did:plc:abc",
            ),
            (
                "https://bsky.app/profile/did:plc:abc/post/3k#x",
                "at://did:plc:abc/app.bsky.feed.post/3k",
            ),
            (
                "https://bsky.app/profile/did:plc:abc/feed/f",
                "at://did:plc:abc/app.bsky.feed.generator/f",
            ),
            (
                "https://www.bsky.app/profile/did:plc:abc/lists/l",
                "at://did:plc:abc/app.bsky.graph.list/l",
            ),
        ] {
            assert_eq!(Ref::parse(text).unwrap().0.to_string(), uri, "{text}");
        }
    }

    #[test]
    fn handles_are_known_as_such() {
        for (text, rest) in [
            ("alice.test", ""),
            ("@Alice.test", ""),
            (
                "at://alice.test/app.bsky.feed.post/3k",
                "/app.bsky.feed.post/3k",
            ),
            (
                "https://bsky.app/profile/alice.test/post/3k",
                "/app.bsky.feed.post/3k",
            ),
            ("alice.test,app.bsky.feed.post,3k", "/app.bsky.feed.post/3k"),
        ] {
            let handle = RefError::Handle("alice.test".into(), rest.into());
            assert_eq!(Ref::parse(text), Err(handle), "{text}");
            let resolved = Ref::resolved("did:plc:a", rest).unwrap();
            assert_eq!(resolved.0.to_string(), format!("at://did:plc:a{rest}"));
        }
    }

    #[test]
    fn a_cid_is_known_as_such() {
        let text = "bafyreibilrtk527yuv76k4cvtmbhwstsnaf6lii3ffemvhxn3mmr7igdxy";
        assert_eq!(Ref::parse(text), Err(RefError::Cid(text.into())));
    }

    #[test]
    fn other_texts_have_no_form() {
        for text in [
            "",
            "alice",
            "did:plc",
            "at://",
            "at://did:plc:a/b",
            "at://did:plc:a/a.b.c/k/x",
            "https://example.com/profile/did:plc:a",
            "https://bsky.app/profile/did:plc:a/post",
            "https://bsky.app/profile/did:plc:a/post/3k/x",
            "did:plc:a,a.b.c,k,x",
            "1.2.3.4",
        ] {
            let error = Ref::parse(text).unwrap_err();
            assert!(matches!(error, RefError::Form(_)), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_repo_stands_for_its_profile_and_a_collection_for_no_record() {
        let record = |text| {
            Ref::parse(text)
                .unwrap()
                .record()
                .map(|uri| uri.to_string())
        };
        assert_eq!(
            record("did:plc:a").as_deref(),
            Some("at://did:plc:a/app.bsky.actor.profile/self")
        );
        assert_eq!(record("did:plc:a,a.b.c"), None);
        assert_eq!(
            record("did:plc:a,a.b.c,k").as_deref(),
            Some("at://did:plc:a/a.b.c/k")
        );
    }

    #[test]
    fn a_refusal_shows_the_start_of_a_long_reference() {
        let error = Ref::parse(&"x".repeat(100_000)).unwrap_err();
        assert!(error.refuse(Vec::new()).text().len() < 500);
    }
}
