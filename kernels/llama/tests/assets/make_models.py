#!/usr/bin/env python3
"""Write one tiny random model of each GLM generation, and what `transformers` computes with it in float32.

The models are a few hundred kilobytes of seeded noise: their text means nothing, their shapes and
code paths are those of the real ones (partial rotary embeddings, grouped heads, shared and routed
experts, latent attention, sparse indexer, next-token layer).  The tests compare llama.cpp with the
JSON beside each file, token by token and logit by logit.

  python make_models.py --llama-cpp PATH_TO_A_LLAMA_CPP_TREE [NAME ...]

Needs torch, transformers (5.24), gguf, safetensors; the tree gives `conversion/`, the public converter.
Nothing is downloaded: checkpoints and tokenizers are made here.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HERE = Path(__file__).resolve().parent
SPECIALS = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
PROMPT = "The auditor reads the log; who else may?"
NEW_TOKENS = 24
# 256 bytes and one merged pair come before.
FIRST_SPECIAL = 257
VOCAB = FIRST_SPECIAL + len(SPECIALS)

COMMON = dict(
    vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False,
    bos_token_id=None, eos_token_id=FIRST_SPECIAL, pad_token_id=FIRST_SPECIAL, attn_implementation="eager",
)
MOE = dict(
    moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1,
    first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=1.5, n_group=1, topk_group=1,
)
LATENT = dict(
    kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=16, v_head_dim=16, qk_nope_head_dim=16, num_key_value_heads=4,
)
ROPE = dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})
WHOLE_ROPE = dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0})


def without(table, *keys):
    return {k: v for k, v in table.items() if k not in keys}


# name -> (architecture, configuration, pre-tokenizer name in the file, options)
MODELS = {
    "chatglm": ("Glm", {**COMMON, **ROPE, "num_hidden_layers": 2, "attention_bias": True}, "chatglm-bpe", {}),
    "glm4": ("Glm4", {**COMMON, **ROPE, "num_hidden_layers": 2, "attention_bias": True}, "glm4", {}),
    "glm4moe": ("Glm4Moe", {**COMMON, **MOE, **ROPE, "num_hidden_layers": 2, "attention_bias": True,
                            "use_qk_norm": True, "num_mtp_layers": 0}, "glm4", {}),
    "glm4moe-mtp": ("Glm4Moe", {**COMMON, **MOE, **ROPE, "num_hidden_layers": 2, "attention_bias": True,
                                "use_qk_norm": False, "num_mtp_layers": 1}, "glm4", {"mtp": True}),
    "deepseek2": ("Glm4MoeLite", {**without(COMMON, "head_dim"), **MOE, **LATENT, **WHOLE_ROPE,
                                  "num_hidden_layers": 2}, "glm4", {"settings": {"scoring_func": "sigmoid"}}),
    "glm-dsa": ("GlmMoeDsa", {**without(COMMON, "head_dim"), **MOE, **LATENT, **WHOLE_ROPE,
                              "num_hidden_layers": 2, "index_topk": 16, "index_head_dim": 64, "index_n_heads": 4},
                # The indexer's choice of 16 positions is discrete: with keys in f16 instead of f32 it takes another
                # neighbour from the 23rd token on. Until then the tokens are compared.
                "glm4", {"new_tokens": 20}),
}


def byte_tokenizer(folder):
    """One token per byte and the special tokens of GLM: no merges, as a base for any byte-level vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: index for index, piece in enumerate(alphabet)}
    # The converter wants merges to exist; this one makes one token of two letters.
    t, h = (pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(c)[0][0] for c in "th")
    vocab[t + h] = 256
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[(t, h)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:])
    assert [fast.convert_tokens_to_ids(s) for s in SPECIALS] == list(range(FIRST_SPECIAL, VOCAB))
    fast.save_pretrained(folder)
    return fast


