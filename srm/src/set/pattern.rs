//! Patterns as gitignore reads them, and rsync but for a slash inside, which anchors here; turned into regular expressions on
//! bytes. What the two read differently otherwise is refused. Which rule a pattern belongs to is not known here.

use std::fmt::Write as _;

/// Longest pattern in bytes.
const LONGEST: usize = 4096;

/// Most parts between slashes.
const MOST_PARTS: usize = 64;

/// A pattern, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// It is compared with the whole path below SRC and not with the name alone.
    pub anchored: bool,
    /// It ended with a slash.
    pub directories_only: bool,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of directories.
    Deep,
    /// The expression of one name.
    Name(String),
}

impl Pattern {
    /// Checks `text`. The error says what is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the pattern is longer than {LONGEST} bytes; make it shorter"));
        }
        let (body, directories_only) = match text.strip_suffix('/') {
            Some(body) if !body.ends_with('\\') => (body, true),
            _ => (text, false),
        };
        let (body, from_root) = match body.strip_prefix('/') {
            Some(body) => (body, true),
            None => (body, false),
        };
        if body.is_empty() {
            return Err("the pattern names nothing; write \"*\" for everything".to_owned());
        }
        let parts = body.split('/').map(part).collect::<Result<Vec<_>, _>>()?;
        if parts.len() > MOST_PARTS {
            return Err(format!("the pattern has more than {MOST_PARTS} parts between slashes; use ** for many"));
        }
        Ok(Self { anchored: from_root || parts.len() > 1, parts, directories_only })
    }

    /// The expression of what it matches: a name, or a path where it is anchored.
    pub fn own(&self) -> String {
        let last = self.parts.len() - 1;
        let mut out = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Deep if at == last && self.anchored => out.push_str(".+"),
                Part::Deep if at == last => out.push_str(".*"),
                Part::Deep => out.push_str("(?:.*/)?"),
                Part::Name(name) => {
                    out.push_str(name);
                    if at < last {
                        out.push('/');
                    }
                }
            }
        }
        out
    }

    /// The expression of the directories below which something can match; `None` where there is none but SRC itself. For
    /// anchored patterns; any directory leads to a match of the others.
    pub fn leads(&self) -> Option<String> {
        let last = self.parts.len() - 1;
        let mut out = String::new();
        let mut open = 0;
        for (at, part) in self.parts.iter().enumerate() {
            let start = if at == 0 { "" } else { "(?:/" };
            match part {
                Part::Deep => {
                    out.push_str(start);
                    out.push_str(".+");
                    open += usize::from(at > 0);
                    break;
                }
                Part::Name(_) if at == last => break,
                Part::Name(name) => {
                    out.push_str(start);
                    out.push_str(name);
                    open += usize::from(at > 0);
                }
            }
        }
        out.push_str(&")?".repeat(open));
        (!out.is_empty()).then_some(out)
    }
}

fn part(text: &str) -> Result<Part, String> {
    match text {
        "" => Err("the pattern has an empty part between slashes; leave one slash out".to_owned()),
        "." | ".." => Err(format!("'{text}' is never part of a path below the source; leave it out")),
        "**" => Ok(Part::Deep),
        _ => name(text).map(Part::Name),
    }
}

/// The expression of one name.
fn name(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' if rest.first() == Some(&b'*') => {
                return Err(format!(
                    "'**' beside other characters in '{text}' is read differently by rsync and git; write * for a part of a \
                     name, or ** alone between slashes"
                ));
            }
            b'*' => out.push_str("[^/]*"),
            b'?' => out.push_str("[^/]"),
            b'\\' => {
                let (escaped, after) = rest
                    .split_first()
                    .ok_or_else(|| format!("nothing follows the backslash in '{text}'; write \\\\ for a backslash"))?;
                literal(&mut out, *escaped);
                rest = after;
            }
            b'[' => {
                let (class, after) = class(rest).map_err(|why| format!("in '{text}': {why}"))?;
                class.write(&mut out);
                rest = after;
            }
            other => literal(&mut out, *other),
        }
    }
    Ok(out)
}

fn literal(out: &mut String, byte: u8) {
    // Writing to a string does not fail.
    let _ = write!(out, "\\x{byte:02X}");
}

/// Which ASCII characters are in a class, and whether it is the others that match.
struct Class {
    negated: bool,
    members: [bool; 128],
}

impl Class {
    fn write(&self, out: &mut String) {
        out.push_str(if self.negated { "[^" } else { "[" });
        for byte in 0..128_u8 {
            // A slash is never in a name; "not x" must not match it either.
            if byte == b'/' && self.negated || self.members[usize::from(byte)] && byte != b'/' {
                literal(out, byte);
            }
        }
        out.push(']');
    }
}

/// Reads a class behind its opening bracket; gives what follows it as well.
fn class(mut rest: &[u8]) -> Result<(Class, &[u8]), String> {
    let mut class = Class { negated: false, members: [false; 128] };
    if let [b'!' | b'^', after @ ..] = rest {
        class.negated = true;
        rest = after;
    }
    let mut first = true;
    loop {
        match rest {
            [b']', after @ ..] if !first => break rest = after,
            [b'[', b':', after @ ..] => rest = named(&mut class, after)?,
            _ => {
                let (low, after) = member(rest)?;
                let (high, after) = match after {
                    [b'-', next, ..] if *next != b']' => member(&after[1..])?,
                    _ => (low, after),
                };
                if low > high {
                    return Err("the range of a class is upside down; write the smaller character first".to_owned());
                }
                class.members[usize::from(low)..=usize::from(high)].fill(true);
                rest = after;
            }
        }
        first = false;
    }
    if !class.negated && !class.members.iter().enumerate().any(|(at, is)| *is && at != usize::from(b'/')) {
        return Err("the class matches nothing; names never contain a slash".to_owned());
    }
    Ok((class, rest))
}

/// One character of a class.
fn member(rest: &[u8]) -> Result<(u8, &[u8]), String> {
    let (byte, after) = match rest {
        [b'\\', byte, after @ ..] | [byte, after @ ..] => (*byte, after),
        [] => return Err("the bracket is not closed; write \\[ for a bracket".to_owned()),
    };
    if byte.is_ascii() {
        Ok((byte, after))
    } else {
        Err("a class holds ASCII characters only; write ? or * for the others".to_owned())
    }
}

/// `[:alpha:]` and its relatives, behind their `[:`.
fn named<'a>(class: &mut Class, rest: &'a [u8]) -> Result<&'a [u8], String> {
    let unknown =
        || "no such class of characters; write one such as [[:alpha:]], [[:digit:]] or [[:upper:]]".to_owned();
    let end = rest.windows(2).position(|pair| pair == b":]").ok_or_else(unknown)?;
    let is: fn(&u8) -> bool = match &rest[..end] {
        b"alpha" => u8::is_ascii_alphabetic,
        b"digit" => u8::is_ascii_digit,
        b"alnum" => u8::is_ascii_alphanumeric,
        b"upper" => u8::is_ascii_uppercase,
        b"lower" => u8::is_ascii_lowercase,
        b"punct" => u8::is_ascii_punctuation,
        b"xdigit" => u8::is_ascii_hexdigit,
        b"cntrl" => u8::is_ascii_control,
        b"graph" => u8::is_ascii_graphic,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"space" => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        _ => return Err(unknown()),
    };
    for byte in 0..128_u8 {
        class.members[usize::from(byte)] |= is(&byte);
    }
    Ok(&rest[end + 2..])
}
