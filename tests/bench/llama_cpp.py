#!/usr/bin/env python3
"""Measures llama.cpp as `autodidact bench generate` measures this engine, and prints the same objects.

usage: llama_cpp.py MODEL.gguf [--prompt 128] [--new 64] [--batch 1,8,32] [--threads 2] [--runs 3] [--requantize q4_0]

Drives the prebuilt library of the npm package @node-llama-cpp/linux-x64 through ctypes; `setup.sh` fetches it, and
LLAMA_LIBS names its folder where it is elsewhere. Prompts are arbitrary ids that differ from each other, new tokens are
the likeliest ones, end tokens end nothing. --requantize first writes the model anew in that format, in a temporary file.
"""
import argparse
import ctypes as c
import glob
import json
import os
import resource
import statistics
import tempfile
import time

import numpy

FILE_TYPES = {"q4_0": 2, "q8_0": 7}  # enum llama_ftype of llama.h


class Params(c.Structure):
    """A parameter struct of which only some words matter; bigger than any of them."""

    _fields_ = [("words", c.c_uint32 * 128)]


class Batch(c.Structure):
    """llama_batch of llama.h."""

    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)


def load_library():
    """Loads ggml, its kernels for this processor, and llama."""
    peers = os.environ.get("PEERS", os.path.expanduser("~/.cache/peers"))
    folder = os.environ.get("LLAMA_LIBS") or glob.glob(peers + "/npm/node_modules/@node-llama-cpp/linux-x64/bins/*")[0]
    c.CDLL(glob.glob(folder + "/libggml-base.so")[0], mode=c.RTLD_GLOBAL)
    ggml = c.CDLL(glob.glob(folder + "/libggml.v*.so")[0], mode=c.RTLD_GLOBAL)
    llama = c.CDLL(glob.glob(folder + "/libllama.v*.so")[0], mode=c.RTLD_GLOBAL)
    flags = open("/proc/cpuinfo").read()
    kind = "zen4" if "avx512_bf16" in flags else "skylakex" if "avx512f" in flags else "haswell"
    ggml.ggml_backend_load.argtypes, ggml.ggml_backend_load.restype = [c.c_char_p], c.c_void_p
    assert ggml.ggml_backend_load(f"{folder}/libggml-cpu-{kind}.so".encode()), "no kernels for this processor"
    pointer, text = c.c_void_p, c.c_char_p
    for name, result, arguments in [
        ("llama_model_default_params", Params, []),
        ("llama_context_default_params", Params, []),
        ("llama_model_quantize_default_params", Params, []),
        ("llama_model_load_from_file", pointer, [text, Params]),
        ("llama_model_quantize", c.c_uint32, [text, text, c.POINTER(Params)]),
        ("llama_init_from_model", pointer, [pointer, Params]),
        ("llama_batch_init", Batch, [c.c_int32, c.c_int32, c.c_int32]),
        ("llama_decode", c.c_int32, [pointer, Batch]),
        ("llama_get_logits_ith", c.POINTER(c.c_float), [pointer, c.c_int32]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, c.c_bool]),
        ("llama_free", None, [pointer]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", c.c_int32, [pointer]),
        ("llama_log_set", None, [LOG, pointer]),
    ]:
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    return llama


def requantize(llama, path, kind):
    """Writes a model in another format; returns the new file."""
    params = llama.llama_model_quantize_default_params()
    params.words[1] = FILE_TYPES[kind]
    c.cast(c.byref(params, 16), c.POINTER(c.c_bool))[0] = True  # allow_requantize
    out = os.path.join(tempfile.mkdtemp(), f"{os.path.basename(path)}.{kind}.gguf")
    assert llama.llama_model_quantize(path.encode(), out.encode(), c.byref(params)) == 0, "quantise"
    return out


class Bench:
    """One model and one batch size."""

    def __init__(self, llama, model, batch, prompt, new, threads):
        self.llama, self.batch, self.prompt, self.new = llama, batch, prompt, new
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        params = llama.llama_context_default_params()
        # n_ctx, n_batch, n_ubatch and n_seq_max come first; the two thread counts are the first pair of fours after them.
        params.words[0:4] = [batch * (prompt + new + 32), 2048, 512, batch]
        at = next(i for i in range(3, 9) if params.words[i] == params.words[i + 1] == 4)
        params.words[at] = params.words[at + 1] = threads
        self.context = llama.llama_init_from_model(model, params)
        self.tokens = llama.llama_batch_init(max(2048, batch), 0, 1)

    def put(self, index, token, position, sequence, wanted):
        tokens = self.tokens
        tokens.token[index], tokens.pos[index] = token, position
        tokens.n_seq_id[index], tokens.logits[index] = 1, wanted
        tokens.seq_id[index][0] = sequence

    def decode(self, count):
        self.tokens.n_tokens = count
        assert self.llama.llama_decode(self.context, self.tokens) == 0

    def likeliest(self, index):
        logits = self.llama.llama_get_logits_ith(self.context, index)
        return int(numpy.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def run(self):
        """Returns the rates of prefill and decode, in tokens a second."""
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        last, sequence, together = [0] * self.batch, 0, max(1, 2048 // self.prompt)
        start = time.time()
        while sequence < self.batch:
            end, count, ends = min(self.batch, sequence + together), 0, []
            for member in range(sequence, end):
                for i in range(self.prompt):
                    token = (member * 104729 + i * 7919 + 113) % (self.vocabulary - 200) + 100
                    self.put(count, token, i, member, int(i == self.prompt - 1))
                    count += 1
                ends.append((member, count - 1))
            self.decode(count)
            for member, index in ends:
                last[member] = self.likeliest(index)
            sequence = end
        read = time.time()
        for step in range(self.new - 1):
            for member in range(self.batch):
                self.put(member, last[member], self.prompt + step, member, 1)
            self.decode(self.batch)
            last = [self.likeliest(member) for member in range(self.batch)]
        done = time.time()
        return self.batch * self.prompt / (read - start), self.batch * (self.new - 1) / (done - read)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--batch", default="1,8,32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requantize", choices=FILE_TYPES)
    options = parser.parse_args()
    llama = load_library()
    quiet = LOG(lambda *_: None)
    llama.llama_log_set(quiet, None)
    llama.llama_backend_init()
    path = requantize(llama, options.model, options.requantize) if options.requantize else options.model
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    assert model, f"{path} cannot be loaded"
    for batch in map(int, options.batch.split(",")):
        bench = Bench(llama, model, batch, options.prompt, options.new, options.threads)
        bench.run()
        rates = [bench.run() for _ in range(options.runs)]
        for work, figures in zip(("prefill", "decode"), zip(*rates)):
            print(json.dumps({
                "work": work, "model": os.path.basename(path), "compute": "llama.cpp", "threads": options.threads,
                "batch": batch, "median": round(statistics.median(figures), 2), "unit": "tokens/s",
                "runs": [round(rate, 2) for rate in figures],
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }), flush=True)
        llama.llama_free(bench.context)


main()
