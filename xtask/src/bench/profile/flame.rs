//! A flame graph as SVG: a box for each function, on the one that called it, as wide as it was seen often. Hovering names it. (The usual
//! crate for this has a licence that is not accepted here.)

use super::fold::Stacks;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Pixels.
const WIDTH: f64 = 1600.0;
const LINE: f64 = 17.0;

/// Boxes that are narrower are left out, in pixels.
const LEAST: f64 = 0.8;

/// Pixels of a letter, about.
const LETTER: f64 = 7.0;

/// A function below others.
#[derive(Default)]
struct Node<'a> {
    count: u64,
    called: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn add(&mut self, stack: &'a [String], count: u64) {
        self.count += count;
        if let Some((first, rest)) = stack.split_first() {
            self.called.entry(first).or_default().add(rest, count);
        }
    }

    fn depth(&self) -> usize {
        1 + self.called.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// The graph of some stacks under a title.
#[allow(clippy::cast_precision_loss)] // pixels
pub fn graph(stacks: &Stacks, title: &str) -> String {
    let mut all = Node::default();
    for (stack, count) in &stacks.0 {
        all.add(stack, *count);
    }
    let height = (all.depth() as f64 + 1.0) * LINE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let bottom = height - 2.0 * LINE;
    draw(&mut out, &all, title, all.count.max(1), (0.0, bottom));
    out + "</svg>\n"
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // pixels
fn draw(out: &mut String, node: &Node, name: &str, all: u64, at: (f64, f64)) {
    let share = node.count as f64 / all as f64;
    let width = share * WIDTH;
    if width < LEAST {
        return;
    }
    let (x, y) = at;
    let text = escaped(name);
    let hue = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 50;
    let _ = write!(
        out,
        "<g><title>{text} ({} samples, {:.1} %)</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" \
         fill=\"hsl({hue},85%,68%)\" stroke=\"white\" stroke-width=\"0.5\"/>",
        node.count,
        share * 100.0,
        LINE - 1.0
    );
    let letters = (width / LETTER) as usize;
    if letters >= 4 {
        let short: String = name.chars().take(letters).collect();
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 2.0, y + 12.0, escaped(&short));
    }
    *out += "</g>\n";
    let mut left = x;
    for (name, called) in &node.called {
        draw(out, called, name, all, (left, y - LINE));
        left += called.count as f64 / all as f64 * WIDTH;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_they_were_seen_often() {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let stacks = Stacks([(stack(&["t", "a<u8>"]), 3), (stack(&["t", "b"]), 1), (stack(&["t"]), 4)].into());
        let svg = graph(&stacks, "all");
        assert!(
            svg.contains("a&lt;u8&gt; (3 samples, 37.5 %)</title><rect x=\"0.0\" y=\"0.0\" width=\"600.0\""),
            "{svg}"
        );
        assert!(svg.contains("b (1 samples, 12.5 %)</title><rect x=\"600.0\""), "{svg}");
        assert!(svg.contains("all (8 samples, 100.0 %)"), "{svg}");
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn nothing_is_a_graph_of_nothing() {
        assert!(graph(&Stacks::default(), "all").ends_with("</svg>\n"));
    }
}
