//! Small schemas against each other: each breaking change is found, each compatible one passes, each rule is kept.
//!
//! A case is an edit of [`BASE`]. All cases compile together, each in a file of its own: the compiler takes a while to start.

use std::fs;

use super::compare::breaks;
use super::model::Schema;
use super::rules;

/// What a release published. `ID` becomes the file's own.
const BASE: &str = "
ID;
# A file.
interface Root {
  # A root.
  open @0 (name :Text) -> (leaf :Leaf);
  # Opens.
  look @1 () -> Found;
  # Looks.
}
interface Leaf {
  # A leaf.
}
interface ByteSink extends(Leaf) {
  # A sink.
  write @0 (bytes :Data) -> stream;
  # Writes.
}
struct Found {
  # What was found.
  union {
    absent @0 :Void;
    found :group {
      number @1 :UInt32;
      kind @2 :Kind;
    }
  }
  name @3 :Text;
  size @4 :UInt16 = 7;
  parts @5 :List(Part);
  struct Part {
    # A part.
    text @0 :Text;
  }
  enum Kind {
    # A kind.
    unknown @0;
    small @1;
    large @2;
  }
}
struct Other {
  # Another.
  one @0 :UInt32;
}
struct Choice @CHOICE {
  # A choice.
  weight @0 :UInt16;
  union {
    none @1 :Void;
    some @2 :Text;
  }
}
const answer :UInt32 = 42;
# A number.
";

/// What is replaced by what, and what is said of it.
const BREAKING: &[(&str, &str, &str)] = &[
    ("one @0 :UInt32;", "", "Other.one: @0 was removed"),
    (
        "name @3 :Text;\n  size @4",
        "size @3 :UInt16 = 7;\n  name @4 :Text;\n  more @6",
        "Found.name: @3 is called size now",
    ),
    (
        "number @1 :UInt32;\n      kind @2",
        "kind @1 :Kind;\n      kinds @2",
        "Found.found.number: @1 is called kind now",
    ),
    (
        "name @3 :Text",
        "label @3 :Text",
        "Found.name: @3 is called label now",
    ),
    (
        "name @3 :Text",
        "name @3 :Data",
        "Found.name: was of type Text and is of Data",
    ),
    (
        "number @1 :UInt32",
        "number @1 :Int32",
        "Found.found.number: was of type UInt32 and is of Int32",
    ),
    (
        "parts @5 :List(Part)",
        "parts @5 :List(Other)",
        "Found.parts: was of type List(Found.Part) and is of List(Other)",
    ),
    (
        "parts @5 :List(Part)",
        "parts @5 :Part",
        "Found.parts: was of type List(Found.Part) and is of Found.Part",
    ),
    (
        "size @4 :UInt16 = 7",
        "size @4 :UInt16 = 8",
        "Found.size: has another default",
    ),
    // Whoever widens one field moves others.
    (
        "number @1 :UInt32",
        "number @1 :UInt64",
        "Found.size: is in another place of its struct",
    ),
    (
        "weight @0 :UInt16",
        "weight @0 :UInt64",
        "Choice: the union's tag is in another place",
    ),
    (
        "one @0 :UInt32;",
        "two :group { one @0 :UInt32; }",
        "Other.one: @0 was removed",
    ),
    (
        "one @0 :UInt32;",
        "one :group { two @0 :UInt32; }",
        "Other.one: became a group",
    ),
    (
        "one @0 :UInt32;",
        "union { one @0 :UInt32; two @1 :Void; }",
        "Other.one: became an arm of a union",
    ),
    (
        "    found :group {\n      number @1 :UInt32;\n      kind @2 :Kind;\n    }\n  }\n",
        "    none @6 :Void;\n  }\n  found :group {\n    number @1 :UInt32;\n    kind @2 :Kind;\n  }\n",
        "Found.found: was an arm of the union",
    ),
    (
        "absent @0 :Void;",
        "none @0 :Void;",
        "Found.absent: @0 is called none now",
    ),
    (
        "absent @0 :Void;\n    found :group {\n      number @1 :UInt32;",
        "none @6 :Void;\n    found :group {\n      absent @0 :Void; number @1 :UInt32;",
        "Found.absent: @0 was removed",
    ),
    (
        "found :group",
        "hit :group",
        "Found.found: the group was removed",
    ),
    (
        "parts @5 :List(Part);\n  struct Part {",
        "parts @5 :List(Piece);\n  struct Piece {",
        "Found.Part: was removed",
    ),
    (
        "struct Part {",
        "struct Part @0xc123456789abcdef {",
        "Found.Part: its id was @",
    ),
    ("struct Other {", "struct Another {", "Other: was removed"),
    ("struct Choice", "struct Option", "Choice: is called case"),
    (
        "weight @0 :UInt16;\n  union {",
        "union {\n    weight @0 :UInt16;",
        "Choice.none: was arm 0 of the union and is arm 1",
    ),
    (
        "struct Other {\n  # Another.\n  one @0 :UInt32;",
        "enum Other {\n  # Another.\n  unknown @0;",
        "Other: is something else now",
    ),
    (
        "unknown @0;\n    small @1",
        "small @0;\n    unknown @1",
        "Found.Kind.unknown: the first enumerant was @0 and is @1",
    ),
    (
        "unknown @0",
        "none @0",
        "Found.Kind.unknown: the first enumerant is called none now",
    ),
    (
        "    large @2;\n",
        "",
        "Found.Kind.large: the enumerant was removed",
    ),
    (
        "small @1;\n    large @2",
        "large @1;\n    small @2",
        "Found.Kind.large: the enumerant was @2 and is @1",
    ),
    (
        "look @1 () -> Found;\n  # Looks.",
        "",
        "Root.look: the method was removed",
    ),
    (
        "open @0 (name :Text) -> (leaf :Leaf);\n  # Opens.\n  look @1",
        "look @0 () -> Found;\n  open @1 (name :Text) -> (leaf :Leaf);\n  see @2",
        "Root.open: the first method was @0 and is @1",
    ),
    (
        "look @1",
        "see @1",
        "Root.look: the method is called see now",
    ),
    (
        "(name :Text)",
        "(name :Data)",
        "Root.open.name: was of type Text and is of Data",
    ),
    ("(name :Text)", "()", "Root.open.name: @0 was removed"),
    (
        "(name :Text)",
        "(path :Text)",
        "Root.open.name: @0 is called path now",
    ),
    ("(name :Text)", "Other", "Root.open: has other parameters"),
    (
        "(leaf :Leaf)",
        "(leaf :Root)",
        "Root.open.leaf: was of type Leaf and is of Root",
    ),
    ("-> Found;", "-> Other;", "Root.look: has other results"),
    ("-> Found;", "-> stream;", "Root.look: became a stream"),
    ("-> stream;", "-> ();", "ByteSink.write: was a stream"),
    (" extends(Leaf)", "", "ByteSink: does not extend @"),
    (
        "answer :UInt32 = 42",
        "answer :UInt32 = 43",
        "answer: is something else now",
    ),
];

