//! The one writer of a command's output.

use std::io::{self, BufWriter, Stdout, Write};

use carrack_schema::Code;
use serde::Serialize;

use super::{Failure, Result};

/// What was asked for, to stdout; errors, to stderr.
pub(super) struct Output {
    json: bool,
    stdout: BufWriter<Stdout>,
    /// The reader has left: it has what it wanted, as in `carrack list | head`.
    closed: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            stdout: BufWriter::new(io::stdout()),
            closed: false,
        }
    }

    /// Says whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Says whether nobody reads any more: a command that only prints may stop.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints one JSON object on a line.
    pub(super) fn object(&mut self, object: &impl Serialize) -> Result {
        let written = serde_json::to_writer(&mut self.stdout, object).map_err(io::Error::from);
        let written = written.and_then(|()| self.stdout.write_all(b"\n"));
        self.written(written)
    }

    /// Prints a line of text.
    pub(super) fn line(&mut self, text: &str) -> Result {
        let written = writeln!(self.stdout, "{text}");
        self.written(written)
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result {
        let written = self.stdout.write_all(bytes);
        self.written(written)
    }

    /// Passes on what was printed: at the end, and for a reader that waits for it.
    pub(super) fn flush(&mut self) -> Result {
        let written = self.stdout.flush();
        self.written(written)
    }

    fn written(&mut self, result: io::Result<()>) -> Result {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::new(
                Code::Unavailable,
                format!("cannot write the output: {error}"),
            )),
            Ok(()) => Ok(()),
        }
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
