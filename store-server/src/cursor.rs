//! Cursors: where a listing goes on, sealed by the store.
//!
//! A cursor is opaque to everyone else: a keyed hash over it and over the listing it belongs to (grant, repo, collection,
//! range, direction) makes a forged, altered or foreign one an error instead of a surprise. The key is in the
//! catalog, so a cursor outlives the process. Only the last key and the revision are inside; what may be read is
//! decided anew on every call.

use carrack_schema::limits::CURSOR_BYTES_MAX;
use carrack_schema::{Code, Tid};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::catalog::CURSOR_KEY_BYTES;
use crate::error::{Error, Result};

/// Length of the seal in bytes: half of the hash, 128 bits.
const SEAL_BYTES: usize = 16;
const REV_BYTES: usize = 8;
/// In the place of a revision, where a commit has none. As a TID it would be a time in the year 2540.
const NO_REV: u64 = u64::MAX;

/// What a cursor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Revision that the page before was read at; none for a commit that has none.
    pub(crate) rev: Option<Tid>,
    /// Last key of the page before.
    pub(crate) after: String,
}

impl Cursor {
    /// Returns the cursor's bytes for the listing that `scope` names.
    pub(crate) fn seal(&self, key: &[u8; CURSOR_KEY_BYTES], scope: &[&str]) -> Vec<u8> {
        let mut payload = rev_bits(self.rev).to_le_bytes().to_vec();
        payload.extend_from_slice(self.after.as_bytes());
        let mut sealed = tag(key, scope, &payload).to_vec();
        sealed.extend_from_slice(&payload);
        sealed
    }

    /// Opens a cursor that was sealed for the same listing.
    ///
    /// # Errors
    /// `invalidArgument` for any other bytes.
    pub(crate) fn open(
        key: &[u8; CURSOR_KEY_BYTES],
        scope: &[&str],
        sealed: &[u8],
    ) -> Result<Self> {
        let refused = || {
            Error::new(
                Code::InvalidArgument,
                "this cursor is not one of this listing; leave it out to start from the beginning",
            )
        };
        if sealed.len() > CURSOR_BYTES_MAX {
            return Err(refused());
        }
        let (seal, payload) = sealed.split_at_checked(SEAL_BYTES).ok_or_else(refused)?;
        mac(key, scope, payload)
            .verify_truncated_left(seal)
            .map_err(|_| refused())?;
        let (rev, after) = payload
            .split_first_chunk::<REV_BYTES>()
            .ok_or_else(refused)?;
        Ok(Self {
            rev: Some(u64::from_le_bytes(*rev))
                .filter(|bits| *bits != NO_REV)
                .map(Tid::from_u64),
            after: String::from_utf8(after.to_vec()).map_err(|_| refused())?,
        })
    }
}

fn rev_bits(rev: Option<Tid>) -> u64 {
    rev.map_or(NO_REV, Tid::as_u64)
}

fn tag(key: &[u8; CURSOR_KEY_BYTES], scope: &[&str], payload: &[u8]) -> [u8; SEAL_BYTES] {
    let full: [u8; 32] = mac(key, scope, payload).finalize().into_bytes().into();
    *full.first_chunk().expect("32 bytes begin with 16")
}

fn mac(key: &[u8; CURSOR_KEY_BYTES], scope: &[&str], payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in scope {
        // Lengths first, so that no two scopes run together to the same bytes.
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    mac.update(payload);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; CURSOR_KEY_BYTES] = [7; CURSOR_KEY_BYTES];

    #[test]
    fn only_its_own_listing_opens_a_cursor() {
        let cursor = Cursor {
            rev: Some(Tid::from_u64(42)),
            after: "a.b.c/self".into(),
        };
        let sealed = cursor.seal(&KEY, &["did:plc:a", "x"]);
        assert_eq!(
            Cursor::open(&KEY, &["did:plc:a", "x"], &sealed).unwrap(),
            cursor
        );
        for scope in [
            &["did:plc:a"][..],
            &["did:plc:ax", ""],
            &["did:plc:", "ax"],
            &[],
        ] {
            assert!(Cursor::open(&KEY, scope, &sealed).is_err(), "{scope:?}");
        }
        assert!(Cursor::open(&[8; 32], &["did:plc:a", "x"], &sealed).is_err());
    }

    #[test]
    fn every_altered_bit_and_every_cut_is_refused() {
        let sealed = Cursor {
            rev: Some(Tid::from_u64(42)),
            after: "k".into(),
        }
        .seal(&KEY, &[]);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(Cursor::open(&KEY, &[], &forged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(
                Cursor::open(&KEY, &[], &sealed[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn the_longest_key_fits_and_one_more_does_not() {
        let longest = CURSOR_BYTES_MAX - SEAL_BYTES - REV_BYTES;
        for (length, fits) in [(longest, true), (longest + 1, false)] {
            let cursor = Cursor {
                rev: None,
                after: "k".repeat(length),
            };
            assert_eq!(
                Cursor::open(&KEY, &[], &cursor.seal(&KEY, &[])).is_ok(),
                fits
            );
        }
        assert!(longest >= carrack_schema::limits::MST_KEY_BYTES_MAX);
    }
}
