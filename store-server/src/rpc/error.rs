//! From the store's errors to RPC exceptions: `code: words`, and a kind that says how to react.

use std::panic::{AssertUnwindSafe, catch_unwind};

use carrack_schema::Code;

use crate::error::Error;

/// Returns the exception that carries an error.
pub(super) fn exception(error: &Error) -> capnp::Error {
    let text = format!("{}: {}", error.code(), error.chain());
    match error.code() {
        Code::Overloaded => capnp::Error::overloaded(text),
        _ => capnp::Error::failed(text),
    }
}

/// Runs a method's body. A panic in it is answered as an error, because one that unwinds into the RPC library
/// takes down the whole connection and leaks its tables.
pub(super) fn answer<T>(body: impl FnOnce() -> Result<T, Failure>) -> capnp::Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure(error))) => Err(error),
        Err(_) => {
            tracing::error!("a method panicked");
            Err(capnp::Error::failed(format!(
                "{}: a method panicked",
                Code::Internal
            )))
        }
    }
}

/// What ends a method early: an error of the store's or of the message's.
pub(super) struct Failure(capnp::Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(exception(&error))
    }
}

impl From<capnp::Error> for Failure {
    fn from(error: capnp::Error) -> Self {
        Self(error)
    }
}

impl From<std::str::Utf8Error> for Failure {
    fn from(error: std::str::Utf8Error) -> Self {
        Error::because(Code::InvalidArgument, "a text is not UTF-8", error).into()
    }
}

impl From<capnp::NotInSchema> for Failure {
    fn from(error: capnp::NotInSchema) -> Self {
        Error::because(
            Code::InvalidArgument,
            "the call is of a newer schema",
            error,
        )
        .into()
    }
}

impl From<carrack_schema::names::NameError> for Failure {
    fn from(error: carrack_schema::names::NameError) -> Self {
        Error::new(Code::InvalidArgument, error.to_string()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind_and_text() {
        for &code in Code::ALL {
            let exception = exception(&Error::new(code, "words"));
            assert_eq!(exception.extra, format!("{code}: words"));
            let kind = match code {
                Code::Overloaded => capnp::ErrorKind::Overloaded,
                _ => capnp::ErrorKind::Failed,
            };
            assert_eq!(exception.kind, kind);
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = answer::<()>(|| panic!("inside")).unwrap_err();
        assert_eq!(error.extra, "internal: a method panicked");
    }
}
