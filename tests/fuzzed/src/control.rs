//! The control socket: what a daemon is asked, and what a command is answered.

use replfs_cli::edge;

/// Bit 0 of the first byte: what `replfs status` and the other commands make of an answer. Otherwise what a daemon answers to a request.
pub fn control(bytes: &[u8]) {
    let Some((which, line)) = bytes.split_first() else { return };
    if which & 1 == 0 {
        let answer = edge::request(line).unwrap_or_else(|error| panic!("a daemon has no answer: {error}"));
        assert!(!answer.contains('\n'), "an answer is one line");
        let again = edge::response(&answer);
        assert_eq!(again.as_deref(), Ok(answer.as_str()), "a command reads what a daemon says");
        return;
    }
    let Ok(line) = std::str::from_utf8(line) else { return };
    let (_, json) = edge::status(line);
    json.unwrap_or_else(|error| panic!("what a daemon said cannot be shown: {error}"));
    if let Ok(written) = edge::response(line) {
        assert_eq!(edge::response(&written).as_ref(), Ok(&written), "read, written and read again");
    }
}
