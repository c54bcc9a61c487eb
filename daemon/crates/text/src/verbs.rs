//! The verb that says what an instruction asks for.

use std::sync::LazyLock;

use autodidact_domain::Language;
use jieba_rs::Jieba;

use crate::chinese::simplified;
use crate::{is_cjk, without_quotations};

/// Verbs that instructions in English begin with, in their base form.
const INSTRUCTION_VERBS: &str = "
    accept act adapt add advertise advise analyze answer apologize apply argue arrange ask assess assign assume brainstorm build
    calculate categorize change characterize check choose cite clarify classify collect combine come comment compare compile
    complete compose compute conclude condense construct continue contrast convert convince copy correct count craft create
    criticize critique cut debug decide decline decode deduce define delete derive describe design detect determine develop
    devise diagnose differentiate disagree discuss distinguish divide draft edit elaborate eliminate encourage estimate evaluate
    examine expand explain explore express extend extract factor fill filter find finish fix follow forecast format formulate
    generate give group guess help highlight identify illustrate imagine implement improve infer insert interpret introduce
    invent invite judge justify keep label list locate make mark match mention merge modify multiply name negate note offer
    order organize outline paraphrase parse perform persuade pick place plan play polish predict prepare present pretend print
    produce proofread propose prove provide pull put quote rank rate read rearrange recall recite recommend reduce refute
    remove render reorder repair repeat rephrase replace reply report represent respond restate retrieve return reverse review
    revise reword rewrite round say score search select separate share shorten show simplify simulate sketch solve sort specify
    spell split spot state subtract suggest sum summarize supply support swap switch tag take tell test think tone transcribe
    transform translate turn underline understand use validate verify visit work write";

/// Words after which a request names its verb.
const REQUESTS: [&str; 9] = [
    "please",
    "can you",
    "could you",
    "would you",
    "will you",
    "help me",
    "help me to",
    "want you to",
    "need you to",
];

/// Words between which and the verb of a request others may stand: `could you please kindly explain`.
const FILLERS: [&str; 9] = [
    "please", "kindly", "also", "now", "then", "just", "first", "to", "briefly",
];

/// Words that open a clause, so that what follows may be its verb.
const OPENERS: [&str; 6] = ["and", "then", "or", "please", "you", "to"];

/// Words that a question begins with: what follows is no instruction, so no verb is looked for inside of it.
const QUESTIONS: [&str; 29] = [
    "what", "what's", "which", "who", "whom", "whose", "when", "where", "why", "how", "is", "are",
    "was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "should", "would",
    "will", "may", "might", "in", "at",
];

/// Chinese verbs that say that something is asked for, allowed or so, not what is to be done.
const AUXILIARIES: [&str; 27] = [
    "请", "请问", "麻烦", "劳驾", "帮", "帮忙", "能", "能够", "会", "可", "可以", "应", "应该",
    "该", "要", "不要", "需", "需要", "希望", "让", "使", "是", "有", "没有", "为", "叫", "没",
];

/// Endings that say that a Chinese verb's action comes to an end, and the verbs that are whole without them.
const COMPLEMENTS: [&str; 4] = ["出", "成", "为", "到"];
const STEMS: [&str; 31] = [
    "写", "列", "找", "说", "画", "算", "选", "给", "译", "改", "换", "编", "做", "答", "挑", "猜",
    "标", "举", "拟", "抽", "摘", "取", "变", "转", "翻译", "改写", "转换", "归纳", "整理", "总结",
    "分",
];

/// The dictionary (1.6 MB in the program) and its tables: 143 ms and some 33 MB once, when the first Chinese verb is asked for.
static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Finds the verb that an instruction begins with, in its base form; none where it asks a question or names no verb.
///
/// English: the first verb of a list of instruction verbs that opens the text or a clause, else the word after a request such as
/// `please` or `could you`, else the first verb of the list anywhere, save in a question. British spellings become American ones.
/// Chinese: the first word outside of quotation marks that jieba's dictionary tags as a verb, auxiliaries (请, 帮, 可以, 是), objects
/// of prepositions (根据通知), attributes (收到的) and what they belong to (的请求) left out, without an ending that only says that the action is done (写出, 译成).
/// Both scripts of Chinese give the same verb.
pub fn first_verb(text: &str, language: Language) -> Option<String> {
    let own_words = without_quotations(text);
    match language {
        Language::En => first_english_verb(&own_words),
        Language::Zh => first_chinese_verb(&own_words),
    }
}

fn first_english_verb(text: &str) -> Option<String> {
    let lower = text.to_lowercase().replace('’', "'");
    let clauses = lower.split(['.', ',', ';', ':', '!', '?', '(', '\n']);
    let clauses: Vec<Vec<&str>> = clauses
        .map(|clause| {
            let is_part = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
            let words = clause.split(|c| !is_part(c));
            words.filter(|word| !word.is_empty()).collect()
        })
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    for words in &clauses {
        let opens = |at: usize| at == 0 || OPENERS.contains(&words[at - 1]);
        let found = (0..words.len()).find_map(|at| base_form(words[at]).filter(|_| opens(at)));
        if found.is_some() {
            return found;
        }
    }
    for words in &clauses {
        if let Some(asked) = after_request(words) {
            return Some(base_form(asked).unwrap_or_else(|| asked.to_string()));
        }
    }
    let mut clauses = clauses
        .iter()
        .filter(|words| !QUESTIONS.contains(&words[0]));
    clauses.find_map(|words| words.iter().find_map(|word| base_form(word)))
}

