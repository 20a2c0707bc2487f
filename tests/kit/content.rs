//! [`Mix`]: what the records of a generated repo are, and [`Author`], who writes them.
//!
//! Shapes and shares follow real repos (likes, posts, reposts, follows); the other kinds are there to be awkward:
//! collections whose names extend each other, record keys that are no TIDs, values of every type.

use carrack_schema::Cid;
use carrack_schema::cid::Codec;

use crate::cbor::Value;
use crate::rng::Rng;
use crate::text::{plc_did, sentence, tid, timestamp};

const DAY_MICROS: u64 = 86_400 * 1_000_000;

/// Accounts a repo refers to, at most; real repos refer to some far more often than to others.
const ACCOUNTS_MAX: usize = 20_000;

const LIKE: &str = "app.bsky.feed.like";
const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
const FOLLOW: &str = "app.bsky.graph.follow";
const PROFILE: &str = "app.bsky.actor.profile";
const CUSTOM: &str = "com.example.custom.record";
const SHARED: &str = "com.example.shared.mark";

/// Collections whose names extend each other by bytes that sort on both sides of `/`.
///
/// As NSIDs `sh.tangled.repo` is the first of the four that start with it; as keys, with `/` and a record key
/// behind, `…repo-x.issue/` and `…repo.issue/` come before `…repo/`, because `-` and `.` sort before `/`.
pub const NEIGHBOURS: &[&str] = &[
    "sh.tangled.repo",
    "sh.tangled.repo.issue",
    "sh.tangled.repo.issue.state",
    "sh.tangled.repo-x.issue",
    "sh.tangled.repo2",
    "sh.tangled-x.repo",
];

/// Integers at the borders of CBOR's lengths, of JavaScript's safe integers and of 64 bits.
const INTEGERS: &[i64] = &[
    0,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    0xffff_ffff,
    0x1_0000_0000,
    (1 << 53) - 1,
    i64::MAX,
    -1,
    -24,
    -25,
    -256,
    -257,
    -65_537,
    -(1 << 53) + 1,
    i64::MIN,
];

/// How much of each kind of record a repo has: weights, of which only the proportions count.
///
/// Each kind with a weight occurs at least once if there are records enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Whether the first record is a profile under the key `self`.
    pub profile: bool,
    /// Likes.
    pub likes: u32,
    /// Posts, with replies, facets and embeds.
    pub posts: u32,
    /// Reposts.
    pub reposts: u32,
    /// Follows.
    pub follows: u32,
    /// Small records in the collections [`NEIGHBOURS`], under TIDs and texts.
    pub neighbours: u32,
    /// Records of a lexicon nobody knows, with values of every type, under TIDs and texts.
    pub custom: u32,
    /// Records that are one of three blocks, so that a block has several paths.
    pub shared: u32,
}

impl Mix {
    /// What a social account writes: 62 % likes, 26 % posts, 7 % reposts, 5 % follows.
    pub const SOCIAL: Self = Self {
        profile: true,
        likes: 620,
        posts: 260,
        reposts: 70,
        follows: 50,
        neighbours: 0,
        custom: 0,
        shared: 0,
    };

    /// Everything, the awkward kinds in a tenth of the records each.
    pub const VARIED: Self = Self {
        neighbours: 140,
        custom: 140,
        shared: 140,
        ..Self::SOCIAL
    };

