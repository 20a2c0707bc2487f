//! The header of a CAR: looked at before iroh-car decodes it, for its limits and for clear words.
//!
//! It must never accept what iroh-car does not. Only [`CarBlocks::open`](super::CarBlocks::open) calls it.

use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use carrack_schema::Cid;
use carrack_schema::cid::{Codec, text_of};
use carrack_schema::limits::CAR_HEADER_BYTES_MAX;
use iroh_car::CarReader;

use super::source::{Length, Section, Source};
use crate::cbor::{Reader, Token};
use crate::error::{Error, ErrorKind, Result};

/// The roots of a header.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) first: Cid,
    pub(super) count: usize,
}

/// First bytes of a DAG-CBOR map: those of up to 23 entries, and the longer heads.
const MAP_HEADS: std::ops::RangeInclusive<u8> = 0xa0..=0xbb;

/// Reads the header and uses it up.
pub(super) fn read<R: Read>(source: &mut Source<R>, bytes_max: u64) -> Result<Roots> {
    let section = section(source, bytes_max)?;
    // Within its limit, so it fits into the buffer.
    let length = usize::try_from(section.length).unwrap_or(usize::MAX);
    let whole = section.varint_bytes.saturating_add(length);
    if !source.buffer_whole(whole)? {
        let end = source.read_to();
        let message = format!("CAR ends inside its header at byte {end}");
        return Err(Error::new(ErrorKind::Incomplete, message).with_car_offset(end));
    }
    let header = source.buffered().get(..whole).unwrap_or_default();
    let roots = roots(header.get(section.varint_bytes..).unwrap_or_default())?;
    decode(header)?;
    source.advance(whole);
    Ok(roots)
}

/// Lets iroh-car decode a header, its length in front.
fn decode(header: &[u8]) -> Result<()> {
    // Bytes in memory are always ready, so there is nothing to wait for.
    let reader = pin!(CarReader::new(header));
    match reader.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(_)) => Ok(()),
        // Our own reading of the header was stricter than iroh-car's, so this is a form it alone refuses.
        Poll::Ready(Err(error)) => {
            let message = format!("not a CAR file: its header is refused ({error})");
            Err(Error::structure(message).with_car_offset(0))
        }
        Poll::Pending => Err(Error::new(
            ErrorKind::Internal,
            "the CAR header's decoder waits for nothing",
        )),
    }
}

/// Returns where the header is, within the limits.
fn section<R: Read>(source: &mut Source<R>, bytes_max: u64) -> Result<Section> {
    let section = match source.peek_length()? {
        Length::End => return Err(not_a_car("it is empty")),
        Length::Cut { end } => {
            let message = format!("CAR ends inside its header at byte {end}");
            return Err(Error::new(ErrorKind::Incomplete, message).with_car_offset(end));
        }
        Length::Bad(why) => return Err(not_a_car(format!("the length of its header {why}"))),
        Length::Of(section) => section,
    };
    if section.length == 0 {
        return Err(not_a_car("its header is empty"));
    }
    // Looked at before the length is judged: the first letter of a text is a length of sorts.
    if let Some(first) = source.peek(section.varint_bytes)?
        && !MAP_HEADS.contains(&first)
    {
        return Err(not_a_car("its header is not a DAG-CBOR map"));
    }
    if section.length > CAR_HEADER_BYTES_MAX as u64 {
        let message = format!(
            "the CAR header is {} bytes long, more than {CAR_HEADER_BYTES_MAX}",
            section.length
        );
        return Err(Error::limit(message).with_car_offset(0));
    }
    if section.end > bytes_max {
        let message = format!("CAR is longer than {bytes_max} bytes: the header");
        return Err(Error::limit(message).with_car_offset(0));
    }
    Ok(section)
}

/// Reads the roots; the first one is a commit's CID.
fn roots(header: &[u8]) -> Result<Roots> {
    let (roots, version) = fields(header)?;
    match version {
        None => return Err(not_a_car("its header has no `version`")),
        Some(1) => {}
        Some(other) => {
            let message = format!("CAR version {other} is not supported, only version 1");
            return Err(Error::structure(message).with_car_offset(0));
        }
    }
    let Some((first, count)) = roots else {
        return Err(not_a_car("its header has no `roots`"));
    };
    let Some(first) = first else {
        let message = "CAR names no root, so it holds no repository";
        return Err(Error::structure(message).with_car_offset(0));
    };
    match Cid::from_bytes(first) {
        Ok(first) if first.codec() == Codec::DagCbor => Ok(Roots { first, count }),
        _ => {
            let message = format!(
                "CAR root {} is not the CID of a commit (CIDv1, sha-256, dag-cbor)",
                text_of(first)
            );
            Err(Error::structure(message).with_car_offset(0))
        }
    }
}

/// The first root, if there is one, and how many there are.
type RootList<'a> = (Option<&'a [u8]>, usize);

fn fields(header: &[u8]) -> Result<(Option<RootList<'_>>, Option<i64>)> {
    let malformed = |error| not_a_car(format!("its header: {error}"));
    let mut reader = Reader::new(header);
    let (mut roots, mut version) = (None, None);
    while let Some(token) = reader.next_token().map_err(malformed)? {
        match token {
            Token::Key("version") => match reader.token().map_err(malformed)? {
                Token::Int(number) => version = Some(number),
                _ => return Err(not_a_car("the `version` of its header is not an integer")),
            },
            Token::Key("roots") => {
                let Token::List(count) = reader.token().map_err(malformed)? else {
                    return Err(not_a_car("the `roots` of its header are not a list"));
                };
                let mut first = None;
                for _ in 0..count {
                    match reader.token().map_err(malformed)? {
                        Token::Link(cid) => first = first.or(Some(cid)),
                        _ => return Err(not_a_car("a root in its header is not a link")),
                    }
                }
                roots = Some((first, usize::try_from(count).unwrap_or(usize::MAX)));
            }
            Token::Key(_) => reader.skip().map_err(malformed)?,
            // The map itself, which `section` has looked for.
            _ => {}
        }
    }
    Ok((roots, version))
}

fn not_a_car(why: impl std::fmt::Display) -> Error {
    Error::structure(format!("not a CAR file: {why}")).with_car_offset(0)
}
