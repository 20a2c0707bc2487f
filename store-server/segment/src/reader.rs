//! Opens a sealed segment and reads it in place.
//!
//! What is checked when: on opening, header, trailer and footer, whole, and that every section lies where sections may;
//! on first touch, the checksum of a page or of the dictionary, or an index's checksum and every row in it. What is read
//! in place and was checked once is not checked again: the file does not change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, OnceLock};

use capnp::Word;
use carrack_schema::wire::segment_capnp as wire;

use crate::codec::decompress;
use crate::footer::{self, ExtentEntry, Footer, Section};
use crate::format::{Contents, HEADER_BYTES, Header, Refusal, TRAILER_BYTES, Trailer};
use crate::index::{Index, IndexTable};
use crate::{Directory, Error, ErrorKind, Map, Page, PageCache, Result};

/// Pages whose flags share a word.
const FLAG_BITS: usize = 64;

/// A sealed segment, open for reading. Never changes; share it between threads with an `Arc`.
///
/// Its bytes stay readable while it lives, also after its file was unlinked.
pub struct Segment {
    name: String,
    map: Map,
    header: Header,
    footer: Footer,
    footer_bytes: u64,
    /// A bit for each page whose checksum was found right.
    pages_checked: Box<[AtomicU64]>,
    /// The dictionary, once it was found right.
    dictionary: OnceLock<Dictionary>,
    cache: Arc<PageCache>,
    /// This segment's number in the cache.
    number: u64,
}

/// Where a sound dictionary is.
enum Dictionary {
    Mapped,
    Decompressed(Vec<Word>),
}

/// A part of a segment that can be damaged on its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The dictionary: every page is touched.
    Dictionary,
    /// The page of this number; [`Extent::touches`] says whose.
    Page(u32),
    /// The index of the extent of this key.
    Index(Vec<u8>),
}

/// A damaged part, and what is wrong with it.
#[derive(Debug)]
pub struct Fault {
    /// Which part.
    pub part: Part,
    /// An [`ErrorKind::Corrupt`] that names it.
    pub error: Error,
}

/// How a page or the dictionary lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes it takes in the file, those that fill its last word among them.
    pub bytes: u64,
    /// Bytes of the message.
    pub plain_bytes: u64,
    /// Whether it is compressed, with Zstandard.
    pub is_compressed: bool,
}

impl Stored {
    fn of(section: Section) -> Self {
        Self {
            bytes: section.span.len() as u64,
            plain_bytes: section.plain_bytes.into(),
            is_compressed: section.codec == wire::Codec::Zstd,
        }
    }
}

impl Segment {
    /// Maps a published segment and checks its frame: header, trailer, footer. Nothing else is touched. Pages that have
    /// to be decompressed are kept in `cache`, which all segments of a store share.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Io`]; [`ErrorKind::Unsupported`] for another format version or kind of
    /// file; [`ErrorKind::Corrupt`] for anything that a writer would not have written, a short file among it.
    pub fn open(directory: &dyn Directory, name: &str, cache: &Arc<PageCache>) -> Result<Self> {
        let map = directory
            .map(name)
            .map_err(|error| Error::io("mapping a segment", name, error))?;
        Self::from_map(name, map, cache)
    }

