//! [`Connection`]: what one connection holds at a time, and how much that may be. It counts and says when to wait; it
//! reads and writes nothing.
//!
//! Two counts hold reading back. *Queued* are bytes that wait for the peer to take them: while they are over their bound
//! nothing is read, because whoever asks without reading the answers would pile them up here. A peer that reads brings
//! them down; one that takes nothing for a while is closed by the writer's deadline. For an answer that takes long to make,
//! bytes are set aside before it is begun ([`Answering`]), and none is begun without room: so calls that came in together
//! do not pile theirs up either. *Unprocessed* are the bytes of messages that came in and are still held, by calls under
//! way or by calls that wait for those. While they are over their bound nothing is read either, which the peer's kernel
//! tells its writer.
//!
//! Both are bounded over all connections of a server too ([`Totals`]). While a total is over its bound, a connection has
//! the little that each may have whatever others do: so nobody waits for another's peer to read, and who hoards is held
//! back first.
//!
//! Such a pause does not stall an honest client. What makes up most of an honest client's unprocessed bytes are writes
//! into sinks, and these are done with as fast as the disk takes them, whatever else the client says. A call that waits
//! for the client's own answer (an export into its sink) holds a message of a few hundred bytes, and a session may have
//! [`CALLS_MAX`](carrack_schema::limits::CALLS_MAX) of them under way, half of the bound. A client that makes more
//! of them has its answers behind the pause, where they would wait for each other; so a pause in which nothing is done
//! with ends after a while, and then calls are refused with `overloaded` and everything else is read, until there is room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carrack_schema::Code;
use carrack_schema::limits::{
    ANSWER_BYTES, CALL_COST_BYTES, CHUNK_BYTES_MAX, INCOMING_BYTES_MIN, REPLY_BYTES_MIN,
    REPLY_COST_BYTES, WATCHES_MAX,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bounds::Bounds;
use super::error::exception;
use super::questions::Questions;
use crate::error::{Error, Result};

/// Bytes on their way out that wait for more. What is larger is worth a system call of its own, and written while the
/// processor's caches have it: answers of 1 MiB that waited for each other took twice the time.
const GATHERED_BYTES: usize = 8 << 10;

/// One connection. Its objects hold it.
#[derive(Debug)]
pub(super) struct Connection {
    bounds: Arc<Bounds>,
    totals: Arc<Totals>,
    began: Instant,
    is_logged_in: Cell<bool>,
    objects: Permits,
    watches: Permits,
    pushes: Permits,
    queued: Cell<usize>,
    /// Bytes that are set aside for answers that are being made.
    set_aside: Cell<usize>,
    unprocessed: Cell<usize>,
    /// Messages that were done with; a pause in which this stands still does not end by itself.
    done_with: Cell<u64>,
    is_refusing: Cell<bool>,
    has_more_at_hand: Cell<bool>,
    questions: RefCell<Questions>,
    /// Told when one of the counts falls.
    fell: Notify,
}

/// What all connections of a server hold together.
#[derive(Debug)]
pub(super) struct Totals {
    /// What is queued or set aside.
    queued: Total,
    unprocessed: Total,
}

/// Bytes of all connections, and how many they may be.
#[derive(Debug)]
struct Total {
    bytes: AtomicUsize,
    most: usize,
    /// Told when they fall below their bound.
    fell: Notify,
}

impl Connection {
    pub(super) fn new(bounds: Arc<Bounds>, totals: Arc<Totals>) -> Rc<Self> {
        Rc::new(Self {
            questions: RefCell::new(Questions::new(bounds.questions)),
            objects: Permits::new(bounds.objects),
            watches: Permits::new(WATCHES_MAX),
            pushes: Permits::new(bounds.pushes),
            bounds,
            totals,
            began: Instant::now(),
            is_logged_in: Cell::new(false),
            queued: Cell::new(0),
            set_aside: Cell::new(0),
            unprocessed: Cell::new(0),
            done_with: Cell::new(0),
            is_refusing: Cell::new(false),
            has_more_at_hand: Cell::new(false),
            fell: Notify::new(),
        })
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Returns the peer's questions. Not to be held across an await.
    pub(super) fn questions(&self) -> &RefCell<Questions> {
        &self.questions
    }

    /// Says that a session was given out: from here on the connection may be idle.
    pub(super) fn logged_in(&self) {
        self.is_logged_in.set(true);
    }

    /// Returns until when a session must have been given out; none if one was.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        (!self.is_logged_in.get()).then(|| self.began + self.bounds.login_time)
    }
}

// --- objects and calls

/// So many of something at a time.
#[derive(Debug)]
struct Permits {
    taken: Rc<Cell<u32>>,
    most: u32,
}

/// One of so many, for as long as it lives.
#[derive(Debug)]
pub(super) struct Permit(Rc<Cell<u32>>);

impl Permits {
    fn new(most: u32) -> Self {
        let taken = Rc::default();
        Self { taken, most }
    }

    /// Takes one; `words` say of the most why there is none, and what to do.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    fn take(&self, words: impl FnOnce(u32) -> String) -> Result<Permit> {
        let taken = self.taken.get();
        if taken >= self.most {
            return Err(Error::new(Code::Overloaded, words(self.most)));
        }
        self.taken.set(taken + 1);
        Ok(Permit(self.taken.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Counts the calls of one session that are under way.
#[derive(Debug)]
pub(super) struct Calls(Permits);

impl Calls {
    /// Takes a place for a call, which holds it until it is answered or dropped.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn begin(&self) -> Result<Permit> {
        self.0
            .take(|most| format!("{most} calls of this session are under way; await some first"))
    }
}

impl Connection {
    /// Takes a place for an object, which holds it as long as it lives.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn seat(&self) -> Result<Permit> {
        self.objects.take(|most| {
            format!("this connection holds {most} capabilities; release some that are not needed")
        })
    }

    /// Takes a place for something that is pushed to the peer: an export, a scan and the like.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn push(&self) -> Result<Permit> {
        self.pushes.take(|most| {
            format!("{most} exports or scans of this connection are under way; await one")
        })
    }

    /// Takes a place for a watch.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn watch(&self) -> Result<Permit> {
        self.watches
            .take(|most| format!("this connection has {most} watches; drop one that is not needed"))
    }

    /// Counts the calls of a session on this connection.
    pub(super) fn calls(&self) -> Calls {
        Calls(Permits::new(self.bounds.calls))
    }

    /// Awaits the peer's answer to a call of ours. One that does not come must not pin what is being pushed.
    ///
    /// # Errors
    /// As the answer; `unavailable` if there is none in time.
    pub(super) async fn answered<T>(
        &self,
        answer: impl Future<Output = capnp::Result<T>>,
    ) -> capnp::Result<T> {
        let in_time = tokio::time::timeout(self.bounds.push_time, answer).await;
        in_time.unwrap_or_else(|_| {
            let words = "what was pushed here was not acknowledged in time";
            Err(exception(&Error::new(Code::Unavailable, words)))
        })
    }
}

