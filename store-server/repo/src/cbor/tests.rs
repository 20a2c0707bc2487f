//! One case for each rule, at its limit and one beyond, and properties over random values.

use carrack_schema::Code;
use proptest::prelude::*;

use super::*;
use crate::kit::{self, Value, encode};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn refused(bytes: &[u8]) -> (CborFault, usize) {
    let error = validate(bytes).unwrap_err();
    (error.fault, error.offset)
}

#[test]
fn canonical_values_are_accepted() {
    for text in [
        "f6",
        "f4",
        "f5",
        "00",
        "17",
        "1818",
        "18ff",
        "190100",
        "19ffff",
        "1a00010000",
        "1affffffff",
        "1b0000000100000000",
        "1b7fffffffffffffff",
        "20",
        "37",
        "3818",
        "390100",
        "3b7fffffffffffffff",
        "60",
        "6161",
        "62c3a9",
        "63efbfbd",
        "40",
        "4100",
        "80",
        "a0",
        "83010203",
        "a1616100",
        "a2616100616200",     // a, b
        "a2616200 626161 00", // b before aa: shorter first
        "a2616100 62c3a9 00",
        "82a0a0",
        "8181f6",
        "d82a420001",
    ] {
        assert_eq!(validate(&hex(text)), Ok(()), "{text}");
    }
}

#[test]
fn each_rule_is_kept() {
    use CborFault::*;
    for (text, expected, offset) in [
        // the bytes and the value end together
        ("", Truncated, 0),
        ("18", Truncated, 0),
        ("1b00000001", Truncated, 0),
        ("6261", Truncated, 0),
        ("8200", Truncated, 0),
        ("820000 00", Trailing, 3),
        ("f6f6", Trailing, 1),
        ("a16161", Truncated, 0),
        ("a1616182", Truncated, 3),
        ("9a00010000", Truncated, 0),
        // lengths are definite, heads are not reserved
        ("5f4100ff", Indefinite, 0),
        ("7f6161ff", Indefinite, 0),
        ("9f00ff", Indefinite, 0),
        ("bf616100ff", Indefinite, 0),
        ("ff", Indefinite, 0),
        ("81ff", Indefinite, 1),
        ("1c", Reserved, 0),
        ("dd", Reserved, 0),
        ("fc", Reserved, 0),
        // shortest forms
        ("1800", NotShortest, 0),
        ("1817", NotShortest, 0),
        ("1900ff", NotShortest, 0),
        ("1a0000ffff", NotShortest, 0),
        ("1b00000000ffffffff", NotShortest, 0),
        ("3817", NotShortest, 0),
        ("580100", NotShortest, 0),
        ("780161", NotShortest, 0),
        ("980100", NotShortest, 0),
        ("b801616100", NotShortest, 0),
        ("a1780161 00", NotShortest, 1),
        ("d9002a420001", NotShortest, 0),
        ("d82a58020001", NotShortest, 2),
        // integers of 64 signed bits
        ("1b8000000000000000", IntRange, 0),
        ("3b8000000000000000", IntRange, 0),
        // no floats, no other simple values
        ("f93c00", Float, 0),
        ("fa3f800000", Float, 0),
        ("fb3ff0000000000000", Float, 0),
        ("81f97e00", Float, 1),
        ("f7", Simple, 0),
        ("e0", Simple, 0),
        ("f3", Simple, 0),
        ("f820", Simple, 0),
        ("f814", Simple, 0),
        // UTF-8
        ("61ff", Utf8, 0),
        ("62c080", Utf8, 0),
        ("63eda080", Utf8, 0),
        ("a161ff00", Utf8, 1),
        // tags
        ("c000", Tag, 0),
        ("c249010000000000000000", Tag, 0),
        ("d82b420001", Tag, 0),
        ("d9d9f700", Tag, 0),
        ("d82a6161", Link, 0),
        ("d82a00", Link, 0),
        ("d82ad82a420001", Link, 0),
        ("d82a420101", Link, 0),
        ("d82a40", Link, 0),
        ("d82a4100", Link, 0),
        ("d82a", Truncated, 2),
        // keys
        ("a1000000", KeyType, 1),
        ("a1410000", KeyType, 1),
        ("a1d82a42000100", KeyType, 1),
        ("a1f60000", KeyType, 1),
        ("a1600000", KeyEmpty, 1),
        ("a2616100616100", KeyTwice, 4),
        ("a2616200616100", KeyOrder, 4),
        ("a262616100616200", KeyOrder, 5),
        ("a261610061 6200 00", Trailing, 7),
        // the order starts anew in each map
        ("a16162a1 616100 00", Trailing, 7),
    ] {
        assert_eq!(refused(&hex(text)), (expected, offset), "{text}");
    }
}

fn nested(depth: usize, list: bool) -> Vec<u8> {
    let open = if list { hex("81") } else { hex("a16161") };
    [open.repeat(depth - 1), hex(if list { "80" } else { "a0" })].concat()
}

