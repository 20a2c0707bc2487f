//! [`Worlds`]: what a store may hold. One model as a rule, and two when the outcome of an operation is unknown.

use carrack_schema::Code;
use carrack_store::{Error, Store};

use crate::model::{Model, Tolerance};
use crate::operation::Operation;

/// The models that a store may hold, given what it answered so far.
#[derive(Clone, Debug)]
pub(crate) struct Worlds(Vec<Model>);

/// What a disk that fails may make the store say instead of an answer.
pub(crate) const DISK_CODES: &[Code] = &[Code::Unavailable, Code::UnknownOutcome];

/// What a disk that lies may make it say.
pub(crate) const LIE_CODES: &[Code] = &[Code::Unavailable, Code::UnknownOutcome, Code::Damaged];

/// What a disk that works may make it say.
pub(crate) const NO_CODES: &[Code] = &[];

impl Worlds {
    pub(crate) fn one(model: Model) -> Self {
        Self(vec![model])
    }

    /// Runs an operation and takes the answer in. An error with one of `disk_codes` may be the disk's.
    ///
    /// # Errors
    /// An answer that is right in none of the worlds, in words.
    pub(crate) fn run(
        &mut self,
        operation: &Operation,
        store: &Store,
        disk_codes: &[Code],
    ) -> Result<Result<(), Error>, String> {
        let answer = operation.run(store);
        let mut after: Vec<Model> = Vec::new();
        let mut keep = |model: Model| {
            if !after.contains(&model) {
                after.push(model);
            }
        };
        for world in &self.0 {
            match (&answer, operation.expect(world)) {
                (Ok(()), Ok(next)) => keep(next),
                (Err(error), Err(code)) if error.code() == code => keep(world.clone()),
                (Err(error), next) if disk_codes.contains(&error.code()) => {
                    keep(world.clone());
                    // Any other error promises that the store is as before.
                    if let (Code::UnknownOutcome, Ok(next)) = (error.code(), next) {
                        keep(next);
                    }
                }
                _ => {}
            }
        }
        if after.is_empty() {
            let words = answer.err().map(|e| format!("{}: {}", e.code(), e.chain()));
            return Err(format!("{operation:?} answered {words:?}"));
        }
        self.0 = after;
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
        self.0
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
        if self.0.is_empty() {
            return Err(wrong.join(" | "));
        }
        Ok(errors)
    }

    /// Returns the models.
    pub(crate) fn models(&self) -> &[Model] {
        &self.0
    }
}
