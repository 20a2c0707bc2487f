//! A store in a folder that goes away, with a clock of the test's own; and what a repo must look like in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use carrack_repo::cbor::{Reader, Token};
use carrack_schema::{Cid, Did, RecordPath};
use carrack_segment::{Directory, Fs};
use carrack_store::{
    Clock, ImportRequest, Keys, Lookup, Outcome, Repo, Store, StoreSettings, Summary,
};
use kit::Order;

/// An hour in microseconds.
pub(crate) const HOUR: i64 = 3_600 * 1_000_000;

/// A clock that stands still until it is told, and does something at a chosen look at it.
pub(crate) struct TestClock {
    now: AtomicI64,
    /// Looks until the hook, and the hook.
    hook: Mutex<Option<(u32, Hook)>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl Clock for TestClock {
    fn now(&self) -> i64 {
        let mut slot = self.hook.lock().unwrap();
        let due = match slot.take() {
            Some((0, hook)) => Some(hook),
            Some((left, hook)) => {
                *slot = Some((left - 1, hook));
                None
            }
            None => None,
        };
        drop(slot);
        if let Some(hook) = due {
            hook();
        }
        self.now.load(Ordering::Relaxed)
    }
}

impl TestClock {
    /// Lets time pass.
    pub(crate) fn pass(&self, micros: i64) {
        self.now.fetch_add(micros, Ordering::Relaxed);
    }

    /// Does something at the look at the clock that comes after so many others. The store looks at its clock between
    /// the steps of whatever it does, so this comes between them.
    pub(crate) fn at_look(&self, looks: u32, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some((looks, Box::new(hook)));
    }

    /// Takes back a hook that was not reached; says whether it was.
    pub(crate) fn was_reached(&self) -> bool {
        self.hook.lock().unwrap().take().is_none()
    }
}

/// A store, its folder and its clock.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) settings: StoreSettings,
    store: Option<Store>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(StoreSettings::default())
    }

    pub(crate) fn with(settings: StoreSettings) -> Self {
        let clock = TestClock {
            // Some years after the kit's revisions.
            now: AtomicI64::new(1_800_000_000_000_000),
            hook: Mutex::new(None),
        };
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(clock),
            settings,
            store: None,
        };
        world.reopen();
        world
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    /// Gives the store away; the world is closed until it is opened again.
    pub(crate) fn take(&mut self) -> Store {
        self.store.take().expect("it is open")
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) {
        self.store = None;
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(self.folder.path()).unwrap());
        let store = Store::open_with(directory, self.clock.clone(), self.settings.clone());
        self.store = Some(store.unwrap());
    }

    /// Returns the names of the segment files.
    pub(crate) fn segments(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("segments")).unwrap();
        let name = |file: std::fs::DirEntry| file.file_name().into_string().unwrap();
        let mut names: Vec<String> = files.map(|file| name(file.unwrap())).collect();
        names.sort();
        names
    }

    /// Returns the files of the data folder that hold these bytes.
    pub(crate) fn files_with(&self, needle: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }
}

/// Imports a CAR that must be taken.
pub(crate) fn import(store: &Store, car: &[u8]) -> Summary {
    match store.import(car, &ImportRequest::default(), |_| {}) {
        Ok(Outcome::Imported(report) | Outcome::Unchanged(report)) => report.summary,
        Err(error) => panic!("import refused: {}", error.chain()),
    }
}

/// Imports a version of a repo in full.
pub(crate) fn import_all(store: &Store, repo: &kit::Repo) -> Summary {
    import(store, &repo.car(Order::Pds))
}

/// The records of a repo by path.
pub(crate) type Records = BTreeMap<String, Vec<u8>>;

/// Returns the records of a version, but for those that were deleted.
pub(crate) fn records(repo: &kit::Repo, deleted: &[(String, Cid)]) -> Records {
    repo.records
        .iter()
        .filter(|record| !deleted.contains(&(record.path.clone(), record.cid)))
        .map(|record| (record.path.clone(), record.bytes.to_vec()))
        .collect()
}

/// Opens a repo that must be there.
pub(crate) fn open(store: &Store, did: &Did) -> Repo {
    store.repo(did).unwrap().expect("the store holds it")
}

