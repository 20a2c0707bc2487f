//! [`OpenGroup`]: rows of one shape that wait for their page, and how their columns are packed.
//!
//! Rows are kept as the records' own bytes and one word a leaf. Packing chooses a form for each column by arithmetic.

use std::hash::Hash;

use carrack_segment::bits::{self, width_of};
use foldhash::{HashMap, HashSet};

use crate::dictionary::DictionaryBuilder;
use crate::leaf::uri::{self, PLC_BYTES, PlcUri, RkeyForm};
use crate::leaf::{Leaf, base32};
use crate::shape::Cut;

/// Column codes of a page; `schema/capnp/segment.capnp` says what they mean.
pub(crate) const CODE_FIXED: u8 = 65;
pub(crate) const CODE_ENTRY: u8 = 128;
pub(crate) const CODE_TEXT: u8 = 192;
/// Widest number of a text's end or an entry.
pub(crate) const PLACE_BITS_MAX: u32 = 32;

/// What a group takes in a page beside its columns: the struct, its list pointers' padding.
const GROUP_BYTES: usize = 48;
/// What a column takes beside its numbers.
const COLUMN_BYTES: usize = 9;
/// What a row takes in the index's and page's tables when it is kept as it is.
pub(crate) const VERBATIM_ROW_BYTES: usize = 3;
/// Words of a text with its length: where it is in the group's records.
const LENGTH_BITS: u32 = 32;

/// Rows of one shape.
#[derive(Debug)]
pub(crate) struct OpenGroup {
    /// What the rows' places are promised by.
    pub(crate) slot: u32,
    /// The shape's number, once a page was written with it.
    pub(crate) shape: Option<u32>,
    /// Of the leaves that have columns, a word of each row each: those that are the same as another have none.
    kinds: Box<[Leaf]>,
    rows: u32,
    records: Vec<u8>,
    ends: Vec<u32>,
    words: Vec<u64>,
    /// About what the columns will take.
    packed_bytes: usize,
}

/// Numbers, texts and digests of a group's columns, packed.
#[derive(Debug, Default)]
pub(crate) struct PackedColumns {
    pub(crate) bases: Vec<u64>,
    pub(crate) codes: Vec<u8>,
    pub(crate) packed: bits::Packer,
}

/// What the columns of a page share.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entry_starts: Vec<u32>,
    pub(crate) entries: Vec<u8>,
    /// Entries that stand for a whole column, which other groups' columns may repeat.
    single: HashMap<Box<[u8]>, u32>,
}

impl Heap {
    /// Returns about how many bytes it takes in a page.
    pub(crate) fn size(&self) -> usize {
        self.entry_starts
            .len()
            .saturating_mul(4)
            .saturating_add(self.bytes.len())
            .saturating_add(self.entries.len())
    }

    /// Adds an entry and returns its number.
    fn entry(&mut self, text: &[u8]) -> u64 {
        self.entry_starts.push(offset(self.entries.len()));
        self.entries.extend_from_slice(text);
        self.entry_starts.len().saturating_sub(1) as u64
    }

    /// Returns the entry of a text that is all of a column.
    fn single_entry(&mut self, text: &[u8]) -> u64 {
        if let Some(&number) = self.single.get(text) {
            return number.into();
        }
        let number = self.entry(text);
        self.single.insert(text.into(), offset(number as usize));
        number
    }

    fn mark(&self) -> [usize; 3] {
        [
            self.bytes.len(),
            self.entry_starts.len(),
            self.entries.len(),
        ]
    }

    fn back_to(&mut self, [bytes, starts, entries]: [usize; 3]) {
        self.bytes.truncate(bytes);
        self.entry_starts.truncate(starts);
        self.entries.truncate(entries);
        self.single.retain(|_, number| (*number as usize) < starts);
    }
}

