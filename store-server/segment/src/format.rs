//! The frame of a segment file: header, trailer, and the limits that the form of the bytes sets.
//!
//! `FORMAT.md` says what these bytes are and why; this file only encodes and decodes them.

use carrack_schema::limits;

/// First bytes of every segment file.
pub const MAGIC: [u8; 8] = *b"CARRACKS";
/// Last bytes of every segment file.
pub const MAGIC_END: [u8; 8] = *b"SKCARRAC";
/// The one format version this crate writes and reads.
pub const VERSION: u32 = 2;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4_096;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 64;
/// Every section starts at a multiple of this and is as long as a multiple of it: a Cap'n Proto word.
pub const WORD_BYTES: usize = 8;

/// Bits of an ordinal at the most.
pub const ORDINAL_BITS: u32 = 14;
/// Rows one page can hold: an ordinal has [`ORDINAL_BITS`] bits.
pub const PAGE_ROWS_MAX: u32 = 1 << ORDINAL_BITS;
/// Bits of a page's or a group's number at the most.
pub const PAGE_BITS: u32 = 24;
/// Pages, groups or extents one file can hold: a number has [`PAGE_BITS`] bits.
pub const FILE_SECTIONS_MAX: usize = 1 << PAGE_BITS;
/// Longest page message, and so the longest that a page decompresses to. One record and a page's own frame fit.
pub const PAGE_BYTES_MAX: usize = limits::PAGE_BYTES_MAX;
/// Longest dictionary message, and so the longest that one decompresses to. It stays in memory while the segment is open.
pub const DICTIONARY_BYTES_MAX: usize = 256 << 20;
/// Rows one extent can hold: as many as a CAR may have blocks.
pub const EXTENT_ROWS_MAX: u32 = 32 << 20;
/// Longest extent key. A DID has at most 2,048 bytes.
pub const KEY_BYTES_MAX: usize = 4_096;
/// Longest extent head: a commit of at most 16 KiB and a few short fields.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest group name. An NSID has at most 317 bytes.
pub const GROUP_BYTES_MAX: usize = 1_024;
/// Longest row name: the 16 bits that a writer keeps of its length.
pub const NAME_BYTES_MAX: usize = (1 << 16) - 1;
/// Bytes of names that are no words in one extent.
pub const HEAP_BYTES_MAX: usize = 256 << 20;
/// Packed bytes of one index: Cap'n Proto counts a list's elements in 29 bits.
pub const INDEX_BYTES_MAX: usize = (1 << 29) - 1;
/// Longest footer message. Cap'n Proto allocates at most 2^29 words at once; half of it is 2 GiB.
pub const MESSAGE_BYTES_MAX: u64 = 2 << 30;

/// Rows of an index's block at the most.
pub const BLOCK_ROWS: u32 = 128;
/// Bits of a block's base.
pub const BASE_BITS: u32 = 64;
/// Bits that say what a block's names are and how wide its numbers: `width << 1 | is text`.
pub const BLOCK_FORM_BITS: u32 = 8;
/// Bits of a block's offset at the most: 2^25 rows of 64 bits.
pub const OFFSET_BITS_MAX: u32 = 32;

const _: () = assert!(PAGE_ROWS_MAX as usize >= limits::PAGE_ROWS_MAX);
const _: () = assert!(PAGE_ROWS_MAX as usize >= limits::COLD_PAGE_ROWS_MAX);
const _: () = assert!(PAGE_BYTES_MAX.is_multiple_of(WORD_BYTES));
const _: () = assert!(DICTIONARY_BYTES_MAX.is_multiple_of(WORD_BYTES));
const _: () = assert!(EXTENT_ROWS_MAX as usize >= limits::CAR_BLOCKS_MAX);
const _: () = assert!(GROUP_BYTES_MAX + 1 + NAME_BYTES_MAX > limits::MST_KEY_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX > 2 * limits::COMMIT_BYTES_MAX);

/// What a segment's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contents {
    /// Records of repositories.
    Records,
}

impl Contents {
    const fn code(self) -> u32 {
        match self {
            Self::Records => 1,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        (code == Self::Records.code()).then_some(Self::Records)
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) contents: Contents,
    pub(crate) id: [u8; 16],
    pub(crate) writer_epoch: u64,
}

/// What a trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) footer_offset: u64,
    pub(crate) footer_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) id: [u8; 16],
    pub(crate) footer_checksum: u32,
}

/// Why a header or a trailer is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Corrupt(&'static str),
    Unsupported(String),
}

