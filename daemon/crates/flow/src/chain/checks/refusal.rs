//! Answers that refuse, or that speak of being a language model: no answers to learn from.

use autodidact_domain::TaskType;

use super::{Answer, Finding, cut, note};

/// First words of refusals; one of [`CANNOT_DO`] must follow. All lists are in lower case.
const REFUSALS: &str = "
    i'm sorry | i am sorry | sorry | i apologize | i apologise | unfortunately | i can't | i cannot | i can not | i'm unable |
    i am unable | i'm not able | i am not able |
    抱歉 | 对不起 | 很抱歉 | 非常抱歉 | 不好意思 | 我无法 | 我不能 | 我没有办法 | 作为";
/// What refusals say that they cannot do.
const CANNOT_DO: &str = "
    unable to | not able to | can't help | cannot help | can't assist | cannot assist | can't provide | cannot provide |
    can't fulfill | cannot fulfill | can't comply | cannot comply | can't answer | cannot answer | can't do that | cannot do that |
    can't complete | cannot complete | can't generate | cannot generate | can't create | cannot create | can't write | cannot write |
    can't access | cannot access | can't translate | cannot translate | don't have access | do not have access | can't browse |
    无法 | 不能提供 | 不能回答 | 不能协助 | 不能帮 | 不能完成 | 不能满足 | 不能为您 | 不能为你 | 没有能力 | 办不到";
/// What only a language model says of itself.
const OF_ITSELF: &str = "
    as an ai | as a language model | as a large language model | as an artificial intelligence | i am an ai | i'm an ai |
    i am just an ai | i'm just an ai | i am a language model | i'm a language model | i am a large language model |
    i'm a large language model | being an ai | since i am an ai | my training data | i was trained by | my knowledge cutoff |
    作为一个人工智能 | 作为人工智能 | 作为ai | 作为一个ai | 作为一名ai | 作为一个语言模型 | 作为语言模型 | 作为一个大语言模型 |
    我是一个人工智能 | 我是一个语言模型 | 我是人工智能 | 我是一个ai | 我的训练数据";
/// Where an instruction speaks of these, what an answer says of them is no slip.
const SUBJECTS: &str = "
    language model | language models | ai | artificial intelligence | chatbot | chatbots | assistant | robot | robots | gpt | llm |
    who are you | yourself |
    人工智能 | 语言模型 | 机器人 | 助手 | 你是谁 | 介绍你自己 | 自我介绍";
/// Where an instruction asks for these, an apology or refusal is what it asks for.
const POLITE_TASKS: &str = "
    apolog | sorry | declin | refus | turn down | reject | cancel | say no | reply | respond to | complain |
    道歉 | 婉拒 | 拒绝 | 推辞 | 取消 | 回复 | 致歉 | 抱歉 | 投诉";
/// What a translator who refuses speaks of.
const OF_TRANSLATORS: &str = "translat | help | assist | request | 翻译 | 帮 | 请求";

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    let record = answer.record;
    let (output, input) = (flat(&answer.output), flat(&record.input));
    let asked = flat(&format!("{} {}", record.instruction, record.input));
    // What the input says, a translation or a correction of it says too.
    let is_subject = phrases(OF_ITSELF)
        .chain(phrases(SUBJECTS))
        .any(|phrase| has_phrase(&asked, phrase));
    let of_itself = phrases(OF_ITSELF).find(|phrase| has_phrase(&output, phrase));
    if let (Some(phrase), false) = (of_itself, is_subject) {
        return Finding::Wrong(note(format!("it says {phrase:?}")));
    }
    let start = output.trim_start_matches(|c: char| !c.is_alphanumeric());
    let first = first_sentences(start);
    let mentions =
        |text: &str, list: &'static str| phrases(list).any(|phrase| text.contains(phrase));
    let begins = |text: &str| phrases(REFUSALS).any(|phrase| text.starts_with(phrase));
    // What is translated may be a refusal itself; the translator's own is about translating or helping.
    let is_own = !answer.is(TaskType::Translation) || mentions(first, OF_TRANSLATORS);
    let refuses = begins(start) && mentions(first, CANNOT_DO) && is_own;
    let is_asked_for = mentions(&asked, POLITE_TASKS) || begins(&input);
    if refuses && !is_asked_for {
        return Finding::Wrong(note(format!("it begins {:?}", cut(first))));
    }
    Finding::Fine
}

fn phrases(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split('|').map(str::trim)
}

/// In lower case with straight apostrophes, and without the blank that some put before AI in Chinese.
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
    let is_end = |(_, c): &(usize, char)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '\n');
    let ends = text.char_indices().filter(is_end);
    ends.map(|(at, _)| at)
        .nth(1)
        .map_or(text, |end| &text[..end])
}
