//! [`Commit`]: the root block of a repository, and the bytes its signature is over.
//!
//! It must never re-encode a commit from its fields (rule CM2), and it does not check the signature. The importer
//! parses the CAR's root with it and goes on with [`Commit::data`].

use carrack_schema::cid::{Codec, text_of};
use carrack_schema::limits::COMMIT_BYTES_MAX;
use carrack_schema::{Cid, Did, Tid};

use crate::cbor::{Reader, Token};
use crate::error::{Error, ErrorKind, Result, quoted};

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
        match required("version", fields.version)? {
            Token::Int(VERSION) => {}
            Token::Int(VERSION_LEGACY) => {
                return Err(Error::structure("version 2 commits are not supported"));
            }
            Token::Int(other) => {
                return Err(Error::structure(format!("version {other} is not known")));
            }
            other => return Err(odd("version", "an integer", other)),
        }
        let did = name("did", "DID", required("did", fields.did)?)?;
        let data = cid("data", required("data", fields.data)?)?;
        let rev = name("rev", "TID", required("rev", fields.rev)?)?;
        let prev = match required("prev", fields.prev)? {
            Token::Null => None,
            token => Some(cid("prev", token)?),
        };
        let sig = match required("sig", fields.sig)? {
            Token::Bytes(bytes) => bytes.try_into().map_err(|_| {
                let length = bytes.len();
                Error::structure(format!(
                    "field `sig` is {length} bytes, not {SIGNATURE_BYTES}"
                ))
            })?,
            other => return Err(odd("sig", "a byte string", other)),
        };
        Ok(Self {
            did,
            data,
            rev,
            prev,
            sig,
        })
    }

    /// Checks that the commit is `expected`'s (CM7).
    ///
    /// # Errors
    /// [`ErrorKind::WrongDid`], naming both.
    pub fn check_did(&self, expected: &Did) -> Result<()> {
        if self.did == *expected {
            return Ok(());
        }
        let message = format!("commit is of {}, not of {expected}", self.did);
        Err(Error::new(ErrorKind::WrongDid, message))
    }
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
    let mut bytes = map_head(count.saturating_sub(1));
    bytes.append(&mut entries);
    Ok(bytes)
}

