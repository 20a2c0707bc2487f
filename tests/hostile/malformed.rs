//! Peers whose messages no honest peer sends (D3, D4).

use capnp_rpc::rpc_capnp::exception::Type;
use carrack_schema::limits::{
    CAPABILITIES_MAX, LIST_BYTES_MAX, PIPELINE_STEPS_MAX, SERVER_MESSAGE_WORDS_MAX,
};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::rpc::Bounds;
use kit::rng::Rng;

use crate::peer::{self, On};
use crate::world::{Heap, hear, hear_all, paused, send};

const MIB: usize = 1 << 20;

#[test]
fn a_message_one_word_too_long_ends_its_connection() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let long = |words: usize| {
            let empty = peer::call::<wire::gate::Client>(7, On::Answer(0), 0, |call| {
                call.init_params();
            });
            // Words that no pointer names are no fault.
            let mut message = peer::header(u32::try_from(words).unwrap()).to_vec();
            message.extend_from_slice(&empty[8..]);
            message.resize(8 + words * 8, 0);
            message
        };
        let (mut peer, served) = world.connect();
        let fits = [peer::login(), long(SERVER_MESSAGE_WORDS_MAX)].concat();
        assert!(send(&mut peer, &fits).await);
        let heard = hear(&mut peer).await;
        assert!(
            heard.answers.contains(&1) && heard.abort.is_none(),
            "{heard:?}"
        );
        assert!(!served.is_finished());
        // The header alone is enough.
        let too_long = long(SERVER_MESSAGE_WORDS_MAX + 1);
        assert!(send(&mut peer, &too_long[..8]).await);
        let abort = hear_all(&mut peer).await.abort.unwrap();
        assert!(abort.starts_with("limitExceeded: "), "{abort}");
        world.serves(&honest).await;
    });
}

#[test]
fn segments_that_are_too_many_or_too_long_end_their_connection() {
    paused(Bounds::default(), async |world| {
        for count in [511_u32, 512, 1 << 20, u32::MAX] {
            let (mut peer, _served) = world.connect();
            assert!(send(&mut peer, &[count.to_le_bytes(), [0; 4]].concat()).await);
            let abort = hear_all(&mut peer).await.abort.unwrap();
            assert!(abort.starts_with("limitExceeded: "), "{count}: {abort}");
        }
        // 511 segments are read, but not with so much in all of them.
        let (mut peer, _served) = world.connect();
        let mut table = 510_u32.to_le_bytes().to_vec();
        table.extend((0..511).flat_map(|_| u32::MAX.to_le_bytes()));
        assert!(send(&mut peer, &table).await);
        let abort = hear_all(&mut peer).await.abort.unwrap();
        assert!(abort.starts_with("limitExceeded: "), "{abort}");
        world.serves_another().await;
    });
}

#[test]
fn messages_in_many_segments_are_read() {
    paused(Bounds::default(), async |world| {
        use capnp::message::{AllocationStrategy, Builder, HeapAllocator};
        for first_words in [1, 2, 3, 5, 8] {
            // As little as possible goes into each segment.
            let allocator = HeapAllocator::new()
                .first_segment_words(first_words)
                .allocation_strategy(AllocationStrategy::FixedSize);
            let mut builder = Builder::new(allocator);
            let whole = peer::about(2, |call| {
                call.init_params().init_cap_table(3);
            });
            let reader = capnp::serialize::read_message(&whole[..], Default::default()).unwrap();
            let root: capnp::any_pointer::Reader<'_> = reader.get_root().unwrap();
            builder
                .set_root(
                    root.get_as::<capnp_rpc::rpc_capnp::message::Reader<'_>>()
                        .unwrap(),
                )
                .unwrap();
            let cut = capnp::serialize::write_message_to_words(&builder);
            let (mut peer, _served) = world.connect();
            assert!(send(&mut peer, &[peer::login(), cut].concat()).await);
            let heard = hear(&mut peer).await;
            assert!(heard.answers.contains(&2), "{first_words}: {heard:?}");
        }
    });
}