def make_weights(model, seed):
    """Noise of a size that lets every part matter: attention is not flat, experts differ, biases count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted([*model.named_parameters(), *model.named_buffers()]):
            if not value.is_floating_point() or "inv_freq" in name:
                continue
            noise = torch.randn(value.shape, generator=generator)
            if "correction_bias" in name:
                value.copy_(noise * 0.1)
            elif name.endswith("bias"):
                value.copy_(noise * 0.1)
            elif value.dim() == 1:
                value.copy_(1 + noise * 0.1)
            else:
                value.copy_(noise * (1.6 / value.shape[-1] ** 0.5))


def convert(tree, folder, out, pre):
    """The public converter, told which pre-tokenizer this is (it knows real ones by a hash of their output)."""
    sys.path[:0] = [str(tree), str(tree / "gguf-py")]
    from conversion import base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    import convert_hf_to_gguf
    argv, sys.argv = sys.argv, ["convert", str(folder), "--outfile", str(out), "--outtype", "f32"]
    try:
        convert_hf_to_gguf.main()
    finally:
        sys.argv = argv


def reference(model, tokens, count):
    """Greedy continuation, the logits at its first step, and the margin of each choice."""
    tokens = list(tokens)
    prompt = len(tokens)
    first, margins = None, []
    with torch.no_grad():
        for _ in range(count):
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].double()
            best = torch.topk(logits, 2).values
            margins.append(float(best[0] - best[1]))
            first = logits if first is None else first
            tokens.append(int(logits.argmax()))
    return dict(
        prompt=tokens[:prompt], greedy=tokens[prompt:], margins=[round(m, 5) for m in margins],
        first_logits=[round(float(x), 6) for x in first],
    )


def decoder(tree, name, seed):
    family, config, pre, options = MODELS[name]
    torch.manual_seed(seed)
    config = getattr(transformers, family + "Config")(**config)
    model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
    make_weights(model, seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizer = byte_tokenizer(folder)
        model.save_pretrained(folder)
        # What the published configuration says and the class of transformers takes for granted.
        settings = json.loads((folder / "config.json").read_text()) | options.get("settings", {})
        (folder / "config.json").write_text(json.dumps(settings))
        if options.get("mtp"):
            drafter = add_mtp(folder, config, model, seed)
        convert(tree, folder, HERE / f"{name}.gguf", pre)
    tokens = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    prefix = [FIRST_SPECIAL + SPECIALS.index(name) for name in ("[gMASK]", "<sop>")]
    result = reference(model, prefix + tokens, options.get("new_tokens", NEW_TOKENS))
    if options.get("mtp"):
        seen = result["prompt"] + result["greedy"]
        result["drafts"] = [
            drafter(seen[:length], 3) for length in range(len(result["prompt"]) + 1, len(seen) + 1)]
    result.update(text=PROMPT, made_with=f"transformers {transformers.__version__}, float32")
    return result


def add_mtp(folder, config, model, seed):
    """Give the checkpoint a next-token layer, under the names of the public ones; returns its reference.

    transformers keeps no such layer in the model, so its own decoder layer is taken for it, and the rest is written
    here from the description of GLM-4.5: concatenate the normalised embedding of a token and the normalised hidden
    state of the position before it, project, one sparse layer, norm, the head of the trunk.
    """
    from safetensors.torch import load_file, save_file
    from transformers.models.glm4_moe import modeling_glm4_moe as source
    index = config.num_hidden_layers
    layer = source.Glm4MoeDecoderLayer(config, index - 1).float().eval()
    make_weights(layer, seed + 100)
    generator = torch.Generator().manual_seed(seed + 200)
    size = config.hidden_size
    extra = {
        "enorm": 1 + 0.1 * torch.randn(size, generator=generator),
        "hnorm": 1 + 0.1 * torch.randn(size, generator=generator),
        "eh_proj": torch.randn(size, 2 * size, generator=generator) / (2 * size) ** 0.5,
        "shared_head.norm": 1 + 0.1 * torch.randn(size, generator=generator),
    }
    tensors = load_file(folder / "model.safetensors")
    for name, value in extra.items():
        tensors[f"model.layers.{index}.{name}.weight"] = value
    # The names of a saved sparse layer, taken from the trunk's last one.
    whole = Path(folder) / "layer"
    donor = type(model)(config).float()
    donor.model.layers[index - 1].load_state_dict(layer.state_dict())
    donor.save_pretrained(whole)
    prefix = f"model.layers.{index - 1}."
    for name, value in load_file(whole / "model.safetensors").items():
        if name.startswith(prefix):
            tensors[f"model.layers.{index}." + name[len(prefix):]] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    settings["num_nextn_predict_layers"] = 1
    (folder / "config.json").write_text(json.dumps(settings))

    def norm(x, weight):
        return weight * (x * torch.rsqrt((x * x).mean(-1, keepdim=True) + config.rms_norm_eps))

    def draft(tokens, count):
        """`count` tokens after `tokens`, of which the trunk has seen all but the last."""
        with torch.no_grad():
            states = model.model(input_ids=torch.tensor([tokens[:-1]]), use_cache=False).last_hidden_state[0]
            states = torch.cat([torch.zeros(1, size), states])
            tokens = list(tokens)
            for _ in range(count):
                embedded = model.model.embed_tokens(torch.tensor(tokens))
                x = torch.cat([norm(embedded, extra["enorm"]), norm(states, extra["hnorm"])], -1) @ extra["eh_proj"].T
                x = x[None]
                places = torch.arange(len(tokens))[None]
                mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)[None, None]
                out = layer(x, attention_mask=mask, position_ids=places,
                            position_embeddings=model.model.rotary_emb(x, places))
                out = out[0] if isinstance(out, tuple) else out
                state = norm(out[0, -1], extra["shared_head.norm"])
                tokens.append(int(model.lm_head(state).argmax()))
                states = torch.cat([states, state[None]])
        return tokens[-count:]

    return draft


def words(folder, family, seed, **options):
    """A small BERT: WordPiece over a few words, as embedding models and rerankers of the BGE kind have."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(c) for c in range(97, 123)]
    vocab += ["##" + chr(c) for c in range(97, 123)] + ["the", "log", "audit", "##or", "reads", "who", "may", "cheese", "?"]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    tokenizer = transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(vocab)})
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=64, attn_implementation="eager", **options)
    model = family(config).float().eval()
    make_weights(model, seed)
    model.save_pretrained(folder)
    return tokenizer, model


