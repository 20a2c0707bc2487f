//! The footer as it is read: where everything in a file lies, checked whole when the file is opened.

use std::cmp::Ordering;
use std::sync::OnceLock;

use carrack_schema::wire::segment_capnp as wire;

use crate::format::{
    DICTIONARY_BYTES_MAX, FILE_SECTIONS_MAX, GROUP_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX,
    PAGE_BYTES_MAX, PAGE_ROWS_MAX, WORD_BYTES,
};
use crate::index::IndexTable;
use crate::message;
use crate::name::{SLASH, compare_groups};
use crate::span::Span;

/// What a file holds.
pub(crate) struct Footer {
    pub(crate) pages: Vec<Section>,
    /// The names of groups, ascending.
    pub(crate) groups: Vec<Span>,
    /// Ascending by key.
    pub(crate) extents: Vec<ExtentEntry>,
    pub(crate) dictionary: Option<Section>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// The stored bytes and the zeros after them: whole words.
    pub(crate) span: Span,
    /// How many of them are stored bytes.
    pub(crate) bytes: u32,
    pub(crate) plain_bytes: u32,
    pub(crate) checksum: u32,
    pub(crate) rows: u16,
    pub(crate) codec: wire::Codec,
}

pub(crate) struct ExtentEntry {
    pub(crate) key: Span,
    pub(crate) head: Span,
    pub(crate) index: Span,
    pub(crate) index_checksum: u32,
    pub(crate) rows: u32,
    /// Filled on first touch.
    pub(crate) table: OnceLock<Box<IndexTable>>,
}

impl Footer {
    /// Checks the footer in `span`, which ends the file but for its trailer; all that it lists lies before it.
    pub(crate) fn parse(file: &[u8], span: Span) -> Result<Self, String> {
        let reader = message::flat(span.of(file));
        let root: wire::footer::Reader<'_> = reader.get_root().map_err(malformed)?;
        let pages = root.get_pages().map_err(malformed)?;
        let groups = root.get_groups().map_err(malformed)?;
        let extents = root.get_extents().map_err(malformed)?;
        // The limits hold before memory is taken for as many as are claimed.
        let most = pages.len().max(groups.len()).max(extents.len());
        if most as usize > FILE_SECTIONS_MAX {
            return Err("it lists more than a file can hold".into());
        }
        let dictionary = if root.has_dictionary() {
            let section = root.get_dictionary().map_err(malformed)?;
            let section = Section::parse(section, span.start, DICTIONARY_BYTES_MAX);
            Some(section.ok_or("the dictionary is not where one can be")?)
        } else {
            None
        };
        let mut page_sections = Vec::with_capacity(pages.len() as usize);
        for (i, page) in pages.iter().enumerate() {
            let page = Section::parse(page, span.start, PAGE_BYTES_MAX)
                .filter(|page| u32::from(page.rows) <= PAGE_ROWS_MAX)
                .ok_or_else(|| format!("page {i} is not where a page can be"))?;
            page_sections.push(page);
        }
        Ok(Self {
            pages: page_sections,
            groups: parse_groups(file, groups)?,
            extents: parse_extents(file, extents, span.start)?,
            dictionary,
        })
    }
}

impl Section {
    /// Returns a section that lies where it may, in a form that can be: before `end`, of at most `plain_bytes_max`.
    fn parse(
        section: wire::section::Reader<'_>,
        end: usize,
        plain_bytes_max: usize,
    ) -> Option<Self> {
        let codec = section.get_codec().ok()?;
        let (bytes, plain_bytes) = (section.get_bytes(), section.get_plain_bytes());
        let word = WORD_BYTES as u32;
        // What is compressed is shorter for it.
        let fits = match codec {
            wire::Codec::None => bytes == plain_bytes,
            wire::Codec::Zstd => bytes < plain_bytes,
        };
        let legal =
            plain_bytes.is_multiple_of(word) && plain_bytes as usize <= plain_bytes_max && fits;
        let span = place(section.get_offset(), bytes.into(), end).filter(|_| legal)?;
        Some(Self {
            span,
            bytes,
            plain_bytes,
            checksum: section.get_checksum(),
            rows: section.get_rows(),
            codec,
        })
    }
}

/// Returns the words that `bytes` bytes take, if they are at least one and lie between the header and `end`.
pub(crate) fn place(offset: u64, bytes: u64, end: usize) -> Option<Span> {
    let word = WORD_BYTES as u64;
    let legal = offset.is_multiple_of(word) && (1..=MESSAGE_BYTES_MAX).contains(&bytes);
    let start = usize::try_from(offset)
        .ok()
        .filter(|&start| legal && start >= HEADER_BYTES)?;
    let stop = start.checked_add(usize::try_from(bytes.next_multiple_of(word)).ok()?)?;
    (stop <= end).then_some(Span { start, end: stop })
}

fn parse_groups(file: &[u8], list: capnp::data_list::Reader<'_>) -> Result<Vec<Span>, String> {
    let mut groups: Vec<Span> = Vec::with_capacity(list.len() as usize);
    for (i, name) in list.iter().enumerate() {
        let name = name.map_err(malformed)?;
        if name.len() > GROUP_BYTES_MAX || name.contains(&SLASH) {
            return Err(format!("group {i} has no legal name"));
        }
        let ascends = groups
            .last()
            .is_none_or(|last| compare_groups(last.of(file), name) == Ordering::Less);
        if !ascends {
            return Err(format!("group {i} is out of order"));
        }
        groups.push(Span::within(file, name).ok_or("a group's name is outside the file")?);
    }
    Ok(groups)
}

fn parse_extents(
    file: &[u8],
    list: capnp::struct_list::Reader<'_, wire::extent::Owned>,
    sections_end: usize,
) -> Result<Vec<ExtentEntry>, String> {
    let mut extents: Vec<ExtentEntry> = Vec::with_capacity(list.len() as usize);
    for (i, extent) in list.iter().enumerate() {
        let key = Span::within(file, extent.get_key().map_err(malformed)?);
        let head = Span::within(file, extent.get_head().map_err(malformed)?);
        let bytes = extent.get_index_bytes();
        let index = place(extent.get_index_offset(), bytes.into(), sections_end)
            .filter(|_| bytes.is_multiple_of(WORD_BYTES as u32))
            .ok_or_else(|| format!("the index of extent {i} is not where an index can be"))?;
        let (Some(key), Some(head)) = (key, head) else {
            return Err(format!("extent {i} leaves the file"));
        };
        let ascends = extents
            .last()
            .is_none_or(|last| last.key.of(file) < key.of(file));
        if !ascends {
            return Err(format!("extent {i} is out of order"));
        }
        extents.push(ExtentEntry {
            key,
            head,
            index,
            index_checksum: extent.get_index_checksum(),
            rows: extent.get_rows(),
            table: OnceLock::new(),
        });
    }
    Ok(extents)
}

fn malformed(error: capnp::Error) -> String {
    format!("malformed message: {error}")
}
