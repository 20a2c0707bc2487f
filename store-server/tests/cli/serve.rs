//! `carrack serve` and who finds it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Stdio};

use carrack_client::{Address, Connect, Session};
use carrack_schema::Code;
use kit::Order;
use rustix::process::{Pid, Signal, kill_process};

use super::{FAILED, OK, Place, Run, USAGE, bare, command, repo};

/// A running server; ended by its id if a test fails.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Serving {
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_in(place, arguments, &[])
    }

    /// Starts it with variables in its environment.
    pub(crate) fn start_in(
        place: &Place,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = command(&place.data())
            .arg("serve")
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Starts it by a shell that says something first.
    fn start_by(place: &Place, words: &str) -> Self {
        let mut child = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(
                "{words}; exec \"$0\" --data \"$1\" serve --workers 1"
            ))
            .arg(env!("CARGO_BIN_EXE_carrack"))
            .arg(place.data())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Returns the next address it says it listens on.
    pub(crate) fn address(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        match line.trim_end().strip_prefix("listening on ") {
            Some(address) => address.to_owned(),
            None => panic!("`{line}`, stderr: {}", self.stderr()),
        }
    }

    /// Says whether SIGHUP, the first of all signals, is in a set of the process's.
    fn hangup_is(&self, set: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let signals = status.lines().find_map(|line| line.strip_prefix(set));
        u64::from_str_radix(signals.unwrap().trim(), 16).unwrap() & 1 == 1
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    pub(crate) fn end(mut self, signal: Signal) -> i32 {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A server that ended already is what a test wants.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn commands_on_the_same_folder_use_the_running_server() {
    let place = Place::new();
    let other = place.data().join("other/s.sock");
    let listen = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &format!("unix:{}", other.display()),
        "--workers",
        "2",
    ];
    let mut server = Serving::start(&place, &listen);
    let addresses: Vec<_> = (0..3).map(|_| server.address()).collect();
    assert_eq!(
        addresses[0],
        format!("unix:{}", place.data().join("carrack.sock").display())
    );
    for socket in [place.data().join("carrack.sock"), other] {
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&*socket), mode(socket.parent().unwrap())),
            (0o600, 0o700)
        );
    }
    let repo = repo(30, 11);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    for address in &addresses {
        let mut repos = bare();
        repos.args(["--store", address, "repos", "--json"]);
        if address.starts_with("unix:") {
            let run = Run::of(&mut repos).ends(OK);
            assert_eq!(run.objects()[0]["did"], repo.did.as_str(), "{address}");
        } else {
            let run = Run::of(&mut repos).ends(FAILED);
            assert!(run.stderr.contains("badCredential"), "{}", run.stderr);
        }
    }
    // A second owner is told so.
    let second = place.run(&["serve"]).ends(FAILED);
    assert!(
        second.stderr.contains("held by another process"),
        "{}",
        second.stderr
    );
    assert_eq!(server.end(Signal::TERM), OK);
    assert!(!place.data().join("carrack.sock").exists());
    // Without the server the command opens the folder itself.
    assert_eq!(place.run(&["repos", "--json"]).ends(OK).objects().len(), 1);
}

#[test]
fn either_signal_ends_it_gracefully_and_a_dead_ones_socket_is_no_obstacle() {
    let place = Place::new();
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Serving::start(&place, &[]);
        server.address();
        assert_eq!(server.end(signal), OK);
    }
    let mut server = Serving::start(&place, &[]);
    server.address();
    kill_process(Pid::from_child(&server.child), Signal::KILL).unwrap();
    server.child.wait().unwrap();
    assert!(place.data().join("carrack.sock").exists());
    place.run(&["repos"]).ends(OK);
}

