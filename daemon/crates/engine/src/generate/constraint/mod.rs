//! Text of a given form: before each choice, the tokens that cannot go on to a whole text of that form are ruled out.
//!
//! Every token that fits is offered, none is forced, so the model itself decides how the text is cut into tokens.
//! What is offered depends on the text so far alone; sequences share compiled grammars but no state.

mod grammar;
mod vocabulary;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use autodidact_domain::{Constraint, FinishReason};
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv};
use llguidance::{ParserFactory, TokenParser, panic_utils};

use crate::engine::LoadedModel;

/// Compiles constraints for one model's vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    strips_first_blank: bool,
}

impl Grammars {
    /// Arranges a model's vocabulary for the search of fitting tokens.
    pub(crate) fn new(model: &LoadedModel) -> Result<Self, String> {
        let tokenizer = &model.tokenizer;
        let environment = vocabulary::environment(tokenizer, &model.config)?;
        Self::over(&environment, tokenizer.strips_first_blank)
    }

    fn over(environment: &TokEnv, strips_first_blank: bool) -> Result<Self, String> {
        let mut factory = ParserFactory::new_simple(environment).map_err(reason)?;
        factory.quiet();
        *factory.limits_mut() = grammar::limits();
        Ok(Self {
            factory,
            strips_first_blank,
        })
    }

    /// Compiles a constraint; tells why where that cannot be done or no text would fulfil it.
    fn compile(&self, constraint: &Constraint) -> Result<Form, String> {
        let grammar = grammar::grammar(constraint)?;
        let mut parser = self.factory.create_parser(grammar).map_err(reason)?;
        parser.start_without_prompt();
        let mut form = Form {
            parser,
            strips_first_blank: self.strips_first_blank,
        };
        // The first search also warms what the clones of this parser begin with.
        match form.offered() {
            Some(_) => Ok(form),
            None => Err("no text can fulfil it".to_string()),
        }
    }
}

/// Compiles a constraint over single bytes; tells what is wrong with it.
pub(crate) fn check_constraint(constraint: &Constraint) -> Result<(), String> {
    let compiled =
        Grammars::over(&ApproximateTokEnv::single_byte_env(), false)?.compile(constraint);
    compiled
        .map(|_| ())
        .map_err(|fault| refusal(constraint, &fault))
}

fn refusal(constraint: &Constraint, fault: &str) -> String {
    let (name, advice) = (grammar::name(constraint), grammar::advice(constraint));
    format!("{name}: {fault}; {advice}")
}

fn reason(error: impl std::fmt::Display) -> String {
    /// Longer texts repeat the grammar.
    const MAX_CHARS: usize = 400;
    let text = error.to_string();
    let end = text
        .char_indices()
        .nth(MAX_CHARS)
        .map_or(text.len(), |(at, _)| at);
    text[..end].trim().to_string()
}

/// The constraints compiled last, so that the equal ones of a batch are compiled once.
#[derive(Default)]
pub(super) struct Forms {
    known: VecDeque<(Constraint, Form)>,
}

impl Forms {
    /// How many are kept: one for each kind of prompt in a batch is enough.
    const MAX_KNOWN: usize = 16;

    /// Gives a constraint's form, at its beginning; tells why where there is none.
    pub(super) fn get(
        &mut self,
        model: &LoadedModel,
        constraint: &Constraint,
    ) -> Result<Form, String> {
        if let Some((_, form)) = self.known.iter().find(|(other, _)| other == constraint) {
            return Ok(form.fresh());
        }
        let compiled = model.grammars()?.compile(constraint);
        let form = compiled.map_err(|fault| refusal(constraint, &fault))?;
        let fresh = form.fresh();
        if self.known.len() == Self::MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((constraint.clone(), form));
        Ok(fresh)
    }
}

/// Where one sequence's text stands in its form.
pub(super) struct Form {
    parser: TokenParser,
    /// Whether the text's first token is still to come and loses a leading blank.
    strips_first_blank: bool,
}

impl Form {
    /// Copies a form that nothing was taken by yet.
    fn fresh(&self) -> Self {
        Self {
            parser: self.parser.deep_clone(),
            strips_first_blank: self.strips_first_blank,
        }
    }

    /// Sets the logits of all tokens that do not fit to minus infinity; false where none fits.
    pub(super) fn rule_out(&mut self, logits: &mut [f32]) -> bool {
        let Some(offered) = self.offered() else {
            return false;
        };
        for (id, logit) in logits.iter_mut().enumerate() {
            if !offered.is_allowed(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        true
    }

    /// Finds the tokens that fit, ends of turn included where the text is whole; none where the search goes beyond its limits.
    fn offered(&mut self) -> Option<SimpleVob> {
        let strips = self.strips_first_blank;
        let offered = guarded(&mut self.parser, |parser| {
            let mut offered = parser.compute_mask().ok()?;
            if strips {
                let environment = TokEnv::clone(&parser.token_env);
                let trie = environment.tok_trie();
                let with_blank = |id: &u32| trie.token(*id).starts_with(b" ");
                let literal: Vec<u32> = offered.iter().filter(with_blank).collect();
                literal
                    .into_iter()
                    .for_each(|id| offered.disallow_token(id));
                let computer = std::sync::Arc::clone(&parser.bias_computer);
                offered.or(&parser.parser.compute_bias(&*computer, b" "));
            }
            Some(offered)
        });
        offered.filter(|offered| !offered.is_zero())
    }

    /// Goes on by a token that was offered; tells whether the text is whole and cannot go on.
    ///
    /// A text that goes beyond the limits of the search ends as one that is too long.
    pub(super) fn take(&mut self, id: u32) -> Option<FinishReason> {
        let strips = std::mem::take(&mut self.strips_first_blank);
        let is_whole = guarded(&mut self.parser, |parser| {
            let environment = TokEnv::clone(&parser.token_env);
            let trie = environment.tok_trie();
            let blank_gone = trie.token(id).strip_prefix(b" ").filter(|_| strips);
            // The parser reads bytes: in which tokens they come does not matter to it.
            let ids = blank_gone.map_or_else(|| vec![id], |rest| trie.greedy_tokenize(rest));
            for id in ids {
                parser.consume_token(id).ok()?;
            }
            parser.check_stop().ok()
        });
        match is_whole {
            Some(true) => Some(FinishReason::Eos),
            Some(false) => None,
            None => Some(FinishReason::Length),
        }
    }

    /// Tells whether the text so far is whole.
    pub(super) fn is_whole(&mut self) -> bool {
        guarded(&mut self.parser, |parser| Some(parser.is_accepting())).unwrap_or(false)
    }
}

/// Runs a step of a parser; none where it fails, after which the parser is of no more use.
///
/// Its own limits end it by an error. A panic inside would be a defect of it that one sequence alone shall feel.
fn guarded<T>(
    parser: &mut TokenParser,
    step: impl FnOnce(&mut TokenParser) -> Option<T>,
) -> Option<T> {
    panic_utils::catch_unwind(AssertUnwindSafe(|| Ok(step(parser))))
        .ok()
        .flatten()
}
