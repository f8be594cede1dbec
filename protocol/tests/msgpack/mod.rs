//! `MessagePack` for people: what each byte of a header means. A header in compact form, where structs are arrays, is walked beside the same in named form,
//! where they are maps: so fields get their names.

/// One value: what its own bytes say, where what belongs to it begins.
struct Value<'a> {
    /// Length of marker, length and data in bytes; without what is nested.
    len: usize,
    what: Shape<'a>,
}

enum Shape<'a> {
    Plain(String),
    Bytes(&'a [u8]),
    Text(String),
    Array(usize),
    Map(usize),
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn read(bytes: &[u8]) -> Value<'_> {
    let marker = bytes[0];
    let plain = |len: usize, what: String| Value { len, what: Shape::Plain(what) };
    let wide = |len: usize| number(&bytes[1..=len]);
    let data = |head: usize, len: usize| (head + len, &bytes[head..head + len]);
    let text =
        |(len, data): (usize, &[u8])| Value { len, what: Shape::Text(String::from_utf8(data.to_vec()).unwrap()) };
    let raw = |(len, data)| Value { len, what: Shape::Bytes(data) };
    let len_of = |width: usize| usize::try_from(wide(width)).unwrap();
    match marker {
        0x00..=0x7f => plain(1, marker.to_string()),
        0x80..=0x8f => Value { len: 1, what: Shape::Map((marker & 0x0f).into()) },
        0x90..=0x9f => Value { len: 1, what: Shape::Array((marker & 0x0f).into()) },
        0xa0..=0xbf => text(data(1, (marker & 0x1f).into())),
        0xc0 => plain(1, "nil".into()),
        0xc2 => plain(1, "false".into()),
        0xc3 => plain(1, "true".into()),
        0xc4 => raw(data(2, len_of(1))),
        0xc5 => raw(data(3, len_of(2))),
        0xcc => plain(2, wide(1).to_string()),
        0xcd => plain(3, wide(2).to_string()),
        0xce => plain(5, wide(4).to_string()),
        0xcf => plain(9, wide(8).to_string()),
        0xd0 => plain(2, i64::from(bytes[1].cast_signed()).to_string()),
        0xd9 => text(data(2, len_of(1))),
        0xdc => Value { len: 3, what: Shape::Array(len_of(2)) },
        0xe0..=0xff => plain(1, marker.cast_signed().to_string()),
        other => panic!("the samples have no {other:02x}"),
    }
}

/// The keys of a map, where the value is one.
pub fn keys(named: &[u8]) -> Vec<String> {
    let mut at = 0;
    let Value { len, what: Shape::Map(count) } = read(named) else { return Vec::new() };
    at += len;
    let mut found = Vec::new();
    for _ in 0..count {
        let key = read(&named[at..]);
        at += key.len;
        if let Shape::Text(key) = key.what {
            found.push(key);
        }
        at += whole(&named[at..]);
    }
    found
}

/// Length of a value with all that is nested.
fn whole(bytes: &[u8]) -> usize {
    let value = read(bytes);
    let nested = match value.what {
        Shape::Array(count) => count,
        Shape::Map(count) => count * 2,
        _ => 0,
    };
    (0..nested).fold(value.len, |at, _| at + whole(&bytes[at..]))
}

/// Offset, length and meaning of each part.
pub fn annotate(compact: &[u8], named: &[u8]) -> Vec<(usize, usize, String)> {
    let mut out = Vec::new();
    let mut walk = Walk { compact, named, at: 0, named_at: 0, out: &mut out };
    walk.value(0, "");
    assert_eq!(walk.at, compact.len(), "all of it");
    out
}

struct Walk<'a> {
    compact: &'a [u8],
    named: &'a [u8],
    at: usize,
    named_at: usize,
    out: &'a mut Vec<(usize, usize, String)>,
}

impl Walk<'_> {
    fn note(&mut self, len: usize, depth: usize, name: &str, what: &str) {
        let name = if name.is_empty() { String::new() } else { format!("{name} = ") };
        self.out.push((self.at, len, format!("{}{name}{what}", "  ".repeat(depth))));
        self.at += len;
    }

    fn value(&mut self, depth: usize, name: &str) {
        let compact = read(&self.compact[self.at..]);
        let named = read(&self.named[self.named_at..]);
        self.named_at += named.len;
        match (compact.what, named.what) {
            (Shape::Array(count), Shape::Map(fields)) => {
                assert_eq!(count, fields, "as many fields as values");
                self.note(compact.len, depth, name, &format!("{count} fields"));
                for _ in 0..count {
                    let key = read(&self.named[self.named_at..]);
                    self.named_at += key.len;
                    let Shape::Text(key) = key.what else { panic!("a field has a name") };
                    self.value(depth + 1, &key);
                }
            }
            (Shape::Array(count), _) => {
                self.note(compact.len, depth, name, &format!("array of {count}"));
                (0..count).for_each(|_| self.value(depth + 1, ""));
            }
            (Shape::Map(count), _) => {
                self.note(compact.len, depth, name, "one variant");
                for _ in 0..count {
                    self.value(depth + 1, "");
                    self.value(depth + 1, "");
                }
            }
            (Shape::Plain(what), _) => self.note(compact.len, depth, name, &what),
            (Shape::Text(text), _) => self.note(compact.len, depth, name, &format!("{text:?}")),
            (Shape::Bytes(bytes), _) => {
                let shown = if bytes.is_ascii() && bytes.iter().all(u8::is_ascii_graphic) && !bytes.is_empty() {
                    format!("bytes \"{}\"", String::from_utf8_lossy(bytes))
                } else {
                    format!("{} bytes", bytes.len())
                };
                self.note(compact.len, depth, name, &shown);
            }
        }
    }
}
