//! What an instruction says of texts that it does not hold.
//!
//! The filter stage judges instructions before inputs are made: "Summarize the following article." gets its article in the
//! respond stage and is a good task. So there only what cannot come any more is vague (`earlier.rs`): a text or picture that should
//! stand before the instruction. In the validate stage inputs are there, and an instruction that wants one and has none is dropped
//! (`missing.rs`). Here is what both know of texts.

use autodidact_text::{count_tokens, is_cjk};

/// What can be read and worked on, in English.
pub(super) const TEXTS: &str = "
    text texts passage passages paragraph paragraphs article articles story poem sentence sentences list table code snippet program
    dialogue dialog conversation message messages email document information instructions question questions problem statement
    statements data section review reviews letter essay equation expression function query phrase phrases quote tweet comment recipe
    headline headlines numbers words items options excerpt transcript description notes notice example examples";

/// The same in Chinese, each a word by itself.
pub(super) const TEXTS_ZH: &str = "
    文章 文字 文本 文段 段落 句子 话 内容 材料 例子 例句 代码 程序 表格 对话 问题 信息 诗 故事 评论 新闻 邮件 短信 留言 列表 数据 数字 词语
    单词 题目 描述 资料 说法 谚语 俗语 标题 文言文 日志 介绍 消息 来信 英文 译文 病句 歌词";

/// What stands between 下面 and such a word, one character after another.
const COUNTING_ZH: &str = "这那的一两三四五几个段篇句首条则封组些道份短小英中文给出提供列";

/// Characters before 上面, 以上 or 下面 that make something else of it: 桌子上面, 三个以上, 零度以下.
const MEASURES_ZH: &str = "0123456789零一二三四五六七八九十百千万几两岁个人次年月日天分元米克只条名级种字倍成度子及桌楼地山水手门晚网马早墙纸书线身";

/// An instruction that says so much before it refers to a text has the text that it refers to.
const FEWEST_TOKENS_BEFORE: usize = 6;

/// Tells whether the sentences before a place say enough to be what is referred to there.
pub(super) fn is_introduced(text: &str, at: usize) -> bool {
    let ends = ['.', '!', '?', '。', '！', '？', '\n'];
    let before = text[..at].rfind(ends).unwrap_or(0);
    count_tokens(&text[..before]) >= FEWEST_TOKENS_BEFORE
}

/// Lists a text's words in Latin letters, each with its place.
pub(super) fn words(lower: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in lower.char_indices() {
        let is_part = c.is_alphanumeric() && !is_cjk(c);
        match (is_part, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push((from, &lower[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| (from, &lower[from..])));
    words
}

/// Finds the text that a Chinese word such as 下面 points to: its place, how it is counted (`这段` of 下面这段文字), and the noun.
pub(super) fn pointed_to<'a>(
    text: &'a str,
    pointer: &str,
) -> Option<(usize, &'a str, &'static str)> {
    let mut places = text.match_indices(pointer);
    places.find_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| MEASURES_ZH.contains(c)) {
            return None;
        }
        let after = &text[at + pointer.len()..];
        let mut rest = after;
        loop {
            if let Some(noun) = TEXTS_ZH
                .split_whitespace()
                .find(|noun| rest.starts_with(*noun))
            {
                return Some((at, &after[..after.len() - rest.len()], noun));
            }
            let next = rest.chars().next().filter(|c| COUNTING_ZH.contains(*c))?;
            rest = &rest[next.len_utf8()..];
        }
    })
}
