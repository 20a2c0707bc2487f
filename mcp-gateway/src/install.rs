//! `carrack-mcp install`: the gateway in the settings of an MCP client.
//!
//! A settings file is the user's, with much in it that is not ours: it is edited as text, so that all else stays byte
//! for byte, and only where it is plain JSON. It is replaced in one step, and what it was before is kept beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// What clients call this server.
const SERVER: &str = "carrack";
/// What is put behind the name of the file that holds what was there before.
const BACKUP: &str = ".before-carrack";

/// An MCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
}

/// Where programs keep a user's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// The home folder.
    home: PathBuf,
    /// Settings of programs with windows.
    settings: PathBuf,
}

impl Home {
    /// Returns the folders of the user who runs this process.
    ///
    /// # Errors
    /// If there is no home folder.
    pub(crate) fn of_user() -> Result<Self, String> {
        let folder = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let home = std::env::home_dir().filter(|path| path.is_absolute());
        let home = home.ok_or("there is no home folder")?;
        Ok(Self::on(std::env::consts::OS, home, folder))
    }

    fn on(system: &str, home: PathBuf, folder: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let settings = match system {
            "macos" => home.join("Library").join("Application Support"),
            "windows" => folder("APPDATA").unwrap_or_else(|| home.join("AppData").join("Roaming")),
            _ => folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
        };
        Self { home, settings }
    }
}

impl Client {
    /// Returns the client's settings file.
    pub(crate) fn file(self, home: &Home) -> PathBuf {
        match self {
            Self::ClaudeDesktop => home
                .settings
                .join("Claude")
                .join("claude_desktop_config.json"),
            Self::ClaudeCode => home.home.join(".claude.json"),
            Self::Cursor => home.home.join(".cursor").join("mcp.json"),
            Self::Vscode => home.settings.join("Code").join("User").join("mcp.json"),
        }
    }

    /// Returns the key that a client's servers are under.
    fn section(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            _ => "mcpServers",
        }
    }

    /// Returns what the client has to know of this server.
    pub(crate) fn entry(self, command: &str, arguments: &[String]) -> Map<String, Value> {
        let mut entry = Map::new();
        if matches!(self, Self::ClaudeCode | Self::Vscode) {
            entry.insert("type".into(), json!("stdio"));
        }
        entry.insert("command".into(), json!(command));
        entry.insert("args".into(), json!(arguments));
        entry
    }

    /// Returns settings that hold this server alone.
    pub(crate) fn settings(self, entry: &Map<String, Value>) -> String {
        let member = member(self.section(), &json!({ SERVER: entry }), 1);
        format!("{{\n{member}\n}}\n")
    }

    /// Returns a file's text with this server in it.
    ///
    /// # Errors
    /// If it is no JSON, or something else is where the servers belong.
    fn merged(self, text: &str, entry: &Map<String, Value>) -> Result<String, String> {
        if text.trim().is_empty() {
            return Ok(self.settings(entry));
        }
        let whole: Value = serde_json::from_str(text).map_err(|error| {
            format!("it is not plain JSON ({error}); comments are not either, and would be lost")
        })?;
        if !whole.is_object() {
            return Err("it holds no JSON object".to_owned());
        }
        let top = Object::read(text, text.find('{').unwrap_or_default());
        let section = self.section();
        let Some(servers) = top.member(section)? else {
            let member = member(section, &json!({ SERVER: entry }), 1);
            return Ok(top.with(text, &member, ""));
        };
        if !whole[section].is_object() {
            return Err(format!("its \"{section}\" is no JSON object"));
        }
        let servers = Object::read(text, servers.start);
        let Some(place) = servers.member(SERVER)? else {
            let member = member(SERVER, &json!(entry), 2);
            return Ok(servers.with(text, &member, "  "));
        };
        // What the user has added, such as an environment, stays.
        let mut new = whole[section][SERVER]
            .as_object()
            .cloned()
            .unwrap_or_default();
        new.extend(entry.clone());
        if whole[section][SERVER].as_object() == Some(&new) {
            return Ok(text.to_owned());
        }
        let value = indented(&json!(new), 2);
        Ok([&text[..place.start], &value, &text[place.end..]].concat())
    }
}

/// Where the members of an object are, in a text that is known to be JSON.
struct Object {
    /// Of the `{`.
    start: usize,
    /// Keys, and where their values are.
    members: Vec<(String, Range<usize>)>,
}

impl Object {
    /// Reads the object that starts there.
    fn read(text: &str, start: usize) -> Self {
        let bytes = text.as_bytes();
        let mut members = Vec::new();
        let mut at = start + 1;
        // A key, its colon, a value, a comma: everything between is white space.
        while let Some(key_start) = find(bytes, at, b'"', b'}') {
            let key_end = end_of_value(bytes, key_start);
            let key = serde_json::from_str(text.get(key_start..key_end).unwrap_or_default());
            let colon = find(bytes, key_end, b':', b'}').unwrap_or(bytes.len());
            let blank = |byte: &&u8| byte.is_ascii_whitespace();
            let rest = bytes.get(colon + 1..).unwrap_or_default();
            let value_start = colon + 1 + rest.iter().take_while(blank).count();
            at = end_of_value(bytes, value_start);
            members.push((key.unwrap_or_default(), value_start..at));
        }
        Self { start, members }
    }