TEXTS = ["the auditor reads the log", "who may ?", "cheese"]


def embedding(tree, seed):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizer, model = words(folder, transformers.BertModel, seed)
        (folder / "modules.json").write_text(json.dumps([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": False}))
        convert(tree, folder, HERE / "embedding.gguf", "jina-v2-en")
    texts = [tokenizer(text)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        vectors = [model(input_ids=torch.tensor([ids])).last_hidden_state[0, 0] for ids in texts]
    return dict(texts=texts, vectors=[[round(float(x), 6) for x in v] for v in vectors])


def rerank(tree, seed):
    """A cross-encoder with the head of the BGE rerankers: dense layer, tanh, one score, on the first token."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizer = byte_tokenizer(folder)
        config = transformers.RobertaConfig(
            vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
            max_position_embeddings=98, type_vocab_size=1, pad_token_id=1, bos_token_id=FIRST_SPECIAL,
            eos_token_id=FIRST_SPECIAL, id2label={0: "relevance"}, label2id={"relevance": 0},
            attn_implementation="eager")
        model = transformers.RobertaForSequenceClassification(config).float().eval()
        make_weights(model, seed)
        model.save_pretrained(folder)
        convert(tree, folder, HERE / "rerank.gguf", "glm4")
    begin = [FIRST_SPECIAL]
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = [begin + encode("who reads the log ?") + begin + begin + encode(text) + begin for text in TEXTS]
    # The second token of the vocabulary is padding there, which has no position.
    assert all(1 not in ids for ids in texts)
    with torch.no_grad():
        scores = [model(input_ids=torch.tensor([ids])).logits[0] for ids in texts]
    return dict(texts=texts, vectors=[[round(float(x), 6) for x in v] for v in scores])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed, name in enumerate(MODELS, start=1):
        if args.names and name not in args.names:
            continue
        result = decoder(args.llama_cpp.resolve(), name, seed)
        (HERE / f"{name}.json").write_text(json.dumps(result) + "\n")
        print(name, "margin", min(result["margins"]), "size", (HERE / f"{name}.gguf").stat().st_size)
    for seed, (name, make) in enumerate({"embedding": embedding, "rerank": rerank}.items(), start=50):
        if not args.names or name in args.names:
            (HERE / f"{name}.json").write_text(json.dumps(make(args.llama_cpp.resolve(), seed)) + "\n")
            print(name, "size", (HERE / f"{name}.gguf").stat().st_size)


if __name__ == "__main__":
    main()
