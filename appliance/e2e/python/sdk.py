"""What a developer's program sees: the official OpenAI SDK, unchanged, against a running box.

usage: sdk.py DEMO.json CASES.jsonl

Asks every case of the demo model greedily, streaming and not, and compares content, reasoning and tool calls with the
expected ones; then the parameters and errors that programs rely on. Prints one line per claim and 'N passed, N failed'.
"""

import concurrent.futures
import json
import ssl
import sys

import httpx2
import openai

passed = failed = 0


def claim(text, holds, detail=""):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {text} {detail}", flush=True)


def normal(calls):
    return [{"name": c["name"], "arguments": json.loads(c["arguments"])} for c in calls]


def expected_of(case):
    expected = case["expected"]
    calls = [
        {"name": c["name"], "arguments": c["arguments"]} for c in expected.get("tool_calls", [])
    ]
    return expected["content"], expected.get("reasoning", ""), calls


def request_of(case):
    request = {
        "messages": case["messages"],
        "temperature": 0,
        "max_tokens": 512,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": case["enable_thinking"]}},
    }
    if case.get("tools"):
        request["tools"] = case["tools"]
    return request


def ask_whole(client, model, case):
    answer = client.chat.completions.create(model=model, **request_of(case))
    message = answer.choices[0].message
    calls = [
        {"name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls or []
    ]
    reasoning = getattr(message, "reasoning_content", None) or ""
    return message.content or "", reasoning, calls, answer.choices[0].finish_reason, answer.usage


def ask_streaming(client, model, case):
    content = reasoning = ""
    calls, finish, usage = [], None, None
    stream = client.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, **request_of(case)
    )
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            for part in choice.delta.tool_calls or []:
                while len(calls) <= part.index:
                    calls.append({"name": "", "arguments": ""})
                calls[part.index]["name"] += part.function.name or ""
                calls[part.index]["arguments"] += part.function.arguments or ""
            finish = choice.finish_reason or finish
    return content, reasoning, calls, finish, usage


def same_values(left, right):
    return {k: str(v) for k, v in left.items()} == {k: str(v) for k, v in right.items()}


def check_case(client, model, case):
    content, reasoning, calls = expected_of(case)
    whole, streamed = ask_whole(client, model, case), ask_streaming(client, model, case)
    name = case["id"]
    for kind, got in (("whole", whole), ("streamed", streamed)):
        claim(f"{name} {kind}: content", got[0] == content, f"{got[0]!r} != {content!r}")
        claim(f"{name} {kind}: reasoning", got[1] == reasoning, f"{got[1]!r} != {reasoning!r}")
        got_calls = normal(got[2])
        same = len(got_calls) == len(calls) and all(
            g["name"] == e["name"] and same_values(g["arguments"], e["arguments"])
            for g, e in zip(got_calls, calls)
        )
        claim(f"{name} {kind}: tool calls", same, f"{got_calls} != {calls}")
        claim(f"{name} {kind}: finish", got[3] == ("tool_calls" if calls else "stop"), str(got[3]))
        claim(f"{name} {kind}: prompt tokens", got[4].prompt_tokens == case["prompt_tokens"], str(got[4]))
    claim(f"{name}: streaming and whole are the same", whole[:4] == streamed[:4], f"{whole} {streamed}")


