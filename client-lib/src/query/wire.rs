//! A plan onto the wire, and an answer off it. Runs in the actor, as [`crate::read`].

use capnp::Result;
use capnp::capability::Response;
use carrack_schema::Value;
use carrack_schema::wire::query_capnp::{answer as wire_answer, plan, row, step};
use carrack_schema::wire::store_capnp::store::query_results;

use super::{
    Among, Answer, Ask, Cost, Ended, List, Missing, Op, Plan, Repos, Row, StepRef, Test, What,
};
use crate::read;

/// Writes a plan whose steps are named by number.
pub(super) fn write_plan(mut wire: plan::Builder<'_>, plan: &Plan) {
    let number = |of: Option<&StepRef>| match of {
        Some(StepRef::Number(number)) => *number,
        Some(StepRef::Id(_)) | None => 0,
    };
    wire.set_answer(number(plan.answer.as_ref()));
    let mut budget = wire.reborrow().init_budget();
    budget.set_rows(plan.budget.rows);
    budget.set_bytes(plan.budget.bytes);
    budget.set_work(plan.budget.work);
    budget.set_millis(plan.budget.millis);
    let mut steps = wire.init_steps(count(plan.steps.len()));
    for (i, step) in (0..).zip(&plan.steps) {
        let mut wire = steps.reborrow().get(i);
        wire.set_from(number(step.from.as_ref()));
        write_op(wire, &step.op);
    }
}

fn write_op(mut wire: step::Builder<'_>, op: &Op) {
    match op {
        Op::Get(uris) => write_texts(wire.init_get(count(uris.len())), uris),
        Op::List(list) => write_list(wire.init_list(), list),
        Op::Filter(tests) => {
            let mut list = wire.init_filter(count(tests.len()));
            for (i, test) in (0..).zip(tests) {
                write_test(list.reborrow().get(i), test);
            }
        }
        Op::Among(Among {
            path,
            step,
            of,
            negate,
        }) => {
            let mut among = wire.init_among();
            among.set_path(path);
            if let StepRef::Number(number) = step {
                among.set_step(*number);
            }
            among.set_of(of);
            among.set_negate(*negate);
        }
        Op::Map(path) => wire.set_map(path),
        Op::Project(want) => read::set_want(wire.init_project(), want),
        Op::Count => wire.set_count(()),
        Op::Group(path) => wire.set_group(path),
        Op::Top(top) => {
            let mut wire = wire.init_top();
            wire.set_count(top.count);
            wire.set_by(&top.by);
            wire.set_ascending(top.ascending);
        }
        Op::Distinct(path) => wire.set_distinct(path),
        Op::First(rows) => wire.set_first(*rows),
    }
}

fn write_list(mut wire: step::range::Builder<'_>, list: &List) {
    wire.set_collection(&list.collection);
    wire.set_since(list.since.unwrap_or(0));
    wire.set_until(list.until.unwrap_or(0));
    let mut keys = wire.reborrow().init_keys();
    keys.set_from(&list.from);
    keys.set_before(&list.before);
    keys.set_reverse(list.reverse);
    let mut repos = wire.init_repos();
    match &list.repos {
        Repos::Named(names) => write_texts(repos.init_named(count(names.len())), names),
        Repos::At(path) => repos.set_at(path),
        Repos::All => repos.set_all(()),
    }
}

fn write_texts(mut wire: capnp::text_list::Builder<'_>, texts: &[String]) {
    for (i, text) in (0..wire.len()).zip(texts) {
        wire.set(i, text);
    }
}

fn write_test(mut wire: step::test::Builder<'_>, test: &Test) {
    wire.set_path(&test.path);
    wire.set_negate(test.negate);
    match &test.ask {
        Ask::Exists => wire.set_exists(()),
        Ask::Equals(operand) => operand.write_scalar(wire.init_equals()),
        Ask::Prefix(text) => wire.set_prefix(text),
        Ask::Contains(text) => wire.set_contains(text),
        Ask::AtLeast(operand) => operand.write_scalar(wire.init_at_least()),
        Ask::Below(operand) => operand.write_scalar(wire.init_below()),
    }
}

/// Returns a length as Cap'n Proto counts lists. A list of more than a message can hold is cut here; the server refuses
/// far fewer.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).min(1 << 16)
}

pub(super) fn answer(response: &Response<query_results::Owned>) -> Result<Answer> {
    let results = response.get()?;
    let wire = results.get_answer()?;
    let sources = wire.get_sources()?.iter().map(read::source);
    let rows = wire.get_rows()?.iter().map(read_row);
    let absent = wire.get_absent()?.iter().map(|missing| {
        Ok(Missing {
            step: missing.get_step(),
            repo: missing.get_repo()?.to_string()?,
            hop: read::absent(missing.get_hop()),
        })
    });
    let steps = wire.get_steps()?.iter().map(|cost| Cost {
        rows_in: cost.get_rows_in(),
        rows_out: cost.get_rows_out(),
        work: cost.get_work(),
        micros: cost.get_micros(),
    });
    Ok(Answer {
        rows: rows.collect::<Result<_>>()?,
        ended: match wire.get_ended() {
            Ok(wire_answer::Ended::Complete) => Ended::Complete,
            Ok(wire_answer::Ended::Rows) => Ended::Rows,
            Ok(wire_answer::Ended::Bytes) => Ended::Bytes,
            Ok(wire_answer::Ended::Work) => Ended::Work,
            Ok(wire_answer::Ended::Time) => Ended::Time,
            Ok(wire_answer::Ended::Memory) => Ended::Memory,
            Ok(wire_answer::Ended::Repos) => Ended::Repos,
            Ok(wire_answer::Ended::Unknown) | Err(_) => Ended::Unknown,
        },
        sources: sources.collect::<Result<_>>()?,
        repos: wire.get_repos(),
        absent: absent.collect::<Result<_>>()?,
        steps: steps.collect(),
        bytes: wire.get_bytes(),
    })
}

fn read_row(wire: row::Reader<'_>) -> Result<Row> {
    let what = match wire.which()? {
        row::None(()) => What::Count,
        row::Record(of) => What::Record {
            source: of.get_source() as usize,
            record: read::record(of.get_record()?)?,
        },
        row::Absent(of) => What::Absent {
            uri: of.get_uri()?.to_string()?,
            hop: read::absent(of.get_hop()),
        },
        row::Value(value) => What::Value(Value::from_wire(value?)?),
    };
    Ok(Row {
        count: wire.get_count(),
        what,
    })
}
