//! `carrack query`: each step's answer on the archives that come with the project, as golden files.

use std::io::Write;
use std::process::Stdio;

use super::{NOT_FOUND, OK, Place, REFUSED, Run, USAGE, command};

const ALICE: &str = "did:plc:rilb2cohzwgttp7xjllpyq2i";
const BOB: &str = "did:plc:4laajcqkrquefjrfvdn5wm6j";

fn fixtures() -> Place {
    let place = Place::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/pds-made");
    for name in ["varied", "varied-friend"] {
        place
            .run(&["import", &format!("{folder}/{name}.car")])
            .ends(OK);
    }
    place
}

impl Place {
    fn query(&self, plan: &str, arguments: &[&str]) -> Run {
        let mut command = command(&self.data());
        command.args(["query", "-"]).args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(plan.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Returns the rows and why there are not more: what does not hang on the time it took.
fn rows(run: &Run) -> String {
    let mut objects = run.objects();
    let last = objects.pop().unwrap();
    let lines = objects.iter().map(|object| format!("{object}\n"));
    let text: String = lines.collect();
    let work = last["steps"].as_array().unwrap().iter();
    let work: Vec<_> = work.map(|step| step["work"].clone()).collect();
    text + &format!(
        "ended {}, repos {}, absent {}, work {work:?}",
        last["ended"], last["repos"], last["absent"]
    )
}

#[test]
fn each_step_answers_as_recorded() {
    let place = fixtures();
    let likes = format!(r#"{{"list": {{"repo": "{ALICE}", "collection": "app.bsky.feed.like"}}}}"#);
    let posts = format!(r#"{{"list": {{"repo": "{ALICE}", "collection": "app.bsky.feed.post"}}}}"#);
    let both = format!(
        r#"{{"list": {{"repos": ["{ALICE}", "{BOB}"], "collection": "app.bsky.feed.like"}}}}"#
    );
    let keys = r#"{"project": []}"#;
    for (name, steps) in [
        (
            "get",
            format!(
                r#"{{"get": ["at://{ALICE}/app.bsky.actor.profile/self", "at://{BOB}/app.bsky.actor.profile/none", "at://did:plc:none/a.b.c/d"]}}"#
            ),
        ),
        (
            "list",
            r#"{"list": {"repos": "all", "collection": "app.bsky.graph.follow"}}"#.to_owned(),
        ),
        (
            "list-of-absent",
            format!(
                r#"{{"list": {{"repos": ["did:plc:none", "{BOB}"], "collection": "app.bsky.graph.block"}}}}"#
            ),
        ),
        (
            "list-at",
            format!(
                r#"{{"list": {{"repo": "{ALICE}", "collection": "app.bsky.graph.follow"}}}}, {{"list": {{"at": "subject", "collection": "app.bsky.feed.like", "reverse": true}}}}"#
            ),
        ),
        (
            "filter",
            format!(
                r#"{posts}, {{"filter": [{{"path": "reply", "exists": false}}, {{"path": "embed", "exists": true}}]}}, {{"project": ["text", "embed.$type"]}}"#
            ),
        ),
        (
            "among",
            format!(
                r#"{{"id": "bob", "list": {{"repo": "{BOB}", "collection": "app.bsky.feed.like"}}}}, {likes}, {{"among": {{"path": "subject.uri", "step": "bob", "of": "subject.uri", "not": true}}}}, {keys}"#
            ),
        ),
        (
            "map",
            format!(r#"{likes}, {{"map": "subject.uri"}}, {{"project": ["text"]}}"#),
        ),
        (
            "project",
            format!(r#"{posts}, {{"first": 2}}, {{"project": {{"form": "none", "cid": true}}}}"#),
        ),
        ("count", format!(r#"{both}, {{"count": {{}}}}"#)),
        (
            "group",
            format!(r#"{both}, {{"group": "subject.uri#did"}}"#),
        ),
        (
            "group-month",
            format!(r#"{posts}, {{"group": "createdAt#month"}}"#),
        ),
        (
            "top",
            format!(
                r#"{posts}, {{"top": {{"count": 3, "by": "createdAt#time"}}}}, {{"project": ["createdAt"]}}"#
            ),
        ),
        (
            "distinct",
            format!(r#"{posts}, {{"distinct": "embed.$type"}}, {keys}"#),
        ),
        ("first", format!(r#"{posts}, {{"first": 2}}, {keys}"#)),
        (
            "liked-most",
            format!(
                r#"{both}, {{"group": "subject.uri"}}, {{"top": 2}}, {{"map": "@value"}}, {{"project": ["text"]}}"#
            ),
        ),
    ] {
        let plan = format!(r#"{{"steps": [{steps}]}}"#);
        let run = place.query(&plan, &["--json"]).ends(OK);
        insta::assert_snapshot!(format!("query-{name}"), rows(&run), &plan);
    }
}

#[test]
fn a_person_reads_rows_and_why_they_end() {
    let place = fixtures();
    let plan = format!(
        r#"{{"steps": [{{"list": {{"repo": "{ALICE}", "collection": "app.bsky.feed.post"}}}}, {{"project": []}}], "budget": {{"rows": 2}}}}"#
    );
    let run = place.query(&plan, &[]).ends(OK);
    assert_eq!(run.text().lines().count(), 2);
    assert!(
        run.text()
            .starts_with(&format!("at://{ALICE}/app.bsky.feed.post/"))
    );
    assert!(
        run.stderr
            .starts_with("2 rows, there are more; 1 repos read, "),
        "{}",
        run.stderr
    );
    let file = place.file("plan.json", plan.as_bytes());
    assert_eq!(place.run(&["query", &file]).ends(OK).stdout, run.stdout);
}

#[test]
fn what_is_no_plan_is_refused_with_its_place() {
    let place = fixtures();
    let many = format!(
        r#"{{"get": [{}]}}"#,
        vec![r#""at://did:plc:a/a.b.c/d""#; 1_001].join(",")
    );
    for (plan, code, words) in [
        ("", USAGE, "the plan is not one"),
        (r#"{"steps": []}"#, USAGE, "no steps"),
        (r#"{"steps": [{}]}"#, USAGE, "none of get, list"),
        (
            r#"{"steps": [{"count": {}, "first": 1}]}"#,
            USAGE,
            "more than one of get, list",
        ),
        (
            r#"{"steps": [{"first": 1}]}"#,
            USAGE,
            "step 1: it takes the rows",
        ),
        (
            r#"{"steps": [{"frist": 1}]}"#,
            USAGE,
            "unknown field `frist`",
        ),
        (r#"{"steps": [{"get": ["x"]}]}"#, USAGE, "step 1: "),
        (
            r#"{"steps": [{"get": []}, {"from": "x", "first": 1}]}"#,
            USAGE,
            "names the step `x`",
        ),
        (
            r#"{"steps": [{"id": "x", "get": []}, {"id": "x", "get": []}, {"from": "x", "first": 1}]}"#,
            USAGE,
            "two steps",
        ),
        (
            r#"{"steps": [{"get": []}, {"group": "a#b"}]}"#,
            USAGE,
            "step 2: `#b` is none of",
        ),
        (
            r#"{"steps": [{"get": []}, {"filter": [{"path": "a"}]}]}"#,
            USAGE,
            "none of exists",
        ),
        (
            r#"{"steps": [{"get": []}, {"filter": [{"path": "a", "equals": []}]}]}"#,
            USAGE,
            "invalid type",
        ),
        (
            r#"{"steps": [{"list": {"repo": "a.example", "collection": "a.b.c"}}]}"#,
            NOT_FOUND,
            "nobody in the store claims",
        ),
        (
            r#"{"steps": [{"list": {"collection": "a.b.c"}}]}"#,
            USAGE,
            "none of repo, repos and at",
        ),
        (
            &format!(r#"{{"steps": [{many}]}}"#),
            REFUSED,
            "step 1: 1001 at-URIs are more than",
        ),
    ] {
        let run = place.query(plan, &[]).ends(code);
        assert!(run.stderr.contains(words), "{plan}: {}", run.stderr);
    }
}