    fn weights(&self) -> [(Kind, u32); 7] {
        [
            (Kind::Like, self.likes),
            (Kind::Post, self.posts),
            (Kind::Repost, self.reposts),
            (Kind::Follow, self.follows),
            (Kind::Neighbour, self.neighbours),
            (Kind::Custom, self.custom),
            (Kind::Shared, self.shared),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Profile,
    Like,
    Post,
    Repost,
    Follow,
    Neighbour,
    Custom,
    Shared,
}

/// A writer of records, one after the other.
#[derive(Debug)]
pub struct Author {
    rng: Rng,
    accounts: Vec<String>,
    mix: Mix,
    /// Kinds that must come before chance decides, the next one last.
    due: Vec<Kind>,
    text_keys_count: u64,
}

impl Author {
    /// Returns an author of about `records` records.
    ///
    /// # Panics
    /// If the mix has no weights.
    pub fn new(mut rng: Rng, mix: Mix, records: usize) -> Self {
        let weights = mix.weights();
        assert!(
            weights.iter().any(|(_, weight)| *weight > 0),
            "a mix needs a weight"
        );
        let profile = mix.profile.then_some(Kind::Profile);
        let weighted = weights
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(kind, _)| *kind);
        let mut due: Vec<Kind> = profile.into_iter().chain(weighted).collect();
        due.reverse();
        let accounts = (0..ACCOUNTS_MAX.min(records + 16))
            .map(|_| plc_did(&mut rng))
            .collect();
        Self {
            rng,
            accounts,
            mix,
            due,
            text_keys_count: 0,
        }
    }

    /// Returns the path and the value of a record written at a time, in microseconds since 1970.
    ///
    /// Paths are unique as long as times are.
    pub fn write(&mut self, now: u64) -> (String, Value) {
        let kind = self.due.pop().unwrap_or_else(|| self.kind());
        let (collection, value) = match kind {
            Kind::Profile => (PROFILE, self.profile()),
            Kind::Like => (LIKE, self.like(now)),
            Kind::Post => (POST, self.post(now)),
            Kind::Repost => (REPOST, self.repost(now)),
            Kind::Follow => (FOLLOW, self.follow(now)),
            Kind::Neighbour => self.neighbour(now),
            Kind::Custom => (CUSTOM, self.custom(now)),
            Kind::Shared => (SHARED, self.shared()),
        };
        let rkey = match kind {
            Kind::Profile => "self".to_owned(),
            Kind::Neighbour | Kind::Custom if self.rng.chance(400) => self.text_key(),
            _ => tid(now, self.rng.below(1_024)).to_string(),
        };
        (format!("{collection}/{rkey}"), value)
    }

    fn kind(&mut self) -> Kind {
        let weights = self.mix.weights();
        let total = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = self.rng.below(total);
        for (kind, weight) in weights {
            match at.checked_sub(u64::from(weight)) {
                None => return kind,
                Some(rest) => at = rest,
            }
        }
        unreachable!("the weights sum to the total");
    }

    /// Returns a record key that is no TID by this author's clock, not used before.
    fn text_key(&mut self) -> String {
        self.text_keys_count += 1;
        let n = self.text_keys_count;
        match self.rng.below(10) {
            0 => format!("self{n}"),
            1 => format!("Title-of-{n}_(draft)").replace(['(', ')'], "~"),
            2 => format!("{n}"),
            3 => format!("...{n}"),
            4 => format!("example.com:{n}"),
            5 => format!("~{n}"),
            // Thirteen characters of a TID's alphabet, more than 64 bits.
            6 => tid(n, 0).to_string().replacen('2', "z", 1),
            // TIDs of times far away.
            7 => tid(n, 0).to_string(),
            8 => tid((1 << 54) - n, 1_023).to_string(),
            // As long as a record key may be.
            _ => format!("{}{n:08}", "k".repeat(504)),
        }
    }

    fn account(&mut self) -> String {
        let (a, b) = (
            self.rng.index(self.accounts.len()),
            self.rng.index(self.accounts.len()),
        );
        self.accounts[a.min(b)].clone()
    }

    fn cid(&mut self, codec: Codec) -> Cid {
        Cid::new(codec, self.rng.bytes())
    }

    fn timestamp(&mut self, now: u64) -> Value {
        Value::Text(timestamp(&mut self.rng, now))
    }

    /// A strong reference to somebody's record of the last week.
    fn reference(&mut self, collection: &str, now: u64) -> Value {
        let account = self.account();
        let time = now - self.rng.below(7 * DAY_MICROS);
        let rkey = tid(time, self.rng.below(1_024));
        Value::map([
            ("cid", Value::text(self.cid(Codec::DagCbor).to_string())),
            (
                "uri",
                Value::text(format!("at://{account}/{collection}/{rkey}")),
            ),
        ])
    }

    fn blob(&mut self, mime_type: &str) -> Value {
        Value::map([
            ("$type", Value::text("blob")),
            ("ref", Value::Link(self.cid(Codec::Raw))),
            ("mimeType", Value::text(mime_type)),
            ("size", self.int(50_000, 950_000)),
        ])
    }

    fn int(&mut self, from: u64, below: u64) -> Value {
        Value::Int((from + self.rng.below(below - from)) as i64)
    }

    fn profile(&mut self) -> Value {
        Value::map([
            ("$type", Value::text(PROFILE)),
            ("displayName", Value::text("Synthetic Account")),
            ("description", Value::text("deterministic test data")),
            ("avatar", self.blob("image/png")),
        ])
    }

    fn like(&mut self, now: u64) -> Value {
        let mut like = Value::map([
            ("$type", Value::text(LIKE)),
            ("subject", self.reference(POST, now)),
            ("createdAt", self.timestamp(now)),
        ]);
        if self.rng.chance(150) {
            like.insert("via", self.reference(REPOST, now));
        }
        like
    }

    fn repost(&mut self, now: u64) -> Value {
        Value::map([
            ("$type", Value::text(REPOST)),
            ("subject", self.reference(POST, now)),
            ("createdAt", self.timestamp(now)),
        ])
    }

    fn follow(&mut self, now: u64) -> Value {
        Value::map([
            ("$type", Value::text(FOLLOW)),
            ("subject", Value::Text(self.account())),
            ("createdAt", self.timestamp(now)),
        ])
    }

    fn post(&mut self, now: u64) -> Value {
        let text = sentence(&mut self.rng);
        let text_bytes = text.len() as i64;
        let mut post = Value::map([
            ("$type", Value::text(POST)),
            ("text", Value::Text(text)),
            ("createdAt", self.timestamp(now)),
        ]);
        if self.rng.chance(900) {
            post.insert("langs", Value::List(vec![Value::text("en")]));
        }
        if self.rng.chance(550) {
            let root = self.reference(POST, now);
            let parent = self.reference(POST, now);
            post.insert("reply", Value::map([("root", root), ("parent", parent)]));
        }
        if self.rng.chance(120) {
            post.insert("facets", Value::List(vec![self.mention(text_bytes)]));
        }
        match self.rng.below(1_000) {
            0..130 => post.insert("embed", self.images()),
            130..220 => post.insert("embed", self.external()),
            220..290 => {
                let quoted = self.reference(POST, now);
                let kind = Value::text("app.bsky.embed.record");
                post.insert("embed", Value::map([("$type", kind), ("record", quoted)]));
            }
            _ => {}
        }
        post
    }

    fn mention(&mut self, text_bytes: i64) -> Value {
        let end = text_bytes.min(4 + self.rng.below(20) as i64);
        let index = [("byteStart", Value::Int(0)), ("byteEnd", Value::Int(end))];
        let feature = Value::map([
            ("$type", Value::text("app.bsky.richtext.facet#mention")),
            ("did", Value::Text(self.account())),
        ]);
        Value::map([
            ("index", Value::map(index)),
            ("features", Value::List(vec![feature])),
        ])
    }

    fn images(&mut self) -> Value {
        let ratio = [
            ("width", self.int(1_000, 2_000)),
            ("height", self.int(600, 2_000)),
        ];
        let image = Value::map([
            ("alt", Value::Text(sentence(&mut self.rng))),
            ("aspectRatio", Value::map(ratio)),
            ("image", self.blob("image/jpeg")),
        ]);
        Value::map([
            ("$type", Value::text("app.bsky.embed.images")),
            ("images", Value::List(vec![image])),
        ])
    }

    fn external(&mut self) -> Value {
        let page = Value::map([
            (
                "uri",
                Value::Text(format!("https://example.com/{:016x}", self.rng.next_u64())),
            ),
            ("title", Value::Text(sentence(&mut self.rng))),
            ("description", Value::Text(sentence(&mut self.rng))),
        ]);
        Value::map([
            ("$type", Value::text("app.bsky.embed.external")),
            ("external", page),
        ])
    }

    fn neighbour(&mut self, now: u64) -> (&'static str, Value) {
        let collection = *self.rng.pick(NEIGHBOURS);
        let value = Value::map([
            ("$type", Value::text(collection)),
            ("title", Value::Text(sentence(&mut self.rng))),
            ("createdAt", self.timestamp(now)),
        ]);
        (collection, value)
    }

    fn shared(&mut self) -> Value {
        let mark = *self.rng.pick(&["first", "second", "third"]);
        Value::map([("$type", Value::text(SHARED)), ("mark", Value::text(mark))])
    }

    fn custom(&mut self, now: u64) -> Value {
        let mut record = Value::map([
            ("$type", Value::text(CUSTOM)),
            ("createdAt", self.timestamp(now)),
            ("value", self.value(4)),
            ("link", Value::Link(self.cid(Codec::DagCbor))),
            (
                "bytes",
                Value::Bytes(self.rng.bytes::<24>()[..self.rng.index(25)].to_vec()),
            ),
            ("number", Value::Int(*self.rng.pick(INTEGERS))),
            (
                "schlüssel",
                Value::text("nul \0, tab \t, quote \", backslash \\, bell \u{7}"),
            ),
            ("blob", self.blob("application/octet-stream")),
        ]);
        // A field of this name is absent, null, empty or full: four different records.
        match self.rng.below(4) {
            0 => record.insert("allow", Value::Null),
            1 => record.insert("allow", Value::List(vec![])),
            2 => record.insert("allow", Value::List(vec![Value::Bool(false), Value::Null])),
            _ => {}
        }
        if self.rng.chance(100) {
            // The blob form of 2022, without a type.
            let cid = Value::text(self.cid(Codec::Raw).to_string());
            let old = [("cid", cid), ("mimeType", Value::text("image/jpeg"))];
            record.insert("oldBlob", Value::map(old));
        }
        record
    }

    /// Any value, nested at most `depth` deep.
    fn value(&mut self, depth: u32) -> Value {
        let kinds = if depth == 0 { 6 } else { 8 };
        match self.rng.below(kinds) {
            0 => Value::Null,
            1 => Value::Bool(self.rng.chance(500)),
            2 => Value::Int(*self.rng.pick(INTEGERS)),
            3 => Value::Bytes(self.rng.bytes::<16>()[..self.rng.index(17)].to_vec()),
            4 => Value::Text(sentence(&mut self.rng)),
            5 => Value::Link(self.cid(Codec::DagCbor)),
            6 => Value::List(
                (0..self.rng.below(5))
                    .map(|_| self.value(depth - 1))
                    .collect(),
            ),
            _ => {
                // Names that sort differently by length, by byte and by letter, in a random order.
                let mut names = [
                    "b",
                    "a",
                    "aa",
                    "Z",
                    "é",
                    "日本",
                    "🦋",
                    "",
                    "with space",
                    "a.b",
                ];
                self.rng.shuffle(&mut names);
                let len = self.rng.index(names.len());
                let names = names.into_iter().filter(|name| !name.is_empty()).take(len);
                Value::Map(
                    names
                        .map(|name| (name.into(), self.value(depth - 1)))
                        .collect(),
                )
            }
        }
    }
}