#[test]
fn an_import_under_way_at_shutdown_ends_with_an_error_and_leaves_nothing() {
    let place = Place::new();
    let mut server = Serving::start(&place, &[]);
    server.address();
    let mut import = command(&place.data())
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let car = repo(5_000, 12).car(Order::Pds);
    use std::io::Write;
    let mut stdin = import.stdin.take().unwrap();
    // More than pipe and window hold, so the server has some of it when this returns; less than all.
    stdin.write_all(&car[..car.len() - 1]).unwrap();
    assert_eq!(server.end(Signal::TERM), OK);
    drop(stdin);
    assert_eq!(import.wait().unwrap().code(), Some(FAILED));
    assert!(place.run(&["repos"]).ends(OK).text().is_empty());
    let left = std::fs::read_dir(place.data().join("segments"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn an_upload_that_says_nothing_does_not_hold_up_the_end() {
    let place = Place::new();
    let mut server = Serving::start(&place, &[]);
    server.address();
    let mut import = command(&place.data())
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    use std::io::Write;
    let mut stdin = import.stdin.take().unwrap();
    // One chunk more than the command buffers, so that the import has begun; then silence.
    stdin.write_all(&vec![0x3a; 600_000]).unwrap();
    kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(OK));
    let stderr = server.stderr();
    assert!(!stderr.contains("did not end in time"), "{stderr}");
    drop(stdin);
    import.wait().unwrap();
}

#[test]
fn public_addresses_and_wrong_settings_are_refused() {
    let place = Place::new();
    let run = place
        .run(&["serve", "--listen", "0.0.0.0:7440"])
        .ends(FAILED);
    assert!(run.stderr.contains("--tls-cert"), "{}", run.stderr);
    for lonely in ["--tls-cert", "--tls-key"] {
        let run = place.run(&["serve", lonely, "x.pem"]).ends(USAGE);
        assert!(run.stderr.contains("needs --tls-"), "{}", run.stderr);
    }
    std::fs::write(place.data().join("config.toml"), "workers = 'many'").unwrap();
    let run = place.run(&["serve"]).ends(USAGE);
    assert!(run.stderr.contains("config.toml"), "{}", run.stderr);
}

#[test]
fn the_file_says_where_to_listen_and_a_flag_wins() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    std::fs::write(
        place.data().join("config.toml"),
        "listen = ['127.0.0.1:0']\nworkers = 1",
    )
    .unwrap();
    let mut server = Serving::start(&place, &[]);
    server.address();
    assert!(server.address().starts_with("127.0.0.1:"));
    assert_eq!(server.end(Signal::TERM), OK);
    let mut server = Serving::start(&place, &["--listen", "[::1]:0"]);
    server.address();
    assert!(server.address().starts_with("[::1]:"));
    assert_eq!(server.end(Signal::TERM), OK);
}

/// Makes a grant that lists everything, and returns its token.
fn anything(place: &Place) -> String {
    let all = ["--repos", "all", "--collections", "all", "--may", "list"];
    let create = ["grant", "create", "--label", "it", "--expires", "never"];
    let made = place.run(&[&create[..], &all].concat()).ends(OK);
    made.text().trim_end().to_owned()
}

/// Writes a certificate and its key beside a place's data, or into it, and returns their names.
fn certificate(folder: &std::path::Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    (cert.display().to_string(), key.display().to_string())
}

#[test]
fn a_certificate_comes_by_flag_environment_or_file() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let check = |arguments: &[&str], environment: &[(&str, &str)], expected: &str| {
        let mut server = Serving::start_in(&place, arguments, environment);
        server.address();
        let address = server.address();
        assert!(address.starts_with(expected), "{address}");
        assert_eq!(server.end(Signal::TERM), OK);
    };
    let listen = ["--listen", "0.0.0.0:0"];
    let tls = "tls:0.0.0.0:";
    check(
        &[&listen[..], &["--tls-cert", &cert, "--tls-key", &key]].concat(),
        &[],
        tls,
    );
    let environment = [("CARRACK_TLS_CERT", &*cert), ("CARRACK_TLS_KEY", &*key)];
    check(&listen, &environment, tls);
    check(&[&listen[..], &["--insecure"]].concat(), &[], "0.0.0.0:");
    check(&listen, &[("CARRACK_INSECURE", "true")], "0.0.0.0:");
    // Names in the file are from its folder.
    certificate(&place.data());
    let file = place.data().join("config.toml");
    std::fs::write(&file, "tls_cert = 'cert.pem'\ntls_key = 'key.pem'").unwrap();
    check(&listen, &[], tls);
    std::fs::write(&file, "insecure = true").unwrap();
    check(&listen, &[], "0.0.0.0:");
}

