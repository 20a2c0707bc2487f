//! [`QUESTIONS`]: what is asked, the calls an agent would make, how it reads the answer, and what is right.
//!
//! An agent's part uses nothing but the tools' answers, and mostly their text; the other part nothing but the oracle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::car;
use crate::oracle::{Oracle, Repo};
use crate::session::{Cost, Reply, Session};

/// fx-varied, who has a record of every kind.
const ACTOR: &str = "did:plc:rilb2cohzwgttp7xjllpyq2i";
/// fx-friend, who is much like that.
const FRIEND: &str = "did:plc:4laajcqkrquefjrfvdn5wm6j";
/// fx-mid, the account with two thousand records.
const MID: &str = "did:plc:5vcoghedne3kxkcfrtuldrr6";
const POST: &str = "app.bsky.feed.post";
const LIKE: &str = "app.bsky.feed.like";
const FOLLOW: &str = "app.bsky.graph.follow";

/// A question.
pub(crate) struct Question {
    pub(crate) words: &'static str,
    /// The tools it takes.
    pub(crate) tools: &'static [&'static str],
    ask: fn(&mut Session) -> String,
    known: fn(&Oracle) -> String,
    judge: Judge,
}

/// How an answer is compared with what is known.
#[derive(Clone, Copy)]
enum Judge {
    /// It is that.
    Is,
    /// Each line of what is known stands in it, as words of their own.
    Says,
}

/// What became of a question.
pub(crate) enum Outcome {
    Right(Cost),
    Wrong {
        answer: String,
        known: String,
    },
    /// A tool it takes does not exist.
    Pending(&'static str),
}

impl Question {
    pub(crate) fn put(&self, session: &mut Session, oracle: &Oracle) -> Outcome {
        if let Some(tool) = self.tools.iter().find(|tool| !session.has(tool)) {
            return Outcome::Pending(tool);
        }
        session.cost = Cost::default();
        let answer = (self.ask)(session);
        let known = (self.known)(oracle);
        assert!(!known.is_empty(), "{}: nothing is known", self.words);
        let right = match self.judge {
            Judge::Is => answer == known,
            Judge::Says => known.lines().all(|line| says(&answer, line)),
        };
        match right {
            true => Outcome::Right(session.cost),
            false => Outcome::Wrong { answer, known },
        }
    }
}

/// Tells whether words stand in a text, not as a part of others.
fn says(text: &str, words: &str) -> bool {
    let part = |c: char| c.is_alphanumeric();
    text.match_indices(words)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + words.len()..].starts_with(part))
}

/// Returns what stands between two marks, or to the end.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let after = text.split_once(from).map_or("", |(_, after)| after);
    after
        .split_once(to)
        .map_or(after, |(before, _)| before)
        .trim_end()
}

/// Returns what a third party wrote in a row.
fn quoted(row: &str) -> &str {
    between(row, " > ", "\n")
}

