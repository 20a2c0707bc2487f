//! [`Handle`]: a `Send + Clone` name of a capability that the actor opens when it is first needed.
//!
//! A handle is a *recipe*: which capability it is reached from, and by which hop. Naming something sends nothing and
//! waits for nothing; the first leaf that is called on a handle sends the hops on the way to it, in one flight with
//! itself. A recipe outlives a connection, so a handle works on the next one as well.
//!
//! This file is the only way from the methods of handles to the actor: [`Handle::hop`] for hops, [`Handle::ask`] for
//! leaves, [`Handle::run`] and [`Handle::push`] for what is more than a call and its answer.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use capnp::capability::{Client as Untyped, FromClientHook, RemotePromise, Response};
use capnp::traits::{Owned, Pipelined};
use futures::future::LocalBoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::actor::{Actor, Command, Link};
use crate::error::{Error, Result};
use crate::permits::Permits;
use crate::push::{Push, Running};

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Unbounded, and yet its length is bounded: a call in it has a permit, a release an open capability.
    commands: mpsc::UnboundedSender<Command>,
    next_id: AtomicU64,
    pub(crate) permits: Permits,
}

impl Shared {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>) -> Arc<Self> {
        Arc::new(Self {
            commands,
            next_id: AtomicU64::new(0),
            permits: Permits::new(),
        })
    }

    fn send(&self, command: Command) {
        // A closed channel means that the actor is gone: a call is dropped with its reply, which answers "gone".
        let _closed = self.commands.send(command);
    }
}

/// How a capability is reached. Children keep their parents' recipes, never the capabilities themselves open.
pub(crate) struct Node {
    id: u64,
    origin: Origin,
    /// The handles that name this; while there is one, the capability stays open once it is.
    lease: std::sync::Weak<Lease>,
}

enum Origin {
    /// By a hop from another capability, or from the bootstrap if there is none.
    Hop {
        parent: Option<Arc<Node>>,
        hop: Box<dyn Fn(Untyped) -> Untyped + Send + Sync>,
    },
    /// By the answer of a call that cannot be repeated; the words say what to do when it is lost.
    Given(&'static str),
}

impl Node {
    /// Returns the key under which a connection keeps the capability.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns the capability that this one is a hop from; none for the bootstrap.
    ///
    /// # Errors
    /// If this came as an answer that cannot be asked for again.
    pub(crate) fn parent(&self) -> Result<Option<&Arc<Self>>> {
        match &self.origin {
            Origin::Hop { parent, .. } => Ok(parent.as_ref()),
            Origin::Given(words) => Err(Error::new(carrack_schema::Code::Unavailable, *words)),
        }
    }

    /// Sends the hop.
    pub(crate) fn hop(&self, parent: Untyped) -> Untyped {
        match &self.origin {
            Origin::Hop { hop, .. } => hop(parent),
            // Not reached: whoever opens a node asks for its parent first.
            Origin::Given(_) => parent,
        }
    }

    /// Returns whether the capability is to be kept open, and notes that it is.
    pub(crate) fn keep(&self) -> bool {
        // While this reference lives the lease cannot end, so its end sees the mark.
        match self.lease.upgrade() {
            Some(lease) => {
                lease.is_open.store(true, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A chain as long as its maker liked is taken apart link by link, not by as many nested drops.
        let mut next = match &mut self.origin {
            Origin::Hop { parent, .. } => parent.take(),
            Origin::Given(_) => None,
        };
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = match &mut node.origin {
                Origin::Hop { parent, .. } => parent.take(),
                Origin::Given(_) => None,
            };
        }
    }
}

/// Lives as long as there is a handle; then the capability is released if it was opened.
struct Lease {
    id: u64,
    is_open: AtomicBool,
    shared: Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if *self.is_open.get_mut() {
            self.shared.send(Command::Release(self.id));
        }
    }
}

/// A name of one capability, of interface `C`.
pub(crate) struct Handle<C> {
    node: Arc<Node>,
    lease: Arc<Lease>,
    interface: PhantomData<fn() -> C>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            lease: self.lease.clone(),
            interface: PhantomData,
        }
    }
}

impl<C> std::fmt::Debug for Handle<C> {
    /// Shows the handle's number and not its recipe, which may hold a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.node.id)
    }
}

/// Whether a call that met the loss of its connection is sent again on the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Once: it changes nothing, so asking twice does no harm.
    Once,
    /// Never: it may have taken effect, or its caller has seen a part of its answer.
    Never,
}

/// The words of a call that was under way when the connection was lost and is not repeated.
pub(crate) const NOT_REPEATED: &str = "the connection to the store was lost while this was under way, and it is not \
    repeated by itself because it may have taken effect; look at what is there, then call it again";