/// A length inside a page, which is far below 4 GiB.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl OpenGroup {
    /// Starts a group with the shape of the record that was cut.
    pub(crate) fn new(slot: u32, shape: Option<u32>, cut: &Cut) -> Self {
        Self {
            slot,
            shape,
            kinds: cut
                .leaves()
                .iter()
                .map(|leaf| leaf.kind)
                .filter(|kind| !matches!(kind, Leaf::Same(_)))
                .collect(),
            rows: 0,
            records: Vec::new(),
            ends: Vec::new(),
            words: Vec::new(),
            packed_bytes: GROUP_BYTES,
        }
    }

    /// Adds a record of the group's shape and returns its ordinal.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8], cut: &Cut) -> u32 {
        let start = self.records.len() as u64;
        self.records.extend_from_slice(record);
        self.ends.push(offset(self.records.len()));
        for leaf in cut.leaves() {
            let (word, bytes) = match leaf.kind {
                Leaf::Same(_) => continue,
                Leaf::Int | Leaf::Time(_) => (leaf.word.cast_unsigned() ^ SIGN, 5),
                Leaf::Bool | Leaf::Tid => (leaf.word.cast_unsigned(), 5),
                kind => {
                    let place = start.wrapping_add(leaf.start.into()) << LENGTH_BITS
                        | u64::from(leaf.length);
                    (
                        place,
                        match kind {
                            Leaf::CidText(_) | Leaf::Link(_) => base32::DIGEST_BYTES,
                            Leaf::Plc => 3,
                            Leaf::Uri(RkeyForm::Tid) => 10,
                            _ => (leaf.length as usize).saturating_add(2),
                        },
                    )
                }
            };
            self.words.push(word);
            self.packed_bytes = self.packed_bytes.saturating_add(bytes);
        }
        let ordinal = self.rows;
        self.rows = self.rows.saturating_add(1);
        ordinal
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns about how many bytes the rows take in a page.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// Returns how much memory the rows take, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.records
            .len()
            .saturating_add(self.words.len().saturating_mul(8))
            .saturating_add(self.ends.len().saturating_mul(4))
    }

    /// Returns the rows' records.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let record = self.records.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            record
        })
    }

    /// Says by a first estimate whether columns may pay, for a template of so many bytes that the dictionary lacks.
    pub(crate) fn may_pay(&self, template_bytes: usize) -> bool {
        let new_shape = if self.shape.is_some() {
            0
        } else {
            template_bytes.saturating_add(12)
        };
        let columns = self
            .kinds
            .iter()
            .map(|kind| kind.columns_count())
            .sum::<usize>();
        let fixed = columns
            .saturating_mul(COLUMN_BYTES)
            .saturating_add(new_shape);
        fixed.saturating_add(self.packed_bytes) < self.verbatim_bytes()
    }

    fn verbatim_bytes(&self) -> usize {
        self.records
            .len()
            .saturating_add(self.ends.len().saturating_mul(VERBATIM_ROW_BYTES))
    }

    /// Packs the columns. None if they would take more than the records themselves; then `heap` is as it was.
    pub(crate) fn pack(
        &self,
        heap: &mut Heap,
        dictionary: &mut DictionaryBuilder,
    ) -> Option<PackedColumns> {
        let mark = heap.mark();
        let before = heap.size();
        let mut out = PackedColumns::default();
        let packed = self.pack_all(&mut out, heap, dictionary);
        let bytes = heap
            .size()
            .saturating_sub(before)
            .saturating_add((out.packed.bits() / 8) as usize)
            .saturating_add(out.codes.len().saturating_mul(COLUMN_BYTES))
            .saturating_add(GROUP_BYTES);
        if packed.is_none() || bytes >= self.verbatim_bytes() {
            heap.back_to(mark);
            return None;
        }
        Some(out)
    }

    fn pack_all(
        &self,
        out: &mut PackedColumns,
        heap: &mut Heap,
        dictionary: &mut DictionaryBuilder,
    ) -> Option<()> {
        let stride = self.kinds.len().max(1);
        for (number, kind) in self.kinds.iter().enumerate() {
            let words = || self.words.iter().skip(number).step_by(stride).copied();
            let texts = || words().map(|word| self.text(word));
            match kind {
                Leaf::Bool | Leaf::Int | Leaf::Tid | Leaf::Time(_) => out.words(words),
                Leaf::Text | Leaf::Bytes => out.texts(texts, heap),
                Leaf::Plc => out.plcs(
                    &texts().map(uri::plc).collect::<Option<Vec<_>>>()?,
                    heap,
                    dictionary,
                )?,
                Leaf::Uri(form) => out.uris(
                    &texts().map(PlcUri::parse).collect::<Option<Vec<_>>>()?,
                    *form,
                    heap,
                    dictionary,
                )?,
                Leaf::CidText(_) => out.digests(
                    &texts()
                        .map(base32::cid_digest)
                        .collect::<Option<Vec<_>>>()?,
                    heap,
                ),
                Leaf::Link(_) => {
                    let digests = texts().map(|cid| cid.last_chunk().copied());
                    out.digests(&digests.collect::<Option<Vec<_>>>()?, heap);
                }
                Leaf::Same(_) => {}
            }
        }
        Some(())
    }

    fn text(&self, place: u64) -> &[u8] {
        let start = (place >> LENGTH_BITS) as usize;
        let length = (place & u64::from(u32::MAX)) as usize;
        self.records
            .get(start..start.saturating_add(length))
            .unwrap_or_default()
    }
}

