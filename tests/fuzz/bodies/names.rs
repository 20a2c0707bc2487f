//! Names, CIDs and keys as text: what parses says the same when it is written and parsed again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use carrack_repo::PublicKey;
use carrack_repo::key::KEY_TEXT_BYTES_MAX;
use carrack_schema::names::{
    DID_BYTES_MAX, HANDLE_BYTES_MAX, NSID_BYTES_MAX, RECORD_KEY_BYTES_MAX, RepoName,
};
use carrack_schema::{AtUri, Cid, Did, Handle, Nsid, RecordKey, RecordPath, Tid};

/// The longest message about a name that is none: what it quotes is cut.
const ERROR_BYTES_MAX: usize = 1_024;

/// Takes the input as every kind of name, and as the bytes of a CID.
///
/// - Parse, display, parse is the identity, and display is the text that was parsed.
/// - A name is ASCII and within its limit.
/// - Names that are made of names parse if and only if their parts do.
/// - An error quotes no more than it should.
pub fn run(data: &[u8]) {
    if let Ok(cid) = Cid::from_bytes(data) {
        assert_eq!(cid.as_bytes()[..], *data);
        assert_eq!(Cid::new(cid.codec(), *cid.digest()), cid);
        assert_eq!(cid.to_string().parse(), Ok(cid));
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let did = check::<Did>(text, DID_BYTES_MAX);
    let handle = check::<Handle>(text, HANDLE_BYTES_MAX);
    check::<Nsid>(text, NSID_BYTES_MAX);
    check::<RecordKey>(text, RECORD_KEY_BYTES_MAX);
    check::<Tid>(text, Tid::TEXT_BYTES).inspect(|tid| {
        assert_eq!(Tid::from_u64(tid.as_u64()), *tid);
        assert_eq!(tid.text()[..], *data);
        // Ordered as the text is.
        let next = Tid::from_u64(tid.as_u64().saturating_add(1));
        assert!(next == *tid || next.to_string().as_str() > text);
    });
    check::<Cid>(text, 59).inspect(|cid| assert_eq!(Cid::from_bytes(cid.as_bytes()), Ok(*cid)));
    check::<PublicKey>(text, "did:key:".len() + KEY_TEXT_BYTES_MAX).inspect(|key| {
        let bytes = key.to_multikey_bytes();
        assert_eq!(
            PublicKey::from_multikey_bytes(&bytes).ok(),
            Some(key.clone())
        );
    });

    let repo = check::<RepoName>(text, DID_BYTES_MAX);
    assert_eq!(repo.is_some(), did.is_some() || handle.is_some());

    let path_max = NSID_BYTES_MAX + 1 + RECORD_KEY_BYTES_MAX;
    let path = check::<RecordPath>(text, path_max);
    let parts = text.split_once('/').and_then(|(collection, rkey)| {
        Some((collection.parse::<Nsid>().ok()?, rkey.parse().ok()?))
    });
    assert_eq!(path.map(|path| (path.collection, path.rkey)), parts);

    let uri = check::<AtUri>(text, "at://".len() + DID_BYTES_MAX + 1 + path_max);
    assert_eq!(uri.is_some(), is_at_uri(text));
    if let Some(uri) = uri {
        assert!(uri.rkey.is_none() || uri.collection.is_some());
        let path = uri.path().map(|path| path.to_string());
        assert!(path.is_none_or(|path| text.ends_with(&path)));
    }
}

fn is_at_uri(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("at://") else {
        return false;
    };
    let (did, rest) = rest
        .split_once('/')
        .map_or((rest, None), |(did, rest)| (did, Some(rest)));
    let rest_is_legal = match rest {
        None => true,
        Some(rest) if rest.contains('/') => rest.parse::<RecordPath>().is_ok(),
        Some(rest) => rest.parse::<Nsid>().is_ok(),
    };
    did.parse::<Did>().is_ok() && rest_is_legal
}

fn check<T>(text: &str, bytes_max: usize) -> Option<T>
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    let name = match text.parse::<T>() {
        Ok(name) => name,
        Err(error) => {
            assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}");
            return None;
        }
    };
    assert!(text.is_ascii() && text.len() <= bytes_max, "{text}");
    let again = name.to_string();
    assert_eq!(again, text);
    assert_eq!(again.parse::<T>().ok().as_ref(), Some(&name));
    Some(name)
}
