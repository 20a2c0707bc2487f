//! Peers with more calls under way than anybody needs.

use capnp_rpc::rpc_capnp::exception::Type;
use carrack_schema::limits::{INCOMING_BYTES_MAX, PIPELINED_MAX, PUSHES_MAX};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::rpc::Bounds;

use crate::floods::begin_waiting;
use crate::peer::{self, On};
use crate::world::{Heap, Heard, hear, paused, send, settle};

const MIB: usize = 1 << 20;
const CALLS: u32 = 10_000;

/// Sends a call for each question, and collects what is said to them.
async fn flood(
    peer: &mut tokio::io::DuplexStream,
    questions: std::ops::Range<u32>,
    call: impl Fn(u32) -> Vec<u8>,
) -> Heard {
    let mut all = Heard::default();
    for question in questions {
        assert!(send(peer, &call(question)).await);
        if question % 32 == 0 {
            let heard = hear(peer).await;
            all.answers.extend(heard.answers);
            all.errors.extend(heard.errors);
        }
    }
    let heard = hear(peer).await;
    all.answers.extend(heard.answers);
    all.errors.extend(heard.errors);
    all
}

fn overloaded(heard: &Heard) -> usize {
    let are = heard
        .errors
        .iter()
        .filter(|(_, kind, words)| *kind == Type::Overloaded && words.starts_with("overloaded: "));
    are.count()
}

#[test]
fn ten_thousand_calls_that_wait_for_one_answer() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &begin_waiting(world.repo.did.as_str())).await);
        settle().await;
        let heap = Heap::measure();
        let heard = flood(&mut peer, 100..100 + CALLS, |question| {
            peer::call::<wire::session::Client>(question, On::FieldOf(5), 0, |call| {
                call.init_params();
            })
        })
        .await;
        assert!(
            overloaded(&heard) >= (CALLS - PIPELINED_MAX) as usize,
            "{heard:?}"
        );
        heap.assert_peak(INCOMING_BYTES_MAX + 8 * MIB);
        world.serves(&honest).await;
        // What the peer says beside calls is read: its answer lets the export go on to its end, and all that waited fails.
        assert!(send(&mut peer, &peer::about(50_000, |_| ())).await);
        assert_eq!(hear(&mut peer).await.errors[0].0, 50_000);
        assert!(!served.is_finished());
        drop(peer);
        let _left = served.await;
        settle().await;
        assert!(heap.now() < MIB, "{} KiB are left", heap.now() >> 10);
    });
}

#[test]
fn ten_thousand_exports_into_one_sink() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut peer, _served) = world.connect();
        assert!(send(&mut peer, &begin_waiting(world.repo.did.as_str())).await);
        let heap = Heap::measure();
        let heard = flood(&mut peer, 100..100 + CALLS, |question| {
            peer::export(question, 3)
        })
        .await;
        // One was begun before.
        assert_eq!(overloaded(&heard), (CALLS - (PUSHES_MAX - 1)) as usize);
        // What is pushed before its sink answers, and what is on its way there.
        heap.assert_peak(PUSHES_MAX as usize * 2 * MIB + INCOMING_BYTES_MAX);
        world.serves(&honest).await;
    });
}

#[test]
fn calls_under_way_and_cancelled_leave_nothing() {
    paused(Bounds::default(), async |world| {
        let (mut peer, _served) = world.connect();
        assert!(send(&mut peer, &begin_waiting(world.repo.did.as_str())).await);
        settle().await;
        let heap = Heap::measure();
        for question in 100..100 + CALLS {
            let call = peer::call::<wire::session::Client>(question, On::FieldOf(5), 0, |call| {
                call.init_params();
            });
            assert!(send(&mut peer, &[call, peer::finish(question)].concat()).await);
            if question % 32 == 0 {
                hear(&mut peer).await;
            }
        }
        // The library keeps a trace of each until the answer is there; of so many, and no more.
        assert!(
            heap.now() < PIPELINED_MAX as usize * 1_024,
            "{} KiB are left",
            heap.now() >> 10
        );
        world.serves_another().await;
    });
}

#[test]
fn calls_of_a_session_are_counted_and_one_too_many_is_refused() {
    let bounds = Bounds {
        calls: 4,
        ..Bounds::default()
    };
    paused(bounds, async |world| {
        let (mut peer, _served) = world.connect();
        assert!(send(&mut peer, &begin_waiting(world.repo.did.as_str())).await);
        settle().await;
        let exports: Vec<_> = (10..14)
            .flat_map(|question| peer::export(question, 3))
            .collect();
        assert!(send(&mut peer, &exports).await);
        let heard = hear(&mut peer).await;
        let [(13, Type::Overloaded, words)] = &heard.errors[..] else {
            panic!("the fifth is refused: {heard:?}");
        };
        assert!(words.contains("calls of this session"), "{words}");
        // One that is given up makes room for another.
        assert!(send(&mut peer, &peer::finish(10)).await);
        assert!(send(&mut peer, &peer::about(20, |_| ())).await);
        assert!(hear(&mut peer).await.answers.contains(&20));
        world.serves_another().await;
    });
}
