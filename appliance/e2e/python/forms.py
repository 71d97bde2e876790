"""What a developer asks of an answer's form, with the official OpenAI SDK, unchanged, against a running box.

usage: forms.py DEMO.json

JSON Schemas through `.parse()`, JSON mode, regular expressions, calls that must be made, cache and reproducibility. Several
people ask beside it all the time: what is claimed here holds under load.
"""

import json
import re
import ssl
import sys
import threading

import httpx2
import openai
import pydantic

from crowd import Box, Claims, together

claims = Claims()
claim = claims.claim


class Person(pydantic.BaseModel):
    name: str
    age: int


class Order(pydantic.BaseModel):
    colour: str
    sizes: list[int]
    is_paid: bool


ADD = {
    "type": "function",
    "function": {
        "name": "calc_sum",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"first": {"type": "integer"}, "second": {"type": "integer"}},
            "required": ["first", "second"],
            "additionalProperties": False,
        },
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "query_time",
        "description": "Get the local time",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def said(text):
    return [{"role": "user", "content": text}]


def parsed(client, **request):
    """The choice of an answer that was asked for with a schema; None when it ended with `length`, as it may."""
    try:
        return client.chat.completions.parse(**request).choices[0]
    except openai.LengthFinishReasonError:
        return None


def check_schemas(client, model):
    off = {"reasoning_effort": "none"}
    whole = 0
    for text in ("Name and age as JSON: Julia, 12", "Who can read the audit log?", "Hello", "你好"):
        for temperature in (0, 1.3):
            choice = parsed(client, model=model, messages=said(text), response_format=Person, temperature=temperature,
                            seed=5, max_tokens=200, **off)
            if choice:
                whole += 1
                claim(f"{text!r} at {temperature} is a person", isinstance(choice.message.parsed, Person), choice)
    claim("some answers were not cut off", whole > 0)
    julia = parsed(client, model=model, messages=said("Name and age as JSON: Julia, 12"), response_format=Person,
                   temperature=0, max_tokens=100, **off)
    claim("the schema does not change a known answer", julia and julia.message.parsed == Person(name="Julia", age=12), julia)
    order = {"type": "json_schema", "json_schema": {"name": "order", "schema": Order.model_json_schema()}}
    for seed in range(6):
        answer = client.chat.completions.create(
            model=model, messages=said("An order"), response_format=order, temperature=1, seed=seed, max_tokens=300, **off)
        if answer.choices[0].finish_reason == "stop":
            claim("sampled text fits the schema", Order.model_validate_json(answer.choices[0].message.content), answer)
    for seed in range(4):
        answer = client.chat.completions.create(
            model=model, messages=said("Anything"), response_format={"type": "json_object"}, temperature=1, seed=seed,
            max_tokens=120, **off)
        if answer.choices[0].finish_reason == "stop":
            claim("JSON mode gives an object", isinstance(json.loads(answer.choices[0].message.content), dict), answer)
    for pattern in (r"[0-9]{3}-[0-9]{4}", r"(yes|no)"):
        answer = client.chat.completions.create(
            model=model, messages=said("Who?"), temperature=1, seed=1, max_tokens=60,
            extra_body={"response_format": {"type": "regex", "pattern": pattern}}, **off)
        content = answer.choices[0].message.content
        claim(f"the answer matches {pattern}", re.fullmatch(pattern, content), content)
    streamed = ""
    with client.chat.completions.stream(
        model=model, messages=said("Name and age as JSON: Julia, 4"), response_format=Person, temperature=0, **off) as stream:
        for event in stream:
            if event.type == "content.delta":
                streamed += event.delta
        claim("a streamed answer parses", stream.get_final_completion().choices[0].message.parsed == Person(name="Julia", age=4), streamed)
    thinking = parsed(client, model=model, messages=said("Name and age as JSON: Julia, 12"), response_format=Person,
                      temperature=0, max_tokens=300)
    if thinking:
        claim("the form begins after the reasoning", isinstance(thinking.message.parsed, Person), thinking)


