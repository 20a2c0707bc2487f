//! Writes one segment, front to back, and publishes it. Called by imports and merges.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrack_schema::wire::segment_capnp::{footer, section};

use crate::directory::{Directory, File, folder_of};
use crate::format::{
    Contents, EXTENT_PAGES_MAX, FILE_SECTIONS_MAX, HEAD_BYTES_MAX, Header, KEY_BYTES_MAX,
    ORDINAL_BITS, PAGE_BYTES_MAX, PAGE_ROWS_MAX, TRAILER_BYTES, Trailer, WORD_BYTES,
};
use crate::index_builder::{IndexBuilder, limit};
use crate::{Error, ErrorKind, Result, message};

/// Bytes gathered before they go to the file; one write call for a page of the usual size.
const BUFFER_BYTES: usize = 256 << 10;

/// What a segment is called, before and after it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The name while it is written, such as `tmp/01J….cseg`. Must be free.
    pub temporary: &'a str,
    /// The name it is published under, never used before, in a folder of the same file system.
    pub published: &'a str,
    /// Identifies the segment; a ULID, so that names sort by time.
    pub id: [u8; 16],
    /// Which writer of the store this is, counted up each time another takes over; 0 where there is one only.
    pub writer_epoch: u64,
}

/// Where a row is: a page of its extent, and a row of that page; both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The page's number within the extent, below 2^20.
    pub page: u32,
    /// The row's number within the page, below 4,096.
    pub ordinal: u32,
}

impl Place {
    pub(crate) fn unpack(packed: u32) -> Self {
        Self {
            page: packed >> ORDINAL_BITS,
            ordinal: packed & (PAGE_ROWS_MAX - 1),
        }
    }
}

/// What became of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Extents in it.
    pub extents: usize,
    /// Pages in it.
    pub pages: usize,
    /// Rows of all its extents.
    pub rows: u64,
}

/// A segment that is being written.
///
/// The order of calls is `begin_extent` (`page` | `row`)* `end_extent`, any number of times, then `seal`. Extents may
/// come in any order of their keys; pages and rows of an extent may alternate, and a row may name a page that is yet to
/// come. Memory grows by 12 bytes a row of the extent in hand, its text names, 24 bytes a page and each extent's key and
/// head.
///
/// Until `seal` has returned nothing can be relied on: a crash leaves the temporary file or nothing. Dropping a writer
/// that was not sealed removes its file. After an [`ErrorKind::Io`] the writer refuses every further call.
#[derive(Debug)]
pub struct SegmentWriter {
    directory: Arc<dyn Directory>,
    temporary: String,
    published: String,
    id: [u8; 16],
    /// The handle; gone once the file is closed for publishing.
    file: Option<Box<dyn File>>,
    buffer: Vec<u8>,
    /// Where the buffer's first byte goes.
    buffer_offset: u64,
    broken: bool,
    published_already: bool,
    pages: Vec<Section>,
    extents: BTreeMap<Vec<u8>, ExtentDraft>,
    open: Option<OpenExtent>,
    rows: u64,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u64,
    bytes: u64,
    checksum: u32,
    rows: u32,
}

#[derive(Debug)]
struct ExtentDraft {
    head: Vec<u8>,
    index: Section,
    first_page: usize,
    page_count: u32,
}

#[derive(Debug)]
struct OpenExtent {
    key: Vec<u8>,
    first_page: usize,
    index: IndexBuilder,
}

impl SegmentWriter {
    /// Creates the temporary file and writes the header.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the temporary name's folder is missing, [`ErrorKind::Io`] if the name is taken or the
    /// disk fails.
    pub fn create(directory: &Arc<dyn Directory>, target: Target<'_>) -> Result<Self> {
        let file = directory
            .create(target.temporary)
            .map_err(|error| Error::io("creating a segment", target.temporary, error))?;
        let mut writer = Self {
            directory: Arc::clone(directory),
            temporary: target.temporary.to_owned(),
            published: target.published.to_owned(),
            id: target.id,
            file: Some(file),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            buffer_offset: 0,
            broken: false,
            published_already: false,
            pages: Vec::new(),
            extents: BTreeMap::new(),
            open: None,
            rows: 0,
        };
        let header = Header {
            contents: Contents::Records,
            id: target.id,
            writer_epoch: target.writer_epoch,
        };
        writer.write(&header.encode())?;
        Ok(writer)
    }

