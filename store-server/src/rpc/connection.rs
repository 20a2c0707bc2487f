//! [`Connection`]: what one connection holds at a time, and how much that may be.

use std::cell::Cell;
use std::rc::Rc;

use carrack_schema::Code;
use carrack_schema::limits::{CALLS_MAX, OBJECTS_MAX};

use crate::error::{Error, Result};

/// One connection. Its objects hold it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    objects: Cell<u32>,
    /// Watches that run.
    pub(super) watches: Cell<u32>,
}

/// A place among the objects of a connection, which an object holds as long as it lives.
#[derive(Debug)]
pub(super) struct Seat(Rc<Connection>);

impl Connection {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// Takes a place for an object.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn seat(self: &Rc<Self>) -> Result<Seat> {
        let taken = self.objects.get();
        if taken >= OBJECTS_MAX {
            let words = format!(
                "this connection holds {OBJECTS_MAX} capabilities; release some that are not needed"
            );
            return Err(Error::new(Code::Overloaded, words));
        }
        self.objects.set(taken + 1);
        Ok(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.objects.set(self.0.objects.get() - 1);
    }
}

/// Counts the calls of one session that are under way.
#[derive(Debug, Default)]
pub(super) struct Calls(Rc<Cell<u32>>);

/// A place among the calls of a session, which a call holds until it is answered or dropped.
#[derive(Debug)]
pub(super) struct CallPermit(Rc<Cell<u32>>);

impl Calls {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes a place for a call.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn begin(&self) -> Result<CallPermit> {
        let taken = self.0.get();
        if taken >= CALLS_MAX {
            let words =
                format!("{CALLS_MAX} calls of this session are under way; await some first");
            return Err(Error::new(Code::Overloaded, words));
        }
        self.0.set(taken + 1);
        Ok(CallPermit(self.0.clone()))
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