/// Flipped in signed words, so that they order as unsigned ones.
pub(crate) const SIGN: u64 = 1 << 63;

impl PackedColumns {
    fn column(&mut self, base: u64, code: u8) {
        self.bases.push(base);
        self.codes.push(code);
    }

    /// A column of numbers, above their least.
    fn words<I: Iterator<Item = u64>>(&mut self, words: impl Fn() -> I) {
        let (mut least, mut most) = (u64::MAX, 0);
        for word in words() {
            least = least.min(word);
            most = most.max(word);
        }
        let width = width_of(most.saturating_sub(least));
        self.column(least, width as u8);
        for word in words() {
            self.packed.push(word.wrapping_sub(least), width);
        }
    }

    /// A column of texts: as entries if enough of them repeat, else one after the other.
    fn texts<'t, I: Iterator<Item = &'t [u8]>>(&mut self, texts: impl Fn() -> I, heap: &mut Heap) {
        let (mut rows, mut bytes) = (0_usize, 0_usize);
        for text in texts() {
            rows = rows.saturating_add(1);
            bytes = bytes.saturating_add(text.len());
        }
        let end_bits = width_of(bytes as u64);
        let plain_bits = bytes
            .saturating_mul(8)
            .saturating_add(rows.saturating_mul(end_bits as usize));
        if let Some(distinct) = Distinct::of(texts(), |text| text.len(), plain_bits, rows) {
            return self.entries(texts(), &distinct, heap);
        }
        let base = heap.bytes.len() as u64;
        self.column(base, CODE_TEXT | end_bits as u8);
        for text in texts() {
            heap.bytes.extend_from_slice(text);
            self.packed
                .push((heap.bytes.len() as u64).wrapping_sub(base), end_bits);
        }
    }

    fn digests(&mut self, digests: &[[u8; base32::DIGEST_BYTES]], heap: &mut Heap) {
        let plain_bits = digests.as_flattened().len().saturating_mul(8);
        let texts = || digests.iter().map(|digest| &digest[..]);
        if let Some(distinct) = Distinct::of(texts(), |text| text.len(), plain_bits, digests.len())
        {
            return self.entries(texts(), &distinct, heap);
        }
        self.column(heap.bytes.len() as u64, CODE_FIXED);
        heap.bytes.extend_from_slice(digests.as_flattened());
    }

