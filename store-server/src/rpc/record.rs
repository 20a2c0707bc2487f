//! [`RecordObject`]: the name of one record.

use std::rc::Rc;

use carrack_schema::wire::store_capnp::{Absent, record_cap};
use carrack_schema::{Did, RecordPath};

use super::error::answer;
use super::view::{self, Want};
use crate::store::{Lookup, Store};

pub(super) struct RecordObject {
    store: Store,
    did: Did,
    path: RecordPath,
}

impl RecordObject {
    pub(super) fn new(store: Store, did: Did, path: RecordPath) -> Self {
        Self { store, did, path }
    }
}

impl record_cap::Server for RecordObject {
    async fn read(
        self: Rc<Self>,
        params: record_cap::ReadParams,
        mut results: record_cap::ReadResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let want = Want::read(params.get()?.get_want()?)?;
            let mut results = results.get();
            let Some(repo) = self.store.repo(&self.did)? else {
                results.set_absent(Absent::Repo);
                return Ok(());
            };
            match repo.record(&self.path)? {
                Lookup::NoCollection => results.set_absent(Absent::Collection),
                Lookup::NoRecord => results.set_absent(Absent::Record),
                Lookup::Found(record) => {
                    let mut found = results.init_found();
                    view::source(found.reborrow().init_source(), repo.summary());
                    let mut wire = found.init_record();
                    wire.set_collection(record.collection);
                    view::record(wire, &record, &want)?;
                }
            }
            Ok(())
        })
    }
}
