//! [`Push`]: items that a call pushes, and how it ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

/// Items of type `I` that a call pushes, and its answer `T` at the end. It begins with the first poll; dropping it
/// cancels the call.
pub(crate) struct Push<I, T> {
    state: State<I, T>,
}

enum State<I, T> {
    Waiting(BoxFuture<'static, Result<Running<I, T>>>),
    Running(Running<I, T>),
    Failed(Error),
}

/// A call under way.
pub(crate) struct Running<I, T> {
    pub(crate) items: mpsc::Receiver<I>,
    pub(crate) outcome: oneshot::Receiver<Result<T>>,
}

impl<I, T> std::fmt::Debug for Push<I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.state {
            State::Waiting(_) => "waiting",
            State::Running(_) => "running",
            State::Failed(_) => "failed",
        })
    }
}

impl<I, T> Push<I, T> {
    pub(crate) fn new(begin: impl Future<Output = Result<Running<I, T>>> + Send + 'static) -> Self {
        Self {
            state: State::Waiting(Box::pin(begin)),
        }
    }

    fn poll_running(&mut self, context: &mut Context<'_>) -> Poll<Option<&mut Running<I, T>>> {
        if let State::Waiting(begin) = &mut self.state {
            self.state = match ready!(begin.as_mut().poll(context)) {
                Ok(running) => State::Running(running),
                Err(error) => State::Failed(error),
            };
        }
        Poll::Ready(match &mut self.state {
            State::Running(running) => Some(running),
            State::Waiting(_) | State::Failed(_) => None,
        })
    }

    /// Sends the call, if that was not done before.
    pub(crate) async fn begin(&mut self) {
        std::future::poll_fn(|context| self.poll_running(context).map(|_| ())).await;
    }

    /// Returns the next item; none after the last, or when the call has failed.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<I>> {
        match ready!(self.poll_running(context)) {
            Some(running) => running.items.poll_recv(context),
            None => Poll::Ready(None),
        }
    }

    /// Returns the next item; none after the last, or when the call has failed.
    pub(crate) async fn next(&mut self) -> Option<I> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Returns how the call ended; ready once, after which it is taken.
    pub(crate) fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let outcome = match ready!(self.poll_running(context)) {
            Some(running) => ready!(Pin::new(&mut running.outcome).poll(context)),
            None => Ok(Err(Error::gone())),
        };
        if let State::Failed(error) = &self.state {
            return Poll::Ready(Err(error.clone()));
        }
        Poll::Ready(outcome.unwrap_or_else(|_| Err(Error::gone())))
    }

    /// Returns how the call ended. It takes no further items.
    pub(crate) async fn done(mut self) -> Result<T> {
        std::future::poll_fn(|context| self.poll_outcome(context)).await
    }
}