// --- bytes

/// Bytes on their way out, counted until they are written or thrown away.
#[derive(Debug)]
pub(super) struct Queued {
    connection: Rc<Connection>,
    bytes: usize,
}

/// Bytes that are set aside for an answer. Whoever makes it holds them until it is queued.
#[derive(Debug)]
pub(super) struct Answering {
    connection: Rc<Connection>,
    bytes: usize,
}

/// Bytes of a message that came in, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Unprocessed {
    connection: Rc<Connection>,
    bytes: usize,
}

impl Connection {
    /// Counts a message that goes out.
    pub(super) fn queue(self: &Rc<Self>, bytes: usize) -> Queued {
        let bytes = bytes + REPLY_COST_BYTES;
        self.queued.set(self.queued.get() + bytes);
        self.totals.queued.add(bytes);
        Queued {
            connection: self.clone(),
            bytes,
        }
    }

    /// Counts a message whose first bytes came in; the count grows with it.
    pub(super) fn unprocessed(self: &Rc<Self>) -> Unprocessed {
        let mut count = Unprocessed {
            connection: self.clone(),
            bytes: 0,
        };
        count.add(CALL_COST_BYTES);
        count
    }

    /// Waits until the peer has taken enough of what is on its way to it.
    pub(super) async fn room_to_write(&self) {
        let total = &self.totals.queued;
        self.until(total, || self.has_room_to_write()).await;
    }