/// Checks everything that can be asked of a repo at one revision.
pub(crate) fn check(repo: &Repo, version: &kit::Repo, deleted: &[(String, Cid)]) {
    let expected = records(version, deleted);
    assert_eq!(repo.summary().rev, Some(version.rev));
    assert_eq!(repo.summary().commit, version.commit_cid);
    assert_eq!(repo.summary().records, expected.len() as u64);
    assert_eq!(repo.summary().missing, 0);
    for reverse in [false, true] {
        let keys = Keys {
            reverse,
            ..Keys::default()
        };
        let mut listed = read(repo, &keys);
        if reverse {
            listed.reverse();
        }
        let expected: Vec<_> = expected.clone().into_iter().collect();
        assert!(listed == expected, "a listing, reverse: {reverse}");
    }
    check_points(repo, version, &expected);
    check_collections(repo, &expected);
    let mut car = Vec::new();
    let exported = repo.export(&mut car);
    if expected.len() == version.records.len() {
        exported.unwrap();
        assert!(car == version.car(Order::PreOrder), "the export");
    } else {
        assert_eq!(
            exported.unwrap_err().code(),
            carrack_schema::Code::Incomplete
        );
        assert!(car.is_empty());
    }
}

fn check_points(repo: &Repo, version: &kit::Repo, expected: &Records) {
    for (i, record) in version.records.iter().enumerate() {
        let path: RecordPath = record.path.parse().unwrap();
        match (repo.record(&path).unwrap(), expected.get(&record.path)) {
            (Lookup::Found(found), Some(bytes)) => {
                assert_eq!(&*found.bytes().unwrap(), bytes.as_slice());
                if i % 16 == 0 {
                    assert_eq!(found.cid().unwrap(), record.cid);
                    let proof = repo.prove(&path, &mut Vec::new()).unwrap();
                    assert!(proof.present);
                }
            }
            (Lookup::NoRecord | Lookup::NoCollection, None) => {
                let refused = repo.prove(&path, &mut Vec::new()).unwrap_err();
                assert_eq!(refused.code(), carrack_schema::Code::Incomplete);
            }
            (found, expected) => panic!("{path}: {found:?} for {expected:?}"),
        }
    }
    let absent = "com.example.none/self".parse().unwrap();
    assert!(matches!(
        repo.record(&absent).unwrap(),
        Lookup::NoCollection
    ));
    assert!(!repo.prove(&absent, &mut Vec::new()).unwrap().present);
}

fn check_collections(repo: &Repo, expected: &Records) {
    let mut counts: Vec<(String, u64)> = Vec::new();
    for path in expected.keys() {
        let collection = path.split('/').next().unwrap();
        match counts.last_mut() {
            Some((last, count)) if last == collection => *count += 1,
            _ => counts.push((collection.to_owned(), 1)),
        }
    }
    let listed: Vec<(String, u64)> = repo
        .collections()
        .unwrap()
        .into_iter()
        .map(|each| (each.nsid, each.records))
        .collect();
    assert_eq!(listed, counts);
    for (nsid, count) in counts {
        let nsid = nsid.parse().unwrap();
        let keys = Keys {
            collection: Some(&nsid),
            ..Keys::default()
        };
        assert_eq!(read(repo, &keys).len() as u64, count);
    }
}

/// Reads the rows that keys select.
pub(crate) fn read(repo: &Repo, keys: &Keys<'_>) -> Vec<(String, Vec<u8>)> {
    let Some(rows) = repo.rows(keys).unwrap() else {
        return Vec::new();
    };
    let count = rows.len();
    let read: Vec<_> = repo
        .read(rows)
        .map(|record| {
            let record = record.unwrap();
            let path = format!("{}/{}", record.collection, record.rkey);
            (path, record.bytes().unwrap().into_owned())
        })
        .collect();
    assert_eq!(read.len(), count);
    read
}

/// Returns a record of a repo that says something, and its words: a sentence that columns keep as it is and that no other
/// record has, long enough that no other repo has it either.
pub(crate) fn spoken(repo: &kit::Repo) -> (&kit::Record, &str) {
    spoken_if(repo, |_| true)
}

/// As [`spoken`], of the records that are wanted.
pub(crate) fn spoken_if(
    repo: &kit::Repo,
    is_wanted: impl Fn(&kit::Record) -> bool,
) -> (&kit::Record, &str) {
    let sentence = |record: &'_ kit::Record| -> Option<Range<usize>> {
        let mut reader = Reader::new(&record.bytes);
        while let Ok(Some(token)) = reader.next_token() {
            if let Token::Text(text) = token
                && text.len() >= 40
                && text.contains(' ')
            {
                return Some(reader.position() - text.len()..reader.position());
            }
        }
        None
    };
    repo.records
        .iter()
        .filter(|record| is_wanted(record))
        .find_map(|record| {
            let words = std::str::from_utf8(&record.bytes[sentence(record)?]).unwrap();
            let has = |other: &&kit::Record| {
                other
                    .bytes
                    .windows(words.len())
                    .any(|part| part == words.as_bytes())
            };
            (repo.records.iter().filter(has).count() == 1).then_some((record, words))
        })
        .expect("somebody says something")
}
