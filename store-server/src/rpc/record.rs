//! [`RecordObject`]: the name of one record.

use std::rc::Rc;

use carrack_schema::RecordPath;
use carrack_schema::wire::record_capnp::want;
use carrack_schema::wire::store_capnp::{Absent, read_result, record_cap};

use super::caller::Call;
use super::connection::Answering;
use super::error::{Failure, answer_async};
use super::repo::RepoRef;
use super::view::{self, Answer, Want};
use crate::auth::Operation;
use crate::error;
use crate::store::{Lookup, Summary};
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

/// Answers a read of a record. Most are done with here; one that takes long goes on in the pool.
pub(super) async fn read(
    named: &RepoRef,
    path: &RecordPath,
    want: want::Reader<'_>,
    mut results: read_result::Builder<'_>,
) -> Result<(), Failure> {
    let call = named.begin(Operation::Read)?;
    let want = Want::read(want)?;
    let repo = match named.shared(&call)? {
        Ok(repo) => repo,
        Err(absence) => {
            results.set_absent(view::absent(absence));
            return Ok(());
        }
    };
    if let Some(lookup) = repo.record_at_once(path)? {
        let found = answer_of(lookup, &want)?;
        return write(&call, repo.summary(), found, None, results).await;
    }
    let (path, want) = (path.clone(), want.into_owned());
    let work = move || {
        let found = answer_of(repo.record(&path)?, &want)?.map(Answer::into_owned);
        Ok((repo.summary().clone(), found))
    };
    let ((summary, found), answering) = call.make(work).await?;
    write(&call, &summary, found, Some(answering), results).await
}

fn answer_of<'a>(lookup: Lookup<'a>, want: &Want<'_>) -> error::Result<Result<Answer<'a>, Absent>> {
    match lookup {
        Lookup::NoCollection => Ok(Err(Absent::Collection)),
        Lookup::NoRecord => Ok(Err(Absent::Record)),
        Lookup::Found(record) => Answer::of(record, want).map(Ok),
    }
}

/// Writes an answer once it has room, if nothing was set aside for it.
async fn write(
    call: &Call,
    repo: &Summary,
    found: Result<Answer<'_>, Absent>,
    answering: Option<Answering>,
    mut results: read_result::Builder<'_>,
) -> Result<(), Failure> {
    match found {
        Err(absent) => results.set_absent(absent),
        Ok(record) => {
            let bytes = record.wire_bytes();
            let mut answering = match answering {
                None => call.room_for(bytes).await?,
                set_aside => set_aside,
            };
            if let Some(answering) = &mut answering {
                answering.grow_to(bytes)?;
            }
            call.charge(bytes)?;
            let mut found = results.init_found();
            view::source(found.reborrow().init_source(), repo);
            record.write(found.init_record(), true);
        }
    }
    Ok(())
}

impl record_cap::Server for RecordObject {
    async fn read(
        self: Rc<Self>,
        params: record_cap::ReadParams,
        mut results: record_cap::ReadResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let want = params.get()?.get_want()?;
            read(&self.repo, &self.path, want, results.get()).await
        })
        .await
    }

    async fn prove(
        self: Rc<Self>,
        _params: record_cap::ProveParams,
        mut results: record_cap::ProveResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.repo.begin(Operation::Prove)?;
            call.check_all_collections("a proof shows the keys beside the record")?;
            let repo = match self.repo.open(&call)? {
                Ok(repo) => repo,
                Err(absence) => {
                    results.get().set_absent(view::absent(absence));
                    return Ok(());
                }
            };
            let path = self.path.clone();
            let prove = move || {
                let mut car = Vec::new();
                let made = repo.prove(&path, &mut car)?;
                Ok((repo, made, car))
            };
            let ((repo, made, car), mut answering) = call.make(prove).await?;
            answering.grow_to(car.len())?;
            call.charge(car.len())?;
            let mut proof = results.get().init_proof();
            view::source(proof.reborrow().init_source(), repo.summary());
            proof.set_present(made.present);
            proof.set_car(&car);
            Ok(())
        })
        .await
    }

    async fn verify(
        self: Rc<Self>,
        _params: record_cap::VerifyParams,
        mut results: record_cap::VerifyResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.repo.begin(Operation::Read)?;
            let repo = match self.repo.open(&call) {
                Ok(Ok(repo)) => repo,
                Ok(Err(absence)) => {
                    results.get().set_absent(view::absent(absence));
                    return Ok(());
                }
                // A repo that cannot be opened is a finding too.
                Err(error) => {
                    let broken = Verification::of(error)?;
                    view::verification(results.get(), &broken, None);
                    return Ok(());
                }
            };
            let path = self.path.clone();
            let verify = move || Ok((repo.verify(&path)?, repo));
            let (verification, repo) = call.work(verify).await?;
            view::verification(results.get(), &verification, Some(repo.summary()));
            Ok(())
        })
        .await
    }
}