    /// Opens a segment whose bytes are at hand; `name` is for errors only. Otherwise as [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), but for those of the disk.
    pub fn from_map(name: &str, map: Map, cache: &Arc<PageCache>) -> Result<Self> {
        let refuse = |section: &str| {
            let section = section.to_owned();
            move |refusal| match refusal {
                Refusal::Corrupt(what) => damaged(name, &section, None, what),
                Refusal::Unsupported(what) => {
                    Error::new(ErrorKind::Unsupported, format!("{what}: file=`{name}`"))
                }
            }
        };
        let header_bytes = map
            .get(..HEADER_BYTES)
            .ok_or_else(|| damaged(name, "header", None, "the file is shorter"))?;
        let header = Header::decode(header_bytes).map_err(refuse("header"))?;

        let broken = |what: &str| damaged(name, "trailer", None, what);
        let body_end = map
            .len()
            .checked_sub(TRAILER_BYTES)
            .filter(|&end| end >= HEADER_BYTES)
            .ok_or_else(|| broken("the file is shorter"))?;
        let trailer_bytes = map.get(body_end..).unwrap_or_default();
        let trailer = Trailer::decode(trailer_bytes).map_err(refuse("trailer"))?;
        if trailer.file_bytes != map.len() as u64 {
            return Err(broken(&format!(
                "it says the file has {} bytes, which has {}",
                trailer.file_bytes,
                map.len()
            )));
        }
        if trailer.id != header.id {
            return Err(broken("its id is not the header's"));
        }

        let broken = |what: &str| damaged(name, "footer", None, what);
        let span = footer::place(trailer.footer_offset, trailer.footer_bytes, body_end)
            .filter(|span| span.end == body_end && span.len() as u64 == trailer.footer_bytes)
            .ok_or_else(|| broken("it does not end at the trailer"))?;
        if crc32c::crc32c(span.of(&map)) != trailer.footer_checksum {
            return Err(broken("its checksum does not match"));
        }
        let footer = Footer::parse(&map, span).map_err(|what| broken(&what))?;
        let flags = footer.pages.len().div_ceil(FLAG_BITS);
        Ok(Self {
            name: name.to_owned(),
            map,
            header,
            footer,
            footer_bytes: trailer.footer_bytes,
            pages_checked: (0..flags).map(|_| AtomicU64::new(0)).collect(),
            dictionary: OnceLock::new(),
            cache: Arc::clone(cache),
            number: cache.segment(),
        })
    }

    /// Returns the name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the segment's id, a ULID.
    pub fn id(&self) -> [u8; 16] {
        self.header.id
    }

    /// Returns the epoch of the store's writer that sealed it.
    pub fn writer_epoch(&self) -> u64 {
        self.header.writer_epoch
    }

    /// Returns what its rows are.
    pub fn contents(&self) -> Contents {
        self.header.contents
    }

    /// Returns the file's length in bytes.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Returns the number of pages.
    pub fn page_count(&self) -> u32 {
        // The footer's limit is far below 2^32.
        u32::try_from(self.footer.pages.len()).unwrap_or(u32::MAX)
    }

    /// Returns how many rows a page holds, without touching it.
    pub fn page_rows(&self, number: u32) -> Option<u32> {
        let page = self.footer.pages.get(number as usize)?;
        Some(page.rows.into())
    }

    /// Returns how a page is stored, without touching it.
    pub fn page_stored(&self, number: u32) -> Option<Stored> {
        self.footer
            .pages
            .get(number as usize)
            .map(|&section| Stored::of(section))
    }

    /// Returns how the dictionary is stored, without touching it; none if there is no dictionary.
    pub fn dictionary_stored(&self) -> Option<Stored> {
        self.footer.dictionary.map(Stored::of)
    }

    /// Returns the bytes that the footer takes in the file.
    pub fn footer_bytes(&self) -> u64 {
        self.footer_bytes
    }

