//! The labels that a classification names in its instruction.

use autodidact_text::normalize;

/// The most labels of a set; a longer list is something else.
const MOST: usize = 12;
/// The longest label, in words of English and in characters of Chinese.
const LONGEST_WORDS: usize = 4;
const LONGEST_CHARACTERS: usize = 10;

/// Finds the labels that an instruction offers, in its order; none where it is not sure where they begin and end.
///
/// Labels are quoted side by side (`“是”或“否”`), stand in brackets or after a colon, or are joined by "or", 或 and 还是 with a word
/// before the first of them that begins it ("as", "answer", an article, 是, 属于). The last sentence that has some counts.
pub(crate) fn label_set(instruction: &str) -> Option<Vec<String>> {
    let quoted = quoted(instruction);
    if quoted.is_some() {
        return quoted;
    }
    let sentences = sentences(instruction);
    let whole = instruction.to_lowercase();
    let mut sets = sentences.iter().rev().map(|(sentence, end)| {
        in_brackets(sentence)
            .or_else(|| joined_chinese(sentence))
            .or_else(|| after_colon(sentence, *end, &whole))
            .or_else(|| before_colon(sentence))
            .or_else(|| joined_english(sentence))
            .or_else(|| list_alone(sentence))
    });
    sets.find_map(|set| set)
}

/// Splits at the ends of sentences; gives each with the mark that ends it.
fn sentences(text: &str) -> Vec<(&str, char)> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, character) in text.char_indices() {
        let after = &text[at + character.len_utf8()..];
        let ends = match character {
            '。' | '？' | '！' | '\n' | '；' | ';' => true,
            '.' | '?' | '!' => after.is_empty() || after.starts_with(char::is_whitespace),
            _ => false,
        };
        if ends {
            sentences.push((text[start..at].trim(), character));
            start = at + character.len_utf8();
        }
    }
    sentences.push((text[start..].trim(), ' '));
    sentences.retain(|(sentence, _)| !sentence.is_empty());
    sentences
}

/// Checks what was found: two or more different short labels.
fn set(labels: Vec<String>) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    for label in &labels {
        let normal = normalize(label);
        let words = label.split_whitespace().count();
        let is_short = label
            .chars()
            .filter(|c| autodidact_text::is_cjk(*c))
            .count()
            <= LONGEST_CHARACTERS
            && words <= LONGEST_WORDS;
        if normal.is_empty() || !is_short || seen.contains(&normal) {
            return None;
        }
        seen.push(normal);
    }
    // "with a reason or not" offers no label "not".
    let is_rest = |label: &String| {
        [
            "not", "no more", "none", "so", "else", "other", "more", "both",
        ]
        .contains(&label.to_lowercase().as_str())
    };
    let is_whole = (2..=MOST).contains(&labels.len()) && !labels.iter().any(is_rest);
    is_whole.then_some(labels)
}

fn without_article(text: &str) -> &str {
    let text = text.trim();
    ["a ", "an ", "the "]
        .iter()
        .find_map(|article| text.strip_prefix(article))
        .unwrap_or(text)
        .trim()
}

/// Finds two or more quotations side by side.
fn quoted(text: &str) -> Option<Vec<String>> {
    let pairs = [('“', '”'), ('"', '"'), ('「', '」'), ('\'', '\'')];
    pairs.iter().find_map(|(open, close)| {
        let mut labels: Vec<String> = Vec::new();
        let mut rest = text;
        let mut best = None;
        while let Some(start) = rest.find(*open) {
            let between = rest[..start].trim();
            let inner = &rest[start + open.len_utf8()..];
            let Some(end) = inner.find(*close) else { break };
            let joins = [
                "", ",", "、", "，", "or", ", or", "and", "/", "或", "或者", "还是", "和", "，或",
            ];
            if !joins.contains(&between) {
                best = best.or_else(|| set(std::mem::take(&mut labels)));
                labels.clear();
            }
            labels.push(inner[..end].trim().trim_end_matches([',', '.']).to_string());
            rest = &inner[end + close.len_utf8()..];
        }
        best.or_else(|| set(labels))
    })
}