/// Writes the head of a map in its shortest form.
fn map_head(count: u64) -> Vec<u8> {
    const MAP: u8 = 0xa0;
    // A commit's bytes bound its entries far below 65,536.
    const { assert!(COMMIT_BYTES_MAX / 3 <= u16::MAX as usize) };
    match u8::try_from(count) {
        Ok(small @ 0..=23) => vec![MAP | small],
        Ok(byte) => vec![MAP | 24, byte],
        Err(_) => {
            let [high, low] = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
            vec![MAP | 25, high, low]
        }
    }
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

#[cfg(test)]
mod tests {
    use carrack_schema::Code;

    use super::*;
    use crate::kit::{Value, cid_of, encode, link, map, text};

    const DID: &str = "did:plc:abcdefghijklmnopqrstuvwx";
    const REV: &str = "3jzfcijpj2z2a";

    fn good() -> Vec<(&'static str, Value)> {
        vec![
            ("did", text(DID)),
            ("version", Value::Int(3)),
            ("data", link(&cid_of(b"tree"))),
            ("rev", text(REV)),
            ("prev", Value::Null),
            ("sig", Value::Bytes(vec![7; 64])),
        ]
    }

    fn with(field: &'static str, value: Value) -> Vec<(&'static str, Value)> {
        let mut fields = good();
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        fields
    }

    fn refused(fields: Vec<(&'static str, Value)>) -> String {
        let error = Commit::parse(&encode(&map(fields))).unwrap_err();
        assert_eq!(error.code(), Code::BadStructure);
        error.to_string()
    }

    #[test]
    fn a_commit_is_parsed() {
        let commit = Commit::parse(&encode(&map(good()))).unwrap();
        assert_eq!(commit.did.as_str(), DID);
        assert_eq!(commit.rev.to_string(), REV);
        assert_eq!(
            (commit.data, commit.prev, commit.sig),
            (cid_of(b"tree"), None, [7; 64])
        );
        commit.check_did(&DID.parse().unwrap()).unwrap();
        let error = commit.check_did(&"did:web:x".parse().unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::WrongDid);
        assert_eq!(
            error.to_string(),
            format!("commit is of {DID}, not of did:web:x")
        );
    }

    #[test]
    fn prev_and_unknown_fields_are_tolerated() {
        let mut fields = with("prev", link(&cid_of(b"before")));
        fields.push(("x", map([("sig", Value::List(vec![Value::Null]))])));
        let commit = Commit::parse(&encode(&map(fields))).unwrap();
        assert_eq!(commit.prev, Some(cid_of(b"before")));
    }

    #[test]
    fn every_field_is_required_and_named() {
        for field in ["did", "version", "data", "rev", "prev", "sig"] {
            let fields = good()
                .into_iter()
                .filter(|(name, _)| *name != field)
                .collect();
            assert_eq!(
                refused(fields),
                format!("commit: field `{field}` is missing")
            );
            let odd = refused(with(
                field,
                Value::List(vec![Value::Int(1), map([("a", text(""))])]),
            ));
            assert!(
                odd.starts_with(&format!("commit: field `{field}` is a list, not a")),
                "{odd}"
            );
        }
    }

    #[test]
    fn odd_values_are_refused_and_named() {
        let mut raw = *cid_of(b"tree").as_bytes();
        raw[1] = 0x55;
        for (field, value, expected) in [
            (
                "version",
                Value::Int(2),
                "version 2 commits are not supported",
            ),
            ("version", Value::Int(4), "version 4 is not known"),
            (
                "version",
                text("3"),
                "field `version` is a text, not an integer",
            ),
            (
                "did",
                text("did:x"),
                "field `did` is not a valid DID: `did:x`",
            ),
            (
                "did",
                text("a\nb"),
                "field `did` is not a valid DID: `a\\nb`",
            ),
            ("rev", text(""), "field `rev` is not a valid TID: ``"),
            (
                "rev",
                Value::Int(1),
                "field `rev` is an integer, not a text",
            ),
            ("data", Value::Null, "field `data` is null, not a link"),
            (
                "data",
                Value::Bytes(vec![]),
                "field `data` is a byte string, not a link",
            ),
            ("data", Value::Link(vec![1]), "field `data` is not a CIDv1"),
            (
                "data",
                Value::Link(raw.to_vec()),
                "field `data` is not a CIDv1",
            ),
            ("prev", Value::Link(vec![1]), "field `prev` is not a CIDv1"),
            (
                "prev",
                Value::Bool(false),
                "field `prev` is a boolean, not a link",
            ),
            (
                "sig",
                Value::Bytes(vec![0; 63]),
                "field `sig` is 63 bytes, not 64",
            ),
            (
                "sig",
                Value::Bytes(vec![0; 65]),
                "field `sig` is 65 bytes, not 64",
            ),
            ("sig", text("x"), "field `sig` is a text, not a byte string"),
        ] {
            let error = refused(with(field, value));
            assert!(error.starts_with(&format!("commit: {expected}")), "{error}");
        }
        // A version 2 commit has no `rev`: its version is what there is to say.
        let v2 = with("version", Value::Int(2))
            .into_iter()
            .filter(|(name, _)| *name != "rev");
        assert_eq!(
            refused(v2.collect()),
            "commit: version 2 commits are not supported"
        );
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        let good = encode(&map(good()));
        for (bytes, expected) in [
            (vec![0x80], "commit: a list instead of a map"),
            (
                vec![],
                "commit: bytes end inside the value at byte 0 of the block",
            ),
            (
                [&good[..], &[0]].concat(),
                "commit: bytes follow the value at byte",
            ),
            (
                good[..good.len() - 1].to_vec(),
                "commit: bytes end inside the value at byte",
            ),
        ] {
            let error = Commit::parse(&bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert_eq!(signing_bytes(&bytes).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn size_is_limited() {
        let sized = |bytes: usize| {
            let empty = encode(&map(with("pad", Value::Bytes(vec![0; 256])))).len() - 256;
            encode(&map(with("pad", Value::Bytes(vec![0; bytes - empty]))))
        };
        let at_limit = sized(COMMIT_BYTES_MAX);
        assert_eq!(at_limit.len(), COMMIT_BYTES_MAX);
        Commit::parse(&at_limit).unwrap();
        signing_bytes(&at_limit).unwrap();
        let over = sized(COMMIT_BYTES_MAX + 1);
        assert_eq!(
            Commit::parse(&over).unwrap_err().code(),
            Code::LimitExceeded
        );
        assert_eq!(
            signing_bytes(&over).unwrap_err().code(),
            Code::LimitExceeded
        );
    }

    #[test]
    fn signing_bytes_are_the_map_without_its_sig() {
        for extra in [0, 1, 17, 18, 19, 249, 250, 251, 300] {
            let mut fields: Vec<_> = good()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            // Nested `sig`s are not the signature.
            let unknown = map([("sig", Value::List(vec![Value::Null, Value::Int(-9)]))]);
            fields.extend((0..extra).map(|n| (format!("x{n}"), unknown.clone())));
            let raw = encode(&map(fields.clone()));
            fields.retain(|(name, _)| name != "sig");
            let unsigned = encode(&map(fields));
            assert_eq!(signing_bytes(&raw).unwrap(), unsigned, "{extra}");
            let error = signing_bytes(&unsigned).unwrap_err();
            assert_eq!(error.to_string(), "commit: field `sig` is missing");
        }
    }
}
