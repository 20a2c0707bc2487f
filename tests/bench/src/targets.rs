//! The figures the storage engine is to reach, and whether it does.

use crate::engine::{Name, OnDisk};
use crate::mcp;
use crate::measure::{Cost, Spread};
use crate::rpc;
use crate::run::{Kind, RepoResults, Results, Round};
use crate::task::{EngineAnswer, FIELDS, TinyAnswer};

const MIB: f64 = 1024.0 * 1024.0;

/// A figure to reach.
pub(crate) struct Target {
    /// What is measured, and its unit if it is no ratio.
    pub(crate) what: String,
    /// The direction.
    pub(crate) goal: Goal,
    /// What must be reached.
    pub(crate) target: f64,
    /// What would be better still.
    pub(crate) stretch: Option<f64>,
    /// What was measured; `None` if it was not.
    pub(crate) figure: Option<Spread>,
}

/// Which side of the target is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    AtMost,
    AtLeast,
}

impl Target {
    /// Returns a word on the median.
    pub(crate) fn verdict(&self) -> &'static str {
        let Some(figure) = self.figure else {
            return "not measured";
        };
        let reached = |goal: f64| match self.goal {
            Goal::AtMost => figure.median <= goal,
            Goal::AtLeast => figure.median >= goal,
        };
        match (reached(self.target), self.stretch) {
            (true, Some(stretch)) if reached(stretch) => "stretch met",
            (true, Some(_)) => "target met",
            (true, None) => "met",
            (false, _) => "missed",
        }
    }
}

/// Returns all targets with what was measured.
pub(crate) fn all(results: &Results) -> Vec<Target> {
    let at_most = |what: &str, target, stretch, figure| Target {
        what: what.to_owned(),
        goal: Goal::AtMost,
        target,
        stretch,
        figure,
    };
    let synthetic = results.repo(Kind::Synthetic);
    let million = results.repo(Kind::Million);
    let midsize = results.repo(Kind::Midsize);
    let mut targets = vec![
        at_most(
            "segment files ÷ CAR, the real repo",
            0.40,
            Some(0.35),
            midsize.and_then(|repo| size(repo, |a| Some(a.on_disk))),
        ),
        at_most(
            "segment files ÷ CAR, synthetic",
            0.36,
            Some(0.30),
            synthetic.and_then(|repo| size(repo, |a| Some(a.on_disk))),
        ),
        at_most(
            "cold segment files ÷ CAR, the real repo",
            0.20,
            Some(0.17),
            midsize.and_then(|repo| size(repo, |a| a.on_disk_cold)),
        ),
        at_most(
            "tiny repos: bytes of the whole data folder a record",
            250.0,
            Some(150.0),
            tiny(results),
        ),
        at_most(
            "CPU of an import ÷ repo-stream walking, synthetic",
            0.6,
            Some(0.35),
            import(synthetic),
        ),
        at_most(
            "CPU of an import ÷ repo-stream walking, a million records",
            0.5,
            Some(0.3),
            import(million),
        ),
        at_most(
            "anonymous memory of importing a million records, MiB",
            200.0,
            None,
            million.and_then(memory_mib),
        ),
        at_most(
            "get of a record, p50 ÷ SQLite's",
            0.4,
            Some(0.2),
            synthetic.and_then(|repo| repo.ratio(Name::Sqlite, |a| Some(a.get?.p50_ns))),
        ),
    ];
    targets.extend(FIELDS.map(|field| {
        let what = format!("get of `{field}`, p50 ÷ redb's get and decode, the faster of both");
        let figure = synthetic.and_then(|repo| field_ratio(repo, field));
        at_most(&what, 0.5, Some(0.2), figure)
    }));
    let scan = |name| synthetic.and_then(|repo| repo.ratio(name, |answer| answer.scan));
    for (what, name) in [
        ("JSON text", Name::SqliteJson),
        ("JSONB", Name::SqliteJsonb),
    ] {
        targets.push(Target {
            what: format!("scan of a column, records a second ÷ SQLite with {what}"),
            goal: Goal::AtLeast,
            target: 10.0,
            stretch: Some(50.0),
            figure: scan(name),
        });
    }
    let open = results.open.as_ref();
    let millis = |(cost, _): &(Cost, u64)| cost.wall_s * 1e3;
    let many = open.and_then(|open| Spread::of(open.many.iter().map(millis)));
    targets.push(at_most(
        "opening a store of 10,000 repos, ms",
        50.0,
        None,
        many,
    ));
    targets.extend(rpc::report::targets(results.rpc.as_ref()));
    targets.extend(mcp::report::targets(results.mcp.as_ref()));
    targets
}

