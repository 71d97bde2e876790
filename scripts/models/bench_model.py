#!/usr/bin/env python3
"""Write a random-weight GLM-4 model in Q4_K_M layout, for speed and memory measurements.

The text it produces is meaningless; its tensors have the shapes, block formats and type mix that
`llama-quantize ... Q4_K_M` gives a GLM-4 model of the same size, so timing and memory use are
those of a real one.  Blocks are drawn directly in their quantised form (no float master copy),
which makes the script quick, light on memory and byte-for-byte reproducible for a given seed.

  bench_model.py --out bench-glm4-0.5b-q4_k_m.gguf
  bench_model.py --hidden 2048 --layers 36 --ffn 5632 --heads 16 --out bench-2b.gguf
  bench_model.py --chain 400 --out chain.gguf        a model that recites one known text
  bench_model.py --describe FILE.gguf                only FILE.gguf.json, see `describe`

Only numpy and gguf are needed (requirements.txt).  The tokenizer and chat template are copied from the canary GGUF
and filled up to --vocab entries with words that only generation produces.  All row lengths must be multiples of 256.

With --chain the greedy answer to any prompt is the same known text: the residual stream carries each token's embedding
to the end almost unchanged (the layers are computed in full but added at a thousandth), and the row of the output matrix
for a token is the embedding of the token before it.  So copying can be asked of a model of real size and cost: whether a
prompt holds the text that will come is the asker's choice, and the work without speculation is the same either way.
"""
import argparse
import json
import os

import numpy as np
import gguf
from gguf.constants import GGMLQuantizationType as Q

HERE = os.path.dirname(os.path.abspath(__file__))
CANARY = os.path.join(HERE, "../../image/models/glm4-canary/glm4-canary-f16.gguf")
# The last token of a prompt without thinking.
END_OF_PROMPT = "</think>"


def q4_k(rng, rows, cols, std):
    """Random Q4_K super-blocks: value = d*scale*q - dmin*min with 6-bit scales per 32 weights."""
    n = rows * cols // 256
    b = np.zeros((n, 144), np.uint8)
    sc = rng.integers(40, 64, (n, 8), dtype=np.uint8)
    # q is uniform on 0..15 (mean 7.5, deviation 4.61); min uses the same 6-bit code, dmin = 7.5 d
    d = np.float16(std / (4.61 * 51.5))
    b[:, 0:2] = np.frombuffer(d.tobytes(), np.uint8)
    b[:, 2:4] = np.frombuffer(np.float16(7.5 * np.float32(d)).tobytes(), np.uint8)
    b[:, 4:8] = (sc[:, 0:4] & 63) | ((sc[:, 4:8] >> 4) << 6)
    b[:, 8:12] = (sc[:, 0:4] & 63) | ((sc[:, 4:8] >> 4) << 6)
    b[:, 12:16] = (sc[:, 4:8] & 15) | ((sc[:, 4:8] & 15) << 4)
    b[:, 16:] = rng.integers(0, 256, (n, 128), dtype=np.uint8)
    return b.reshape(rows, cols // 256 * 144)


def q6_k(rng, rows, cols, std):
    """Random Q6_K super-blocks: value = d*scale*(q-32) with 8-bit scales per 16 weights."""
    n = rows * cols // 256
    b = np.zeros((n, 210), np.uint8)
    b[:, 0:192] = rng.integers(0, 256, (n, 192), dtype=np.uint8)
    b[:, 192:208] = rng.integers(64, 127, (n, 16), dtype=np.int8).view(np.uint8)
    b[:, 208:210] = np.frombuffer(np.float16(std / (18.5 * 95)).tobytes(), np.uint8)
    return b.reshape(rows, cols // 256 * 210)


def more_bits(i, n):
    """Layers to which Q4_K_M gives six bits for attn_v and ffn_down."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def field(reader, key):
    return reader.fields[key].contents() if key in reader.fields else None


def bytes_as_letters():
    """The letters by which byte-level BPE vocabularies spell bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + len(letters) - len(plain))
    return letters


def bpe(text, ranks):
    """Tokens of one run of letters, by the merges of the tokenizer."""
    letters = bytes_as_letters()
    parts = [letters[b] for b in text.encode()]
    while len(parts) > 1:
        rank, at = min((ranks.get((a, b), 1 << 30), i) for i, (a, b) in enumerate(zip(parts, parts[1:])))
        if rank == 1 << 30:
            break
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts


def chain_tokens(reader, count):
    """So many different Chinese characters, each a token, that are tokenised one by one when they stand together."""
    merges = field(reader, "tokenizer.ggml.merges")
    ranks = {tuple(m.split(" ")): i for i, m in enumerate(merges)}
    tokens = list(field(reader, "tokenizer.ggml.tokens"))
    letters = bytes_as_letters()
    spelled = {"".join(letters[b] for b in chr(c).encode()): chr(c) for c in range(0x4E00, 0x9FA6)}
    chain = []
    for token in tokens:
        if token in spelled:
            last = chain[-1:]
            together = "".join(spelled[t] for t in last) + spelled[token]
            if bpe(together, ranks) == [*last, token]:
                chain.append(token)
    if len(chain) < count or bpe("".join(spelled[t] for t in chain[:count]), ranks) != chain[:count]:
        raise SystemExit(f"only {len(chain)} characters are tokens of their own")
    return [tokens.index(t) for t in chain[:count]], "".join(spelled[t] for t in chain[:count])


def describe(path, chain=""):
    """Write PATH.json: tokens that no answer should hold, words to ask with, the text that a chain model recites."""
    r = gguf.GGUFReader(path)
    toks, types = field(r, "tokenizer.ggml.tokens"), field(r, "tokenizer.ggml.token_type")
    special = [i for i, t in enumerate(types) if t in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)]
    # Between the parts of JSON a random model would write these for ever.
    blank = [i for i, t in enumerate(toks) if t and set(t) <= set("ĠĊčĉ")]
    bare = [t for t, kind in zip(toks, types) if kind == gguf.TokenType.NORMAL and t.isascii() and t.isalpha()]
    words = sorted({t for t in bare if t.islower() and 4 <= len(t) <= 8})
    with open(path + ".json", "w", encoding="utf-8") as out:
        facts = {"vocabulary": len(toks), "special": special, "blank": blank, "words": words, "chain": chain}
        json.dump(facts, out, ensure_ascii=False)