    /// Returns where the value of a key is.
    fn member(&self, key: &str) -> Result<Option<Range<usize>>, String> {
        let mut found = self.members.iter().filter(|(name, _)| name == key);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(format!("it has \"{key}\" twice")),
            (found, _) => Ok(found.map(|(_, place)| place.clone())),
        }
    }

    /// Returns the text with one member more, after the others.
    fn with(&self, text: &str, member: &str, indent: &str) -> String {
        match self.members.last() {
            Some((_, last)) => {
                let (before, after) = text.split_at(last.end);
                [before, ",\n", member, after].concat()
            }
            None => {
                let (before, after) = text.split_at(self.start + 1);
                let after = after.trim_start();
                [before, "\n", member, "\n", indent, after].concat()
            }
        }
    }
}

/// Returns where a byte is next; none if the other one comes first.
fn find(bytes: &[u8], from: usize, wanted: u8, end: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest
        .iter()
        .position(|byte| *byte == wanted || *byte == end)?;
    (rest.get(at) == Some(&wanted)).then_some(from + at)
}

/// Returns where the value that starts there ends.
fn end_of_value(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut in_text, mut at) = (0_usize, false, start);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text && depth > 0 => depth -= 1,
            // A number or a word ends where something else begins.
            b',' | b'}' | b']' if !in_text && depth == 0 => return at,
            byte if !in_text && depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
        let is_closed = matches!(byte, b'"' | b'}' | b']');
        if is_closed && !in_text && depth == 0 {
            return at;
        }
    }
    at.min(bytes.len())
}

fn member(key: &str, value: &Value, depth: usize) -> String {
    format!(
        "{}{}: {}",
        "  ".repeat(depth),
        json!(key),
        indented(value, depth)
    )
}

/// Returns a value over several lines, all but the first indented.
fn indented(value: &Value, depth: usize) -> String {
    let line_start = format!("\n{}", "  ".repeat(depth));
    format!("{value:#}").replace('\n', &line_start)
}

/// What became of a settings file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// There was none.
    New,
    /// It was changed; what it held is there.
    Changed(PathBuf),
    /// It said all this already.
    Same,
}

/// Writes this server into a client's settings.
///
/// # Errors
/// If the file cannot be read, understood or replaced; then it is as before. The text says which file, and why.
pub(crate) fn write(
    client: Client,
    path: &Path,
    entry: &Map<String, Value>,
) -> Result<Written, String> {
    let told = |what: &str, error: &dyn std::fmt::Display| {
        format!("{what} {}: {error}; it is as it was", path.display())
    };
    // A link to a file elsewhere stays one.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::read_to_string(&place) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(told("cannot read", &error)),
    };
    let text = old.as_deref().unwrap_or_default();
    let new = client.merged(text, entry);
    let new = new.map_err(|why| told("cannot add to", &why))?;
    if old.as_deref() == Some(&new) {
        return Ok(Written::Same);
    }
    let written = replace(&place, old.is_some(), &new);
    written.map_err(|error| told("cannot write", &error))
}

fn replace(place: &Path, is_there: bool, text: &str) -> io::Result<Written> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    let written = if is_there {
        let backup = beside(place, BACKUP);
        fs::copy(place, &backup)?;
        Written::Changed(backup)
    } else {
        Written::New
    };
    let draft = beside(place, &format!(".{}.tmp", std::process::id()));
    let replaced = fill(&draft, text)
        .and_then(|()| match is_there {
            true => fs::set_permissions(&draft, fs::metadata(place)?.permissions()),
            false => Ok(()),
        })
        .and_then(|()| fs::rename(&draft, place));
    if let Err(error) = replaced {
        // The draft is of no use; that it stays is no reason to hide what went wrong.
        let _left = fs::remove_file(&draft);
        return Err(error);
    }
    Ok(written)
}