/// Bytes of the header before its checksum.
const HEADER_SUMMED: usize = 44;
/// Bytes of the trailer before its checksum.
const TRAILER_SUMMED: usize = 52;

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.contents.code().to_le_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.writer_epoch.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.resize(HEADER_BYTES, 0);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        const SHORT: Refusal = Refusal::Corrupt("it is short");
        if bytes.len() != HEADER_BYTES {
            return Err(SHORT);
        }
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(Refusal::Corrupt("the file is not a segment"));
        }
        // The version comes before the checksum: another version may keep its checksum elsewhere.
        let version = u32_at(bytes, 8).ok_or(SHORT)?;
        if version != VERSION {
            let age = if version > VERSION { "newer" } else { "older" };
            return Err(Refusal::Unsupported(format!(
                "the file's format is {age} than this program reads: version={version} reads={VERSION}"
            )));
        }
        let (summed, rest) = bytes.split_at_checked(HEADER_SUMMED).ok_or(SHORT)?;
        if u32_at(rest, 0) != Some(crc32c::crc32c(summed)) {
            return Err(Refusal::Corrupt("its checksum does not match"));
        }
        let unused = rest.get(4..).ok_or(SHORT)?;
        if u32_at(bytes, 40) != Some(0) || unused.iter().any(|&byte| byte != 0) {
            return Err(Refusal::Corrupt("bytes that must be zero are not"));
        }
        let code = u32_at(bytes, 12).ok_or(SHORT)?;
        let contents = Contents::from_code(code).ok_or_else(|| {
            Refusal::Unsupported(format!(
                "this program does not read files of this kind: kind={code}"
            ))
        })?;
        Ok(Self {
            contents,
            id: array_at(bytes, 16).ok_or(SHORT)?,
            writer_epoch: u64_at(bytes, 32).ok_or(SHORT)?,
        })
    }
}

impl Trailer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER_BYTES);
        out.extend_from_slice(&self.footer_offset.to_le_bytes());
        out.extend_from_slice(&self.footer_bytes.to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.footer_checksum.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC_END);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        const SHORT: Refusal = Refusal::Corrupt("it is short");
        if bytes.len() != TRAILER_BYTES {
            return Err(SHORT);
        }
        if bytes.get(56..) != Some(&MAGIC_END[..]) {
            return Err(Refusal::Corrupt(
                "the file does not end as a sealed segment does",
            ));
        }
        let summed = bytes.get(..TRAILER_SUMMED).ok_or(SHORT)?;
        if u32_at(bytes, TRAILER_SUMMED) != Some(crc32c::crc32c(summed)) {
            return Err(Refusal::Corrupt("its checksum does not match"));
        }
        if u64_at(bytes, 44) != Some(0) {
            return Err(Refusal::Corrupt("bytes that must be zero are not"));
        }
        Ok(Self {
            footer_offset: u64_at(bytes, 0).ok_or(SHORT)?,
            footer_bytes: u64_at(bytes, 8).ok_or(SHORT)?,
            file_bytes: u64_at(bytes, 16).ok_or(SHORT)?,
            id: array_at(bytes, 24).ok_or(SHORT)?,
            footer_checksum: u32_at(bytes, 40).ok_or(SHORT)?,
        })
    }
}

/// Returns the `N` bytes at `offset`, if they are there.
#[inline]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            contents: Contents::Records,
            id: *b"0123456789abcdef",
            writer_epoch: 7,
        }
    }

    #[test]
    fn header_and_trailer_come_back() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Ok(header()));
        let trailer = Trailer {
            footer_offset: 1,
            footer_bytes: 2,
            file_bytes: 3,
            id: header().id,
            footer_checksum: 4,
        };
        let bytes = trailer.encode();
        assert_eq!(bytes.len(), TRAILER_BYTES);
        assert_eq!(Trailer::decode(&bytes), Ok(trailer));
    }

    #[test]
    fn other_versions_and_kinds_are_unsupported_and_say_so() {
        for (version, word) in [
            (0_u32, "older"),
            (1, "older"),
            (3, "newer"),
            (u32::MAX, "newer"),
        ] {
            let mut bytes = header().encode();
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            let Err(Refusal::Unsupported(text)) = Header::decode(&bytes) else {
                panic!("version {version} was not refused as unsupported");
            };
            assert!(text.contains(word), "{text}");
        }
        let mut bytes = header().encode();
        bytes[12] = 9;
        let sum = crc32c::crc32c(&bytes[..HEADER_SUMMED]);
        bytes[44..48].copy_from_slice(&sum.to_le_bytes());
        assert!(matches!(
            Header::decode(&bytes),
            Err(Refusal::Unsupported(_))
        ));
    }
}
