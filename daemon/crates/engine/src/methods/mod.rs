//! Fine-tuning methods, one file each.

pub mod lora;