/// Returns the number without its separators.
fn number(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn lines<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter()
        .map(|line| line.as_ref().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

fn uri(did: &str, collection: &str, rkey: &str) -> String {
    format!("at://{did}/{collection}/{rkey}")
}

/// Lists a collection to its end.
fn everything(session: &mut Session, mut arguments: Value) -> Vec<String> {
    let mut rows = Vec::new();
    loop {
        let reply = session.call("at_list", arguments.clone());
        rows.extend(reply.rows().map(str::to_owned));
        match reply.structured["next"].as_str() {
            Some(next) => arguments["cursor"] = json!(next),
            None => return rows,
        }
    }
}

fn overview(session: &mut Session, actor: &str) -> Reply {
    session.call("at_overview", json!({ "actor": actor }))
}

fn get(session: &mut Session, refs: &[&str]) -> Reply {
    session.call("at_get", json!({ "refs": refs }))
}

/// Returns the row of the only record that was asked for.
fn row(session: &mut Session, reference: &str) -> String {
    let reply = get(session, &[reference]);
    reply
        .text
        .lines()
        .find(|line| line.starts_with("at://"))
        .unwrap_or_default()
        .to_owned()
}

fn list(session: &mut Session, arguments: Value) -> Vec<String> {
    session
        .call("at_list", arguments)
        .rows()
        .map(str::to_owned)
        .collect()
}

fn plan(session: &mut Session, steps: Value) -> String {
    let text = session.call("at_query", json!({ "steps": steps })).text;
    // Counts are read without their separators.
    let separates = |at: usize| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| text.as_bytes().get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        text.as_bytes()[at] == b',' && digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    text.char_indices()
        .filter(|(at, c)| *c != ',' || !separates(*at))
        .map(|(_, c)| c)
        .collect()
}

/// Returns when a record says it was made, to the second.
fn made(value: &Value) -> String {
    format!("{}Z", &value["createdAt"].as_str().unwrap()[..19])
}

fn likes(repo: &Repo) -> BTreeSet<String> {
    let likes = repo.collection(LIKE).into_iter();
    likes
        .map(|(_, like)| like["subject"]["uri"].as_str().unwrap().to_owned())
        .collect()
}

fn posts(repo: &Repo, fits: impl Fn(&Value) -> bool) -> usize {
    repo.collection(POST)
        .into_iter()
        .filter(|(_, post)| fits(post))
        .count()
}

/// Returns what a reply answers.
fn parent(value: &Value) -> Option<&str> {
    value["reply"]["parent"]["uri"].as_str()
}

/// Returns the posts above one, nearest first.
fn above(oracle: &Oracle, uri: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut at = uri.to_owned();
    while let Some(next) = parent(&oracle.record(&at).value) {
        at = next.to_owned();
        all.push(at.clone());
    }
    all
}

/// A reply with the longest way up.
const DEEP: &str = "at://did:plc:5vcoghedne3kxkcfrtuldrr6/app.bsky.feed.post/3leoofg4m2f2b";
/// A reply of the first sample.
const REPLY: &str = "at://did:plc:rilb2cohzwgttp7xjllpyq2i/app.bsky.feed.post/3n2v4jxbvsh2x";
/// What it answers.
const ANSWERED: &str = "at://did:plc:rilb2cohzwgttp7xjllpyq2i/app.bsky.feed.post/3n2v4jx6ejh2x";

macro_rules! questions {
    ($($words:literal, [$($tool:literal),*], $judge:ident, $ask:expr, $known:expr;)*) => {
        &[$(Question { words: $words, tools: &[$($tool),*], ask: $ask, known: $known, judge: Judge::$judge }),*]
    };
}

/// The questions, in the order they are asked: those that import come last.
pub(crate) const QUESTIONS: &[Question] = questions![
    "How many accounts and records does the archive hold?", ["at_overview"], Is,
    |s| {
        let reply = s.call("at_overview", json!({}));
        let mut parts = reply.header().split(" · ").map(number);
        format!("{} {}", parts.next().unwrap(), parts.next().unwrap())
    },
    |o| format!("{} {}", o.repos.len(), o.repos.iter().map(|repo| repo.records.len()).sum::<usize>());

    "At which revision is fx-friend's repo?", ["at_overview"], Is,
    |s| between(overview(s, FRIEND).header(), "rev ", " ").to_owned(),
    |o| o.repo(FRIEND).rev.clone();

    "How many posts has fx-mid written?", ["at_overview"], Is,
    |s| {
        let reply = overview(s, MID);
        number(between(&reply.text, "app.bsky.feed.post · ", "\n"))
    },
    |o| o.repo(MID).collection(POST).len().to_string();

    "Which collections of fx-varied are not Bluesky's?", ["at_overview"], Is,
    |s| {
        let reply = overview(s, ACTOR);
        let names = reply.rows().filter_map(|row| row.split(" · ").next());
        lines(names.filter(|name| !name.starts_with("app.bsky.")))
    },
    |o| lines(o.repo(ACTOR).collections().into_keys().filter(|name| !name.starts_with("app.bsky.")));

    "When did fx-varied write the newest post?", ["at_list"], Is,
    |s| {
        let rows = list(s, json!({ "actor": ACTOR, "collection": POST, "limit": 1 }));
        rows[0].split(' ').nth(2).unwrap().to_owned()
    },
    |o| made(o.repo(ACTOR).collection(POST).last().unwrap().1);

    "What does fx-varied's oldest post say?", ["at_list"], Is,
    |s| {
        let rows = list(s, json!({ "actor": ACTOR, "collection": POST, "order": "oldest", "limit": 1 }));
        quoted(&rows[0]).to_owned()
    },
    |o| o.repo(ACTOR).collection(POST)[0].1["text"].as_str().unwrap().to_owned();

    "What does fx-friend's profile say?", ["at_get"], Is,
    |s| quoted(&row(s, FRIEND)).to_owned(),
    |o| {
        let profile = &o.repo(FRIEND).records["app.bsky.actor.profile/self"].value;
        format!("{} — {}", profile["displayName"].as_str().unwrap(), profile["description"].as_str().unwrap())
    };

    "Which post does this reply answer, and what does that say?", ["at_get"], Is,
    |s| {
        let reply = row(s, REPLY);
        let answered = between(&reply, "reply to ", " ").to_owned();
        let text = row(s, &answered);
        format!("{answered} {}", quoted(&text).split(" [link: ").next().unwrap())
    },
    |o| {
        let answered = parent(&o.record(REPLY).value).unwrap();
        format!("{answered} {}", o.record(answered).value["text"].as_str().unwrap())
    };

    "Whom does fx-varied follow?", ["at_list"], Is,
    |s| {
        let rows = list(s, json!({ "actor": ACTOR, "collection": FOLLOW }));
        lines(rows.iter().filter_map(|row| row.split(" · ").nth(2)))
    },
    |o| lines(o.repo(ACTOR).collection(FOLLOW).iter().map(|(_, follow)| follow["subject"].as_str().unwrap()));

    "Do fx-varied and fx-friend follow each other?", ["at_list"], Is,
    |s| {
        let mut follows = |who: &str, whom: &str| {
            let rows = list(s, json!({ "actor": who, "collection": FOLLOW }));
            rows.iter().any(|row| row.ends_with(whom))
        };
        format!("{} {}", follows(ACTOR, FRIEND), follows(FRIEND, ACTOR))
    },
    |o| {
        let follows = |who: &str, whom: &str| {
            o.repo(who).collection(FOLLOW).iter().any(|(_, follow)| follow["subject"] == whom)
        };
        format!("{} {}", follows(ACTOR, FRIEND), follows(FRIEND, ACTOR))
    };

    "Which posts has fx-friend liked?", ["at_list"], Is,
    |s| {
        let rows = list(s, json!({ "actor": FRIEND, "collection": LIKE }));
        let liked: BTreeSet<_> = rows.iter().filter_map(|row| row.split(" · ").nth(2)).collect();
        lines(liked)
    },
    |o| lines(likes(o.repo(FRIEND)));

    "How many posts have fx-varied and fx-friend between them liked, and how many both?", ["at_list"], Is,
    |s| {
        let mut liked = |actor: &str| -> BTreeSet<String> {
            let rows = list(s, json!({ "actor": actor, "collection": LIKE }));
            rows.iter().filter_map(|row| row.split(" · ").nth(2)).map(str::to_owned).collect()
        };
        let (mine, theirs) = (liked(ACTOR), liked(FRIEND));
        format!("{} {}", mine.union(&theirs).count(), mine.intersection(&theirs).count())
    },
    |o| {
        let (mine, theirs) = (likes(o.repo(ACTOR)), likes(o.repo(FRIEND)));
        format!("{} {}", mine.union(&theirs).count(), mine.intersection(&theirs).count())
    };

    "What is the CID of this post?", ["at_get"], Is,
    |s| between(&row(s, REPLY), "cid ", " ").to_owned(),
    |o| o.record(REPLY).cid.clone();

    "How many of fx-varied's posts carry an image?", ["at_list"], Is,
    |s| {
        let rows = everything(s, json!({ "actor": ACTOR, "collection": POST }));
        rows.iter().filter(|row| row.split(" > ").next().unwrap().contains(" image")).count().to_string()
    },
    |o| {
        let images = |post: &Value| post["embed"]["images"].is_array() || post["embed"]["media"]["images"].is_array();
        posts(o.repo(ACTOR), images).to_string()
    };

    "In which languages is this post?", ["at_get"], Is,
    |s| {
        let reply = s.call("at_get", json!({ "refs": [REPLY], "fields": ["langs"] }));
        between(&reply.text, "{\"langs\":", "}").to_owned()
    },
    |o| o.record(REPLY).value["langs"].to_string();

    "What is `n` in fx-varied's com.example.custom.thing/k1, and what the first of its nested list?", ["at_get"], Is,
    |s| {
        let arguments = json!({ "refs": [uri(ACTOR, "com.example.custom.thing", "k1")], "format": "full" });
        let reply = s.call("at_get", arguments);
        let value: Value = serde_json::from_str(&reply.text[reply.text.find('{').unwrap()..]).unwrap();
        format!("{} {}", value["n"], value["nested"]["list"][0])
    },
    |o| {
        let value = &o.repo(ACTOR).records["com.example.custom.thing/k1"].value;
        format!("{} {}", value["n"], value["nested"]["list"][0])
    };

    "How many of fx-varied's posts quote another post?", ["at_list"], Is,
    |s| {
        let rows = everything(s, json!({ "actor": ACTOR, "collection": POST }));
        rows.iter().filter(|row| row.split(" > ").next().unwrap().contains("quotes at://")).count().to_string()
    },
    |o| {
        let quotes = |post: &Value| post["embed"]["record"].is_object();
        posts(o.repo(ACTOR), quotes).to_string()
    };

    "How many posts did fx-mid write on 2 January 2025, by their record keys?", ["at_list"], Is,
    |s| {
        let day = json!({
            "actor": MID, "collection": POST, "since": "2025-01-02", "until": "2025-01-03", "limit": 1000, "fields": ["langs"], "max_bytes": 65_536,
        });
        everything(s, day).len().to_string()
    },
    |o| posts(o.repo(MID), |post| made(post).starts_with("2025-01-02")).to_string();

    "When did fx-mid write the five newest posts?", ["at_list"], Is,
    |s| {
        let rows = list(s, json!({ "actor": MID, "collection": POST, "limit": 5 }));
        lines(rows.iter().map(|row| row.split(' ').nth(2).unwrap()))
    },
    |o| lines(o.repo(MID).collection(POST).iter().rev().take(5).map(|(_, post)| made(post)));

    "What was fx-mid's first post on 2 January 2025 after six in the morning (UTC)?", ["at_list"], Is,
    |s| {
        let since = json!({ "actor": MID, "collection": POST, "since": "2025-01-02T06:00:00Z", "order": "oldest", "limit": 1 });
        list(s, since)[0].split(' ').next().unwrap().to_owned()
    },
    |o| {
        let posts = o.repo(MID).collection(POST);
        posts.iter().find(|(_, post)| *made(post) >= *"2025-01-02T06:00:00Z").unwrap().0.to_owned()
    };

    "How many posts has fx-varied? (asked with a misspelt collection, put right as the error says)", ["at_list"], Is,
    |s| {
        let reply = s.call("at_list", json!({ "actor": ACTOR, "collection": "app.bsky.feed.posts", "limit": 1 }));
        assert!(reply.failed, "{}", reply.text);
        let corrected = serde_json::from_str(between(&reply.text, "try: at_list ", "\n")).unwrap();
        let reply = s.call("at_list", corrected);
        number(between(reply.header(), " of ", " "))
    },
    |o| o.repo(ACTOR).collection(POST).len().to_string();

    "What is archived of an account nobody has imported?", ["at_overview"], Is,
    |s| {
        let reply = overview(s, "did:plc:ewvi7nxzyoun6zhxrhs64oiz");
        assert!(reply.failed, "{}", reply.text);
        match reply.structured["code"] == "notFound" {
            true => "nothing".to_owned(),
            false => reply.text,
        }
    },
    |o| match o.repos.iter().any(|repo| repo.did == "did:plc:ewvi7nxzyoun6zhxrhs64oiz") {
        true => "something".to_owned(),
        false => "nothing".to_owned(),
    };

    "Which post has fx-mid liked most often, and how often?", ["at_query"], Says,
    |s| plan(s, json!([
        { "list": { "repo": MID, "collection": LIKE } },
        { "group": "subject.uri" },
        { "top": 1 },
    ])),
    |o| {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, like) in o.repo(MID).collection(LIKE) {
            *counts.entry(like["subject"]["uri"].as_str().unwrap()).or_default() += 1;
        }
        let (uri, most) = counts.into_iter().max_by_key(|(_, count)| *count).unwrap();
        lines([uri, &most.to_string()])
    };

    "How many of fx-mid's posts are replies?", ["at_query"], Says,
    |s| plan(s, json!([
        { "list": { "repo": MID, "collection": POST } },
        { "filter": [{ "path": "reply", "exists": true }] },
        { "count": {} },
    ])),
    |o| posts(o.repo(MID), |post| parent(post).is_some()).to_string();

    "What do the posts say that fx-friend liked?", ["at_query"], Says,
    |s| plan(s, json!([
        { "list": { "repo": FRIEND, "collection": LIKE } },
        { "map": "subject.uri" },
        { "project": ["text"] },
    ])),
    |o| lines(likes(o.repo(FRIEND)).iter().map(|uri| o.record(uri).value["text"].as_str().unwrap()));

    "Which posts are above this reply, up to the start of its thread?", ["at_thread"], Says,
    |s| s.call("at_thread", json!({ "uri": DEEP })).text,
    |o| lines(above(o, DEEP).iter().map(|uri| uri.rsplit('/').next().unwrap()));

    "What do the posts above this reply say?", ["at_thread"], Says,
    |s| s.call("at_thread", json!({ "uri": REPLY })).text,
    |o| lines(above(o, REPLY).iter().map(|uri| o.record(uri).value["text"].as_str().unwrap()));

    "Is this post what its repo's commit says, under which CID and revision?", ["at_verify"], Says,
    |s| s.call("at_verify", json!({ "uri": ANSWERED })).text,
    |o| lines([&o.record(ANSWERED).cid, &o.repo(ACTOR).rev]);

    "How many records does this new CAR file bring, and whose are they?", ["at_import", "at_overview"], Is,
    |s| {
        let reply = s.call("at_import", json!({ "source": car("small") }));
        let did = format!("did:plc:{}", between(&reply.text, "did:plc:", " "));
        format!("{did} {}", number(between(overview(s, &did).header(), "unchecked · ", " record")))
    },
    |_| {
        let small = Oracle::new([car("small")]);
        format!("{} {}", small.repos[0].did, small.repos[0].records.len())
    };

    "Which revision is held, and with how many records, after an account's older and newer export?", ["at_import", "at_overview"], Is,
    |s| {
        s.call("at_import", json!({ "source": car("diff-a-full") }));
        let reply = s.call("at_import", json!({ "source": car("diff-b-full") }));
        let did = format!("did:plc:{}", between(&reply.text, "did:plc:", " "));
        let held = overview(s, &did);
        let header = held.header();
        format!("{} {}", between(header, "rev ", " "), number(between(header, "unchecked · ", " record")))
    },
    |_| {
        let newer = Oracle::new([car("diff-b-full")]);
        format!("{} {}", newer.repos[0].rev, newer.repos[0].records.len())
    };
];
