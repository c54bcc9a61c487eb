//! Texts at their bounds, in English and Chinese.

use autodidact_plugin::{Filter, Plugin, Record};
use length::{Config, Length, Tokens};

fn reason(instruction: &str, output: &str) -> Option<String> {
    let bounds = |least, most| Tokens { least, most };
    let config = Config {
        instruction: bounds(3, 5),
        output: bounds(2, 4),
    };
    let record = Record {
        instruction,
        output,
        ..Record::default()
    };
    let decision = Length::new(config).unwrap().decide(&record);
    let score = decision.score().unwrap_or_default();
    decision.drop_reason().map(|reason| {
        let note = decision.note().unwrap_or_default();
        format!("{reason} {score} {note}")
    })
}

#[test]
fn records_outside_their_bounds_are_dropped_with_their_length() {
    assert_eq!(reason("Name a river.", ""), None);
    assert_eq!(reason("写一首诗。", "床前明月"), None);
    let check = |instruction, output, expected: &str| {
        assert_eq!(reason(instruction, output).as_deref(), Some(expected));
    };
    check("Name it.", "", "too_short 2 instruction: 3 to 5 tokens");
    check(
        "写一首长长的诗。",
        "",
        "too_long 7 instruction: 3 to 5 tokens",
    );
    check(
        "Name a river.",
        "Nile.",
        "too_short 1 output: 2 to 4 tokens",
    );
    check(
        "写一首诗。",
        "床前明月光",
        "too_long 5 output: 2 to 4 tokens",
    );
}

#[test]
fn bounds_that_leave_nothing_are_refused() {
    let config = Config {
        output: Tokens { least: 3, most: 2 },
        ..Config::default()
    };
    let error = Length::new(config).err().unwrap();
    assert_eq!(error, "output: least is 3, more than most, 2");
}
