//! Writes one segment, front to back, and publishes it. Called by imports and merges.

use std::collections::BTreeMap;
use std::sync::Arc;

use capnp::message::{Allocator, Builder, HeapAllocator};
use carrack_schema::wire::segment_capnp as wire;

use crate::codec::Encoder;
use crate::directory::{Directory, File, folder_of};
use crate::format::{
    Contents, DICTIONARY_BYTES_MAX, FILE_SECTIONS_MAX, HEAD_BYTES_MAX, Header, KEY_BYTES_MAX,
    PAGE_BYTES_MAX, PAGE_ROWS_MAX, TRAILER_BYTES, Trailer, WORD_BYTES,
};
use crate::index_builder::{ExtentRows, GroupNumbers, Placing, RowGatherer, limit};
use crate::{Codec, Error, ErrorKind, Result, message};

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
    /// How pages and the dictionary are stored.
    pub codec: Codec,
}

/// Where a row is: a page of its segment, and a row of that page; both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The page's number within the segment, below 2^24.
    pub page: u32,
    /// The row's number within the page, below 16,384.
    pub ordinal: u32,
}

/// What became of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Extents in it.
    pub extents: usize,
    /// Pages in it.
    pub pages: u32,
    /// Rows of all its extents.
    pub rows: u64,
}

/// A segment that is being written.
///
/// Extents follow each other, in any order of their keys: `begin_extent`, `row` for each row, `end_extent`. Pages, and the
/// dictionary if there is one, may be written at any time, also between the rows of an extent, and several extents may
/// have rows in one page. Then `seal`.
///
/// Where rows end up need not be known while they are named: a row names a *slot*, a number that the caller gives out (0,
/// 1, 2 …), and an ordinal within the slot. `seal` is told the place at which each slot starts, in whatever page that
/// became. A caller that knows its pages beforehand uses their numbers for slots.
///
/// Memory grows by 14 bytes a row and its name if that is text, 32 bytes a page, and each extent's key and head; at
/// the end by the largest index.
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
    encoder: Encoder,
    pages: Vec<Section>,
    dictionary: Option<Section>,
    rows: RowGatherer,
    extents: BTreeMap<Vec<u8>, ExtentDraft>,
    /// The key of the extent in hand.
    open: Option<Vec<u8>>,
}

/// A message in the file.
#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u64,
    bytes: u32,
    plain_bytes: u32,
    checksum: u32,
    rows: u16,
    codec: wire::Codec,
}

#[derive(Debug)]
struct ExtentDraft {
    head: Vec<u8>,
    rows: ExtentRows,
}

impl SegmentWriter {
    /// Creates the temporary file and writes the header.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the temporary name's folder is missing, [`ErrorKind::Io`] if the name is taken or the
    /// disk fails.
    pub fn create(directory: &Arc<dyn Directory>, target: Target<'_>) -> Result<Self> {
        let encoder = Encoder::new(target.codec)
            .map_err(|error| Error::io("preparing to compress", target.temporary, error))?;
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
            encoder,
            pages: Vec::new(),
            dictionary: None,
            rows: RowGatherer::default(),
            extents: BTreeMap::new(),
            open: None,
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
        self.open = Some(key.to_vec());
        Ok(())
    }

    /// Writes a page of `rows` rows and returns its number within the segment: 0, 1, 2 …
    ///
    /// The message is one flat segment as [`message::flatten`] makes it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the length is 0 or no multiple of 8; [`ErrorKind::LimitExceeded`] above `PAGE_BYTES_MAX`
    /// bytes, 16,384 rows, or 2^24 pages; [`ErrorKind::Io`].
    pub fn page(&mut self, rows: u32, message: &[u8]) -> Result<u32> {
        self.check_sound()?;
        limit("bytes of a page", message.len(), PAGE_BYTES_MAX)?;
        limit("rows of a page", rows as usize, PAGE_ROWS_MAX as usize)?;
        limit(
            "pages of a file",
            self.pages.len().saturating_add(1),
            FILE_SECTIONS_MAX,
        )?;
        let number = self.page_count();
        let page = self.message(message, u16::try_from(rows).unwrap_or(u16::MAX))?;
        self.pages.push(page);
        Ok(number)
    }