/// Finds a list in brackets at the end of a sentence.
fn in_brackets(sentence: &str) -> Option<Vec<String>> {
    let close = sentence.rfind([')', '）'])?;
    let open = sentence[..close].rfind(['(', '（'])?;
    let width = sentence[open..].chars().next()?.len_utf8();
    let inner = &sentence[open + width..close];
    // `O(log n)` is one of a list, and what begins so is an example.
    let is_call = sentence[..open].ends_with(|c: char| c.is_ascii_alphanumeric());
    let is_example = [
        "e.g",
        "i.e",
        "such",
        "for example",
        "like",
        "例如",
        "如",
        "比如",
    ]
    .iter()
    .any(|word| inner.trim().starts_with(word));
    let after = &sentence[close..];
    if is_call || is_example || after.chars().count() > 1 {
        return None;
    }
    set(split_list(inner)?)
}

/// Splits `A, B or C`, `A/B/C` and `A、B、C`.
fn split_list(text: &str) -> Option<Vec<String>> {
    let text = text.trim().trim_end_matches(['.', '。', ',', '，']);
    let mut text = text.to_string();
    for word in [
        ", or ",
        " or ",
        ", and ",
        " and ",
        "，或者",
        "，或",
        "或者",
        "，还是",
        "还是",
        "或",
        "以及",
    ] {
        text = text.replace(word, "、");
    }
    let separator = ['、', '，', ','];
    let parts: Vec<&str> = match text.contains(separator) {
        true => text.split(separator).collect(),
        false => text.split(['/', '／', '|', '｜']).collect(),
    };
    (parts.len() > 1).then(|| {
        parts
            .into_iter()
            .map(|part| without_article(part).to_string())
            .collect()
    })
}

/// Finds a list after a colon, where the words say that it offers labels and is not what is to be classified.
fn after_colon(sentence: &str, end: char, whole: &str) -> Option<Vec<String>> {
    let (before, list) = sentence.rsplit_once([':', '：'])?;
    let before = before.to_lowercase();
    let offers = [
        "label", "categor", "class:", "classes", "group", "option", "choice", "one of", "folder",
        "section", "topic", "choose", "pick", "类别", "标签", "选项", "可选", "之一", "选择",
        "选出", "选一", "标注", "判断", "类型",
    ];
    let is_input = [
        "following",
        "these words",
        "these items",
        "下列",
        "以下",
        "这些",
    ]
    .iter()
    .any(|word| before.contains(word))
        && ![
            "categor", "class", "label", "one of", "option", "group", "类别", "标签", "选项",
            "之一", "类型",
        ]
        .iter()
        .any(|word| before.contains(word));
    let has_or = [" or ", "或", "还是"]
        .iter()
        .any(|word| list.contains(word));
    let is_chosen_from = ["选一", "选其一", "choose one", "pick one"]
        .iter()
        .any(|word| whole.contains(word));
    let offers = offers
        .iter()
        .any(|word| before.ends_with(word) || before.contains(word));
    if is_input || !(has_or || offers || is_chosen_from || matches!(end, '?' | '？')) {
        return None;
    }
    // 、 joins the labels, and a comma then ends them.
    let list = match (list.contains('、'), list.find('，')) {
        (true, Some(comma)) => &list[..comma],
        _ => list,
    };
    let labels = split_list(list)?;
    // Words of the sentence itself are in it.
    let asks = ["哪", "什么", "吗", "请", "which", "what"];
    let is_asking = |label: &String| asks.iter().any(|word| label.contains(word));
    (!labels.iter().any(is_asking)).then(|| set(labels))?
}

/// Finds `True or false:` at the beginning.
fn before_colon(sentence: &str) -> Option<Vec<String>> {
    let (before, _) = sentence.split_once([':', '：'])?;
    let (first, second) = before
        .split_once(" or ")
        .or_else(|| before.split_once('或'))?;
    let is_word = |text: &str| {
        !text.trim().is_empty()
            && text.split_whitespace().count() == 1
            && text.chars().count() <= 12
    };
    (is_word(first) && is_word(second)).then(|| {
        set(vec![
            first.trim().to_lowercase(),
            second.trim().to_lowercase(),
        ])
    })?
}

