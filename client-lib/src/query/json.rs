//! Plans as JSON: what a command or a tool takes. Unknown fields are refused, and a step does one thing.

use carrack_schema::time::{parse_day, parse_rfc3339};
use carrack_schema::{Cid, Value};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Among, Ask, List, Op, Repos, Step, StepRef, Test, Top};
use crate::types::{Form, Want};

/// A step as JSON.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct StepForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<StepRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<ListForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Vec<TestForm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    among: Option<Among>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<TopForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
}

/// `{}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A list as JSON: `repo` is one name, `repos` several, or `"all"`; `at` is a path of rows.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ListForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repos: Option<ReposForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    collection: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    before: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reverse: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ReposForm {
    All(All),
    Named(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum All {
    All,
}

/// A time as JSON: microseconds since the Unix epoch, or a text of RFC 3339, or a day.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Operand::deserialize(deserializer)?.0 {
            Value::Int(micros) => Ok(Self(micros)),
            Value::Text(text) => parse_rfc3339(&text)
                .or_else(|| parse_day(&text))
                .map(Self)
                .ok_or_else(|| {
                    D::Error::custom(format!("`{text}` is no time, such as 2026-10-31"))
                }),
            _ => Err(D::Error::custom("a time is a text or a number")),
        }
    }
}

/// A test as JSON: a path and one thing to ask; `not` turns it round, and so does `"exists": false`.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TestForm {
    path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    not: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exists: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    equals: Option<Operand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    at_least: Option<Operand>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    below: Option<Operand>,
}

/// Reads what is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Operand>, D::Error> {
    Operand::deserialize(deserializer).map(Some)
}

/// A value without parts as JSON, in the data model's form.
struct Operand(Value);

