//! What assistants say of themselves instead of answering, with the `I` after it: of a model a text may well speak.

use super::Source;
use autodidact_plugin::Field;

pub(super) const SOURCE: Source = Source {
    fields: &[Field::Instruction, Field::Output],
    words: &[
        "as an ai language model, i | as an ai language model i | as an ai language model, my | as an ai model, i
            | as a large language model, i | as a language model, i | as an ai assistant, i
            | as an ai, i cannot | as an ai, i can't | as an ai, i don't | as an ai, i do not | as an ai, i am unable | as an ai language model developed by openai
            | my knowledge cutoff | my knowledge cut-off | as of my last update | as of my last knowledge update
            | as of my knowledge cutoff | my training data only goes",
        "作为一个AI语言模型，我 | 作为AI语言模型，我 | 作为一名AI语言模型，我 | 作为一种AI语言模型，我 | 作为一款AI语言模型，我
            | 作为一个人工智能语言模型，我 | 作为人工智能语言模型，我 | 作为一个语言模型，我 | 作为语言模型，我
            | 作为一个大语言模型，我 | 作为大语言模型，我 | 作为一个大型语言模型，我 | 作为大型语言模型，我
            | 作为一个AI模型，我 | 作为AI模型，我 | 作为一个AI助手，我 | 作为AI助手，我 | 作为一名AI助手，我
            | 作为一个人工智能助手，我 | 作为人工智能助手，我 | 作为一个人工智能，我无法
            | 作为一个人工智能，我不能 | 作为一个人工智能，我没有 | 作为人工智能，我无法 | 作为AI，我无法 | 作为AI，我不能 | 作为AI，我没有
            | 作为一个AI语言模型我 | 作为一个人工智能语言模型我 | 作为AI语言模型我
            | 我的知识截止 | 我的训练数据截止 | 截至我上次更新 | 截至我的知识 | 截至我最后一次更新",
        "作為一個AI語言模型，我 | 作為AI語言模型，我 | 作為一個人工智慧語言模型，我 | 作為一個語言模型，我 | 作為一個大型語言模型，我
            | 作為一個AI模型，我 | 作為一個AI助理，我 | 作為一個AI助手，我 | 作為一個AI，我無法 | 作為AI，我無法 | 我的知識截止 | 我的訓練資料截止",
    ],
    except: &[],
    pointers: &[],
    freed_by: &[],
};