    fn entries<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t [u8]>,
        distinct: &Distinct<&'t [u8]>,
        heap: &mut Heap,
    ) {
        if let [text] = distinct.items[..] {
            let entry = heap.single_entry(text);
            return self.column(entry, CODE_ENTRY);
        }
        let width = width_of(distinct.items.len().saturating_sub(1) as u64);
        self.column(heap.entry_starts.len() as u64, CODE_ENTRY | width as u8);
        for text in &distinct.items {
            heap.entry(text);
        }
        for text in texts {
            let number = distinct.numbers.get(text).copied().unwrap_or_default();
            self.packed.push(number.into(), width);
        }
    }

    /// A column of accounts: as numbers of the dictionary if enough of them repeat there or here, else as they are.
    fn plcs(
        &mut self,
        plcs: &[[u8; PLC_BYTES]],
        heap: &mut Heap,
        dictionary: &mut DictionaryBuilder,
    ) -> Option<()> {
        let fresh = plcs
            .iter()
            .filter(|plc| dictionary.plc_number(plc).is_none());
        let fresh: HashSet<_> = fresh.collect();
        let total = crate::dictionary::PLCS_MAX
            .saturating_sub(dictionary.plcs_left())
            .saturating_add(fresh.len());
        let numbers_bits = plcs.len().saturating_mul(width_of(total as u64) as usize);
        let dictionary_bits = fresh
            .len()
            .saturating_mul(PLC_BYTES * 8)
            .saturating_add(numbers_bits);
        // New accounts are likely to come again, so the dictionary may cost a little more at first.
        let plain_bits = plcs.len().saturating_mul(PLC_BYTES * 8);
        if fresh.len() > dictionary.plcs_left()
            || dictionary_bits > plain_bits.saturating_add(numbers_bits)
        {
            self.column(heap.bytes.len() as u64, CODE_FIXED);
            heap.bytes.extend_from_slice(plcs.as_flattened());
            return Some(());
        }
        let numbers = plcs
            .iter()
            .map(|plc| dictionary.intern_plc(plc).map(u64::from));
        let numbers = numbers.collect::<Option<Vec<_>>>()?;
        self.words(|| numbers.iter().copied());
        Some(())
    }

    fn uris(
        &mut self,
        uris: &[PlcUri<'_>],
        form: RkeyForm,
        heap: &mut Heap,
        dictionary: &mut DictionaryBuilder,
    ) -> Option<()> {
        let plcs: Vec<_> = uris.iter().map(|uri| uri.plc).collect();
        self.plcs(&plcs, heap, dictionary)?;
        let mut names = Vec::with_capacity(uris.len());
        let mut last: Option<(&[u8], u64)> = None;
        for uri in uris {
            let number = match last {
                Some((name, number)) if name == uri.collection => number,
                _ => dictionary.intern_name(uri.collection)?.into(),
            };
            last = Some((uri.collection, number));
            names.push(number);
        }
        self.words(|| names.iter().copied());
        match form {
            RkeyForm::Tid => self.words(|| uris.iter().map(|uri| uri.tid)),
            RkeyForm::Text => self.texts(|| uris.iter().map(|uri| uri.rkey), heap),
        }
        Some(())
    }
}

/// The different values of a column, in the order they first come.
struct Distinct<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Copy + Eq + Hash> Distinct<T> {
    /// Returns the different values if they and their numbers take fewer than `plain_bits`.
    fn of(
        values: impl Iterator<Item = T>,
        length: impl Fn(&T) -> usize,
        plain_bits: usize,
        rows: usize,
    ) -> Option<Self> {
        const START_BITS: usize = 32;
        let mut distinct = Self {
            items: Vec::new(),
            numbers: HashMap::default(),
        };
        let mut items_bits = 0_usize;
        for value in values {
            let next = offset(distinct.items.len());
            let number = *distinct.numbers.entry(value).or_insert(next);
            if number == next {
                distinct.items.push(value);
                items_bits = items_bits
                    .saturating_add(length(&value).saturating_mul(8))
                    .saturating_add(START_BITS);
                if items_bits > plain_bits {
                    return None;
                }
            }
        }
        let width = width_of(distinct.items.len().saturating_sub(1) as u64) as usize;
        let bits = items_bits.saturating_add(rows.saturating_mul(width));
        (bits < plain_bits || distinct.items.len() == 1).then_some(distinct)
    }
}
