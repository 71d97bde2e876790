"""People who use a box at once, as its tests need them: streams read straight from the wire, and a list of claims.

The SDKs hide what these tests look at: comments of a stream, headers of a refusal, the moment of each piece. So a stream
is read here with the standard library, and every end that is no proper end is told from the others.
"""

import http.client
import json
import ssl
import sys
import threading
import time

PATIENCE = 120


class Claims:
    """What a test claims. Prints what does not hold at once, and at the end how many did."""

    def __init__(self):
        self.lock, self.passed, self.failed = threading.Lock(), 0, 0

    def claim(self, text, holds, detail=""):
        with self.lock:
            if holds:
                self.passed += 1
            else:
                self.failed += 1
                print(f"FAILED: {text} {str(detail)[:1500]}", flush=True)
        return bool(holds)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


class Box:
    """A running box, as demo.json describes it."""

    def __init__(self, demo_file):
        self.demo_file = demo_file
        self.demo = json.load(open(demo_file))
        self.context = ssl.create_default_context(cafile=self.demo["ca_cert"])
        self.host, self.port = self.demo["base_url"].removeprefix("https://").split(":")
        self.model = self.demo["model"]

    def engine_pid(self):
        """Process id of the engine that is there now; None while there is none."""
        try:
            return json.load(open(self.demo_file))["pids"]["engines"][0]
        except (OSError, ValueError, KeyError, IndexError):
            return None

    def connect(self):
        return http.client.HTTPSConnection(self.host, int(self.port), context=self.context, timeout=PATIENCE)

    def post(self, body):
        """Sends a chat request and gives the connection and the answer's head."""
        connection = self.connect()
        headers = {"authorization": "Bearer " + self.demo["api_key"], "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": self.model, **body}), headers)
        return connection, connection.getresponse()

    def ask(self, body, on_piece=None):
        """Asks with a stream and reads it to its end."""
        answer = Answer()
        try:
            connection, head = self.post({"stream": True, "stream_options": {"include_usage": True}, **body})
            answer.status, answer.headers = head.status, dict(head.getheaders())
            if head.status == 200:
                for line in head:
                    answer.take(line.decode().rstrip("\r\n"))
                    if on_piece:
                        on_piece(answer)
            else:
                answer.error = json.loads(head.read())["error"]
            connection.close()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            answer.broken = repr(error)
        answer.ended_at = time.monotonic()
        return answer


class Answer:
    """What came of one stream."""

    def __init__(self):
        self.status, self.headers, self.error, self.broken = None, {}, None, None
        self.content = self.reasoning = ""
        self.calls, self.comments = [], []
        self.finish = self.usage = self.produce_id = self.fingerprint = None
        self.is_done = False
        self.piece_count = 0
        self.began_at = time.monotonic()
        self.first_at = self.ended_at = None

    def take(self, line):
        if line.startswith(":"):
            self.comments.append(line[1:].strip())
        if not line.startswith("data: "):
            return
        if line == "data: [DONE]":
            self.is_done = True
            return
        chunk = json.loads(line[6:])
        if "error" in chunk:
            self.error = chunk["error"]
            return
        self.usage = chunk.get("usage") or self.usage
        self.produce_id = chunk.get("produce_id") or self.produce_id
        self.fingerprint = chunk.get("system_fingerprint") or self.fingerprint
        for choice in chunk["choices"]:
            self.finish = choice["finish_reason"] or self.finish
            self.take_delta(choice["delta"])

    def take_delta(self, delta):
        self.content += delta.get("content") or ""
        self.reasoning += delta.get("reasoning_content") or ""
        for part in delta.get("tool_calls") or []:
            while len(self.calls) <= part["index"]:
                self.calls.append({"name": "", "arguments": ""})
            self.calls[part["index"]]["name"] += part["function"].get("name") or ""
            self.calls[part["index"]]["arguments"] += part["function"].get("arguments") or ""
        if delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"):
            self.piece_count += 1
            self.first_at = self.first_at or time.monotonic()

    @property
    def is_whole(self):
        return self.status == 200 and self.is_done and not self.error and not self.broken and bool(self.produce_id)

    @property
    def cached_tokens(self):
        return ((self.usage or {}).get("prompt_tokens_details") or {}).get("cached_tokens")

    def __repr__(self):
        return (f"status {self.status}, done {self.is_done}, error {self.error}, broken {self.broken}, "
                f"finish {self.finish}, usage {self.usage}, content {self.content!r}")


def cases_of(path):
    return [json.loads(line) for line in open(path)]


def body_of(case):
    body = {
        "messages": case["messages"],
        "temperature": 0,
        "max_tokens": 512,
        "chat_template_kwargs": {"enable_thinking": case["enable_thinking"]},
    }
    if case.get("tools"):
        body["tools"] = case["tools"]
    return body


def is_expected(case, answer):
    """Whether an answer is the known one: text, reasoning, calls by name and by the value of each argument."""
    expected = case["expected"]
    wanted = [(c["name"], {k: str(v) for k, v in c["arguments"].items()}) for c in expected.get("tool_calls", [])]
    try:
        made = [(c["name"], {k: str(v) for k, v in json.loads(c["arguments"]).items()}) for c in answer.calls]
    except ValueError:
        return False
    return (answer.content, answer.reasoning, made) == (expected["content"], expected.get("reasoning", ""), wanted)


def together(count, work):
    """Runs `work(0)` to `work(count - 1)` at once and waits for all; what one of them raises fails the test."""
    raised = []

    def run(number):
        try:
            work(number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    if raised:
        raise raised[0]


def wait_until(holds, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False
