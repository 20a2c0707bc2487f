//! Opens a sealed segment and reads it in place.
//!
//! What is checked when: on opening, header, trailer and footer, whole, and that every section lies where sections may;
//! on first touch, a page's checksum, or an index's checksum and every row in it. What is checked once is not
//! checked again: the file does not change.

use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use carrack_schema::wire::segment_capnp::{footer, section};

use crate::format::{
    Contents, FILE_SECTIONS_MAX, HEADER_BYTES, Header, MESSAGE_BYTES_MAX, PAGE_BYTES_MAX,
    PAGE_ROWS_MAX, Refusal, TRAILER_BYTES, Trailer, WORD_BYTES,
};
use crate::index::{Index, IndexTable};
use crate::{Directory, Error, ErrorKind, Map, Result, message};

/// Pages whose flags share a word.
const FLAG_BITS: usize = 64;

/// A part of the file, in bytes from its start. Made only of parts that lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Returns where `part` lies in `file`, if it was borrowed from it; nothing lies at the start.
    pub(crate) fn within(file: &[u8], part: &[u8]) -> Option<Self> {
        if part.is_empty() {
            // An absent list has no address in the file.
            return Some(Self { start: 0, end: 0 });
        }
        let start = part.as_ptr().addr().checked_sub(file.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= file.len()).then_some(Self { start, end })
    }

    #[inline]
    pub(crate) fn of(self, file: &[u8]) -> &[u8] {
        file.get(self.start..self.end).unwrap_or_default()
    }
}

/// A sealed segment, open for reading. Never changes; share it between threads with an `Arc`.
///
/// Its bytes stay readable while it lives, also after its file was unlinked.
pub struct Segment {
    name: String,
    map: Map,
    header: Header,
    pages: Vec<Section>,
    /// Ascending by key.
    extents: Vec<ExtentEntry>,
    /// A bit for each page whose checksum was found right.
    pages_checked: Box<[AtomicU64]>,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    span: Span,
    checksum: u32,
    rows: u32,
}

struct ExtentEntry {
    key: Span,
    head: Span,
    index: Section,
    first_page: usize,
    page_count: u32,
    /// Filled on first touch.
    table: OnceLock<IndexTable>,
}

impl Segment {
    /// Maps a published segment and checks its frame: header, trailer, footer. Its pages and indexes are not touched.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Io`]; [`ErrorKind::Unsupported`] for another format version or kind of
    /// file; [`ErrorKind::Corrupt`] for anything that a writer would not have written, a short file among it.
    pub fn open(directory: &dyn Directory, name: &str) -> Result<Self> {
        let map = directory
            .map(name)
            .map_err(|error| Error::io("mapping a segment", name, error))?;
        Self::from_map(name, map)
    }

    /// Opens a segment whose bytes are at hand; `name` is for errors only. Otherwise as [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open), but for those of the disk.
    pub fn from_map(name: &str, map: Map) -> Result<Self> {
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
        let footer = place(
            trailer.footer_offset,
            trailer.footer_bytes,
            body_end,
            MESSAGE_BYTES_MAX,
        )
        .filter(|span| span.end == body_end)
        .ok_or_else(|| broken("it does not end at the trailer"))?;
        if crc32c::crc32c(footer.of(&map)) != trailer.footer_checksum {
            return Err(broken("its checksum does not match"));
        }
        let (pages, extents) = parse_footer(&map, footer).map_err(|what| broken(&what))?;
        let flags = pages.len().div_ceil(FLAG_BITS);
        Ok(Self {
            name: name.to_owned(),
            map,
            header,
            pages,
            extents,
            pages_checked: (0..flags).map(|_| AtomicU64::new(0)).collect(),
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

    /// Returns the extent of this key.
    pub fn extent(&self, key: &[u8]) -> Option<Extent<'_>> {
        let at = self
            .extents
            .binary_search_by(|entry| entry.key.of(&self.map).cmp(key))
            .ok()?;
        let entry = self.extents.get(at)?;
        Some(Extent {
            segment: self,
            entry,
        })
    }

    /// Returns all extents, ascending by key.
    pub fn extents(&self) -> impl ExactSizeIterator<Item = Extent<'_>> + DoubleEndedIterator {
        self.extents.iter().map(|entry| Extent {
            segment: self,
            entry,
        })
    }

    /// Touches every section and returns what is damaged, in the order of extents and pages; nothing if all is well.
    /// Reads the whole file, also what was checked before.
    pub fn check(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        for extent in self.extents() {
            if let Err(error) = extent.parse_index() {
                errors.push(error);
            }
            for number in 0..extent.page_count() {
                if let Err(error) = extent.page_unchecked_before(number) {
                    errors.push(error);
                }
            }
        }
        errors
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.name)
            .field("bytes", &self.map.len())
            .field("pages", &self.pages.len())
            .field("extents", &self.extents.len())
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
        self.entry.index.rows
    }

