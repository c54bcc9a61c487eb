//! Traditional Chinese characters as simplified ones.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Pairs of a traditional character and its simplified one, after lines of comment; the file says where they come from.
const PAIRS: &str = include_str!("../data/traditional.txt");

/// The simplified character of each traditional one.
static SIMPLIFIED: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    let lines = PAIRS.lines().filter(|line| !line.starts_with('#'));
    let mut pairs = HashMap::new();
    for line in lines {
        let mut characters = line.chars();
        while let (Some(traditional), Some(simplified)) = (characters.next(), characters.next()) {
            pairs.insert(traditional, simplified);
        }
    }
    pairs
});

/// Gives the simplified form of a traditional Chinese character; any other stays as it is.
///
/// Where a traditional character has several simplified ones, as 乾 has 干 and 乾, it is the commonest: this is the form in which
/// texts are compared, not one to show people. Simplifying twice changes nothing.
pub(crate) fn simplified(character: char) -> char {
    // Nothing below is an ideograph, and most texts' characters are below.
    if character < '\u{3400}' {
        return character;
    }
    SIMPLIFIED.get(&character).copied().unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_simplified_once_and_for_all() {
        let check = |traditional: &str, expect: &str| {
            let text: String = traditional.chars().map(simplified).collect();
            assert_eq!(text, expect);
        };
        check("請用兩句話說明氣候變遷", "请用两句话说明气候变迁");
        check("著名的乾燥麵條", "著名的干燥面条");
        check("写一首诗，not 12", "写一首诗，not 12");
        assert!(SIMPLIFIED.len() > 3000);
        for (traditional, expect) in SIMPLIFIED.iter() {
            assert!(crate::is_cjk(*traditional) && crate::is_cjk(*expect));
            assert_eq!(simplified(*expect), *expect, "{traditional}");
        }
    }
}
