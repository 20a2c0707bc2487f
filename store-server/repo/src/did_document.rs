//! [`DidDocument`]: what a DID document says about a repository: whose it is, which key signs it, which handles it
//! claims.
//!
//! It must never be fetched or trusted for who sent it: bytes come from the caller, and a handle stays a claim until
//! someone checks the way back (NW3). The importer reads it from the file it was given.

use carrack_schema::Did;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::key::{Curve, PublicKey};

#[cfg(test)]
mod tests;

/// Longest DID document. Those of accounts take about 1 KiB; 64 times as much is room enough.
pub const DID_DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Most handles kept of one document. Accounts have one, or a few of their past.
pub const HANDLES_MAX: usize = 16;
/// Longest handle: a domain name.
pub const HANDLE_BYTES_MAX: usize = 253;

/// The fragment of the method with the repository's signing key (CM4).
const FRAGMENT: &str = "#atproto";
const HANDLE_SCHEME: &str = "at://";

/// What a DID document says about a repository. Only [`parse`](Self::parse) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DidDocument {
    /// Whose document it says it is; see [`check_id`](Self::check_id).
    pub id: Did,
    /// The handles it claims, in its order, unverified: no more than [`HANDLES_MAX`], each of the characters and
    /// length of a domain name. What has another form is left out.
    pub handles: Vec<String>,
    /// The key its `#atproto` method names; `None` if it has no such method.
    pub signing_key: Option<PublicKey>,
}

/// The fields that are read. A field that occurs twice is refused: readers would differ about which one counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    id: Option<Value>,
    also_known_as: Option<Value>,
    verification_method: Option<Vec<Method>>,
}

/// Values of any form, since only the one method that counts has to be right.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Method {
    id: Option<Value>,
    r#type: Option<Value>,
    controller: Option<Value>,
    public_key_multibase: Option<Value>,
}

impl DidDocument {
    /// Parses a DID document.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`] if it is not JSON of this form, or its `#atproto` method is not the DID's own or
    /// holds no key known here; [`ErrorKind::LimitExceeded`] beyond [`DID_DOCUMENT_BYTES_MAX`].
    pub fn parse(json: &[u8]) -> Result<Self> {
        Self::read(json).map_err(|error| error.within("DID document"))
    }

    fn read(json: &[u8]) -> Result<Self> {
        if json.len() > DID_DOCUMENT_BYTES_MAX {
            let length = json.len();
            let message = format!("{length} bytes, more than {DID_DOCUMENT_BYTES_MAX}");
            return Err(Error::limit(message));
        }
        // serde_json itself stops at 128 levels of nesting.
        let fields: Fields = serde_json::from_slice(json).map_err(|error| {
            // The library quotes what it found; a whole document may stand on one line.
            let words = quoted(error.to_string().as_bytes());
            Error::structure(format!("not JSON of the form of one: {words}"))
        })?;
        let id = text("id", fields.id.as_ref())?;
        let id: Did = id.parse().map_err(|_| {
            let id = quoted(id.as_bytes());
            Error::structure(format!("field `id` is not a valid DID: {id}"))
        })?;
        let absolute = format!("{id}{FRAGMENT}");
        let method = fields.verification_method.iter().flatten().find(|method| {
            let method = method.id.as_ref().and_then(Value::as_str);
            method.is_some_and(|method| method == FRAGMENT || method == absolute)
        });
        let in_method = |error: Error| error.within(format_args!("method `{FRAGMENT}`"));
        let signing_key = method
            .map(|method| key_of(&id, method))
            .transpose()
            .map_err(in_method)?;
        Ok(Self {
            handles: handles(fields.also_known_as.as_ref()),
            id,
            signing_key,
        })
    }

    /// Checks that the document is `expected`'s (NW3).
    ///
    /// # Errors
    /// [`ErrorKind::WrongDid`], naming both.
    pub fn check_id(&self, expected: &Did) -> Result<()> {
        if self.id == *expected {
            return Ok(());
        }
        let message = format!("DID document is of {}, not of {expected}", self.id);
        Err(Error::new(ErrorKind::WrongDid, message))
    }
}

fn key_of(did: &Did, method: &Method) -> Result<PublicKey> {
    let controller = text("controller", method.controller.as_ref())?;
    if controller != did.as_str() {
        let controller = quoted(controller.as_bytes());
        return Err(Error::structure(format!(
            "its controller is {controller}, not {did}"
        )));
    }
    let key = || text("publicKeyMultibase", method.public_key_multibase.as_ref());
    match text("type", method.r#type.as_ref())? {
        "Multikey" => PublicKey::from_multikey(key()?),
        "EcdsaSecp256k1VerificationKey2019" => PublicKey::from_legacy(Curve::K256, key()?),
        "EcdsaSecp256r1VerificationKey2019" => PublicKey::from_legacy(Curve::P256, key()?),
        other => {
            let other = quoted(other.as_bytes());
            Err(Error::structure(format!("its type {other} is not known")))
        }
    }
}

fn text<'a>(field: &str, value: Option<&'a Value>) -> Result<&'a str> {
    let missing = || Error::structure(format!("field `{field}` is missing"));
    let not_text = || Error::structure(format!("field `{field}` is not a text"));
    value.ok_or_else(missing)?.as_str().ok_or_else(not_text)
}

/// Returns the handles. None of them decides anything, so those of odd form are passed over.
fn handles(also_known_as: Option<&Value>) -> Vec<String> {
    let names = also_known_as
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    names
        .filter_map(Value::as_str)
        .filter_map(|name| name.strip_prefix(HANDLE_SCHEME))
        .filter(|name| (1..=HANDLE_BYTES_MAX).contains(&name.len()))
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        })
        .take(HANDLES_MAX)
        .map(str::to_owned)
        .collect()
}