    /// Returns a page's message, for [`message::flat`](crate::message::flat): in place from the map, or decompressed and
    /// kept in the cache. Its checksum is checked when it is first touched or decompressed; what the message says is for
    /// the caller to check.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the page is damaged, on every call; the other pages stay readable.
    /// [`ErrorKind::Invalid`] if there is no such page.
    #[inline]
    pub fn page(&self, number: u32) -> Result<Page<'_>> {
        let section = self.page_section(number)?;
        match section.codec {
            wire::Codec::None => self.mapped_page(number, section).map(Page::new),
            wire::Codec::Zstd => self.cached_page(number, section).map(Page::decompressed),
        }
    }

    fn page_section(&self, number: u32) -> Result<Section> {
        let section = self.footer.pages.get(number as usize).copied();
        section.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "segment has no such page: file=`{}` page=`{number}`",
                    self.name
                ),
            )
        })
    }

    fn mapped_page(&self, number: u32, section: Section) -> Result<&[u8]> {
        let at = number as usize;
        let bit = 1_u64 << (at % FLAG_BITS);
        let flags = self.pages_checked.get(at / FLAG_BITS);
        // Relaxed is enough: the flag guards no memory but the file's, which was there before any thread.
        if flags.is_some_and(|flags| flags.load(Memory::Relaxed) & bit != 0) {
            return Ok(section.span.of(&self.map));
        }
        let bytes = self.stored(section, &Part::Page(number))?;
        if let Some(flags) = flags {
            flags.fetch_or(bit, Memory::Relaxed);
        }
        Ok(bytes)
    }

    fn cached_page(&self, number: u32, section: Section) -> Result<Arc<Vec<Word>>> {
        let key = (self.number, number);
        if let Some(words) = self.cache.get(key) {
            return Ok(words);
        }
        // Outside the cache's lock: two threads may both do it, and one of the two pages is kept.
        let words = Arc::new(self.decompressed(section, &Part::Page(number))?);
        self.cache.put(key, &words);
        Ok(words)
    }

    /// Returns the message that the pages share, whole words at a multiple of 8 in memory; nothing if there is none. The
    /// first call checks it and decompresses it if need be; then it stays in memory while the segment is open.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is damaged, on every call.
    pub fn dictionary(&self) -> Result<Option<&[u8]>> {
        let Some(section) = self.footer.dictionary else {
            return Ok(None);
        };
        let dictionary = match self.dictionary.get() {
            Some(dictionary) => dictionary,
            None => {
                let dictionary = self.read_dictionary(section)?;
                self.dictionary.get_or_init(|| dictionary)
            }
        };
        Ok(Some(match dictionary {
            Dictionary::Mapped => section.span.of(&self.map),
            Dictionary::Decompressed(words) => Word::words_to_bytes(words),
        }))
    }

    fn read_dictionary(&self, section: Section) -> Result<Dictionary> {
        let part = Part::Dictionary;
        match section.codec {
            wire::Codec::None => self.stored(section, &part).map(|_| Dictionary::Mapped),
            wire::Codec::Zstd => self
                .decompressed(section, &part)
                .map(Dictionary::Decompressed),
        }
    }

    /// Returns a section's stored bytes, checked.
    fn stored(&self, section: Section, part: &Part) -> Result<&[u8]> {
        let words = section.span.of(&self.map);
        if crc32c::crc32c(words) != section.checksum {
            return Err(self.damaged(part, "its checksum does not match"));
        }
        let (bytes, zeros) = words
            .split_at_checked(section.bytes as usize)
            .unwrap_or_default();
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(self.damaged(part, "bytes that must be zero are not"));
        }
        Ok(bytes)
    }

    fn decompressed(&self, section: Section, part: &Part) -> Result<Vec<Word>> {
        let stored = self.stored(section, part)?;
        decompress(stored, section.plain_bytes as usize).ok_or_else(|| {
            let bytes = section.plain_bytes;
            self.damaged(
                part,
                &format!("it does not decompress to the {bytes} bytes it says"),
            )
        })
    }

    fn damaged(&self, part: &Part, what: &str) -> Error {
        match part {
            Part::Dictionary => damaged(&self.name, "dictionary", None, what),
            Part::Page(number) => damaged(&self.name, &format!("page {number}"), None, what),
            Part::Index(key) => damaged(&self.name, "index", Some(key), what),
        }
    }

    /// Returns the extent of this key.
    pub fn extent(&self, key: &[u8]) -> Option<Extent<'_>> {
        let extents = &self.footer.extents;
        let at = extents
            .binary_search_by(|entry| entry.key.of(&self.map).cmp(key))
            .ok()?;
        extents.get(at).map(|entry| self.extent_of(entry))
    }

    /// Returns all extents, ascending by key.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = Extent<'_>> + DoubleEndedIterator {
        self.footer
            .extents
            .iter()
            .map(|entry| self.extent_of(entry))
    }

    /// Returns the extents whose keys begin with `prefix`, ascending by key.
    pub fn extents_of(
        &self,
        prefix: &[u8],
    ) -> impl ExactSizeIterator<Item = Extent<'_>> + DoubleEndedIterator + use<'_> {
        let extents = &self.footer.extents;
        let start = extents.partition_point(|entry| entry.key.of(&self.map) < prefix);
        let rest = extents.get(start..).unwrap_or_default();
        let count = rest.partition_point(|entry| entry.key.of(&self.map).starts_with(prefix));
        let found = rest.get(..count).unwrap_or_default();
        found.iter().map(|entry| self.extent_of(entry))
    }

    fn extent_of<'a>(&'a self, entry: &'a ExtentEntry) -> Extent<'a> {
        Extent {
            segment: self,
            entry,
        }
    }

    /// Touches every part and returns those that are damaged: the dictionary, pages by number, indexes by key; nothing if
    /// all is well. Reads the whole file, also what was checked before; the cache is left as it is.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut note = |part: Part, result: Result<()>| {
            if let Err(error) = result {
                faults.push(Fault { part, error });
            }
        };
        if let Some(section) = self.footer.dictionary {
            note(Part::Dictionary, self.read_dictionary(section).map(drop));
        }
        for (number, &section) in (0..).zip(&self.footer.pages) {
            let part = Part::Page(number);
            let result = match section.codec {
                wire::Codec::None => self.stored(section, &part).map(drop),
                wire::Codec::Zstd => self.decompressed(section, &part).map(drop),
            };
            note(part, result);
        }
        for extent in self.extents() {
            note(extent.part(), extent.parse_index().map(drop));
        }
        faults
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.cache.forget(self.number);
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.name)
            .field("bytes", &self.map.len())
            .field("pages", &self.footer.pages.len())
            .field("extents", &self.footer.extents.len())
            .finish()
    }
}

