//! The seeds of the corpora: small inputs made by the kit, so that fuzzing starts where the formats are.
//!
//! What fuzzing adds to them later has names of 40 hexadecimal digits. Names and DID documents are text, and their seeds
//! are files that people write.

use std::collections::BTreeMap;
use std::sync::Arc;

use capnp::message::{Builder, HeapAllocator};
use carrack_repack::value::Plan;
use carrack_repack::{NodeScript, PageBuilder, PageSink, RepoHead};
use carrack_repo::VerifiedRef;
use carrack_schema::Cid;
use carrack_schema::cid::Codec;
use carrack_schema::wire::record_capnp::value;
use carrack_segment::format::{HEADER_BYTES, TRAILER_BYTES};
use carrack_segment::{Codec as Stored, Directory, Fs, Place, SegmentWriter, Target};
use kit::cbor::{Value, cid_of};
use kit::edit::Changes;
use kit::mst::{self, Form, Leaf};
use kit::repo::BlockKind;
use kit::{Curve, Order, Record, Repo, RepoSpec, car, commit};

use crate::bodies::blocks::{SEPARATOR, unlink};
use crate::bodies::keys::SIGNING;

/// Inputs by name.
type Seeds = BTreeMap<String, Vec<u8>>;

/// Returns the seeds of every target that has such.
pub(crate) fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("car", cars()),
        ("cbor", cbor()),
        ("commit", commits()),
        ("mst", trees()),
        ("pack", values()),
        ("plan", plans()),
        ("proof", proofs()),
        ("rpc_bytes", conversations()),
        ("segment", segments()),
        ("value", values()),
        ("wire", messages()),
    ]
}

fn repo(records: usize) -> Repo {
    RepoSpec {
        records,
        seed: 7,
        ..RepoSpec::default()
    }
    .build()
}

fn named(seeds: &[(&str, &[u8])]) -> Seeds {
    let owned = seeds
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
    owned.collect()
}

fn cars() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        seeds.insert(name.to_owned(), bytes);
    };
    let small = repo(3).car(Order::PreOrder);
    let sections = car::blocks(&small);
    let root = car::roots(&small)[0];
    let first = &small[sections[0].range.clone()];
    add("empty-repo", repo(0).car(Order::Pds));
    add("cut-inside-block", small[..small.len() - 9].to_vec());
    add(
        "cut-inside-length",
        small[..sections[2].range.start + 1].to_vec(),
    );
    add("cut-inside-header", small[..20].to_vec());
    add("block-twice", [&small[..], first].concat());
    let head = car::header(&[root]);
    add("header-only", head.clone());
    add("two-roots", car::header(&[root, root]));
    add("no-roots", car::header(&[]));
    add("version-2", {
        let mut head = head.clone();
        *head.last_mut().expect("a header") = 2;
        head
    });
    let section = |cid: &[u8]| {
        let mut section = head.clone();
        car::put_varint(&mut section, cid.len() as u64 + 2);
        section.extend_from_slice(cid);
        section.extend(b"\x81\x00");
        section
    };
    add(
        "cid-raw",
        section(&[b"\x01\x55\x12\x20", &[7; 32][..]].concat()),
    );
    add("cid-v0", section(&[b"\x12\x20", &[7; 32][..]].concat()));
    add("cid-identity", section(b"\x01\x71\x00\x03abc"));
    add(
        "cid-sha-512",
        section(&[b"\x01\x71\x13\x40", &[7; 64][..]].concat()),
    );
    add(
        "cid-blake3",
        section(&[b"\x01\x71\x1e\x20", &[7; 32][..]].concat()),
    );
    add("cid-cut", section(b"\x01\x71\x12\x20abc"));
    let with = |bytes: &[u8]| [&head[..], bytes].concat();
    add("length-0", with(b"\0"));
    add("length-not-minimal", with(b"\xa6\x00"));
    add("length-of-3-gib", with(b"\x80\x80\x80\x80\x0c"));
    add("length-of-10-bytes", with(&[0xff; 10]));
    add("small-repo", small);
    seeds
}

