//! [`Schema`]: what the compiler says of a folder of schemas, as plain values to compare.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use capnp::schema_capnp::{code_generator_request, field, method, node, type_};

/// Id of the type that `-> stream` stands for.
const STREAM: u64 = 0x995f_9a33_77c0_b16e;
/// A field that is no arm of a union.
const NO_ARM: u16 = 0xffff;

/// All declarations of a folder of schemas, without what they import from elsewhere.
pub struct Schema {
    nodes: BTreeMap<u64, Node>,
}

/// One declaration.
pub struct Node {
    pub id: u64,
    /// The schema file, such as `store.capnp`.
    pub file: String,
    /// Its name within the file, such as `Verdict.Outcome`; empty for the file itself.
    pub name: String,
    pub documented: bool,
    pub generic: bool,
    pub body: Body,
}

pub enum Body {
    File,
    Struct(Struct),
    /// The enumerants by number.
    Enum(Vec<String>),
    Interface(Interface),
    /// A constant or an annotation, as text.
    Other(String),
}

pub struct Struct {
    /// Part of another struct, or made from a method's parameters: it has no declaration of its own.
    pub is_part: bool,
    /// Where the union's tag is, in units of 16 bits.
    pub union_at: Option<u32>,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: String,
    /// Which arm of the struct's union it is.
    pub arm: Option<u16>,
    pub kind: FieldKind,
}

pub enum FieldKind {
    Slot {
        ordinal: u16,
        offset: u32,
        of: Type,
        /// As text.
        default: String,
    },
    /// The node of a group or a named union.
    Group(u64),
}

/// A type; two are the same if their keys are.
pub struct Type {
    /// With ids instead of names.
    pub key: String,
    pub text: String,
}

pub struct Interface {
    pub extends: Vec<u64>,
    /// By number.
    pub methods: Vec<Method>,
}

pub struct Method {
    pub name: String,
    pub documented: bool,
    pub params: u64,
    /// None of a stream.
    pub results: Option<u64>,
}

impl Schema {
    /// Compiles all schemas of a folder.
    pub fn compile(folder: &Path) -> Result<Self> {
        let mut compiler = capnpc_embedded::CompileCommand::new();
        compiler.src_prefix(folder);
        for schema in crate::codegen::schema_files(folder)? {
            compiler.file(schema);
        }
        let request = compiler.compile().map_err(|e| anyhow::anyhow!("{e}"))?;
        // Written by the compiler a moment ago: no limit is needed against it.
        let mut options = capnp::message::ReaderOptions::new();
        options.traversal_limit_in_words(None);
        let message = capnp::serialize::read_message(&request[..], options)?;
        Self::read(message.get_root()?)
    }

    fn read(request: code_generator_request::Reader<'_>) -> Result<Self> {
        let mut files = Vec::new();
        for file in request.get_requested_files()? {
            files.push(file.get_filename()?.to_string()?);
        }
        let mut names = HashMap::new();
        for node in request.get_nodes()? {
            names.insert(node.get_id(), split_name(node)?.1);
        }
        let docs = Docs::read(request)?;
        let mut nodes = BTreeMap::new();
        for node in request.get_nodes()? {
            let (file, name) = split_name(node)?;
            if files.contains(&file) {
                let read = Node {
                    id: node.get_id(),
                    documented: docs.declarations.contains(&node.get_id()),
                    generic: node.get_is_generic(),
                    body: body(node, &names, &docs)?,
                    file,
                    name,
                };
                nodes.insert(read.id, read);
            }
        }
        Ok(Self { nodes })
    }

    /// Returns all declarations by file and name.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<_> = self.nodes.values().collect();
        nodes.sort_by_key(|node| (&node.file, &node.name));
        nodes
    }

    pub fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Returns a struct by its id; none for an id of another file or another kind.
    pub fn struct_(&self, id: u64) -> Option<&Struct> {
        match &self.node(id)?.body {
            Body::Struct(found) => Some(found),
            _ => None,
        }
    }
}

/// What has a comment.
struct Docs {
    declarations: Vec<u64>,
    /// Declaration and number.
    members: Vec<(u64, usize)>,
}

impl Docs {
    fn read(request: code_generator_request::Reader<'_>) -> Result<Self> {
        let (mut declarations, mut members) = (Vec::new(), Vec::new());
        for info in request.get_source_info()? {
            if info.has_doc_comment() && !info.get_doc_comment()?.to_str()?.trim().is_empty() {
                declarations.push(info.get_id());
            }
            for (number, member) in info.get_members()?.iter().enumerate() {
                if member.has_doc_comment()
                    && !member.get_doc_comment()?.to_str()?.trim().is_empty()
                {
                    members.push((info.get_id(), number));
                }
            }
        }
        Ok(Self {
            declarations,
            members,
        })
    }
}

