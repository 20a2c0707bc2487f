//! Names of tools that were renamed: agents, prompts and settings that know an old one go on working.

/// Old names, and what they are called now. A name that was once published is never taken out, and never used for
/// another tool. So far none was renamed.
const RENAMED: &[(&str, &str)] = &[];

/// Returns what a tool is called now.
pub(crate) fn current(name: &str) -> &str {
    renamed(RENAMED, name)
}

fn renamed<'a>(table: &[(&str, &'a str)], name: &'a str) -> &'a str {
    let found = table.iter().find(|(old, _)| *old == name);
    found.map_or(name, |(_, new)| new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Policy;

    #[test]
    fn an_old_name_is_the_new_tool() {
        let table = [("at_read", "at_get"), ("at_find", "at_list")];
        for (name, current) in [
            ("at_read", "at_get"),
            ("at_find", "at_list"),
            ("at_get", "at_get"),
            ("x", "x"),
        ] {
            assert_eq!(renamed(&table, name), current);
        }
    }

    #[test]
    fn the_table_leads_to_tools_and_hides_none() {
        let all = super::super::definitions(&Policy::all());
        let is_tool = |name: &str| all.iter().any(|tool| tool.name == name);
        for (old, new) in RENAMED {
            assert!(is_tool(new) && !is_tool(old), "{old} -> {new}");
        }
    }
}