#[test]
fn results_that_the_peer_wants_kept_are_not_kept() {
    paused(Bounds::default(), async |world| {
        let (mut peer, _served) = world.connect();
        assert!(send(&mut peer, &peer::login()).await);
        hear(&mut peer).await;
        let heap = Heap::measure();
        for question in 2..5_000 {
            let kept = peer::about(question, |mut call| {
                call.reborrow().init_send_results_to().set_yourself(());
                call.init_params();
            });
            assert!(send(&mut peer, &[kept, peer::finish(question)].concat()).await);
            let heard = hear(&mut peer).await;
            let [(_, Type::Unimplemented, _)] = &heard.errors[..] else {
                panic!("{heard:?}");
            };
        }
        assert!(heap.now() < MIB, "{} KiB are left", heap.now() >> 10);
        world.serves_another().await;
    });
}

#[test]
fn capabilities_and_steps_of_a_message_have_a_limit() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let with_capabilities = |count: u32| {
            peer::about(2, |call| {
                let mut table = call.init_params().init_cap_table(count);
                for id in 0..count {
                    table.reborrow().get(id).set_sender_hosted(id);
                }
            })
        };
        let with_steps = |count: u32| {
            peer::about(2, |call| {
                let mut answer = call.get_target().unwrap().init_promised_answer();
                answer.set_question_id(1);
                let mut steps = answer.init_transform(count);
                for step in 1..count {
                    steps.reborrow().get(step).set_noop(());
                }
                steps.get(0).set_get_pointer_field(0);
            })
        };
        let promised = |count: u32| {
            peer::about(2, |call| {
                let mut table = call.init_params().init_cap_table(1);
                let mut answer = table.reborrow().get(0).init_receiver_answer();
                answer.set_question_id(1);
                answer.init_transform(count);
            })
        };
        let cases = [
            (with_capabilities(CAPABILITIES_MAX), true),
            (with_capabilities(CAPABILITIES_MAX + 1), false),
            (with_capabilities(100_000), false),
            (with_steps(PIPELINE_STEPS_MAX), true),
            (with_steps(PIPELINE_STEPS_MAX + 1), false),
            (promised(PIPELINE_STEPS_MAX), true),
            (promised(PIPELINE_STEPS_MAX + 1), false),
        ];
        for (number, (call, fits)) in cases.into_iter().enumerate() {
            let (mut peer, served) = world.connect();
            assert!(send(&mut peer, &peer::login()).await);
            hear(&mut peer).await;
            let heap = Heap::measure();
            send(&mut peer, &call).await;
            let heard = hear(&mut peer).await;
            heap.assert_peak(call.len() * 2 + MIB);
            assert_eq!(heard.abort.is_none(), fits, "{number}: {heard:?}");
            assert_eq!(served.is_finished(), !fits, "{number}");
            if let Some(abort) = heard.abort {
                assert!(abort.starts_with("limitExceeded: "), "{abort}");
            }
        }
        world.serves(&honest).await;
    });
}

#[test]
fn bytes_that_are_no_messages_disturb_nobody() {
    const ROUNDS: u64 = 500;
    const SEED: u64 = 82;
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let heap = Heap::measure();
        for round in 0..ROUNDS {
            let mut rng = Rng::new(SEED + round);
            let mut bytes: Vec<u8> = (0..rng.below(600)).map(|_| rng.below(256) as u8).collect();
            if round % 2 == 0 {
                let words = u32::try_from(bytes.len() / 8).unwrap();
                bytes.splice(0..0, peer::header(words));
            }
            let (mut peer, served) = world.connect();
            send(&mut peer, &bytes).await;
            drop(peer);
            let _ended = served.await.expect("no panic comes out");
        }
        heap.assert_peak(LIST_BYTES_MAX + 2 * MIB);
        world.serves(&honest).await;
    });
}
