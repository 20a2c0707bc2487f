//! `carrack inspect`: what is in a segment file, read by its path, without a store.
//!
//! The file may be anybody's: what is not a segment is refused, what is damaged is reported beside the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use carrack_repack::head::{rev_text, split_extent_key};
use carrack_repack::{Dictionary, RepoHead, Vocabulary};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use carrack_schema::wire::segment_capnp::page as page_capnp;
use carrack_segment::format::{HEADER_BYTES, MAGIC, TRAILER_BYTES, VERSION};
use carrack_segment::{Directory, ErrorKind, Fs, PageCache, Segment, message};
use clap::Args;
use serde_json::{Value, json};

use super::import::unreadable;
use super::output::Output;
use super::{Failure, Result};

/// Bytes of decompressed pages that are kept: each page is read once.
const CACHE_BYTES: usize = 1 << 20;
/// Numbers of shapes in a page that stand for rows without a shape; the others are above.
const SHAPELESS: [&str; 3] = ["as they are", "missing", "gone"];

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack inspect ~/.local/share/carrack/segments/01J….cseg
  carrack inspect FILE --pages --shapes
  carrack inspect FILE --json | jq .records

Exit codes: 0 ok, 3 not a segment file that this version reads, 4 damaged, 5 no such file.")]
pub(super) struct Arguments {
    /// A segment file (.cseg)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List the pages
    #[arg(long)]
    pages: bool,
    /// List the shapes: paths and kinds of what records have
    #[arg(long)]
    shapes: bool,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit> {
    let file = &arguments.file;
    let segment = open(file).map_err(|failure| failure.about(file.display()))?;
    let inspected = Inspected::of(&segment);
    if output.is_json() {
        output.object(&inspected.object(file, arguments))?;
    } else {
        for line in inspected.lines(arguments) {
            output.line(&line)?;
        }
    }
    for words in &inspected.damage {
        let words = words.clone();
        output.failure(&Failure::new(Code::Damaged, words));
    }
    Ok(if inspected.damage.is_empty() {
        Exit::Ok
    } else {
        Exit::Damaged
    })
}

fn open(path: &Path) -> Result<Segment> {
    let path = path.canonicalize().map_err(|error| unreadable(&error))?;
    let odd = || Failure::new(Code::InvalidArgument, "does not name a file");
    let folder = path.parent().ok_or_else(odd)?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(odd)?;
    let directory = Fs::open(folder).map_err(|error| unreadable(&error))?;
    let map = directory.map(name).map_err(|error| unreadable(&error))?;
    if !map.starts_with(&MAGIC) {
        return Err(Failure::new(Code::BadStructure, "is not a segment file"));
    }
    Segment::from_map(name, map, &PageCache::new(CACHE_BYTES)).map_err(|error| {
        let code = match error.kind() {
            ErrorKind::Unsupported => Code::BadStructure,
            _ => Code::Damaged,
        };
        Failure::new(code, error.to_string())
    })
}

/// What was found in a file.
#[derive(Default)]
struct Inspected {
    id: String,
    bytes: u64,
    writer_epoch: u64,
    rows: u64,
    extents: Vec<ExtentLine>,
    pages: Vec<PageLine>,
    /// Shapes, accounts and collections in the dictionary.
    dictionary: [usize; 3],
    /// How the dictionary is stored: its bytes, those of its message, and whether it is compressed.
    dictionary_stored: (u64, u64, bool),
    shapes: Vec<Vec<(String, String)>>,
    /// Rows of each number of a shape in pages.
    shape_rows: BTreeMap<u32, u64>,
    index_bytes: u64,
    head_bytes: u64,
    footer_bytes: u64,
    parts: Parts,
    damage: Vec<String>,
}

/// Bytes of the messages of record pages, by what they are for.
#[derive(Default)]
struct Parts {
    heaps: u64,
    entries: u64,
    columns: u64,
    frames: u64,
}

struct ExtentLine {
    did: String,
    rev: String,
    rows: u32,
    is_diff: bool,
    records: u64,
    index_bytes: u64,
}

#[derive(Default)]
struct PageLine {
    rows: u32,
    bytes: u64,
    plain_bytes: u64,
    is_compressed: bool,
    is_nodes: bool,
    /// Number of the shape and rows.
    groups: Vec<(u32, u32)>,
}

impl Inspected {
    fn of(segment: &Segment) -> Self {
        let mut this = Self {
            id: ulid::Ulid::from_bytes(segment.id()).to_string(),
            bytes: segment.bytes(),
            writer_epoch: segment.writer_epoch(),
            footer_bytes: segment.footer_bytes(),
            ..Self::default()
        };
        for fault in segment.check() {
            this.damage.push(fault.error.to_string());
        }
        let node_pages = this.read_extents(segment);
        this.read_dictionary(segment);
        for number in 0..segment.page_count() {
            this.read_page(segment, number, node_pages.contains(&number));
        }
        this
    }

