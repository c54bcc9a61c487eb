//! Sentences that break off.

use super::{Instruction, lists, mentions};

/// Marks after which something must come.
const OPEN_MARKS: &str = ",，;；、—–-&/([{（【「『《“‘";

/// Words with which no English sentence ends.
const OPEN_WORDS: &str = "
    a an the and or but nor because than whose my your its their our every if such including between";

/// Words with which a sentence only ends where it asks for what comes before them: `what is it made of`.
const OPEN_PREPOSITIONS: &str = "
    of with to for from into as at that which by";
const QUESTION_WORDS: &str = "
    what who whom which where whose that how";

const OPEN_WORDS_ZH: &str = "
    以及 并且 而且 或者 但是 然而 因为 如果 虽然 例如 比如 包括 从而 关于 对于 和 或 与";
/// Words that end like one of those.
const WHOLE_WORDS_ZH: &str = "
    温和 平和 缓和 总和 求和 柔和 饱和 谦和 暖和 参与 给与 之和";

/// Words of tasks that are about a gap, an open end or a sign.
pub(super) const GAP_WORDS: &str = "
    blank gap complet continu finish fill missing analogy choose insert next underscore sequence 填 空 补 续 接 完成 横线 划线 选
    规律 省略 缺 造句 后面";

/// Finds the word or mark with which an instruction breaks off.
pub(super) fn cut(instruction: &Instruction<'_>) -> Option<String> {
    let text = instruction.text;
    let lower = text.to_lowercase();
    let last = text.chars().next_back()?;
    if OPEN_MARKS.contains(last) {
        return Some(format!("ends with {last:?}"));
    }
    if text.ends_with("...") || text.ends_with('…') {
        let is_task = mentions(&lower, GAP_WORDS);
        return (!is_task).then(|| "ends with an ellipsis".to_string());
    }
    let mut words = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .rev();
    let word = words.next().unwrap_or_default();
    let asks = || {
        let mut words = lower.split(|c: char| !c.is_alphanumeric());
        words.any(|word| lists(QUESTION_WORDS, word))
    };
    let is_capital = text.ends_with(char::is_uppercase);
    if (lists(OPEN_WORDS, word) && !is_capital)
        || (lists(OPEN_PREPOSITIONS, word) && !lower.ends_with(&format!("which {word}")) && !asks())
    {
        return Some(format!("ends with {word:?}"));
    }
    let open = OPEN_WORDS_ZH
        .split_whitespace()
        .find(|word| text.ends_with(*word))?;
    let is_whole = WHOLE_WORDS_ZH
        .split_whitespace()
        .any(|word| text.ends_with(word));
    (!is_whole).then(|| format!("ends with {open:?}"))
}
