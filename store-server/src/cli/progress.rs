//! A progress bar on stderr, when a person looks at it.

use std::io::IsTerminal;

use carrack_client::{CheckPhase, CheckProgress, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

/// The bar of an import or a backup; nothing is drawn when stderr is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(name: &str, bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, target());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        Self(bar)
    }

    /// Says how many bytes are left from here on.
    pub(super) fn expect(&self, left: u64) {
        self.0.set_length(self.0.position().saturating_add(left));
    }

    /// Says that so many more bytes are done with.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Follows the reports until the import is over.
    pub(super) async fn follow(&self, mut reports: watch::Receiver<Progress>) {
        while reports.changed().await.is_ok() {
            let progress = *reports.borrow_and_update();
            match progress.phase {
                Phase::Receiving => self.0.set_position(progress.done),
                Phase::Packing => self
                    .0
                    .set_message(format!("{} records verified", progress.done)),
                Phase::Committing => self.0.set_message("committing"),
            }
        }
    }
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A check's bar.
pub(super) struct CheckBar(ProgressBar);

impl CheckBar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// Shows how far the check is.
    pub(super) fn show(&self, progress: CheckProgress) {
        self.0.set_prefix(match progress.phase {
            CheckPhase::Segments => "segments",
            CheckPhase::Repos => "repos",
        });
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
        if progress.records > 0 {
            self.0.set_message(format!("{} records", progress.records));
        }
    }

    /// Takes the bar away while something is printed.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for CheckBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
