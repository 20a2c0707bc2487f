//! What a peer sends as the plan of a query.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use capnp::any_pointer;
use capnp::message::{Reader, ReaderOptions, ReaderSegments};
use capnp_rpc::rpc_capnp::{message, return_};
use carrack_schema::limits::{
    QUERY_BYTES_DEFAULT, QUERY_BYTES_MAX, QUERY_MILLIS_MAX, QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX,
    QUERY_SOURCES_MAX, QUERY_STEPS_MAX, QUERY_WORK_DEFAULT, QUERY_WORK_MAX,
};
use carrack_schema::wire::query_capnp::{answer, plan, row};
use carrack_schema::wire::store_capnp as wire;
use carrack_schema::{Code, Value};
use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;
use carrack_store::{Door, Entrance, ImportRequest, Store, SystemClock, rpc};
use kit::{Mix, Order, Repo, RepoSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::peer::{self, On};

/// Bytes of a word.
const WORD: usize = 8;
/// Bytes that the frame of an answer takes beside its rows and sources, with what each step cost.
const FRAME_BYTES: usize = 128 + 48 * QUERY_STEPS_MAX;
/// Bytes that a repo which is not held takes in an answer.
const MISSING_BYTES: usize = 96;
/// Far beyond what any plan may take.
const NEVER: Duration = Duration::from_millis(10 * QUERY_MILLIS_MAX as u64);
/// The question that is the query; those before it lead there.
const QUERY: u32 = 3;

/// Runs what `data` says is a plan, on a store of two repos. It is the second segment of a call, from its root pointer on,
/// and is not looked at before the server does.
///
/// - Nothing panics: neither on the connection nor on the query's thread.
/// - The answer is within the plan's budget, or an error that says what is wrong with the plan.
/// - An answer that is whole is the same again.
///
/// # Panics
/// If a property is broken.
pub fn run(data: &[u8]) {
    let (first, second) = (asked(data), asked(data));
    match (first, second) {
        (Heard::Refused, Heard::Refused) => {}
        (Heard::Answer(first), Heard::Answer(second)) => {
            check_budget(data, &first);
            if first.is_complete && second.is_complete {
                assert_eq!(first.rows, second.rows, "the same again");
            }
        }
        _ => panic!("it is refused now and then"),
    }
}

/// Returns how many rows answer what `data` says is a plan; none if it is refused.
///
/// # Panics
/// As [`run`].
pub fn rows(data: &[u8]) -> Option<usize> {
    match asked(data) {
        Heard::Answer(answer) => Some(answer.rows.len()),
        Heard::Refused => None,
    }
}

fn asked(data: &[u8]) -> Heard {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let asked = async { tokio::time::timeout(NEVER, ask(data)).await };
    let asked = tokio::task::LocalSet::new().block_on(&runtime, asked);
    heard(&asked.expect("an answer"))
}

/// What a query came to.
enum Heard {
    Answer(Answer),
    Refused,
}

struct Answer {
    is_complete: bool,
    /// Each as it is compared.
    rows: Vec<String>,
    missing: usize,
    /// As the answer counts its bytes, and as they are.
    counted: usize,
    bytes: usize,
    work: u64,
}

/// Asks one server, and returns the message that answers the query.
async fn ask(data: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let service = rpc::Service::new(STORE.clone(), rpc::Bounds::default());
    // Not through `serve`, which would catch what unwinds.
    let system = service.system(Entrance::new(Door::Owner), theirs);
    let mut disconnect = system.get_disconnector();
    let conversation = async {
        let store = peer::call::<wire::session::Client>(2, On::FieldOf(1), 1, |call| {
            call.init_params();
        });
        let said = [peer::login(), store, query(data)].concat();
        ours.write_all(&said).await.expect("the server reads");
        answer_to(&mut ours, QUERY).await
    };
    let heard = tokio::select! {
        heard = conversation => heard,
        ended = system => panic!("the connection ended: {ended:?}"),
    };
    let _disconnected = futures::FutureExt::now_or_never(&mut disconnect);
    heard
}

/// Reads messages until one answers a question.
async fn answer_to(stream: &mut DuplexStream, question: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut rest = &bytes[..];
        while let Ok(Some(message)) = capnp::serialize::try_read_message(&mut rest, reading()) {
            let root: message::Reader<'_> = message.get_root().expect("a message");
            if let Ok(message::Return(Ok(answer))) = root.which()
                && answer.get_answer_id() == question
            {
                let mut one = Vec::new();
                capnp::serialize::write_message_segments(&mut one, &message.into_segments())
                    .expect("a message");
                return one;
            }
        }
        let read = stream.read_buf(&mut bytes).await.expect("the server says");
        assert!(read > 0, "the server goes on");
    }
}

/// Makes the call, with `data` in place of its plan.
fn query(data: &[u8]) -> Vec<u8> {
    let call = |is_set: bool| {
        peer::call::<wire::store::Client>(QUERY, On::FieldOf(2), 3, |call| {
            let content: any_pointer::Builder<'_> = call.init_params().get_content();
            let mut params = content.init_as::<wire::store::query_params::Builder<'_>>();
            if is_set {
                params.reborrow().init_plan();
            }
        })
    };
    // The pointer to the plan is the first word in which a call with one is another; before the words is their count.
    let (without, with) = (call(false), call(true));
    let (words, others) = (&without[WORD..], &with[WORD..]);
    let differs = |(at, (a, b)): (usize, (&[u8], &[u8]))| (a != b).then_some(at);
    let at = words
        .chunks(WORD)
        .zip(others.chunks(WORD))
        .enumerate()
        .find_map(differs)
        .expect("a pointer");
    // A far pointer to the first word of the second segment, which is a pointer itself.
    let mut words = words.to_vec();
    words[at * WORD..][..WORD].copy_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]);
    let data = &data[..data.len() / WORD * WORD];
    let length = |bytes: &[u8]| u32::try_from(bytes.len() / WORD).expect("a short message");
    let mut message = Vec::new();
    for number in [1, length(&words), length(data), 0] {
        message.extend(number.to_le_bytes());
    }
    [&message[..], &words, data].concat()
}