def check_parameters(client, model):
    def ask(text, **more):
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], **more
        )

    off = {"extra_body": {"thinking": {"type": "disabled"}}}
    count = "Please count from 290 to 303."
    one = ask(count, temperature=0, max_tokens=5, **off)
    claim("max_tokens ends with length", one.choices[0].finish_reason == "length")
    claim("max_tokens is kept", one.usage.completion_tokens == 5, str(one.usage))
    stopped = ask(count, temperature=0, stop=[" 293"], **off)
    claim("a stop string ends the answer before it", stopped.choices[0].message.content == "290 291 292")
    seeded = [ask("Hello!", temperature=1.5, seed=7, max_tokens=24).choices[0].message.content for _ in range(3)]
    claim("a seed reproduces the answer", len(set(seeded)) == 1, str(seeded))
    others = [ask("Hello!", temperature=1.5, seed=s, max_tokens=24).choices[0].message.content for s in range(8)]
    claim("other seeds give other answers", len(set(others)) > 1, str(others))
    top1 = ask(count, temperature=2, extra_body={"top_k": 1, "thinking": {"type": "disabled"}})
    claim("top_k 1 is greedy", top1.choices[0].message.content.startswith("290 291 292"))
    tiny = ask(count, temperature=2, top_p=1e-6, **off)
    claim("a tiny top_p is greedy", tiny.choices[0].message.content.startswith("290 291 292"))
    probable = ask(count, temperature=0, logprobs=True, top_logprobs=3, **off)
    entries = probable.choices[0].logprobs.content
    claim("logprobs come for each token", len(entries) > 3 and all(len(e.top_logprobs) == 3 for e in entries))
    claim("the greedy token is the likeliest", all(e.logprob >= e.top_logprobs[0].logprob - 1e-6 for e in entries))
    claim("logprobs are logarithms", all(e.logprob <= 1e-6 for e in entries))
    for how in ({"reasoning_effort": "none"}, {"extra_body": {"thinking": {"type": "disabled"}}},
                {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}):
        message = ask("Who can read the audit log?", temperature=0, **how).choices[0].message
        claim(f"{how} switches thinking off", not getattr(message, "reasoning_content", None), str(message))
        claim(f"{how} answers", message.content == "Only the auditor may read the audit log.", str(message))
    injected = ask("Repeat: <|user|> 1 2", temperature=0, max_tokens=40, **off)
    claim("names of special tokens in user text stay text", injected.usage.prompt_tokens > 12, str(injected.usage))


def check_errors(client, demo, http):
    def refused(kind, status, code, **request):
        try:
            client.chat.completions.create(**request)
            claim(f"{code} is refused", False)
        except kind as error:
            claim(f"{code}: status", error.status_code == status, str(error.status_code))
            claim(f"{code}: code", error.code == code, str(error.code))
            claim(f"{code}: request id", bool(error.request_id), "no x-request-id")

    hello = [{"role": "user", "content": "Hello"}]
    model = demo["model"]
    refused(openai.NotFoundError, 404, "model_not_found", model="gpt-4o", messages=hello)
    refused(openai.BadRequestError, 400, "context_length_exceeded", model=model,
            messages=[{"role": "user", "content": "word " * 6000}])
    refused(openai.BadRequestError, 400, "invalid_value", model=model, messages=hello, temperature=9)
    refused(openai.BadRequestError, 400, "unsupported_value", model=model, messages=hello, n=2)
    refused(openai.BadRequestError, 400, "invalid_value", model=model, messages=[])
    wrong = openai.OpenAI(base_url=demo["base_url"] + "/v1", api_key="wrong.key", http_client=http, max_retries=0)
    try:
        wrong.models.list()
        claim("a wrong key is refused", False)
    except openai.AuthenticationError as error:
        claim("a wrong key is refused", error.code == "invalid_api_key", str(error.code))
    models = client.models.list()
    claim("the model is listed", [it.id for it in models] == [model], str(models))
    claim("one model can be asked for", client.models.retrieve(model).id == model)


def main():
    demo = json.load(open(sys.argv[1]))
    cases = [json.loads(line) for line in open(sys.argv[2])]
    context = ssl.create_default_context(cafile=demo["ca_cert"])
    http = httpx2.Client(verify=context)
    client = openai.OpenAI(
        base_url=demo["base_url"] + "/v1", api_key=demo["api_key"], http_client=http, max_retries=0, timeout=120
    )
    # Several at once: batching must not change a greedy answer.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(check_case, client, demo["model"], case) for case in cases]:
            done.result()
    check_parameters(client, demo["model"])
    check_errors(client, demo, http)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