/// What the actor runs for a caller.
pub(crate) type Job = Box<dyn FnOnce(Rc<Actor>) -> LocalBoxFuture<'static, ()> + Send>;

impl<C: FromClientHook + 'static> Handle<C> {
    fn new(shared: &Arc<Shared>, origin: Origin) -> Self {
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let lease = Arc::new(Lease {
            id,
            is_open: AtomicBool::new(false),
            shared: shared.clone(),
        });
        let node = Node {
            id,
            origin,
            lease: Arc::downgrade(&lease),
        };
        Self {
            node: Arc::new(node),
            lease,
            interface: PhantomData,
        }
    }

    /// Names what a hop from the bootstrap reaches.
    pub(crate) fn root<P: FromClientHook + 'static>(
        shared: &Arc<Shared>,
        hop: impl Fn(P) -> C + Send + Sync + 'static,
    ) -> Self {
        let parent = None;
        let hop = Box::new(untyped(hop));
        Self::new(shared, Origin::Hop { parent, hop })
    }

    /// Names what a hop from this one reaches. Nothing is sent yet.
    pub(crate) fn hop<D: FromClientHook + 'static>(
        &self,
        hop: impl Fn(C) -> D + Send + Sync + 'static,
    ) -> Handle<D> {
        let parent = Some(self.node.clone());
        let hop = Box::new(untyped(hop));
        Handle::new(&self.lease.shared, Origin::Hop { parent, hop })
    }

    /// Names what an answer brought, which ends with its connection; the words are for whoever asks it later.
    pub(crate) fn given<D: FromClientHook + 'static>(&self, lost: &'static str) -> Handle<D> {
        Handle::new(&self.lease.shared, Origin::Given(lost))
    }

    /// Gives a handle the capability that it names on `link`.
    pub(crate) fn adopt(&self, link: &Link, capability: C) {
        link.keep(&self.node, Untyped::new(capability.into_client_hook()));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.lease.shared
    }

    /// Calls a leaf, and reads its answer in the actor. Waits for a permit first. Dropping the future cancels the call.
    ///
    /// One round trip, with all hops that have not been sent yet.
    pub(crate) async fn ask<R, T>(
        &self,
        repeat: Repeat,
        send: impl Fn(&C) -> RemotePromise<R> + Send + 'static,
        read: fn(&Response<R>) -> capnp::Result<T>,
    ) -> Result<T>
    where
        R: Pipelined + Owned + Unpin + 'static,
        T: Send + 'static,
    {
        let permit = self.shared().permits.call().await?;
        let outcome = self.run(permit, async move |actor, handle| {
            handle
                .repeat(&actor, repeat, async |on, _| {
                    let response = send(&on).promise.await?;
                    Ok(read(&response)?)
                })
                .await
        });
        outcome.await.unwrap_or_else(|_| Err(Error::gone()))
    }

    /// Runs `job` in the actor with this handle, and returns where its outcome will be. It is dropped at its next await
    /// when nobody waits for that any more.
    pub(crate) fn run<T: Send + 'static, F>(
        &self,
        permit: OwnedSemaphorePermit,
        job: impl FnOnce(Rc<Actor>, Self) -> F + Send + 'static,
    ) -> oneshot::Receiver<Result<T>>
    where
        F: Future<Output = Result<T>> + 'static,
    {
        let (mut reply, outcome) = oneshot::channel();
        let handle = self.clone();
        let job: Job = Box::new(move |actor| {
            Box::pin(async move {
                let _permit = permit;
                tokio::select! {
                    result = job(actor, handle) => {
                        // The caller may have gone in this very moment; then nobody wants the result.
                        let _gone = reply.send(result);
                    }
                    () = reply.closed() => {}
                }
            })
        });
        self.shared().send(Command::Run(job));
        outcome
    }

    /// Prepares a call that pushes items to its caller; it begins when the first is asked for, with a permit for
    /// streams. At most `queued` items wait between the connection and the caller, which holds back the server.
    ///
    /// `job` gets the capability and the way to the caller; dropping the [`Push`] drops it.
    pub(crate) fn push<I: Send + 'static, T: Send + 'static, F>(
        &self,
        queued: usize,
        job: impl FnOnce(C, mpsc::Sender<I>) -> F + Send + 'static,
    ) -> Push<I, T>
    where
        F: Future<Output = Result<T>> + 'static,
    {
        let handle = self.clone();
        Push::new(async move {
            let permit = handle.shared().permits.stream().await?;
            let (sender, items) = mpsc::channel(queued);
            let outcome = handle.run(permit, async move |actor, handle| {
                handle
                    .once(&actor, async move |on, _| job(on, sender).await)
                    .await
            });
            Ok(Running { items, outcome })
        })
    }

    /// Opens this handle on a live connection and runs what must not be repeated with it.
    pub(crate) async fn once<T>(
        &self,
        actor: &Rc<Actor>,
        job: impl AsyncFnOnce(C, &Link) -> Result<T>,
    ) -> Result<T> {
        let link = actor.link().await?;
        let on = C::new(link.open(&self.node)?.hook);
        let result = job(on, &link).await;
        match result {
            Err(error) if error.is_lost() && actor.gives_up(&link, &error) => {
                Err(Error::new(carrack_schema::Code::Unavailable, NOT_REPEATED))
            }
            result => {
                actor.note(&link, &result);
                result
            }
        }
    }

    async fn repeat<T>(
        &self,
        actor: &Rc<Actor>,
        repeat: Repeat,
        job: impl AsyncFn(C, &Link) -> Result<T>,
    ) -> Result<T> {
        if repeat == Repeat::Never {
            return self.once(actor, job).await;
        }
        let link = actor.link().await?;
        let on = C::new(link.open(&self.node)?.hook);
        let result = job(on, &link).await;
        actor.note(&link, &result);
        match result {
            Err(error) if error.is_unavailable() && actor.gives_up(&link, &error) => {}
            result => return result,
        }
        drop(link);
        let link = actor.link().await?;
        let on = C::new(link.open(&self.node)?.hook);
        let result = job(on, &link).await;
        actor.note(&link, &result);
        result
    }
}