    /// Reads the extents and returns the pages that hold digests of nodes.
    fn read_extents(&mut self, segment: &Segment) -> BTreeSet<u32> {
        let mut node_pages = BTreeSet::new();
        for extent in segment.extents() {
            let (did, rev) = split_extent_key(extent.key()).unwrap_or(("?", None));
            self.rows += u64::from(extent.rows());
            self.index_bytes += extent.index_bytes();
            self.head_bytes += extent.head().len() as u64;
            let head = RepoHead::decode(extent.head());
            if let Ok(head) = &head {
                let first = head.first_node_page;
                // No more than there are: the head may be hostile.
                let end = first
                    .saturating_add(head.node_pages)
                    .min(segment.page_count());
                node_pages.extend(first..end);
            } else {
                let words = format!("the head of {did} at rev {} does not parse", rev_text(rev));
                self.damage.push(words);
            }
            self.extents.push(ExtentLine {
                did: did.to_owned(),
                rev: rev_text(rev),
                rows: extent.rows(),
                is_diff: head.as_ref().is_ok_and(|head| head.is_diff),
                records: head.map_or(0, |head| head.records),
                index_bytes: extent.index_bytes(),
            });
        }
        node_pages
    }

    fn read_dictionary(&mut self, segment: &Segment) {
        if let Some(stored) = segment.dictionary_stored() {
            self.dictionary_stored = (stored.bytes, stored.plain_bytes, stored.is_compressed);
        }
        // One whose checksum is wrong was told of.
        let Ok(Some(bytes)) = segment.dictionary() else {
            return;
        };
        let table = match Dictionary::parse(bytes) {
            Ok(table) => table,
            Err(error) => return self.damage.push(format!("dictionary: {error}")),
        };
        self.dictionary = table.counts();
        let [shapes, ..] = self.dictionary;
        let words = table.over(bytes);
        for number in (0..).take(shapes) {
            let shape = words.shape(number);
            if shape.is_none() {
                self.damage
                    .push(format!("dictionary: shape {number} is none"));
            }
            let described = shape.map(carrack_repack::shape::Shape::describe);
            self.shapes.push(described.unwrap_or_default());
        }
    }

    fn read_page(&mut self, segment: &Segment, number: u32, is_nodes: bool) {
        let mut line = PageLine {
            rows: segment.page_rows(number).unwrap_or(0),
            is_nodes,
            ..PageLine::default()
        };
        if let Some(stored) = segment.page_stored(number) {
            line.bytes = stored.bytes;
            line.plain_bytes = stored.plain_bytes;
            line.is_compressed = stored.is_compressed;
        }
        // One whose checksum is wrong was told of.
        if let (false, Ok(page)) = (is_nodes, segment.page(number))
            && let Err(error) = self.read_groups(&page, &mut line)
        {
            self.damage.push(format!("page {number}: {error}"));
        }
        self.pages.push(line);
    }

