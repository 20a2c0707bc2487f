//! A progress bar on stderr, when a person looks at it.

use std::io::IsTerminal;

use carrack_client::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

/// An import's bar; nothing is drawn when stderr is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(name: &str, bytes: Option<u64>) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(bytes, target);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        Self(bar)
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

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
