//! Peers that take their time (D1, D2).

use std::time::Duration;

use carrack_schema::limits::{LOGIN_SECONDS_MAX, MESSAGE_SECONDS_MAX, WRITE_SECONDS_MAX};
use carrack_store::rpc::Bounds;
use tokio::time::Instant;

use crate::peer;
use crate::world::{hear_all, paused, send, settle};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_does_not_log_in_is_closed() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let begun = Instant::now();
        let (mut silent, _served) = world.connect();
        let (mut asks_only, _served) = world.connect();
        assert!(send(&mut asks_only, &peer::bootstrap(0)).await);
        assert!(
            hear_all(&mut silent)
                .await
                .abort
                .unwrap()
                .contains("logged in")
        );
        assert_eq!(begun.elapsed().as_secs(), LOGIN_SECONDS_MAX);
        assert!(
            hear_all(&mut asks_only)
                .await
                .abort
                .unwrap()
                .contains("logged in")
        );
        assert_eq!(begun.elapsed().as_secs(), LOGIN_SECONDS_MAX);
        world.serves(&honest).await;
    });
}

#[test]
fn who_keeps_talking_without_logging_in_is_closed() {
    paused(Bounds::default(), async |world| {
        let begun = Instant::now();
        let (mut talks, served) = world.connect();
        let mut question = 0;
        while !served.is_finished() {
            let said = [peer::bootstrap(question), peer::finish(question)].concat();
            send(&mut talks, &said).await;
            question += 1;
            tokio::time::sleep(SECOND / 10).await;
            assert!(
                begun.elapsed().as_secs() <= LOGIN_SECONDS_MAX,
                "still served"
            );
        }
        world.serves_another().await;
    });
}

#[test]
fn who_logged_in_may_be_idle_for_a_day() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        tokio::time::sleep(Duration::from_secs(20 * 3_600)).await;
        world.serves(&honest).await;
    });
}

#[test]
fn a_message_that_does_not_end_ends_its_connection() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut stops, _served) = world.connect();
        let (mut drips, served) = world.connect();
        for peer in [&mut stops, &mut drips] {
            assert!(send(peer, &peer::login()).await);
        }
        settle().await;
        let begun = Instant::now();
        let message = peer::about(2, |_| ());
        assert!(send(&mut stops, &message[..message.len() - 1]).await);
        // A byte a second is progress, but not enough of it.
        assert!(send(&mut drips, &peer::header(100)).await);
        while !served.is_finished() {
            send(&mut drips, &[0]).await;
            tokio::time::sleep(SECOND).await;
            assert!(
                begun.elapsed().as_secs() <= MESSAGE_SECONDS_MAX + 1,
                "still served"
            );
        }
        assert!(
            hear_all(&mut stops)
                .await
                .abort
                .unwrap()
                .contains("in time")
        );
        world.serves(&honest).await;
    });
}

#[test]
fn who_takes_nothing_is_closed() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &peer::login()).await);
        settle().await;
        let begun = Instant::now();
        let mut question = 2;
        // Until the answers fill what is between us and the server, and its bound, the calls go in.
        while send(&mut peer, &peer::about(question, |_| ())).await {
            question += 1;
        }
        assert!(served.is_finished());
        assert_eq!(begun.elapsed().as_secs(), WRITE_SECONDS_MAX);
        world.serves(&honest).await;
    });
}
