//! The published vectors (atproto-interop-tests, CC0-1.0) and every other form a key can be given in.

use carrack_schema::Code;
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use proptest::prelude::*;

use super::*;

struct Vector {
    curve: Curve,
    did_key: &'static str,
    legacy: &'static str,
    signature: &'static str,
    expected: Option<Result<(), SignatureFault>>,
}

const MESSAGE: &str = "oWVoZWxsb2V3b3JsZA";

/// `crypto/signature-fixtures.json`; a signature in DER is not 64 bytes, so there is nothing to ask the key.
const VECTORS: [Vector; 6] = [
    Vector {
        curve: Curve::P256,
        did_key: "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo",
        legacy: "zxdM8dSstjrpZaRUwBmDvjGXweKuEMVN95A9oJBFjkWMh",
        signature: "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg",
        expected: Some(Ok(())),
    },
    Vector {
        curve: Curve::K256,
        did_key: "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        legacy: "z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t",
        signature: "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdUn/FEznOndsz/qgiYb89zwxYCbB71f7yQK5Lr7NasfoA",
        expected: Some(Ok(())),
    },
    Vector {
        curve: Curve::P256,
        did_key: "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo",
        legacy: "zxdM8dSstjrpZaRUwBmDvjGXweKuEMVN95A9oJBFjkWMh",
        signature: "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoKp7O4VS9giSAah8k5IUbXIW00SuOrjfEqQ9HEkN9JGzw",
        expected: Some(Err(SignatureFault::HighS)),
    },
    Vector {
        curve: Curve::K256,
        did_key: "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        legacy: "z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t",
        signature: "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdXYA67MYxYiTMAVfdnkDCMN9S5B3vHosRe07aORmoshoQ",
        expected: Some(Err(SignatureFault::HighS)),
    },
    Vector {
        curve: Curve::P256,
        did_key: "did:key:zDnaeT6hL2RnTdUhAPLij1QBkhYZnmuKyM7puQLW1tkF4Zkt8",
        legacy: "ze8N2PPxnu19hmBQ58t5P3E9Yj6CqakJmTVCaKvf9Byq2",
        signature: "MEQCIFxYelWJ9lNcAVt+jK0y/T+DC/X4ohFZ+m8f9SEItkY1AiACX7eXz5sgtaRrz/SdPR8kprnbHMQVde0T2R8yOTBweA",
        expected: None,
    },
    Vector {
        curve: Curve::K256,
        did_key: "did:key:zQ3shnriYMXc8wvkbJqfNWh5GXn2bVAeqTC92YuNbek4npqGF",
        legacy: "z22uZXWP8fdHXi4jyx8cCDiBf9qQTsAe6VcycoMQPfcMQX",
        signature: "MEUCIQCWumUqJqOCqInXF7AzhIRg2MhwRz2rWZcOEsOjPmNItgIgXJH7RnqfYY6M0eg33wU0sFYDlprwdOcpRn78Sz5ePgk",
        expected: None,
    },
];

