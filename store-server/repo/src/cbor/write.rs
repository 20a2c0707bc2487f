//! Writing DAG-CBOR in the one form it has: what commits' signing bytes and MST nodes are made of.
//!
//! It must never write a head in more bytes than it needs (DR1). This crate's encoders and the rows of pages are made with it.

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;

/// Major type of an unsigned integer.
pub const UNSIGNED: u8 = 0;
/// Major type of a negative integer.
pub const NEGATIVE: u8 = 1;
/// Major type of a byte string.
pub const BYTES: u8 = 2;
/// Major type of a text.
pub const TEXT: u8 = 3;
/// Major type of a list.
pub const LIST: u8 = 4;
/// Major type of a map.
pub const MAP: u8 = 5;

/// False.
pub const FALSE: u8 = 0xf4;
/// True.
pub const TRUE: u8 = 0xf5;
/// Null.
pub const NULL: u8 = 0xf6;
/// Tag 42, which a link is.
pub const LINK_TAG: [u8; 2] = [0xd8, 42];
/// Tag 42, and a byte string of a [`Cid`] with the 0x00 in front.
pub const LINK_HEAD: [u8; 5] = [0xd8, 42, 0x58, 37, 0];
const _: () = assert!(CID_BYTES + 1 == 37);

/// Appends a head in its shortest form.
pub fn put_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let [.., c, d, e, f, low_high, low] = argument.to_be_bytes();
    match argument {
        0..=23 => out.push(major | low),
        24..=0xff => out.extend([major | 24, low]),
        0x100..=0xffff => out.extend([major | 25, low_high, low]),
        0x1_0000..=0xffff_ffff => out.extend([major | 26, e, f, low_high, low]),
        _ => {
            let [a, b, ..] = argument.to_be_bytes();
            out.extend([major | 27, a, b, c, d, e, f, low_high, low]);
        }
    }
}

/// Appends a link, or null.
pub fn put_link(out: &mut Vec<u8>, cid: Option<&Cid>) {
    match cid {
        None => out.push(NULL),
        Some(cid) => {
            out.extend_from_slice(&LINK_HEAD);
            out.extend_from_slice(cid.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{Reader, Token};
    use crate::kit::{self, cid_of};

    #[test]
    fn heads_are_the_shortest_ones() {
        for argument in [
            0,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            0xffff_ffff,
            1 << 32,
            u64::MAX,
        ] {
            for major in [UNSIGNED, BYTES, LIST, MAP] {
                let (mut bytes, mut expected) = (Vec::new(), Vec::new());
                put_head(&mut bytes, major, argument);
                kit::head(major, argument, &mut expected);
                assert_eq!(bytes, expected, "{major} {argument}");
            }
        }
    }

    #[test]
    fn links_read_back() {
        let mut bytes = Vec::new();
        put_link(&mut bytes, Some(&cid_of(b"x")));
        assert_eq!(
            Reader::new(&bytes).token(),
            Ok(Token::Link(cid_of(b"x").as_bytes()))
        );
        bytes.clear();
        put_link(&mut bytes, None);
        assert_eq!(Reader::new(&bytes).token(), Ok(Token::Null));
    }
}
