#!/usr/bin/env python3
"""Write prompts.jsonl: requests and the prompts that Python's Jinja renders for them, as `transformers` does.

    pip install jinja2==3.1.6
    python make_prompts.py

The test `tests/prompts.rs` renders the same requests with this crate and compares the bytes. cases.jsonl holds the
public cases of the demo model, canary.jinja the template of its GGUF file; the other templates are small
re-creations of how the templates of newer models are built.
"""
import json
import os
import random

from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise ValueError(message)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def variables(request):
    """What an OpenAI server gives to the template for a request."""
    messages = json.loads(json.dumps(request["messages"]))
    for m in messages:
        m["role"] = "system" if m["role"] == "developer" else m["role"]
        m.setdefault("content", None)
        for call in m.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    out = {"messages": messages, "tools": request.get("tools"), "documents": None, "add_generation_prompt": True}
    out.update(request.get("chat_template_kwargs", {}))
    return out


def call(name, **arguments):
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": "call_0", "type": "function", "function": {"name": name, "arguments": text}}


TOOL = {"type": "function", "function": {
    "name": "search.all-files", "description": "Find \"text\" in <files> & more\\\n下一行 \u0001\u007f 😀 </tools><|user|>",
    "strict": False,
    "parameters": {"type": "object", "required": ["text"], "properties": {
        "text": {"type": "string", "enum": ["<think>", "[gMASK]", "|"]}, "limit": {"type": "integer", "maximum": 18446744073709551615, "minimum": -5},
        "ratio": {"type": "number", "default": 1e-7, "maximum": 1e16, "multipleOf": 0.5, "x": 100.0}, "名称": {"type": ["string", "null"], "default": None}}}}}


def edge_requests():
    user = {"role": "user", "content": "Hello"}
    yield {"messages": [user]}
    yield {"messages": [{"role": "developer", "content": "Be brief.\n"}, {"role": "user", "content": "  spaced \n\n"}]}
    yield {"messages": [{"role": "user", "content": [{"type": "text", "text": "<|us"}, {"type": "text", "text": "er|>\n你好"}]}]}
    yield {"messages": [{"role": "user", "content": "<|endoftext|><|user|>\nI am <|system|> </think> <think> [gMASK]<sop> /nothink <tool_call>x</tool_call>"}]}
    yield {"messages": [{"role": "user", "content": "Hi /nothink"}]}
    yield {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, user]}
    yield {"messages": [user, {"role": "assistant", "content": "<think>\nI greet.\n</think>\n\nHi <b>you</b>"}, user]}
    yield {"messages": [user, {"role": "assistant", "content": "a</think>b</think>\nc <think> d"}]}
    yield {"messages": [user, {"role": "assistant", "content": "</think>only"}, {"role": "tool", "content": "</tool_response><|assistant|>"}]}
    yield {"messages": [user, {"role": "assistant", "content": "<think>never closed"}, user]}
    yield {"messages": [user, {"role": "assistant", "content": "Hi", "reasoning_content": " I <think> greet </think> \n"}]}
    yield {"messages": [user, {"role": "assistant", "content": "Hi", "reasoning_content": "old"}, user], "chat_template_kwargs": {"clear_thinking": False}}
    arguments = {"text": "<arg_value>\n\"quoted\" \\ 文", "limit": 3, "ratio": 1.0, "deep": {"b": [1, 2.5, None, True, "é"], "a": {}}, "flag": False,
                 "none": None, "key <|user|>": "x", "items": [], "big": 12345678901234567, "tiny": 1e-9}
    yield {"messages": [user, {"role": "assistant", "content": None, "tool_calls": [call("search.all-files", **arguments), call("other")]},
                        {"role": "tool", "tool_call_id": "call_0", "content": "{\"a\": [1]}"},
                        {"role": "tool", "tool_call_id": "call_1", "content": "<|observation|>"}], "tools": [TOOL]}
    yield {"messages": [user, {"role": "assistant", "content": "\n I look. \n", "tool_calls": [call("f", a="b")]}, {"role": "tool", "content": "c"},
                        {"role": "assistant", "content": "done", "reasoning_content": "hm"}, user], "tools": [TOOL, TOOL]}
    yield {"messages": [user, {"role": "assistant", "content": "\u001c \u0085x\u001f\u001e\n", "reasoning_content": "\u001dy\u001d"}]}
    yield {"messages": [{"role": "system", "content": "\u00a0\u3000全角\u3000"}, {"role": "user", "content": "\U000f0000\U000f0001\U0010fffd \ue000 \u200b\u0000\u0007"}]}


ATOMS = ["a", "B", " ", "  ", "\n", "\n\n", "<", ">", "|", "[", "]", "/", "\"", "\\", "'", "{", "}", "{{", "%}", "é", "文字", "😀", "<|user|>", "<|assistant|>",
         "<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "/nothink", "[gMASK]", "<sop>", "0104", "1.5", "\u3000", "\U000f0005"]


def random_text(rng):
    return "".join(rng.choice(ATOMS) for _ in range(rng.randint(0, 8)))


def random_value(rng, depth=2):
    pick = rng.randint(0, 7 if depth else 5)
    if pick == 6:
        return [random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if pick == 7:
        return {random_text(rng) or "k": random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return [random_text(rng), rng.randint(-10 ** 9, 10 ** 18), rng.choice([0.5, 1e22, -2.25e-8, 3.0]), True, None, random_text(rng)][pick]


def random_request(rng):
    messages = []
    for _ in range(rng.randint(1, 6)):
        role = rng.choice(["system", "user", "user", "assistant", "assistant", "tool"])
        m = {"role": role, "content": random_text(rng)}
        if role == "assistant" and rng.random() < .3:
            m["reasoning_content"] = random_text(rng)
        if role == "assistant" and rng.random() < .3:
            m["tool_calls"] = [call(rng.choice(["f", "get_weather"]), **{random_text(rng) or "k": random_value(rng) for _ in range(rng.randint(0, 3))})]
        messages.append(m)
    request = {"messages": messages}
    if rng.random() < .4:
        request["tools"] = [{"type": "function", "function": {"name": "f", "description": random_text(rng), "parameters": {"type": "object", "properties": {random_text(rng) or "k": {"type": "string", "description": random_text(rng)}}}}}]
    return request


def requests():
    for line in open(os.path.join(HERE, "cases.jsonl"), encoding="utf-8"):
        case = json.loads(line)
        request = {"messages": case["messages"], "chat_template_kwargs": {"enable_thinking": case["enable_thinking"]}}
        if "tools" in case:
            request["tools"] = case["tools"]
        yield ["canary"], case["id"], request
    names = ["canary", "glm46", "glm47"]
    for number, request in enumerate(edge_requests()):
        yield names, f"edge-{number}", request
    rng = random.Random(20)
    for number in range(80):
        yield names, f"random-{number}", random_request(rng)


def main():
    env = environment()
    templates = {}
    for name in ["canary", "glm46", "glm47"]:
        templates[name] = env.from_string(open(os.path.join(HERE, name + ".jinja"), encoding="utf-8").read())
    rng = random.Random(21)
    with open(os.path.join(HERE, "prompts.jsonl"), "w", encoding="utf-8") as out:
        for names, request_id, request in requests():
            if "chat_template_kwargs" not in request and rng.random() < .6:
                request["chat_template_kwargs"] = {"enable_thinking": rng.random() < .5}
            request["model"] = "m"
            prompts = {name: templates[name].render(**variables(request)) for name in names}
            out.write(json.dumps({"id": request_id, "request": request, "prompts": prompts}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
