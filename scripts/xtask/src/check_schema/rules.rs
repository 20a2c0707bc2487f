//! The rules that need no history: what every schema of ours keeps to from its first day. How names are written is not among
//! them, because the schema compiler refuses others.

use super::compare::path;
use super::model::{Body, Node, Schema, Struct};

/// Names that a first enumerant or a first arm of a union may have: what a reader sees when the writer set nothing, or is
/// older than the field. None of them grants or asserts anything.
const HARMLESS: [&str; 8] = [
    "none",      // nothing wanted, nothing allowed, nothing held
    "unknown",   // not said
    "unchecked", // a signature that nobody looked at
    "absent",    // the expected miss
    "rejected",  // an input that was refused
    "null",      // a value
    "receiving", // the first phase of an import: nothing is done
    "segments",  // the first phase of a check: nothing is done
];

/// Returns what is against the rules, a line each.
pub fn check(schema: &Schema) -> Vec<String> {
    let mut broken = Vec::new();
    for node in schema.nodes() {
        let path = path(node);
        broken.extend(
            check_node(node)
                .into_iter()
                .map(|what| format!("{path}{what}")),
        );
    }
    broken
}

fn check_node(node: &Node) -> Vec<String> {
    let mut broken = Vec::new();
    let is_part = matches!(&node.body, Body::Struct(part) if part.is_part);
    if !node.documented && !is_part && !matches!(node.body, Body::File) {
        broken.push(": has no comment".into());
    }
    if node.generic {
        broken.push(": is generic, which the comparison does not know".into());
    }
    match &node.body {
        Body::File | Body::Other(_) => {}
        Body::Struct(found) => check_struct(found, &mut broken),
        Body::Enum(enumerants) => check_first(
            enumerants.first().map(String::as_str),
            "enumerant",
            &mut broken,
        ),
        Body::Interface(found) => {
            for method in &found.methods {
                if !method.documented {
                    broken.push(format!(".{}: has no comment", method.name));
                }
                if method.results.is_none() && !node.name.ends_with("Sink") {
                    broken.push(format!(
                        ".{}: only what is called a Sink takes a stream",
                        method.name
                    ));
                }
            }
        }
    }
    broken
}

fn check_struct(found: &Struct, broken: &mut Vec<String>) {
    if found.union_at.is_some() {
        let first = found.fields.iter().find(|field| field.arm == Some(0));
        check_first(first.map(|field| field.name.as_str()), "arm", broken);
    }
}

fn check_first(first: Option<&str>, what: &str, broken: &mut Vec<String>) {
    if let Some(name) = first.filter(|name| !HARMLESS.contains(name)) {
        broken.push(format!(
            ".{name}: is the first {what}, and not one of {}",
            HARMLESS.join(", ")
        ));
    }
}