    /// Returns the number of pages.
    pub fn page_count(&self) -> u32 {
        self.entry.page_count
    }

    /// Returns the bytes its pages and its index take in the file.
    pub fn bytes(&self) -> u64 {
        (0..self.page_count())
            .filter_map(|number| self.section(number))
            .chain([self.entry.index])
            .map(|section| section.span.of(&self.segment.map).len() as u64)
            .fold(0, u64::saturating_add)
    }

    /// Returns the index, checked. The first call reads all of it (its checksum, each row); later ones cost nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], on every call. The pages stay readable.
    pub fn index(&self) -> Result<Index<'a>> {
        let table = match self.entry.table.get() {
            Some(table) => table,
            None => {
                // Two threads may both check; one table is kept.
                let table = self.parse_index()?;
                self.entry.table.get_or_init(|| table)
            }
        };
        Ok(Index::new(&self.segment.map, table))
    }

    /// Returns how many rows a page holds, without touching it.
    pub fn page_rows(&self, number: u32) -> Option<u32> {
        self.section(number).map(|page| page.rows)
    }

    /// Returns a page's message by its number within the extent: whole words at a multiple of 8 in memory, for
    /// [`message::flat`]. The first call checks its checksum; what the message says is for the caller to check.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the checksum does not match, on every call; the other pages stay readable.
    /// [`ErrorKind::Invalid`] if the extent has no such page.
    pub fn page(&self, number: u32) -> Result<&'a [u8]> {
        let at = self.entry.first_page.saturating_add(number as usize);
        let bit = 1_u64 << (at % FLAG_BITS);
        let flags = self.segment.pages_checked.get(at / FLAG_BITS);
        // Relaxed is enough: the flag guards no memory but the file's, which was there before any thread.
        let checked = flags.is_some_and(|flags| flags.load(Memory::Relaxed) & bit != 0);
        if checked && let Some(page) = self.section(number) {
            return Ok(page.span.of(&self.segment.map));
        }
        let bytes = self.page_unchecked_before(number)?;
        if let Some(flags) = flags {
            flags.fetch_or(bit, Memory::Relaxed);
        }
        Ok(bytes)
    }

    fn page_unchecked_before(&self, number: u32) -> Result<&'a [u8]> {
        let page = self.section(number).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "extent has no such page: file=`{}` extent=`{}` page=`{number}`",
                    self.segment.name,
                    self.key().escape_ascii()
                ),
            )
        })?;
        self.checked(page, &format!("page {number}"))
    }

    fn parse_index(&self) -> Result<IndexTable> {
        let index = self.entry.index;
        self.checked(index, "index")?;
        IndexTable::parse(&self.segment.map, index.span, index.rows, |page| {
            self.page_rows(page)
        })
        .map_err(|what| damaged(&self.segment.name, "index", Some(self.key()), &what))
    }

    fn checked(&self, section: Section, what: &str) -> Result<&'a [u8]> {
        let bytes = section.span.of(&self.segment.map);
        if crc32c::crc32c(bytes) != section.checksum {
            return Err(damaged(
                &self.segment.name,
                what,
                Some(self.key()),
                "its checksum does not match",
            ));
        }
        Ok(bytes)
    }

    fn section(&self, number: u32) -> Option<Section> {
        if number >= self.entry.page_count {
            return None;
        }
        let at = self.entry.first_page.checked_add(number as usize)?;
        self.segment.pages.get(at).copied()
    }
}

