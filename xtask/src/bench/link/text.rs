//! Something that shrinks as logs and sources do.

use replfs_tests::seed::Random;

/// Different words.
const WORDS: usize = 2000;

/// So many bytes of lines of words and numbers, the same in every run. Words that come early in the list are frequent.
pub fn block(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(5);
    let words: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| {
            let length = 3 + random.below(9);
            (0..length).map(|_| b'a' + u8::try_from(random.below(26)).unwrap_or(0)).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(bytes + 100);
    while text.len() < bytes {
        text.extend(format!("{:08} ", random.below(100_000_000)).into_bytes());
        for _ in 0..6 + random.below(6) {
            let among = 1 + random.below(WORDS as u64);
            text.extend(random.pick(&words[..usize::try_from(among).unwrap_or(1)]));
            text.push(b' ');
        }
        text.push(b'\n');
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_text_and_not_the_same_twice() {
        let text = block(100_000);
        assert_eq!(text.len(), 100_000);
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() || b" \n".contains(byte)));
        assert_ne!(text[..4096], text[4096..8192]);
    }
}