fn cbor() -> Seeds {
    let nested = |depth: usize| {
        let mut bytes = vec![0x81; depth - 1];
        bytes.push(0x80);
        bytes
    };
    let mut seeds = named(&[
        ("ints", b"\x8a\x00\x17\x18\x18\x19\x01\x00\x1a\x00\x01\x00\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x20\x38\x18\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x3b\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ("int-beyond", b"\x1b\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("int-not-shortest", b"\x18\x17"),
        ("float", b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("simples", b"\x83\xf4\xf5\xf6"),
        ("undefined", b"\xf7"),
        ("indefinite", b"\x9f\x01\xff"),
        ("keys-in-order", b"\xa3\x61b\x01\x62aa\x02\x62ab\x03"),
        ("keys-out-of-order", b"\xa2\x62aa\x01\x61b\x02"),
        ("key-twice", b"\xa2\x61a\x01\x61a\x02"),
        ("key-empty", b"\xa1\x60\x01"),
        ("key-of-bytes", b"\xa1\x41a\x01"),
        ("not-utf8", b"\x62\xc3\x28"),
        ("link-short", b"\xd8\x2a\x42\x00\x01"),
        ("link-without-prefix", b"\xd8\x2a\x42\x01\x71"),
        ("link-empty", b"\xd8\x2a\x41\x00"),
        ("tag-other", b"\xc1\x00"),
        ("list-too-long", b"\x9b\x00\x00\x00\x01\x00\x00\x00\x00"),
        ("trailing", b"\xf6\xf6"),
        ("keys-with-dots", b"\xa2\x61a\xa1\x61b\x01\x63a.b\x02"),
    ]);
    seeds.insert("depth-32".to_owned(), nested(32));
    seeds.insert("depth-33".to_owned(), nested(33));
    seeds.extend(records());
    let repo = repo(4);
    for block in repo.blocks() {
        let name = match block.kind {
            BlockKind::Commit => "commit",
            BlockKind::Node => "node",
            BlockKind::Record => continue,
        };
        seeds.insert(name.to_owned(), block.bytes.to_vec());
    }
    seeds
}

/// Returns one record of each collection.
fn records() -> Seeds {
    let mut seeds = Seeds::new();
    for record in &repo(60).records {
        let (collection, _) = record.path.split_once('/').expect("a path");
        let name = format!("record-{}", collection.replace('.', "-"));
        seeds.entry(name).or_insert_with(|| record.bytes.to_vec());
    }
    seeds
}

fn values() -> Seeds {
    let mut seeds = cbor();
    seeds.retain(|name, _| !["commit", "node"].contains(&name.as_str()));
    seeds
}

fn commits() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        seeds.insert(name.to_owned(), bytes);
    };
    let data = cid_of(b"\xa2\x61e\x80\x61l\xf6");
    let did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
    let fields = || commit::fields(did, "3jzfcijpj2z2a", data);
    let without = |name: &str| {
        let mut fields = fields();
        fields.retain(|(key, _)| key != name);
        fields
    };
    let with = |name: &'static str, value: Value| {
        let mut fields = without(name);
        fields.push((name.into(), value));
        fields
    };
    let key = &*SIGNING;
    add("current", commit::signed(fields(), key));
    add(
        "unknown-field",
        commit::signed(with("zzz", Value::List(vec![Value::Null])), key),
    );
    add(
        "prev-link",
        commit::signed(with("prev", Value::Link(data)), key),
    );
    add("prev-missing", commit::signed(without("prev"), key));
    add("rev-missing", commit::signed(without("rev"), key));
    add(
        "rev-odd",
        commit::signed(with("rev", Value::text("3JZ")), key),
    );
    add(
        "did-odd",
        commit::signed(with("did", Value::text("did:")), key),
    );
    add(
        "version-2",
        commit::signed(with("version", Value::Int(2)), key),
    );
    let mut legacy = without("rev");
    legacy.retain(|(key, _)| key != "version");
    legacy.push(("version".into(), Value::Int(2)));
    add("version-2-without-rev", commit::signed(legacy, key));
    add(
        "version-4",
        commit::signed(with("version", Value::Int(4)), key),
    );
    let raw = Cid::new(Codec::Raw, [7; 32]);
    add(
        "data-raw",
        commit::signed(with("data", Value::Link(raw)), key),
    );
    add("unsigned", Value::Map(fields()).encode());
    let message = commit::signing_bytes(&fields());
    add(
        "sig-high-s",
        commit::with_signature(fields(), key.sign_high_s(&message).to_vec()),
    );
    add(
        "sig-der",
        commit::with_signature(fields(), key.sign_der(&message)),
    );
    add("sig-zeros", commit::with_signature(fields(), vec![0; 64]));
    let other = RepoSpec {
        records: 0,
        curve: Curve::P256,
        ..RepoSpec::default()
    };
    add("p256", other.build().blocks()[0].bytes.to_vec());
    seeds
}

