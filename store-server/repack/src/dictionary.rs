//! A segment's dictionary: what its pages name by number, so that every repo in it pays once: shapes, `did:plc`
//! accounts, and the collections of AT-URIs.

use std::ops::Range;
use std::sync::OnceLock;

use carrack_schema::wire::segment_capnp::dictionary;
use carrack_segment::message;

use foldhash::HashMap;

use crate::leaf::uri::PLC_BYTES;
use crate::shape::Shape;

/// Most shapes of a segment: more are a sign of records that have nothing in common.
pub const SHAPES_MAX: usize = 1 << 16;
/// Most accounts: 15 bytes in the file each, and about 50 in memory while a segment is written. Others are kept in
/// their pages.
pub const PLCS_MAX: usize = 1 << 20;
/// Most collections of AT-URIs.
pub const NAMES_MAX: usize = 1 << 16;

/// What pages name by number.
pub trait Vocabulary {
    /// Returns a shape.
    fn shape(&self, number: u32) -> Option<&Shape>;
    /// Returns the bytes of a `did:plc`.
    fn plc(&self, number: u64) -> Option<[u8; PLC_BYTES]>;
    /// Returns a collection.
    fn name(&self, number: u64) -> Option<&[u8]>;
}

/// A dictionary that grows while its segment is written.
#[derive(Debug, Default)]
pub(crate) struct DictionaryBuilder {
    shapes: Vec<Shape>,
    templates: Vec<Box<[u8]>>,
    shape_numbers: HashMap<Box<[u8]>, u32>,
    plcs: Vec<[u8; PLC_BYTES]>,
    plc_numbers: HashMap<[u8; PLC_BYTES], u32>,
    names: Vec<Box<[u8]>>,
    name_numbers: HashMap<Box<[u8]>, u32>,
}

impl DictionaryBuilder {
    /// Adds a template and returns its number; none if there is no room or it is no template.
    pub(crate) fn add_shape(&mut self, template: &[u8]) -> Option<u32> {
        if self.shapes.len() >= SHAPES_MAX {
            return None;
        }
        let number = u32::try_from(self.shapes.len()).ok()?;
        self.shapes.push(Shape::parse(template)?);
        self.templates.push(template.into());
        self.shape_numbers.insert(template.into(), number);
        Some(number)
    }

    /// Returns a template's number, if it was added.
    pub(crate) fn shape_number(&self, template: &[u8]) -> Option<u32> {
        self.shape_numbers.get(template).copied()
    }

    /// Returns an account's number, if it has one.
    #[inline]
    pub(crate) fn plc_number(&self, plc: &[u8; PLC_BYTES]) -> Option<u32> {
        self.plc_numbers.get(plc).copied()
    }

    /// Returns an account's number, giving it one if it has none; none if there is no room.
    pub(crate) fn intern_plc(&mut self, plc: &[u8; PLC_BYTES]) -> Option<u32> {
        if let Some(number) = self.plc_number(plc) {
            return Some(number);
        }
        if self.plcs.len() >= PLCS_MAX {
            return None;
        }
        let number = u32::try_from(self.plcs.len()).ok()?;
        self.plcs.push(*plc);
        self.plc_numbers.insert(*plc, number);
        Some(number)
    }

    /// Returns how many more accounts there is room for.
    pub(crate) fn plcs_left(&self) -> usize {
        PLCS_MAX.saturating_sub(self.plcs.len())
    }

    /// Returns a collection's number, giving it one if it has none; none if there is no room.
    pub(crate) fn intern_name(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(&number) = self.name_numbers.get(name) {
            return Some(number);
        }
        if self.names.len() >= NAMES_MAX {
            return None;
        }
        let number = u32::try_from(self.names.len()).ok()?;
        self.names.push(name.into());
        self.name_numbers.insert(name.into(), number);
        Some(number)
    }

