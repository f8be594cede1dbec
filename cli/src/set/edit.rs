//! `replfs set add` and `remove`: one rule in the file, everything else as it was written, and in force at once. Where the
//! daemon refuses the new set the file gets its old text back.

use super::file::Edited;
use super::{Daemon, print_changes};
use crate::args::StateArgs;
use crate::args::set::{AddArgs, RemoveArgs};
use crate::exit::{Code, Failure};
use crate::source::set_file;
use srm::OnRemove;
use srm::set::{Kind, Rule, Set};
use std::path::Path;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// What a new file begins with.
const HEAD: &str = "# What is replicated; 'replfs set --help' and docs/set.md explain it. 'replfs set reload MNT' puts changes in force.\n\
    version = 1\n";

pub(super) fn add(args: &AddArgs, state: &StateArgs) -> Result<(), Failure> {
    change(&mut Daemon::find(&args.mount, state)?, args.on_remove.on_remove, |rules, _| {
        let at = match args.at {
            None => rules.len(),
            Some(number) if (1..=rules.len() + 1).contains(&number) => number - 1,
            Some(number) => {
                let text = format!("--at {number}: there are {} rules; give 1 to {}", rules.len(), rules.len() + 1);
                return Err(Failure::usage(text));
            }
        };
        rules.insert(at, table(args));
        Ok(())
    })
}

pub(super) fn remove(args: &RemoveArgs, state: &StateArgs) -> Result<(), Failure> {
    change(&mut Daemon::find(&args.mount, state)?, args.on_remove.on_remove, |rules, said| {
        rules.remove(find(&args.rule, said)?);
        Ok(())
    })
}

/// The index of the rule that is meant.
fn find(word: &str, rules: &[Rule]) -> Result<usize, Failure> {
    let fail = |why: String| Failure::usage(format!("rule '{word}': {why}"));
    if let Ok(number) = word.parse::<usize>()
        && (1..=rules.len()).contains(&number)
    {
        return Ok(number - 1);
    }
    let found: Vec<&Rule> = rules.iter().filter(|rule| rule.pattern == word).collect();
    match found.as_slice() {
        [one] => Ok(one.number - 1),
        [] => Err(fail("there is none of that number or pattern; 'replfs set show MNT' lists them".to_owned())),
        many => {
            let numbers: Vec<String> = many.iter().map(|rule| rule.number.to_string()).collect();
            Err(fail(format!("several have that pattern; give one of their numbers: {}", numbers.join(", "))))
        }
    }
}

/// The rule as it will stand in the file.
fn table(args: &AddArgs) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    for (key, pattern) in [("include", &args.include), ("exclude", &args.exclude)] {
        if let Some(pattern) = pattern {
            table.insert(key, value(pattern));
        }
    }
    let kinds: Vec<&str> = args.kind.iter().copied().map(Kind::word).collect();
    let extensions: Vec<&str> = args.extension.iter().map(String::as_str).collect();
    for (key, words) in [("kind", kinds), ("extension", extensions)] {
        match words.as_slice() {
            [] => {}
            [one] => drop(table.insert(key, value(*one))),
            many => drop(table.insert(key, value(many.iter().copied().collect::<Array>()))),
        }
    }
    for (key, size) in [("larger", &args.larger), ("smaller", &args.smaller)] {
        if let Some(size) = size {
            table.insert(key, value(size));
        }
    }
    table
}