/// Returns nodes of a repo, each after those below it; its root is the last.
fn nodes(repo: &Repo) -> Vec<Vec<u8>> {
    let blocks = repo.blocks();
    let nodes = blocks.iter().rev();
    nodes
        .filter(|block| block.kind == BlockKind::Node)
        .map(|block| block.bytes.to_vec())
        .collect()
}

fn trees() -> Seeds {
    let mut seeds = Seeds::new();
    for records in [0, 1, 4, 20, 40] {
        let repo = repo(records);
        let blocks = nodes(&repo);
        let input = unlink(blocks.iter().map(Vec::as_slice));
        seeds.insert(format!("records-{records:02}"), input);
    }
    for (records, changes) in [(12, 2), (25, 6)] {
        let old = repo(records);
        let new = old.next_version(&old.random_edits(
            3,
            Changes {
                added: changes,
                changed: changes / 2,
                deleted: changes / 2,
            },
        ));
        let (mut blocks, mut more) = (nodes(&old), nodes(&new));
        let roots = [blocks.pop(), more.pop()];
        blocks.append(&mut more);
        blocks.extend(roots.into_iter().flatten());
        let input = unlink(blocks.iter().map(Vec::as_slice));
        seeds.insert(format!("two-trees-{records}"), input);
    }
    for (name, form) in [
        ("without-nulls", Form::WithoutNulls),
        ("without-prefixes", Form::WithoutPrefixes),
        ("first-prefix", Form::FirstPrefix),
        ("long-prefix", Form::LongPrefix),
        ("swapped-map-keys", Form::SwappedMapKeys),
    ] {
        let repo = repo(8);
        let leaves: Vec<Leaf<'_>> = repo
            .records
            .iter()
            .map(|record| Leaf {
                key: record.path.as_bytes(),
                cid: record.cid,
            })
            .collect();
        let heights: Vec<u32> = leaves.iter().map(|leaf| mst::height(leaf.key)).collect();
        let mut shape = mst::shape(&heights);
        shape.form = form;
        let tree = mst::encode(&shape, &leaves);
        let input = unlink(tree.nodes.iter().map(|node| &node.bytes[..]));
        seeds.insert(name.to_owned(), input);
    }
    seeds.insert("keys-swapped".to_owned(), {
        let repo = repo(20);
        let (_, blocks) = swapped_nodes(&repo);
        unlink(blocks.iter().map(Vec::as_slice))
    });
    // A node without entries above another: no place in a tree is like that.
    let empty_above = [
        b"\xa2\x61e\x80\x61l\xf6",
        SEPARATOR,
        b"\xa2\x61e\x80\x61l\xd8\x2a\x58\x25\x00\x01\x71\x12\x20",
        &[0; 31],
        b"\x01",
    ];
    seeds.insert("empty-above-empty".to_owned(), empty_above.concat());
    seeds
}

