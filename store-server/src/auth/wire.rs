//! A [`Scope`] as a message, on the wire and in the catalog. What a message does not say is a no.

use std::collections::BTreeSet;

use carrack_schema::wire::grant_capnp::scope::{self, budget, limit, operations};
use carrack_schema::wire::grant_capnp::selection;
use carrack_schema::{Code, Did};

use super::Operation;
use super::scope::{Budget, Limit, Nsids, Operations, Scope, Selection, SelectionSize};
use crate::error::{Error, Result};

impl Scope {
    /// Reads a scope.
    ///
    /// # Errors
    /// `invalidArgument` if something in it is no name, `limitExceeded` if there are too many.
    pub(crate) fn read(wire: scope::Reader<'_>) -> Result<Self> {
        Ok(Self {
            repos: read_repos(wire.get_repos().map_err(malformed)?)?,
            collections: read_collections(wire.get_collections().map_err(malformed)?)?,
            may: Operations::read(wire.get_may().map_err(malformed)?),
            calls: Budget::read(wire.get_calls().map_err(malformed)?)?,
            bytes: Budget::read(wire.get_bytes().map_err(malformed)?)?,
            expires: wire.get_expires(),
        })
    }

    pub(crate) fn write(&self, mut wire: scope::Builder<'_>) {
        match &self.repos {
            Selection::None => wire.reborrow().init_repos().set_none(()),
            Selection::All => wire.reborrow().init_repos().set_all(()),
            Selection::Only(dids) => {
                let texts = dids.iter().map(|did| did.as_str().to_owned());
                write_only(wire.reborrow().init_repos(), dids.len(), texts);
            }
        }
        match &self.collections {
            Selection::None => wire.reborrow().init_collections().set_none(()),
            Selection::All => wire.reborrow().init_collections().set_all(()),
            Selection::Only(nsids) => {
                let count = self.collections.entries();
                write_only(wire.reborrow().init_collections(), count, nsids.texts());
            }
        }
        self.may.write(wire.reborrow().init_may());
        self.calls.write(wire.reborrow().init_calls());
        self.bytes.write(wire.reborrow().init_bytes());
        wire.set_expires(self.expires);
    }
}

/// Reads which repos are selected.
///
/// # Errors
/// As [`Scope::read`].
pub(crate) fn read_repos(wire: selection::Reader<'_>) -> Result<Selection<BTreeSet<Did>>> {
    let mut dids = BTreeSet::new();
    read_selection(wire, |text| {
        let did = text.parse();
        let invalid = |error: carrack_schema::names::NameError| {
            Error::new(Code::InvalidArgument, error.to_string())
        };
        dids.insert(did.map_err(invalid)?);
        Ok(())
    })
    .map(|selection| selection.with(dids))
}

fn read_collections(wire: selection::Reader<'_>) -> Result<Selection<Nsids>> {
    let mut nsids = Nsids::default();
    read_selection(wire, |text| nsids.insert(text)).map(|selection| selection.with(nsids))
}

impl Selection<()> {
    fn with<S>(self, only: S) -> Selection<S> {
        match self {
            Self::None => Selection::None,
            Self::Only(()) => Selection::Only(only),
            Self::All => Selection::All,
        }
    }
}

fn read_selection(
    wire: selection::Reader<'_>,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<Selection<()>> {
    // A selection of a newer schema's selects nothing that is known here.
    let Ok(which) = wire.which() else {
        return Ok(Selection::None);
    };
    match which {
        selection::None(()) => Ok(Selection::None),
        selection::All(()) => Ok(Selection::All),
        selection::Only(names) => {
            let mut size = SelectionSize::default();
            for name in names.map_err(malformed)? {
                let name = name
                    .and_then(|name| Ok(name.to_str()?))
                    .map_err(malformed)?;
                size.count(name)?;
                each(name)?;
            }
            Ok(Selection::Only(()))
        }
    }
}

fn write_only(wire: selection::Builder<'_>, count: usize, texts: impl Iterator<Item = String>) {
    let count = u32::try_from(count).expect("selections are bounded when they are made");
    let mut list = wire.init_only(count);
    for (i, text) in (0..count).zip(texts) {
        list.set(i, text.as_str());
    }
}

impl Budget {
    fn read(wire: budget::Reader<'_>) -> Result<Self> {
        Ok(Self {
            total: Limit::read(wire.get_total().map_err(malformed)?),
            per_second: Limit::read(wire.get_per_second().map_err(malformed)?),
        })
    }

    fn write(self, mut wire: budget::Builder<'_>) {
        self.total.write(wire.reborrow().init_total());
        self.per_second.write(wire.init_per_second());
    }
}

impl Limit {
    fn read(wire: limit::Reader<'_>) -> Self {
        match wire.which() {
            Ok(limit::None(())) | Err(_) => Self::None,
            Ok(limit::AtMost(most)) => Self::AtMost(most),
            Ok(limit::Unlimited(())) => Self::Unlimited,
        }
    }

    fn write(self, mut wire: limit::Builder<'_>) {
        match self {
            Self::None => wire.set_none(()),
            Self::AtMost(most) => wire.set_at_most(most),
            Self::Unlimited => wire.set_unlimited(()),
        }
    }
}

impl Operations {
    fn read(wire: operations::Reader<'_>) -> Self {
        let is_allowed = |operation: &Operation| match operation {
            Operation::Read => wire.get_read(),
            Operation::List => wire.get_list(),
            Operation::Search => wire.get_search(),
            Operation::Blobs => wire.get_blobs(),
            Operation::Prove => wire.get_prove(),
            Operation::Export => wire.get_export(),
            Operation::Import => wire.get_import(),
            Operation::Delete => wire.get_delete(),
            Operation::Grant => wire.get_grant(),
            Operation::Maintain => wire.get_maintain(),
        };
        Operation::ALL.iter().copied().filter(is_allowed).collect()
    }

    fn write(self, mut wire: operations::Builder<'_>) {
        for &operation in Operation::ALL {
            let allowed = self.contains(operation);
            match operation {
                Operation::Read => wire.set_read(allowed),
                Operation::List => wire.set_list(allowed),
                Operation::Search => wire.set_search(allowed),
                Operation::Blobs => wire.set_blobs(allowed),
                Operation::Prove => wire.set_prove(allowed),
                Operation::Export => wire.set_export(allowed),
                Operation::Import => wire.set_import(allowed),
                Operation::Delete => wire.set_delete(allowed),
                Operation::Grant => wire.set_grant(allowed),
                Operation::Maintain => wire.set_maintain(allowed),
            }
        }
    }
}

fn malformed(error: capnp::Error) -> Error {
    Error::because(Code::InvalidArgument, "the scope cannot be read", error)
}