/// Takes the types off a hop.
fn untyped<P: FromClientHook, C: FromClientHook>(
    hop: impl Fn(P) -> C + Send + Sync,
) -> impl Fn(Untyped) -> Untyped + Send + Sync {
    move |parent| Untyped::new(hop(P::new(parent.hook)).into_client_hook())
}

#[cfg(test)]
mod tests {
    use carrack_schema::wire::store_capnp as wire;

    use super::*;

    /// Runs a test where connections can be made; nobody is at their other ends.
    fn local(body: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, body);
    }

    fn link() -> (Link, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        (Link::start(ours).0, theirs)
    }

    fn session(shared: &Arc<Shared>) -> Handle<wire::session::Client> {
        Handle::root(shared, |gate: wire::gate::Client| {
            gate.login_request().send().pipeline.get_session()
        })
    }

    #[test]
    fn what_has_no_handle_does_not_stay_open() {
        local(async {
            let (commands, mut inbox) = mpsc::unbounded_channel();
            let shared = Shared::new(commands);
            let (link, _peer) = link();
            let store = session(&shared)
                .hop(|on: wire::session::Client| on.store_request().send().pipeline.get_store());
            let repo =
                store.hop(|on: wire::store::Client| on.repo_request().send().pipeline.get_repo());
            link.open(&repo.node).unwrap();
            // The session is on the way to both, and nobody holds it.
            assert_eq!(link.open_count(), 2);
            let again = repo.clone();
            drop(repo);
            assert!(inbox.try_recv().is_err(), "there is a handle still");
            drop(again);
            let Ok(Command::Release(id)) = inbox.try_recv() else {
                panic!("the last handle releases");
            };
            drop(link.release(id));
            assert_eq!(link.open_count(), 1);
        });
    }

    #[test]
    fn what_was_given_is_there_on_its_own_connection_only() {
        local(async {
            let (commands, _inbox) = mpsc::unbounded_channel();
            let shared = Shared::new(commands);
            let ((first, _peer), (second, _other)) = (link(), link());
            let issuer = session(&shared);
            let given = issuer.given("save a token");
            let on = wire::session::Client::new(first.open(&issuer.node).unwrap().hook);
            given.adopt(&first, on);
            let store = given
                .hop(|on: wire::session::Client| on.store_request().send().pipeline.get_store());
            first.open(&store.node).unwrap();
            let error = second.open(&store.node).map(drop).unwrap_err();
            let expected = Error::new(carrack_schema::Code::Unavailable, "save a token");
            assert_eq!(error, expected);
        });
    }

    #[test]
    fn a_chain_of_any_length_opens_and_ends() {
        local(async {
            let (commands, _inbox) = mpsc::unbounded_channel();
            let shared = Shared::new(commands);
            let (link, _peer) = link();
            let mut repo = session(&shared)
                .hop(|on: wire::session::Client| on.store_request().send().pipeline.get_store())
                .hop(|on: wire::store::Client| on.repo_request().send().pipeline.get_repo());
            for _ in 0..200_000 {
                repo = repo.hop(|on: wire::repo::Client| on);
            }
            link.open(&repo.node).unwrap();
            drop(repo);
        });
    }
}