/// Returns the nodes of a tree of this repo's records in which the keys on both sides of a higher one changed places:
/// each node is in order, the tree is not. The root is the last. Returns one of the two records besides.
fn swapped_nodes(repo: &Repo) -> (&Record, Vec<Vec<u8>>) {
    let mut leaves: Vec<Leaf<'_>> = repo
        .records
        .iter()
        .map(|record| Leaf {
            key: record.path.as_bytes(),
            cid: record.cid,
        })
        .collect();
    let heights: Vec<u32> = leaves.iter().map(|leaf| mst::height(leaf.key)).collect();
    let shape = mst::shape(&heights);
    let is_low = |at: usize| heights[at] == 0;
    let parting = (1..leaves.len() - 1).find(|&at| !is_low(at) && is_low(at - 1) && is_low(at + 1));
    let parting = parting.expect("a key above two of the lowest nodes");
    leaves.swap(parting - 1, parting + 1);
    let tree = mst::encode(&shape, &leaves);
    let nodes = tree.nodes.into_iter().map(|node| node.bytes);
    (&repo.records[parting + 1], nodes.collect())
}

fn proofs() -> Seeds {
    let mut seeds = Seeds::new();
    let proof = |path: &str, blocks: &[&[u8]]| {
        let blocks = unlink(blocks.iter().copied());
        [path.as_bytes(), SEPARATOR, &blocks].concat()
    };
    for records in [1, 5, 30] {
        let repo = repo(records);
        let all = repo.blocks();
        let middle = &repo.records[records / 2];
        // The record asked for, the nodes from below, the commit.
        let blocks: Vec<&[u8]> = [&middle.bytes[..]]
            .into_iter()
            .chain(
                all.iter()
                    .rev()
                    .filter(|block| block.kind != BlockKind::Record)
                    .map(|block| block.bytes),
            )
            .collect();
        seeds.insert(format!("present-{records}"), proof(&middle.path, &blocks));
        let absent = format!("{}~", middle.path);
        seeds.insert(format!("absent-{records}"), proof(&absent, &blocks));
        seeds.insert(
            format!("no-record-{records}"),
            proof(&middle.path, &blocks[1..]),
        );
        if records > 1 {
            let without: Vec<&[u8]> = [&blocks[..1], &blocks[2..]].concat();
            seeds.insert(format!("no-node-{records}"), proof(&middle.path, &without));
        }
    }
    let swapped = repo(20);
    let (record, mut blocks) = swapped_nodes(&swapped);
    let root = cid_of(blocks.last().expect("a tree has a root"));
    let fields = commit::fields(swapped.did.as_str(), &swapped.rev.to_string(), root);
    blocks.push(commit::signed(fields, &SIGNING));
    let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
    let bytes: Vec<&[u8]> = [&[&record.bytes[..]], &blocks[..]].concat();
    seeds.insert("keys-swapped".to_owned(), proof(&record.path, &bytes));
    let empty = repo(0);
    let blocks: Vec<&[u8]> = empty
        .blocks()
        .iter()
        .rev()
        .map(|block| block.bytes)
        .collect();
    seeds.insert(
        "empty-repo".to_owned(),
        proof("com.example.thing/self", &blocks),
    );
    seeds.insert("raw-car".to_owned(), empty.car(Order::PreOrder));
    seeds
}

/// Keeps the one page that so few rows make.
struct OnePage(u32, Vec<u8>);

impl PageSink for OnePage {
    fn page(&mut self, rows: u32, message: &[u8]) -> carrack_segment::Result<u32> {
        *self = Self(rows, message.to_vec());
        Ok(0)
    }
}

fn page(records: &[Vec<u8>], missing: &[Cid]) -> (u32, Vec<u8>) {
    let mut page = OnePage(0, Vec::new());
    let mut builder = PageBuilder::default();
    for record in records {
        builder
            .push(&VerifiedRef::of(Codec::DagCbor, record), &mut page)
            .expect("memory takes it");
    }
    for cid in missing {
        builder
            .push_missing(cid, &mut page)
            .expect("memory takes it");
    }
    builder.finish(&mut page).expect("a small page");
    (page.0, page.1)
}

/// Returns a page whose rows are in columns, and its dictionary.
fn columns() -> (Vec<u8>, Vec<u8>) {
    let mut page = OnePage(0, Vec::new());
    let mut builder = PageBuilder::default();
    for record in repo(200).records {
        let block = VerifiedRef::of(Codec::DagCbor, &record.bytes);
        builder.push(&block, &mut page).expect("memory takes it");
    }
    let finished = builder.finish(&mut page).expect("a small page");
    (page.1, finished.dictionary)
}

