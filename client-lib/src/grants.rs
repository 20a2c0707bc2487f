//! [`Grants`], [`Grant`]: handing on a part of what a session may do.

use carrack_schema::wire::grant_capnp as wire;

use crate::error::{Error, Result};
use crate::handle::{Handle, Repeat};
use crate::read::grant as read;
use crate::scope::{GrantInfo, GrantList, Scope, TokenInfo};
use crate::session::Session;

/// What a session says that was issued on a connection which is gone.
const ISSUED_AND_LOST: &str = "the session came from a grant that was issued on a connection which is gone; save a \
    token of the grant and restore it instead";

/// The grants that descend from a session's.
#[derive(Clone, Debug)]
pub struct Grants(pub(crate) Handle<wire::grants::Client>);

/// A grant that was made just now.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What it allows, to give away within this process. It ends with the connection it was issued on, and cannot be made
    /// again: to outlive that, or to reach another process, [`save`](Grant::save) a token.
    pub session: Session,
    /// What controls it.
    pub grant: Grant,
    /// What is known of it.
    pub info: GrantInfo,
}

impl Grants {
    /// Makes a grant that allows `scope`, which must not be wider than what this session may. When this returns, it
    /// survives a crash. One round trip.
    ///
    /// # Errors
    /// As every leaf; `denied` for a wider scope, `invalidArgument` for one without a time. If the connection is lost the
    /// call is not repeated, and whether there is a grant is unknown: see [`list`](Self::list).
    pub async fn issue(&self, scope: Scope, label: &str) -> Result<Issued> {
        let (grants, label) = (self.clone(), label.to_owned());
        let permit = self.0.shared().permits.call().await?;
        let issued = self.0.run(permit, async move |actor, handle| {
            let job = async move |on: wire::grants::Client, link: &_| {
                let mut request = on.issue_request();
                read::set_scope(request.get().init_scope(), &scope);
                request.get().set_label(&label);
                let sent = request.send();
                // In the same flight: by its id the grant can be named on another connection.
                let info = sent.pipeline.get_grant().info_request().send();
                let response = sent.promise.await?;
                let results = response.get()?;
                let info = read::info(&info.promise.await?)?;
                let session = grants.0.given(ISSUED_AND_LOST);
                session.adopt(link, results.get_session()?);
                let grant = grants.grant(&info.id);
                grant.0.adopt(link, results.get_grant()?);
                Ok(Issued {
                    session: Session(session),
                    grant,
                    info,
                })
            };
            handle.once(&actor, job).await
        });
        issued.await.unwrap_or_else(|_| Err(Error::gone()))
    }

    /// Returns up to `limit` descendants (0: the server's default) in order of id, those above `after`. One round trip.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn list(&self, after: &str, limit: u32) -> Result<GrantList> {
        let after = after.to_owned();
        let send = move |on: &wire::grants::Client| {
            let mut request = on.list_request();
            request.get().set_after(&after);
            request.get().set_limit(limit);
            request.send()
        };
        self.0.ask(Repeat::Once, send, read::list).await
    }

    /// Names a descendant by its id.
    pub fn grant(&self, id: &str) -> Grant {
        let id = id.to_owned();
        Grant(self.0.hop(move |on| {
            let mut request = on.grant_request();
            request.get().set_id(&id);
            request.send().pipeline.get_grant()
        }))
    }
}

/// The issuer's end of a grant.
#[derive(Clone, Debug)]
pub struct Grant(pub(crate) Handle<wire::grant::Client>);

impl Grant {
    /// Returns what is known of it, with its use. One round trip.
    ///
    /// # Errors
    /// As every leaf; `notFound` if this session's grant has no such descendant.
    pub async fn info(&self) -> Result<GrantInfo> {
        let send = |on: &wire::grant::Client| on.info_request().send();
        self.0.ask(Repeat::Once, send, read::info).await
    }

    /// Ends the grant and all that descend from it: sessions, calls under way, tokens. Returns how many grants that were.
    /// One round trip.
    ///
    /// # Errors
    /// As [`info`](Self::info). Not repeated if the connection is lost.
    pub async fn revoke(&self) -> Result<u32> {
        let send = |on: &wire::grant::Client| on.revoke_request().send();
        self.0.ask(Repeat::Never, send, read::revoked).await
    }

    /// Makes a token for [`Client::restore`](crate::Client::restore), and returns it with its number. It is shown this
    /// once. One round trip.
    ///
    /// # Errors
    /// As [`info`](Self::info). Not repeated if the connection is lost: see [`tokens`](Self::tokens) for one to forget.
    pub async fn save(&self, label: &str) -> Result<(String, u64)> {
        let label = label.to_owned();
        let send = move |on: &wire::grant::Client| {
            let mut request = on.save_request();
            request.get().set_label(&label);
            request.send()
        };
        self.0.ask(Repeat::Never, send, read::saved).await
    }

    /// Returns the tokens that open it. One round trip.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        let send = |on: &wire::grant::Client| on.tokens_request().send();
        self.0.ask(Repeat::Once, send, read::tokens).await
    }

    /// Ends one token, and returns whether there was one. Sessions that were opened with it go on. One round trip.
    ///
    /// # Errors
    /// As [`info`](Self::info). Not repeated if the connection is lost.
    pub async fn forget(&self, id: u64) -> Result<bool> {
        let send = move |on: &wire::grant::Client| {
            let mut request = on.forget_request();
            request.get().set_id(id);
            request.send()
        };
        self.0.ask(Repeat::Never, send, read::forgotten).await
    }
}
