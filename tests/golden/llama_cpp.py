"""llama.cpp by way of its C interface: token ids, and logits of the weights as they are or dequantised to f32."""
import ctypes
import tempfile
from pathlib import Path

import gguf
import numpy


class Opaque(ctypes.Structure):
    """llama_model_params and llama_context_params: larger than any version's, passed through nearly unchanged."""
    _fields_ = [("words", ctypes.c_uint32 * 128)]


class Batch(ctypes.Structure):
    """llama_batch (llama.h)."""
    _fields_ = [("count", ctypes.c_int32), ("tokens", ctypes.POINTER(ctypes.c_int32)), ("embeddings", ctypes.c_void_p),
                ("positions", ctypes.c_void_p), ("sequence_counts", ctypes.c_void_p), ("sequences", ctypes.c_void_p),
                ("wanted", ctypes.POINTER(ctypes.c_int8))]


class LlamaCpp:
    """A model in llama.cpp; `libs` is the folder of its shared libraries."""

    def __init__(self, libs, model):
        find = lambda pattern: str(sorted(libs.glob(pattern))[0])
        ctypes.CDLL(find("libggml-base*.so*"), mode=ctypes.RTLD_GLOBAL)
        ggml = ctypes.CDLL(find("libggml.*so*"), mode=ctypes.RTLD_GLOBAL)
        self.lib = lib = ctypes.CDLL(find("libllama.*so*"), mode=ctypes.RTLD_GLOBAL)
        ggml.ggml_backend_load.argtypes, ggml.ggml_backend_load.restype = [ctypes.c_char_p], ctypes.c_void_p
        assert ggml.ggml_backend_load(find("libggml-cpu-haswell.so").encode())
        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        lib.llama_log_set(self.log, None)

        def declare(name, result, *arguments):
            getattr(lib, name).restype, getattr(lib, name).argtypes = result, arguments

        pointer, count, tokens = ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32)
        declare("llama_model_default_params", Opaque)
        declare("llama_context_default_params", Opaque)
        declare("llama_model_load_from_file", pointer, ctypes.c_char_p, Opaque)
        declare("llama_model_get_vocab", pointer, pointer)
        declare("llama_vocab_n_tokens", count, pointer)
        declare("llama_tokenize", count, pointer, ctypes.c_char_p, count, tokens, count, ctypes.c_bool, ctypes.c_bool)
        declare("llama_token_to_piece", count, pointer, count, ctypes.c_char_p, count, count, ctypes.c_bool)
        declare("llama_init_from_model", pointer, pointer, Opaque)
        declare("llama_batch_get_one", Batch, tokens, count)
        declare("llama_decode", count, pointer, Batch)
        declare("llama_get_logits", ctypes.POINTER(ctypes.c_float), pointer)
        declare("llama_free", None, pointer)
        self.model = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
        assert self.model, "load model"
        self.vocab = lib.llama_model_get_vocab(self.model)

    def encode(self, text):
        """Ids of the text with add_special=false and parse_special=false."""
        data = text.encode("utf-8")
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(room), False, False)
        assert count >= 0, text
        return list(room[:count])

    def decode(self, ids):
        """Text of ids, special tokens shown; a character that is cut is U+FFFD."""
        room, text = ctypes.create_string_buffer(256), b""
        for token in ids:
            count = self.lib.llama_token_to_piece(self.vocab, token, room, len(room), 0, True)
            text += room.raw[:count]
        return text.decode("utf-8", "replace")

    def logits(self, ids):
        """Every token's logits, `[len(ids), vocabulary]`; keys and values are cached as f16."""
        params = self.lib.llama_context_default_params()
        assert list(params.words[:3]) == [512, 2048, 512], "n_ctx, n_batch and n_ubatch come first"
        params.words[0] = (len(ids) + 255) // 256 * 256
        # n_threads and n_threads_batch: threads that wait spin, which costs most where others work too.
        if list(params.words[7:9]) == [4, 4]:
            params.words[7] = params.words[8] = 1
        context = self.lib.llama_init_from_model(self.model, params)
        assert context, "make context"
        vocabulary = self.lib.llama_vocab_n_tokens(self.vocab)
        parts = []
        for part in (ids[at:at + 256] for at in range(0, len(ids), 256)):
            tokens, wanted = (ctypes.c_int32 * len(part))(*part), (ctypes.c_int8 * len(part))(*[1] * len(part))
            batch = self.lib.llama_batch_get_one(tokens, len(part))
            batch.wanted = wanted
            assert self.lib.llama_decode(context, batch) == 0, "decode"
            rows = numpy.ctypeslib.as_array(self.lib.llama_get_logits(context), (len(part), vocabulary))
            parts.append(rows.copy())
        self.lib.llama_free(context)
        return numpy.concatenate(parts)


def dequantised(libs, path):
    """The same model in llama.cpp with its weights as f32."""
    reader = gguf.GGUFReader(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "f32.gguf"
        writer = gguf.GGUFWriter(copy, reader.fields["general.architecture"].contents())
        for name, field in reader.fields.items():
            if not name.startswith("GGUF.") and name != "general.architecture":
                of_items = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(name, field.contents(), field.types[0], of_items)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return LlamaCpp(libs, copy)    # the file is mapped, so it may be unlinked
