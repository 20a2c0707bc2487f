//! Queries: from the wire's plan to the engine's and back with the answer. The plan runs on a thread of its own, which ends
//! soon after its call: when it is dropped, or what allowed it is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_schema::limits::{FIELDS_MAX, QUERY_REPOS_NAMED_MAX, QUERY_TESTS_MAX, QUERY_URIS_MAX};
use carrack_schema::names::{NameError, RepoName};
use carrack_schema::wire::query_capnp::{
    answer as wire_answer, plan as wire_plan, row as wire_row, step as wire_step,
};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::Absent;
use carrack_schema::{AtUri, Did, Value};

use super::caller::Call;
use super::connection::Answering;
use super::error::{Failure, exception};
use super::thread::Work;
use super::view;
use crate::auth::Operation;
use crate::error::{Error, Result};
use crate::query::{
    Answer, AnswerRow, Body, Budget, Cost, Ended, Form, Hop, ListRange, Op, Path, Plan, PlanError,
    Repos, RowBody, Test, TestOp, Top, Want, check_length, check_steps,
};
use crate::store::Store;

/// Reads a plan off the wire. What it names must be in the caller's scope.
pub(super) fn read(call: &Call, wire: wire_plan::Reader<'_>) -> Result<Plan, Failure> {
    let list = wire.get_steps()?;
    check_steps(list.len() as usize)?;
    let mut steps = Vec::with_capacity(list.len() as usize);
    for (number, step) in (1..).zip(list) {
        let op = read_op(call, step).map_err(|flaw| flaw.in_step(number))?;
        steps.push((step.get_from(), op));
    }
    let budget = wire.get_budget()?;
    let budget = Budget {
        rows: budget.get_rows(),
        bytes: budget.get_bytes(),
        work: budget.get_work(),
        millis: budget.get_millis(),
    };
    let plan = Plan::new(steps, wire.get_answer(), budget)?;
    if plan.reads_by_name() {
        call.check_may(Operation::Read)?;
    }
    Ok(plan)
}

/// What is wrong with a step.
enum Flaw {
    Plan(PlanError),
    Error(Error),
    Wire(capnp::Error),
}

impl Flaw {
    fn in_step(self, number: usize) -> Failure {
        match self {
            Self::Plan(error) => error.in_step(number).into(),
            Self::Error(error) => error.into(),
            Self::Wire(error) => error.into(),
        }
    }
}

