//! Entities in sequences of tags, read as seqeval reads them by default (Nakayama 2018, after conlleval of CoNLL-2000).

use std::collections::BTreeSet;

/// An entity: its type, and the places of its first and last word.
pub type TaggedSpan = (String, usize, usize);

/// What a tag begins with; a name without a hyphen is a type whose tags have no beginning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Begin,
    Inside,
    End,
    Single,
    Outside,
}

fn split(tag: &str) -> (Position, &str) {
    let (prefix, kind) = tag.split_once('-').unwrap_or((tag, "_"));
    match prefix {
        "B" => (Position::Begin, kind),
        "I" | "M" => (Position::Inside, kind),
        "E" | "L" => (Position::End, kind),
        "S" | "U" => (Position::Single, kind),
        "O" => (Position::Outside, ""),
        // A scheme of bare types: neighbours of one type are one entity.
        _ => (Position::Inside, tag),
    }
}

/// Finds the entities of a sentence's tags (IOB1, IOB2, IOBES and BILOU; a wrong sequence is read leniently: what goes on without
/// having begun begins there).
pub fn tagged_spans<'a>(tags: impl IntoIterator<Item = &'a str>) -> BTreeSet<TaggedSpan> {
    let mut spans = BTreeSet::new();
    let mut open: Option<(&str, usize)> = None;
    let mut previous = (Position::Outside, "");
    let mut count = 0;
    for (place, tag) in tags.into_iter().enumerate() {
        let current = split(tag);
        if let Some((kind, first)) = open
            && ends(previous, current)
        {
            spans.insert((kind.to_string(), first, place - 1));
            open = None;
        }
        if open.is_none() && current.0 != Position::Outside {
            open = Some((current.1, place));
        }
        previous = current;
        count = place + 1;
    }
    if let Some((kind, first)) = open {
        spans.insert((kind.to_string(), first, count - 1));
    }
    spans
}

/// Tells whether an entity that the previous word is part of ends there.
fn ends(previous: (Position, &str), current: (Position, &str)) -> bool {
    matches!(previous.0, Position::End | Position::Single)
        || matches!(
            current.0,
            Position::Begin | Position::Single | Position::Outside
        )
        || previous.1 != current.1
}

/// Computes the micro-averaged F1 of found entities over sentences of (found, right) entities: 1 where there are none at all.
pub fn micro_span_f1<'a>(
    sentences: impl IntoIterator<Item = &'a (BTreeSet<TaggedSpan>, BTreeSet<TaggedSpan>)>,
) -> f64 {
    let (mut both, mut all) = (0, 0);
    for (found, right) in sentences {
        both += found.intersection(right).count();
        all += found.len() + right.len();
    }
    match all {
        0 => 1.0,
        all => 2.0 * both as f64 / all as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_those_that_seqeval_finds() {
        let check = |tags: &str, expect: &[(&str, usize, usize)]| {
            let found = tagged_spans(tags.split(' '));
            let expect = expect.iter();
            let expect = expect.map(|(kind, first, last)| (kind.to_string(), *first, *last));
            assert_eq!(found, expect.collect(), "{tags}");
        };
        // seqeval 1.2.2, get_entities.
        check("B-PER I-PER O B-LOC", &[("PER", 0, 1), ("LOC", 3, 3)]);
        check("I-PER I-PER B-PER", &[("PER", 0, 1), ("PER", 2, 2)]);
        check("B-PER I-LOC O", &[("PER", 0, 0), ("LOC", 1, 1)]);
        check("O O", &[]);
        check("B-A B-A I-A", &[("A", 0, 0), ("A", 1, 2)]);
        check("B-A E-A S-A E-A", &[("A", 0, 1), ("A", 2, 2), ("A", 3, 3)]);
        check("I-A O I-A", &[("A", 0, 0), ("A", 2, 2)]);
        check("B-X-Y I-X-Y", &[("X-Y", 0, 1)]);
    }

    #[test]
    fn f1_counts_over_all_sentences() {
        let pair = |found: &str, right: &str| {
            (
                tagged_spans(found.split(' ')),
                tagged_spans(right.split(' ')),
            )
        };
        let sentences = [
            pair("B-A I-A O", "B-A I-A O"),
            pair("B-A O O", "B-A I-A O"),
            pair("O O O", "O O B-B"),
        ];
        // One of two found, of three right ones: F1 = 2·1 / (2 + 3).
        assert!((micro_span_f1(&sentences) - 0.4).abs() < 1e-12);
        assert_eq!(micro_span_f1(&[pair("O", "O")]), 1.0);
        assert_eq!(micro_span_f1(&[pair("B-A", "O")]), 0.0);
    }
}