def check_calls(client, model):
    def ask(text, **more):
        answer = client.chat.completions.create(
            model=model, messages=said(text), temperature=0, max_tokens=300, reasoning_effort="none", **more)
        return answer.choices[0]

    called = ask("502 + 77 = ?", tools=[ADD, TIME], tool_choice="required")
    claim("a required call is made", called.finish_reason == "tool_calls" and called.message.tool_calls, called)
    for text in ("Hello", "Who can read the audit log?", "你好"):
        choice = ask(text, tools=[ADD, TIME], tool_choice="required")
        if choice.finish_reason != "length":
            claim(f"{text!r} calls because it must", choice.message.tool_calls, choice)
            for call in choice.message.tool_calls or []:
                claim("arguments are an object", isinstance(json.loads(call.function.arguments), dict), call)
        choice = ask(text, tools=[ADD, TIME], tool_choice={"type": "function", "function": {"name": "query_time"}})
        if choice.finish_reason != "length":
            names = {call.function.name for call in choice.message.tool_calls or []}
            claim(f"{text!r} calls the one that was named", names == {"query_time"}, choice)
    none = ask("502 + 77 = ?", tools=[ADD], tool_choice="none")
    claim("a call that may not be made is not", not none.message.tool_calls, none)


def check_refusals(client, model):
    def refused(param, **request):
        try:
            client.chat.completions.create(model=model, messages=said("x"), **request)
            claim(f"{param} is refused", False, request)
        except openai.BadRequestError as error:
            claim(f"{param} is named", (error.param or "").startswith(param), f"{error.param} {error}")
            claim(f"{param}: type", error.type == "invalid_request_error", error.type)

    refused("response_format", response_format={"type": "yaml"})
    refused("response_format", response_format={"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"type": "no-such-type"}}})
    refused("response_format", extra_body={"response_format": {"type": "regex", "pattern": "(("}})
    refused("response_format", extra_body={"response_format": {"type": "grammar", "definition": "start: nothing_there"}})
    refused("tool_choice", tools=[ADD], tool_choice={"type": "function", "function": {"name": "absent"}})
    refused("tool_choice", tool_choice="required")


def check_cache(client, model):
    text = "Remember: " + " ".join(f"item{number} = {number * 7919 % 10000:04}" for number in range(60))

    def cached(**extra):
        answer = client.chat.completions.create(
            model=model, messages=said(text), temperature=0, max_tokens=3, extra_body=extra)
        return answer.usage.prompt_tokens_details.cached_tokens, answer.usage.prompt_tokens

    cached()
    again, prompt = cached()
    claim("what was computed is not computed again", prompt / 2 < again < prompt, f"{again} of {prompt}")
    claim("cache_prompt false takes nothing", cached(cache_prompt=False)[0] == 0)
    claim("a pinned prompt is cached", cached(prompt_cache_retention="24h")[0] > 0)


def check_strict(client, model):
    def ask():
        answer = client.chat.completions.create(
            model=model, messages=said("Tell me something about the box."), temperature=1.4, seed=11, max_tokens=120,
            logprobs=True, top_logprobs=3, extra_body={"strict_reproducible": True})
        choice = answer.choices[0]
        return json.dumps([choice.message.model_dump(), choice.logprobs.model_dump(), choice.finish_reason])

    answers = {ask() for _ in range(3)}
    claim("a strict request gives the same bytes under load", len(answers) == 1, answers)


def beside(box, work):
    """Does `work` while four people ask without a pause."""
    is_over = threading.Event()

    def person(number):
        turn = 0
        while not is_over.is_set():
            first = 100 + 37 * (number + turn) % 700
            turn += 1
            answer = box.ask({"messages": said(f"Please count from {first} to {first + 12}."), "temperature": 0.8})
            claim("people beside it are answered", answer.is_whole, answer)

    def run(number):
        if number < 4:
            return person(number)
        try:
            work()
        finally:
            is_over.set()

    together(5, run)


def main():
    box = Box(sys.argv[1])
    http = httpx2.Client(verify=ssl.create_default_context(cafile=box.demo["ca_cert"]))
    client = openai.OpenAI(
        base_url=box.demo["base_url"] + "/v1", api_key=box.demo["api_key"], http_client=http, max_retries=0, timeout=120)

    def all_of_it():
        for check in (check_schemas, check_calls, check_refusals, check_cache, check_strict):
            check(client, box.model)

    beside(box, all_of_it)
    claims.end()


if __name__ == "__main__":
    main()