#[test]
fn whom_to_trust_comes_by_flag_before_environment() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let listen = ["--listen", "127.0.0.1:0", "--tls-cert", &cert];
    let mut server = Serving::start(&place, &[&listen[..], &["--tls-key", &key]].concat());
    server.address();
    let address = server.address();
    let address = address.replace("127.0.0.1", "localhost");
    let token = anything(&place);
    let ask = |flag: &[&str], environment: &str| {
        let mut command = bare();
        command.args(["--store", &address]).args(flag).arg("repos");
        command.env("CARRACK_TOKEN", &token);
        Run::of(command.env("CARRACK_TLS_CA", environment))
    };
    let other = place.file("other.pem", b"no certificate");
    ask(&["--ca-file", &cert], &other).ends(OK);
    ask(&[], &cert).ends(OK);
    let refused = ask(&["--ca-file", &other], &cert).ends(USAGE);
    assert!(refused.stderr.contains("other.pem"), "{}", refused.stderr);
    assert_eq!(server.end(Signal::TERM), OK);
}

#[test]
fn a_new_certificate_is_shown_after_a_hangup_and_a_bad_one_is_not() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let first = place.file("first.pem", &std::fs::read(&cert).unwrap());
    let listen = ["--listen", "127.0.0.1:0", "--tls-cert", &cert];
    let arguments = [&listen[..], &["--tls-key", &key]].concat();
    let mut server = Serving::start_in(&place, &arguments, &[("CARRACK_LOG", "info")]);
    server.address();
    let address = server.address().replace("127.0.0.1", "localhost");
    let mut told = BufReader::new(server.child.stderr.take().unwrap());
    let hangup = Pid::from_child(&server.child);
    let mut hang_up = |expected: &str| {
        kill_process(hangup, Signal::HUP).unwrap();
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "it ended");
        }
    };
    let token = anything(&place);
    let address: Address = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = |trusted: &str| {
        let connect = Connect::to(&address).ca_file(trusted).reconnect(false);
        let client = runtime.block_on(connect.open());
        client.map(|client| client.restore(&token))
    };
    let answers = |session: &Session| runtime.block_on(session.about()).is_ok();
    let old = connect(&first).unwrap();
    assert!(answers(&old));
    certificate(folder.path());
    hang_up("TLS certificate as it is now");
    let new = connect(&cert).unwrap();
    assert!(answers(&new) && answers(&old));
    let refused = connect(&first).expect_err("it is not shown any more");
    assert_eq!(refused.code(), Code::Unavailable);
    // What is of no use is not shown.
    let second = place.file("second.pem", &std::fs::read(&cert).unwrap());
    std::fs::write(&cert, "no certificate").unwrap();
    hang_up("the one before is shown");
    assert!(answers(&connect(&second).unwrap()) && answers(&new) && answers(&old));
    drop((old, new));
    assert_eq!(server.end(Signal::TERM), OK);
}

#[test]
fn a_server_without_a_certificate_leaves_hangups_to_whoever_started_it() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    // As `nohup` does.
    let mut server = Serving::start_by(&place, "trap '' HUP");
    server.address();
    assert!(server.hangup_is("SigIgn:"));
    kill_process(Pid::from_child(&server.child), Signal::HUP).unwrap();
    place.run(&["repos"]).ends(OK);
    assert_eq!(server.end(Signal::TERM), OK);
    // Where nobody chose, it ends the process, as it does any other. It is not sent: this may run under `nohup`.
    let mut server = Serving::start(&place, &[]);
    server.address();
    assert!(!server.hangup_is("SigCgt:"));
    assert_eq!(server.end(Signal::TERM), OK);
}

#[test]
fn a_server_without_file_descriptors_serves_on_when_there_are_some() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    let mut server = Serving::start_by(&place, "ulimit -n 48");
    let mut stderr = BufReader::new(server.child.stderr.take().unwrap());
    server.address();
    let socket = place.data().join("carrack.sock");
    let connect = || std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let held: Vec<_> = (0..60).map(|_| connect()).collect();
    // It says so, and each time it says so it has rested.
    let mut line = String::new();
    while !line.contains("was not accepted") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
    }
    drop(held);
    // Nobody reads what else it says.
    let rest = std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    place.run(&["repos"]).ends(OK);
    assert_eq!(server.end(Signal::TERM), OK);
    rest.join().unwrap().unwrap();
}
