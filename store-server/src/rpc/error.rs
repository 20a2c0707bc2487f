//! From the store's errors to RPC exceptions: `code: words`, and a kind that says how to react.

use std::panic::{AssertUnwindSafe, catch_unwind};

use carrack_schema::Code;
use futures::FutureExt;

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
        Ok(result) => result.map_err(|Failure(error)| error),
        Err(_) => Err(panicked()),
    }
}

/// As [`answer`], for a body that waits. When its future is dropped, so is the body.
///
/// Not an `async fn`, whose future would hold the body twice, as an argument and as what it awaits.
pub(super) fn answer_async<T>(
    body: impl Future<Output = Result<T, Failure>>,
) -> impl Future<Output = capnp::Result<T>> {
    AssertUnwindSafe(body)
        .catch_unwind()
        .map(|caught| match caught {
            Ok(result) => result.map_err(|Failure(error)| error),
            Err(_) => Err(panicked()),
        })
}

fn panicked() -> capnp::Error {
    tracing::error!("a method panicked");
    capnp::Error::failed(format!("{}: a method panicked", Code::Internal))
}

/// What ends a method early: an error of the store's or of the message's.
pub(super) struct Failure(capnp::Error);

impl Failure {
    pub(super) fn into_exception(self) -> capnp::Error {
        self.0
    }
}

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

    #[test]
    fn a_panic_after_a_wait_is_an_error() {
        let (waits, goes_on) = futures::channel::oneshot::channel::<()>();
        let mut answering = Box::pin(answer_async::<()>(async {
            let _dropped = goes_on.await;
            panic!("inside")
        }));
        assert!(answering.as_mut().now_or_never().is_none());
        drop(waits);
        let error = answering.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.extra, "internal: a method panicked");
    }
}