fn fill(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // Settings may hold secrets of other servers.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Map<String, Value> {
        Client::Cursor.entry("/bin/carrack-mcp", &["--read-only".to_owned()])
    }

    fn merged(text: &str) -> Result<String, String> {
        Client::Cursor.merged(text, &entry())
    }

    #[test]
    fn every_client_has_its_file_on_every_system() {
        let mut shown = String::new();
        for system in ["linux", "macos", "windows"] {
            let none = |_: &str| None;
            let home = Home::on(system, "/home/u".into(), none);
            for client in Client::value_variants() {
                let line = format!("{system} {client:?} {}\n", client.file(&home).display());
                shown.push_str(&line);
            }
        }
        insta::assert_snapshot!(shown, @r"
        linux ClaudeDesktop /home/u/.config/Claude/claude_desktop_config.json
        linux ClaudeCode /home/u/.claude.json
        linux Cursor /home/u/.cursor/mcp.json
        linux Vscode /home/u/.config/Code/User/mcp.json
        macos ClaudeDesktop /home/u/Library/Application Support/Claude/claude_desktop_config.json
        macos ClaudeCode /home/u/.claude.json
        macos Cursor /home/u/.cursor/mcp.json
        macos Vscode /home/u/Library/Application Support/Code/User/mcp.json
        windows ClaudeDesktop /home/u/AppData/Roaming/Claude/claude_desktop_config.json
        windows ClaudeCode /home/u/.claude.json
        windows Cursor /home/u/.cursor/mcp.json
        windows Vscode /home/u/AppData/Roaming/Code/User/mcp.json
        ");
        let elsewhere = |name: &str| (name == "XDG_CONFIG_HOME").then(|| "/cfg".into());
        let home = Home::on("linux", "/home/u".into(), elsewhere);
        let file = Client::Vscode.file(&home);
        assert_eq!(file, Path::new("/cfg/Code/User/mcp.json"));
    }

    #[test]
    fn what_is_there_stays_byte_for_byte() {
        let ours = "\"carrack\": {\n      \"command\": \"/bin/carrack-mcp\",\n      \"args\": [\n        \"--read-only\"\n      ]\n    }";
        let alone = format!("{{\n  \"mcpServers\": {{\n    {ours}\n  }}\n}}\n");
        for (old, new) in [
            ("", alone.clone()),
            (" \n", alone.clone()),
            ("{}", alone.trim_end().to_owned()),
            (
                "{ \"mcpServers\": { } }\n",
                format!("{{ \"mcpServers\": {{\n    {ours}\n  }} }}\n"),
            ),
            (
                "{\"cost\": 0.10000000000000000001, \"a\\\"}\": \"{\\\\\"}",
                format!(
                    "{{\"cost\": 0.10000000000000000001, \"a\\\"}}\": \"{{\\\\\",\n  \"mcpServers\": {{\n    {ours}\n  }}}}"
                ),
            ),
            (
                "{\"mcpServers\" : {\"x\":{\"args\":[1,{}]}\n}, \"z\": [true,null]}",
                format!(
                    "{{\"mcpServers\" : {{\"x\":{{\"args\":[1,{{}}]}},\n    {ours}\n}}, \"z\": [true,null]}}"
                ),
            ),
            (
                "{\"mcpServers\":{\"carrack\": 7 ,\"y\":1}}",
                format!("{{\"mcpServers\":{{{ours} ,\"y\":1}}}}"),
            ),
        ] {
            let new_text = merged(old).unwrap();
            assert_eq!(new_text, new, "{old}");
            let value: Value = serde_json::from_str(&new_text).unwrap();
            assert_eq!(value["mcpServers"]["carrack"], json!(entry()));
            assert_eq!(merged(&new_text).unwrap(), new_text, "twice is once");
        }
    }

    #[test]
    fn what_the_user_added_to_our_entry_stays() {
        let old = json!({ "mcpServers": { "carrack": { "command": "old", "env": { "A": "1" } } } });
        let new: Value = serde_json::from_str(&merged(&old.to_string()).unwrap()).unwrap();
        let server = &new["mcpServers"]["carrack"];
        assert_eq!(
            (&server["env"]["A"], &server["command"]),
            (&json!("1"), &json!("/bin/carrack-mcp"))
        );
    }

    #[test]
    fn what_is_no_plain_json_is_refused() {
        for (text, why) in [
            ("{", "not plain JSON"),
            ("{ // mine\n}", "not plain JSON"),
            ("{\"a\": 1,}", "not plain JSON"),
            ("\u{feff}{}", "not plain JSON"),
            ("[]", "no JSON object"),
            ("{\"mcpServers\": []}", "\"mcpServers\" is no JSON object"),
            (
                "{\"mcpServers\": {}, \"mcpServers\": {}}",
                "\"mcpServers\" twice",
            ),
        ] {
            let error = merged(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_replaced_in_one_step_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/er/mcp.json");
        assert_eq!(write(Client::Cursor, &path, &entry()), Ok(Written::New));
        assert_eq!(write(Client::Cursor, &path, &entry()), Ok(Written::Same));
        fs::write(&path, "{\"theme\": \"dark\"}").unwrap();
        let backup = path.with_file_name("mcp.json.before-carrack");
        let written = write(Client::Cursor, &path, &entry());
        assert_eq!(written, Ok(Written::Changed(backup.clone())));
        assert_eq!(
            fs::read_to_string(&backup).unwrap(),
            "{\"theme\": \"dark\"}"
        );
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .starts_with("{\"theme\": \"dark\",\n")
        );
        fs::write(&path, "{ broken").unwrap();
        let error = write(Client::Cursor, &path, &entry()).unwrap_err();
        assert!(
            error.contains("mcp.json: it is not plain JSON") && error.ends_with("it is as it was"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{ broken");
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 2, "no draft stays");
    }

    #[cfg(unix)]
    #[test]
    fn modes_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real.json"), home.path().join("link.json"));
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        write(Client::Cursor, &link, &entry()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("carrack"));
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o640
        );
        let new = home.path().join("new.json");
        write(Client::Cursor, &new, &entry()).unwrap();
        assert_eq!(
            fs::metadata(&new).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
