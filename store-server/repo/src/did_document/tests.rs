//! Documents made by a real PDS for accounts of our own, and each way a document can be wrong.

use carrack_schema::Code;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DID: &str = "did:plc:mdw2cyobkrktv3zvyvwr7fhj";
const MULTIKEY: &str = "zQ3shtXhgvTPY3bUvbkVUcbfbMxgC8QQXytmDm6SUdJ17XRBA";
const LEGACY: &str =
    "zRbkQCswaBmQg6vUNVm8WRL8KzYPmLwJgneDTJbH4VjdyQgjaiqQub7XDgzMLtzwSEo5VLR3D928sDNZmjk6ddzDJ";

/// The document of the fixture account `small`, as its PDS and PLC directory made it.
fn modern() -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": DID,
        "alsoKnownAs": ["at://fx-small.test"],
        "verificationMethod": [{
            "id": format!("{DID}#atproto"),
            "type": "Multikey",
            "controller": DID,
            "publicKeyMultibase": MULTIKEY,
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": "http://localhost:33409",
        }],
    })
}

/// The same in the older form: relative id, curve in the type, whole point.
fn legacy() -> Value {
    let mut document = modern();
    document["verificationMethod"][0] = json!({
        "id": "#atproto",
        "type": "EcdsaSecp256k1VerificationKey2019",
        "controller": DID,
        "publicKeyMultibase": LEGACY,
    });
    document
}

fn parse(document: &Value) -> Result<DidDocument> {
    DidDocument::parse(document.to_string().as_bytes())
}

#[test]
fn both_forms_give_the_same_key() {
    let document = parse(&modern()).unwrap();
    assert_eq!(document, parse(&legacy()).unwrap());
    assert_eq!(document.id.as_str(), DID);
    assert_eq!(document.handles, ["fx-small.test"]);
    let key = document.signing_key.as_ref().unwrap();
    assert_eq!(key.to_string(), format!("did:key:{MULTIKEY}"));
    document.check_id(&DID.parse().unwrap()).unwrap();
    let error = document
        .check_id(&"did:web:x".parse().unwrap())
        .unwrap_err();
    assert_eq!(error.code(), Code::WrongDid);
    assert_eq!(
        error.to_string(),
        format!("DID document is of {DID}, not of did:web:x")
    );
}

#[test]
fn either_id_goes_with_either_type_and_the_first_method_counts() {
    for (mut document, id) in [
        (modern(), "#atproto"),
        (legacy(), &format!("{DID}#atproto")),
    ] {
        document["verificationMethod"][0]["id"] = json!(id);
        let methods = document["verificationMethod"].as_array_mut().unwrap();
        methods.push(json!({"id": "#atproto", "type": "later"}));
        for other in [
            json!({}),
            json!({"id": 5, "publicKeyJwk": {}}),
            json!({"id": "did:web:other#atproto", "type": "Multikey"}),
            json!({"id": "#atproto_label", "type": "Multikey", "controller": [DID]}),
        ] {
            methods.insert(0, other);
        }
        assert!(parse(&document).unwrap().signing_key.is_some());
    }
}

#[test]
fn a_document_may_have_no_key() {
    for edit in [
        |document: &mut Value| document["verificationMethod"] = json!([]),
        |document: &mut Value| document["verificationMethod"] = Value::Null,
        |document: &mut Value| document["verificationMethod"][0]["id"] = json!("#other"),
        |document: &mut Value| {
            document
                .as_object_mut()
                .unwrap()
                .remove("verificationMethod");
        },
    ] {
        let mut document = modern();
        edit(&mut document);
        assert_eq!(parse(&document).unwrap().signing_key, None);
    }
}

#[test]
fn odd_documents_are_refused_and_say_why() {
    let cases: [(&str, Value, &str); 10] = [
        ("/id", Value::Null, "field `id` is missing"),
        ("/id", json!(1), "field `id` is not a text"),
        (
            "/id",
            json!("plc:x"),
            "field `id` is not a valid DID: `plc:x`",
        ),
        ("/verificationMethod", json!("x"), "not JSON of the form"),
        ("/verificationMethod/0", json!("x"), "not JSON of the form"),
        (
            "/verificationMethod/0/type",
            json!("JsonWebKey2020"),
            "type `JsonWebKey2020` is not known",
        ),
        (
            "/verificationMethod/0/type",
            json!(["Multikey"]),
            "field `type` is not a text",
        ),
        (
            "/verificationMethod/0/controller",
            json!("did:web:x"),
            "its controller is `did:web:x`, not did:plc:",
        ),
        (
            "/verificationMethod/0/publicKeyMultibase",
            json!("zz"),
            "method `#atproto`: key",
        ),
        (
            "/verificationMethod/0/publicKeyMultibase",
            json!(LEGACY),
            "no multicodec",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut document = modern();
        *document.pointer_mut(pointer).unwrap() = value;
        let error = parse(&document).unwrap_err();
        assert_eq!(error.code(), Code::BadStructure);
        assert!(error.to_string().starts_with("DID document: "), "{error}");
        assert!(error.to_string().contains(expected), "{error}: {expected}");
    }
    for json in [
        "",
        "{",
        "[]",
        "null",
        "{\"id\":\"did:web:x\",\"id\":\"did:web:y\"}",
        "\u{feff}{}",
    ] {
        let error = DidDocument::parse(json.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::BadStructure, "{json}");
    }
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(
        DidDocument::parse(deep.as_bytes()).unwrap_err().code(),
        Code::BadStructure
    );
}

#[test]
fn handles_are_claims_of_the_right_form_and_bounded() {
    let mut document = modern();
    let long = "a".repeat(HANDLE_BYTES_MAX);
    document["alsoKnownAs"] = json!([
        "https://example.com",
        7,
        "at://",
        "at://b.test/x",
        "at://c\n.test",
        "at://é.test",
        format!("at://{long}"),
        format!("at://{long}a"),
        "at://A.test",
    ]);
    assert_eq!(parse(&document).unwrap().handles, [&long[..], "A.test"]);
    document["alsoKnownAs"] = json!(vec!["at://a.test"; HANDLES_MAX + 1]);
    assert_eq!(parse(&document).unwrap().handles.len(), HANDLES_MAX);
    for none in [json!("at://a.test"), Value::Null] {
        document["alsoKnownAs"] = none;
        assert!(parse(&document).unwrap().handles.is_empty());
    }
}

#[test]
fn size_is_limited() {
    let mut json = modern().to_string().into_bytes();
    json.resize(DID_DOCUMENT_BYTES_MAX, b' ');
    DidDocument::parse(&json).unwrap();
    json.push(b' ');
    assert_eq!(
        DidDocument::parse(&json).unwrap_err().code(),
        Code::LimitExceeded
    );
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, byte: u8) {
        let mut json = legacy().to_string().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(document) = DidDocument::parse(&json) {
            prop_assert!(document.handles.len() <= 1);
        }
    }
}
