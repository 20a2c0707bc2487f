//! Peers that mean harm, or wait for long, at the real server.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use carrack_schema::limits::SERVER_MESSAGE_WORDS_MAX;
use kit::rng::Rng;

use crate::peer;
use crate::{OK, Place, command};

/// A time that nothing here takes; it only catches a hang.
const NEVER: Duration = Duration::from_secs(60);
/// What an idle connection may take of memory, in KiB.
const IDLE_KIB_MAX: u64 = 64;

struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    socket: String,
}

impl Serving {
    fn start(place: &Place) -> Self {
        let mut child = command(&place.data())
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let socket = line.trim_end().strip_prefix("listening on unix:").unwrap();
        Self {
            socket: socket.to_owned(),
            child,
            stdout,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(NEVER)).unwrap();
        stream.set_write_timeout(Some(NEVER)).unwrap();
        stream
    }

    /// Says something and leaves; the server may have closed meanwhile.
    fn say(&self, bytes: &[u8]) {
        let mut stream = self.connect();
        let _closed = stream.write_all(bytes);
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let _reset = stream.read_to_end(&mut Vec::new());
    }

    /// Ends the server, and returns what else it wrote to stdout.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }

    /// Memory that is the server's own, in KiB.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let figure = line.unwrap().split_whitespace().nth(1).unwrap();
        figure.parse().unwrap()
    }
}

#[test]
fn whatever_peers_say_nothing_strays_to_stdout() {
    const SEED: u64 = 83;
    let place = Place::new();
    let serving = Serving::start(&place);
    let login = peer::login();
    let about = [login.clone(), peer::about(2, |_| ())].concat();
    for cut in 0..about.len() {
        serving.say(&about[..cut]);
    }
    let words = u32::try_from(SERVER_MESSAGE_WORDS_MAX + 1).unwrap();
    let odd = [
        peer::header(words).to_vec(),
        peer::header(words - 1).to_vec(),
        peer::release(77),
        peer::finish(77),
        peer::finish_and_keep(1),
        peer::bootstrap(0),
        peer::export(5, 3),
        login.clone(),
    ];
    for said in odd {
        serving.say(&[login.clone(), said].concat());
    }
    for round in 0..200 {
        let mut rng = Rng::new(SEED + round);
        let mut said = about.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.index(said.len());
            said[at] = rng.below(256) as u8;
        }
        serving.say(&said);
    }
    place.run(&["repos"]).ends(OK);
    assert_eq!(serving.end(), "");
}

#[test]
fn a_thousand_idle_connections_take_little() {
    const PEERS: u64 = 1_000;
    let place = Place::new();
    let serving = Serving::start(&place);
    let come = || {
        let mut stream = serving.connect();
        stream.write_all(&peer::login()).unwrap();
        stream.write_all(&peer::about(2, |_| ())).unwrap();
        // The answers to the bootstrap, the login and `about`.
        for _ in 0..3 {
            capnp::serialize::read_message(&mut stream, Default::default()).unwrap();
        }
        stream
    };
    // What the first connections warm up is not theirs.
    let _warm: Vec<_> = (0..8).map(|_| come()).collect();
    let before = serving.resident_kib();
    let _idle: Vec<_> = (0..PEERS).map(|_| come()).collect();
    let taken = serving.resident_kib().saturating_sub(before);
    show(&format!("{taken} KiB for {PEERS} idle connections"));
    assert!(
        taken <= PEERS * IDLE_KIB_MAX,
        "{taken} KiB for {PEERS} connections"
    );
    place.run(&["repos"]).ends(OK);
    assert_eq!(serving.end(), "");
}

/// Shows a figure when a test is run with its output.
#[expect(clippy::print_stderr, reason = "a figure for whoever measures")]
fn show(words: &str) {
    eprintln!("{words}");
}