/// Finds the word that a request asks to do.
fn after_request<'a>(words: &[&'a str]) -> Option<&'a str> {
    let request = REQUESTS.iter().find_map(|request| {
        let request: Vec<&str> = request.split(' ').collect();
        let at = words
            .windows(request.len())
            .position(|window| window == request)?;
        Some(at + request.len())
    })?;
    let mut rest = words[request..].iter().copied();
    rest.find(|word| !FILLERS.contains(word))
}

/// Gives a verb of the list in its listed form.
fn base_form(word: &str) -> Option<String> {
    let american = match word.strip_suffix("ise") {
        Some(stem) => format!("{stem}ize"),
        None => match word.strip_suffix("yse") {
            Some(stem) => format!("{stem}yze"),
            None => word.to_string(),
        },
    };
    let is_listed = |word: &str| {
        INSTRUCTION_VERBS
            .split_whitespace()
            .any(|verb| verb == word)
    };
    if is_listed(&american) {
        Some(american)
    } else {
        is_listed(word).then(|| word.to_string())
    }
}

fn first_chinese_verb(text: &str) -> Option<String> {
    let simple: String = text.chars().map(simplified).collect();
    // Guessing words that the dictionary lacks joins 请作 and 写条 to one.
    let tags = JIEBA.tag(&simple, false);
    let mut before = None;
    for (i, tag) in tags.iter().enumerate() {
        let (opens, preposition) = match before {
            None | Some("x") => (true, false),
            Some(tag) => (false, tag == "p"),
        };
        let is_verb = tag.tag == "v" || (tag.tag == "vn" && opens);
        let is_auxiliary = AUXILIARIES.contains(&tag.word);
        // 我想 and 我要 say who asks; 想一句 says what to do.
        let is_wish = i > 0 && tags[i - 1].word == "我" && matches!(tag.word, "想" | "要");
        let is_attribute = tags.get(i + 1).is_some_and(|next| next.word == "的")
            || (i > 0 && tags[i - 1].word == "的");
        let is_word = tag.word.chars().all(is_cjk);
        if is_verb && is_word && !is_auxiliary && !is_wish && !preposition && !is_attribute {
            return Some(without_complement(tag.word).to_string());
        }
        if !is_auxiliary {
            before = Some(tag.tag);
        }
    }
    None
}

fn without_complement(verb: &str) -> &str {
    let stem = COMPLEMENTS
        .iter()
        .find_map(|ending| verb.strip_suffix(ending));
    stem.filter(|stem| STEMS.contains(stem)).unwrap_or(verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: Language, text: &str, expect: Option<&str>) {
        assert_eq!(first_verb(text, language).as_deref(), expect, "{text}");
    }

    #[test]
    fn english_verbs() {
        let check = |text: &str, expect| check(Language::En, text, expect);
        check("Write a poem.", Some("write"));
        check("Summarise the text.", Some("summarize"));
        check("Analyse the data and list the errors.", Some("analyze"));
        check("Given a sentence, classify its tone.", Some("classify"));
        check(
            "Paraphrase: \"Practice makes perfect.\"",
            Some("paraphrase"),
        );
        check("You are a waiter. Answer the guest.", Some("answer"));
        check("Could you please whittle a haiku?", Some("whittle"));
        check("Can you recommend a book?", Some("recommend"));
        check("I want you to act as a guide.", Some("act"));
        check("In two sentences explain why.", None);
        check("With three examples explain recursion.", Some("explain"));
        check("What is photosynthesis?", None);
        check("Is the sentiment of this review positive?", None);
        check("Advise a friend.", Some("advise"));
        check("Revise the essay.", Some("revise"));
        check("", None);
        check("12 + 3", None);
    }

    #[test]
    fn chinese_verbs() {
        let check = |text: &str, expect| check(Language::Zh, text, expect);
        check("写一首关于雨的诗。", Some("写"));
        check("请写出三个成语。", Some("写"));
        check("請寫出三個成語。", Some("写"));
        check("译成英语。", Some("译"));
        check("翻译这封信。", Some("翻译"));
        check("设计公园里爱护草坪的标语。", Some("设计"));
        check("根据通知回答：几点集合？", Some("回答"));
        check("为一家社区面包店想一句广告语。", Some("想"));
        check("帮我列出雨天骑车的注意事项。", Some("列"));
        check("数据库收到的请求怎样处理？", Some("处理"));
        check("可以介绍一下《史记》吗？", Some("介绍"));
        check("用 Python 写函数。", Some("写"));
        check("《史记》的作者是谁？", None);
        check("中国面积最大的淡水湖", None);
        check("“谢谢”", None);
        check("", None);
    }
}