/// `crypto/w3c_didkey_K256.json` and `_P256.json`: private keys, and the texts of their public halves.
const DID_KEYS_K256: [(&str, &str); 5] = [
    (
        "9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    ),
    (
        "f0f4df55a2b3ff13051ea814a8f24ad00f2e469af73c363ac7e9fb999a9072ed",
        "did:key:zQ3shtxV1FrJfhqE1dvxYRcCknWNjHc3c5X1y3ZSoPDi2aur2",
    ),
    (
        "6b0b91287ae3348f8c2f2552d766f30e3604867e34adc37ccbb74a8e6b893e02",
        "did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N",
    ),
    (
        "c0a6a7c560d37d7ba81ecee9543721ff48fea3e0fb827d42c1868226540fac15",
        "did:key:zQ3shadCps5JLAHcZiuX5YUtWHHL8ysBJqFLWvjZDKAWUBGzy",
    ),
    (
        "175a232d440be1e0788f25488a73d9416c04b6f924bea6354bf05dd2f1a75133",
        "did:key:zQ3shptjE6JwdkeKN4fcpnYQY3m9Cet3NiHdAfpvSUZBFoKBj",
    ),
];
const DID_KEY_P256: (&str, &str) = (
    "9p4VRzdmhsnq869vQjVCTrRry7u4TtfRxhvBFJTGU2Cp",
    "did:key:zDnaeTiq1PdzvZXUaMdezchcMJQpBdH2VN4pgrrEhMCCbmwSb",
);

#[test]
fn published_signatures_are_judged_right() {
    let message = BASE64_NOPAD.decode(MESSAGE.as_bytes()).unwrap();
    for vector in VECTORS {
        let key: PublicKey = vector.did_key.parse().unwrap();
        assert_eq!(key.curve(), vector.curve);
        assert_eq!(key.to_string(), vector.did_key);
        assert_eq!(
            PublicKey::from_legacy(vector.curve, vector.legacy).unwrap(),
            key
        );
        let signature = BASE64_NOPAD.decode(vector.signature.as_bytes()).unwrap();
        let verdict = <&[u8; 64]>::try_from(&signature[..])
            .ok()
            .map(|signature| key.verify(&message, signature));
        assert_eq!(verdict, vector.expected, "{}", vector.signature);
    }
}

#[test]
fn published_keys_have_their_texts() {
    for (private, expected) in DID_KEYS_K256 {
        let bytes = HEXLOWER.decode(private.as_bytes()).unwrap();
        let key = k256::ecdsa::SigningKey::from_slice(&bytes).unwrap();
        check_forms(PublicKey(Inner::K256(*key.verifying_key())), expected);
    }
    let bytes = bs58::decode(DID_KEY_P256.0).into_vec().unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&bytes).unwrap();
    check_forms(PublicKey(Inner::P256(*key.verifying_key())), DID_KEY_P256.1);
}

#[track_caller]
fn check_forms(key: PublicKey, did_key: &str) {
    assert_eq!(key.to_string(), did_key);
    assert_eq!(format!("{key:?}"), format!("PublicKey({did_key})"));
    assert_eq!(did_key.parse::<PublicKey>().unwrap(), key);
    let multikey = did_key.strip_prefix("did:key:").unwrap();
    assert_eq!(PublicKey::from_multikey(multikey).unwrap(), key);
    for compress in [false, true] {
        let point = match &key.0 {
            Inner::K256(key) => key.to_encoded_point(compress).as_bytes().to_vec(),
            Inner::P256(key) => key.to_encoded_point(compress).as_bytes().to_vec(),
        };
        let legacy = format!("z{}", bs58::encode(point).into_string());
        assert_eq!(PublicKey::from_legacy(key.curve(), &legacy).unwrap(), key);
    }
}

#[test]
fn other_forms_of_keys_are_refused() {
    let good: PublicKey = VECTORS[1].did_key.parse().unwrap();
    let bytes = good.to_multikey_bytes();
    let base58 = |bytes: &[u8]| format!("did:key:z{}", bs58::encode(bytes).into_string());
    let mut off_curve = bytes.clone();
    // 2^256 - 1 is not below the field's prime.
    off_curve[3..].fill(0xff);
    let mut tag = bytes.clone();
    tag[2] = 5;
    let Inner::K256(key) = &good.0 else { panic!() };
    let whole = key.to_encoded_point(false);
    let with_codec = [&MULTICODEC_K256[..], whole.as_bytes()].concat();
    for (text, expected) in [
        ("", "not a did:key"),
        ("did:web:x", "not a did:key"),
        ("did:key:", "does not begin with `z`"),
        ("did:key:uABC", "does not begin with `z`"),
        ("did:key:z0OIl", "is not base58"),
        ("did:key:z", "no multicodec"),
        (&base58(&bytes[..34]), "key is 32 bytes, not 33"),
        (
            &base58(&[&bytes[..], &[0]].concat()),
            "key is 34 bytes, not 33",
        ),
        (&base58(&with_codec), "key is 65 bytes, not 33"),
        (
            &base58(&[&[0xed, 0x01], &bytes[2..]].concat()),
            "no multicodec",
        ),
        (&base58(&off_curve), "not a point on its curve"),
        (&base58(&tag), "not a point on its curve"),
        (&format!("did:key:z{}", "1".repeat(1 << 20)), "is too long"),
    ] {
        let error = text.parse::<PublicKey>().unwrap_err();
        assert_eq!(error.code(), Code::BadStructure);
        assert!(error.to_string().contains(expected), "{error}: {expected}");
        assert!(error.to_string().len() < 400);
    }
    for point in [
        &whole.as_bytes()[..64],
        &[&[6], &whole.as_bytes()[1..]].concat(),
        &tag[2..],
        &[0],
        &[],
        &bytes,
    ] {
        let text = format!("z{}", bs58::encode(point).into_string());
        PublicKey::from_legacy(Curve::K256, &text).unwrap_err();
    }
    // The other curve's point.
    PublicKey::from_legacy(
        Curve::P256,
        &format!("z{}", bs58::encode(whole.as_bytes()).into_string()),
    )
    .unwrap_err();
}

