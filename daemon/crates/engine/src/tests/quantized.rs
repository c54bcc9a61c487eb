//! A tiny model stored in every element type: it runs as the numbers that stand in the file say.

use autodidact_domain::random::Random;
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QTensor};

use super::gguf_writer::{Folder, GgufWriter, write_tiny};
use super::*;

/// Widths that blocks of 256 elements divide, and what GGUF calls them.
const HIDDEN: usize = 256;
const WIDTHS: [(&str, u32); 6] = [
    ("block_count", 1),
    ("embedding_length", 256),
    ("feed_forward_length", 512),
    ("attention.head_count", 4),
    ("attention.head_count_kv", 2),
    ("rope.dimension_count", 64),
];

/// GGUF's codes of the element types that candle reads (llama.cpp, `ggml.h`, `ggml_type`).
const TYPES: [(u32, GgmlDType); 13] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (30, GgmlDType::BF16),
];

fn matrices(vocabulary: usize) -> Vec<(String, [usize; 2])> {
    let (keys, feed_forward) = (128, 512);
    let layer = [
        ("attn_q", [HIDDEN, HIDDEN]),
        ("attn_k", [keys, HIDDEN]),
        ("attn_v", [keys, HIDDEN]),
        ("attn_output", [HIDDEN, HIDDEN]),
        ("ffn_gate", [feed_forward, HIDDEN]),
        ("ffn_up", [feed_forward, HIDDEN]),
        ("ffn_down", [HIDDEN, feed_forward]),
    ];
    let named = layer.map(|(name, shape)| (format!("blk.0.{name}.weight"), shape));
    let embedding = ("token_embd.weight".to_string(), [vocabulary, HIDDEN]);
    [embedding].into_iter().chain(named).collect()
}

/// Writes the model with its matrices in a type, and with the numbers of that in f32.
fn write(code: u32, element: GgmlDType) -> [Vec<u8>; 2] {
    let vocabulary = tiny(Compute::Exact, 1).config.vocab_size;
    let mut random = Random::from_seed(9);
    let mut writers: [GgufWriter; 2] = std::array::from_fn(|_| {
        let mut writer = write_tiny();
        writer.tensors.clear();
        for (name, value) in WIDTHS {
            writer.count(&format!("llama.{name}"), value);
        }
        for name in [
            "blk.0.attn_norm.weight",
            "blk.0.ffn_norm.weight",
            "output_norm.weight",
        ] {
            writer.tensor(name, &[HIDDEN], &[1.0; HIDDEN]);
        }
        writer
    });
    for (name, shape) in matrices(vocabulary) {
        let scale = (3.0 / shape[1] as f64).sqrt();
        let mut draw = || ((random.next_f64() * 2.0 - 1.0) * scale) as f32;
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| draw()).collect();
        let tensor = candle_core::Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap();
        let stored = QTensor::quantize(&tensor, element).unwrap();
        let sizes = shape.iter().rev().map(|size| *size as u64).collect();
        let bytes = stored.data().unwrap().into_owned();
        writers[0].tensors.push((name.clone(), sizes, code, bytes));
        let numbers = stored.dequantize(&Device::Cpu).unwrap();
        let numbers = numbers.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        writers[1].tensor(&name, &shape, &numbers);
    }
    writers.map(|writer| writer.bytes())
}

#[test]
fn every_element_type_runs_as_its_numbers_say() {
    let folder = Folder::new("element-types");
    let ids: Vec<u32> = (0..40).map(|i| (i * 37 + 5) % 256).collect();
    for (code, element) in TYPES {
        let [stored, numbers] = write(code, element);
        let stored = folder.write(&format!("{element:?}.gguf"), &stored);
        let numbers = folder.write(&format!("{element:?}-f32.gguf"), &numbers);
        let logits = |path: &Path, compute| {
            let model = Engine::new(2, compute).load(path).unwrap();
            all_logits(&model, None, &ids, MAX_BATCH_TOKENS)
        };
        let expected = logits(&numbers, Compute::Exact);
        let size = |rows: &[Vec<f32>]| {
            let squares = rows.iter().flatten().map(|x| f64::from(*x).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let distance = |found: &[Vec<f32>]| {
            let rows = found.iter().zip(&expected).map(|(found, expected)| {
                let differences = found.iter().zip(expected).map(|(a, b)| a - b);
                differences.collect::<Vec<f32>>()
            });
            size(&rows.collect::<Vec<_>>()) / size(&expected)
        };
        let exact = distance(&logits(&stored, Compute::Exact));
        assert!(exact < 1e-5, "{element:?}, exact: {exact}");
        let fast = distance(&logits(&stored, Compute::Fast));
        assert!(fast < 0.05, "{element:?}, fast: {fast}");
        eprintln!("{element:?}: {exact:.1e} of the logits apart on exact, {fast:.1e} on fast");
        let model = Engine::new(1, Compute::Fast).load(&stored).unwrap();
        let told = Engine::inspect(&stored).unwrap().details.memory_bytes;
        assert_eq!(told, model.decoder.bytes() as u64, "{element:?}");
    }
}
