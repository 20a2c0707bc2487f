//! Peers that do not answer what is pushed to them (D7).

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use capnp_rpc::new_client;
use carrack_schema::limits::{KEEPERS_MAX, PUSHES_MAX};
use carrack_schema::wire::store_capnp as wire;
use carrack_segment::directory::faulty::{Faulty, Op};
use carrack_store::rpc::Bounds;

use crate::world::{World, ticking, ticking_on};

/// A sink whose methods answer, or never do.
#[derive(Clone, Copy)]
struct Sink {
    writes: bool,
    is_done: bool,
}

impl wire::byte_sink::Server for Sink {
    async fn write(
        self: std::rc::Rc<Self>,
        _params: wire::byte_sink::WriteParams,
    ) -> capnp::Result<()> {
        if !self.writes {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn done(
        self: std::rc::Rc<Self>,
        _params: wire::byte_sink::DoneParams,
        _results: wire::byte_sink::DoneResults,
    ) -> capnp::Result<()> {
        if !self.is_done {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn repo(world: &World, gate: &wire::gate::Client) -> wire::repo::Client {
    let session = gate.login_request().send().pipeline.get_session();
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.repo_request();
    request.get().set_did(world.repo.did.as_str());
    request.send().pipeline.get_repo()
}

async fn export(repo: &wire::repo::Client, sink: Sink) -> Result<(), String> {
    let mut request = repo.export_request();
    request.get().set_sink(new_client(sink));
    let answer = request.send().promise.await;
    answer.map(drop).map_err(|error| error.extra)
}

#[test]
fn a_push_that_nobody_acknowledges_ends() {
    for (writes, is_done) in [(true, false), (false, false)] {
        // Exports have threads of their own, which a clock that stands still does not wait for.
        let bounds = Bounds {
            push_time: Duration::from_secs(2),
            ..Bounds::default()
        };
        ticking(bounds, async |world| {
            let honest = world.honest();
            world.serves(&honest).await;
            let (gate, _served) = world.raw();
            let repo = repo(world, &gate);
            let silent = Sink { writes, is_done };
            let exports = (0..PUSHES_MAX).map(|_| export(&repo, silent));
            let all = futures::future::join_all(exports);
            let one_more = async {
                // Behind the others on the wire.
                tokio::task::yield_now().await;
                export(&repo, silent).await
            };
            let (all, one_more) = tokio::join!(all, one_more);
            assert!(one_more.unwrap_err().contains("overloaded: "));
            for ended in all {
                assert!(ended.unwrap_err().contains("not acknowledged"));
            }
            // Their places are free, and the connection is as good as before.
            let answers = Sink {
                writes: true,
                is_done: true,
            };
            export(&repo, answers).await.unwrap();
            world.serves(&honest).await;
        });
    }
}

/// Takes a copy; the methods behind those that it answers never answer.
struct Copy {
    answers: usize,
}

impl Copy {
    async fn answer(&self, number: usize) -> capnp::Result<()> {
        if number >= self.answers {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl wire::backup_sink::Server for Copy {
    async fn file(
        self: std::rc::Rc<Self>,
        _params: wire::backup_sink::FileParams,
        _results: wire::backup_sink::FileResults,
    ) -> capnp::Result<()> {
        self.answer(0).await
    }

    async fn write(
        self: std::rc::Rc<Self>,
        _params: wire::backup_sink::WriteParams,
    ) -> capnp::Result<()> {
        self.answer(1).await
    }

    async fn done(
        self: std::rc::Rc<Self>,
        _params: wire::backup_sink::DoneParams,
        _results: wire::backup_sink::DoneResults,
    ) -> capnp::Result<()> {
        self.answer(2).await
    }
}

async fn back_up(gate: &wire::gate::Client, answers: usize) -> Result<(), String> {
    let session = gate.login_request().send().pipeline.get_session();
    let keeper = session.keeper_request().send().pipeline.get_keeper();
    let mut request = keeper.backup_request();
    request.get().set_sink(new_client(Copy { answers }));
    let answer = request.send().promise.await;
    answer.map(drop).map_err(|error| error.extra)
}

#[test]
fn a_backup_that_nobody_acknowledges_ends_and_leaves_its_place() {
    let bounds = Bounds {
        push_time: Duration::from_secs(2),
        ..Bounds::default()
    };
    ticking(bounds, async |world| {
        let (gate, _served) = world.raw();
        for answers in 0..3 {
            // As many as may look after the store at once, and one more.
            let backups = (0..=KEEPERS_MAX).map(|_| back_up(&gate, answers));
            let mut ended = futures::future::join_all(backups).await;
            let refused = ended.extract_if(
                ..,
                |ended| matches!(ended, Err(words) if words.contains("overloaded: ")),
            );
            assert_eq!(refused.count(), 1);
            for ended in ended {
                assert!(ended.unwrap_err().contains("not acknowledged"));
            }
        }
        back_up(&gate, 3).await.unwrap();
        world.serves(&world.honest()).await;
    });
}

#[test]
fn backups_that_are_begun_and_dropped_are_no_more_than_may_run() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (hold, held) = mpsc::channel::<()>();
    let (count, hold, held) = (begun.clone(), Cell::new(Some(hold)), Mutex::new(held));
    // The copy of a catalog waits until nobody holds it.
    let wrap = |directory| -> Arc<dyn carrack_segment::Directory> {
        Arc::new(Faulty::new(directory, 0).before_each(move |op, name| {
            if op == Op::Create && name.starts_with("tmp/") && name.ends_with(".redb") {
                count.fetch_add(1, Ordering::SeqCst);
                let held = held.lock().unwrap();
                assert!(held.recv().is_err());
            }
            Ok(())
        }))
    };
    ticking_on(Bounds::default(), wrap, async |world| {
        let (gate, _served) = world.raw();
        let has_begun = async |number| {
            while begun.load(Ordering::SeqCst) < number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        for number in 1..=KEEPERS_MAX {
            tokio::select! {
                ended = back_up(&gate, 3) => panic!("{ended:?}"),
                () = has_begun(number) => {}
            }
        }
        tokio::select! {
            ended = back_up(&gate, 3) => assert!(ended.unwrap_err().contains("overloaded: ")),
            () = has_begun(KEEPERS_MAX + 1) => panic!("one more than may run"),
        }
        world.serves(&world.honest()).await;
        drop(hold.take());
        // Their places are free when they are done.
        while let Err(words) = back_up(&gate, 3).await {
            assert!(words.contains("overloaded: "), "{words}");
        }
    });
}