/// Changes the rules in the file, puts that in force and prints what changed.
fn change(
    daemon: &mut Daemon,
    on_remove: OnRemove,
    how: impl FnOnce(&mut ArrayOfTables, &[Rule]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = daemon.in_force()?.path;
    let file = Edited::open(&path)?;
    let text = edited(&path, file.text(), how)?;
    file.write(&text)?;
    match daemon.reload(on_remove) {
        Ok(lines) => print_changes(&lines),
        Err(failure) => {
            file.restore()?;
            Err(Failure::new(failure.code, format!("{failure} (the file is as it was)")))
        }
    }
}

/// The new text; it parses.
fn edited(
    path: &Path,
    text: Option<&[u8]>,
    how: impl FnOnce(&mut ArrayOfTables, &[Rule]) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let text = text.unwrap_or(HEAD.as_bytes());
    let set = set_file::parse(path, text)?;
    let broken = |what: String| Failure::new(Code::Set, format!("set {}: {what}", path.display()));
    // It has just been parsed.
    let mut document: DocumentMut =
        set.text().parse().map_err(|e: toml_edit::TomlError| broken(e.message().to_owned()))?;
    let rules = document.entry("rule").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let rules = rules.as_array_of_tables_mut().ok_or_else(|| broken("rules are not written as [[rule]]".to_owned()))?;
    how(rules, set.rules())?;
    if rules.is_empty() {
        document.remove("rule");
    }
    let new = document.to_string();
    Set::parse(&new).map_err(|error| broken(format!("with this change it would be wrong ({error})")))?;
    Ok(new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::set::SetCommand;
    use crate::args::{Command, Invocation, parse};
    use std::ffi::OsString;

    fn command(line: &str) -> SetCommand {
        let words: Vec<_> = format!("replfs set {line}").split(' ').map(OsString::from).collect();
        match parse(&words) {
            Ok(Invocation::Run(Command::Set(args), _)) => args.command,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn added(text: Option<&str>, line: &str, at: usize) -> Result<String, Failure> {
        let SetCommand::Add(args) = command(&format!("add /m {line}")) else { panic!("{line}") };
        edited(Path::new("/x"), text.map(str::as_bytes), |rules, _| {
            rules.insert(at, table(&args));
            Ok(())
        })
    }

    const TEXT: &str = "# head\nversion = 1 # v\n\n# about a\n[[rule]]\nexclude = 'a' # why\n\n# about b\n[[rule]]\n\
        include = \"b\"\nkind   = \"file\"\n# end\n";

    #[test]
    fn a_rule_is_added_where_it_is_wanted_and_the_rest_stays_as_it_was() {
        let rule = "\n[[rule]]\nexclude = \"*.iso\"\nextension = [\"x\", \"y\"]\nlarger = \"1GiB\"\n";
        let words = "--exclude *.iso --extension x --extension y --larger 1GiB";
        let parts: Vec<&str> = TEXT.split_inclusive("\n\n").collect();
        let (first, rest) = (parts[0].trim_end_matches('\n').to_owned() + "\n", parts[1..].concat());
        assert_eq!(added(Some(TEXT), words, 0).unwrap(), format!("{first}{rule}\n{rest}"));
        let (b, end) = parts[2].split_once("# end").unwrap();
        let last = added(Some(TEXT), words, 2).unwrap();
        assert!(last.starts_with(&format!("{}{}{b}", parts[0], parts[1])) && last.contains(rule), "{last}");
        assert!(last.contains("# end"), "{last} {end}");
        for at in 0..3 {
            let set = Set::parse(&added(Some(TEXT), words, at).unwrap()).unwrap();
            assert_eq!(set.rules()[at].pattern, "*.iso");
        }
    }

    #[test]
    fn a_file_that_was_not_there_gets_a_head() {
        let text = added(None, "--include a --kind file", 0).unwrap();
        assert_eq!(text, format!("{HEAD}\n[[rule]]\ninclude = \"a\"\nkind = \"file\"\n"));
    }

    #[test]
    fn a_rule_that_would_be_wrong_is_refused() {
        let failure = added(Some(TEXT), "--exclude a**b", 1).unwrap_err();
        assert!(failure.code == Code::Set && failure.message.contains("would be wrong (line "), "{failure}");
        assert_eq!(added(Some("rules"), "--exclude a", 0).unwrap_err().code, Code::Set);
    }

    #[test]
    fn a_rule_is_removed_with_its_comment_by_number_or_pattern() {
        for word in ["1", "a"] {
            let removed = edited(Path::new("/x"), Some(TEXT.as_bytes()), |rules, said| {
                rules.remove(find(word, said)?);
                Ok(())
            });
            assert_eq!(removed.unwrap(), TEXT.replace("# about a\n[[rule]]\nexclude = 'a' # why\n\n", ""));
        }
        let set = Set::parse("version = 1\n[[rule]]\nexclude = '7'\n[[rule]]\nexclude = 'a'\n[[rule]]\ninclude = 'a'")
            .unwrap();
        assert_eq!(find("7", set.rules()).unwrap(), 0);
        assert!(find("a", set.rules()).unwrap_err().message.contains("2, 3"));
        assert_eq!(find("b", set.rules()).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_rule_includes_or_excludes() {
        for line in [
            "add /m",
            "add /m --include a --exclude b",
            "add /m --exclude a --larger 1MB",
            "add /m --exclude a --kind x",
        ] {
            let words: Vec<_> = format!("replfs set {line}").split(' ').map(OsString::from).collect();
            assert_eq!(parse(&words).unwrap_err().code, Code::Usage, "{line}");
        }
    }
}
