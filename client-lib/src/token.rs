//! The text of a token where a user keeps it: in a file, or in the environment.
//!
//! A text that holds no token is told from no text at all, since whoever shows no token may be the owner.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use carrack_schema::limits::TOKEN_BYTES_MAX;

/// Returns the token that a text holds, without the white space around it; none if there is nothing else, or no UTF-8.
pub fn token_in(text: OsString) -> Option<String> {
    let text = text.into_string().ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// As [`token_in`], of a file; none if it is longer than a token may be.
///
/// # Errors
/// If the file cannot be read, or is no UTF-8.
pub fn token_in_file(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(TOKEN_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    let is_short = text.len() <= TOKEN_BYTES_MAX;
    Ok(is_short.then(|| token_in(text.into())).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_token_up_to_its_longest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let held = |text: &str| {
            std::fs::write(&path, text).unwrap();
            token_in_file(&path).unwrap()
        };
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        assert_eq!(held(&longest), Some(longest.clone()));
        assert_eq!(held(&format!("{longest}x")), None);
        assert_eq!(held(" carrack_x\n"), Some("carrack_x".to_owned()));
        assert_eq!(held(" \n"), None);
        assert!(token_in_file(&folder.path().join("none")).is_err());
    }
}
