//! [`Moment`]: the catalog as of one moment, and how it becomes a file of its own.
//!
//! The file is made row by row and not by copying bytes, which the next commit would change under the copy.

use std::collections::BTreeSet;

use carrack_schema::Code;
use carrack_segment::directory::File;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use super::{
    Backend, Catalog, DELETIONS, GRANT_USE, GRANTS, HANDLES, META, REPOS, SEGMENTS, SegmentEntry,
    SegmentId, TOKENS, begin_write, guarded, open_database, segments_in,
};
use crate::error::{Error, Result};

/// The catalog as of one moment, whatever is committed meanwhile.
pub(crate) struct Moment(redb::ReadTransaction);

impl Catalog {
    /// Returns the catalog as of now.
    pub(crate) fn moment(&self) -> Result<Moment> {
        guarded(|| Ok(Moment(self.database().begin_read()?)))
    }
}

impl Moment {
    /// Returns the segment files that it names, in the order of their names.
    pub(crate) fn segments(&self) -> Result<Vec<(SegmentId, SegmentEntry)>> {
        guarded(|| segments_in(&self.0))
    }

    /// Writes all of it into an empty file, which is whole when this returns.
    ///
    /// # Errors
    /// The disk's; if the catalog cannot be read.
    pub(crate) fn write(&self, file: Box<dyn File>) -> Result<()> {
        guarded(|| {
            let database = open_database(Backend::new(file))?;
            let transaction = begin_write(&database)?;
            self.table(&transaction, REPOS)?;
            self.table(&transaction, SEGMENTS)?;
            self.table(&transaction, HANDLES)?;
            self.table(&transaction, DELETIONS)?;
            self.table(&transaction, GRANTS)?;
            self.table(&transaction, GRANT_USE)?;
            self.table(&transaction, TOKENS)?;
            self.table(&transaction, META)?;
            self.check_all(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    /// Says whether all tables that there are have been copied.
    fn check_all(&self, copy: &redb::WriteTransaction) -> Result<()> {
        let copied: BTreeSet<String> = names(copy.list_tables()?);
        match names(self.0.list_tables()?).difference(&copied).next() {
            None => Ok(()),
            Some(name) => {
                let words = format!("no backup has the catalog's table `{name}`");
                Err(Error::new(Code::Internal, words))
            }
        }
    }

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        to: &redb::WriteTransaction,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<()> {
        let from = self.0.open_table(definition)?;
        let mut table = to.open_table(definition)?;
        for row in from.iter()? {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
        }
        Ok(())
    }
}

fn names(tables: impl Iterator<Item = redb::UntypedTableHandle>) -> BTreeSet<String> {
    tables.map(|table| table.name().to_owned()).collect()
}
