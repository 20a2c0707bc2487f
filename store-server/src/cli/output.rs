//! The one writer of a command's output.

use std::io::{self, BufWriter, Stdout, Write};

use carrack_schema::Code;
use serde::Serialize;

use super::{Failure, Result};

/// What was asked for, to stdout; errors, to stderr.
pub(super) struct Output {
    json: bool,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            stdout: BufWriter::new(io::stdout()),
        }
    }

    /// Says whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one JSON object on a line.
    pub(super) fn object(&mut self, object: &impl Serialize) -> Result {
        let written = serde_json::to_writer(&mut self.stdout, object).map_err(io::Error::from);
        written
            .and_then(|()| self.stdout.write_all(b"\n"))
            .map_err(unwritable)
    }

    /// Prints a line of text.
    pub(super) fn line(&mut self, text: &str) -> Result {
        writeln!(self.stdout, "{text}").map_err(unwritable)
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result {
        self.stdout
            .write_all(bytes)
            .and_then(|()| self.stdout.flush())
            .map_err(unwritable)
    }

    /// Passes on what was printed, for a reader that waits for it.
    pub(super) fn flush(&mut self) -> Result {
        self.stdout.flush().map_err(unwritable)
    }

    /// Tells a person something that was not asked for.
    pub(super) fn note(&mut self, text: &str) {
        // Nothing is left to be told to somebody whose stderr is closed.
        let _closed = writeln!(io::stderr(), "{text}");
    }

    /// Reports why the command, or a part of it, failed.
    pub(super) fn failure(&mut self, failure: &Failure) {
        let Failure { code, words } = failure;
        if self.json {
            let object = serde_json::json!({ "error": { "code": code.as_str(), "words": words } });
            self.note(&object.to_string());
        } else {
            self.note(&format!("carrack: {words} ({code})"));
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // A reader that closed its end early has what it wanted.
        let _closed = self.stdout.flush();
    }
}

/// A closed pipe ends a command quietly, as `carrack list | head` expects; the rest is a failure.
fn unwritable(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Failure::new(
        Code::Unavailable,
        format!("cannot write the output: {error}"),
    )
}
