//! Answers that refuse, or that speak of being a language model: no answers to learn from.

use super::{Answer, Finding, cut, note};

/// First words of refusals in lower case; a verb of [`CANNOT_DO`] must follow.
const REFUSALS: [&str; 22] = [
    "i'm sorry",
    "i am sorry",
    "sorry",
    "i apologize",
    "i apologise",
    "unfortunately",
    "i can't",
    "i cannot",
    "i can not",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "抱歉",
    "对不起",
    "很抱歉",
    "非常抱歉",
    "不好意思",
    "我无法",
    "我不能",
    "我没有办法",
    "作为",
];
/// What refusals say that they cannot do.
const CANNOT_DO: [&str; 42] = [
    "can't help",
    "cannot help",
    "can't assist",
    "cannot assist",
    "unable to",
    "not able to",
    "can't provide",
    "cannot provide",
    "can't fulfill",
    "cannot fulfill",
    "can't comply",
    "cannot comply",
    "can't answer",
    "cannot answer",
    "can't do that",
    "cannot do that",
    "can't complete",
    "cannot complete",
    "can't generate",
    "cannot generate",
    "can't create",
    "cannot create",
    "can't write",
    "cannot write",
    "can't access",
    "cannot access",
    "can't translate",
    "cannot translate",
    "don't have access",
    "do not have access",
    "can't browse",
    "无法",
    "不能提供",
    "不能回答",
    "不能协助",
    "不能帮",
    "不能完成",
    "不能满足",
    "不能为您",
    "不能为你",
    "没有能力",
    "办不到",
];
/// What only a language model says of itself, in lower case.
const OF_ITSELF: [&str; 30] = [
    "as an ai",
    "as a language model",
    "as a large language model",
    "as an artificial intelligence",
    "i am an ai",
    "i'm an ai",
    "i am just an ai",
    "i'm just an ai",
    "i am a language model",
    "i'm a language model",
    "i am a large language model",
    "i'm a large language model",
    "being an ai",
    "since i am an ai",
    "my training data",
    "i was trained by",
    "my knowledge cutoff",
    "作为一个人工智能",
    "作为人工智能",
    "作为ai",
    "作为一个ai",
    "作为一名ai",
    "作为一个语言模型",
    "作为语言模型",
    "作为一个大语言模型",
    "我是一个人工智能",
    "我是一个语言模型",
    "我是人工智能",
    "我是一个ai",
    "我的训练数据",
];
/// Where an instruction speaks of these, what an answer says of them is no slip.
const SUBJECTS: [&str; 18] = [
    "language model",
    " ai",
    "ai ",
    "artificial intelligence",
    "chatbot",
    "assistant",
    "robot",
    "who are you",
    "yourself",
    "人工智能",
    "语言模型",
    "机器人",
    "助手",
    "你是谁",
    "介绍你自己",
    "自我介绍",
    "gpt",
    "llm",
];
/// Where an instruction asks for these, an apology or refusal is what it asks for.
const POLITE_TASKS: [&str; 20] = [
    "apolog",
    "sorry",
    "declin",
    "refus",
    "turn down",
    "reject",
    "cancel",
    "say no",
    "reply",
    "respond to",
    "complain",
    "道歉",
    "婉拒",
    "拒绝",
    "推辞",
    "取消",
    "回复",
    "致歉",
    "抱歉",
    "投诉",
];

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    let lower = flat(&answer.output);
    let asked = flat(&format!(
        "{} {}",
        answer.record.instruction, answer.record.input
    ));
    let mentions = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    // What the input says, a translation or a correction of it says too.
    let is_asked_for = mentions(&asked, &OF_ITSELF) || mentions(&asked, &SUBJECTS);
    let of_itself = OF_ITSELF.iter().find(|phrase| has_phrase(&lower, phrase));
    if let (Some(phrase), false) = (of_itself, is_asked_for) {
        return Finding::Wrong(note(format!("it says {phrase:?}")));
    }
    let start = lower.trim_start_matches(|c: char| !c.is_alphanumeric());
    let first = first_sentences(start);
    let refuses =
        REFUSALS.iter().any(|begin| start.starts_with(begin)) && mentions(first, &CANNOT_DO);
    let is_polite = mentions(&asked, &POLITE_TASKS)
        || REFUSALS
            .iter()
            .any(|begin| flat(&answer.record.input).starts_with(begin));
    if refuses && !is_polite {
        return Finding::Wrong(note(format!("it begins {:?}", cut(first))));
    }
    Finding::Fine
}

/// In lower case with straight apostrophes; blanks beside Chinese gone.
fn flat(text: &str) -> String {
    let straight = text.replace(['’', '‘'], "'").to_lowercase();
    straight
        .replace("作为 ai", "作为ai")
        .replace("一个 ai", "一个ai")
        .replace("一名 ai", "一名ai")
}

/// Tells whether a phrase stands in a text, as whole words in English.
fn has_phrase(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let is_word = |c: char| c.is_ascii_alphanumeric();
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !phrase.is_ascii() || !(before.is_some_and(is_word) || after.is_some_and(is_word))
    })
}

/// The first two sentences: the apology, and what it is for.
fn first_sentences(text: &str) -> &str {
    let ends = text
        .char_indices()
        .filter(|(_, c)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '\n'));
    ends.map(|(at, _)| at)
        .nth(1)
        .map_or(text, |end| &text[..end])
}
