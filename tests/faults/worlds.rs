//! [`Worlds`]: what a store may hold. One model as a rule, and two when the outcome of an operation is unknown.

use carrack_schema::Code;
use carrack_segment::directory::mem::Mem;
use carrack_store::{Error, Store};

use crate::Opened;
use crate::model::{Model, Tolerance};
use crate::operation::Operation;
use crate::purged::{Mark, marks_on};

/// The models that a store may hold, given what it answered so far.
#[derive(Clone, Debug)]
pub(crate) struct Worlds {
    models: Vec<Model>,
    /// Whether the store said so of an outcome. Then it shows what was before until it is opened anew, and what it
    /// finds nothing to do for may be due all the same.
    is_unknown: bool,
}

/// What a disk that fails may make the store say instead of an answer.
pub(crate) const DISK_CODES: &[Code] = &[Code::Unavailable, Code::UnknownOutcome];

/// What a disk that lies may make it say.
pub(crate) const LIE_CODES: &[Code] = &[Code::Unavailable, Code::UnknownOutcome, Code::Damaged];

/// What a disk that works may make it say.
pub(crate) const NO_CODES: &[Code] = &[];

impl Worlds {
    pub(crate) fn one(model: Model) -> Self {
        Self::of(vec![model])
    }

    /// One of several, at least one.
    pub(crate) fn of(models: Vec<Model>) -> Self {
        Self {
            models,
            is_unknown: false,
        }
    }

    /// Runs an operation and takes the answer in. An error with one of `disk_codes` may be the disk's.
    ///
    /// # Errors
    /// An answer that is right in none of the worlds, in words.
    pub(crate) fn run(
        &mut self,
        operation: &Operation,
        store: &Opened,
        disk_codes: &[Code],
    ) -> Result<Result<(), Error>, String> {
        let answer = operation.run(store);
        let mut after: Vec<Model> = Vec::new();
        let mut keep = |model: Model| {
            if !after.contains(&model) {
                after.push(model);
            }
        };
        // What a store refuses after an unknown outcome it refuses for what it shows then, which decides nothing.
        let is_refused = |code| {
            let refuses = |world: &Model| operation.expect(world).contains(&Err(code));
            self.is_unknown && self.models.iter().any(refuses)
        };
        for world in &self.models {
            let expected = operation.expect(world);
            let Err(error) = &answer else {
                expected.into_iter().flatten().for_each(&mut keep);
                if self.is_unknown
                    && matches!(operation, Operation::Merge | Operation::Compact { .. })
                {
                    keep(world.clone());
                }
                continue;
            };
            let code = error.code();
            if disk_codes.contains(&code) {
                keep(world.clone());
                operation.expect_half(world).into_iter().for_each(&mut keep);
                // Any other error promises that the store is as before.
                if code == Code::UnknownOutcome {
                    expected.into_iter().flatten().for_each(&mut keep);
                }
            } else if expected.contains(&Err(code)) || is_refused(code) {
                keep(world.clone());
            }
        }
        if after.is_empty() {
            let words = answer.err().map(|e| format!("{}: {}", e.code(), e.chain()));
            return Err(format!("{operation:?} answered {words:?}"));
        }
        self.models = after;
        self.is_unknown |= matches!(&answer, Err(error) if error.code() == Code::UnknownOutcome);
        Ok(answer)
    }

    /// Reads everything back and keeps the worlds that the store's answers are right in; returns how many answers were
    /// errors that are tolerated.
    ///
    /// # Errors
    /// If there is none, in words.
    pub(crate) fn compare(
        &mut self,
        store: &Store,
        tolerance: Tolerance<'_>,
    ) -> Result<usize, String> {
        let mut errors = 0;
        let mut wrong = Vec::new();
        self.models
            .retain(|world| match world.compare(store, tolerance) {
                Ok(count) => {
                    errors = count;
                    true
                }
                Err(words) => {
                    wrong.push(words);
                    false
                }
            });
        if self.models.is_empty() {
            return Err(wrong.join(" | "));
        }
        Ok(errors)
    }

    /// Looks into every file for what must be off the disk, and keeps the worlds that it is off the disk in; returns how
    /// many records were looked for.
    ///
    /// # Errors
    /// If there is none, in words.
    pub(crate) fn look_for_purged(&mut self, disk: &Mem) -> Result<usize, String> {
        if self.models.iter().any(|world| world.gone.is_empty()) {
            return Ok(0);
        }
        let found = marks_on(disk);
        let left = |world: &Model| world.gone.intersection(&found).copied().next();
        let mut wrong: Option<Mark> = None;
        self.models.retain(|world| {
            wrong = wrong.or(left(world));
            left(world).is_none()
        });
        match self.models.first() {
            Some(world) => Ok(world.gone.len()),
            None => {
                let mark = wrong.unwrap_or_default();
                let files: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
                Err(format!(
                    "purged and still there: {} in one of {files:?}",
                    String::from_utf8_lossy(&mark)
                ))
            }
        }
    }

    /// Takes note that the store was opened anew.
    pub(crate) fn reopened(&mut self) {
        self.is_unknown = false;
    }

    /// Returns what time it is.
    pub(crate) fn now(&self) -> i64 {
        self.models[0].now
    }

    /// Returns the models.
    pub(crate) fn models(&self) -> &[Model] {
        &self.models
    }
}
