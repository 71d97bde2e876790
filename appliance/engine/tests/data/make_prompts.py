"""Renders the public cases of the canary with its own chat template and marks what came from people.
Usage: make_prompts.py CASES TEMPLATE > prompts.jsonl   (needs jinja2)"""
import json, sys, re, copy
import jinja2
B, E = "\ue000", "\ue001"
def tojson(v, ensure_ascii=False):
    return json.dumps(v, ensure_ascii=ensure_ascii)
env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
env.filters["tojson"] = lambda v, ensure_ascii=False: B + tojson(v, ensure_ascii) + E
plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
plain.filters["tojson"] = tojson
template = open(sys.argv[2]).read()
def arguments(messages):
    for m in messages:
        for c in m.get("tool_calls") or []:
            c["function"]["arguments"] = json.loads(c["function"]["arguments"])
def mark(messages):
    for m in messages:
        if m.get("content"):
            m["content"] = B + m["content"] + E
        for c in m.get("tool_calls") or []:
            f = c["function"]
            f["arguments"] = {k: B + v + E if isinstance(v, str) else v for k, v in f["arguments"].items()}
for line in open(sys.argv[1]):
    case = json.loads(line)
    common = dict(tools=case.get("tools"), enable_thinking=case["enable_thinking"], add_generation_prompt=True)
    messages = copy.deepcopy(case["messages"]); arguments(messages)
    whole = plain.from_string(template).render(messages=messages, **common)
    mark(messages)
    text = env.from_string(template).render(messages=messages, **common)
    prompt = []
    for part in re.split(f"({B}[^{E}]*{E})", text):
        if part.startswith(B): prompt.append({"Text": part[1:-1]})
        elif part: prompt.append({"Scaffold": part})
    assert "".join(list(p.values())[0] for p in prompt) == whole, case["id"]
    print(json.dumps(dict(id=case["id"], prompt=prompt, prompt_tokens=case["prompt_tokens"],
                          reference_output=case["reference_output"]), ensure_ascii=False))
