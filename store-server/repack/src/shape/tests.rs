//! What is cut out of records, and which templates are read.

use super::*;
use crate::kit::{Node, cbor};

/// A template as text: runs as `<n>`, leaves by their kinds.
fn cut(record: &Node) -> (Cut, Shape) {
    let mut cut = Cut::default();
    assert_eq!(cut.of(&cbor(record)), Cuttable::Yes);
    let shape = Shape::parse(cut.template()).unwrap();
    (cut, shape)
}

const URI: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jzfcijpj2z2a";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";

fn like() -> Node {
    Node::map([
        ("$type", Node::text("app.bsky.feed.like")),
        (
            "subject",
            Node::map([("cid", Node::text(CID)), ("uri", Node::text(URI))]),
        ),
        ("createdAt", Node::text("2024-11-05T12:34:56.789Z")),
    ])
}

#[test]
fn a_like_has_three_leaves_and_its_type_is_part_of_the_shape() {
    let (cut, shape) = cut(&like());
    assert_eq!(cut.leaves().len(), 3);
    let kind = |path: &str| match shape.at_path(path).collect::<Vec<_>>()[..] {
        [AtPath::Leaf(leaf)] => leaf.kind,
        ref other => panic!("{path}: {other:?}"),
    };
    assert_eq!(
        kind("subject.uri"),
        Leaf::Uri(crate::leaf::uri::RkeyForm::Tid)
    );
    assert!(matches!(kind("subject.cid"), Leaf::CidText(_)));
    assert!(matches!(kind("createdAt"), Leaf::Time(_)));
    assert!(matches!(
        shape.at_path("$type").collect::<Vec<_>>()[..],
        [AtPath::Text(b"app.bsky.feed.like")]
    ));
    assert_eq!(shape.at_path("subject").count(), 0);
    let mut other = Cut::default();
    other.of(&cbor(&Node::map([("$type", Node::text("other"))])));
    assert_ne!(other.template(), cut.template());
}

#[test]
fn a_reply_to_the_root_has_each_reference_once() {
    let reference = || Node::map([("cid", Node::text(CID)), ("uri", Node::text(URI))]);
    let (cut, shape) = cut(&Node::map([("root", reference()), ("parent", reference())]));
    let kinds: Vec<_> = cut.leaves().iter().map(|leaf| leaf.kind).collect();
    assert_eq!(kinds[2..], [Leaf::Same(0), Leaf::Same(1)]);
    // A leaf that is the same as another is found at its own path.
    assert!(matches!(
        shape.at_path("parent.cid").collect::<Vec<_>>()[..],
        [AtPath::Leaf(LeafPlace {
            kind: Leaf::CidText(_),
            ..
        })]
    ));
}

#[test]
fn paths_go_through_lists_and_nulls_are_found() {
    let (_, shape) = cut(&Node::map([
        (
            "a",
            Node::list([
                Node::map([("b", Node::Int(1)), ("cc", Node::list([]))]),
                Node::map([("b", Node::text("x"))]),
                Node::Null,
            ]),
        ),
        (
            "zz",
            Node::list([Node::Bool(true), Node::list([Node::Bool(false)])]),
        ),
        ("ee", Node::map::<0>([])),
    ]));
    assert_eq!(shape.at_path("a.b").count(), 2);
    assert!(matches!(
        shape.at_path("a").collect::<Vec<_>>()[..],
        [AtPath::Null]
    ));
    assert_eq!(shape.at_path("zz").count(), 2);
    assert_eq!(
        shape.at_path("a.cc").count() + shape.at_path("ee").count(),
        0
    );
}

#[test]
fn what_breaks_the_data_model_is_invalid_however_large() {
    let mut cut = Cut::default();
    assert_eq!(
        cut.of(b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        Cuttable::Invalid
    );
    assert_eq!(cut.of(b"\x01\x01"), Cuttable::Invalid);
    assert_eq!(cut.of(b""), Cuttable::Invalid);
    let long = |last: u8| {
        let mut list = vec![0x98, LEAVES_MAX as u8 + 2];
        list.resize(LEAVES_MAX + 3, 0);
        list.push(last);
        list
    };
    assert_eq!(cut.of(&long(0)), Cuttable::AsIs);
    assert_eq!(cut.of(&long(0xff)), Cuttable::Invalid);
    // A link with another hash: 42(h'0001711300').
    assert_eq!(cut.of(b"\xd8\x2a\x45\x00\x01\x71\x13\x00"), Cuttable::AsIs);
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    let mut cut = Cut::default();
    let leaves = |count: usize| cbor(&Node::list((0..count).map(|i| Node::Int(i as i64))));
    assert_eq!(cut.of(&leaves(LEAVES_MAX)), Cuttable::Yes);
    assert!(Shape::parse(cut.template()).is_some());
    assert_eq!(cut.of(&leaves(LEAVES_MAX + 1)), Cuttable::AsIs);
    // A map of one key, with its own head of three bytes: a run of three bytes more, and nothing else.
    let key = |bytes: usize| cbor(&Node::map([(&*"k".repeat(bytes), Node::Null)]));
    let longest = TEMPLATE_BYTES_MAX - 3 - 1 - 3 - 1;
    assert_eq!(cut.of(&key(longest)), Cuttable::Yes);
    assert_eq!(cut.template().len(), TEMPLATE_BYTES_MAX);
    assert!(Shape::parse(cut.template()).is_some());
    assert_eq!(cut.of(&key(longest + 1)), Cuttable::AsIs);
}

#[test]
fn templates_that_no_record_gives_are_refused() {
    let (cut, _) = cut(&like());
    let good = cut.template().to_vec();
    for length in 0..good.len() {
        assert!(Shape::parse(&good[..length]).is_none(), "{length} bytes");
    }
    for (template, why) in [
        (&[][..], "nothing"),
        (&[0x80, 0x80], "two values"),
        (&[0, 0xa1, 0x80], "a leaf where a key stands"),
        (&[0, 0x82, 0x8c, 0], "the same as itself"),
        (&[0, 0x83, 0x82, 0x8c, 0, 0x8c, 1], "the same as the same"),
        (&[0, 0x81, 0x8d], "a kind that is none"),
        (&[0, 0x01], "an integer in the template"),
        (
            &[0x7f, 0xff, 0xff],
            "a run that is longer than what is left",
        ),
    ] {
        assert!(Shape::parse(template).is_none(), "{why}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _either_is_fine = Shape::parse(&bad);
    }
}