    /// Returns the dictionary's message.
    ///
    /// # Errors
    /// The message layer's, for more than its limit.
    pub(crate) fn encode(&self) -> carrack_segment::Result<Vec<u8>> {
        let words = |bytes: usize| bytes.div_ceil(8).saturating_add(1);
        let lists = self
            .names
            .iter()
            .chain(&self.templates)
            .map(|item| words(item.len().saturating_add(1)));
        let words = lists.fold(
            words(self.plcs.as_flattened().len()).saturating_add(8),
            usize::saturating_add,
        );
        let mut message = message::builder(words as u64)?;
        let mut root = message.init_root::<dictionary::Builder<'_>>();
        root.set_plcs(self.plcs.as_flattened());
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut names = root.reborrow().init_names(count(self.names.len()));
        for (i, name) in (0..).zip(&self.names) {
            names.set(i, name);
        }
        let mut shapes = root.init_shapes(count(self.templates.len()));
        for (i, template) in (0..).zip(&self.templates) {
            shapes.set(i, template);
        }
        message::flatten(&message)
    }
}

impl Vocabulary for DictionaryBuilder {
    fn shape(&self, number: u32) -> Option<&Shape> {
        self.shapes.get(number as usize)
    }

    fn plc(&self, number: u64) -> Option<[u8; PLC_BYTES]> {
        self.plcs.get(usize::try_from(number).ok()?).copied()
    }

    fn name(&self, number: u64) -> Option<&[u8]> {
        self.names
            .get(usize::try_from(number).ok()?)
            .map(|name| &**name)
    }
}

/// Where a stored dictionary's parts are; shapes are read when they are first asked for.
#[derive(Debug, Default)]
pub struct Dictionary {
    plcs: Range<usize>,
    names: Box<[Range<usize>]>,
    shapes: Box<[StoredShape]>,
}

/// A template's place, and the shape once it was asked for; none if it is no template.
#[derive(Debug)]
struct StoredShape {
    template: Range<usize>,
    shape: OnceLock<Option<Box<Shape>>>,
}

/// A stored dictionary with its bytes.
#[derive(Clone, Copy, Debug)]
pub struct DictionaryRef<'a> {
    table: &'a Dictionary,
    bytes: &'a [u8],
}

