//! `at_verify`: what the store finds when it looks at a record again, or what is known of a repo's signature.

use carrack_client::{Source, Store, Verdict, Verification, Verified};
use carrack_schema::time::rfc3339;
use carrack_schema::{AtUri, Code};
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common;
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::counted;
use crate::render::quote;
use crate::schema;

pub(crate) const NAME: &str = "at_verify";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Record to check now; any form of reference
    uri: Option<String>,
    /// Or an account, for what is known of its signature
    actor: Option<String>,
}

/// The structured half.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// sound, absent, broken (the store's files are damaged), or recorded
    finding: &'static str,
    did: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Checks a record anew, from its bytes through the tree to the signed commit; also that there is none. With \
         `actor`: what is known of the account's signature. Not for reading: use at_get. \
         Example: {\"uri\":\"at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.actor.profile/self\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("finding"))
    .with_annotations(super::reading())
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let example =
        json!({ "uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.actor.profile/self" });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    match (&arguments.uri, &arguments.actor) {
        (Some(uri), None) => {
            let reference = common::reference(connection, uri).await?;
            match reference.0.path() {
                Some(_) => record(connection, &reference.0).await,
                None => Err(no_record(&reference.0)),
            }
        }
        (None, Some(actor)) => {
            let reference = common::reference(connection, actor).await?;
            account(connection, reference.did().as_str()).await
        }
        _ => Err(Refusal::new(
            Code::InvalidArgument,
            "choosing what to verify",
            "either uri or actor is needed, and not both",
        )
        .example(NAME, &example)),
    }
}

fn no_record(uri: &AtUri) -> Refusal {
    Refusal::new(
        Code::InvalidArgument,
        format!("verifying {uri}"),
        "it names no record",
    )
    .hint(format!(
        "at_verify {} for the account, or at_list {} for its records",
        json!({ "actor": uri.did.as_str() }),
        json!({ "actor": uri.did.as_str() })
    ))
}

async fn record(connection: &Connection, uri: &AtUri) -> Result<Answer, Refusal> {
    let did = uri.did.as_str();
    let path = uri.path().map(|path| path.to_string()).unwrap_or_default();
    let path = path.as_str();
    let read = |store: Store| async move { store.repo(did).record(path).verify().await };
    let verification = connection
        .read(read)
        .await
        .map_err(|error| Refusal::of(&error, format!("verifying {uri}")))?;
    match verification {
        Err(absent) => Err(common::no_repo(connection, did, absent).await),
        Ok(Verification::Broken(words)) => Ok(broken(uri, &words)),
        Ok(Verification::Sound(verified)) => Ok(sound(uri, &verified)),
    }
}

/// Damage is an answer: it is what was asked about.
fn broken(uri: &AtUri, words: &str) -> Answer {
    let text = format!(
        "broken · {uri}\nwhat does not fit: {}\nthe store's files are damaged: tell the user, who can run \
         `carrack check` and import the repo again",
        quote::inline(words)
    );
    let output = Output {
        finding: "broken",
        did: uri.did.to_string(),
        rev: None,
        commit: None,
        cid: None,
        signature: None,
        key: None,
    };
    Answer::new(text, &output)
}

fn sound(uri: &AtUri, verified: &Verified) -> Answer {
    let source = &verified.source;
    let nodes = counted(u64::from(verified.nodes), "tree node");
    let (finding, shown) = match &verified.cid {
        Some(cid) => (
            "sound",
            format!(
                "sound · {uri} · cid {cid}\nchecked now: its bytes hash to this CID, {nodes} lead from it to commit {}",
                source.commit
            ),
        ),
        None => (
            "absent",
            format!(
                "none: there is no record {uri}\nchecked now: {nodes} of commit {} show that",
                source.commit
            ),
        ),
    };
    let text = format!(
        "{shown}\nrepo {}\n{}",
        common::repo_line(source),
        signature(&source.verdict)
    );
    let output = Output {
        finding,
        did: source.did.clone(),
        rev: Some(source.rev.clone()),
        commit: Some(source.commit.to_string()),
        cid: verified.cid.map(|cid| cid.to_string()),
        signature: Some(verified.signature.as_str()),
        key: key_of(&source.verdict),
    };
    Answer::new(text, &output)
}

async fn account(connection: &Connection, did: &str) -> Result<Answer, Refusal> {
    let info = common::repo_info(connection, did).await?;
    Ok(recorded(&info.source))
}

fn recorded(source: &Source) -> Answer {
    let text = format!(
        "{} · commit {}\nat import: every record's hash and place in the tree were checked\n{}",
        common::repo_line(source),
        source.commit,
        signature(&source.verdict)
    );
    let output = Output {
        finding: "recorded",
        did: source.did.clone(),
        rev: Some(source.rev.clone()),
        commit: Some(source.commit.to_string()),
        cid: None,
        signature: Some(source.verdict.as_str()),
        key: key_of(&source.verdict),
    };
    Answer::new(text, &output)
}

fn key_of(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Valid { key, .. } => Some(key.clone()),
        Verdict::Unchecked | Verdict::LegacyCommit => None,
    }
}

/// Returns what is known of the commit's signature, and so of whose words these are.
fn signature(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unchecked => {
            "signature unchecked: no key was given at import, so that the account signed this \
            commit is not shown; `carrack import --did-doc` checks it"
                .to_owned()
        }
        Verdict::Valid {
            key,
            document,
            checked,
        } => format!(
            "signature valid: of {key}, which the DID document with SHA-256 {} names; checked {}",
            hex(document),
            rfc3339(*checked)
        ),
        Verdict::LegacyCommit => {
            "an old commit without a revision: its signature is not checked".to_owned()
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use carrack_schema::Cid;
    use carrack_schema::cid::Codec;

    use super::*;

    fn source(verdict: Verdict) -> Source {
        Source {
            did: "did:plc:a".into(),
            rev: "3n2v4k6owr72x".into(),
            commit: Cid::new(Codec::DagCbor, [7; 32]),
            verdict,
        }
    }

    #[test]
    fn a_valid_signature_names_its_key_and_a_missing_one_says_what_that_means() {
        let verdict = Verdict::Valid {
            key: "did:key:z1".into(),
            document: vec![0xab, 1],
            checked: 0,
        };
        let answer = recorded(&source(verdict));
        let expected = "signature valid: of did:key:z1, which the DID document with SHA-256 ab01 names; checked \
                        1970-01-01T00:00:00Z";
        assert!(answer.text.ends_with(expected), "{}", answer.text);
        assert_eq!(answer.structured["key"], "did:key:z1");
        let answer = recorded(&source(Verdict::Unchecked));
        assert!(answer.text.contains("is not shown"), "{}", answer.text);
        assert!(answer.structured.get("key").is_none());
    }

    #[test]
    fn damage_is_an_answer_that_cannot_start_a_line() {
        let uri: AtUri = "at://did:plc:a/a.b.c/k".parse().unwrap();
        let answer = broken(&uri, "page 3\nsound");
        assert!(answer.text.starts_with("broken · at://did:plc:a/a.b.c/k\n"));
        assert!(!answer.text.contains("\nsound"), "{}", answer.text);
        assert_eq!(answer.structured["finding"], "broken");
    }
}