/// Words after which the first of some labels begins.
const LEADS: [&str; 24] = [
    "a",
    "an",
    "as",
    "is",
    "are",
    "it's",
    "be",
    "either",
    "whether",
    "answer",
    "answering",
    "say",
    "with",
    "reply",
    "respond",
    "choose",
    "pick",
    "select",
    "write",
    "from",
    "between",
    "sounds",
    "seems",
    "called",
];

/// Finds `as positive, neutral or negative` at the end of a sentence.
fn joined_english(sentence: &str) -> Option<Vec<String>> {
    let lower = sentence.to_lowercase();
    let at = lower.rfind(" or ")?;
    // Lower case of some letters has another length.
    let (before, last) = (
        sentence.get(..at)?,
        without_article(sentence.get(at + 4..)?),
    );
    let mut items: Vec<&str> = before
        .trim_end_matches(',')
        .split(", ")
        .map(str::trim)
        .collect();
    let first = items.remove(0);
    let words: Vec<&str> = first.split_whitespace().collect();
    let lead = words
        .iter()
        .rposition(|word| LEADS.contains(&word.to_lowercase().as_str()));
    let is_verb = |word: &str| ["is", "are"].contains(&word.to_lowercase().as_str());
    let last_words = last.split_whitespace().count();
    let is_negation = last.starts_with("not ");
    let first_label = match lead {
        // "Is 51 prime or composite": the verb begins the subject, not the label.
        Some(lead) if is_verb(words[lead]) && items.is_empty() && last_words == 1 => {
            words.get(lead + 1..)?.last()?.to_string()
        }
        Some(lead) => words[lead + 1..].join(" "),
        // "Is the sentiment of this review positive or negative": one word each.
        None if items.is_empty() && last_words == 1 => words.last()?.to_string(),
        None => return None,
    };
    let mut labels = vec![first_label];
    labels.extend(
        items
            .into_iter()
            .map(|item| without_article(item).to_string()),
    );
    let most = labels
        .iter()
        .map(|label| label.split_whitespace().count())
        .max()?;
    // In "the paper, glass or compost bin" the last noun belongs to all.
    if last_words > most && !is_negation {
        return None;
    }
    labels.push(last.to_string());
    let begins_elsewhere = |label: &String| {
        let first = label.split(' ').next().unwrap_or_default();
        ["in", "of", "to", "for", "about", "on", "at", "by"].contains(&first)
    };
    let is_sure =
        |label: &String| !label.contains(['"', '(', '“', '/']) && !begins_elsewhere(label);
    labels.iter().all(is_sure).then(|| set(labels))?
}

/// Words after which the first of some Chinese labels begins; the longest first.
const LEADS_ZH: [&str; 22] = [
    "归入",
    "归为",
    "归到",
    "分到",
    "分为",
    "分成",
    "属于",
    "选择",
    "标记为",
    "标为",
    "判为",
    "判断为",
    "回答",
    "只答",
    "请答",
    "是",
    "算",
    "为",
    "答",
    "选",
    "写",
    "填",
];

/// Finds `是好评还是差评` at the end of a clause.
fn joined_chinese(sentence: &str) -> Option<Vec<String>> {
    let join = ["，还是", "还是", "，或者", "或者", "，或", "或"]
        .iter()
        .filter_map(|join| Some((sentence.rfind(join)?, *join)));
    let (at, join) = join.min_by_key(|(at, join)| (std::cmp::Reverse(at + join.len()), *at))?;
    let last = sentence[at + join.len()..]
        .split(['，', ',', '。', '？', '：', ':'])
        .next()?
        .trim();
    let before = sentence[..at].trim_end_matches(['，', ',']);
    // The labels stand in the last clause before, where 、 and not a comma joins them.
    let clause = before.rsplit(['，', ',', '：', ':']).next()?;
    let mut items: Vec<&str> = clause.split('、').map(str::trim).collect();
    let first = items.remove(0);
    let begins = LEADS_ZH
        .iter()
        .filter_map(|lead| Some(first.rfind(lead)? + lead.len()))
        .max()?;
    let mut labels = vec![first[begins..].trim().to_string()];
    labels.extend(items.into_iter().map(str::to_string));
    labels.push(last.to_string());
    let is_sure = labels
        .iter()
        .all(|label| !label.is_empty() && !label.contains(['“', '”', ' ', '的', '（']));
    is_sure.then(|| set(labels))?
}