impl Dictionary {
    /// Reads a dictionary's message, which starts at a multiple of 8 in memory. What is in a template is judged later.
    ///
    /// # Errors
    /// If the message does not parse or passes a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, capnp::Error> {
        let reader = message::flat(bytes);
        let root = reader.get_root::<dictionary::Reader<'_>>()?;
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr());
            start.map_or(0..0, |start| start..start.saturating_add(part.len()))
        };
        let (names, shapes) = (root.get_names()?, root.get_shapes()?);
        if names.len() as usize > NAMES_MAX || shapes.len() as usize > SHAPES_MAX {
            return Err(capnp::Error::failed(
                "the dictionary holds more than it may".into(),
            ));
        }
        Ok(Self {
            plcs: place(root.get_plcs()?),
            names: names
                .iter()
                .map(|name| name.map(place))
                .collect::<Result<_, _>>()?,
            shapes: shapes
                .iter()
                .map(|shape| {
                    shape.map(|template| StoredShape {
                        template: place(template),
                        shape: OnceLock::new(),
                    })
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Returns the dictionary over the bytes it was read from.
    pub fn over<'a>(&'a self, bytes: &'a [u8]) -> DictionaryRef<'a> {
        DictionaryRef { table: self, bytes }
    }

    /// Returns how many shapes, accounts and collections there are.
    pub fn counts(&self) -> [usize; 3] {
        [
            self.shapes.len(),
            self.plcs.len() / PLC_BYTES,
            self.names.len(),
        ]
    }
}

impl Vocabulary for DictionaryRef<'_> {
    fn shape(&self, number: u32) -> Option<&Shape> {
        let stored = self.table.shapes.get(number as usize)?;
        let read = || {
            let template = self.bytes.get(stored.template.clone())?;
            Shape::parse(template).map(Box::new)
        };
        stored.shape.get_or_init(read).as_deref()
    }

    #[inline]
    fn plc(&self, number: u64) -> Option<[u8; PLC_BYTES]> {
        let plcs = self.bytes.get(self.table.plcs.clone())?;
        let start = usize::try_from(number).ok()?.checked_mul(PLC_BYTES)?;
        plcs.get(start..)?.first_chunk().copied()
    }

    fn name(&self, number: u64) -> Option<&[u8]> {
        let place = self.table.names.get(usize::try_from(number).ok()?)?;
        self.bytes.get(place.clone())
    }
}

#[cfg(test)]
mod tests {
    use capnp::Word;

    use super::*;

    #[test]
    fn a_dictionary_round_trips_and_a_cut_one_is_an_error() {
        let mut builder = DictionaryBuilder::default();
        // A list of one leaf: its head, then a boolean.
        let template = [0, 0x81, 0x80];
        assert_eq!(builder.add_shape(&template), Some(0));
        assert_eq!(
            builder.add_shape(&[0, 0x81]),
            None,
            "a list that does not end"
        );
        assert_eq!(builder.intern_plc(&[7; 15]), Some(0));
        assert_eq!(builder.intern_plc(&[8; 15]), Some(1));
        assert_eq!(builder.intern_plc(&[7; 15]), Some(0));
        assert_eq!(builder.intern_name(b"a.b"), Some(0));
        assert_eq!(builder.intern_name(b""), Some(1));
        assert_eq!(builder.intern_name(b"a.b"), Some(0));
        let words = message::words(&builder.encode().unwrap());
        let bytes = Word::words_to_bytes(&words);
        let table = Dictionary::parse(bytes).unwrap();
        assert_eq!(table.counts(), [1, 2, 2]);
        let stored = table.over(bytes);
        assert_eq!(stored.shape(0).unwrap().parts().len(), 2);
        assert!(stored.shape(1).is_none());
        assert_eq!((stored.plc(1), stored.plc(2)), (Some([8; 15]), None));
        assert_eq!(
            (stored.name(0), stored.name(1), stored.name(2)),
            (Some(&b"a.b"[..]), Some(&b""[..]), None)
        );
        for length in (0..bytes.len()).step_by(8) {
            if let Ok(cut) = Dictionary::parse(&bytes[..length]) {
                let cut = cut.over(&bytes[..length]);
                assert!(cut.plc(1).is_none() || cut.shape(0).is_none());
            }
        }
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_not_beyond() {
        let mut builder = DictionaryBuilder::default();
        for i in 0..PLCS_MAX {
            let mut plc = [0; PLC_BYTES];
            plc[..8].copy_from_slice(&(i as u64).to_le_bytes());
            assert_eq!(builder.intern_plc(&plc), Some(i as u32));
        }
        assert_eq!(builder.plcs_left(), 0);
        assert_eq!(builder.intern_plc(&[9; PLC_BYTES]), None);
        assert_eq!(
            builder.intern_plc(&[0; PLC_BYTES]),
            Some(0),
            "one that is there"
        );
        for i in 0..NAMES_MAX {
            assert_eq!(
                builder.intern_name(&(i as u32).to_le_bytes()),
                Some(i as u32)
            );
        }
        assert_eq!(builder.intern_name(b"another"), None);
        // A map of one key, three characters, to a boolean.
        let add = |builder: &mut DictionaryBuilder, i: usize| {
            let digit = |n: usize| b'0' + (n % 64) as u8;
            let key = [digit(i / 4_096), digit(i / 64), digit(i)];
            builder.add_shape(&[&[4, 0xa1, 0x63][..], &key, &[0x80]].concat())
        };
        for i in 0..SHAPES_MAX {
            assert_eq!(add(&mut builder, i), Some(i as u32));
        }
        assert_eq!(add(&mut builder, SHAPES_MAX), None);
        let words = message::words(&builder.encode().unwrap());
        let table = Dictionary::parse(Word::words_to_bytes(&words)).unwrap();
        assert_eq!(table.counts(), [SHAPES_MAX, PLCS_MAX, NAMES_MAX]);
        builder.names.push(b"one more than may be".to_vec().into());
        let words = message::words(&builder.encode().unwrap());
        assert!(Dictionary::parse(Word::words_to_bytes(&words)).is_err());
        builder.names.pop();
        builder.templates.push(Box::default());
        let words = message::words(&builder.encode().unwrap());
        assert!(Dictionary::parse(Word::words_to_bytes(&words)).is_err());
    }
}
