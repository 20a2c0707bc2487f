//! [`Reader`]: strict DAG-CBOR as AT Protocol has it (DRISL, rules DR1 and DR2), token by token.
//!
//! It must never build a tree, allocate, or accept a second way to write the same value. The commit and MST
//! parsers read through it; the importer judges records by [`validate`].

use carrack_schema::limits::{
    CBOR_CID_BYTES_MAX, CBOR_CONTAINER_MAX, CBOR_DEPTH_MAX, CBOR_KEY_BYTES_MAX,
};

use crate::error::{Error, ErrorKind};

pub mod write;

#[cfg(test)]
mod tests;

/// One piece of a DAG-CBOR value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Null.
    Null,
    /// False or true.
    Bool(bool),
    /// An integer of 64 signed bits.
    Int(i64),
    /// Text that is a value; a map's key is a [`Token::Key`].
    Text(&'a str),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A link: the binary CID, of any form, without the 0x00 in front.
    Link(&'a [u8]),
    /// A list begins; this many values follow.
    List(u64),
    /// A map begins; this many keys follow, each with its value.
    Map(u64),
    /// A map's key; its value follows.
    Key(&'a str),
}

impl Token<'_> {
    /// Returns what it is, for a message.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "a byte string",
            Self::Link(_) => "a link",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Key(_) => "a map key",
        }
    }
}

/// Which rule of DAG-CBOR is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborFault {
    /// The bytes end before the value does.
    #[error("bytes end inside the value")]
    Truncated,
    /// The value ends before the bytes do.
    #[error("bytes follow the value")]
    Trailing,
    /// A string, list or map whose length is not given, or the break that ends one.
    #[error("indefinite length")]
    Indefinite,
    /// A head that CBOR reserves.
    #[error("reserved head")]
    Reserved,
    /// An integer, length or tag written in more bytes than it needs.
    #[error("integer or length not in its shortest form")]
    NotShortest,
    /// An integer beyond 64 signed bits.
    #[error("integer beyond 64 signed bits")]
    IntRange,
    /// A floating-point number.
    #[error("floating-point number")]
    Float,
    /// A simple value other than false, true and null.
    #[error("simple value other than false, true and null")]
    Simple,
    /// A text or key that is not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
    /// A tag other than 42.
    #[error("tag other than 42")]
    Tag,
    /// Tag 42 over something other than a byte string that begins with 0x00 and goes on.
    #[error("link that is not a byte string of 0x00 and a CID")]
    Link,
    /// A link's CID passes its limit.
    #[error("CID longer than {CBOR_CID_BYTES_MAX} bytes")]
    LinkLength,
    /// A map key that is not text.
    #[error("map key that is not text")]
    KeyType,
    /// An empty map key.
    #[error("empty map key")]
    KeyEmpty,
    /// A map key passes its limit.
    #[error("map key longer than {CBOR_KEY_BYTES_MAX} bytes")]
    KeyLength,
    /// A map key that sorts before the one in front of it, by length and then bytes.
    #[error("map key out of order")]
    KeyOrder,
    /// A map key that was there already.
    #[error("map key twice")]
    KeyTwice,
    /// Lists and maps pass the limit of nesting.
    #[error("nesting deeper than {CBOR_DEPTH_MAX}")]
    Depth,
    /// A list or map passes the limit of entries.
    #[error("list or map of more than {CBOR_CONTAINER_MAX} entries")]
    Container,
}

impl CborFault {
    /// Whether the fault is a limit passed rather than a form broken.
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::LinkLength | Self::KeyLength | Self::Depth | Self::Container
        )
    }
}

/// Why bytes are not one DAG-CBOR value, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset} of the block")]
pub struct CborError {
    /// The rule.
    pub fault: CborFault,
    /// Where the offending item begins.
    pub offset: usize,
}

impl From<CborError> for Error {
    fn from(error: CborError) -> Self {
        let kind = if error.fault.is_limit() {
            ErrorKind::LimitExceeded
        } else {
            ErrorKind::BadStructure
        };
        Self::new(kind, error.to_string())
    }
}

/// Checks that `bytes` are exactly one value that keeps rules DR1 and DR2.
///
/// # Errors
/// The first rule broken, in the order of the bytes.
pub fn validate(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    while reader.next_token()?.is_some() {}
    Ok(())
}

/// Reads one DAG-CBOR value, token by token.
///
/// What it has returned kept every rule; what it has not returned yet is unjudged, so a caller goes on to the
/// `None` of [`next_token`](Self::next_token) or calls [`finish`](Self::finish). After an error it is of no use.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The innermost list or map; outside of all, the value itself is like the one entry of a list.
    top: Open,
    /// How many are open, and those around the innermost.
    depth: usize,
    around: [Open; CBOR_DEPTH_MAX],
}

