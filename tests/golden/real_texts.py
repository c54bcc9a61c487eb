"""The texts that the real models' fixtures are made of, beside the project's task files."""

ODD_LINES = [
    # emoji, with skin tones, joiners, flags and keycaps
    "😀", "Nice work! 🎉🎉", "👩‍👩‍👧‍👦 family", "👍🏽 ok", "🇨🇭🇯🇵", "1️⃣ first 2️⃣ second", "今天真开心😄!", "❤️ vs ❤",
    # runs of digits
    "1234567890", "3.14159265358979", "1,000,000.50", "2024-02-29T23:59:59Z", "0x7fff_ffff", "+41 (0)44 555 01 42", "٣٤٥ ५६७", "x2y3 10km 5%",
    # mixed scripts
    "用 Rust 写一个 HTTP server", "Привет, мир and 你好", "日本語とEnglishの混在テスト", "한국어 문장 하나", "שלום עולם", "مرحبا بالعالم", "ภาษาไทย", "Ελληνικά ΑΒΓ αβγ",
    # white space
    " leading space", "trailing space ", "two  spaces   three", "   ", " ", "\t", "\tindented\twith tabs", "line one\nline two\n\nline four",
    "crlf\r\nline", "\n\n\n", "a \n b", "no\u00a0break\u2003em\u3000ideographic\u200bzero width",
    # code
    "def f(x):\n    return x ** 2  # square\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "fn main() -> Result<(), Box<dyn Error>> {}",
    "SELECT * FROM t WHERE a <> 'b' -- c", "{\"k\": [1, 2.5, null, true]}", "x!=y&&z||!w", "<div class=\"a\">&nbsp;</div>", "\\frac{a}{b} \\n \\t",
    # addresses
    "https://example.org/a/b?c=d&e=%20f#g", "user.name+tag@mail.example", "C:\\Users\\me\\notes.txt", "../../etc/hosts",
    # apostrophes, as the splitting rule treats them
    "I'm you're he'll she'd we've it's don't", "I'M YOU'RE HE'LL", "rock ’n’ roll isn’t", "'quoted' ''double''",
    # combining accents and their composed forms, full-width forms, ligatures, private use, other planes
    "e\u0301le\u0300ve na\u0131\u0308ve", "élève naïve", "Z̸a̷l̶g̵o̴", "ＡＢＣ１２３，！？（）", "ﬁn ﬂow ½ ² Ⅳ ™", "\ue000 \ufffd \ufeff", "𝒜𝓃𝒹 𠮷野家", "\u0000null\u0007bell",
    # special tokens as plain text
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nhello<|im_end|>\n", "a<|im_end|>b", "<repo_name><file_sep><jupyter_start>", "<|im_start", "<noinput>",
    # tokens that some vocabularies cut out before anything else: runs of breaks, tabs and blanks, tags
    "\n", "\n\n\n\n\n\nx\n\ny\n", "\n" * 40, "\t\t\tx\ty", "      six blanks", "  " + "\t \n" * 3 + " " * 45 + "end",
    "<h1>Title</h1>\n<ul>\n  <li>one</li>\n</ul>", "<table><tr><td>1</td></tr></table>", "</ul", "[multimodal]", "<start_of_image>",
    "<bos>", "<eos>", "<start_of_turn>user\nhello<end_of_turn>\n", "<unused7>", "<0x0A>", "\u2581under\u2581\u2581bars", "a\u2581b c",
    # long and repetitive
    "a" * 70, "=" * 40, "...... ---- ____ ~~~~", "哈" * 30, "supercalifragilisticexpialidocious antidisestablishmentarianism", "AaBbCcDdEe camelCaseWordHTTPServer snake_case_word",
]

CHATS = [
    [{"role": "user", "content": "Name the longest river in South America."}],
    [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "把这句话译成英文。\n\n明天商店九点开门。"}],
    [{"role": "user", "content": "Is 51 prime or composite?"}, {"role": "assistant", "content": "composite"},
     {"role": "user", "content": " Why? <b>Explain</b> & show the \"factors\".\n"}],
]
