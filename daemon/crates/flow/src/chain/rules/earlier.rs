//! References to what should stand before an instruction, which no input can bring.

use autodidact_text::count_tokens;

use super::reference::{TEXTS, is_introduced, pointed_to, words};
use super::{Instruction, lists};

/// What can only be looked at or heard.
const PICTURES: &str = "
    picture pictures image images photo photos photograph chart charts graph diagram figure screenshot video audio recording drawing
    attachment link clip";

/// What shows that such a thing should be there.
const SHOWN: &str = "this these following attached given provided";

/// Words that come before `above` where it means a text.
const SAID: &str = "mentioned described discussed stated shown listed given see";

/// Phrases that only mean something that comes before.
const EARLIER_ZH: &str = "
    上述 前述 如上所述 前面提到 上面提到 之前提到 前面所说 上面所说 上一个问题 上一题 上一段 上一句 上一篇 前一个问题 前一题 前文";

/// The same and pictures, where they are not the end of another word and its neighbour: 晚上文化宫, 企图中断.
const EARLIER_ZH_ALONE: &str = "上文 上图 下图 附图 如图 图中 此图 这张图 这幅图 这段录音";

/// Characters that make such another word.
const ENDS_OF_WORDS: &str =
    "晚网马早墙纸书桌线身世史路街车船海天地手脸头心山楼报会床台屏板牌碑幕以之拼企蓝版插构假例乐";

/// Words before a text that should stand before the instruction.
const POINTERS_ZH: [&str; 3] = ["上面", "以上", "前面"];

/// Finds a reference to a text before the instruction, or to a picture.
pub(super) fn reference(instruction: &Instruction<'_>) -> Option<String> {
    /// A quotation of so many tokens may be what is referred to.
    const QUOTED: usize = 3;
    let own = instruction.own_words.to_lowercase();
    if instruction.tokens.len() >= count_tokens(&own) + QUOTED {
        return None;
    }
    let (at, phrase) = in_english(&own).or_else(|| in_chinese(&own))?;
    (!is_introduced(&own, at)).then(|| format!("refers to {phrase:?}"))
}

fn in_english(own: &str) -> Option<(usize, String)> {
    let words = words(own);
    (0..words.len()).find_map(|at| {
        let word = |at: usize| words.get(at).map_or("", |(_, word)| *word);
        let before = |back: usize| at.checked_sub(back).map_or("", word);
        let (one, two, after) = (before(1), before(2), word(at + 1));
        let is_text = |word: &str| lists(TEXTS, word);
        let (place, this) = words[at];
        let ends_clause = || {
            let rest = own[place + this.len()..].trim_start();
            rest.is_empty() || rest.starts_with(['.', ',', '!', '?', ';', ':'])
        };
        let found = match this {
            "above" => {
                is_text(one) && matches!(two, "the" | "this" | "these" | "that" | "those")
                    || is_text(after) && matches!(one, "the" | "this" | "these" | "")
                    || one == "the" && (ends_clause() || is_text(word(at + 2)))
                    || lists(SAID, one)
                    || after == "mentioned"
            }
            "aforementioned" => true,
            "before" | "earlier" | "previously" if two == "as" => {
                matches!(
                    one,
                    "mentioned" | "described" | "discussed" | "stated" | "explained"
                )
            }
            "earlier" => {
                let texts = "text passage conversation question example message";
                one == "the" && lists(texts, after)
            }
            "previous" | "preceding" => {
                is_text(after) || lists("answer task instruction response", after)
            }
            "attached" => matches!(one, "the" | "this"),
            _ if lists(PICTURES, this) => {
                lists(SHOWN, one) && !matches!(after, "of" | "caption")
                    || one == "the" && matches!(after, "below" | "above" | "shows")
            }
            _ => false,
        };
        found.then(|| (place, [one, this, after].join(" ").trim().to_string()))
    })
}

fn in_chinese(own: &str) -> Option<(usize, String)> {
    let found = |(at, phrase): (usize, &str)| (at, phrase.to_string());
    let plain = EARLIER_ZH.split_whitespace();
    let plain = plain
        .filter_map(|phrase| Some((own.find(phrase)?, phrase)))
        .next();
    let mut alone = EARLIER_ZH_ALONE.split_whitespace();
    let alone = || {
        alone.find_map(|phrase| {
            let mut places = own.match_indices(phrase);
            places.find(|(at, _)| {
                let before = own[..*at].chars().next_back();
                before.is_none_or(|c| !ENDS_OF_WORDS.contains(c))
            })
        })
    };
    plain.or_else(alone).map(found).or_else(|| {
        POINTERS_ZH.iter().find_map(|pointer| {
            let (at, counted, noun) = pointed_to(own, pointer)?;
            Some((at, format!("{pointer}{counted}{noun}")))
        })
    })
}