/// Finds a sentence that is nothing but three labels or more: `餐饮／交通／住房`, `歌剧、芭蕾舞剧或音乐剧`.
fn list_alone(sentence: &str) -> Option<Vec<String>> {
    let is_list =
        sentence.contains(['、', '／']) || (sentence.contains('/') && !sentence.contains(' '));
    let labels = is_list.then(|| split_list(sentence))??;
    let length = |label: &String| label.chars().count();
    let longest_other = labels.iter().skip(1).map(length).max()?;
    let is_short = labels
        .iter()
        .all(|label| length(label) <= 8 && !label.contains(' '));
    // A first one that is much longer than the others has the words before it.
    let is_alone = length(labels.first()?) <= 2 * longest_other;
    (labels.len() > 2 && is_short && is_alone).then(|| set(labels))?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn labels_as_instructions_offer_them() {
        let check = |text: &str, expect: &[&str]| {
            let found = label_set(text).unwrap_or_default();
            assert_eq!(found, expect, "{text}");
        };
        check(
            "Tell whether the review is positive or negative.",
            &["positive", "negative"],
        );
        check(
            "Classify the food as fruit, vegetable or grain.",
            &["fruit", "vegetable", "grain"],
        );
        check(
            "Decide whether the message is spam or not spam.",
            &["spam", "not spam"],
        );
        check("Answer with \"yes\" or \"no\".", &["yes", "no"]);
        check(
            "Sort the message into one of these folders: work, family, advertising.",
            &["work", "family", "advertising"],
        );
        check(
            "What is the mood (happy, sad or angry)?",
            &["happy", "sad", "angry"],
        );
        check("判断这条评论是好评还是差评。", &["好评", "差评"]);
        check("以下类别：A、B", &["A", "B"]);
        check(
            "把这封邮件归入以下文件夹之一：工作、家庭、广告。",
            &["工作", "家庭", "广告"],
        );
        check("回答“是”或“否”。", &["是", "否"]);
        // What is to be classified is no label, and neither is what only follows "or".
        check("Classify the following words: apple, run, blue.", &[]);
        check(
            "Should this item go into the paper, glass or compost bin?",
            &[],
        );
        check("Say whether the email asks for a meeting or not.", &[]);
        check("将下列词语分类：苹果、跑、蓝色", &[]);
        check(
            "Is this animal a mammal, bird or fish?",
            &["mammal", "bird", "fish"],
        );
        check(
            "Summarize the text in one or two sentences that a child understands.",
            &[],
        );
        check("", &[]);
    }

    /// Of the project's own classifications, most name their labels surely, and what is found is what people declared.
    #[test]
    fn example_tasks_offer_what_they_declare() {
        let (mut tasks, mut found, mut wrong) = (0, 0, Vec::new());
        for name in ["seeds-en", "seeds-zh", "heldout-en", "heldout-zh"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../../../examples/data/{name}.jsonl"));
            let text = std::fs::read_to_string(path).expect("the example is there");
            for line in text.lines() {
                let task: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
                let Some(declared) = task["labels"].as_array() else {
                    continue;
                };
                let declared: Vec<&str> =
                    declared.iter().filter_map(|label| label.as_str()).collect();
                let instruction = task["instruction"].as_str().expect("a task");
                tasks += 1;
                if let Some(labels) = label_set(instruction) {
                    found += 1;
                    if labels != declared {
                        wrong.push(format!("{instruction}: {labels:?}, not {declared:?}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(found * 10 >= tasks * 7, "{found} of {tasks}");
    }
}