    fn read_groups(&mut self, bytes: &[u8], line: &mut PageLine) -> capnp::Result<()> {
        let reader = message::flat(bytes);
        let root = reader.get_root::<page_capnp::Reader<'_>>()?;
        let mut columns = 0;
        for group in root.get_groups()? {
            let (shape, rows) = (group.get_shape(), group.get_rows());
            columns += group.get_packed()?.len() as u64
                + group.get_codes()?.len() as u64
                + u64::from(group.get_bases()?.len()) * 8;
            *self.shape_rows.entry(shape).or_default() += u64::from(rows);
            line.groups.push((shape, rows.into()));
        }
        let heap = root.get_heap()?.len() as u64;
        let entries = root.get_entries()?.len() as u64;
        let entries = entries + u64::from(root.get_entry_starts()?.len()) * 4;
        self.parts.heaps += heap;
        self.parts.entries += entries;
        self.parts.columns += columns;
        // Overlapping parts of a hostile page may be longer than the page.
        self.parts.frames += (bytes.len() as u64).saturating_sub(heap + entries + columns);
        Ok(())
    }

    fn pages_bytes(&self, is_nodes: bool) -> (usize, u64, u64) {
        let pages = self.pages.iter().filter(|page| page.is_nodes == is_nodes);
        pages.fold((0, 0, 0), |(count, bytes, plain), page| {
            (count + 1, bytes + page.bytes, plain + page.plain_bytes)
        })
    }