/// A list or map that has not ended. Small, because a reader is made for every record.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Values that have not begun.
    left: u32,
    is_map: bool,
    key_next: bool,
    /// Where the latest key is; keys are not empty, so empty is none.
    key_length: u16,
    key_start: usize,
}

const _: () = assert!(CBOR_CONTAINER_MAX <= u32::MAX as u64);
const _: () = assert!(CBOR_KEY_BYTES_MAX <= u16::MAX as u64);

impl Open {
    const fn new(left: u32, is_map: bool) -> Self {
        Self {
            left,
            is_map,
            key_next: is_map,
            key_length: 0,
            key_start: 0,
        }
    }
}

/// The least a map entry takes: a key's head, one byte of key, a value.
const MAP_ENTRY_BYTES_MIN: u64 = 3;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

const TAG_LINK: u64 = 42;

impl<'a> Reader<'a> {
    /// Makes a reader of the value that `bytes` are.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            top: Open::new(1, false),
            depth: 0,
            around: [Open::new(0, false); CBOR_DEPTH_MAX],
        }
    }

    /// Returns how many bytes have been read: where the next token begins.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Returns how many lists and maps are open: 0 before the value and after it.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Reads the next token; `None` when the value is over and no byte follows it.
    ///
    /// # Errors
    /// The first rule broken.
    #[inline]
    pub fn next_token(&mut self) -> Result<Option<Token<'a>>, CborError> {
        if self.is_over() {
            if self.position < self.bytes.len() {
                return Err(fault(CborFault::Trailing, self.position));
            }
            return Ok(None);
        }
        self.token().map(Some)
    }

    /// Reads the next token of a value that is not over.
    ///
    /// # Errors
    /// The first rule broken; that the bytes end, when the value is over.
    #[inline]
    pub fn token(&mut self) -> Result<Token<'a>, CborError> {
        if self.top.key_next {
            return self.key();
        }
        if self.is_over() {
            return Err(fault(CborFault::Truncated, self.position));
        }
        let token = self.value()?;
        self.top.left = self.top.left.saturating_sub(1);
        self.top.key_next = self.top.is_map;
        match token {
            Token::List(left @ 1..) => self.enter(left, false),
            Token::Map(left @ 1..) => self.enter(left, true),
            _ => self.leave(),
        }
        Ok(token)
    }

    /// Reads on to the end of the next value; if a key comes next, over it and its value.
    ///
    /// # Errors
    /// The first rule broken on the way: what is skipped is judged like what is read.
    pub fn skip(&mut self) -> Result<(), CborError> {
        let depth = self.depth;
        if let Token::Key(_) = self.token()? {
            self.token()?;
        }
        while self.depth > depth {
            self.token()?;
        }
        Ok(())
    }

    /// Reads what is left and checks that no byte follows the value.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn finish(mut self) -> Result<(), CborError> {
        while self.next_token()?.is_some() {}
        Ok(())
    }

    /// Whether the value has ended.
    #[inline]
    fn is_over(&self) -> bool {
        // What is open inside is left when its last entry has been read.
        self.top.left == 0 && self.depth == 0
    }

    fn enter(&mut self, left: u64, is_map: bool) {
        // `container` has seen that there is room, and that the length is below its limit.
        if let Some(around) = self.around.get_mut(self.depth) {
            *around = self.top;
            self.depth = self.depth.saturating_add(1);
            self.top = Open::new(u32::try_from(left).unwrap_or(u32::MAX), is_map);
        }
    }

    #[inline]
    fn leave(&mut self) {
        while self.top.left == 0
            && let Some(depth) = self.depth.checked_sub(1)
            && let Some(around) = self.around.get(depth)
        {
            self.top = *around;
            self.depth = depth;
        }
    }

    #[inline]
    fn key(&mut self) -> Result<Token<'a>, CborError> {
        let start = self.position;
        let key = match self.head()? {
            (TEXT, 0) => return Err(fault(CborFault::KeyEmpty, start)),
            (TEXT, length) if length > CBOR_KEY_BYTES_MAX => {
                return Err(fault(CborFault::KeyLength, start));
            }
            (TEXT, length) => self.take(length, start)?,
            _ => return Err(fault(CborFault::KeyType, start)),
        };
        let text = std::str::from_utf8(key).map_err(|_| fault(CborFault::Utf8, start))?;
        let start_of_key = self.position.saturating_sub(key.len());
        let last_end = self
            .top
            .key_start
            .saturating_add(self.top.key_length.into());
        let last = self
            .bytes
            .get(self.top.key_start..last_end)
            .unwrap_or_default();
        match (last.len(), last).cmp(&(key.len(), key)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(fault(CborFault::KeyTwice, start)),
            std::cmp::Ordering::Greater => return Err(fault(CborFault::KeyOrder, start)),
        }
        self.top.key_start = start_of_key;
        self.top.key_length = u16::try_from(key.len()).unwrap_or(u16::MAX);
        self.top.key_next = false;
        Ok(Token::Key(text))
    }

    #[inline]
    fn value(&mut self) -> Result<Token<'a>, CborError> {
        let start = self.position;
        let int = |n: u64| i64::try_from(n).map_err(|_| fault(CborFault::IntRange, start));
        match self.head()? {
            (UNSIGNED, n) => Ok(Token::Int(int(n)?)),
            // CBOR writes -1 - n, which is the complement of n.
            (NEGATIVE, n) => Ok(Token::Int(!int(n)?)),
            (BYTES, length) => Ok(Token::Bytes(self.take(length, start)?)),
            (TEXT, length) => {
                let text = std::str::from_utf8(self.take(length, start)?);
                Ok(Token::Text(
                    text.map_err(|_| fault(CborFault::Utf8, start))?,
                ))
            }
            (LIST, length) => Ok(Token::List(self.container(length, 1, start)?)),
            (MAP, length) => Ok(Token::Map(self.container(
                length,
                MAP_ENTRY_BYTES_MIN,
                start,
            )?)),
            (TAG, TAG_LINK) => self.link(start),
            (TAG, _) => Err(fault(CborFault::Tag, start)),
            (_, simple) => match simple {
                20 => Ok(Token::Bool(false)),
                21 => Ok(Token::Bool(true)),
                22 => Ok(Token::Null),
                _ => Err(fault(CborFault::Simple, start)),
            },
        }
    }

    /// Checks a container's length against the limits and against the bytes that are left to hold it.
    fn container(&self, length: u64, bytes_min: u64, start: usize) -> Result<u64, CborError> {
        if length > CBOR_CONTAINER_MAX {
            return Err(fault(CborFault::Container, start));
        }
        if self.depth >= CBOR_DEPTH_MAX {
            return Err(fault(CborFault::Depth, start));
        }
        let left = self.bytes.len().saturating_sub(self.position) as u64;
        if length.saturating_mul(bytes_min) > left {
            return Err(fault(CborFault::Truncated, start));
        }
        Ok(length)
    }

    fn link(&mut self, start: usize) -> Result<Token<'a>, CborError> {
        let (BYTES, length) = self.head()? else {
            return Err(fault(CborFault::Link, start));
        };
        // One byte more than the CID, for the prefix.
        if length > CBOR_CID_BYTES_MAX.saturating_add(1) {
            return Err(fault(CborFault::LinkLength, start));
        }
        match self.take(length, start)? {
            [0, cid @ ..] if !cid.is_empty() => Ok(Token::Link(cid)),
            _ => Err(fault(CborFault::Link, start)),
        }
    }

    /// Reads a head: the major type and its argument, which is in its shortest form.
    #[inline]
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let start = self.position;
        let [first] = self.array(start)?;
        let (major, minor) = (first >> 5, first & 0x1f);
        // Most heads are one byte.
        if minor < 24 {
            return Ok((major, minor.into()));
        }
        let argument = self.argument(major, minor, start)?;
        Ok((major, argument))
    }

    /// Reads the argument that stands behind a head's first byte.
    fn argument(&mut self, major: u8, minor: u8, start: usize) -> Result<u64, CborError> {
        if major > TAG {
            match minor {
                24 => return Err(fault(CborFault::Simple, start)),
                25..=27 => return Err(fault(CborFault::Float, start)),
                _ => {}
            }
        }
        let (argument, least) = match minor {
            24 => (u64::from(u8::from_be_bytes(self.array(start)?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.array(start)?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.array(start)?)), 1 << 16),
            27 => (u64::from_be_bytes(self.array(start)?), 1 << 32),
            31 => return Err(fault(CborFault::Indefinite, start)),
            _ => return Err(fault(CborFault::Reserved, start)),
        };
        if argument < least {
            return Err(fault(CborFault::NotShortest, start));
        }
        Ok(argument)
    }

    #[inline]
    fn array<const N: usize>(&mut self, start: usize) -> Result<[u8; N], CborError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let array = rest
            .first_chunk()
            .ok_or(fault(CborFault::Truncated, start))?;
        self.position = self.position.saturating_add(N);
        Ok(*array)
    }

    #[inline]
    fn take(&mut self, length: u64, start: usize) -> Result<&'a [u8], CborError> {
        let truncated = fault(CborFault::Truncated, start);
        let length = usize::try_from(length).map_err(|_| truncated)?;
        let end = self.position.checked_add(length).ok_or(truncated)?;
        let taken = self.bytes.get(self.position..end).ok_or(truncated)?;
        self.position = end;
        Ok(taken)
    }
}

const fn fault(fault: CborFault, offset: usize) -> CborError {
    CborError { fault, offset }
}
