//! Rows of grants, of what they used, and of the tokens that open them. A token is not in its row: a hash of it is the key.

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::wire::catalog_capnp::{grant_entry, grant_use, token_entry};

use super::entry::{halves, pack, unpack};
use crate::auth::scope::Scope;
use crate::error::{Result, damaged};

/// A grant's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantEntry {
    /// None: the owner.
    pub(crate) parent: Option<ulid::Ulid>,
    pub(crate) label: String,
    pub(crate) scope: Scope,
    pub(crate) created: i64,
    pub(crate) tokens_made: u64,
}

/// What was used of a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantUse {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    pub(crate) last_used: i64,
}

/// A token's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenEntry {
    pub(crate) grant: ulid::Ulid,
    pub(crate) id: u64,
    pub(crate) label: String,
    pub(crate) created: i64,
    pub(crate) last_used: i64,
}

const GRANT: &str = "a grant's row in the catalog does not parse";
const TOKEN: &str = "a token's row in the catalog does not parse";

fn bad(what: &'static str) -> impl Fn(capnp::Error) -> crate::Error {
    move |error| damaged(what, error)
}

fn ulid(high: u64, low: u64) -> ulid::Ulid {
    ulid::Ulid(u128::from(high) << 64 | u128::from(low))
}

impl GrantEntry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<grant_entry::Builder<'_>>();
        let [high, low] = halves(self.parent.unwrap_or_default().to_bytes());
        wire.set_parent_high(high);
        wire.set_parent_low(low);
        wire.set_label(&self.label);
        self.scope.write(wire.reborrow().init_scope());
        wire.set_created(self.created);
        wire.set_tokens_made(self.tokens_made);
        pack(&message)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let message = unpack(bytes).map_err(bad(GRANT))?;
        let wire = message
            .get_root::<grant_entry::Reader<'_>>()
            .map_err(bad(GRANT))?;
        let parent = ulid(wire.get_parent_high(), wire.get_parent_low());
        let label = wire.get_label().and_then(|label| Ok(label.to_string()?));
        let scope = Scope::read(wire.get_scope().map_err(bad(GRANT))?);
        Ok(Self {
            parent: (parent != ulid::Ulid::nil()).then_some(parent),
            label: label.map_err(bad(GRANT))?,
            scope: scope.map_err(|error| damaged(GRANT, error))?,
            created: wire.get_created(),
            tokens_made: wire.get_tokens_made(),
        })
    }
}

impl GrantUse {
    pub(crate) fn encode(self) -> Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<grant_use::Builder<'_>>();
        wire.set_calls(self.calls);
        wire.set_bytes(self.bytes);
        wire.set_last_used(self.last_used);
        pack(&message)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let message = unpack(bytes).map_err(bad(GRANT))?;
        let wire = message
            .get_root::<grant_use::Reader<'_>>()
            .map_err(bad(GRANT))?;
        Ok(Self {
            calls: wire.get_calls(),
            bytes: wire.get_bytes(),
            last_used: wire.get_last_used(),
        })
    }
}

impl TokenEntry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<token_entry::Builder<'_>>();
        let [high, low] = halves(self.grant.to_bytes());
        wire.set_grant_high(high);
        wire.set_grant_low(low);
        wire.set_id(self.id);
        wire.set_label(&self.label);
        wire.set_created(self.created);
        wire.set_last_used(self.last_used);
        pack(&message)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let message = unpack(bytes).map_err(bad(TOKEN))?;
        let wire = message
            .get_root::<token_entry::Reader<'_>>()
            .map_err(bad(TOKEN))?;
        let label = wire.get_label().and_then(|label| Ok(label.to_string()?));
        Ok(Self {
            grant: ulid(wire.get_grant_high(), wire.get_grant_low()),
            id: wire.get_id(),
            label: label.map_err(bad(TOKEN))?,
            created: wire.get_created(),
            last_used: wire.get_last_used(),
        })
    }
}
