//! What a newer schema broke of an older one. Whatever is only in the newer one is compatible.
//!
//! It is stricter than the wire: a member that is renamed reads the same bytes, and breaks everyone who wrote its name. The
//! one new name that is allowed is the old one behind `deprecated`.

use super::model::{Body, Field, FieldKind, Interface, Method, Node, Schema, Struct};

/// Returns what broke, a line each.
pub fn breaks(old: &Schema, new: &Schema) -> Vec<String> {
    let mut comparison = Comparison {
        old,
        new,
        broken: Vec::new(),
    };
    for node in old.nodes() {
        comparison.node(node);
    }
    comparison.broken
}

struct Comparison<'a> {
    old: &'a Schema,
    new: &'a Schema,
    broken: Vec<String>,
}

impl Comparison<'_> {
    fn say(&mut self, what: String) {
        self.broken.push(what);
    }

    fn node(&mut self, old: &Node) {
        if matches!(&old.body, Body::Struct(part) if part.is_part) {
            return; // with the struct or the method that it is a part of
        }
        let path = path(old);
        let Some(new) = self.new.node(old.id) else {
            let namesake = self
                .new
                .nodes()
                .into_iter()
                .find(|new| new.file == old.file && new.name == old.name);
            return self.say(match namesake {
                Some(new) => format!("{path}: its id was @{:#x} and is @{:#x}", old.id, new.id),
                None => format!("{path}: was removed"),
            });
        };
        if new.file != old.file || !may_be_named(&old.name, &new.name) {
            self.say(format!("{path}: is called {} now", self::path(new)));
        }
        match (&old.body, &new.body) {
            (Body::File, Body::File) => {}
            (Body::Struct(old), Body::Struct(new)) => self.fields(&path, old, new),
            (Body::Enum(old), Body::Enum(new)) => self.names(&path, "enumerant", old, new),
            (Body::Interface(old), Body::Interface(new)) => self.interface(&path, old, new),
            (Body::Other(old), Body::Other(new)) if old == new => {}
            _ => self.say(format!("{path}: is something else now")),
        }
    }

    /// Compares members that are known by their place alone.
    fn names(&mut self, path: &str, what: &str, old: &[String], new: &[String]) {
        for (number, name) in old.iter().enumerate() {
            let first = if number == 0 { "first " } else { "" };
            match new.get(number) {
                Some(now) if may_be_named(name, now) => {}
                now => self.say(match (new.iter().position(|other| other == name), now) {
                    (Some(moved), _) => {
                        format!("{path}.{name}: the {first}{what} was @{number} and is @{moved}")
                    }
                    (None, Some(now)) => {
                        format!("{path}.{name}: the {first}{what} is called {now} now")
                    }
                    (None, None) => format!("{path}.{name}: the {first}{what} was removed"),
                }),
            }
        }
    }

    fn interface(&mut self, path: &str, old: &Interface, new: &Interface) {
        for superclass in &old.extends {
            if !new.extends.contains(superclass) {
                self.say(format!("{path}: does not extend @{superclass:#x} any more"));
            }
        }
        let names = |methods: &[Method]| {
            methods
                .iter()
                .map(|method| method.name.clone())
                .collect::<Vec<_>>()
        };
        self.names(path, "method", &names(&old.methods), &names(&new.methods));
        for (old, new) in old.methods.iter().zip(&new.methods) {
            // One of another name has been told, and is not worth its parameters.
            if may_be_named(&old.name, &new.name) {
                self.method(&format!("{path}.{}", old.name), old, new);
            }
        }
    }

    fn method(&mut self, path: &str, old: &Method, new: &Method) {
        self.call(path, "parameters", old.params, new.params);
        match (old.results, new.results) {
            (Some(old), Some(new)) => self.call(path, "results", old, new),
            (None, None) => {}
            (None, Some(_)) => self.say(format!("{path}: was a stream")),
            (Some(_), None) => self.say(format!("{path}: became a stream")),
        }
    }

    /// Compares what a method takes or gives: a list of its own, or a struct that is declared somewhere.
    fn call(&mut self, path: &str, what: &str, old_id: u64, new_id: u64) {
        match (self.old.struct_(old_id), self.new.struct_(new_id)) {
            (Some(old), Some(new)) if old.is_part && new.is_part => self.fields(path, old, new),
            _ if old_id == new_id => {}
            _ => self.say(format!("{path}: has other {what}")),
        }
    }

    fn fields(&mut self, path: &str, old: &Struct, new: &Struct) {
        if old.union_at.is_some() && old.union_at != new.union_at {
            self.say(format!("{path}: the union's tag is in another place"));
        }
        for old in &old.fields {
            let path = format!("{path}.{}", old.name);
            match &old.kind {
                FieldKind::Slot { .. } => self.slot(&path, old, new),
                FieldKind::Group(_) => self.group(&path, old, new),
            }
        }
    }

    fn slot(&mut self, path: &str, old: &Field, new: &Struct) {
        let FieldKind::Slot {
            ordinal,
            offset,
            of,
            default,
        } = &old.kind
        else {
            return;
        };
        let same = |field: &&Field| matches!(&field.kind, FieldKind::Slot { ordinal: o, .. } if o == ordinal);
        let Some(field) = new.fields.iter().find(same) else {
            return self.say(
                match new.fields.iter().find(|field| field.name == old.name) {
                    Some(Field {
                        kind: FieldKind::Slot { ordinal: now, .. },
                        ..
                    }) => {
                        format!("{path}: was @{ordinal} and is @{now}")
                    }
                    Some(_) => format!("{path}: became a group"),
                    None => format!("{path}: @{ordinal} was removed"),
                },
            );
        };
        let FieldKind::Slot {
            offset: offset_now,
            of: of_now,
            default: default_now,
            ..
        } = &field.kind
        else {
            return;
        };
        if !may_be_named(&old.name, &field.name) {
            return self.say(format!("{path}: @{ordinal} is called {} now", field.name));
        }
        if of.key != of_now.key {
            return self.say(format!(
                "{path}: was of type {} and is of {}",
                of.text, of_now.text
            ));
        }
        if default != default_now {
            self.say(format!("{path}: has another default"));
        }
        if offset != offset_now {
            self.say(format!("{path}: is in another place of its struct"));
        }
        self.arm(path, old, field);
    }

    fn group(&mut self, path: &str, old: &Field, new: &Struct) {
        let group = |field: &Field| match field.kind {
            FieldKind::Group(id) => Some(id),
            FieldKind::Slot { .. } => None,
        };
        // A group has no number, and its id counts the groups before it.
        let same = |field: &&Field| group(field).is_some() && may_be_named(&old.name, &field.name);
        let Some(field) = new.fields.iter().find(same) else {
            return self.say(format!("{path}: the group was removed"));
        };
        self.arm(path, old, field);
        let was = group(old).and_then(|id| self.old.struct_(id));
        let is = group(field).and_then(|id| self.new.struct_(id));
        if let (Some(was), Some(is)) = (was, is) {
            self.fields(path, was, is);
        }
    }

    fn arm(&mut self, path: &str, old: &Field, new: &Field) {
        match (old.arm, new.arm) {
            (was, is) if was == is => {}
            (Some(was), Some(is)) => self.say(format!(
                "{path}: was arm {was} of the union and is arm {is}"
            )),
            (Some(_), None) => self.say(format!("{path}: was an arm of the union")),
            (None, _) => self.say(format!("{path}: became an arm of a union")),
        }
    }
}

/// Returns a declaration's place for people, such as `store.capnp: Repo`.
pub fn path(node: &Node) -> String {
    if node.name.is_empty() {
        node.file.clone()
    } else {
        format!("{}: {}", node.file, node.name)
    }
}

/// Says whether what was called `old` may be called `new`: the same, or retired. A type's name is dotted.
fn may_be_named(old: &str, new: &str) -> bool {
    old == new || retired(old) == new
}

/// Returns the name that a retired member has: `deprecatedName`, and `DeprecatedName` of a type.
fn retired(name: &str) -> String {
    let (scope, last) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
    let mut letters = last.chars();
    match letters.next() {
        Some(first) if first.is_uppercase() => format!("{scope}Deprecated{last}"),
        Some(first) => format!(
            "{scope}deprecated{}{}",
            first.to_uppercase(),
            letters.as_str()
        ),
        None => name.to_owned(),
    }
}
