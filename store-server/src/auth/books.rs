//! The thread that writes down what was used and done, every few seconds: use into the catalog, deeds into the audit log.
//!
//! It holds the store only while it writes, so that a store nobody else uses goes; and it ends when the store closes.
//! Who closes a store writes its books once more, when nobody can use it any longer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use carrack_schema::Code;
use carrack_schema::limits::BOOKS_SECONDS;

use crate::error::{Error, Result};
use crate::merge::background::Signal;
use crate::store::{Inner, Store};

impl Store {
    /// Starts the thread that writes the books. It ends when the store is closed, or nobody else uses it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start_books(&self) -> Result<()> {
        let (weak, signal) = (self.downgrade(), self.inner().books.clone());
        std::thread::Builder::new()
            .name("carrack-books".into())
            .spawn(move || run(&weak, &signal))
            .map_err(|error| Error::because(Code::Unavailable, "no thread for the books", error))?;
        Ok(())
    }

    /// Writes down what was used and done since the last time.
    pub(crate) fn write_books(&self) {
        self.inner().audit.write();
        if let Err(error) = self.write_use() {
            tracing::warn!(
                error = error.chain(),
                "what grants have used is not written down; after a crash it counts as unused"
            );
        }
    }
}

fn run(store: &Weak<Inner>, signal: &Arc<Signal>) {
    loop {
        signal.wait(Duration::from_secs(BOOKS_SECONDS));
        let Some(store) = Store::upgrade(store) else {
            return;
        };
        if store.is_closing() {
            return;
        }
        store.write_books();
    }
}
