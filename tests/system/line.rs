//! [`Line`]: a line with delay between a client and a store, for counting round trips exactly.
//!
//! Server and client share a paused clock, joined by pumps that hold each piece of bytes for a fixed time; what passes on
//! the clock, divided by there-and-back, is the number of round trips. A paused clock jumps ahead whenever nothing is left
//! to do on its thread, but the store also works on threads of its own. So the line reads along which calls the store has
//! not answered, and holds the clock while it works on one: its work then takes no time at all.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use capnp::message::ReaderOptions;
use capnp_rpc::rpc_capnp::message;
use carrack_client::{Client, Session};
use carrack_store::{Door, Entrance, Store, rpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

const ONE_WAY: Duration = Duration::from_millis(50);

/// Longest time, on a real clock, that the store is thought to be at work on what it was asked.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// What the store waits for while a call of the client's is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreWaits {
    /// For its own work only.
    ForItself,
    /// For the client, once so many of its calls to the client are not answered.
    ForClient(u64),
}

/// A line between a client and a store.
pub(crate) struct Line {
    pub(crate) session: Session,
    ledger: Rc<RefCell<Ledger>>,
}

/// Calls that went over the line each way, and their answers.
struct Ledger {
    calls: u64,
    answers: u64,
    calls_back: u64,
    answers_back: u64,
    waits: StoreWaits,
    /// A blocking task that waits for its end, which stops a paused clock from jumping.
    hold: Option<std::sync::mpsc::Sender<()>>,
}

#[derive(Clone, Copy)]
enum Way {
    ToStore,
    ToClient,
}

impl Ledger {
    /// Notes a message as it reaches the store, or as it leaves it.
    fn note(&mut self, way: Way, message: &[u8]) {
        let mut rest = message;
        let message = capnp::serialize::read_message_from_flat_slice(&mut rest, OPTIONS).unwrap();
        let root: message::Reader<'_> = message.get_root().unwrap();
        match (way, root.which().unwrap()) {
            (Way::ToStore, message::Bootstrap(_) | message::Call(_)) => self.calls += 1,
            (Way::ToStore, message::Return(_)) => self.answers_back += 1,
            (Way::ToClient, message::Call(_)) => self.calls_back += 1,
            (Way::ToClient, message::Return(_)) => self.answers += 1,
            _ => {}
        }
        let is_client_asked = match self.waits {
            StoreWaits::ForItself => false,
            StoreWaits::ForClient(calls) => self.calls_back - self.answers_back >= calls,
        };
        if self.calls == self.answers || is_client_asked {
            self.hold = None;
        } else if self.hold.is_none() {
            let (hold, released) = std::sync::mpsc::channel::<()>();
            self.hold = Some(hold);
            // The store may wait for something that is still on the line; then time must pass after all.
            tokio::task::spawn_blocking(move || released.recv_timeout(HOLD_MAX).is_err());
        }
    }
}

const OPTIONS: ReaderOptions = ReaderOptions {
    traversal_limit_in_words: None,
    nesting_limit: 64,
};

/// Takes bytes as they come and gives messages.
#[derive(Default)]
struct Messages(Vec<u8>);

impl Messages {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        while let Some(length) = message_bytes(&self.0).filter(|length| *length <= self.0.len()) {
            let rest = self.0.split_off(length);
            each(&self.0);
            self.0 = rest;
        }
    }
}

/// Returns the length of the message that begins here, once its table is there.
fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(four) as usize)
    };
    let segments = number(0)? + 1;
    let mut words = 0;
    for segment in 0..segments {
        words += number(4 + 4 * segment)?;
    }
    Some((4 + 4 * segments).next_multiple_of(8) + 8 * words)
}

/// Moves bytes and holds each piece for [`ONE_WAY`]; pieces follow each other, as on a real line.
async fn pump(
    way: Way,
    ledger: Rc<RefCell<Ledger>>,
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
) {
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (near, far) = (ledger.clone(), ledger);
    let deliver = async move {
        let mut messages = Messages::default();
        while let Some((due, bytes)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if let Way::ToStore = way {
                messages.feed(&bytes, |message| far.borrow_mut().note(way, message));
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let collect = async move {
        let mut messages = Messages::default();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..count];
            if let Way::ToClient = way {
                messages.feed(bytes, |message| near.borrow_mut().note(way, message));
            }
            if sender
                .send((Instant::now() + ONE_WAY, bytes.to_vec()))
                .is_err()
            {
                return;
            }
        }
    };
    tokio::join!(deliver, collect);
}

impl Line {
    /// Connects a client to `store`, on this task's `LocalSet`.
    pub(crate) fn new(store: &Store, waits: StoreWaits) -> Self {
        let ledger = Rc::new(RefCell::new(Ledger {
            calls: 0,
            answers: 0,
            calls_back: 0,
            answers_back: 0,
            waits,
            hold: None,
        }));
        let (ours, near) = tokio::io::duplex(1 << 20);
        let (far, theirs) = tokio::io::duplex(1 << 20);
        let ((near_read, near_write), (far_read, far_write)) =
            (tokio::io::split(near), tokio::io::split(far));
        tokio::task::spawn_local(pump(Way::ToStore, ledger.clone(), near_read, far_write));
        tokio::task::spawn_local(pump(Way::ToClient, ledger.clone(), far_read, near_write));
        let server = rpc::serve(store.clone(), Entrance::new(Door::Owner), theirs);
        tokio::task::spawn_local(async move {
            let _ended = server.await;
        });
        let (client, connection) = Client::local(ours);
        tokio::task::spawn_local(connection);
        Self {
            session: client.login(""),
            ledger,
        }
    }

    /// Returns how many calls the store has made to the client.
    pub(crate) fn calls_back(&self) -> u64 {
        self.ledger.borrow().calls_back
    }
}

/// Returns how many round trips something takes, and what it gives.
pub(crate) async fn count<T>(work: impl Future<Output = T>) -> (f64, T) {
    let start = Instant::now();
    let result = work.await;
    let passed = start.elapsed().as_micros() as f64;
    (passed / (2.0 * ONE_WAY.as_micros() as f64), result)
}