#[test]
fn a_key_text_is_limited() {
    let error = |length| {
        PublicKey::from_multikey(&"z".repeat(length))
            .unwrap_err()
            .to_string()
    };
    assert!(!error(KEY_TEXT_BYTES_MAX).contains("too long"));
    assert!(error(KEY_TEXT_BYTES_MAX + 1).contains("too long"));
}

#[test]
fn numbers_out_of_range_are_refused() {
    for vector in &VECTORS[..2] {
        let key: PublicKey = vector.did_key.parse().unwrap();
        let good: [u8; 64] = BASE64_NOPAD
            .decode(vector.signature.as_bytes())
            .unwrap()
            .try_into()
            .unwrap();
        for half in [0..32, 32..64] {
            for byte in [0, 0xff] {
                let mut signature = good;
                signature[half.clone()].fill(byte);
                assert_eq!(key.verify(b"", &signature), Err(SignatureFault::OutOfRange));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_flipped_bit_is_no_signature(
        seed: [u8; 31],
        mut message in prop::collection::vec(any::<u8>(), 1..100),
        bit in 0..512_usize,
        at: prop::sample::Index,
    ) {
        use k256::ecdsa::signature::Signer;
        let secret = [&[1], &seed[..]].concat();
        let one = k256::ecdsa::SigningKey::from_slice(&secret).unwrap();
        let other = p256::ecdsa::SigningKey::from_slice(&secret).unwrap();
        let first: k256::ecdsa::Signature = one.sign(&message);
        let second: p256::ecdsa::Signature = other.sign(&message);
        let second = second.normalize_s().unwrap_or(second);
        let first: [u8; 64] = first.to_bytes().into();
        let second: [u8; 64] = second.to_bytes().into();
        let keys = [
            (PublicKey(Inner::K256(*one.verifying_key())), first),
            (PublicKey(Inner::P256(*other.verifying_key())), second),
        ];
        for (key, signature) in &keys {
            prop_assert_eq!(key.verify(&message, signature), Ok(()));
            let mut flipped = *signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(key.verify(&message, &flipped).is_err());
        }
        prop_assert!(keys[0].0.verify(&message, &keys[1].1).is_err());
        let at = at.index(message.len());
        message[at] ^= 1;
        for (key, signature) in &keys {
            prop_assert_eq!(key.verify(&message, signature), Err(SignatureFault::Mismatch));
        }
    }

    #[test]
    fn any_text_is_a_key_or_an_error(text in "(did:key:)?z?[1-9A-HJ-NP-Za-km-z]{0,130}|\\PC{0,40}") {
        for key in [
            text.parse::<PublicKey>(),
            PublicKey::from_legacy(Curve::K256, &text),
            PublicKey::from_legacy(Curve::P256, &text),
        ].into_iter().flatten() {
            prop_assert_eq!(&key.to_string().parse::<PublicKey>().unwrap(), &key);
        }
    }
}