    /// Says whether more came in with the message that was read last, and will be looked at without waiting.
    pub(super) fn set_more_at_hand(&self, has_more: bool) {
        self.has_more_at_hand.set(has_more);
    }

    /// Says whether what is on its way out is so little that the answers to what is at hand are worth waiting for.
    pub(super) fn gathers(&self) -> bool {
        self.has_more_at_hand.get() && self.queued.get() <= GATHERED_BYTES
    }

    pub(super) fn has_room_to_write(&self) -> bool {
        let queued = self.queued.get();
        queued <= self.bounds.reply_bytes
            && (queued <= REPLY_BYTES_MIN || !self.totals.queued.is_over())
    }

    /// Says whether what waits for this peer is more than each may have, and keeps others from having more.
    pub(super) fn hoards(&self) -> bool {
        self.queued.get() > REPLY_BYTES_MIN && self.totals.queued.is_over()
    }

    /// Says whether an answer of so many bytes may be written now with nothing set aside for it.
    pub(super) fn has_room_at_once(&self, bytes: usize) -> bool {
        self.has_room_to_write() && (bytes <= CHUNK_BYTES_MAX || !self.totals.queued.is_over())
    }

    /// Says whether so many bytes may be set aside: while the total is over, for one answer at a time.
    fn has_room_to_answer(&self, bytes: usize) -> bool {
        let (queued, set_aside) = (self.queued.get(), self.set_aside.get());
        let has_little = queued <= REPLY_BYTES_MIN && set_aside == 0 && bytes <= ANSWER_BYTES;
        let has_own = queued + set_aside <= self.bounds.reply_bytes;
        has_little || (has_own && !self.totals.queued.is_over())
    }

    /// Sets bytes aside for an answer, once there is room: [`ANSWER_BYTES`], or more if it is known to be longer.
    ///
    /// # Errors
    /// `overloaded` if it is longer, which no connection may have whatever others do, and there is no room for a while.
    pub(super) async fn room_to_answer(self: &Rc<Self>, bytes: usize) -> Result<Answering> {
        let bytes = bytes.max(ANSWER_BYTES);
        let room = self.until(&self.totals.queued, || self.has_room_to_answer(bytes));
        if bytes == ANSWER_BYTES {
            room.await;
        } else {
            let in_time = tokio::time::timeout(self.bounds.pause_time, room).await;
            in_time.map_err(|_| lacks_room(bytes))?;
        }
        let mut answering = Answering {
            connection: self.clone(),
            bytes: 0,
        };
        answering.add(bytes);
        Ok(answering)
    }

    /// Waits until something is so that may become so when bytes of this connection or of all fall.
    async fn until(&self, total: &Total, is_so: impl Fn() -> bool) {
        while !is_so() {
            // Whoever lowers the total meanwhile, on another thread, tells a future that is made before.
            let (ours, all) = (self.fell.notified(), total.fell.notified());
            if is_so() {
                return;
            }
            tokio::select! { () = ours => {}, () = all => {} }
        }
    }

    /// Waits until another message may be read, or until it must be because waiting does not help; then
    /// [`is_refusing`](Self::is_refusing).
    pub(super) async fn room_to_read(&self) {
        loop {
            self.room_to_write().await;
            if self.is_full() && !self.is_refusing.get() {
                self.is_refusing.set(!self.pause().await);
            }
            if self.has_room_to_write() {
                break;
            }
        }
        // Not for room that the next message would take again.
        if self.has_room_for(INCOMING_BYTES_MIN) {
            self.is_refusing.set(false);
        }
    }

    /// Says whether calls are to be refused, because there is no room and waiting did not make any.
    pub(super) fn is_refusing(&self) -> bool {
        self.is_refusing.get()
    }

    fn is_full(&self) -> bool {
        !self.has_room_for(0)
    }