    /// Returns the number of pages written so far, which is that of the next page.
    pub fn page_count(&self) -> u32 {
        // `page` keeps this below 2^24.
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// Writes the message that the pages share; at most once.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is one already, or if the length is 0 or no multiple of 8;
    /// [`ErrorKind::LimitExceeded`] above 256 MiB; [`ErrorKind::Io`].
    pub fn dictionary(&mut self, message: &[u8]) -> Result<()> {
        self.check_sound()?;
        limit("bytes of a dictionary", message.len(), DICTIONARY_BYTES_MAX)?;
        if self.dictionary.is_some() {
            return Err(invalid("a segment has one dictionary"));
        }
        self.dictionary = Some(self.message(message, 0)?);
        Ok(())
    }

    /// Adds a row, which is in a slot of the caller's choice. Rows come in strictly ascending order of the bytes of
    /// `group + '/' + name`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an open extent, for a row out of order or a group with a slash;
    /// [`ErrorKind::LimitExceeded`] beyond a limit of `FORMAT.md`. The row is not added then, and others can be.
    pub fn row(&mut self, group: &[u8], name: &[u8], slot: u32, ordinal: u32) -> Result<()> {
        self.check_sound()?;
        if self.open.is_none() {
            return Err(invalid("a row belongs to no extent"));
        }
        self.rows.push(group, name, slot, ordinal)
    }

    /// Ends the extent in hand. `head` is for the caller, and read back as it was given, at an 8-byte boundary.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an open extent; [`ErrorKind::LimitExceeded`] for a head above 64 KiB.
    pub fn end_extent(&mut self, head: &[u8]) -> Result<()> {
        self.check_sound()?;
        limit("bytes of an extent's head", head.len(), HEAD_BYTES_MAX)?;
        let Some(key) = self.open.take() else {
            return Err(invalid("no extent is open"));
        };
        let draft = ExtentDraft {
            head: head.to_vec(),
            rows: self.rows.end_extent(),
        };
        self.extents.insert(key, draft);
        Ok(())
    }

    /// Places the rows and writes the indexes, footer and trailer; syncs the file, renames it to its published name and
    /// syncs that folder. The row of ordinal `o` in slot `s` is in page `slots[s].page`, ordinal `slots[s].ordinal + o`.
    ///
    /// When this has returned, the whole segment survives a crash under its published name. A crash before leaves
    /// nothing, the temporary file, or the whole segment under either name; never a part of it under the published one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if an extent is open, or if a row is in no slot, or its place in no page;
    /// [`ErrorKind::LimitExceeded`] if an index would pass 2^29 bytes or the footer 2 GiB; [`ErrorKind::Io`]. The file is
    /// removed under both names as far as the disk allows; never seal into the same name again.
    pub fn seal(mut self, slots: &[Place]) -> Result<Sealed> {
        self.check_sound()?;
        if self.open.is_some() {
            return Err(invalid("an extent is open still"));
        }
        let bytes = self.finish(slots)?;
        self.publish()?;
        Ok(Sealed {
            bytes,
            extents: self.extents.len(),
            pages: self.page_count(),
            rows: self.rows.rows(),
        })
    }

    /// Writes what comes after the pages, and returns the file's length.
    fn finish(&mut self, slots: &[Place]) -> Result<u64> {
        let rows = std::mem::take(&mut self.rows);
        let groups = rows.group_numbers();
        let indexes = self.indexes(&rows, &groups, slots)?;
        let message = self.footer(&groups, &indexes)?;
        self.rows = rows;
        let footer = self.plain(single_segment(&message)?, 0)?;
        let trailer_bytes = TRAILER_BYTES as u64;
        let bytes = self.offset().saturating_add(trailer_bytes);
        let trailer = Trailer {
            footer_offset: footer.offset,
            footer_bytes: footer.bytes.into(),
            file_bytes: bytes,
            id: self.id,
            footer_checksum: footer.checksum,
        };
        self.write(&trailer.encode())?;
        self.flush()?;
        Ok(bytes)
    }

    /// Writes each extent's index, in the order of keys.
    fn indexes(
        &mut self,
        rows: &RowGatherer,
        groups: &GroupNumbers<'_>,
        slots: &[Place],
    ) -> Result<Vec<Section>> {
        let extents = std::mem::take(&mut self.extents);
        let mut indexes = Vec::with_capacity(extents.len());
        for (key, extent) in &extents {
            let pages = &self.pages;
            let page_rows = |page: u32| pages.get(page as usize).map(|page| page.rows.into());
            let message = rows
                .index(&extent.rows, groups, &Placing { slots, page_rows })
                .map_err(|error| error.in_extent(key))?;
            indexes.push(self.plain(single_segment(&message)?, 0)?);
        }
        self.extents = extents;
        Ok(indexes)
    }

    /// Makes the file durable under its temporary name, then gives it the published one.
    fn publish(&mut self) -> Result<()> {
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
        })
    }

    fn footer(
        &self,
        groups: &GroupNumbers<'_>,
        indexes: &[Section],
    ) -> Result<Builder<HeapAllocator>> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut message = message::builder(self.footer_words(groups))?;
        let mut root = message.init_root::<wire::footer::Builder<'_>>();
        let mut pages = root.reborrow().init_pages(count(self.pages.len()));
        for (i, page) in (0..).zip(&self.pages) {
            page.fill(pages.reborrow().get(i));
        }
        let mut names = root.reborrow().init_groups(count(groups.names.len()));
        for (i, name) in (0..).zip(&groups.names) {
            names.set(i, name);
        }
        if let Some(dictionary) = &self.dictionary {
            dictionary.fill(root.reborrow().init_dictionary());
        }
        let mut extents = root.init_extents(count(self.extents.len()));
        for ((i, (key, extent)), index) in (0..).zip(&self.extents).zip(indexes) {
            let mut out = extents.reborrow().get(i);
            out.set_key(key);
            out.set_head(&extent.head);
            out.set_index_offset(index.offset);
            out.set_index_bytes(index.bytes);
            out.set_index_checksum(index.checksum);
            out.set_rows(extent.rows.len());
        }
        Ok(message)
    }

    fn footer_words(&self, groups: &GroupNumbers<'_>) -> u64 {
        let words = |bytes: usize| bytes.div_ceil(WORD_BYTES) as u64;
        // The root pointer, four pointers, and the tags of two lists of structs.
        const FIXED: u64 = 1 + 4 + 2;
        const SECTION: u64 = 3;
        const EXTENT: u64 = 5;
        let sections = self.pages.iter().chain(&self.dictionary).map(|_| SECTION);
        let names = groups.names.iter().flat_map(|name| [1, words(name.len())]);
        let extents = self
            .extents
            .iter()
            .flat_map(|(key, extent)| [EXTENT, words(key.len()), words(extent.head.len())]);
        let parts = sections.chain(names).chain(extents);
        parts.fold(FIXED, u64::saturating_add)
    }

    fn check_sound(&self) -> Result<()> {
        if self.broken {
            return Err(invalid("the writer failed before and must be dropped"));
        }
        Ok(())
    }

    /// Returns how many bytes of the file are written: header, pages, the dictionary.
    pub fn bytes(&self) -> u64 {
        self.offset()
    }

    fn offset(&self) -> u64 {
        self.buffer_offset.saturating_add(self.buffer.len() as u64)
    }

    /// Writes a page or the dictionary, compressed if that was asked for and saves a word.
    fn message(&mut self, message: &[u8], rows: u16) -> Result<Section> {
        if message.is_empty() || !message.len().is_multiple_of(WORD_BYTES) {
            return Err(invalid(&format!(
                "a message is whole words: bytes=`{}`",
                message.len()
            )));
        }
        let compressed = self
            .encoder
            .smaller(message)
            .map_err(|error| Error::io("compressing a section", &self.temporary, error))?;
        match compressed {
            None => self.plain(message, rows),
            Some(stored) => {
                let section = self.stored(&stored, rows, wire::Codec::Zstd)?;
                Ok(Section {
                    plain_bytes: length(message),
                    ..section
                })
            }
        }
    }

    fn plain(&mut self, message: &[u8], rows: u16) -> Result<Section> {
        self.stored(message, rows, wire::Codec::None)
    }

    /// Writes a section and the zeros that make it whole words.
    fn stored(&mut self, bytes: &[u8], rows: u16, codec: wire::Codec) -> Result<Section> {
        let short = bytes
            .len()
            .next_multiple_of(WORD_BYTES)
            .saturating_sub(bytes.len());
        let zeros = [0; WORD_BYTES];
        let zeros = zeros.get(..short).unwrap_or_default();
        let section = Section {
            offset: self.offset(),
            bytes: length(bytes),
            plain_bytes: length(bytes),
            checksum: crc32c::crc32c_append(crc32c::crc32c(bytes), zeros),
            rows,
            codec,
        };
        self.write(bytes)?;
        self.write(zeros)?;
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
    fn fill(&self, mut out: wire::section::Builder<'_>) {
        out.set_offset(self.offset);
        out.set_bytes(self.bytes);
        out.set_plain_bytes(self.plain_bytes);
        out.set_checksum(self.checksum);
        out.set_rows(self.rows);
        out.set_codec(self.codec);
    }
}

/// The length of what is written: 2 GiB at the most, see [`message::builder`].
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Returns the bytes of a message whose size was worked out before it was built.
fn single_segment<A: Allocator>(message: &Builder<A>) -> Result<&[u8]> {
    message::single(message)
        .ok_or_else(|| invalid("a message outgrew the size that was worked out for it"))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, what)
}
