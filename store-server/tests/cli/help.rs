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
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Place::new().run(&["completions", shell]).ends(OK);
        assert!(run.text().contains("import"), "{shell}");
    }
}
