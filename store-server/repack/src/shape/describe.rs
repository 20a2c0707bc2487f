//! A shape in words, for people who look into a file. Nothing reads them back.

use super::{Fixed, Part, Shape};
use crate::leaf::Leaf;
use crate::leaf::uri::RkeyForm;

impl Shape {
    /// Returns what is at each path, lists and maps left out: first what every record of the shape has, then the leaves in
    /// the order of the record. Keys come from records, so they may be any text.
    pub fn describe(&self) -> Vec<(String, String)> {
        let fixed = self.fixed.iter().map(|(path, value)| {
            let what = match *value {
                Fixed::Null => "null".to_owned(),
                Fixed::Text { start, end } => {
                    format!("= {}", String::from_utf8_lossy(self.bytes(start, end)))
                }
            };
            (path.to_string(), what)
        });
        let leaves = self.parts.iter().filter_map(|part| match *part {
            Part::Leaf(number) => self.leaves.get(usize::from(number)),
            Part::Run { .. } => None,
        });
        let leaves = leaves.map(|leaf| (leaf.path.to_string(), self.kind(leaf.kind)));
        fixed.chain(leaves).collect()
    }

    fn kind(&self, leaf: Leaf) -> String {
        let kind = match leaf {
            Leaf::Bool => "bool",
            Leaf::Int => "int",
            Leaf::Text => "text",
            Leaf::Bytes => "bytes",
            Leaf::Tid => "tid",
            Leaf::Plc => "did:plc",
            Leaf::Uri(RkeyForm::Tid) => "at-uri of a tid",
            Leaf::Uri(RkeyForm::Text) => "at-uri",
            Leaf::CidText(_) => "cid",
            Leaf::Link(_) => "link",
            Leaf::Time(form) => return format!("time ({form})"),
            Leaf::Same(of) => {
                let path = self
                    .leaves
                    .get(usize::from(of))
                    .map_or("", |leaf| &leaf.path);
                return format!("same as {path}");
            }
        };
        kind.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cut, Cuttable};
    use super::*;

    #[test]
    fn a_shape_is_told_by_paths_and_kinds() {
        // {"$type": "a.b", "n": null, "ok": true, "tags": ["x", 3]}
        let record = b"\xa4\x61n\xf6\x62ok\xf5\x64tags\x82\x61x\x03\x65$type\x63a.b";
        let mut cut = Cut::default();
        assert_eq!(cut.of(record), Cuttable::Yes);
        let shape = Shape::parse(cut.template()).unwrap();
        let expected = [
            ("n", "null"),
            ("$type", "= a.b"),
            ("ok", "bool"),
            ("tags", "text"),
            ("tags", "int"),
        ];
        let expected = expected.map(|(path, what)| (path.to_owned(), what.to_owned()));
        assert_eq!(shape.describe(), expected);
    }
}
