//! Plans give every node of the kit's trees, in the order they say, from digests and rows alone.

use std::collections::BTreeMap;

use carrack_schema::Code;
use proptest::prelude::*;

use super::*;
use crate::kit::{self, Blocks, MemoryRows, cid_of, key_of_depth};
use crate::walk::walk;

fn records(count: usize) -> BTreeMap<String, Vec<u8>> {
    (0..count)
        .map(|n| {
            (
                format!("com.example.thing{}/k{n}", n % 3),
                vec![n as u8 / 2],
            )
        })
        .collect()
}

/// Goes through a plan in pre-order; returns the nodes as they come and the rows between them.
fn pre_order(plan: &TreePlan, rows: &mut MemoryRows) -> (Vec<Cid>, Vec<usize>) {
    let (mut nodes, mut order) = (Vec::new(), Vec::new());
    let mut stack = vec![Item::Node(plan.root_at())];
    let mut bytes = Vec::new();
    while let Some(item) = stack.pop() {
        match item {
            Item::Row(index) => order.push(index),
            Item::Node(at) => {
                let items = plan.items(&at);
                let node = plan.write_node(&at, &items, rows, &mut bytes).unwrap();
                assert_eq!(*node.cid(), plan.cid_at(&at));
                nodes.push(*node.cid());
                stack.extend(items.into_iter().rev());
            }
        }
    }
    (nodes, order)
}

/// The order a walk asks for nodes in: each before what is below it.
struct Asked<'b>(&'b mut Blocks, Vec<Cid>);

impl BlockSource for Asked<'_> {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>> {
        self.1.push(*cid);
        self.0.get(cid, scratch)
    }
}

#[track_caller]
fn check(records: &BTreeMap<String, Vec<u8>>) {
    let mut rows = MemoryRows::new(records);
    let mut blocks = Blocks::default();
    let root = kit::tree(&mut blocks, &rows.cids());
    let plan = TreePlan::build(&mut rows).unwrap();
    assert_eq!(plan.root(), root);
    let (nodes, order) = pre_order(&plan, &mut rows);
    assert!(order.into_iter().eq(0..records.len()));
    assert!(
        nodes.iter().copied().eq(plan.cids()),
        "digests stand in pre-order"
    );
    let mut asked = Asked(&mut blocks, Vec::new());
    walk(root, &mut asked, |_| Ok::<_, Error>(())).unwrap();
    assert_eq!(asked.1, nodes);

    // What a store has kept gives the same plan, from the keys alone.
    rows.cids_asked = 0;
    let kept = TreePlan::with_digests(&mut rows, plan.digests().to_vec()).unwrap();
    assert_eq!(rows.cids_asked, 0);
    assert_eq!(kept, plan);
    let mut rebuilt = RebuiltNodes::new(&kept, &mut rows);
    let mut seen = Vec::new();
    walk(root, &mut rebuilt, |record| {
        seen.push(record.path.to_owned());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(rebuilt.nodes_count(), nodes.len());
    assert_eq!(rebuilt.rows_count(), records.len() as u64);
    assert!(rebuilt.places.is_empty());
    assert!(seen.iter().eq(records.keys()));
}

#[test]
fn plans_of_many_sizes_give_the_kits_trees() {
    for count in [0, 1, 2, 3, 10, 200, 1_000] {
        check(&records(count));
    }
    let gaps =
        [(3, 0), (0, 0), (0, 5), (2, 2), (0, 9)].map(|(depth, nth)| key_of_depth(depth, nth));
    check(&gaps.into_iter().map(|key| (key, vec![])).collect());
}

#[test]
fn rows_of_another_tree_are_noticed() {
    let mut rows = MemoryRows::new(&records(300));
    let plan = TreePlan::build(&mut rows).unwrap();
    let mut digests = plan.digests().to_vec();
    digests.pop();
    let error = TreePlan::with_digests(&mut rows, digests).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let count = plan.digests().len();
    assert_eq!(
        error.to_string(),
        format!("{} digests for a tree of {count} nodes", count - 1)
    );

    // One record, or one digest, is another: the nodes that show it do not come out.
    rows.rows[150].1 = cid_of(b"changed");
    let mut nodes = RebuiltNodes::new(&plan, &mut rows);
    let error = walk(plan.root(), &mut nodes, |_| Ok::<_, Error>(())).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(
        error
            .to_string()
            .starts_with("the rows do not give MST node "),
        "{error}"
    );
    let mut rows = MemoryRows::new(&records(300));
    for index in 0..count {
        let mut digests = plan.digests().to_vec();
        digests[index][7] ^= 1;
        let wrong = TreePlan::with_digests(&mut rows, digests).unwrap();
        let mut nodes = RebuiltNodes::new(&wrong, &mut rows);
        let error = walk(wrong.root(), &mut nodes, |_| Ok::<_, Error>(())).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_rows_have_their_plan(
        records in prop::collection::btree_map(
            "(com\\.(a|a-b|a\\.b)\\.x|org\\.x\\.y)/[a-z0-9]{1,3}",
            prop::collection::vec(any::<u8>(), 0..3),
            0..100,
        )
    ) {
        check(&records);
    }
}
