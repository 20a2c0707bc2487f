//! [`Network`]: a two-party network as the RPC library wants one, in which a connection is bounded.
//!
//! It stands in for `capnp_rpc::twoparty`, which reads what a header announces, queues without end and knows no time. A
//! message that came in is looked at before the library has it ([`Questions`](super::questions::Questions)); messages
//! that go out are counted until they are written. Of the library's own network only the windows of streams are used.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{FlowController, IncomingMessage, OutgoingMessage, VatNetwork, twoparty};
use carrack_schema::Code;
use carrack_schema::limits::STREAM_WINDOW_BYTES;
use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, TryFutureExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf};

use super::connection::Connection;
use super::message::Reading;
use super::questions::Verdict;
use super::writing::{Outgoing, write};

/// The words of a message's first segment that is asked for with none.
const FIRST_WORDS: u32 = 100;

/// The server's end of a connection.
pub(super) struct Network<S> {
    connection: Option<Wire<S>>,
    writing: Option<Promise<(), capnp::Error>>,
}

impl<S: AsyncRead + AsyncWrite + 'static> Network<S> {
    pub(super) fn new(stream: S, connection: Rc<Connection>) -> Self {
        let (input, output) = tokio::io::split(stream);
        let (outgoing, queue) = mpsc::unbounded();
        let reading = Reading::new(input, connection.clone());
        let writing = write(queue, output, connection.clone());
        Self {
            connection: Some(Wire {
                reading: Rc::new(RefCell::new(Some(reading))),
                sender: Sender {
                    connection,
                    outgoing,
                },
                windows: None,
            }),
            writing: Some(Promise::from_future(writing)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + 'static> VatNetwork<Side> for Network<S> {
    fn connect(&mut self, _peer: Side) -> Option<Box<dyn capnp_rpc::Connection<Side>>> {
        // A server does not ask its peers for their bootstrap.
        None
    }

    fn accept(&mut self) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error> {
        match self.connection.take() {
            Some(connection) => Promise::ok(Box::new(connection)),
            None => Promise::from_future(futures::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        self.writing
            .take()
            .unwrap_or_else(|| Promise::from_future(futures::future::pending()))
    }
}

/// A connection as the library sees it.
struct Wire<S> {
    /// Away while a message is awaited.
    reading: Rc<RefCell<Option<Reading<ReadHalf<S>>>>>,
    sender: Sender,
    /// Makes the windows of streams, once there is one.
    windows: Option<Box<dyn capnp_rpc::Connection<Side>>>,
}

impl<S: AsyncRead + AsyncWrite + 'static> capnp_rpc::Connection<Side> for Wire<S> {
    fn get_peer_vat_id(&self) -> Side {
        Side::Client
    }

    fn new_outgoing_message(&mut self, first_words: u32) -> Box<dyn OutgoingMessage> {
        Box::new(self.sender.message(first_words))
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        let Some(mut reading) = self.reading.borrow_mut().take() else {
            return Promise::err(capnp::Error::failed("a message is awaited already".into()));
        };
        let (home, sender) = (self.reading.clone(), self.sender.clone());
        Promise::from_future(async move {
            let received = receive(&mut reading, &sender).await?;
            *home.borrow_mut() = Some(reading);
            Ok(received)
        })
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), capnp::Error>) {
        let (window, driver) = match self.windows() {
            Ok(windows) => windows.new_stream(),
            Err(error) => return (Box::new(NoStream(error)), Promise::ok(())),
        };
        let connection = self.sender.connection.clone();
        (Box::new(Stream { window, connection }), driver)
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        let (ended, end) = oneshot::channel();
        self.sender.send(Outgoing::End(result, ended));
        Promise::from_future(end.map_err(|_| gone()))
    }
}

/// Receives a message that the library may have.
async fn receive<R: AsyncRead + Unpin>(
    reading: &mut Reading<R>,
    sender: &Sender,
) -> capnp::Result<Option<Box<dyn IncomingMessage>>> {
    let connection = &sender.connection;
    loop {
        connection.room_to_read().await;
        connection.questions().borrow().check()?;
        let Some(received) = reading.message().await? else {
            return Ok(None);
        };
        let verdict = {
            let message = received.get_body()?.get_as::<message::Reader<'_>>()?;
            let mut questions = connection.questions().borrow_mut();
            questions.receive(message, connection.is_refusing())?
        };
        match verdict {
            Verdict::Pass => return Ok(Some(Box::new(received))),
            Verdict::Refuse(question, error) => sender.refuse(question, &error)?,
            Verdict::Drop => {}
        }
    }
}

/// The way out of a connection.
#[derive(Clone)]
struct Sender {
    connection: Rc<Connection>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Sender {
    fn message(&self, first_words: u32) -> Sending {
        let first_words = if first_words == 0 {
            FIRST_WORDS
        } else {
            first_words
        };
        Sending {
            message: Builder::new(HeapAllocator::new().first_segment_words(first_words)),
            sender: self.clone(),
        }
    }

    /// Sends into the queue. When writing has ended, nothing more goes out, and the connection is about to end.
    fn send(&self, outgoing: Outgoing) {
        let _ended = self.outgoing.unbounded_send(outgoing);
    }

    /// Answers a call that the library does not get to see.
    fn refuse(&self, question: u32, error: &capnp::Error) -> capnp::Result<()> {
        use capnp_rpc::rpc_capnp::exception::Type;
        let mut sending = self.message(FIRST_WORDS);
        let mut answer = sending
            .get_body()?
            .init_as::<message::Builder<'_>>()
            .init_return();
        answer.set_answer_id(question);
        answer.set_release_param_caps(true);
        let mut exception = answer.init_exception();
        exception.set_reason(&error.extra);
        exception.set_type(match error.kind {
            capnp::ErrorKind::Overloaded => Type::Overloaded,
            capnp::ErrorKind::Unimplemented => Type::Unimplemented,
            _ => Type::Failed,
        });
        // Not through `OutgoingMessage::send`: the questions know of this answer.
        sending.queue();
        Ok(())
    }
}

/// A message that is being made and will go out.
struct Sending {
    message: Builder<HeapAllocator>,
    sender: Sender,
}

impl Sending {
    fn queue(self) -> Rc<Builder<HeapAllocator>> {
        let queued = self
            .sender
            .connection
            .queue(self.message.size_in_words() * 8);
        let message = Rc::new(self.message);
        self.sender.send(Outgoing::Message(message.clone(), queued));
        message
    }
}

impl OutgoingMessage for Sending {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Builder<HeapAllocator>>) {
        let connection = &self.sender.connection;
        if let Ok(message) = self
            .get_body_as_reader()
            .and_then(|body| body.get_as::<message::Reader<'_>>())
        {
            connection.questions().borrow_mut().send(message);
        }
        // The library never waits for the promise. What is to wait for room asks the connection.
        (Promise::ok(()), self.queue())
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

fn gone() -> capnp::Error {
    capnp::Error::disconnected(format!("{}: the connection has ended", Code::Unavailable))
}

/// A stream of ours: its window, and the bound of its connection.
struct Stream {
    window: Box<dyn FlowController>,
    connection: Rc<Connection>,
}

impl FlowController for Stream {
    fn send(
        &mut self,
        message: Box<dyn OutgoingMessage>,
        acknowledged: Promise<(), capnp::Error>,
    ) -> Promise<(), capnp::Error> {
        let sent = self.window.send(message, acknowledged);
        if self.connection.has_room_to_write() {
            return sent;
        }
        let connection = self.connection.clone();
        Promise::from_future(async move {
            sent.await?;
            connection.room_to_write().await;
            Ok(())
        })
    }

    fn wait_all_acked(&mut self) -> Promise<(), capnp::Error> {
        self.window.wait_all_acked()
    }
}

/// A stream that could not be made.
struct NoStream(capnp::Error);

impl FlowController for NoStream {
    fn send(
        &mut self,
        _message: Box<dyn OutgoingMessage>,
        _acknowledged: Promise<(), capnp::Error>,
    ) -> Promise<(), capnp::Error> {
        Promise::err(self.0.clone())
    }

    fn wait_all_acked(&mut self) -> Promise<(), capnp::Error> {
        Promise::err(self.0.clone())
    }
}

impl<S> Wire<S> {
    /// Returns what makes windows: a network of the library's that never reads or writes.
    fn windows(&mut self) -> capnp::Result<&mut Box<dyn capnp_rpc::Connection<Side>>> {
        if self.windows.is_none() {
            let mut network = twoparty::VatNetwork::new(
                futures::io::empty(),
                futures::io::sink(),
                Side::Server,
                capnp::message::ReaderOptions::new(),
            );
            network.set_window_size(STREAM_WINDOW_BYTES);
            let accepted = network.accept().now_or_never();
            self.windows = Some(accepted.unwrap_or_else(|| Err(gone()))?);
        }
        self.windows.as_mut().ok_or_else(gone)
    }
}