/// Rows that belong together. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    segment: &'a Segment,
    entry: &'a ExtentEntry,
}

impl<'a> Extent<'a> {
    /// Returns the segment it is in, which has the pages.
    pub fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// Returns the extent's key.
    pub fn key(&self) -> &'a [u8] {
        self.entry.key.of(&self.segment.map)
    }

    /// Returns what the writer said of the extent. Starts at a multiple of 8 in memory, so that a flat message can be
    /// read in place. Its checksum is the footer's: it is sound if the segment could be opened.
    pub fn head(&self) -> &'a [u8] {
        self.entry.head.of(&self.segment.map)
    }

    /// Returns the number of rows, without touching the index.
    pub fn rows(&self) -> u32 {
        self.entry.rows
    }

    /// Returns the bytes its index takes in the file. Pages belong to no extent alone.
    pub fn index_bytes(&self) -> u64 {
        self.entry.index.len() as u64
    }

    /// Returns the index, checked. The first call reads all of it (its checksum, each row); later ones cost nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], on every call. The pages stay readable.
    #[inline]
    pub fn index(&self) -> Result<Index<'a>> {
        let table = match self.entry.table.get() {
            Some(table) => table,
            None => {
                // Two threads may both check; one table is kept.
                let table = self.parse_index()?;
                self.entry.table.get_or_init(|| Box::new(table))
            }
        };
        let segment = self.segment;
        Ok(Index::new(&segment.map, &segment.footer.groups, table))
    }

    /// Says whether any of its rows is in a page, such as one that is damaged. Reads every row's place.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the index is damaged: then it may be.
    pub fn touches(&self, page: u32) -> Result<bool> {
        Ok(self.index()?.places().any(|place| place.page == page))
    }

    fn part(&self) -> Part {
        Part::Index(self.key().to_vec())
    }

    fn parse_index(&self) -> Result<IndexTable> {
        let ExtentEntry { index, rows, .. } = *self.entry;
        let segment = self.segment;
        let damaged = |what: &str| damaged(&segment.name, "index", Some(self.key()), what);
        if crc32c::crc32c(index.of(&segment.map)) != self.entry.index_checksum {
            return Err(damaged("its checksum does not match"));
        }
        let page_rows = |page| segment.page_rows(page);
        IndexTable::parse(&segment.map, index, rows, &segment.footer.groups, page_rows)
            .map_err(|what| damaged(&what))
    }
}

impl fmt::Debug for Extent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extent")
            .field("file", &self.segment.name)
            .field("key", &self.key().escape_ascii().to_string())
            .field("rows", &self.rows())
            .finish()
    }
}

fn damaged(file: &str, section: &str, extent: Option<&[u8]>, what: &str) -> Error {
    let extent = extent.map_or_else(String::new, |key| {
        format!(" extent=`{}`", key.escape_ascii())
    });
    Error::new(
        ErrorKind::Corrupt,
        format!("damaged, {what}: file=`{file}` section=`{section}`{extent}"),
    )
}
