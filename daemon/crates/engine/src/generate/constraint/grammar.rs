//! What may be asked for, and its bounds.

use autodidact_domain::Constraint;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::regex_to_lark;
use serde_json::{Value as Json, json};

/// The most bytes that all choices, a regular expression or a schema may have; a grammar takes about a hundred times as much memory.
const MAX_BYTES: usize = 64 << 10;
/// States of the lexer that one sequence may make; each takes 1 to 2 kB (llguidance, `ParserLimits`).
const MAX_LEXER_STATES: usize = 10_000;
/// Symbols of one grammar; schemas of [`MAX_BYTES`] stay below.
const MAX_GRAMMAR_SIZE: usize = 100_000;

/// Bounds time and memory of one grammar; what is not named here is llguidance's own default, which keeps a step within about 20 ms.
pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        max_lexer_states: MAX_LEXER_STATES,
        max_grammar_size: MAX_GRAMMAR_SIZE,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Names the kind of a constraint for messages.
pub(super) fn name(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::Choices(_) => "choices",
        Constraint::Regex(_) => "regular expression",
        Constraint::JsonSchema(_) => "JSON schema",
    }
}

/// Says what can be asked for in place of what was refused.
pub(super) fn advice(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::Choices(_) => "give a list of texts, none of them empty",
        Constraint::Regex(_) => {
            "write it in the syntax of Rust's regex crate, without look-around, word borders or back-references"
        }
        // The keywords: llguidance 1.9.1, src/json/schema.rs, IMPLEMENTED.
        Constraint::JsonSchema(_) => {
            "mend or leave out what is named; known are type, enum, const, anyOf, oneOf, allOf, $ref to $defs, properties, required, \
             additionalProperties, patternProperties, min- and maxProperties, items, prefixItems, min- and maxItems, min- and \
             maxLength, pattern, format, minimum, maximum (exclusive too) and multipleOf"
        }
    }
}

/// Writes a constraint as a grammar; tells what is wrong with it where it cannot be one.
pub(super) fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, String> {
    match constraint {
        Constraint::Choices(choices) => {
            bounded(choices.iter().map(|choice| choice.len() + 1).sum())?;
            if choices.is_empty() || choices.iter().any(String::is_empty) {
                return Err("expected at least one text, none of them empty".to_string());
            }
            let choices: Vec<String> = choices.iter().map(|choice| escape(choice)).collect();
            Ok(of_regex(&choices.join("|")))
        }
        Constraint::Regex(regex) => {
            bounded(regex.len())?;
            check_regex(regex)?;
            Ok(of_regex(regex))
        }
        Constraint::JsonSchema(schema) => {
            bounded(schema.to_string().len())?;
            Ok(TopLevelGrammar::from_json_schema(on_one_line(schema)))
        }
    }
}

/// Writes a regular expression as a grammar. Its `\d` are the digits 0 to 9, as what reads the text will want them.
fn of_regex(regex: &str) -> TopLevelGrammar {
    TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(regex, "d")))
}

fn bounded(bytes: usize) -> Result<(), String> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(format!("expected at most {MAX_BYTES} bytes, found {bytes}"))
}

/// Puts a backslash before every character that means something in a regular expression (regex-syntax, `is_meta_character`).
fn escape(text: &str) -> String {
    const META: &str = r"\.+*?()|[]{}^$#&-~";
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if META.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Refuses what llguidance would read as something else.
fn check_regex(regex: &str) -> Result<(), String> {
    if regex.is_empty() {
        return Err("expected an expression, found an empty text".to_string());
    }
    let backslashes = regex.len() - regex.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        return Err("expected a character after the last backslash, found none".to_string());
    }
    // There a group of that name is a look-ahead whose text is hidden.
    if regex.contains("<stop>") {
        return Err("expected groups of other names, found one named stop".to_string());
    }
    Ok(())
}

/// Asks for JSON on one line, as models write it that are not trained on much code: with free choice of blanks, small ones
/// lose themselves in them. A schema that carries options of llguidance (`x-guidance`) is left as it is.
fn on_one_line(schema: &Json) -> Json {
    let mut schema = match schema {
        Json::Bool(true) => json!({}),
        schema => schema.clone(),
    };
    if let Json::Object(fields) = &mut schema
        && !fields.contains_key("x-guidance")
    {
        let options =
            json!({"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false});
        fields.insert("x-guidance".to_string(), options);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_taken_literally() {
        assert_eq!(escape("a.b (c)? 是/不"), r"a\.b \(c\)\? 是/不");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let too_long = "a".repeat(MAX_BYTES + 1);
        for (constraint, expect) in [
            (Constraint::Choices(vec![]), "at least one"),
            (
                Constraint::Choices(vec!["a".into(), String::new()]),
                "none of them empty",
            ),
            (Constraint::Choices(vec![too_long.clone()]), "65536 bytes"),
            (Constraint::Regex(String::new()), "empty"),
            (Constraint::Regex(r"a\\\".into()), "backslash"),
            (Constraint::Regex("a(?P<stop>b)".into()), "stop"),
            (Constraint::Regex(too_long.clone()), "65536 bytes"),
            (
                Constraint::JsonSchema(json!({"const": too_long})),
                "65536 bytes",
            ),
        ] {
            let Err(fault) = grammar(&constraint) else {
                panic!("{}", name(&constraint));
            };
            assert!(fault.contains(expect), "{fault}");
        }
        assert!(grammar(&Constraint::Regex(r"a\\".into())).is_ok());
    }
}