impl Serialize for Operand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Operand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl<'de> Visitor<'de> for Scalar {
            type Value = Operand;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a text, an integer, a boolean, null, {\"$bytes\": …} or {\"$link\": …}",
                )
            }

            fn visit_unit<E>(self) -> Result<Operand, E> {
                Ok(Operand(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Operand, E> {
                Ok(Operand(Value::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Operand, E> {
                Ok(Operand(Value::Int(value)))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Operand, E> {
                let value =
                    i64::try_from(value).map_err(|_| E::custom("the integer is too large"))?;
                Ok(Operand(Value::Int(value)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Operand, E> {
                Ok(Operand(Value::Text(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operand, A::Error> {
                let entry = map.next_entry::<String, String>()?;
                let more = map.next_key::<String>()?.is_some();
                let value = match entry {
                    Some((tag, text)) if !more && tag == "$bytes" => {
                        let bytes = data_encoding::BASE64_NOPAD
                            .decode(text.trim_end_matches('=').as_bytes());
                        bytes.ok().map(Value::Bytes)
                    }
                    Some((tag, text)) if !more && tag == "$link" => {
                        let cid = text.parse::<Cid>().ok();
                        cid.map(|cid| Value::Link(cid.as_bytes().to_vec()))
                    }
                    _ => None,
                };
                value
                    .map(Operand)
                    .ok_or_else(|| A::Error::custom("no list and no map can be compared with"))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

/// A projection as JSON: paths, or the form.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ProjectForm {
    Fields(Vec<String>),
    Want(WantForm),
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WantForm {
    form: FormName,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cid: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
}

#[derive(Serialize, Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum FormName {
    None,
    #[default]
    Value,
    DagCbor,
}

/// The first rows as JSON: how many, or that and the order.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TopForm {
    Count(u32),
    Ordered(OrderedForm),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderedForm {
    count: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    by: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ascending: bool,
}

/// Returns the only one that is there.
fn only<T>(all: impl IntoIterator<Item = Option<T>>, what: &str) -> Result<T, String> {
    let mut there = all.into_iter().flatten();
    match (there.next(), there.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(format!("none of {what}")),
        (Some(_), Some(_)) => Err(format!("more than one of {what}")),
    }
}

impl TryFrom<StepForm> for Step {
    type Error = String;

    fn try_from(form: StepForm) -> Result<Self, String> {
        const OPS: &str = "get, list, filter, among, map, project, count, group, top, distinct and first in a step";
        let list = form.list.map(List::try_from).transpose()?.map(Op::List);
        let filter = match form.filter {
            None => None,
            Some(tests) => {
                let tests = tests.into_iter().map(Test::try_from);
                Some(Op::Filter(tests.collect::<Result<_, _>>()?))
            }
        };
        let ops = [
            form.get.map(Op::Get),
            list,
            filter,
            form.among.map(Op::Among),
            form.map.map(Op::Map),
            form.project.map(|project| Op::Project(project.into())),
            form.count.map(|Nothing {}| Op::Count),
            form.group.map(Op::Group),
            form.top.map(|top| Op::Top(top.into())),
            form.distinct.map(Op::Distinct),
            form.first.map(Op::First),
        ];
        Ok(Self {
            id: form.id,
            from: form.from,
            op: only(ops, OPS)?,
        })
    }
}

impl From<Step> for StepForm {
    fn from(step: Step) -> Self {
        let mut form = Self {
            id: step.id,
            from: step.from,
            ..Self::default()
        };
        match step.op {
            Op::Get(uris) => form.get = Some(uris),
            Op::List(list) => form.list = Some(list.into()),
            Op::Filter(tests) => form.filter = Some(tests.into_iter().map(Into::into).collect()),
            Op::Among(among) => form.among = Some(among),
            Op::Map(path) => form.map = Some(path),
            Op::Project(want) => form.project = Some(want.into()),
            Op::Count => form.count = Some(Nothing {}),
            Op::Group(path) => form.group = Some(path),
            Op::Top(top) => form.top = Some(top.into()),
            Op::Distinct(path) => form.distinct = Some(path),
            Op::First(count) => form.first = Some(count),
        }
        form
    }
}

impl TryFrom<ListForm> for List {
    type Error = String;

    fn try_from(form: ListForm) -> Result<Self, String> {
        let repos = match form.repos {
            None => None,
            Some(ReposForm::All(All::All)) => Some(Repos::All),
            Some(ReposForm::Named(names)) => Some(Repos::Named(names)),
        };
        let repo = form.repo.map(|name| Repos::Named(vec![name]));
        Ok(Self {
            repos: only(
                [repo, repos, form.at.map(Repos::At)],
                "repo, repos and at in a list",
            )?,
            collection: form.collection,
            from: form.from,
            before: form.before,
            reverse: form.reverse,
            since: form.since.map(|time| time.0),
            until: form.until.map(|time| time.0),
        })
    }
}

impl From<List> for ListForm {
    fn from(list: List) -> Self {
        let (repos, at) = match list.repos {
            Repos::Named(names) => (Some(ReposForm::Named(names)), None),
            Repos::All => (Some(ReposForm::All(All::All)), None),
            Repos::At(path) => (None, Some(path)),
        };
        Self {
            repo: None,
            repos,
            at,
            collection: list.collection,
            from: list.from,
            before: list.before,
            reverse: list.reverse,
            since: list.since.map(Time),
            until: list.until.map(Time),
        }
    }
}

impl TryFrom<TestForm> for Test {
    type Error = String;

    fn try_from(form: TestForm) -> Result<Self, String> {
        let negate = form.not != (form.exists == Some(false));
        let asks = [
            form.exists.map(|_| Ask::Exists),
            form.equals.map(|operand| Ask::Equals(operand.0)),
            form.prefix.map(Ask::Prefix),
            form.contains.map(Ask::Contains),
            form.at_least.map(|operand| Ask::AtLeast(operand.0)),
            form.below.map(|operand| Ask::Below(operand.0)),
        ];
        Ok(Self {
            path: form.path,
            negate,
            ask: only(
                asks,
                "exists, equals, prefix, contains, atLeast and below in a test",
            )?,
        })
    }
}

impl From<Test> for TestForm {
    fn from(test: Test) -> Self {
        let mut form = Self {
            path: test.path,
            not: test.negate,
            ..Self::default()
        };
        match test.ask {
            Ask::Exists => form.exists = Some(true),
            Ask::Equals(value) => form.equals = Some(Operand(value)),
            Ask::Prefix(text) => form.prefix = Some(text),
            Ask::Contains(text) => form.contains = Some(text),
            Ask::AtLeast(value) => form.at_least = Some(Operand(value)),
            Ask::Below(value) => form.below = Some(Operand(value)),
        }
        form
    }
}

impl From<ProjectForm> for Want {
    fn from(form: ProjectForm) -> Self {
        match form {
            // No fields at all: the names are enough.
            ProjectForm::Fields(fields) if fields.is_empty() => Self::default(),
            ProjectForm::Fields(fields) => Self {
                fields,
                ..Self::value()
            },
            ProjectForm::Want(want) => Self {
                form: match want.form {
                    FormName::None => Form::None,
                    FormName::Value => Form::Value,
                    FormName::DagCbor => Form::DagCbor,
                },
                cid: want.cid,
                fields: want.fields,
            },
        }
    }
}

impl From<Want> for ProjectForm {
    fn from(want: Want) -> Self {
        Self::Want(WantForm {
            form: match want.form {
                Form::None => FormName::None,
                Form::Value => FormName::Value,
                Form::DagCbor => FormName::DagCbor,
            },
            cid: want.cid,
            fields: want.fields,
        })
    }
}

impl From<TopForm> for Top {
    fn from(form: TopForm) -> Self {
        match form {
            TopForm::Count(count) => Self {
                count,
                by: String::new(),
                ascending: false,
            },
            TopForm::Ordered(OrderedForm {
                count,
                by,
                ascending,
            }) => Self {
                count,
                by,
                ascending,
            },
        }
    }
}

impl From<Top> for TopForm {
    fn from(top: Top) -> Self {
        Self::Ordered(OrderedForm {
            count: top.count,
            by: top.by,
            ascending: top.ascending,
        })
    }
}
