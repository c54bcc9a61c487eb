//! Function words, by which languages in Latin letters are told apart.

/// The languages with their commonest words, of at most eight bytes. A word may be of several.
pub(crate) const TABLED: [(&str, &str); 10] = [
    ("en", "
        a about after all also am an and any are as at be because been before but by can could did do does each for from had has have
        he her here him his how i if in into is it its just like made make many may me more most must my no not of on one only or
        other our out over she should so some such than that the their them then there these they this those through to two under
        until up us use very was we were what when where which while who why will with without would you your"),
    ("fr", "
        à au aussi aux avec bien c ce ces cette comme comment d dans de depuis des du elle elles en entre es est et être fait il ils je j
        l la le les leur leurs lui ma mais me mes mon n ne nos notre nous on ont ou où par pas peu peut plus pour pourquoi qu quand que
        quel quelle quels qui sa sans se ses si son sont sous sur ta tes ton tous tout très tu un une vos votre vous y"),
    ("de", "
        aber alle als am an auch auf aus bei bin bis bitte das dass dein deine dem den der des dich die dies diese dieser diesen dir du
        durch ein eine einem einen einer eines er jede jeder es für gegen hat habe haben ich ihr ihre ihren ihrem im in ist ja kann kein keine man mehr mein
        meine mich mir mit muss nach nicht noch nur ob oder ohne schon sehr sein seine sich sie sind so über um und uns unter vom von
        vor war warum was wenn wer werden wie wir wird wo zu zum zur"),
    ("es", "
        a al algo aquí así aunque bien como cómo con cuál cuando cuándo de del desde donde dónde dos e el él ella en entre era es esa ese
        eso esta está estas este esto estos fue ha hace han hasta hay la las le les lo los más me mi mis muy nada ni no nos o otra otro
        para pero por porque que qué quién se ser si sí sido sin sobre son su sus también te tiene todo todos tu tus un una uno unos y
        ya yo"),
    ("it", "
        a ad ai al alla alle anche ancora che chi ci come con cosa così da dal dalla dei del della delle dello di dopo dove e è ed era
        essere fra gli ha hai hanno ho i il in io la le lei li lo loro lui ma mi mia mio molto ne negli nei nel nella nelle noi non o
        ogni per perché più può prima quale quando quella quello questa queste questo qui se sei senza si sia solo sono sua sul sulla
        suo tra tu tuo tutti tutto un una uno"),
    ("pt", "
        a ao aos as até à às com como da das de depois do dos e é ela ele eles em entre era essa esse esta está este eu foi há isso isto já
        lhe mais mas me mesmo meu minha muito na nas não nem no nos o onde os ou para pela pelo pelos por porque quais qual quando que
        quem são se sem ser seu seus só sobre sua suas também te tem um uma umas uns você vocês"),
    ("nl", "
        aan al als altijd bij ben dan dat de deze die dit door een en er geef geen haar heb hebben heeft hem het hij hoe hun ik in is
        ja je jij jou jouw jullie kan kunnen maar me meer met mijn moet naar niet nog nu of om ons onze ook op over schrijf te tegen
        toch tot u uit uw van veel voor waar waarom wat we wel welke werd wie wij worden wordt zal ze zich zijn zo zonder"),
    ("sv", "
        alla att av bara blev blir de dem den denna dessa det detta dig din ditt du där eller en ett efter från för ha hade han hans
        har hon hur här i icke inga ingen inte jag kan kunde man med mellan men mer mig min mitt mot mycket ni nu när någon något
        några och om oss på samma sedan sig sin sina som så till under upp ut utan vad var vara varför vem vi vid vilka vilken är över"),
    ("tr", "
        ama ancak bana ben beni benim bir biz bu buna bunu bunun çok da daha de değil diye en gibi göre hangi hem her için ile ise
        kadar ki kim mi mı nasıl ne neden nerede niçin o olan olarak oldu olduğu on ona onu onun önce sen seni siz sizin son sonra şu
        tüm var ve veya ya yok"),
    ("vi", "
        anh bạn bằng bị các cái cả cho chỉ có cùng cũng của do đã đang đây đến để đi điều đó được em gì hay hoặc hơn hãy khi không là
        làm lại lên mà một nào này nên nếu người như nhưng những nhiều ở phải ra rất rồi sao sau sẽ tại theo thì trên trong từ tôi vào
        và vẫn về với vì"),
];

/// Bits of a lane: a language's hits in a [`Hits`].
const LANE_BITS: usize = 6;
/// Words after which hits are taken down, so that no lane runs over.
pub(crate) const MAX_WORDS: usize = (1 << LANE_BITS) - 1;
const _: () = assert!(LANE_BITS * TABLED.len() <= 64);
/// The most bytes of a word.
pub(crate) const MAX_BYTES: usize = 8;
/// Places of the table; a bit more than twice the words, which are under 800.
const PLACES_BITS: u32 = 11;
const PLACES: usize = 1 << PLACES_BITS;

/// How many words of each language were met, side by side in one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits(u64);

impl Hits {
    fn of_language(at: usize) -> Self {
        Self(1 << (at * LANE_BITS))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// Tells how many words of a language were met.
    pub(crate) fn of(self, at: usize) -> usize {
        (self.0 >> (at * LANE_BITS)) as usize & MAX_WORDS
    }

    /// Tells whether a word is of some languages and no other, given as all the bits of their lanes.
    pub(crate) fn within(self, lanes: u64) -> bool {
        self.0 != 0 && self.0 & !lanes == 0
    }
}

/// Gives all the bits of a language's lane.
pub(crate) fn lane(at: usize) -> u64 {
    (MAX_WORDS as u64) << (at * LANE_BITS)
}

/// The words of all languages by their bytes.
pub(crate) struct Words {
    keys: Vec<u64>,
    hits: Vec<Hits>,
}

impl Words {
    pub(crate) fn new() -> Self {
        let mut table = Self {
            keys: vec![0; PLACES],
            hits: vec![Hits::default(); PLACES],
        };
        for (at, (_, words)) in TABLED.iter().enumerate() {
            for word in words.split_whitespace() {
                let key = word.bytes().fold(0, |key, byte| key << 8 | u64::from(byte));
                let place = table.place(key);
                table.keys[place] = key;
                table.hits[place].add(Hits::of_language(at));
            }
        }
        table
    }

    /// Finds whose word it is, given its bytes in lower case, the last one lowest.
    pub(crate) fn find(&self, key: u64) -> Hits {
        self.hits[self.place(key)]
    }

    /// Gives the place of a word, or the free one where it would be.
    fn place(&self, key: u64) -> usize {
        // By multiplying, whose upper bits are the well mixed ones (Knuth, The Art of Computer Programming 3, 6.4).
        let mut place = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - PLACES_BITS)) as usize;
        while self.keys[place] != key && self.keys[place] != 0 {
            place = (place + 1) % PLACES;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_listed_once() {
        let mut all = 0;
        for (code, words) in TABLED {
            let words: Vec<&str> = words.split_whitespace().collect();
            all += words.len();
            for (at, word) in words.iter().enumerate() {
                assert!(word.len() <= MAX_BYTES, "{code}: {word}");
                assert!(!words[..at].contains(word), "{code}: {word} twice");
            }
        }
        assert!(all < PLACES / 2, "{all}");
    }

    #[test]
    fn a_word_is_found_with_its_languages() {
        let table = Words::new();
        let find =
            |word: &str| table.find(word.bytes().fold(0, |key, byte| key << 8 | u64::from(byte)));
        assert_eq!((find("the").of(0), find("the").of(1)), (1, 0));
        assert_eq!(
            (find("la").of(1), find("la").of(3), find("la").of(0)),
            (1, 1, 0)
        );
        assert!(find("the").within(lane(0)) && !find("in").within(lane(0)));
        assert!(find("river") == Hits::default() && find("") == Hits::default());
    }
}