fn reading() -> ReaderOptions {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    options
}

fn heard(bytes: &[u8]) -> Heard {
    let mut bytes = bytes;
    let message = capnp::serialize::read_message(&mut bytes, reading()).expect("a message");
    let root: message::Reader<'_> = message.get_root().expect("a message");
    let Ok(message::Return(Ok(answer))) = root.which() else {
        panic!("an answer");
    };
    match answer.which() {
        Ok(return_::Results(Ok(results))) => {
            let content = results.get_content();
            let results = content
                .get_as::<wire::store::query_results::Reader<'_>>()
                .expect("results");
            Heard::Answer(Answer::read(results.get_answer().expect("an answer")).expect("whole"))
        }
        Ok(return_::Exception(Ok(error))) => {
            let words = error.get_reason().expect("words").to_str().expect("words");
            // A message that breaks off is told in the library's words, which have no code.
            let faults = [
                Code::Internal,
                Code::Damaged,
                Code::Unavailable,
                Code::Overloaded,
            ];
            let is_fault = |code: &Code| words.starts_with(code.as_str());
            assert!(!faults.iter().any(is_fault), "{words}");
            Heard::Refused
        }
        _ => panic!("results or an error"),
    }
}

impl Answer {
    fn read(wire: answer::Reader<'_>) -> capnp::Result<Self> {
        let sources = wire.get_sources()?;
        let mut rows = Vec::new();
        for row in wire.get_rows()? {
            let body = match row.which()? {
                row::None(()) => String::new(),
                row::Absent(absent) => {
                    format!("{:?} {:?}", absent.get_uri()?, absent.get_hop()?)
                }
                row::Value(value) => format!("{:?}", Value::from_wire(value?)),
                row::Record(record) => {
                    assert!(record.get_source() < sources.len(), "a source");
                    let record = record.get_record()?;
                    format!("{:?}/{:?}", record.get_collection()?, record.get_rkey()?)
                }
            };
            rows.push(format!("{} {body}", row.get_count()));
        }
        let work = wire.get_steps()?.iter().map(|step| step.get_work());
        Ok(Self {
            is_complete: wire.get_ended()? == answer::Ended::Complete,
            rows,
            missing: wire.get_absent()?.len() as usize,
            counted: wire.get_bytes() as usize,
            bytes: usize::try_from(wire.total_size()?.word_count).unwrap_or(usize::MAX) * WORD,
            work: work.sum(),
        })
    }
}

/// Holds an answer against the budget of its plan.
fn check_budget(data: &[u8], answer: &Answer) {
    let segments = One(data);
    let message = Reader::new(segments, reading());
    let Ok(budget) = message
        .get_root::<plan::Reader<'_>>()
        .and_then(|plan| plan.get_budget())
    else {
        panic!("the server read its budget");
    };
    let or = |asked: u32, default: u32, most: u32| match asked {
        0 => default as usize,
        asked => asked.min(most) as usize,
    };
    let rows = or(budget.get_rows(), QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX);
    assert!(answer.rows.len() <= rows, "{} rows", answer.rows.len());
    let bytes = or(budget.get_bytes(), QUERY_BYTES_DEFAULT, QUERY_BYTES_MAX);
    assert!(answer.counted <= bytes, "{} bytes", answer.counted);
    let beside = FRAME_BYTES + answer.missing * MISSING_BYTES;
    assert!(
        answer.bytes <= answer.counted + beside && answer.missing <= QUERY_SOURCES_MAX,
        "{} bytes, and {} are counted",
        answer.bytes,
        answer.counted
    );
    let work = match budget.get_work() {
        0 => QUERY_WORK_DEFAULT,
        asked => asked.min(QUERY_WORK_MAX),
    };
    assert!(
        answer.work <= work || !answer.is_complete,
        "work of {}",
        answer.work
    );
}

/// A message of one segment.
struct One<'d>(&'d [u8]);

impl ReaderSegments for One<'_> {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let whole = self.0.len() / WORD * WORD;
        (index == 0).then(|| &self.0[..whole])
    }

    fn len(&self) -> usize {
        1
    }
}

/// Returns the repos that plans are run on.
pub fn repos() -> [Repo; 2] {
    [7, 8].map(|seed| {
        let spec = RepoSpec {
            records: 40,
            mix: Mix::SOCIAL,
            seed,
            ..RepoSpec::default()
        };
        spec.build()
    })
}

/// A store with these repos, which no plan changes.
static STORE: LazyLock<Store> = LazyLock::new(|| {
    let directory: Arc<dyn Directory> = Arc::new(Mem::new());
    let store = Store::open(directory, Arc::new(SystemClock)).expect("a store");
    for repo in repos() {
        store
            .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
            .expect("a repo");
    }
    store
});