    /// Says whether so many bytes more may be unprocessed.
    fn has_room_for(&self, bytes: usize) -> bool {
        self.unprocessed.get() + bytes <= self.bounds.incoming_bytes && !self.lacks_total_for(bytes)
    }

    /// Says whether with so many bytes more all connections together are over their bound, and this one has more than
    /// each may have.
    fn lacks_total_for(&self, bytes: usize) -> bool {
        let lacks_own = self.unprocessed.get() + bytes > INCOMING_BYTES_MIN;
        lacks_own && !self.totals.unprocessed.has_room_for(bytes)
    }

    /// Waits while there is no room. Gives up, with `false`, when nothing was done with for a while.
    async fn pause(&self) -> bool {
        loop {
            let done_with = self.done_with.get();
            let goes_on = || !self.is_full() || self.done_with.get() != done_with;
            let room = self.until(&self.totals.unprocessed, goes_on);
            let in_time = tokio::time::timeout(self.bounds.pause_time, room).await;
            if !self.is_full() {
                return true;
            }
            if in_time.is_err() {
                return false;
            }
        }
    }
}

impl Totals {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            queued: Total::new(bounds.reply_bytes_total),
            unprocessed: Total::new(bounds.incoming_bytes_total),
        }
    }
}

impl Total {
    fn new(most: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            most,
            fell: Notify::new(),
        }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + bytes <= self.most
    }

    fn is_over(&self) -> bool {
        !self.has_room_for(0)
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > self.most && before - bytes <= self.most {
            self.fell.notify_waiters();
        }
    }
}

impl Answering {
    fn add(&mut self, bytes: usize) {
        let connection = &self.connection;
        self.bytes += bytes;
        connection.set_aside.set(connection.set_aside.get() + bytes);
        connection.totals.queued.add(bytes);
    }

    /// Sets more aside for an answer that was made and is longer than was known.
    ///
    /// # Errors
    /// `overloaded` if there is no room now: the answer is there, so to wait would be to keep it.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<()> {
        if bytes <= self.bytes {
            return Ok(());
        }
        if self.connection.totals.queued.is_over() {
            return Err(lacks_room(bytes));
        }
        self.add(bytes - self.bytes);
        Ok(())
    }
}

fn lacks_room(bytes: usize) -> Error {
    let words = format!(
        "an answer of {bytes} bytes is too long while this server's others wait to be read; try \
         again later, or ask for less"
    );
    Error::new(Code::Overloaded, words)
}

impl Drop for Answering {
    fn drop(&mut self) {
        let connection = &self.connection;
        let set_aside = connection.set_aside.get() - self.bytes;
        connection.set_aside.set(set_aside);
        connection.totals.queued.subtract(self.bytes);
        connection.fell.notify_waiters();
    }
}

impl Queued {
    /// Counts what another counted too.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.queued.set(connection.queued.get() - self.bytes);
        connection.totals.queued.subtract(self.bytes);
        connection.fell.notify_waiters();
    }
}

impl Unprocessed {
    fn add(&mut self, bytes: usize) {
        let connection = &self.connection;
        self.bytes += bytes;
        connection
            .unprocessed
            .set(connection.unprocessed.get() + bytes);
        connection.totals.unprocessed.add(bytes);
    }

    /// Counts more bytes of the message, once there is room for them. A message that was begun may be ended whatever the
    /// connection's own bound, which is looked at between two; what all connections have may leave no room.
    ///
    /// # Errors
    /// `overloaded` if there is none for a while, and the message is not of a common size. One that is, is read all the
    /// same, and refused if it is a call.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<()> {
        self.add(bytes);
        let connection = &self.connection;
        let is_common = self.bytes <= INCOMING_BYTES_MIN;
        if !connection.lacks_total_for(0) || (is_common && connection.is_refusing()) {
            return Ok(());
        }
        let total = &connection.totals.unprocessed;
        let room = connection.until(total, || !connection.lacks_total_for(0));
        let in_time = tokio::time::timeout(connection.bounds.pause_time, room).await;
        match in_time {
            Ok(()) => Ok(()),
            Err(_) if is_common => {
                connection.is_refusing.set(true);
                Ok(())
            }
            Err(_) => {
                let words = "this server is busy with other connections' messages; try again later";
                Err(Error::new(Code::Overloaded, words))
            }
        }
    }
}