def copy_tokenizer(w, path, vocab):
    r = gguf.GGUFReader(path)
    get = lambda k: field(r, k)
    toks, types = list(get("tokenizer.ggml.tokens")), list(get("tokenizer.ggml.token_type"))
    if len(toks) > vocab:
        raise SystemExit(f"--vocab must be at least {len(toks)}")
    # Filler tokens are plain words, so that each generated token is visible text in a stream.
    types += [int(gguf.TokenType.NORMAL)] * (vocab - len(toks))
    toks += [f"Ġw{i}" for i in range(len(toks), vocab)]
    w.add_tokenizer_model(get("tokenizer.ggml.model"))
    w.add_tokenizer_pre(get("tokenizer.ggml.pre"))
    w.add_token_list(toks)
    w.add_token_types(types)
    w.add_token_merges(list(get("tokenizer.ggml.merges")))
    for k in ("bos", "eos", "eot", "eom", "unknown", "padding"):
        v = get(f"tokenizer.ggml.{k}_token_id")
        if v is not None:
            w.add_uint32(f"tokenizer.ggml.{k}_token_id", int(v))
    w.add_add_bos_token(False)
    w.add_chat_template(get("tokenizer.chat_template"))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", default="bench-glm4-0.5b-q4_k_m.gguf")
    p.add_argument("--tokenizer", default=CANARY, metavar="GGUF")
    p.add_argument("--describe", metavar="GGUF", help="write GGUF.json only")
    p.add_argument("--chain", type=int, default=0, metavar="TOKENS", help="recite a text of so many tokens")
    for k, v in dict(hidden=1024, layers=32, ffn=2816, heads=16, kv_heads=2, head_dim=128, vocab=32768, ctx=32768, seed=1).items():
        p.add_argument("--" + k.replace("_", "-"), type=int, default=v)
    a = p.parse_args()
    if a.describe:
        return describe(a.describe)
    D, L, F, V = a.hidden, a.layers, a.ffn, a.vocab
    dq, dkv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    for k, v in (("hidden", D), ("ffn", F), ("heads*head_dim", dq)):
        if v % 256:
            raise SystemExit(f"{k} = {v} is not a multiple of 256")

    w = gguf.GGUFWriter(a.out, "glm4")
    w.add_name("GLM-4 random bench model")
    w.add_description("Random weights for speed measurements; the output is meaningless.")
    w.add_block_count(L)
    w.add_context_length(a.ctx)
    w.add_embedding_length(D)
    w.add_feed_forward_length(F)
    w.add_head_count(a.heads)
    w.add_head_count_kv(a.kv_heads)
    w.add_key_length(a.head_dim)
    w.add_value_length(a.head_dim)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(a.head_dim // 2)
    w.add_vocab_size(V)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    copy_tokenizer(w, a.tokenizer, V)

    total = 0

    def mat(name, rows, cols, six=False):
        nonlocal total
        total += rows * cols
        rng = np.random.Generator(np.random.PCG64([a.seed, *name.encode()]))
        data = (q6_k if six else q4_k)(rng, rows, cols, cols ** -0.5)
        w.add_tensor(name, data, raw_dtype=Q.Q6_K if six else Q.Q4_K)

    def norm(name, weight=1.0):
        w.add_tensor(name, np.full(D, weight, np.float32))

    chain = ""
    if a.chain:
        reader = gguf.GGUFReader(a.tokenizer)
        ids, chain = chain_tokens(reader, a.chain)
        rng = np.random.Generator(np.random.PCG64([a.seed, *b"token_embd.weight"]))
        # The same kind of blocks in both, so that a row and its twin are equal bit by bit.
        rows = q6_k(rng, V, D, D ** -0.5)
        before = np.arange(V)
        end = list(field(reader, "tokenizer.ggml.tokens")).index(END_OF_PROMPT)
        # A circle through the end of the prompt; all other tokens keep their own row and repeat themselves.
        before[[*ids, end]] = [end, *ids]
        w.add_tensor("token_embd.weight", rows, raw_dtype=Q.Q6_K)
        w.add_tensor("output.weight", rows[before], raw_dtype=Q.Q6_K)
        total += 2 * V * D
    else:
        mat("token_embd.weight", V, D)
        mat("output.weight", V, D, True)
    norm("output_norm.weight")
    for i in range(L):
        b = f"blk.{i}."
        for n in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            norm(b + n + ".weight", 1e-3 if a.chain and n.startswith("post") else 1.0)
        mat(b + "attn_q.weight", dq, D)
        mat(b + "attn_k.weight", dkv, D)
        mat(b + "attn_v.weight", dkv, D, more_bits(i, L))
        mat(b + "attn_output.weight", D, dq)
        mat(b + "ffn_up.weight", 2 * F, D)
        mat(b + "ffn_down.weight", D, F, more_bits(i, L))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    describe(a.out, chain)
    print(f"{a.out}: {total / 1e6:.0f} M parameters, {os.path.getsize(a.out) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
