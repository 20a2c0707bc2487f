//! What `--help` shows, as golden files.

use super::{OK, Place, Run, bare};

#[test]
fn help_is_as_recorded() {
    for subcommand in [
        "",
        "serve",
        "import",
        "repos",
        "get",
        "list",
        "export",
        "prove",
        "query",
        "verify-proof",
        "verify",
        "thread",
        "watch",
        "stats",
        "delete",
        "check",
        "backup",
        "compact",
        "inspect",
        "grant",
        "grant create",
        "grant revoke",
    ] {
        let mut command = bare();
        command.args(subcommand.split_whitespace()).arg("--help");
        let run = Run::of(&mut command).ends(OK);
        let name = if subcommand.is_empty() {
            "carrack"
        } else {
            &subcommand.replace(' ', "-")
        };
        insta::assert_snapshot!(format!("help-{name}"), run.text());
    }
}

#[test]
fn the_version_says_which_files_it_reads() {
    let said = |flag: &str| Run::of(bare().arg(flag)).ends(OK).text().to_owned();
    assert_eq!(
        said("-V"),
        concat!("carrack ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let long = said("--version");
    assert!(long.starts_with(&said("-V")), "{long}");
    let formats = format!(
        "segment files: format {}\ncatalog: format ",
        carrack_segment::format::VERSION
    );
    assert!(long.contains(&formats), "{long}");
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Place::new().run(&["completions", shell]).ends(OK);
        assert!(run.text().contains("import"), "{shell}");
    }
}