const COMPATIBLE: &[(&str, &str)] = &[
    ("# A file.", "# A file that says more."),
    ("one @0 :UInt32;", "one @0 :UInt32; two @1 :Text;"),
    (
        "one @0 :UInt32;",
        "one @0 :UInt32; union { none @1 :Void; some @2 :Text; }",
    ),
    (
        "one @0 :UInt32;",
        "more :group { two @1 :UInt32; } one @0 :UInt32;",
    ),
    ("one @0 :UInt32;", "deprecatedOne @0 :UInt32;"),
    ("absent @0 :Void;", "absent @0 :Void; damaged @6 :Text;"),
    (
        "found :group {",
        "other :group { why @6 :Text; where @7 :Text; }\n    found :group {",
    ),
    ("kind @2 :Kind;", "kind @2 :Kind; weight @6 :UInt64;"),
    (
        "name @3 :Text;\n  size @4 :UInt16 = 7;",
        "size @4 :UInt16 = 7;\n  name @3 :Text;",
    ),
    ("large @2;", "large @2; huge @3;"),
    ("small @1", "deprecatedSmall @1"),
    ("look @1", "deprecatedLook @1"),
    (
        "look @1 () -> Found;\n  # Looks.",
        "look @1 () -> Found;\n  # Looks.\n  shut @2 ();\n  # Shuts.",
    ),
    ("(name :Text)", "(name :Text, rev :Text)"),
    ("(leaf :Leaf)", "(leaf :Leaf, more :Bool)"),
    ("interface Root {", "interface Root extends(Leaf) {"),
    (
        "struct Other {",
        "struct Others {\n  # Others.\n  all @0 :List(Other);\n}\nstruct Other {",
    ),
    ("struct Choice", "struct DeprecatedChoice"),
    ("text @0 :Text", "text @0 :Text; number @1 :UInt32"),
];