    /// Starts an extent under a key that no other extent of this segment has.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if an extent is open or the key is used, [`ErrorKind::LimitExceeded`] above 4,096 bytes or
    /// 2^24 extents.
    pub fn begin_extent(&mut self, key: &[u8]) -> Result<()> {
        self.check_sound()?;
        limit("bytes of an extent's key", key.len(), KEY_BYTES_MAX)?;
        limit(
            "extents of a file",
            self.extents.len().saturating_add(1),
            FILE_SECTIONS_MAX,
        )?;
        if self.open.is_some() {
            return Err(invalid("an extent is open already"));
        }
        if self.extents.contains_key(key) {
            return Err(invalid(&format!(
                "key is used already: key=`{}`",
                key.escape_ascii()
            )));
        }
        self.open = Some(OpenExtent {
            key: key.to_vec(),
            first_page: self.pages.len(),
            index: IndexBuilder::default(),
        });
        Ok(())
    }

    /// Writes a page of `rows` rows and returns its number within the extent: 0, 1, 2 …
    ///
    /// The message is one flat segment as [`message::flatten`] makes it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an open extent, or if the length is 0 or no multiple of 8;
    /// [`ErrorKind::LimitExceeded`] above `PAGE_BYTES_MAX` bytes, 4,096 rows, 2^20 pages of this extent or 2^24 of the
    /// file; [`ErrorKind::Io`].
    pub fn page(&mut self, rows: u32, message: &[u8]) -> Result<u32> {
        self.check_sound()?;
        let Some(open) = &self.open else {
            return Err(invalid("a page belongs to no extent"));
        };
        let number = self.pages.len().saturating_sub(open.first_page);
        limit("bytes of a page", message.len(), PAGE_BYTES_MAX)?;
        limit("rows of a page", rows as usize, PAGE_ROWS_MAX as usize)?;
        limit(
            "pages of an extent",
            number.saturating_add(1),
            EXTENT_PAGES_MAX as usize,
        )?;
        limit(
            "pages of a file",
            self.pages.len().saturating_add(1),
            FILE_SECTIONS_MAX,
        )?;
        if message.is_empty() || !message.len().is_multiple_of(WORD_BYTES) {
            return Err(invalid(&format!(
                "a page is whole words: bytes=`{}`",
                message.len()
            )));
        }
        let page = self.section(message, rows)?;
        self.pages.push(page);
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Adds a row. Rows come in strictly ascending order of the bytes of `group + '/' + name`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an open extent, out of order, or if the group holds a slash;
    /// [`ErrorKind::LimitExceeded`] for a group above 1,024 bytes, a name above 65,535, a page or an ordinal that a
    /// [`Place`] cannot hold, more than 2^25 rows or 512 MiB of text names. The writer is as it was before.
    pub fn row(&mut self, group: &[u8], name: &[u8], place: Place) -> Result<()> {
        self.check_sound()?;
        match &mut self.open {
            Some(open) => open.index.push(group, name, place),
            None => Err(invalid("a row belongs to no extent")),
        }
    }

    /// Ends the extent: checks every row's place against its pages and writes the index. `head` is for the caller, and
    /// read back as it was given, at an 8-byte boundary.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an open extent or if a row's place is in no page; [`ErrorKind::LimitExceeded`] for
    /// a head above 64 KiB or an index above 2 GiB; [`ErrorKind::Io`]. The extent is gone then: drop the writer.
    pub fn end_extent(&mut self, head: &[u8]) -> Result<()> {
        self.check_sound()?;
        limit("bytes of an extent's head", head.len(), HEAD_BYTES_MAX)?;
        let Some(open) = self.open.take() else {
            return Err(invalid("no extent is open"));
        };
        // Whatever fails from here on loses the extent, and a segment without it must not be sealed.
        self.broken = true;
        let rows = open.index.rows();
        let pages = self.pages.get(open.first_page..).unwrap_or_default();
        let page_count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
        let page_rows = |page: u32| pages.get(page as usize).map(|page| page.rows);
        let message = open.index.finish(page_rows)?;
        let bytes = single_segment(&message)?;
        self.broken = false;
        let index = self.section(bytes, rows)?;
        self.rows = self.rows.saturating_add(u64::from(rows));
        self.extents.insert(
            open.key,
            ExtentDraft {
                head: head.to_vec(),
                index,
                first_page: open.first_page,
                page_count,
            },
        );
        Ok(())
    }

    /// Writes footer and trailer, syncs the file, renames it to its published name and syncs that folder.
    ///
    /// When this has returned, the whole segment survives a crash under its published name. A crash before leaves
    /// nothing, the temporary file, or the whole segment under either name; never a part of it under the published one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if an extent is open, [`ErrorKind::LimitExceeded`] if the footer would pass 2 GiB,
    /// [`ErrorKind::Io`]. The file is removed under both names as far as the disk allows; never seal into the same name
    /// again.
    pub fn seal(mut self) -> Result<Sealed> {
        self.check_sound()?;
        if self.open.is_some() {
            return Err(invalid("an extent is open still"));
        }
        let message = self.footer()?;
        let footer = self.section(single_segment(&message)?, 0)?;
        let trailer_bytes = TRAILER_BYTES as u64;
        let bytes = self.offset().saturating_add(trailer_bytes);
        let trailer = Trailer {
            footer_offset: footer.offset,
            footer_bytes: footer.bytes,
            file_bytes: bytes,
            id: self.id,
            footer_checksum: footer.checksum,
        };
        self.write(&trailer.encode())?;
        self.flush()?;

        let Some(file) = self.file.take() else {
            return Err(invalid("the writer was sealed already"));
        };
        file.sync()
            .map_err(|error| Error::io("syncing a segment", &self.temporary, error))?;
        drop(file);
        // The content is durable before the name is: a crash between the two cannot show a partial segment.
        self.directory
            .rename(&self.temporary, &self.published)
            .map_err(|error| Error::io("publishing a segment", &self.temporary, error))?;
        self.published_already = true;
        let folder = folder_of(&self.published);
        self.directory.sync_dir(folder).map_err(|error| {
            // Nobody was told of this name, so taking it back can hurt nobody. If that fails too, whoever knows
            // the published names finds a file too many when it opens the folder.
            drop(self.directory.unlink(&self.published));
            Error::io("syncing the segments' folder", folder, error)
        })?;
        Ok(Sealed {
            bytes,
            extents: self.extents.len(),
            pages: self.pages.len(),
            rows: self.rows,
        })
    }

    fn footer(&self) -> Result<capnp::message::Builder<capnp::message::HeapAllocator>> {
        let words = |bytes: usize| bytes.div_ceil(WORD_BYTES) as u64;
        // The root pointer, two pointers to lists and their tags; a section has 3 words, an extent 4 and its section's 3.
        let fixed = 1 + 2 + 2;
        let mut total = (self.pages.len() as u64)
            .saturating_mul(3)
            .saturating_add(fixed);
        for (key, extent) in &self.extents {
            for part in [7, words(key.len()), words(extent.head.len())] {
                total = total.saturating_add(part);
            }
        }
        let mut message = message::builder(total)?;
        let mut root = message.init_root::<footer::Builder<'_>>();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut pages = root.reborrow().init_pages(count(self.pages.len()));
        for (i, page) in (0..).zip(&self.pages) {
            page.fill(pages.reborrow().get(i));
        }
        let mut extents = root.init_extents(count(self.extents.len()));
        for (i, (key, extent)) in (0..).zip(&self.extents) {
            let mut out = extents.reborrow().get(i);
            out.set_key(key);
            out.set_head(&extent.head);
            out.set_first_page(count(extent.first_page));
            out.set_page_count(extent.page_count);
            extent.index.fill(out.init_index());
        }
        Ok(message)
    }

    fn check_sound(&self) -> Result<()> {
        if self.broken {
            return Err(invalid("the writer failed before and must be dropped"));
        }
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.buffer_offset.saturating_add(self.buffer.len() as u64)
    }

    fn section(&mut self, bytes: &[u8], rows: u32) -> Result<Section> {
        let section = Section {
            offset: self.offset(),
            bytes: bytes.len() as u64,
            checksum: crc32c::crc32c(bytes),
            rows,
        };
        self.write(bytes)?;
        Ok(section)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_through(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.write_through(&buffer);
        buffer.clear();
        self.buffer = buffer;
        result
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &self.file else {
            return Err(invalid("the writer was sealed already"));
        };
        if let Err(error) = file.write_at(bytes, self.buffer_offset) {
            self.broken = true;
            return Err(Error::io("writing a segment", &self.temporary, error));
        }
        self.buffer_offset = self.buffer_offset.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.published_already {
            drop(self.file.take());
            // If this fails the file stays among the temporary ones, which are removed when the store opens.
            drop(self.directory.unlink(&self.temporary));
        }
    }
}

impl Section {
    fn fill(&self, mut out: section::Builder<'_>) {
        out.set_offset(self.offset);
        out.set_bytes(self.bytes);
        out.set_checksum(self.checksum);
        out.set_rows(self.rows);
    }
}

/// Returns the bytes of a message whose size was worked out before it was built.
fn single_segment<A: capnp::message::Allocator>(
    message: &capnp::message::Builder<A>,
) -> Result<&[u8]> {
    message::single(message)
        .ok_or_else(|| invalid("a message outgrew the size that was worked out for it"))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, what)
}
