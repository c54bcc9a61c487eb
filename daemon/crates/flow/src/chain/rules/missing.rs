//! Instructions that want a text to work on and hold none.

use autodidact_domain::Language;
use autodidact_text::{count_tokens, first_verb, without_code, without_quotations};

use super::reference::{TEXTS, is_introduced, pointed_to, words};
use super::{find_any, lists};

/// Texts that `the` alone points to; others with it are often spoken of in general.
const GIVEN_TEXTS: &str = "
    text passage paragraph sentence sentences article excerpt snippet transcript review";

/// Words between `the` and one of them that leave it the same: `the longest sentence` is another.
const OF_GIVEN: &str = "
    active passive original given english chinese french german spanish italian portuguese russian japanese korean latin dutch";

/// What programs are called, which are written for inputs that come when they run, and how one asks for them.
const PROGRAMS: &str =
    "function functions program script method class regex algorithm query api sql";
const MAKES: &str =
    "write create implement build define design make code provide give show develop";
const PROGRAMS_ZH: &str = "函数 程序 脚本 正则 算法 查询 语句 命令";
const MAKES_ZH: &str = "写 编 实现 设计 定义 给出 怎么 如何";

/// What questions begin with.
const QUESTIONS: &str = "
    what which who how is are does do did was were where when why can could whose whom";

/// Words that point to a text in Chinese; the last two also point to what was spoken of.
const POINTERS_ZH: [&str; 9] = [
    "下面",
    "以下",
    "下列",
    "如下",
    "所给",
    "给定",
    "给出的",
    "该",
    "这",
];

/// What a text is called that an instruction is about, where nothing comes before it but one of [`BEFORE_ALONE`].
const ALONE_ZH: [&str; 4] = ["文中", "句中", "文段中", "原文中"];
const BEFORE_ALONE: &str = "把将从在据出找对，、";

/// Something in an instruction that wants a text.
struct Want {
    at: usize,
    phrase: String,
    /// Whether what follows a colon may be the text even where it reads as a choice of answers.
    takes_choices: bool,
}

/// Finds what an instruction wants to work on and does not hold itself.
///
/// It holds it where something is quoted, stands in a code block, after a line's end or after a colon, has a title, or where
/// sentences before the reference say something. After a colon, a choice of answers (`this review: positive or negative?`) is no
/// text, save where it is what is chosen from (`which of the following`).
pub(super) fn wanted(instruction: &str) -> Option<String> {
    let own = without_quotations(&without_code(instruction)).to_lowercase();
    if count_tokens(instruction) > count_tokens(&own) {
        return None;
    }
    let want = in_english(&own).or_else(|| in_chinese(&own))?;
    let is_held = holds_text(&own, want.takes_choices) || is_introduced(&own, want.at);
    (!is_held).then_some(want.phrase)
}

fn holds_text(own: &str, takes_choices: bool) -> bool {
    /// Longer ones are texts.
    const CHOICES: usize = 16;
    let says = |part: &str| count_tokens(part) > 0;
    let is_choice = |part: &str| {
        let has_or = [" or ", "或", "还是", "、"]
            .iter()
            .any(|word| part.contains(word));
        has_or && count_tokens(part) <= CHOICES
    };
    let mut after_colons = own.split([':', '：']).skip(1);
    after_colons.any(|part| says(part) && (takes_choices || !is_choice(part)))
        || own.contains('《')
        || own.lines().filter(|line| says(line)).count() > 1
}

fn in_english(own: &str) -> Option<Want> {
    /// So many words may stand before a text: `the following short English sentence`, `a rather long review`.
    const BETWEEN: usize = 3;
    let words = words(own);
    let word = |at: usize| words.get(at).map_or("", |(_, word)| *word);
    let is_text = |at: usize| lists(TEXTS, word(at));
    let has = |list: &str| words.iter().any(|(_, word)| lists(list, word));
    let is_program = has(PROGRAMS) && has(MAKES);
    (0..words.len()).find_map(|at| {
        let before = |back: usize| at.checked_sub(back).map_or("", word);
        let (one, after) = (before(1), word(at + 1));
        let (place, this) = words[at];
        // A text that the instruction has written is the one that it speaks of then.
        let is_written = |noun: usize| {
            let mut same = (0..at).filter(|other| word(*other) == word(noun));
            same.any(|noun| {
                (1..=BETWEEN).any(|back| {
                    let article = noun.checked_sub(back).map_or("", word);
                    lists("a an one two three some", article)
                })
            })
        };
        let is_asked = |noun: usize| !is_program && !is_written(noun) && asks(&words[..at]);
        let ends = || {
            let rest = own[place + this.len()..].trim_start();
            rest.chars().next().is_none_or(|c| !c.is_alphanumeric())
        };
        let is_given = |noun: usize| lists(GIVEN_TEXTS, word(noun)) && is_asked(noun);
        let is_shown =
            |noun: usize| is_text(noun) && !lists("example examples", word(noun)) && is_asked(noun);
        let found = match this {
            "following" if matches!(one, "the" | "these") => {
                before(2) == "of" || ends() || (1..=BETWEEN + 1).any(|ahead| is_text(at + ahead))
            }
            "below" => {
                at.checked_sub(1).is_some_and(is_text)
                    || lists("given provided shown mentioned listed", one)
                    || one == "the" && is_text(at + 1)
            }
            "given" | "provided" => one == "the" && is_text(at + 1) && !is_program,
            "this" | "these" => is_shown(at + 1) || is_shown(at + 2),
            "the" => is_given(at + 1) || (lists(OF_GIVEN, after) && is_given(at + 2)),
            _ => false,
        };
        found.then(|| Want {
            at: place,
            phrase: format!("{this} {after}").trim().to_string(),
            takes_choices: matches!(this, "following" | "below"),
        })
    })
}

/// Tells whether something is asked, or told to do, before a word: `this review` in a mere statement wants nothing.
fn asks(before: &[(usize, &str)]) -> bool {
    let before: Vec<&str> = before.iter().map(|(_, word)| *word).collect();
    before.first().is_some_and(|first| lists(QUESTIONS, first))
        || first_verb(&before.join(" "), Language::En).is_some()
}

fn in_chinese(own: &str) -> Option<Want> {
    if find_any(own, PROGRAMS_ZH).is_some() && find_any(own, MAKES_ZH).is_some() {
        return None;
    }
    let alone = ALONE_ZH.iter().find_map(|phrase| {
        let mut places = own.match_indices(phrase);
        let (at, _) = places.find(|(at, _)| {
            let before = own[..*at].chars().next_back();
            before.is_none_or(|c| BEFORE_ALONE.contains(c))
        })?;
        Some(Want {
            at,
            phrase: (*phrase).to_string(),
            takes_choices: false,
        })
    });
    alone.or_else(|| {
        POINTERS_ZH.iter().find_map(|pointer| {
            let (at, counted, noun) = pointed_to(own, pointer)?;
            // 这个问题 and 这些内容 may be anybody's; 这段话 is shown.
            let is_anybodys = *pointer == "这" && matches!(counted, "" | "个" | "些");
            (!is_anybodys).then(|| Want {
                at,
                phrase: format!("{pointer}{counted}{noun}"),
                takes_choices: !matches!(*pointer, "该" | "这"),
            })
        })
    })
}