const AGAINST_RULES: &[(&str, &str, &str)] = &[
    ("  # Another.\n", "", "Other: has no comment"),
    ("  # A root.\n", "", "Root: has no comment"),
    ("    # A kind.\n", "", "Found.Kind: has no comment"),
    ("  # Looks.\n", "", "Root.look: has no comment"),
    ("# A number.\n", "", "answer: has no comment"),
    (
        "unknown @0",
        "allowed @0",
        "Found.Kind.allowed: is the first enumerant",
    ),
    ("absent @0", "valid @0", "Found.valid: is the first arm"),
    (
        "one @0 :UInt32;",
        "one @0 :UInt32; which :union { yes @1 :Void; no @2 :Void; }",
        "Other.which.yes: is the first arm",
    ),
    (
        "interface ByteSink",
        "interface Bytes",
        "Bytes.write: only what is called a Sink takes a stream",
    ),
    ("struct Other {", "struct Other(T) {", "Other: is generic"),
];

#[test]
fn every_breaking_change_is_found() {
    let edits: Vec<_> = BREAKING.iter().map(|(from, to, _)| (*from, *to)).collect();
    let said = compare(&edits);
    for ((from, to, expected), said) in BREAKING.iter().zip(said) {
        assert!(
            said.iter().any(|line| line.contains(expected)),
            "{from} → {to}: expected {expected}, said {said:?}"
        );
    }
}

#[test]
fn every_compatible_change_passes() {
    let said = compare(COMPATIBLE);
    for ((from, to), said) in COMPATIBLE.iter().zip(said) {
        assert!(said.is_empty(), "{from} → {to}: {said:?}");
    }
}

#[test]
fn every_rule_is_kept() {
    let edits: Vec<_> = AGAINST_RULES
        .iter()
        .map(|(from, to, _)| (*from, *to))
        .collect();
    let said = rules::check(&compiled(&edits).1);
    for (number, (from, to, expected)) in AGAINST_RULES.iter().enumerate() {
        let said = of_case(&said, number);
        assert!(
            said.len() == 1 && said[0].contains(expected),
            "{from} → {to}: expected {expected}, said {said:?}"
        );
    }
}

#[test]
fn what_was_published_keeps_to_the_rules() {
    assert_eq!(
        rules::check(&compiled(&[("ID", "ID")]).0),
        Vec::<String>::new()
    );
}

#[test]
fn releases_are_told_from_other_tags() {
    assert_eq!(super::version("v0.1.0"), Some([0, 1, 0]));
    assert_eq!(super::version("v1.20.3"), Some([1, 20, 3]));
    for other in [
        "0.1.0",
        "v0.1.0-rc.1",
        "v1",
        "v1.2",
        "v1.2.3.4",
        "vnext",
        "v1.2.x",
    ] {
        assert_eq!(super::version(other), None, "{other}");
    }
}

/// Returns what is said of each edit.
fn compare(edits: &[(&str, &str)]) -> Vec<Vec<String>> {
    let (old, new) = compiled(edits);
    let said = breaks(&old, &new);
    (0..edits.len())
        .map(|number| of_case(&said, number))
        .collect()
}

fn of_case(said: &[String], number: usize) -> Vec<String> {
    said.iter()
        .filter(|line| line.starts_with(&format!("case{number}.capnp")))
        .cloned()
        .collect()
}

/// Compiles the base and each edit of it.
fn compiled(edits: &[(&str, &str)]) -> (Schema, Schema) {
    let folder = std::env::temp_dir().join(format!(
        "carrack-check-schema-{}-{:p}",
        std::process::id(),
        edits.as_ptr()
    ));
    let (old, new) = (folder.join("old"), folder.join("new"));
    for folder in [&old, &new] {
        fs::create_dir_all(folder).unwrap();
    }
    for (number, (from, to)) in edits.iter().enumerate() {
        let id = |start: u64| format!("@{:#x}", start + number as u64);
        let base = BASE.replace("ID;", &format!("{};", id(0x9a00_0000_0000_0000)));
        let base = base.replace("@CHOICE", &id(0x9b00_0000_0000_0000));
        assert_eq!(BASE.matches(from).count(), 1, "{from} is in the base once");
        let edited = base.replace(from, to);
        let name = format!("case{number}.capnp");
        fs::write(old.join(&name), base).unwrap();
        fs::write(new.join(&name), edited).unwrap();
    }
    let schemas = (Schema::compile(&old), Schema::compile(&new));
    fs::remove_dir_all(&folder).unwrap();
    (schemas.0.unwrap(), schemas.1.unwrap())
}