fn size(repo: &RepoResults, form: fn(&EngineAnswer) -> Option<OnDisk>) -> Option<Spread> {
    Spread::of(repo.figures(Name::Carrack, |answer| {
        Some(form(answer)?.data_bytes as f64 / repo.car_bytes as f64)
    }))
}

fn import(repo: Option<&RepoResults>) -> Option<Spread> {
    repo?.import_ratio(|round| round.walk.cpu_s)
}

fn memory_mib(repo: &RepoResults) -> Option<Spread> {
    Spread::of(repo.memory_bytes.iter().map(|bytes| *bytes as f64 / MIB))
}

fn tiny(results: &Results) -> Option<Spread> {
    let answers = results.tiny.get(&Name::Carrack)?;
    let a_record = |answer: &TinyAnswer| answer.on_disk.all_bytes as f64 / answer.records as f64;
    Spread::of(answers.iter().map(a_record))
}

/// The better decoder depends on the record; the better one counts.
fn field_ratio(repo: &RepoResults, field: &str) -> Option<Spread> {
    Spread::of(repo.rounds.iter().filter_map(|round| {
        let p50 = |name| Some(round.engines.get(&name)?.fields.get(field)?.p50_ns);
        Some(p50(Name::Carrack)? / p50(Name::Redb)?.min(p50(Name::RedbIpld)?))
    }))
}

impl RepoResults {
    /// Returns one engine's figures, one a round.
    pub(crate) fn figures(
        &self,
        name: Name,
        figure: impl Fn(&EngineAnswer) -> Option<f64>,
    ) -> Vec<f64> {
        let of = |round: &Round| figure(round.engines.get(&name)?);
        self.rounds.iter().filter_map(of).collect()
    }

    /// Returns ours ÷ another engine's, of figures from the same round.
    pub(crate) fn ratio(
        &self,
        name: Name,
        figure: impl Fn(&EngineAnswer) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| {
            let of = |name| figure(round.engines.get(&name)?);
            Some(of(Name::Carrack)? / of(name)?)
        }))
    }

    /// Returns our import's CPU ÷ something of the same round.
    pub(crate) fn import_ratio(&self, base: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| {
            let ours = round.engines.get(&Name::Carrack)?.import?;
            Some(ours.cpu_s / base(round))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_on_the_median() {
        let verdict = |goal, stretch, median| {
            let (min, max) = (0.0, 100.0);
            Target {
                what: String::new(),
                goal,
                target: 10.0,
                stretch,
                figure: Some(Spread { median, min, max }),
            }
            .verdict()
        };
        assert_eq!(verdict(Goal::AtMost, Some(5.0), 5.0), "stretch met");
        assert_eq!(verdict(Goal::AtMost, Some(5.0), 10.0), "target met");
        assert_eq!(verdict(Goal::AtMost, Some(5.0), 10.1), "missed");
        assert_eq!(verdict(Goal::AtMost, None, 10.0), "met");
        assert_eq!(verdict(Goal::AtLeast, Some(50.0), 50.0), "stretch met");
        assert_eq!(verdict(Goal::AtLeast, Some(50.0), 10.0), "target met");
        assert_eq!(verdict(Goal::AtLeast, Some(50.0), 9.9), "missed");
    }
}
