//! GGUF: a small good file whose numbers, texts and entries are changed where they lie.

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use bolero::TypeGenerator;

use super::changes::{Number, pick};
use super::{SECONDS, inspect_and_load};

const WIDTH: u32 = 32;
const FEED_FORWARD: u32 = 64;
/// The least that a vocabulary needs here, the end of a turn first; a blank is `Ġ` in a byte-level one, and `▁` in SentencePiece's.
const TOKENS: &[&str] = &[
    "<end>", "H", "i", "e", "l", "o", ".", "Ġ", "Hi", "el", "lo", "user", "a", "b", "c", "d",
];
const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}<end>{% endfor %}";

/// A good file, and where what may be changed lies in it.
#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// Numbers, by their first byte and width.
    numbers: Vec<(usize, usize)>,
    /// Texts' own bytes.
    texts: Vec<Range<usize>>,
    /// Whole entries, and whether they are tensors' and not fields'.
    entries: Vec<(Range<usize>, bool)>,
    /// Where the header ends.
    header: usize,
}

/// Where the counts lie.
const TENSOR_COUNT: usize = 8;
const FIELD_COUNT: usize = 16;

impl File {
    fn u32(&mut self, value: u32) {
        self.numbers.push((self.bytes.len(), 4));
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.numbers.push((self.bytes.len(), 8));
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        let at = self.bytes.len();
        self.bytes.extend(text.as_bytes());
        self.texts.push(at..self.bytes.len());
    }

    fn entry(&mut self, is_tensor: bool, write: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        write(self);
        self.entries.push((at..self.bytes.len(), is_tensor));
        if !is_tensor {
            let count = self.entries.len() as u64;
            self.bytes[FIELD_COUNT..][..8].copy_from_slice(&count.to_le_bytes());
        }
    }

    /// Writes a field of a value type (gguf.md, `gguf_metadata_value_type`).
    fn field(&mut self, key: &str, kind: u32, value: impl FnOnce(&mut Self)) {
        self.entry(false, |file| {
            file.text(key);
            file.u32(kind);
            value(file);
        });
    }

