//! [`Commit`]: the root block of a repository, the bytes its signature is over, and whether that is a key's.
//!
//! It must never re-encode a commit from its fields (rule CM2), or let a commit of the old version pass for one with
//! a revision (CM8). The importer parses the CAR's root with it and goes on with [`Commit::data`].

use carrack_schema::cid::{Codec, text_of};
use carrack_schema::limits::COMMIT_BYTES_MAX;
use carrack_schema::{Cid, Did, Tid};

use crate::cbor::write::{MAP, put_head};
use crate::cbor::{Reader, Token};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::key::{PublicKey, SignatureFault};

#[cfg(test)]
mod tests;

/// Bytes of a signature: r and s, 32 each (CM3).
pub const SIGNATURE_BYTES: usize = 64;

const VERSION: i64 = 3;
const VERSION_LEGACY: i64 = 2;

/// A signed commit of version 3 (CM1). Only [`parse`](Self::parse) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Whose repository it is.
    pub did: Did,
    /// The root of its tree.
    pub data: Cid,
    /// Its revision.
    pub rev: Tid,
    /// The commit before it; virtually always null.
    pub prev: Option<Cid>,
    /// The signature, r and s, unchecked.
    pub sig: [u8; SIGNATURE_BYTES],
}

/// A signed commit of version 2, as old exports have it (CM8). Only [`AnyCommit::parse`] makes one.
///
/// It has no revision, so nothing says whether it is older or newer than another commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegacyCommit {
    /// Whose repository it is.
    pub did: Did,
    /// The root of its tree.
    pub data: Cid,
    /// The commit before it.
    pub prev: Option<Cid>,
    /// The signature, r and s, unchecked.
    pub sig: [u8; SIGNATURE_BYTES],
}

/// A signed commit of either version that occurs: whoever reads one says what becomes of those without a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyCommit {
    /// Version 3.
    Current(Commit),
    /// Version 2; it never replaces a commit of version 3 (CM8).
    Legacy(LegacyCommit),
}

/// Whether a commit's signature is a key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a commit is its key's only if this is `Valid`"]
pub enum SignatureVerdict {
    /// The holder of the key signed this commit.
    Valid,
    /// The signature is not the key's, or not of the one form allowed.
    Invalid(SignatureFault),
}

impl SignatureVerdict {
    /// Whether the holder of the key signed the commit.
    pub fn is_valid(self) -> bool {
        self == Self::Valid
    }
}

/// The fields as they stand, before it is known which version's rules they follow.
#[derive(Default)]
struct Fields<'a> {
    did: Option<Token<'a>>,
    version: Option<Token<'a>>,
    data: Option<Token<'a>>,
    rev: Option<Token<'a>>,
    prev: Option<Token<'a>>,
    sig: Option<Token<'a>>,
}

impl Commit {
    /// Parses a commit block. Fields it does not know are tolerated.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`], naming the field that is missing or of no legal form;
    /// [`ErrorKind::LimitExceeded`] for a block of more than [`COMMIT_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::from_fields(&fields(bytes).map_err(in_commit)?).map_err(in_commit)
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        if version(fields)? != VERSION {
            return Err(Error::structure("version 2 commits are not supported"));
        }
        Ok(Self {
            did: name("did", "DID", required("did", fields.did)?)?,
            data: cid("data", required("data", fields.data)?)?,
            rev: name("rev", "TID", required("rev", fields.rev)?)?,
            prev: prev(required("prev", fields.prev)?)?,
            sig: sig(required("sig", fields.sig)?)?,
        })
    }

    /// Checks that the commit is `expected`'s (CM7).
    ///
    /// # Errors
    /// [`ErrorKind::WrongDid`], naming both.
    pub fn check_did(&self, expected: &Did) -> Result<()> {
        check_did(&self.did, expected)
    }
}

impl LegacyCommit {
    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            did: name("did", "DID", required("did", fields.did)?)?,
            data: cid("data", required("data", fields.data)?)?,
            prev: fields.prev.map_or(Ok(None), prev)?,
            sig: sig(required("sig", fields.sig)?)?,
        })
    }
}

impl AnyCommit {
    /// Parses a commit block of version 3 or 2. Fields it does not know are tolerated.
    ///
    /// # Errors
    /// As [`Commit::parse`], but for the version.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = fields(bytes).map_err(in_commit)?;
        let commit = match version(&fields) {
            Ok(VERSION_LEGACY) => LegacyCommit::from_fields(&fields).map(Self::Legacy),
            _ => Commit::from_fields(&fields).map(Self::Current),
        };
        commit.map_err(in_commit)
    }

    /// Returns whose repository it is.
    pub fn did(&self) -> &Did {
        match self {
            Self::Current(commit) => &commit.did,
            Self::Legacy(commit) => &commit.did,
        }
    }

    /// Returns the root of its tree.
    pub fn data(&self) -> Cid {
        match self {
            Self::Current(commit) => commit.data,
            Self::Legacy(commit) => commit.data,
        }
    }

    /// Returns its revision, which a commit of version 2 does not have.
    pub fn rev(&self) -> Option<Tid> {
        match self {
            Self::Current(commit) => Some(commit.rev),
            Self::Legacy(_) => None,
        }
    }

    /// Returns the signature, r and s, unchecked.
    pub fn sig(&self) -> &[u8; SIGNATURE_BYTES] {
        match self {
            Self::Current(commit) => &commit.sig,
            Self::Legacy(commit) => &commit.sig,
        }
    }

    /// Checks that the commit is `expected`'s (CM7).
    ///
    /// # Errors
    /// [`ErrorKind::WrongDid`], naming both.
    pub fn check_did(&self, expected: &Did) -> Result<()> {
        check_did(self.did(), expected)
    }
}

