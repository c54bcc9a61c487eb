//! Drops records whose instruction or answer repeats itself, the commonest failure of small models.

mod config;
mod measures;

use autodidact_plugin::text::{excerpt, tokens};
use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};

pub use config::Config;

/// How many times more often than another word a syllable of laughter or song may stand in a row.
const LAUGHTER: usize = 3;

/// The filter with its configuration.
pub struct Repetition(Config);

impl Plugin for Repetition {
    type Config = Config;
    const NAME: &'static str = "repetition";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        config.check()?;
        Ok(Self(config))
    }
}

impl Filter for Repetition {
    /// The instruction is looked at first, then the answer; the first finding decides.
    fn decide(&self, record: &Record<'_>) -> Decision {
        self.judge("instruction", record.instruction)
            .or_else(|| self.judge("output", record.output))
            .or_else(|| judge_copy(record))
            .unwrap_or_else(Decision::keep)
    }
}

impl Repetition {
    fn judge(&self, field: &str, text: &str) -> Option<Decision> {
        let config = &self.0;
        if let Some((sentence, count)) =
            measures::commonest_sentence(text, config.min_sentence_tokens)
            && count > config.max_same_sentence
        {
            let note = format!("{field}: {:?} {count} times", excerpt(&sentence, 40));
            return Some(
                Decision::drop("repeated_sentence")
                    .with_note(note)
                    .with_score(count as f64),
            );
        }
        let tokens = tokens(text);
        // Laughter repeats itself, though not without end.
        let longest = |unit: &str| match measures::is_syllable(unit) {
            true => config.max_run * LAUGHTER,
            false => config.max_run,
        };
        if let Some((unit, count)) = measures::longest_run(&tokens)
            && count > longest(&unit)
        {
            let note = format!("{field}: {:?} {count} times in a row", excerpt(&unit, 40));
            return Some(
                Decision::drop("repeated_run")
                    .with_note(note)
                    .with_score(count as f64),
            );
        }
        let share = measures::repeated_share(&tokens, config.ngram);
        if tokens.len() >= config.min_tokens && share > config.max_repeated_share {
            let note = format!("{field}: {:.0}% of it stood there before", share * 100.0);
            return Some(
                Decision::drop("repeated_ngrams")
                    .with_note(note)
                    .with_score(share),
            );
        }
        None
    }
}

/// Drops an answer that says the instruction again, with or without its input.
fn judge_copy(record: &Record<'_>) -> Option<Decision> {
    let output = tokens(record.output);
    let mut asked = tokens(record.instruction);
    let alone = output == asked;
    asked.extend(tokens(record.input));
    (!output.is_empty() && (alone || output == asked))
        .then(|| Decision::drop("output_copies_instruction").with_note(excerpt(record.output, 40)))
}

export_plugin!(Repetition: Filter);