impl fmt::Debug for Extent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extent")
            .field("file", &self.segment.name)
            .field("key", &self.key().escape_ascii().to_string())
            .field("rows", &self.rows())
            .field("pages", &self.page_count())
            .finish()
    }
}

/// Returns the span of a section, if it is whole words between the header and `end`, not empty, and not above its limit.
fn place(offset: u64, bytes: u64, end: usize, bytes_max: u64) -> Option<Span> {
    let word = WORD_BYTES as u64;
    let legal = offset.is_multiple_of(word)
        && bytes.is_multiple_of(word)
        && (1..=bytes_max).contains(&bytes);
    let start = usize::try_from(offset)
        .ok()
        .filter(|&start| start >= HEADER_BYTES)?;
    let stop = start.checked_add(usize::try_from(bytes).ok()?)?;
    (legal && stop <= end).then_some(Span { start, end: stop })
}

fn parse_footer(file: &[u8], footer: Span) -> Result<(Vec<Section>, Vec<ExtentEntry>), String> {
    let malformed = |error: capnp::Error| format!("malformed message: {error}");
    let section = |section: section::Reader<'_>, bytes_max: u64| {
        // Sections end where the footer starts.
        let span = place(
            section.get_offset(),
            section.get_bytes(),
            footer.start,
            bytes_max,
        )?;
        Some(Section {
            span,
            checksum: section.get_checksum(),
            rows: section.get_rows(),
        })
    };
    let reader = message::flat(footer.of(file));
    let root = reader.get_root::<footer::Reader<'_>>().map_err(malformed)?;
    let page_list = root.get_pages().map_err(malformed)?;
    let extent_list = root.get_extents().map_err(malformed)?;
    // The limits hold before memory is taken for as many as are claimed.
    if page_list.len().max(extent_list.len()) as usize > FILE_SECTIONS_MAX {
        return Err("it lists more than a file can hold".into());
    }

    let mut pages = Vec::with_capacity(page_list.len() as usize);
    for (i, page) in page_list.iter().enumerate() {
        let page = section(page, PAGE_BYTES_MAX as u64)
            .filter(|page| page.rows <= PAGE_ROWS_MAX)
            .ok_or_else(|| format!("page {i} of the file is not where a page can be"))?;
        pages.push(page);
    }

    let mut extents: Vec<ExtentEntry> = Vec::with_capacity(extent_list.len() as usize);
    for (i, extent) in extent_list.iter().enumerate() {
        let key = Span::within(file, extent.get_key().map_err(malformed)?);
        let head = Span::within(file, extent.get_head().map_err(malformed)?);
        let index = section(extent.get_index().map_err(malformed)?, MESSAGE_BYTES_MAX)
            .ok_or_else(|| format!("the index of extent {i} is not where an index can be"))?;
        let first_page = extent.get_first_page() as usize;
        let page_count = extent.get_page_count();
        let pages_end = first_page.checked_add(page_count as usize);
        let (Some(key), Some(head), true) =
            (key, head, pages_end.is_some_and(|end| end <= pages.len()))
        else {
            return Err(format!("extent {i} leaves the file"));
        };
        let ascends = extents
            .last()
            .is_none_or(|last| last.key.of(file).cmp(key.of(file)) == Ordering::Less);
        if !ascends {
            return Err(format!("extent {i} is out of order"));
        }
        extents.push(ExtentEntry {
            key,
            head,
            index,
            first_page,
            page_count,
            table: OnceLock::new(),
        });
    }
    Ok((pages, extents))
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
