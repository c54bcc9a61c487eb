use super::*;

fn found(words: &[&str], except: &[&str], text: &str) -> Vec<String> {
    let matcher = Matcher::new(words, except, true).expect("make a matcher");
    let mut found = Vec::new();
    matcher.each(text, |word| found.push(word.to_string()));
    found
}

fn check(words: &[&str], text: &str, expect: &[&str]) {
    assert_eq!(found(words, &[], text), expect, "{words:?} in {text}");
}

#[test]
fn words_with_blanks_around_them_are_whole() {
    check(
        &["image"],
        "An IMAGE, two images; the image's",
        &["image"; 3],
    );
    check(&["image"], "imagery, imagine, preimage, image2", &[]);
    check(&["ass"], "a class passes the assignment; assassins", &[]);
    check(&["ass"], "two asses", &["ass"]);
    check(&["graph"], "a paragraph", &[]);
    check(&["party"], "parties, partying", &["party"]);
    check(&["bus", "box"], "buses and boxes", &["bus", "box"]);
    check(&["café"], "CAFÉ cafés", &["café"]);
    check(&["c++", "#1"], "C++ is #1, c+ is #12", &["c++", "#1"]);
    check(&["видео"], "Видео и видеокарта", &["видео"]);
}

#[test]
fn a_star_lets_a_word_go_on() {
    check(&["gambl*"], "Gamble, gambling: a gambler", &["gambl*"; 3]);
    check(&["gambl*"], "regambling", &[]);
    check(&["image*", "image"], "imagery", &["image*"]);
    check(&["f*ck"], "f*ck, fuck", &["f*ck"]);
}

#[test]
fn chinese_japanese_and_korean_are_found_inside() {
    check(&["图片"], "这张图片里的图片", &["图片", "图片"]);
    check(&["画"], "计划画画", &["画", "画"]);
    check(&["ビデオ"], "このﾋﾞﾃﾞｵを見る", &["ビデオ"]);
    check(&["비디오"], "비디오를 보다", &["비디오"]);
    check(&["AB片"], "看ＡＢ片吧，cab片", &["AB片"]);
    check(&["AI模型"], "一个 AI 模型", &["AI模型"]);
    check(&["圖片"], "图片", &[]);
}

#[test]
fn phrases_match_over_any_white_space() {
    check(
        &["get  rich quick"],
        "Get\n rich\u{3000}quick!",
        &["get  rich quick"],
    );
    check(&["get rich quick"], "get rich quickly", &[]);
    check(&["图片"], "画了图\n片刻之后", &[]);
}

#[test]
fn the_longest_counts_and_exceptions_shield() {
    check(&["plot", "plot twist"], "a plot twist", &["plot twist"]);
    assert_eq!(
        found(&["plot"], &["plot of"], "the plot of it, plot it"),
        ["plot"]
    );
    assert_eq!(found(&["图片"], &["试图片"], "试图片面地看图片"), ["图片"]);
    assert_eq!(found(&["plot"], &["plot"], "plot"), ["plot"]);
    // The exception is no word of its own here, so the shorter word stays.
    assert_eq!(found(&["draw"], &["draw on"], "draw one"), ["draw"]);
}

#[test]
fn words_that_cannot_be_looked_for_are_refused() {
    let error = |word: &str| Matcher::new(&[word], &[], true).err().unwrap_or_default();
    assert!(error(" ").contains("nothing to look for"));
    assert!(error("*").contains("nothing to look for"));
    assert!(error("*ing").contains("at the end"));
    assert!(error(&"x".repeat(300)).contains("300 characters"));
    assert!(error("**").contains("at the end"));
}

#[test]
fn many_words_are_found_as_one_by_one() {
    let characters: Vec<char> = "天地玄黄宇宙洪荒日月盈昃abcdefgh".chars().collect();
    let mut state = 7_u32;
    let mut draw = |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % most
    };
    let mut text = |length: u32| -> String {
        let drawn = (0..length).map(|_| characters[draw(characters.len() as u32) as usize]);
        drawn.collect()
    };
    let words: Vec<String> = (0..300).map(|at| text(1 + at % 4)).collect();
    let listed: Vec<&str> = words.iter().map(String::as_str).collect();
    let matcher = Matcher::new(&listed, &[], false).expect("make a matcher");
    for _ in 0..60 {
        let text = text(12);
        let mut found = false;
        matcher.each(&text, |_| found = true);
        let alone = listed.iter().any(|word| {
            let mut found = false;
            let one = Matcher::new(&[word], &[], false).expect("make a matcher");
            one.each(&text, |_| found = true);
            found
        });
        assert_eq!(found, alone, "{text}");
    }
}