/// Returns a node's file and its name in there.
fn split_name(node: node::Reader<'_>) -> Result<(String, String)> {
    let name = node.get_display_name()?.to_str()?;
    let (file, name) = name.split_once(':').unwrap_or((name, ""));
    Ok((file.to_owned(), name.to_owned()))
}

type Names = HashMap<u64, String>;

fn body(node: node::Reader<'_>, names: &Names, docs: &Docs) -> Result<Body> {
    Ok(match node.which()? {
        node::File(_) => Body::File,
        node::Struct(found) => {
            let mut fields = Vec::new();
            for field in found.get_fields()? {
                fields.push(read_field(field, names)?);
            }
            Body::Struct(Struct {
                is_part: found.get_is_group() || node.get_scope_id() == 0,
                union_at: (found.get_discriminant_count() > 0)
                    .then(|| found.get_discriminant_offset()),
                fields,
            })
        }
        node::Enum(found) => {
            let mut enumerants = Vec::new();
            for enumerant in found.get_enumerants()? {
                enumerants.push(enumerant.get_name()?.to_string()?);
            }
            Body::Enum(enumerants)
        }
        node::Interface(found) => {
            let mut methods = Vec::new();
            for (number, method) in found.get_methods()?.iter().enumerate() {
                methods.push(read_method(
                    method,
                    docs.members.contains(&(node.get_id(), number)),
                )?);
            }
            let extends = found
                .get_superclasses()?
                .iter()
                .map(|superclass| superclass.get_id())
                .collect();
            Body::Interface(Interface { extends, methods })
        }
        node::Const(found) => Body::Other(format!("{:?}", found.get_value()?)),
        node::Annotation(found) => Body::Other(read_type(found.get_type()?, names)?.key),
    })
}

fn read_field(field: field::Reader<'_>, names: &Names) -> Result<Field> {
    let kind = match field.which()? {
        field::Group(group) => FieldKind::Group(group.get_type_id()),
        field::Slot(slot) => {
            let field::ordinal::Explicit(ordinal) = field.get_ordinal().which()? else {
                anyhow::bail!("a field without a number");
            };
            FieldKind::Slot {
                ordinal,
                offset: slot.get_offset(),
                of: read_type(slot.get_type()?, names)?,
                default: format!("{:?}", slot.get_default_value()?),
            }
        }
    };
    let arm = field.get_discriminant_value();
    Ok(Field {
        name: field.get_name()?.to_string()?,
        arm: (arm != NO_ARM).then_some(arm),
        kind,
    })
}

fn read_method(method: method::Reader<'_>, documented: bool) -> Result<Method> {
    let results = method.get_result_struct_type();
    Ok(Method {
        name: method.get_name()?.to_string()?,
        documented,
        params: method.get_param_struct_type(),
        results: (results != STREAM).then_some(results),
    })
}

fn read_type(of: type_::Reader<'_>, names: &Names) -> Result<Type> {
    let plain = |text: &str| Type {
        key: text.into(),
        text: text.into(),
    };
    let named = |id: u64| -> Result<Type> {
        let text = names
            .get(&id)
            .context("a type that the compiler does not name")?;
        Ok(Type {
            key: format!("@{id:#x}"),
            text: text.clone(),
        })
    };
    Ok(match of.which()? {
        type_::Void(()) => plain("Void"),
        type_::Bool(()) => plain("Bool"),
        type_::Int8(()) => plain("Int8"),
        type_::Int16(()) => plain("Int16"),
        type_::Int32(()) => plain("Int32"),
        type_::Int64(()) => plain("Int64"),
        type_::Uint8(()) => plain("UInt8"),
        type_::Uint16(()) => plain("UInt16"),
        type_::Uint32(()) => plain("UInt32"),
        type_::Uint64(()) => plain("UInt64"),
        type_::Float32(()) => plain("Float32"),
        type_::Float64(()) => plain("Float64"),
        type_::Text(()) => plain("Text"),
        type_::Data(()) => plain("Data"),
        type_::AnyPointer(_) => plain("AnyPointer"),
        type_::List(list) => {
            let of = read_type(list.get_element_type()?, names)?;
            Type {
                key: format!("List({})", of.key),
                text: format!("List({})", of.text),
            }
        }
        type_::Enum(found) => named(found.get_type_id())?,
        type_::Struct(found) => named(found.get_type_id())?,
        type_::Interface(found) => named(found.get_type_id())?,
    })
}
