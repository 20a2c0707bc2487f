//! [`Faulty`]: any directory, with faults at the steps a test names. For tests, of any crate.
//!
//! Every call is a step, numbered from 0 and logged. A [`Plan`] says at which step what goes wrong; without one nothing
//! does, and all is as the directory beneath has it. A hook may come before each step. It must never fail in a way that is
//! not planned, and it watches that nobody goes on with a file whose sync has failed.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::mem::sectors;
use super::seed::Seed;
use super::{Directory, File, Lock};
use crate::Map;

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// [`Directory::open`].
    Open,
    /// [`Directory::create`].
    Create,
    /// [`Directory::map`].
    Map,
    /// [`Directory::rename`].
    Rename,
    /// [`Directory::sync_dir`].
    SyncDir,
    /// [`Directory::list`].
    List,
    /// [`Directory::unlink`].
    Unlink,
    /// [`Directory::create_dir`].
    CreateDir,
    /// [`Directory::lock`].
    Lock,
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::len`].
    Len,
    /// [`File::set_len`].
    SetLen,
    /// [`File::sync`].
    Sync,
}

impl Op {
    /// Says whether the disk is another one afterwards. A crash at a step that changes nothing leaves what a crash at the
    /// next one leaves.
    pub const fn changes(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::Map | Self::List | Self::Read | Self::Len
        )
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What it was.
    pub op: Op,
    /// The file's or folder's name when it was opened; of a rename the new one.
    pub name: String,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// EIO: the disk is broken there.
    Broken,
    /// ENOSPC: the disk is full.
    Full,
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Broken => Errno::IO.into(),
            Self::Full => Errno::NOSPC.into(),
        }
    }
}

/// What goes wrong. A fault of one kind of call does nothing to calls of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The call does nothing and fails.
    Fail(Failure),
    /// A write writes a first part and fails; any other call does nothing and fails.
    Short(Failure),
    /// A write writes some of its sectors and says that all is well.
    Torn,
    /// A sync does nothing and says that all is well. Matters over a [`Mem`](super::mem::Mem) only.
    DropSync,
    /// A read, or a map, has one bit flipped.
    FlipBit,
    /// This and every later call fails, as if the process had lost its disk: what is there then is what a crash at this
    /// step finds.
    Crash,
}

/// For how long something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// At this step only.
    Once,
    /// At this step and all later ones.
    Onwards,
}

/// When something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The step, from 0.
    pub at: usize,
    /// For how long.
    pub span: Span,
    /// What.
    pub fault: Fault,
}

/// A directory that fails as planned. A clone is another handle of the same.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Directory>,
    hook: Option<Hook>,
    state: Arc<Mutex<State>>,
}

/// What comes before each step, given what it is and of which file or folder.
type Hook = Arc<dyn Fn(Op, &str) -> io::Result<()> + Send + Sync>;

struct State {
    plans: Vec<Plan>,
    log: Vec<Step>,
    faults: usize,
    crashed: bool,
    broken_promises: Vec<String>,
    seed: Seed,
}

impl Faulty {
    /// Wraps a directory. The seed decides what faults leave open: where a write tears, which bit flips.
    pub fn new(inner: Arc<dyn Directory>, seed: u64) -> Self {
        let state = State {
            plans: Vec::new(),
            log: Vec::new(),
            faults: 0,
            crashed: false,
            broken_promises: Vec::new(),
            seed: Seed::new(seed),
        };
        Self {
            inner,
            hook: None,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Has something come before each step of this handle and of clones made of it from here on: it may wait, use the
    /// directory, or fail, and then so does the step.
    #[must_use]
    pub fn before_each(
        self,
        hook: impl Fn(Op, &str) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let hook: Hook = Arc::new(hook);
        Self {
            hook: Some(hook),
            ..self
        }
    }

    /// Adds a fault to come. Of two for one step the first counts.
    pub fn plan(&self, plan: Plan) {
        self.state().plans.push(plan);
    }

    /// Ends all faults, also those that last.
    pub fn heal(&self) {
        let mut state = self.state();
        state.plans.clear();
        state.crashed = false;
    }

    /// Returns the calls made so far, in order.
    pub fn log(&self) -> Vec<Step> {
        self.state().log.clone()
    }

    /// Returns the number of calls made so far, which is the number of the next one.
    pub fn steps(&self) -> usize {
        self.state().log.len()
    }

    /// Returns how many calls went wrong.
    pub fn faults(&self) -> usize {
        self.state().faults
    }

    /// Returns what callers did that they must never do: use a file further whose sync had failed.
    pub fn broken_promises(&self) -> Vec<String> {
        self.state().broken_promises.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and returns what goes wrong with it; the fault of a call that fails is done here.
    fn step(&self, op: Op, name: &str) -> io::Result<Option<Fault>> {
        if let Some(hook) = &self.hook {
            hook(op, name)?;
        }
        let mut state = self.state();
        let now = state.log.len();
        let name = name.to_owned();
        state.log.push(Step { op, name });
        if state.crashed {
            return Err(gone());
        }
        let due = |plan: &&Plan| match plan.span {
            Span::Once => plan.at == now,
            Span::Onwards => plan.at <= now,
        };
        let fault = state
            .plans
            .iter()
            .filter(due)
            .map(|plan| plan.fault)
            .find(|fault| fault.is_of(op));
        state.faults = state.faults.saturating_add(usize::from(fault.is_some()));
        match fault {
            Some(Fault::Crash) => {
                state.crashed = true;
                Err(gone())
            }
            Some(Fault::Short(_)) if op == Op::Write => Ok(fault),
            Some(Fault::Fail(failure) | Fault::Short(failure)) => Err(failure.error()),
            other => Ok(other),
        }
    }

    fn file(&self, name: &str, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile {
            directory: self.clone(),
            name: name.to_owned(),
            inner,
            sync_failed: AtomicBool::new(false),
        })
    }

    fn flip_bit(&self, bytes: &mut [u8]) {
        let mut state = self.state();
        let at = state.seed.below(bytes.len());
        let bit = state.seed.below(8);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1_u8
                .checked_shl(u32::try_from(bit).unwrap_or(0))
                .unwrap_or(1);
        }
    }
}

impl Fault {
    fn is_of(self, op: Op) -> bool {
        match self {
            Self::Fail(_) | Self::Short(_) | Self::Crash => true,
            Self::Torn => op == Op::Write,
            Self::DropSync => matches!(op, Op::Sync | Op::SyncDir),
            Self::FlipBit => matches!(op, Op::Read | Op::Map),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the disk is gone (a planned crash)")
}

impl Directory for Faulty {
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.step(Op::Open, name)?;
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.step(Op::Create, name)?;
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn map(&self, name: &str) -> io::Result<Map> {
        let fault = self.step(Op::Map, name)?;
        let map = self.inner.map(name)?;
        if fault != Some(Fault::FlipBit) {
            return Ok(map);
        }
        let mut bytes = map.to_vec();
        self.flip_bit(&mut bytes);
        Ok(Map::owned(&bytes))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(Op::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        match self.step(Op::SyncDir, folder)? {
            Some(Fault::DropSync) => Ok(()),
            _ => self.inner.sync_dir(folder),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.step(Op::List, folder)?;
        self.inner.list(folder)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.step(Op::Unlink, name)?;
        self.inner.unlink(name)
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.step(Op::CreateDir, name)?;
        self.inner.create_dir(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        // Nothing is read or written, so it is no step.
        self.inner.free_bytes()
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        self.step(Op::Lock, name)?;
        self.inner.lock(name)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("steps", &self.steps())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct FaultyFile {
    directory: Faulty,
    name: String,
    inner: Box<dyn File>,
    sync_failed: AtomicBool,
}

impl FaultyFile {
    fn watch(&self, what: &str) {
        if self.sync_failed.load(Ordering::Acquire) {
            let promise = format!("{what} after a failed sync: file=`{}`", self.name);
            self.directory.state().broken_promises.push(promise);
        }
    }

    fn write_torn(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        for (at, part) in sectors(start, data) {
            if self.directory.state().seed.coin() {
                self.inner.write_at(part, at as u64)?;
            }
        }
        Ok(())
    }
}

impl File for FaultyFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let fault = self.directory.step(Op::Read, &self.name)?;
        self.inner.read_at(out, offset)?;
        if fault == Some(Fault::FlipBit) {
            self.directory.flip_bit(out);
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.watch("a write");
        match self.directory.step(Op::Write, &self.name)? {
            Some(Fault::Short(failure)) => {
                let written = self.directory.state().seed.below(data.len());
                let (first, _) = data.split_at_checked(written).unwrap_or_default();
                self.inner.write_at(first, offset)?;
                Err(failure.error())
            }
            Some(Fault::Torn) => self.write_torn(data, offset),
            _ => self.inner.write_at(data, offset),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.directory.step(Op::Len, &self.name)?;
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.watch("a change of length");
        self.directory.step(Op::SetLen, &self.name)?;
        self.inner.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch("a sync");
        let synced = match self.directory.step(Op::Sync, &self.name) {
            Ok(Some(Fault::DropSync)) => Ok(()),
            Ok(_) => self.inner.sync(),
            Err(error) => Err(error),
        };
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::mem::Mem;

    fn faulty() -> (Mem, Faulty) {
        let mem = Mem::new();
        (mem.clone(), Faulty::new(Arc::new(mem), 1))
    }

    fn plan(at: usize, span: Span, fault: Fault) -> Plan {
        Plan { at, span, fault }
    }

    #[test]
    fn steps_are_counted_and_logged() {
        let (_, dir) = faulty();
        let file = dir.create("a").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        dir.sync_dir("").unwrap();
        dir.open("b").unwrap_err();
        let ops: Vec<_> = dir.log().into_iter().map(|step| step.op).collect();
        assert_eq!(
            ops,
            [Op::Create, Op::Write, Op::Sync, Op::SyncDir, Op::Open]
        );
        assert_eq!((dir.steps(), dir.faults()), (5, 0));
    }

    #[test]
    fn a_failure_comes_at_its_step_once_or_from_then_on() {
        let (_, dir) = faulty();
        dir.plan(plan(1, Span::Once, Fault::Fail(Failure::Full)));
        dir.plan(plan(3, Span::Onwards, Fault::Fail(Failure::Broken)));
        let file = dir.create("a").unwrap();
        let full = file.write_at(b"x", 0).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        file.write_at(b"x", 0).unwrap();
        for _ in 0..3 {
            let broken = file.len().unwrap_err();
            assert_eq!(broken.raw_os_error(), Some(Errno::IO.raw_os_error()));
        }
        assert_eq!(dir.faults(), 4);
        dir.heal();
        assert_eq!(file.len().unwrap(), 1);
    }

    #[test]
    fn a_hook_comes_before_each_step_and_may_fail_it() {
        let mem = Mem::new();
        let beneath = mem.clone();
        let faulty = Faulty::new(Arc::new(mem), 1).before_each(move |op, name| {
            let is_there = beneath.open("new").is_ok();
            match op {
                Op::Rename => Err(io::Error::other(format!("{name}, {is_there}"))),
                _ => Ok(()),
            }
        });
        faulty.create("old").unwrap().write_at(b"a", 0).unwrap();
        let refused = faulty.rename("old", "new").unwrap_err();
        assert_eq!(refused.to_string(), "new, false");
        assert!(faulty.open("old").is_ok());
        assert_eq!(faulty.steps(), 3, "what the hook refuses is no step");
    }

    #[test]
    fn a_short_write_leaves_a_first_part() {
        let (_, dir) = faulty();
        dir.plan(plan(1, Span::Once, Fault::Short(Failure::Full)));
        let file = dir.create("a").unwrap();
        file.write_at(&[7; 1_000], 0).unwrap_err();
        let length = file.len().unwrap();
        assert!((1..1_000).contains(&length), "{length}");
    }

    #[test]
    fn a_torn_write_and_a_dropped_sync_say_nothing() {
        let (mem, dir) = faulty();
        let file = dir.create("a").unwrap();
        dir.sync_dir("").unwrap();
        dir.plan(plan(2, Span::Once, Fault::Torn));
        file.write_at(&[7; 8_192], 0).unwrap();
        let bytes = mem.map("a").unwrap();
        assert!(bytes.contains(&7) && bytes.len() <= 8_192);
        assert!(bytes.len() < 8_192 || bytes.contains(&0));
        dir.plan(plan(3, Span::Onwards, Fault::DropSync));
        file.sync().unwrap();
        let lost = (0..50).any(|seed| mem.crash(seed).map("a").unwrap().is_empty());
        assert!(lost, "the sync was dropped");
    }

    #[test]
    fn a_read_and_a_map_have_one_bit_flipped() {
        let (_, dir) = faulty();
        let file = dir.create("a").unwrap();
        file.write_at(&[0; 100], 0).unwrap();
        dir.plan(plan(2, Span::Onwards, Fault::FlipBit));
        let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let mut out = [0; 100];
        file.read_at(&mut out, 0).unwrap();
        assert_eq!(ones(&out), 1);
        assert_eq!(ones(&dir.map("a").unwrap()), 1);
    }

    #[test]
    fn after_a_crash_nothing_works_and_the_disk_is_as_it_was() {
        let (mem, dir) = faulty();
        let file = dir.create("a").unwrap();
        dir.plan(plan(1, Span::Once, Fault::Crash));
        file.write_at(b"x", 0).unwrap_err();
        file.write_at(b"x", 0).unwrap_err();
        dir.unlink("a").unwrap_err();
        assert_eq!(mem.files(), [("a".to_owned(), 0)]);
    }

    #[test]
    fn going_on_after_a_failed_sync_is_noticed() {
        let (_, dir) = faulty();
        let file = dir.create("a").unwrap();
        dir.plan(plan(1, Span::Once, Fault::Fail(Failure::Broken)));
        file.sync().unwrap_err();
        assert!(dir.broken_promises().is_empty());
        file.sync().unwrap();
        assert_eq!(dir.broken_promises().len(), 1);
    }
}