fn check_did(did: &Did, expected: &Did) -> Result<()> {
    if did == expected {
        return Ok(());
    }
    let message = format!("commit is of {did}, not of {expected}");
    Err(Error::new(ErrorKind::WrongDid, message))
}

/// Checks a commit's signature, of either version, over its bytes as they stand (CM2, CM3).
///
/// A commit of an account that has changed its key since may be invalid under today's key and yet genuine (CM6).
///
/// # Errors
/// If `raw` is not a commit: see [`AnyCommit::parse`].
pub fn check_signature(raw: &[u8], key: &PublicKey) -> Result<SignatureVerdict> {
    let commit = AnyCommit::parse(raw)?;
    Ok(match key.verify(&signing_bytes(raw)?, commit.sig()) {
        Ok(()) => SignatureVerdict::Valid,
        Err(fault) => SignatureVerdict::Invalid(fault),
    })
}

/// Returns the bytes a commit's signature is over: the map as it stands, without its `sig` entry (CM2).
///
/// Fields nobody knows and a null `prev` stay, byte for byte.
///
/// # Errors
/// If `raw` is not a DAG-CBOR map, has no `sig`, or passes [`COMMIT_BYTES_MAX`].
pub fn signing_bytes(raw: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(raw);
    let count = begin(raw, &mut reader).map_err(in_commit)?;
    let mut entries = Vec::with_capacity(raw.len());
    let mut is_signed = false;
    for _ in 0..count {
        let start = reader.position();
        let is_sig = reader.token().map_err(in_commit)? == Token::Key("sig");
        reader.skip().map_err(in_commit)?;
        if is_sig {
            is_signed = true;
        } else {
            entries.extend_from_slice(raw.get(start..reader.position()).unwrap_or_default());
        }
    }
    reader.finish().map_err(in_commit)?;
    if !is_signed {
        return Err(in_commit(missing("sig")));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    put_head(&mut bytes, MAP, count.saturating_sub(1));
    bytes.append(&mut entries);
    Ok(bytes)
}

fn begin(bytes: &[u8], reader: &mut Reader<'_>) -> Result<u64> {
    if bytes.len() > COMMIT_BYTES_MAX {
        let length = bytes.len();
        return Err(Error::limit(format!(
            "{length} bytes, more than {COMMIT_BYTES_MAX}"
        )));
    }
    match reader.token()? {
        Token::Map(count) => Ok(count),
        other => Err(Error::structure(format!(
            "{} instead of a map",
            other.noun()
        ))),
    }
}

fn fields(bytes: &[u8]) -> Result<Fields<'_>> {
    let mut reader = Reader::new(bytes);
    let mut fields = Fields::default();
    for _ in 0..begin(bytes, &mut reader)? {
        let Token::Key(key) = reader.token()? else {
            return Err(Error::new(ErrorKind::Internal, "a map without keys"));
        };
        let field = match key {
            "did" => &mut fields.did,
            "version" => &mut fields.version,
            "data" => &mut fields.data,
            "rev" => &mut fields.rev,
            "prev" => &mut fields.prev,
            "sig" => &mut fields.sig,
            _ => {
                reader.skip()?;
                continue;
            }
        };
        // None of these may hold a list or map; if one does, it is refused by its first token later on.
        let depth = reader.depth();
        *field = Some(reader.token()?);
        while reader.depth() > depth {
            reader.token()?;
        }
    }
    reader.finish()?;
    Ok(fields)
}

fn required<'a>(field: &str, token: Option<Token<'a>>) -> Result<Token<'a>> {
    token.ok_or_else(|| missing(field))
}

fn missing(field: &str) -> Error {
    Error::structure(format!("field `{field}` is missing"))
}

fn odd(field: &str, expected: &str, token: Token<'_>) -> Error {
    Error::structure(format!(
        "field `{field}` is {}, not {expected}",
        token.noun()
    ))
}

fn name<T: std::str::FromStr>(field: &str, kind: &str, token: Token<'_>) -> Result<T> {
    let Token::Text(text) = token else {
        return Err(odd(field, "a text", token));
    };
    text.parse().map_err(|_| {
        let text = quoted(text.as_bytes());
        Error::structure(format!("field `{field}` is not a valid {kind}: {text}"))
    })
}

/// Reads the version, which is one of the two known.
fn version(fields: &Fields<'_>) -> Result<i64> {
    match required("version", fields.version)? {
        Token::Int(version @ (VERSION | VERSION_LEGACY)) => Ok(version),
        Token::Int(other) => Err(Error::structure(format!("version {other} is not known"))),
        other => Err(odd("version", "an integer", other)),
    }
}

fn prev(token: Token<'_>) -> Result<Option<Cid>> {
    match token {
        Token::Null => Ok(None),
        token => cid("prev", token).map(Some),
    }
}

fn sig(token: Token<'_>) -> Result<[u8; SIGNATURE_BYTES]> {
    let Token::Bytes(bytes) = token else {
        return Err(odd("sig", "a byte string", token));
    };
    bytes.try_into().map_err(|_| {
        let length = bytes.len();
        Error::structure(format!(
            "field `sig` is {length} bytes, not {SIGNATURE_BYTES}"
        ))
    })
}

fn cid(field: &str, token: Token<'_>) -> Result<Cid> {
    let Token::Link(bytes) = token else {
        return Err(odd(field, "a link", token));
    };
    match Cid::from_bytes(bytes) {
        Ok(cid) if cid.codec() == Codec::DagCbor => Ok(cid),
        _ => {
            let cid = text_of(bytes);
            let message =
                format!("field `{field}` is not a CIDv1 with sha-256 and dag-cbor: {cid}");
            Err(Error::structure(message))
        }
    }
}

fn in_commit(error: impl Into<Error>) -> Error {
    error.into().within("commit")
}
