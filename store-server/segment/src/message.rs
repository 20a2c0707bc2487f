//! Messages as they lie in a segment: one Cap'n Proto segment, flat words without a stream header.

use capnp::message::{Allocator, Builder, HeapAllocator, Reader, ReaderOptions, ReaderSegments};
use capnp::{Word, any_pointer};

use crate::format::WORD_BYTES;
use crate::{Error, ErrorKind, Result};

/// The one segment of a flat message. Its bytes must start at a multiple of 8 in memory, or reading is an error.
#[derive(Clone, Copy, Debug)]
pub struct FlatSegment<'a>(&'a [u8]);

impl ReaderSegments for FlatSegment<'_> {
    #[inline]
    fn get_segment(&self, number: u32) -> Option<&[u8]> {
        (number == 0).then_some(self.0)
    }

    fn len(&self) -> usize {
        1
    }
}

/// Deepest nesting of a message: root, list of structs, struct, list is 4; a column and its dictionary add two.
pub const NESTING_MAX: i32 = 8;

/// How many times over one reader may visit its message.
const VISITS_MAX: usize = 64;

/// Reads a flat message in place: nothing is copied, allocated or checked ahead, so a reader costs nothing to make.
///
/// The traversal limit is 64 times the message and 512 words more. It is there for lists of zero-sized elements, of
/// which a 16-byte message can claim 2^29; a message is otherwise bounded by its own bytes. Every getter of a list or
/// struct counts its whole size: take a list **once** and then its elements, and make a new reader for each visit
/// rather than keep one. Nesting ends at [`NESTING_MAX`].
pub fn flat(bytes: &[u8]) -> Reader<FlatSegment<'_>> {
    let words = bytes.len() / WORD_BYTES;
    let options = ReaderOptions {
        traversal_limit_in_words: Some(words.saturating_mul(VISITS_MAX).saturating_add(512)),
        nesting_limit: NESTING_MAX,
    };
    Reader::new(FlatSegment(bytes), options)
}

/// Returns a builder whose first segment has room for `words` words, so that a message known to fit is one segment.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] above 2^28 words (2 GiB).
pub fn builder(words: u64) -> Result<Builder<HeapAllocator>> {
    const WORDS_MAX: u64 = crate::format::MESSAGE_BYTES_MAX / WORD_BYTES as u64;
    let words = u32::try_from(words)
        .ok()
        .filter(|&words| u64::from(words) <= WORDS_MAX)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::LimitExceeded,
                format!("message is too long: words=`{words}` max=`{WORDS_MAX}`"),
            )
        })?;
    Ok(Builder::new(
        HeapAllocator::new().first_segment_words(words),
    ))
}

/// Returns a message as flat words, ready for [`SegmentWriter::page`](crate::SegmentWriter::page).
///
/// A builder that kept to its first segment is copied as it is; one that did not is copied into its canonical form.
/// Size the builder with [`builder`] where the size can be told: that saves the second copy.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] above 2 GiB; [`ErrorKind::Invalid`] if the message holds a capability.
pub fn flatten<A: Allocator>(message: &Builder<A>) -> Result<Vec<u8>> {
    if let Some(bytes) = single(message) {
        return Ok(bytes.to_vec());
    }
    let refused = |error: capnp::Error| {
        Error::new(
            ErrorKind::Invalid,
            format!("message has no flat form: {error}"),
        )
    };
    let root: any_pointer::Reader<'_> = message.get_root_as_reader().map_err(refused)?;
    let words = root.target_size().map_err(refused)?.word_count;
    let mut copy = builder(words.saturating_add(1))?;
    copy.set_root_canonical(root).map_err(refused)?;
    match single(&copy) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(Error::new(
            ErrorKind::Invalid,
            "message has no flat form: its size is not what it says",
        )),
    }
}

/// Returns a message's bytes if it is one segment.
pub(crate) fn single<A: Allocator>(message: &Builder<A>) -> Option<&[u8]> {
    match &*message.get_segments_for_output() {
        [bytes] => Some(bytes),
        _ => None,
    }
}

/// Copies bytes into aligned words, for reading a message that is not in a map.
pub fn words(bytes: &[u8]) -> Vec<Word> {
    let mut words = Word::allocate_zeroed_vec(bytes.len().div_ceil(WORD_BYTES));
    if let Some(start) = Word::words_to_bytes_mut(&mut words).get_mut(..bytes.len()) {
        start.copy_from_slice(bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::AllocationStrategy;
    use carrack_schema::wire::segment_capnp::footer;

    fn fill<A: Allocator>(message: &mut Builder<A>) {
        let mut groups = message.init_root::<footer::Builder<'_>>().init_groups(100);
        for i in 0..100 {
            groups.set(i, &[7; 10]);
        }
    }

    #[test]
    fn a_message_of_many_segments_becomes_one() {
        let small = HeapAllocator::new()
            .first_segment_words(4)
            .allocation_strategy(AllocationStrategy::FixedSize);
        let mut many = Builder::new(small);
        fill(&mut many);
        assert!(many.get_segments_for_output().len() > 1);
        let mut one = builder(1_000).unwrap();
        fill(&mut one);
        for bytes in [flatten(&many).unwrap(), flatten(&one).unwrap()] {
            assert_eq!(bytes.len() % 8, 0);
            let words = words(&bytes);
            let reader = flat(Word::words_to_bytes(&words));
            let footer = reader.get_root::<footer::Reader<'_>>().unwrap();
            let groups = footer.get_groups().unwrap();
            assert_eq!((groups.len(), groups.get(99).unwrap()), (100, &[7; 10][..]));
        }
    }

    #[test]
    fn a_builder_ends_at_two_gib() {
        assert_eq!(
            builder((1 << 28) + 1).err().map(|error| error.kind()),
            Some(ErrorKind::LimitExceeded)
        );
        assert!(builder(1 << 28).is_ok());
    }

    #[test]
    fn nothing_and_nonsense_are_errors() {
        for bytes in [&[][..], &[0xff; 8], &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
            let words = words(bytes);
            let reader = flat(Word::words_to_bytes(&words));
            let groups = reader
                .get_root::<footer::Reader<'_>>()
                .and_then(|footer| footer.get_groups().map(|groups| groups.len()));
            assert!(groups.is_err() || matches!(groups, Ok(0)), "{groups:?}");
        }
    }
}