    fn good(tokenizer: &str) -> Self {
        let mut file = Self::default();
        file.bytes.extend(b"GGUF");
        file.u32(3);
        file.u64(0);
        file.u64(0);
        file.field("general.architecture", 8, |file| file.text("llama"));
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 64),
            ("embedding_length", WIDTH),
            ("feed_forward_length", FEED_FORWARD),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("attention.sliding_window", 0),
            ("expert_count", 0),
        ] {
            file.field(&format!("llama.{key}"), 4, |file| file.u32(value));
        }
        let key = "llama.attention.layer_norm_rms_epsilon";
        file.field(key, 6, |file| file.u32(1e-5f32.to_bits()));
        file.field("general.alignment", 4, |file| file.u32(32));
        let flag = |file: &mut Self| file.bytes.push(0);
        file.field("tokenizer.ggml.add_bos_token", 7, flag);
        file.field("tokenizer.ggml.model", 8, |file| file.text(tokenizer));
        file.field("tokenizer.ggml.pre", 8, |file| file.text("gpt-2"));
        file.field("tokenizer.ggml.eos_token_id", 4, |file| file.u32(0));
        file.field("tokenizer.ggml.tokens", 9, |file| {
            file.u32(8);
            file.u64(TOKENS.len() as u64);
            for token in TOKENS {
                file.text(if tokenizer == "llama" && *token == "Ġ" {
                    "▁"
                } else {
                    token
                });
            }
        });
        file.field("tokenizer.ggml.token_type", 9, |file| {
            file.u32(5);
            file.u64(TOKENS.len() as u64);
            (0..TOKENS.len()).for_each(|id| file.u32(if id == 0 { 3 } else { 1 }));
        });
        file.field("tokenizer.ggml.scores", 9, |file| {
            file.u32(6);
            file.u64(TOKENS.len() as u64);
            (0..TOKENS.len()).for_each(|_| file.u32(0));
        });
        file.field("tokenizer.ggml.merges", 9, |file| {
            file.u32(8);
            file.u64(3);
            ["H i", "e l", "l o"]
                .iter()
                .for_each(|merge| file.text(merge));
        });
        file.field("tokenizer.chat_template", 8, |file| file.text(TEMPLATE));
        file.tensors();
        file
    }

    fn tensors(&mut self) {
        let (width, half) = (u64::from(WIDTH), u64::from(WIDTH / 2));
        let (tokens, feed_forward) = (TOKENS.len() as u64, u64::from(FEED_FORWARD));
        // Sizes innermost first; types F32, F16 and Q8_0 (ggml.h), of 128, 64 and 34 bytes for 32 elements.
        let tensors: [(&str, Vec<u64>, u32, u64); 11] = [
            ("token_embd", vec![width, tokens], 8, 34),
            ("output_norm", vec![width], 0, 128),
            ("blk.0.attn_norm", vec![width], 0, 128),
            ("blk.0.ffn_norm", vec![width], 0, 128),
            ("blk.0.attn_q", vec![width, width], 8, 34),
            ("blk.0.attn_k", vec![width, half], 1, 64),
            ("blk.0.attn_v", vec![width, half], 0, 128),
            ("blk.0.attn_output", vec![width, width], 8, 34),
            ("blk.0.ffn_gate", vec![width, feed_forward], 8, 34),
            ("blk.0.ffn_up", vec![width, feed_forward], 8, 34),
            ("blk.0.ffn_down", vec![feed_forward, width], 8, 34),
        ];
        self.bytes[TENSOR_COUNT..][..8].copy_from_slice(&(tensors.len() as u64).to_le_bytes());
        let mut offset = 0;
        for (name, sizes, kind, block_bytes) in &tensors {
            self.entry(true, |file| {
                file.text(&format!("{name}.weight"));
                file.u32(sizes.len() as u32);
                sizes.iter().for_each(|size| file.u64(*size));
                file.u32(*kind);
                file.u64(offset);
            });
            let bytes = sizes.iter().product::<u64>() / 32 * block_bytes;
            offset += bytes.next_multiple_of(32);
        }
        self.header = self.bytes.len();
        let data = self.bytes.len().next_multiple_of(32) + offset as usize;
        // Small halves and bytes, so that every scale is a number.
        self.bytes.resize(data, 0x11);
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Number(index, number) => {
                let Some(index) = pick(*index, self.numbers.len()) else {
                    return;
                };
                let (at, width) = self.numbers[index];
                let value = number.value().to_le_bytes();
                self.bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            Change::Letter(index, at, byte) => {
                let Some(index) = pick(*index, self.texts.len()) else {
                    return;
                };
                let text = self.texts[index].clone();
                if let Some(at) = pick(*at, text.len()) {
                    self.bytes[text.start + at] = *byte;
                }
            }
            Change::Byte(at, byte) => {
                let at = usize::from(*at) % self.header;
                self.bytes[at] = *byte;
            }
        }
    }

    /// Takes an entry out or writes it twice; the counts follow where they are told to.
    fn splice(&mut self, splice: &Splice) {
        let Some(index) = pick(splice.entry, self.entries.len()) else {
            return;
        };
        let (range, is_tensor) = self.entries[index].clone();
        let entry = self.bytes[range.clone()].to_vec();
        match splice.twice {
            true => drop(self.bytes.splice(range.end..range.end, entry)),
            false => drop(self.bytes.drain(range)),
        }
        if splice.counted {
            let at = if is_tensor { TENSOR_COUNT } else { FIELD_COUNT };
            let count = u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"));
            let by = if splice.twice { 1 } else { -1 };
            let count = count.wrapping_add_signed(by);
            self.bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
        }
    }
}

#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Number(u16, Number),
    Letter(u16, u16, u8),
    Byte(u16, u8),
}

#[derive(Clone, Debug, TypeGenerator)]
struct Splice {
    entry: u16,
    twice: bool,
    counted: bool,
}

#[test]
fn gguf_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let good = ["gpt2", "llama"].map(File::good);
    for good in &good {
        std::fs::write(&path, &good.bytes).unwrap();
        autodidact_engine::Engine::inspect(&path).expect("the file that is spoilt below is good");
        inspect_and_load(&path, good.bytes.len());
    }
    let place = AssertUnwindSafe((&path, &good));
    bolero::check!()
        .with_test_time(SECONDS)
        .with_type::<(bool, Vec<Change>, Option<Splice>, Option<u16>)>()
        .for_each(|(sentence_piece, changes, splice, cut)| {
            let (path, good) = *place;
            let mut file = good[usize::from(*sentence_piece)].clone();
            for change in changes.iter().take(4) {
                file.change(change);
            }
            if let Some(splice) = splice {
                file.splice(splice);
            }
            if let Some(cut) = cut {
                let length = usize::from(*cut) % (file.bytes.len() + 1);
                file.bytes.truncate(length);
            }
            std::fs::write(path, &file.bytes).unwrap();
            inspect_and_load(path, file.bytes.len());
        });
}
