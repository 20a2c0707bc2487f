//! [`accept`]: one thread takes what comes in at all listeners and deals it out to the workers in turn.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use carrack_schema::limits::{CONNECTIONS_MAX, CONNECTIONS_PEER_MAX, CONNECTIONS_PUBLIC_MAX};
use tokio::sync::{mpsc, watch};

use super::Stage;
use super::listener::{Bound, Listener};
use super::places::{Full, Places};
use super::worker::{Arrival, Incoming};

/// How long accepting rests after it failed.
const REST: Duration = Duration::from_millis(50);

/// Deals connections out to workers in turn.
pub(super) struct Dealer {
    inboxes: Vec<mpsc::UnboundedSender<Incoming>>,
    next: Cell<usize>,
    places: Places,
}

/// Accepts on all listeners until told to stop.
pub(super) async fn accept(
    bound: Vec<Bound>,
    dealer: Dealer,
    mut stages: watch::Receiver<Stage>,
) -> io::Result<()> {
    let listeners = bound
        .into_iter()
        .map(Listener::adopt)
        .collect::<io::Result<Vec<_>>>()?;
    let accepting = listeners.iter().map(|listener| async {
        loop {
            rest_after(dealer.next_of(listener).await).await;
        }
    });
    tokio::select! {
        _ = stages.wait_for(|stage| *stage > Stage::Serving) => {}
        _ = futures::future::join_all(accepting) => {}
    }
    Ok(())
}

/// A failed accept is the peer's fault, or no file descriptor is left. The latter lasts until another connection ends, and
/// the one that waits stays where it is; so wait, and go on.
async fn rest_after(dealt: io::Result<()>) {
    if let Err(error) = dealt {
        tracing::warn!(%error, "a connection was not accepted");
        tokio::time::sleep(REST).await;
    }
}

impl Dealer {
    pub(super) fn new(inboxes: Vec<mpsc::UnboundedSender<Incoming>>, places: Places) -> Self {
        let next = Cell::new(0);
        Self {
            inboxes,
            next,
            places,
        }
    }

    /// Takes one connection of a listener's. Beyond a limit it is closed at once, which its peer sees.
    async fn next_of(&self, listener: &Listener) -> io::Result<()> {
        let (socket, door, peer) = listener.accept().await?;
        match self.places.take(peer) {
            Ok(place) => {
                socket.tune()?;
                let arrival = Arrival::Socket(socket);
                self.deal(Incoming {
                    arrival,
                    door,
                    _place: Some(place),
                });
            }
            Err(Full::All) => tracing::warn!(limit = CONNECTIONS_MAX, "too many connections"),
            Err(Full::Public) => {
                tracing::warn!(
                    limit = CONNECTIONS_PUBLIC_MAX,
                    "too many connections by TCP"
                );
            }
            Err(Full::Peer) => {
                tracing::debug!(?peer, limit = CONNECTIONS_PEER_MAX, "too many of one peer");
            }
        }
        Ok(())
    }

    fn deal(&self, incoming: Incoming) {
        let next = self.next.get();
        let Some(inbox) = self.inboxes.get(next) else {
            return;
        };
        // A worker that is gone closes what it is sent.
        let _closed = inbox.send(incoming);
        self.next.set((next + 1) % self.inboxes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_rests_after_a_failure_and_only_then() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = tokio::time::Instant::now();
            rest_after(Ok(())).await;
            assert_eq!(start.elapsed(), Duration::ZERO);
            // EMFILE comes at once, as often as it is asked for.
            rest_after(Err(io::Error::from_raw_os_error(24))).await;
            assert!(start.elapsed() >= REST);
        });
    }
}
