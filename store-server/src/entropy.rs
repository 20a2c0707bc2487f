//! Random bytes from the operating system: segment names and the cursor key.

use carrack_schema::Code;

use crate::error::{Error, Result};

/// Returns `N` random bytes.
///
/// # Errors
/// If the operating system gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::because(Code::Unavailable, "no random bytes to be had", e))?;
    }
    Ok(bytes)
}