impl Drop for Unprocessed {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .unprocessed
            .set(connection.unprocessed.get() - self.bytes);
        connection.done_with.set(connection.done_with.get() + 1);
        connection.totals.unprocessed.subtract(self.bytes);
        connection.fell.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_waits_for_all_peers_is_bounded_and_each_has_a_little() {
        const MOST: usize = 1 << 20;
        let bounds = Arc::new(Bounds {
            reply_bytes_total: MOST,
            ..Bounds::default()
        });
        let totals = Arc::new(Totals::new(&bounds));
        let connect = || Connection::new(bounds.clone(), totals.clone());
        let (hoarder, other) = (connect(), connect());
        let _much = hoarder.queue(MOST - REPLY_COST_BYTES);
        assert!(hoarder.has_room_to_write(), "at the limit");
        let small = other.queue(0);
        assert!(!hoarder.has_room_to_write(), "beyond it");
        let mut room = Box::pin(hoarder.room_to_write());
        assert!(room.as_mut().now_or_never().is_none());
        // The other has as much as each may, and an answer that is being made beside it.
        let rest = other.queue(REPLY_BYTES_MIN - 2 * REPLY_COST_BYTES);
        assert!(other.has_room_at_once(CHUNK_BYTES_MAX), "at the limit");
        assert!(!other.has_room_at_once(CHUNK_BYTES_MAX + 1), "beyond it");
        assert!(!other.has_room_to_answer(ANSWER_BYTES + 1), "beyond it");
        let mut first = other.room_to_answer(0).now_or_never().unwrap().unwrap();
        assert!(first.grow_to(ANSWER_BYTES).is_ok(), "at the limit");
        let error = first.grow_to(ANSWER_BYTES + 1).unwrap_err();
        assert_eq!(error.code(), Code::Overloaded, "beyond it");
        assert!(other.has_room_to_write(), "while it is made");
        let mut second = Box::pin(other.room_to_answer(0));
        assert!(second.as_mut().now_or_never().is_none(), "one at a time");
        drop(first);
        drop(second.now_or_never().expect("the first is made"));
        let more = other.queue(0);
        assert!(!other.has_room_to_write(), "beyond it");
        drop((more, small, rest));
        assert!(room.now_or_never().is_some(), "it hears that others fell");
    }

    #[test]
    fn what_is_being_made_counts_as_if_it_waited() {
        const MOST: usize = 4 * ANSWER_BYTES;
        let bounds = Arc::new(Bounds {
            reply_bytes_total: MOST,
            ..Bounds::default()
        });
        let totals = Arc::new(Totals::new(&bounds));
        let connect = || Connection::new(bounds.clone(), totals.clone());
        let (one, other) = (connect(), connect());
        let begin = |connection: &Rc<Connection>| connection.room_to_answer(0).now_or_never();
        let mut made: Vec<_> = (0..5).map(|_| begin(&one).expect("at the limit")).collect();
        assert!(begin(&one).is_none(), "beyond it");
        // Others have one each.
        let last = begin(&other).expect("it has none");
        assert!(begin(&other).is_none(), "one at a time");
        drop(last);
        made.pop();
        let more = begin(&other);
        assert!(more.is_some() && begin(&one).is_none());
        drop((more, made));
        assert_eq!(totals.queued.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(one.set_aside.get() + other.set_aside.get(), 0);
    }

    #[test]
    fn a_connection_has_no_more_made_than_may_wait_for_it() {
        let bounds = Arc::new(Bounds {
            reply_bytes: 2 * ANSWER_BYTES,
            ..Bounds::default()
        });
        let connection = Connection::new(bounds.clone(), Arc::new(Totals::new(&bounds)));
        let begin = || connection.room_to_answer(0).now_or_never();
        let _made: Vec<_> = (0..3).map(|_| begin().expect("at the limit")).collect();
        assert!(begin().is_none(), "beyond it");
    }
}