impl From<PlanError> for Flaw {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<capnp::Error> for Flaw {
    fn from(error: capnp::Error) -> Self {
        Self::Wire(error)
    }
}

impl From<std::str::Utf8Error> for Flaw {
    fn from(_: std::str::Utf8Error) -> Self {
        illegal("a text is not UTF-8")
    }
}

impl From<NameError> for Flaw {
    fn from(error: NameError) -> Self {
        illegal(&error.to_string())
    }
}

impl From<capnp::NotInSchema> for Flaw {
    fn from(_: capnp::NotInSchema) -> Self {
        illegal("it is of a newer schema than the server's")
    }
}

fn illegal(words: &str) -> Flaw {
    Flaw::Plan(PlanError::Illegal(words.to_owned()))
}

fn read_op(call: &Call, wire: wire_step::Reader<'_>) -> Result<Op, Flaw> {
    Ok(match wire.which()? {
        wire_step::None(()) => return Err(illegal("it does not say what it does")),
        wire_step::Get(uris) => Op::Get(read_uris(call, uris?)?),
        wire_step::List(range) => Op::List(read_range(call, range?)?),
        wire_step::Filter(tests) => {
            let tests = tests?;
            check_length("tests", tests.len() as usize, QUERY_TESTS_MAX)?;
            Op::Filter(tests.iter().map(read_test).collect::<Result<_, _>>()?)
        }
        wire_step::Among(among) => {
            let among = among?;
            let (path, of) = (read_path(among.get_path())?, read_path(among.get_of())?);
            Op::among(path, among.get_step(), of, among.get_negate())?
        }
        wire_step::Map(path) => Op::Map(read_path(path)?),
        wire_step::Project(want) => Op::Project(read_want(want?)?),
        wire_step::Count(()) => Op::Count,
        wire_step::Group(path) => Op::Group(read_path(path)?),
        wire_step::Top(top) => {
            let top = top?;
            let by = top.get_by()?;
            Op::Top(Top {
                count: top.get_count(),
                by: match by.is_empty() {
                    true => None,
                    false => Some(Path::parse(by.to_str()?)?),
                },
                ascending: top.get_ascending(),
            })
        }
        wire_step::Distinct(path) => Op::Distinct(read_path(path)?),
        wire_step::First(count) => Op::First(count),
    })
}

fn read_path(path: capnp::Result<capnp::text::Reader<'_>>) -> Result<Path, Flaw> {
    Ok(Path::parse(path?.to_str()?)?)
}

fn read_uris(call: &Call, list: capnp::text_list::Reader<'_>) -> Result<Vec<AtUri>, Flaw> {
    check_length("at-URIs", list.len() as usize, QUERY_URIS_MAX)?;
    let mut uris = Vec::with_capacity(list.len() as usize);
    for uri in list {
        let uri: AtUri = uri?.to_str()?.parse()?;
        call.resolve(&RepoName::Did(uri.did.clone()))?;
        if let Some(collection) = &uri.collection {
            call.check_collection(collection)?;
        }
        uris.push(uri);
    }
    Ok(uris)
}

fn read_range(call: &Call, wire: wire_step::range::Reader<'_>) -> Result<ListRange, Flaw> {
    use wire_step::range::repos;
    let collection = wire.get_collection()?.to_str()?.parse()?;
    call.check_collection(&collection)?;
    let keys = wire.get_keys()?;
    let time = |micros: i64| (micros != 0).then_some(micros);
    Ok(ListRange {
        repos: match wire.get_repos().which()? {
            repos::None(()) => return Err(illegal("it does not say which repositories")),
            repos::Named(names) => Repos::Named(read_repos(call, names?)?),
            repos::At(path) => Repos::At(read_path(path)?),
            repos::All(()) => Repos::All,
        },
        collection,
        from: keys.get_from()?.to_str()?.to_owned(),
        before: keys.get_before()?.to_str()?.to_owned(),
        reverse: keys.get_reverse(),
        since: time(wire.get_since()),
        until: time(wire.get_until()),
    })
}

fn read_repos(call: &Call, list: capnp::text_list::Reader<'_>) -> Result<Vec<Did>, Flaw> {
    check_length("repositories", list.len() as usize, QUERY_REPOS_NAMED_MAX)?;
    let mut dids = Vec::with_capacity(list.len() as usize);
    for name in list {
        let name: RepoName = name?.to_str()?.parse()?;
        dids.push(call.resolve(&name)?);
    }
    Ok(dids)
}

fn read_test(wire: wire_step::test::Reader<'_>) -> Result<Test, Flaw> {
    use wire_step::test;
    let op = match wire.which()? {
        test::None(()) => return Err(illegal("a test does not say what it asks")),
        test::Exists(()) => TestOp::Exists,
        test::Equals(value) => TestOp::Equals(Value::from_wire(value?)?),
        test::Prefix(text) => TestOp::Prefix(text?.to_str()?.to_owned()),
        test::Contains(text) => TestOp::Contains(text?.to_str()?.to_owned()),
        test::AtLeast(value) => TestOp::AtLeast(Value::from_wire(value?)?),
        test::Below(value) => TestOp::Below(Value::from_wire(value?)?),
    };
    let path = read_path(wire.get_path())?;
    Ok(Test::new(path, wire.get_negate(), op)?)
}

fn read_want(wire: want::Reader<'_>) -> Result<Want, Flaw> {
    let list = wire.get_fields()?;
    check_length("fields", list.len() as usize, FIELDS_MAX)?;
    let mut fields = Vec::with_capacity(list.len() as usize);
    for field in list {
        fields.push(field?.to_str()?.to_owned());
    }
    Ok(Want {
        form: match wire.get_form()? {
            want::Form::None => Form::None,
            want::Form::Value => Form::Value,
            want::Form::DagCbor => Form::DagCbor,
        },
        cid: wire.get_cid(),
        fields,
    })
}

/// Runs a plan and charges for its answer; what is set aside for that is to be held until it is written.
pub(super) async fn run(call: &Call, plan: Plan) -> capnp::Result<(Answer, Answering)> {
    let places = call.store().inner().queries.clone();
    let running = async {
        let bytes = plan.budget().bytes as usize;
        let answering = call.connection().room_to_answer(bytes).await;
        let answering = answering.map_err(|error| exception(&error))?;
        let closed = |_| capnp::Error::failed("the store is shutting down".into());
        let place = places.acquire_owned().await.map_err(closed)?;
        let (store, scope) = (call.store().clone(), call.authority().clone());
        let stop = Arc::new(AtomicBool::new(false));
        let _stops = StopOnDrop(stop.clone());
        let query = move || Store::query(&store, &plan, &scope, &stop);
        let work = Work::start("carrack-query", place, query);
        let outcome = async { work?.outcome().await };
        let answer = outcome.await.map_err(|error| exception(&error))?;
        Ok((answer, answering))
    };
    let (answer, answering) = call.while_allowed(running).await?;
    call.charge(answer.bytes)
        .map_err(|error| exception(&error))?;
    Ok((answer, answering))
}

/// Tells a thread to stop.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes an answer.
pub(super) fn write(mut wire: wire_answer::Builder<'_>, answer: &Answer) {
    wire.set_ended(match answer.ended {
        Ended::Complete => wire_answer::Ended::Complete,
        Ended::Rows => wire_answer::Ended::Rows,
        Ended::Bytes => wire_answer::Ended::Bytes,
        Ended::Work => wire_answer::Ended::Work,
        Ended::Time => wire_answer::Ended::Time,
        Ended::Memory => wire_answer::Ended::Memory,
        Ended::Repos => wire_answer::Ended::Repos,
    });
    wire.set_bytes(view::count(answer.bytes));
    wire.set_repos(view::count(answer.repos));
    let mut sources = wire
        .reborrow()
        .init_sources(view::count(answer.sources.len()));
    for (i, source) in (0..).zip(&answer.sources) {
        view::source(sources.reborrow().get(i), source);
    }
    let mut missing = wire
        .reborrow()
        .init_absent(view::count(answer.missing.len()));
    for (i, each) in (0..).zip(&answer.missing) {
        let mut wire = missing.reborrow().get(i);
        wire.set_step(u16::try_from(each.step + 1).unwrap_or(u16::MAX));
        wire.set_repo(each.repo.as_str());
        wire.set_hop(absent(each.hop));
    }
    let mut steps = wire.reborrow().init_steps(view::count(answer.costs.len()));
    for (i, cost) in (0..).zip(&answer.costs) {
        let Cost {
            rows_in,
            rows_out,
            work,
            micros,
        } = *cost;
        let mut wire = steps.reborrow().get(i);
        wire.set_rows_in(rows_in);
        wire.set_rows_out(rows_out);
        wire.set_work(work);
        wire.set_micros(micros);
    }
    let mut rows = wire.init_rows(view::count(answer.rows.len()));
    for (i, row) in (0..).zip(&answer.rows) {
        write_row(rows.reborrow().get(i), row);
    }
}

fn write_row(mut wire: wire_row::Builder<'_>, row: &AnswerRow) {
    wire.set_count(row.count);
    match &row.body {
        RowBody::Count => wire.set_none(()),
        RowBody::Absent { uri, hop } => {
            let mut wire = wire.init_absent();
            wire.set_uri(uri);
            wire.set_hop(absent(*hop));
        }
        RowBody::Value(value) => value.write_scalar(wire.init_value()),
        RowBody::Record {
            source,
            collection,
            rkey,
            cid,
            body,
        } => {
            let mut wire = wire.init_record();
            wire.set_source(view::count(*source));
            let mut wire = wire.init_record();
            wire.set_collection(collection);
            wire.set_rkey(rkey);
            if let Some(cid) = cid {
                wire.set_cid(cid.as_bytes());
            }
            write_body(wire, body);
        }
    }
}

fn write_body(mut wire: record_data::Builder<'_>, body: &Body) {
    match body {
        Body::None => wire.set_none(()),
        Body::Value(plan) => plan.write(wire.init_value()),
        Body::DagCbor(bytes) => wire.set_dag_cbor(bytes),
        Body::Undecodable(why) => wire.set_undecodable(why),
        Body::Missing => wire.set_missing(()),
    }
}

fn absent(hop: Hop) -> Absent {
    match hop {
        Hop::Repo => Absent::Repo,
        Hop::Inactive => Absent::Inactive,
        Hop::Collection => Absent::Collection,
        Hop::Record => Absent::Record,
    }
}
