//! [`Work`]: what a call does on a thread of its own, because it takes as long as it takes: imports, exports, queries, and
//! what a keeper does. How many of them there may be is for whoever starts one.

use carrack_schema::Code;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Work that runs on a thread, and where its outcome will be. Dropping this does not end the thread.
pub(super) struct Work<T>(oneshot::Receiver<Result<T>>);

impl<T: Send + 'static> Work<T> {
    /// Starts a thread. `place` is free before the outcome is out: whoever has that may call again.
    ///
    /// # Errors
    /// `overloaded` if there is no thread.
    pub(super) fn start(
        name: &str,
        place: impl Send + 'static,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<Self> {
        let (answer, outcome) = oneshot::channel();
        let run = move || {
            let result = work();
            drop(place);
            // A call that was dropped does not hear how it ended.
            let _left = answer.send(result);
        };
        std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|error| Error::because(Code::Overloaded, "no thread for the call", error))?;
        Ok(Self(outcome))
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// As the work; `internal` if it panicked.
    pub(super) async fn outcome(self) -> Result<T> {
        self.0.await.unwrap_or_else(|_| {
            let words = "the call's thread ended without an outcome";
            Err(Error::new(Code::Internal, words))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn outcome<T: Send + 'static>(work: Work<T>) -> Result<T> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work.outcome())
    }

    #[test]
    fn a_place_is_free_before_the_outcome_is_out() {
        let place = Arc::new(());
        let held = place.clone();
        let work = Work::start("test", held, || Ok(7)).unwrap();
        assert_eq!(outcome(work).unwrap(), 7);
        assert_eq!(Arc::strong_count(&place), 1);
    }

    #[test]
    fn a_panic_is_an_error() {
        let work = Work::<()>::start("test", (), || panic!("inside")).unwrap();
        assert_eq!(outcome(work).unwrap_err().code(), Code::Internal);
    }
}