fn sized(major: u8, length: u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    kit::head(major, length, &mut out);
    out.resize(out.len() + bytes, 0);
    out
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    for list in [true, false] {
        assert_eq!(validate(&nested(CBOR_DEPTH_MAX, list)), Ok(()));
        assert_eq!(
            refused(&nested(CBOR_DEPTH_MAX + 1, list)).0,
            CborFault::Depth
        );
        assert_eq!(refused(&nested(100_000, list)).0, CborFault::Depth);
    }
    // Siblings do not count as depth.
    let siblings = [hex("8a"), nested(CBOR_DEPTH_MAX - 1, true).repeat(10)].concat();
    assert_eq!(validate(&siblings), Ok(()));

    assert_eq!(
        validate(&sized(4, CBOR_CONTAINER_MAX, CBOR_CONTAINER_MAX as usize)),
        Ok(())
    );
    let over = sized(4, CBOR_CONTAINER_MAX + 1, CBOR_CONTAINER_MAX as usize + 1);
    assert_eq!(refused(&over), (CborFault::Container, 0));
    assert_eq!(
        refused(&hex("9bffffffffffffffff")),
        (CborFault::Container, 0)
    );
    assert_eq!(
        refused(&hex("bbffffffffffffffff")),
        (CborFault::Container, 0)
    );
    // A map's entry takes three bytes at least.
    assert_eq!(refused(&hex("a2616100 6162")), (CborFault::Truncated, 0));

    let key = |length: usize| encode(&kit::map([("k".repeat(length), Value::Null)]));
    assert_eq!(validate(&key(CBOR_KEY_BYTES_MAX as usize)), Ok(()));
    assert_eq!(
        refused(&key(CBOR_KEY_BYTES_MAX as usize + 1)),
        (CborFault::KeyLength, 1)
    );

    let link = |length: u64| encode(&Value::Link(vec![1; length as usize]));
    assert_eq!(validate(&link(1)), Ok(()));
    assert_eq!(validate(&link(CBOR_CID_BYTES_MAX)), Ok(()));
    assert_eq!(
        refused(&link(CBOR_CID_BYTES_MAX + 1)),
        (CborFault::LinkLength, 0)
    );

    for length in ["5bffffffffffffffff", "7b7fffffffffffffff", "5affffffff00"] {
        assert_eq!(refused(&hex(length)), (CborFault::Truncated, 0));
    }
}

#[test]
fn faults_become_errors_with_their_place() {
    let error = Error::from(validate(&hex("81f97e00")).unwrap_err());
    assert_eq!(error.code(), Code::BadStructure);
    assert_eq!(
        error.to_string(),
        "floating-point number at byte 1 of the block"
    );
    let error = Error::from(validate(&nested(33, true)).unwrap_err());
    assert_eq!(error.code(), Code::LimitExceeded);
    assert_eq!(
        error.to_string(),
        "nesting deeper than 32 at byte 32 of the block"
    );
}

#[test]
fn tokens_come_in_order_with_keys_apart() {
    let bytes = hex("a3 6161 01 6162 82 6178 4179 626161 d82a420007");
    let mut reader = Reader::new(&bytes);
    let mut tokens = Vec::new();
    while let Some(token) = reader.next_token().unwrap() {
        tokens.push((token, reader.depth()));
    }
    assert_eq!(
        tokens,
        [
            (Token::Map(3), 1),
            (Token::Key("a"), 1),
            (Token::Int(1), 1),
            (Token::Key("b"), 1),
            (Token::List(2), 2),
            (Token::Text("x"), 2),
            (Token::Bytes(b"y"), 1),
            (Token::Key("aa"), 1),
            (Token::Link(&[7]), 0),
        ]
    );
    assert_eq!(reader.position(), bytes.len());
    assert_eq!(reader.next_token(), Ok(None));
    assert_eq!(
        reader.token(),
        Err(fault(CborFault::Truncated, bytes.len()))
    );
}

#[test]
fn skip_goes_over_one_value_and_judges_it() {
    let bytes = hex("a3 6161 82a0a1616183010203 6162 82 6178 6179 6163 00");
    let mut reader = Reader::new(&bytes);
    reader.token().unwrap();
    assert_eq!(reader.token(), Ok(Token::Key("a")));
    reader.skip().unwrap();
    reader.skip().unwrap(); // `b` and its list
    assert_eq!(reader.token(), Ok(Token::Key("c")));
    reader.skip().unwrap();
    assert_eq!(reader.finish(), Ok(()));

    let bytes = hex("a1 6161 82 00 f93c00");
    let mut reader = Reader::new(&bytes);
    reader.token().unwrap();
    assert_eq!(reader.skip(), Err(fault(CborFault::Float, 5)));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-300_i64..300).prop_map(Value::Int),
        "\\PC{0,30}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        prop::collection::vec(any::<u8>(), 1..=100).prop_map(Value::Link),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30).prop_map(Value::List),
            prop::collection::btree_map("\\PC{1,10}", inner, 0..6).prop_map(kit::map),
        ]
    })
}

proptest! {
    // Each case is cut at every byte.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn canonical_encodings_validate_and_nothing_shorter_or_longer_does(value in values()) {
        let bytes = encode(&value);
        prop_assert_eq!(validate(&bytes), Ok(()));
        for length in 0..bytes.len() {
            let error = validate(&bytes[..length]).unwrap_err();
            prop_assert_eq!(error.fault, CborFault::Truncated);
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(refused(&longer), (CborFault::Trailing, bytes.len()));
    }

}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(value in values(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(error) = validate(&bytes) {
            prop_assert!(error.offset <= bytes.len());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        let mut tokens = 0;
        while let Ok(Some(_)) = reader.next_token() {
            tokens += 1;
        }
        prop_assert!(tokens <= bytes.len());
    }
}
