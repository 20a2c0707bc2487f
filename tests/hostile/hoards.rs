//! Peers that let go of nothing (D6).

use capnp_rpc::rpc_capnp::exception::Type;
use carrack_schema::limits::{OBJECTS_MAX, QUESTIONS_MAX};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::rpc::Bounds;

use crate::peer::{self, On};
use crate::world::{Heap, hear, paused, send, settle};

const MIB: usize = 1 << 20;

/// What an object that a peer holds may cost at most, in bytes of heap.
const OBJECT_BYTES: usize = 1_024;
/// What an answer that is not finished may cost at most.
const ANSWER_BYTES: usize = 4_096;

/// Asks for another capability of the store.
fn store(question: u32) -> Vec<u8> {
    peer::call::<wire::session::Client>(question, On::FieldOf(1), 1, |call| {
        call.init_params();
    })
}

#[test]
fn capabilities_are_counted_and_one_too_many_is_refused() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        let (mut peer, _served) = world.connect();
        assert!(send(&mut peer, &peer::login()).await);
        let heap = Heap::measure();
        let (mut refused, mut given) = (Vec::new(), 0);
        let mut question = 2;
        // The session is one; then one more than there may be.
        while question < OBJECTS_MAX + 2 {
            let last = (question + 63).min(OBJECTS_MAX + 1);
            let calls: Vec<_> = (question..=last).flat_map(store).collect();
            assert!(send(&mut peer, &calls).await);
            let heard = hear(&mut peer).await;
            given += heard.answers.iter().filter(|&&id| id > 1).count();
            refused.extend(heard.errors);
            // The answers are let go of, their capabilities are kept.
            let finishes: Vec<_> = (question..=last).flat_map(peer::finish_and_keep).collect();
            assert!(send(&mut peer, &finishes).await);
            question = last + 1;
        }
        assert_eq!(given, OBJECTS_MAX as usize - 1);
        let [(question, Type::Overloaded, words)] = &refused[..] else {
            panic!("the last is refused: {refused:?}");
        };
        assert_eq!(*question, OBJECTS_MAX + 1);
        assert!(words.starts_with("overloaded: "), "{words}");
        heap.assert_peak(OBJECTS_MAX as usize * OBJECT_BYTES + 8 * MIB);
        world.serves(&honest).await;
        // After one release there is room for one.
        assert!(send(&mut peer, &peer::release(2)).await);
        assert!(send(&mut peer, &store(7)).await);
        assert_eq!(hear(&mut peer).await.answers, [7]);
        assert!(send(&mut peer, &store(8)).await);
        assert_eq!(hear(&mut peer).await.errors[0].0, 8);
        world.serves(&honest).await;
    });
}

#[test]
fn answers_that_are_never_finished_are_counted() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &peer::login()).await);
        let heap = Heap::measure();
        let most = u32::try_from(QUESTIONS_MAX).unwrap();
        let mut refused = Vec::new();
        for question in 2..2 * most {
            assert!(send(&mut peer, &store(question)).await);
            if question % 64 == 0 {
                refused.extend(hear(&mut peer).await.errors);
            }
        }
        refused.extend(hear(&mut peer).await.errors);
        assert_eq!(refused.len(), most as usize);
        assert!(refused.iter().all(|(question, kind, words)| {
            *question >= most && *kind == Type::Overloaded && words.starts_with("overloaded: ")
        }));
        heap.assert_peak(QUESTIONS_MAX * ANSWER_BYTES + 8 * MIB);
        world.serves(&honest).await;
        // What builds on a refused call is refused in the same way, and its end is no fault.
        let on_refused = peer::call::<wire::store::Client>(1 << 20, On::FieldOf(most), 2, |call| {
            call.init_params();
        });
        assert!(send(&mut peer, &on_refused).await);
        let (_, kind, words) = &hear(&mut peer).await.errors[0];
        assert_eq!(*kind, Type::Overloaded, "{words}");
        for question in [1 << 20, most, 5] {
            assert!(send(&mut peer, &peer::finish(question)).await);
        }
        assert!(send(&mut peer, &store(5)).await);
        assert_eq!(hear(&mut peer).await.answers, [5]);
        assert!(!served.is_finished());
        drop((peer, refused));
        let _left = served.await;
        settle().await;
        assert!(heap.now() < MIB, "{} KiB are left", heap.now() >> 10);
    });
}

#[test]
fn bootstraps_are_counted_as_well() {
    let bounds = Bounds {
        questions: 100,
        ..Bounds::default()
    };
    paused(bounds, async |world| {
        let (mut peer, _served) = world.connect();
        let bootstraps: Vec<_> = (0..101).flat_map(peer::bootstrap).collect();
        assert!(send(&mut peer, &bootstraps).await);
        let heard = hear(&mut peer).await;
        assert_eq!(heard.answers.len(), 100);
        assert_eq!(heard.errors[0].0, 100);
        world.serves_another().await;
    });
}
