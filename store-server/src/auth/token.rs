//! [`Token`]: the secret that opens a grant, as text. What is kept of it is a hash, by which it is looked up: so nothing
//! that is stored opens anything, and how long a look-up takes tells nothing about what is stored.

use carrack_schema::Code;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::entropy::random;
use crate::error::{Error, Result};

/// What every token begins with, so that people and programs that look for secrets know one when they see it.
const PREFIX: &str = "carrack_";
const SECRET_BYTES: usize = 32;
/// A checksum behind the secret tells a token that was cut or mistyped from one that is unknown.
const CHECK_BYTES: usize = 4;

/// SHA-256 of a token's secret bytes.
pub(crate) type TokenHash = [u8; 32];

/// A token's secret. It has no text form by accident: neither `Debug` nor `Display`.
pub(crate) struct Token([u8; SECRET_BYTES]);

impl Token {
    /// Makes one that nobody knows.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub(crate) fn new() -> Result<Self> {
        random().map(Self)
    }

    /// Returns the text, to be shown once.
    pub(crate) fn text(&self) -> String {
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(&check(&self.0));
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    pub(crate) fn hash(&self) -> TokenHash {
        Sha256::digest(self.0).into()
    }

    /// Reads a token's text.
    ///
    /// # Errors
    /// `badCredential`; the words never hold the text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            let words = format!("this is no token of Carrack's: those begin with {PREFIX}");
            return Err(Error::new(Code::BadCredential, words));
        };
        Self::decode(encoded).ok_or_else(|| {
            let words = "this token was cut or mistyped; copy all of it as it was shown";
            Error::new(Code::BadCredential, words)
        })
    }

    fn decode(encoded: &str) -> Option<Self> {
        if encoded.len() != BASE64URL_NOPAD.encode_len(SECRET_BYTES + CHECK_BYTES) {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
        let (secret, sum) = bytes.split_first_chunk::<SECRET_BYTES>()?;
        (sum == check(secret)).then_some(Self(*secret))
    }
}

fn check(secret: &[u8; SECRET_BYTES]) -> [u8; CHECK_BYTES] {
    crc32c::crc32c(secret).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_no_two_are_alike() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_ne!(one.hash(), other.hash());
        let text = one.text();
        assert_eq!(text.len(), PREFIX.len() + 48);
        assert_eq!(Token::parse(&text).unwrap().hash(), one.hash());
        // The hash is of the secret alone, and shows nothing of it.
        assert_eq!(one.hash(), <[u8; 32]>::from(Sha256::digest(one.0)));
        assert_ne!(one.hash(), one.0);
    }

    #[test]
    fn any_other_text_is_refused_without_showing_it() {
        let text = Token::new().unwrap().text();
        let mut altered = text.clone().into_bytes();
        altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        let cut = &text[..text.len() - 1];
        let long = format!("{text}A");
        let bare = &text[PREFIX.len()..];
        for wrong in ["", "x", PREFIX, cut, &long, &altered, bare, "carrack_ä"] {
            let Err(error) = Token::parse(wrong) else {
                panic!("{wrong} was taken");
            };
            assert_eq!(error.code(), Code::BadCredential);
            assert!(wrong.len() < 9 || !error.chain().contains(wrong));
        }
    }
}