fn head() -> RepoHead {
    RepoHead {
        commit: b"\xa0".to_vec(),
        records: 3,
        is_diff: false,
        first_node_page: 1,
        node_pages: 0,
        nodes: NodeScript::full(vec![[6; 32]]),
    }
}

fn node_page(digests: &[[u8; 32]]) -> Vec<u8> {
    let script = NodeScript::between(&[[5; 32]], digests);
    script.pages().expect("a small page").remove(0)
}

/// Rows of an extent: group, name.
type Rows<'a> = &'a [(&'a str, &'a str)];

/// Two rows a page, so that there are several; with a dictionary if they are compressed.
fn segment(extents: &[(&str, Rows<'_>)], codec: Stored) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).expect("a folder"));
    let target = Target {
        temporary: "seed.tmp",
        published: "seed.cseg",
        id: *b"0123456789abcdef",
        writer_epoch: 3,
        codec,
    };
    let mut writer = SegmentWriter::create(&directory, target).expect("a free name");
    for (key, rows) in extents {
        writer.begin_extent(key.as_bytes()).expect("in order");
        for rows in rows.chunks(2) {
            let records: Vec<Vec<u8>> = rows.iter().map(|_| b"\xa0".to_vec()).collect();
            let (count, message) = page(&records, &[]);
            let slot = writer.page(count, &message).expect("a small page");
            for (ordinal, (group, name)) in (0..).zip(rows.iter()) {
                writer
                    .row(group.as_bytes(), name.as_bytes(), slot, ordinal)
                    .expect("in order");
            }
        }
        let digests = node_page(&[[7; 32]]);
        writer.page(0, &digests).expect("a small page");
        let head = head().encode().expect("a small head");
        writer.end_extent(&head).expect("an open extent");
    }
    if codec != Stored::Plain {
        writer.dictionary(&[1; 64]).expect("the first");
    }
    let slots: Vec<_> = (0..writer.page_count())
        .map(|page| Place { page, ordinal: 0 })
        .collect();
    writer.seal(&slots).expect("rows are in pages");
    std::fs::read(folder.path().join(target.published)).expect("it was sealed")
}

fn segments() -> Seeds {
    let mut seeds = Seeds::new();
    let plain = |extents: &[(&str, Rows<'_>)]| segment(extents, Stored::Plain);
    let tids: [(&str, Rows<'_>); 1] = [(
        "did:web:a",
        &[
            ("a.b.c", "3jzfcijpj2z2a"),
            ("a.b.c", "3jzfcijpj2z2b"),
            ("a.b.d", "jzzzzzzzzzzzz"),
        ],
    )];
    let names: Vec<_> = (0..150)
        .map(|i| {
            format!(
                "3jzfcijpj2{:03}",
                222 + i % 6 + i / 6 % 5 * 10 + i / 30 * 100
            )
        })
        .collect();
    let mut many: Vec<_> = names.iter().map(|name| ("a.b.c", name.as_str())).collect();
    many.push(("a.b.c", "self"));
    let files: [(&str, Vec<u8>); 8] = [
        ("no-extents", plain(&[])),
        ("no-rows", plain(&[("did:web:a", &[])])),
        (
            "text-names",
            plain(&[(
                "did:web:a",
                &[("a.b.c", "self"), ("a.b.c", "zelf"), ("a.b.d", "x")],
            )]),
        ),
        ("tid-names", plain(&tids)),
        ("compressed", segment(&tids, Stored::Zstd { level: 3 })),
        (
            "two-extents",
            plain(&[
                ("did:web:a", &[("a.b-c", "self"), ("a.b", "3jzfcijpj2z2a")]),
                ("did:web:b", &[("a.b.c", "self")]),
            ]),
        ),
        ("two-blocks", plain(&[("did:web:a", &many[..150])])),
        ("two-blocks-one-text", plain(&[("did:web:a", &many)])),
    ];
    for (name, file) in files {
        // What `bodies::segment::file` makes the file of.
        let trailer_at = file.len() - TRAILER_BYTES;
        let footer_at = file[trailer_at..].first_chunk().expect("a trailer");
        let words = (u64::from_le_bytes(*footer_at) - HEADER_BYTES as u64) / 8;
        let words = u16::try_from(words).expect("a small file").to_be_bytes();
        let body = &file[HEADER_BYTES..trailer_at];
        seeds.insert(name.to_owned(), [&words[..], body].concat());
        if name == "text-names" {
            seeds.insert("whole-file".to_owned(), file);
            let again = twice(&seeds[name], b"zelf", b"self");
            seeds.insert("name-twice".to_owned(), again);
        }
    }
    seeds
}

/// Returns a segment in which one name became another.
fn twice(sections: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = sections.windows(from.len()).position(|bytes| bytes == from);
    let at = at.expect("the name is in the index");
    let mut sections = sections.to_vec();
    sections[at..at + to.len()].copy_from_slice(to);
    sections
}

fn messages() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, record) in values() {
        if let Ok(plan) = Plan::of(&record, &[]) {
            let mut message = Builder::<HeapAllocator>::new_default();
            plan.write(message.init_root::<value::Builder<'_>>());
            let bytes = capnp::serialize::write_message_to_words(&message);
            seeds.insert(format!("value-{name}"), bytes);
        }
    }
    let records = [b"\xa0".to_vec(), b"\xf6".to_vec()];
    seeds.insert("page".to_owned(), page(&records, &[]).1);
    seeds.insert("page-missing".to_owned(), page(&records, &[cid_of(b"")]).1);
    let (columns, dictionary) = columns();
    seeds.insert("page-columns".to_owned(), columns);
    seeds.insert("dictionary".to_owned(), dictionary);
    seeds.insert("head".to_owned(), head().encode().expect("a small head"));
    let digests = node_page(&[[5; 32], [7; 32], [8; 32]]);
    seeds.insert("node-page".to_owned(), digests);
    seeds
}

/// What peers say to a server; each logs in first.
/// Plans, each as the segment that it makes.
fn plans() -> Seeds {
    use carrack_schema::wire::query_capnp::{plan, step};

    const LIKE: &str = "app.bsky.feed.like";
    fn seed(steps: u32, fill: impl FnOnce(plan::Builder<'_>)) -> Vec<u8> {
        let mut builder = Builder::new(HeapAllocator::new().first_segment_words(1 << 12));
        let mut plan: plan::Builder<'_> = builder.init_root();
        plan.reborrow().init_steps(steps);
        fill(plan);
        builder.get_segments_for_output()[0].to_vec()
    }
    fn at(plan: &mut plan::Builder<'_>, number: u32, fill: impl FnOnce(step::Builder<'_>)) {
        let steps = plan.reborrow().get_steps().expect("steps");
        fill(steps.get(number));
    }
    let repos = crate::bodies::plan::repos();
    let list = |plan: &mut plan::Builder<'_>, number: u32| {
        at(plan, number, |step| {
            let mut range = step.init_list();
            range.set_collection(LIKE);
            let mut named = range.init_repos().init_named(2);
            named.set(0, repos[0].did.as_str());
            named.set(1, "did:web:nobody.test");
        });
    };
    let uri = format!("at://{}/{}", repos[0].did, repos[0].records[0].path);
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        seeds.insert(name.to_owned(), bytes);
    };
    add("nothing", seed(0, |_| ()));
    add("list", seed(1, |mut plan| list(&mut plan, 0)));
    add(
        "get",
        seed(1, |mut plan| {
            at(&mut plan, 0, |step| {
                let mut uris = step.init_get(2);
                uris.set(0, &uri[..]);
                uris.set(1, "at://did:web:nobody.test/app.bsky.feed.post/x");
            });
        }),
    );
    add(
        "group-top",
        seed(3, |mut plan| {
            list(&mut plan, 0);
            at(&mut plan, 1, |mut step| step.set_group("subject.uri#did"));
            at(&mut plan, 2, |step| step.init_top().set_count(10));
        }),
    );
    add(
        "map-count",
        seed(3, |mut plan| {
            list(&mut plan, 0);
            at(&mut plan, 1, |mut step| step.set_map("subject.uri"));
            at(&mut plan, 2, |mut step| step.set_count(()));
        }),
    );
    add(
        "filter-project",
        seed(3, |mut plan| {
            list(&mut plan, 0);
            at(&mut plan, 1, |step| {
                let mut tests = step.init_filter(2);
                let mut first = tests.reborrow().get(0);
                first.set_path("createdAt#time");
                let mut nodes = first.init_at_least().init_nodes(1);
                nodes
                    .reborrow()
                    .get(0)
                    .set_kind(carrack_schema::wire::record_capnp::node::Kind::Int);
                let mut second = tests.get(1);
                second.set_path("subject.uri");
                second.set_negate(true);
                second.set_contains("zz");
            });
            at(&mut plan, 2, |step| {
                let mut want = step.init_project();
                want.set_form(carrack_schema::wire::record_capnp::want::Form::Value);
                want.set_cid(true);
                want.init_fields(1).set(0, "subject");
            });
        }),
    );
    add(
        "among",
        seed(3, |mut plan| {
            list(&mut plan, 0);
            list(&mut plan, 1);
            at(&mut plan, 2, |mut step| {
                step.set_from(1);
                let mut among = step.init_among();
                among.set_path("@uri");
                among.set_step(2);
                among.set_of("@uri");
            });
        }),
    );
    add(
        "list-at",
        seed(2, |mut plan| {
            list(&mut plan, 0);
            at(&mut plan, 1, |step| {
                let mut range = step.init_list();
                range.set_collection("app.bsky.feed.post");
                range.set_since(1);
                range.init_repos().set_at("@did");
            });
        }),
    );
    add(
        "all-first",
        seed(2, |mut plan| {
            at(&mut plan, 0, |step| {
                let mut range = step.init_list();
                range.set_collection(LIKE);
                range.reborrow().init_keys().set_reverse(true);
                range.init_repos().set_all(());
            });
            at(&mut plan, 1, |mut step| step.set_first(3));
        }),
    );
    add(
        "distinct-shared",
        seed(4, |mut plan| {
            list(&mut plan, 0);
            at(&mut plan, 1, |mut step| step.set_distinct("@did"));
            at(&mut plan, 2, |mut step| {
                step.set_from(1);
                step.set_group("createdAt#month");
            });
            at(&mut plan, 3, |mut step| {
                step.set_from(1);
                let mut top = step.init_top();
                top.set_count(5);
                top.set_by("@rkey");
                top.set_ascending(true);
            });
            plan.set_answer(4);
        }),
    );
    for (name, is_mapped, rows, bytes, work) in [
        ("of-rows", true, 3, 0, 0),
        ("of-bytes", false, 0, 1_500, 0),
        ("of-work", true, 0, 0, 70),
    ] {
        add(
            name,
            seed(2, |mut plan| {
                list(&mut plan, 0);
                at(&mut plan, 1, |mut step| match is_mapped {
                    true => step.set_map("subject.uri"),
                    false => step.set_first(30),
                });
                let mut budget = plan.init_budget();
                budget.set_rows(rows);
                budget.set_bytes(bytes);
                budget.set_work(work);
            }),
        );
    }
    seeds
}

fn conversations() -> Seeds {
    use carrack_schema::wire::store_capnp as wire;

    use crate::bodies::peer::{self, On};

    fn plain<I: capnp::traits::HasTypeId>(question: u32, on: u32, method: u16) -> Vec<u8> {
        peer::call::<I>(question, On::FieldOf(on), method, |call| {
            call.init_params();
        })
    }
    let store = plain::<wire::session::Client>(2, 1, 1);
    let of_repo = |of: &str| {
        peer::call::<wire::store::Client>(3, On::FieldOf(2), 0, |call| {
            let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
            let mut params = content.init_as::<wire::store::repo_params::Builder<'_>>();
            params.set_did(of);
        })
    };
    let repo = of_repo(repo(3).did.as_str());
    let record = peer::call::<wire::repo::Client>(4, On::FieldOf(3), 3, |call| {
        let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
        let mut params = content.init_as::<wire::repo::record_params::Builder<'_>>();
        params.set_path("app.bsky.feed.post/3jzfcijpj2z2a");
    });
    let importer = plain::<wire::session::Client>(2, 1, 2);
    let sink = plain::<wire::importer::Client>(3, 2, 0);
    let write = peer::call::<wire::car_sink::Client>(4, On::FieldOf(3), 0, |call| {
        let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
        let mut params = content.init_as::<wire::car_sink::write_params::Builder<'_>>();
        params.set_bytes(b"no CAR");
    });
    let about = peer::about(2, |call| {
        call.init_params();
    });
    let kept = peer::about(2, |mut call| {
        call.reborrow().init_send_results_to().set_yourself(());
        call.init_params();
    });
    let conversations: [(&str, Vec<Vec<u8>>); 14] = [
        ("nothing", vec![]),
        ("about", vec![about.clone(), peer::finish(2)]),
        (
            "about-cancelled",
            vec![about.clone(), peer::finish(2), about],
        ),
        ("results-kept", vec![kept, peer::finish(2)]),
        (
            "stats",
            vec![store.clone(), plain::<wire::store::Client>(3, 2, 2)],
        ),
        (
            "repos",
            vec![store.clone(), plain::<wire::store::Client>(3, 2, 1)],
        ),
        (
            "repo-info",
            vec![
                store.clone(),
                repo.clone(),
                plain::<wire::repo::Client>(4, 3, 0),
            ],
        ),
        (
            "repo-list",
            vec![
                store.clone(),
                repo.clone(),
                plain::<wire::repo::Client>(4, 3, 4),
            ],
        ),
        (
            "repo-unknown",
            vec![
                store.clone(),
                of_repo("did:web:nobody.example"),
                plain::<wire::repo::Client>(4, 3, 0),
            ],
        ),
        (
            "record-read",
            vec![
                store.clone(),
                repo.clone(),
                record,
                plain::<wire::record_cap::Client>(5, 4, 0),
            ],
        ),
        ("export", vec![store.clone(), repo, peer::export(4, 3)]),
        (
            "import",
            vec![
                importer,
                sink,
                write,
                plain::<wire::car_sink::Client>(5, 3, 1),
            ],
        ),
        (
            "let-go",
            vec![
                store,
                peer::finish_and_keep(2),
                peer::release(2),
                peer::finish(1),
            ],
        ),
        (
            "keeper",
            vec![
                plain::<wire::session::Client>(2, 1, 3),
                plain::<wire::keeper::Client>(3, 2, 1),
            ],
        ),
    ];
    let mut seeds: Seeds = conversations
        .into_iter()
        .map(|(name, said)| (name.to_owned(), [peer::login(), said.concat()].concat()))
        .collect();
    for (name, said) in odd_messages() {
        seeds.insert(name.to_owned(), [peer::login(), said].concat());
    }
    seeds
}

/// Messages that clients seldom send, or never.
fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    use capnp_rpc::rpc_capnp::message;

    fn said(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
        let mut builder = Builder::<HeapAllocator>::new_default();
        fill(builder.init_root());
        capnp::serialize::write_message_to_words(&builder)
    }
    vec![
        (
            "resolve",
            said(|message| {
                let mut resolve = message.init_resolve();
                resolve.set_promise_id(3);
                resolve.init_cap().set_receiver_hosted(0);
            }),
        ),
        (
            "disembargo",
            said(|message| {
                let mut disembargo = message.init_disembargo();
                disembargo.reborrow().init_context().set_sender_loopback(3);
                disembargo
                    .init_target()
                    .init_promised_answer()
                    .set_question_id(0);
            }),
        ),
        (
            "return",
            said(|message| {
                let mut answer = message.init_return();
                answer.set_answer_id(0);
                answer.init_results();
            }),
        ),
        (
            "unimplemented",
            said(|message| {
                message.init_unimplemented().init_bootstrap();
            }),
        ),
        (
            "abort",
            said(|message| message.init_abort().set_reason("enough")),
        ),
        (
            "join",
            said(|message| {
                message.init_join().set_question_id(9);
            }),
        ),
    ]
}
