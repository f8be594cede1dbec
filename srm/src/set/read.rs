//! From the text of a set to rules, everything checked: what is unknown, contradicts itself or is too much is an error with
//! its place.

use super::pattern::Pattern;
use super::rule::{Action, Rule};
use super::{Kind, LONGEST, MOST_RULES, SetError, parse_size};
use std::ops::Range;
use toml_edit::{Document, Item, Key, Table, Value};

/// The version that is read.
const VERSION: i64 = 1;

/// Most extensions of a rule.
const MOST_EXTENSIONS: usize = 256;

/// An error, and where it is.
type Wrong = (Option<Range<usize>>, String);

/// A word, and where it is.
type Word<'a> = (&'a str, Option<Range<usize>>);

/// The default and the rules.
pub(super) fn read(text: &str) -> Result<(Action, Vec<Rule>), SetError> {
    if text.len() > LONGEST {
        return Err(SetError::at(text, None, format!("the set is larger than {LONGEST} bytes; use fewer rules")));
    }
    let document = Document::parse(text).map_err(|error| {
        let first = error.message().lines().next().unwrap_or("no TOML");
        let what =
            format!("{}; docs/set.md and 'replfs set --help' show the format", first.trim_end_matches(['.', ';']));
        SetError::at(text, error.span(), what)
    })?;
    whole(text, document.as_table()).map_err(|(span, what)| SetError::at(text, span, what))
}

fn whole(text: &str, table: &Table) -> Result<(Action, Vec<Rule>), Wrong> {
    let mut version = None;
    let mut default = Action::Include;
    let mut rules = Vec::new();
    for (key, item) in entries(table) {
        match key.get() {
            "version" => version = Some(check_version(item)?),
            "default" => {
                default = match string(item, "default", "\"include\" or \"exclude\"")? {
                    "include" => Action::Include,
                    "exclude" => Action::Exclude,
                    other => return wrong(item, format!("'{other}' is no default; write \"include\" or \"exclude\"")),
                }
            }
            "rule" => rules = all_rules(text, item)?,
            other => {
                let what = format!("unknown key '{other}'; version, default and [[rule]] exist");
                return Err((key.span(), what));
            }
        }
    }
    if version.is_none() {
        return Err((None, format!("no version; write 'version = {VERSION}' as the first line")));
    }
    Ok((default, rules))
}

fn check_version(item: &Item) -> Result<(), Wrong> {
    match item.as_integer() {
        Some(VERSION) => Ok(()),
        Some(other) => wrong(item, format!("version {other} is not known; this program reads version {VERSION}")),
        None => wrong(item, format!("the version is a number; write 'version = {VERSION}'")),
    }
}

fn all_rules(text: &str, item: &Item) -> Result<Vec<Rule>, Wrong> {
    let Some(tables) = item.as_array_of_tables() else {
        return wrong(item, "rules are tables of their own; write [[rule]] before each");
    };
    let mut rules = Vec::new();
    for table in tables {
        if rules.len() == MOST_RULES {
            return Err((table.span(), format!("more than {MOST_RULES} rules; join some of them")));
        }
        let line = SetError::at(text, table.span(), "").line;
        rules.push(rule(table, rules.len() + 1, line)?);
    }
    Ok(rules)
}

fn rule(table: &Table, number: usize, line: usize) -> Result<Rule, Wrong> {
    let mut said: Option<(Action, &str, Pattern)> = None;
    let (mut kinds, mut extensions, mut larger, mut smaller) = (Vec::new(), Vec::new(), None, None);
    for (key, item) in entries(table) {
        match key.get() {
            word @ ("include" | "exclude") => {
                if said.is_some() {
                    let what = "a rule includes or excludes, once; write another [[rule]]";
                    return Err((key.span(), what.to_owned()));
                }
                let action = if word == "include" { Action::Include } else { Action::Exclude };
                let pattern = string(item, word, "a pattern such as \"*.tmp\"")?;
                let parsed = Pattern::parse(pattern).map_err(|what| (item.span(), what))?;
                said = Some((action, pattern, parsed));
            }
            "kind" => kinds = strings(item, "kind")?.into_iter().map(kind).collect::<Result<_, _>>()?,
            "extension" => {
                extensions = strings(item, "extension")?.into_iter().map(extension).collect::<Result<_, _>>()?;
            }
            word @ "larger" => larger = Some(size(item, word)?),
            word @ "smaller" => smaller = Some(size(item, word)?),
            other => {
                let what =
                    format!("unknown key '{other}'; include, exclude, kind, extension, larger and smaller exist");
                return Err((key.span(), what));
            }
        }
    }
    let Some((action, pattern, parsed)) = said else {
        let what =
            "the rule has no pattern; write include = \"PATTERN\" or exclude = \"PATTERN\" (\"*\" for everything)";
        return Err((table.span(), what.to_owned()));
    };
    let pattern = pattern.to_owned();
    let rule = Rule { number, line, action, pattern, kinds, extensions, larger, smaller, parsed };
    match rule.contradiction() {
        Some(what) => Err((table.span(), format!("the rule matches nothing: {what}"))),
        None => Ok(rule),
    }
}

fn kind((word, span): Word) -> Result<Kind, Wrong> {
    word.parse().map_err(|what| (span, what))
}

fn extension((word, span): Word) -> Result<String, Wrong> {
    if word.is_empty() || word.starts_with('.') || word.contains('/') {
        return Err((span, format!("'{word}' is no extension; write it without its dot, such as \"iso\"")));
    }
    Ok(word.to_owned())
}

fn size(item: &Item, key: &str) -> Result<u64, Wrong> {
    if let Some(number) = item.as_integer() {
        return u64::try_from(number).map_err(|_| (item.span(), format!("'{number}' is not a size; write 0 or more")));
    }
    parse_size(string(item, key, "a size such as \"1GiB\"")?).map_err(|what| (item.span(), what))
}

fn entries(table: &Table) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(|(name, _)| table.get_key_value(name))
}

fn string<'a>(item: &'a Item, key: &str, example: &str) -> Result<&'a str, Wrong> {
    item.as_str().ok_or_else(|| (item.span(), format!("{key} is a text between quotes; write {example}")))
}

/// A text, or a list of texts, with their places.
fn strings<'a>(item: &'a Item, key: &str) -> Result<Vec<Word<'a>>, Wrong> {
    let text = |value: &'a Value| {
        let bad = || (value.span(), format!("{key} is a text or a list of texts; write each between quotes"));
        Ok((value.as_str().ok_or_else(bad)?, value.span()))
    };
    match item.as_value() {
        Some(Value::Array(array)) if array.is_empty() => {
            wrong(item, format!("the list of {key} is empty; leave it out, or write what is to match"))
        }
        Some(Value::Array(array)) if array.len() > MOST_EXTENSIONS => {
            wrong(item, format!("the list of {key} has more than {MOST_EXTENSIONS} texts; make two rules of it"))
        }
        Some(Value::Array(array)) => array.iter().map(text).collect(),
        Some(value) => Ok(vec![text(value)?]),
        None => wrong(item, format!("{key} is a text or a list of texts; write it between quotes")),
    }
}

fn wrong<T>(item: &Item, what: impl Into<String>) -> Result<T, Wrong> {
    Err((item.span(), what.into()))
}
