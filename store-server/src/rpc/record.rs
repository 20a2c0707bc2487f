//! [`RecordObject`]: the name of one record.

use std::rc::Rc;

use carrack_schema::RecordPath;
use carrack_schema::wire::store_capnp::{Absent, record_cap};

use super::error::answer;
use super::repo::RepoRef;
use super::view::{self, Answer, Want};
use crate::auth::Operation;
use crate::store::Lookup;
use crate::verify::Verification;

pub(super) struct RecordObject {
    repo: RepoRef,
    path: RecordPath,
}

impl RecordObject {
    pub(super) fn new(repo: RepoRef, path: RecordPath) -> Self {
        Self { repo, path }
    }
}

impl record_cap::Server for RecordObject {
    async fn read(
        self: Rc<Self>,
        params: record_cap::ReadParams,
        mut results: record_cap::ReadResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let call = self.repo.begin(Operation::Read)?;
            let want = Want::read(params.get()?.get_want()?)?;
            let mut results = results.get();
            let repo = match self.repo.open(&call)? {
                Ok(repo) => repo,
                Err(absence) => {
                    results.set_absent(view::absent(absence));
                    return Ok(());
                }
            };
            match repo.record(&self.path)? {
                Lookup::NoCollection => results.set_absent(Absent::Collection),
                Lookup::NoRecord => results.set_absent(Absent::Record),
                Lookup::Found(record) => {
                    let record = Answer::of(record, &want)?;
                    call.charge(record.wire_bytes())?;
                    let mut found = results.init_found();
                    view::source(found.reborrow().init_source(), repo.summary());
                    record.write(found.init_record(), true);
                }
            }
            Ok(())
        })
    }

    async fn prove(
        self: Rc<Self>,
        _params: record_cap::ProveParams,
        mut results: record_cap::ProveResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let call = self.repo.begin(Operation::Prove)?;
            call.check_all_collections("a proof shows the keys beside the record")?;
            let mut results = results.get();
            let repo = match self.repo.open(&call)? {
                Ok(repo) => repo,
                Err(absence) => {
                    results.set_absent(view::absent(absence));
                    return Ok(());
                }
            };
            let mut car = Vec::new();
            let made = repo.prove(&self.path, &mut car)?;
            call.charge(car.len())?;
            let mut proof = results.init_proof();
            view::source(proof.reborrow().init_source(), repo.summary());
            proof.set_present(made.present);
            proof.set_car(&car);
            Ok(())
        })
    }

    async fn verify(
        self: Rc<Self>,
        _params: record_cap::VerifyParams,
        mut results: record_cap::VerifyResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let call = self.repo.begin(Operation::Read)?;
            let mut results = results.get();
            let repo = match self.repo.open(&call) {
                Ok(Ok(repo)) => repo,
                Ok(Err(absence)) => {
                    results.set_absent(view::absent(absence));
                    return Ok(());
                }
                Err(error) => {
                    view::verification(results, &Verification::of(error)?, None);
                    return Ok(());
                }
            };
            let verification = repo.verify(&self.path)?;
            view::verification(results, &verification, Some(repo.summary()));
            Ok(())
        })
    }
}