    fn compressed_pages(&self) -> usize {
        self.pages.iter().filter(|page| page.is_compressed).count()
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn bytes_a_row(&self) -> Option<f64> {
        let ratio = self.bytes as f64 / self.rows as f64;
        (self.rows > 0).then_some((ratio * 10.0).round() / 10.0)
    }

    /// Returns the rows of a shape of the dictionary.
    fn rows_of(&self, shape: usize) -> u64 {
        let number = u32::try_from(shape + SHAPELESS.len());
        let rows = number.ok().and_then(|number| self.shape_rows.get(&number));
        rows.copied().unwrap_or(0)
    }

    fn object(&self, file: &Path, arguments: &Arguments) -> Value {
        let [shapes, accounts, collections] = self.dictionary;
        let (record_pages, record_bytes, record_plain) = self.pages_bytes(false);
        let (node_pages, node_bytes, node_plain) = self.pages_bytes(true);
        let (dictionary_bytes, dictionary_plain, is_compressed) = self.dictionary_stored;
        let extents = self.extents.iter().map(|extent| {
            json!({
                "did": extent.did,
                "rev": extent.rev,
                "rows": extent.rows,
                "records": extent.records,
                "isDiff": extent.is_diff,
                "indexBytes": extent.index_bytes,
            })
        });
        let without = |number: u32| self.shape_rows.get(&number).copied().unwrap_or(0);
        let mut object = json!({
            "file": file.display().to_string(),
            "id": self.id,
            "version": VERSION,
            "writerEpoch": self.writer_epoch,
            "bytes": self.bytes,
            "rows": self.rows,
            "bytesPerRow": self.bytes_a_row(),
            "sections": {
                "header": HEADER_BYTES,
                "recordPages": { "count": record_pages, "bytes": record_bytes, "plainBytes": record_plain },
                "nodePages": { "count": node_pages, "bytes": node_bytes, "plainBytes": node_plain },
                "compressedPages": self.compressed_pages(),
                "dictionary": { "bytes": dictionary_bytes, "plainBytes": dictionary_plain, "compressed": is_compressed },
                "indexes": { "count": self.extents.len(), "bytes": self.index_bytes },
                "footer": { "bytes": self.footer_bytes, "headsBytes": self.head_bytes },
                "trailer": TRAILER_BYTES,
            },
            "recordPageBytes": {
                "heaps": self.parts.heaps,
                "entries": self.parts.entries,
                "columns": self.parts.columns,
                "frames": self.parts.frames,
            },
            "dictionary": { "shapes": shapes, "accounts": accounts, "collections": collections },
            "rowsAsTheyAre": without(0),
            "rowsMissing": without(1),
            "rowsGone": without(2),
            "extents": extents.collect::<Vec<_>>(),
            "damage": self.damage,
        });
        if arguments.pages {
            object["pages"] = self.pages.iter().map(PageLine::object).collect();
        }
        if arguments.shapes {
            let shapes = self.shapes.iter().enumerate().map(|(number, paths)| {
                let paths = paths.iter().map(|(path, kind)| json!([path, kind]));
                json!({
                    "shape": number,
                    "rows": self.rows_of(number),
                    "paths": paths.collect::<Vec<_>>(),
                })
            });
            object["shapes"] = shapes.collect();
        }
        object
    }

    fn lines(&self, arguments: &Arguments) -> Vec<String> {
        let mut lines = self.summary();
        lines.extend(self.extents.iter().map(|extent| {
            let form = if extent.is_diff { "diff" } else { "full" };
            format!(
                "extent   {} rev {} {form}: {} rows of {} records, index {} bytes",
                extent.did, extent.rev, extent.rows, extent.records, extent.index_bytes
            )
        }));
        if arguments.pages {
            let pages = self.pages.iter().enumerate();
            lines.extend(pages.map(|(number, page)| format!("page {number}   {}", page.line())));
        }
        if arguments.shapes {
            for (number, paths) in self.shapes.iter().enumerate() {
                lines.push(format!("shape {number}   {} rows", self.rows_of(number)));
                // A path comes out of records, and may be meant to move a terminal's cursor.
                lines.extend(paths.iter().map(|(path, kind)| {
                    format!("  {}  {}", path.escape_debug(), kind.escape_debug())
                }));
            }
        }
        lines
    }

    fn summary(&self) -> Vec<String> {
        let [shapes, accounts, collections] = self.dictionary;
        let (record_pages, record_bytes, record_plain) = self.pages_bytes(false);
        let (node_pages, node_bytes, _) = self.pages_bytes(true);
        let (dictionary_bytes, dictionary_plain, _) = self.dictionary_stored;
        let row = self
            .bytes_a_row()
            .map_or_else(String::new, |bytes| format!(", {bytes} a row"));
        let Parts {
            heaps,
            entries,
            columns,
            frames,
        } = self.parts;
        let rows = (0..).zip(SHAPELESS).filter_map(|(number, words)| {
            let rows = self.shape_rows.get(&number)?;
            Some(format!(", {rows} {words}"))
        });
        vec![
            format!(
                "segment  {} format {VERSION}, writer epoch {}: {} bytes{row}",
                self.id, self.writer_epoch, self.bytes
            ),
            format!(
                "rows     {} in {} extents{}",
                self.rows,
                self.extents.len(),
                rows.collect::<String>()
            ),
            format!(
                "sections header {HEADER_BYTES}, record pages {record_bytes} ({record_pages}), node pages {node_bytes} \
                 ({node_pages}), dictionary {dictionary_bytes}, indexes {}, footer {} (heads {}), trailer {TRAILER_BYTES}",
                self.index_bytes, self.footer_bytes, self.head_bytes
            ),
            format!(
                "plain    record pages {record_plain}: heaps {heaps}, entries {entries}, columns {columns}, frames \
                 {frames}; dictionary {dictionary_plain}; {} of {} pages are compressed",
                self.compressed_pages(),
                self.pages.len()
            ),
            format!(
                "words    {shapes} shapes, {accounts} accounts, {collections} collections in the dictionary"
            ),
        ]
    }
}

impl PageLine {
    fn object(&self) -> Value {
        let groups = self.groups.iter().map(|&(shape, rows)| {
            let shapeless = SHAPELESS.get(shape as usize);
            json!({
                "shape": shape.checked_sub(3),
                "form": shapeless.copied().unwrap_or("columns"),
                "rows": rows,
            })
        });
        json!({
            "rows": self.rows,
            "bytes": self.bytes,
            "plainBytes": self.plain_bytes,
            "compressed": self.is_compressed,
            "nodes": self.is_nodes,
            "groups": groups.collect::<Vec<_>>(),
        })
    }

    fn line(&self) -> String {
        if self.is_nodes {
            return format!("{} bytes of node digests", self.bytes);
        }
        let groups = self.groups.iter().map(|&(shape, rows)| {
            match (SHAPELESS.get(shape as usize), shape.checked_sub(3)) {
                (Some(words), _) => format!("{rows} {words}"),
                (None, Some(shape)) => format!("{rows} of shape {shape}"),
                (None, None) => String::new(),
            }
        });
        let groups = groups.collect::<Vec<_>>().join(", ");
        let plain = match self.is_compressed {
            true => format!(" ({} plain)", self.plain_bytes),
            false => String::new(),
        };
        format!("{} rows, {} bytes{plain}: {groups}", self.rows, self.bytes)
    }
}
